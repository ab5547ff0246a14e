package imageprep

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The golden files were made by Pillow 13 and transformers' slow processors; README.md there says
// how. JPEG results are compared pixel by pixel with PNGs, everything else by its SHA-256.
const goldenDir = "../../testdata/golden/images"

type goldenIndex struct {
	Files []goldenFile
	Bad   []badFile
}

type goldenFile struct {
	File, Format  string
	Width, Height int
	Orientation   orientation
	RGB           goldenPixels
	White         *goldenPixels
	Upright       *goldenPixels
	Resize        []struct {
		Filter          string
		Width, Height   int
		Order           string
		SHA256          string `json:"sha256_rgb"`
		HorizontalFirst *goldenPixels
	}
	Tensors []struct {
		Processor string
		Size      int
		Shape     [3]int
		SHA256    string `json:"sha256_data"`
	}
}

type badFile struct {
	File, Want, Note, Policy string
	Width, Height            int
	RGB                      *goldenPixels
}

type goldenPixels struct {
	File   string
	SHA256 string `json:"sha256_rgb"`
}

func readGolden(t testing.TB) goldenIndex {
	var index goldenIndex
	require.NoError(t, json.Unmarshal(readFile(t, "index.json"), &index))
	require.Len(t, index.Files, 77)
	require.Len(t, index.Bad, 35)
	return index
}

func readFile(t testing.TB, name string) []byte {
	data, err := os.ReadFile(filepath.Join(goldenDir, name))
	require.NoError(t, err)
	return data
}

func hash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// readPixels reads an expected picture and checks that it is the one that the index means. It does
// not go through the package's own decoder.
func readPixels(t testing.TB, want goldenPixels) *Picture {
	img, err := png.Decode(bytes.NewReader(readFile(t, want.File)))
	require.NoError(t, err)
	p := newPicture(img.Bounds().Dx(), img.Bounds().Dy())
	switch m := img.(type) {
	case *image.RGBA:
		for i := range p.Width * p.Height {
			copy(p.Pix[3*i:3*i+3], m.Pix[4*i:])
		}
	case *image.Paletted: // few colours: the PNG was optimised
		for i, c := range m.Pix {
			r, g, b, _ := m.Palette[c].RGBA()
			p.Pix[3*i], p.Pix[3*i+1], p.Pix[3*i+2] = byte(r>>8), byte(g>>8), byte(b>>8)
		}
	default:
		require.Failf(t, "expected picture", "%s is a %T", want.File, img)
	}
	require.Equal(t, want.SHA256, hash(p.Pix), want.File)
	return p
}

// requireNear holds every sample to the expected one within most levels, and within mean on average.
func requireNear(t testing.TB, want, got *Picture, most int, mean float64) {
	require.Equal(t, [2]int{want.Width, want.Height}, [2]int{got.Width, got.Height})
	sum, worst := 0, 0
	for i := range want.Pix {
		d := int(want.Pix[i]) - int(got.Pix[i])
		d = max(d, -d)
		sum, worst = sum+d, max(worst, d)
	}
	require.LessOrEqual(t, worst, most, "largest difference")
	require.LessOrEqual(t, float64(sum)/float64(len(want.Pix)), mean, "mean difference")
}

func TestGoldenPixels(t *testing.T) {
	for _, f := range readGolden(t).Files {
		t.Run(filepath.Base(f.File), func(t *testing.T) {
			data := readFile(t, f.File)
			got, err := Decode(data, DecodeOptions{Alpha: AlphaDrop})
			if strings.HasSuffix(f.File, "jpeg_no_eoi.jpg") {
				// Either the picture or this error is right; whatever has no end is an error here.
				require.ErrorIs(t, err, ErrTruncated)
				return
			}
			require.NoError(t, err)
			want := f.RGB
			if f.Upright != nil {
				want = *f.Upright
			}
			if f.Format == "JPEG" {
				most, mean := jpegTolerance(f.File)
				requireNear(t, readPixels(t, want), got, most, mean)
			} else {
				require.Equal(t, want.SHA256, hash(got.Pix))
			}
			if f.Upright == nil {
				require.Equal(t, [2]int{f.Width, f.Height}, [2]int{got.Width, got.Height})
			}

			white, err := Decode(data, DecodeOptions{})
			require.NoError(t, err)
			if f.White != nil {
				require.Equal(t, f.White.SHA256, hash(white.Pix), "on white")
				require.NotEqual(t, got.Pix, white.Pix)
			} else if !strings.HasSuffix(f.File, "webp_animated.webp") { // its first frame has transparent pixels
				require.Equal(t, got, white, "no transparency")
			}
		})
	}
}

// jpegTolerance: photos are off by 3 levels at most and by 0.03 to 0.04 in the mean, as Go's inverse
// cosine transform is off by one in one sample of a hundred. The drawn pictures have hard edges and
// few pixels, so that their mean says less. Where that transform is exact the pixels are, see
// TestChromaIsExact.
func jpegTolerance(file string) (most int, mean float64) {
	if strings.Contains(file, "photo") || strings.Contains(file, "_go") {
		return 3, 0.04
	}
	return 3, 0.07
}

func TestGoldenBad(t *testing.T) {
	kinds := map[string]error{"truncated": ErrTruncated, "corrupt": ErrCorrupt, "unsupported": ErrUnsupported, "too large": ErrTooLarge}
	for _, f := range readGolden(t).Bad {
		t.Run(filepath.Base(f.File), func(t *testing.T) {
			got, err := Decode(readFile(t, f.File), DecodeOptions{})
			if f.Want == "no error" {
				require.NoError(t, err)
				most, mean := jpegTolerance(f.File)
				requireNear(t, readPixels(t, *f.RGB), got, most, mean)
				return
			}
			require.Nil(t, got)
			var details *Error
			require.ErrorAs(t, err, &details)
			var allowed []error
			for _, name := range strings.Split(f.Want, " or ") {
				require.Contains(t, kinds, name)
				allowed = append(allowed, kinds[name])
			}
			require.Contains(t, allowed, details.Kind, err.Error())
			require.ErrorIs(t, err, details.Kind)
			if details.Kind == ErrTooLarge {
				require.Equal(t, [2]int{f.Width, f.Height}, [2]int{details.Width, details.Height})
			}
		})
	}
}

// goldenUpright gives the pixels that resized and normalised values were made from: the expected
// ones for a JPEG, else those that are decoded, which another test holds to the expected ones.
func goldenUpright(t testing.TB, f goldenFile) *Picture {
	want := f.RGB
	if f.Upright != nil {
		want = *f.Upright
	}
	if f.Format == "JPEG" {
		return readPixels(t, want)
	}
	p, err := Decode(readFile(t, f.File), DecodeOptions{Alpha: AlphaDrop})
	require.NoError(t, err)
	require.Equal(t, want.SHA256, hash(p.Pix))
	return p
}

var filters = map[string]Filter{"bicubic": Bicubic, "bilinear": Bilinear, "lanczos": Lanczos}

func TestGoldenResize(t *testing.T) {
	checked := 0
	for _, f := range readGolden(t).Files {
		if f.Resize == nil {
			continue
		}
		t.Run(filepath.Base(f.File), func(t *testing.T) {
			p := goldenUpright(t, f)
			for _, r := range f.Resize {
				require.Contains(t, filters, r.Filter)
				got, err := p.Resize(r.Width, r.Height, filters[r.Filter])
				require.NoError(t, err)
				require.Equal(t, r.SHA256, hash(got.Pix), "%s to %d x %d, %s", r.Filter, r.Width, r.Height, r.Order)
				checked++
			}
		})
	}
	require.Equal(t, 258, checked)
}

// goldenConfigs are the processors that made the golden tensors, for one size.
func goldenConfigs(t testing.TB, size int) map[string]*Config {
	clip := `"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711],
		"resample": 3, "rescale_factor": 0.00392156862745098, "size": {"shortest_edge": SIZE}, "crop_size": {"height": SIZE, "width": SIZE}}`
	siglip := `{"image_processor_type": "SiglipImageProcessor", "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
		"rescale_factor": 0.00392156862745098, "size": {"height": SIZE, "width": SIZE}, "resample": `
	configs := map[string]*Config{}
	for name, text := range map[string]string{
		"siglip":    siglip + "3}",
		"siglip2":   siglip + "2}",
		"clip":      `{"image_processor_type": "CLIPImageProcessor", ` + clip,
		"clip_pad":  `{"image_processor_type": "LlavaImageProcessor", "do_pad": true, ` + clip,
		"bunny_pad": siglip + "3}",
	} {
		number, err := json.Marshal(size)
		require.NoError(t, err)
		c, err := ParseConfig([]byte(strings.ReplaceAll(text, "SIZE", string(number))))
		require.NoError(t, err)
		configs[name] = c
	}
	configs["bunny_pad"].PadSquare = true // Bunny has it in config.json
	return configs
}

func floatBytes(data []float32) []byte {
	var out bytes.Buffer
	_ = binary.Write(&out, binary.LittleEndian, data) // a Buffer takes everything
	return out.Bytes()
}

func TestGoldenTensors(t *testing.T) {
	checked := 0
	configs := map[int]map[string]*Config{56: goldenConfigs(t, 56), 384: goldenConfigs(t, 384)}
	for _, f := range readGolden(t).Files {
		if f.Tensors == nil {
			continue
		}
		t.Run(filepath.Base(f.File), func(t *testing.T) {
			p := goldenUpright(t, f)
			for _, want := range f.Tensors {
				c := configs[want.Size][want.Processor]
				require.NotNil(t, c)
				data, shape, err := c.Tensor(p)
				require.NoError(t, err)
				require.Equal(t, want.Shape, shape)
				require.Equal(t, want.SHA256, hash(floatBytes(data)), "%s at %d", want.Processor, want.Size)
				checked++
			}
		})
	}
	require.Equal(t, 110, checked)
}

// TestGoldenTables: the whole rescaling and normalising step, level by level.
func TestGoldenTables(t *testing.T) {
	configs := goldenConfigs(t, 56)
	for _, name := range []string{"siglip", "clip"} {
		data := readFile(t, "expected/table_"+name+".npy")
		var want [3][256]float32
		require.NoError(t, binary.Read(bytes.NewReader(data[len(data)-3*256*4:]), binary.LittleEndian, &want))
		require.Equal(t, want, *configs[name].tables(), name)
	}
}

package imageprep

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func encodePNG(t testing.TB, img image.Image) []byte {
	var out bytes.Buffer
	require.NoError(t, png.Encode(&out, img))
	return out.Bytes()
}

func encodeJPEG(t testing.TB, img image.Image) []byte {
	var out bytes.Buffer
	require.NoError(t, jpeg.Encode(&out, img, &jpeg.Options{Quality: 95}))
	return out.Bytes()
}

// pngChunk is one chunk with its sum.
func pngChunk(name string, body []byte) []byte {
	out := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
	out = append(append(out, name...), body...)
	return binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(out[4:]))
}

// pngFile puts a PNG together from a header and unpacked rows, each with its filter byte.
func pngFile(t testing.TB, width, height uint32, depth, colour byte, rows []byte) []byte {
	head := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, width), height)
	var packed bytes.Buffer
	z := zlib.NewWriter(&packed)
	_, err := z.Write(rows)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	file := append([]byte(pngSignature), pngChunk("IHDR", append(head, depth, colour, 0, 0, 0))...)
	file = append(file, pngChunk("IDAT", packed.Bytes())...)
	return append(file, pngChunk("IEND", nil)...)
}

// withOrientation puts an EXIF segment behind SOI.
func withOrientation(jpegFile []byte, order binary.AppendByteOrder, value uint16) []byte {
	mark := "II*\x00"
	if order.String() == binary.BigEndian.String() {
		mark = "MM\x00*"
	}
	exif := order.AppendUint32([]byte(exifPrefix+mark), 8)
	exif = order.AppendUint16(exif, 1)
	exif = order.AppendUint16(exif, 0x0112)
	exif = order.AppendUint16(exif, 3)
	exif = order.AppendUint32(exif, 1)
	exif = order.AppendUint16(exif, value)
	exif = append(exif, 0, 0, 0, 0, 0, 0)
	segment := binary.BigEndian.AppendUint16([]byte{0xff, 0xe1}, uint16(2+len(exif)))
	out := append(bytes.Clone(jpegFile[:2]), segment...)
	return append(append(out, exif...), jpegFile[2:]...)
}

// P01: the camera's orientation tag is applied before anything else.
func TestP01Orientation(t *testing.T) {
	red, green, blue := color.NRGBA{255, 0, 0, 255}, color.NRGBA{0, 255, 0, 255}, color.NRGBA{0, 0, 255, 255}
	stored := image.NewNRGBA(image.Rect(0, 0, 24, 16)) // red on the left, green at the bottom, blue else
	for y := range 16 {
		for x := range 24 {
			switch {
			case y >= 8:
				stored.Set(x, y, green)
			case x < 8:
				stored.Set(x, y, red)
			default:
				stored.Set(x, y, blue)
			}
		}
	}
	plain := encodeJPEG(t, stored)
	// Which of red, green and blue is seen in the corners: top left, top right, bottom left, right.
	for _, tc := range []struct {
		value         uint16
		width, height int
		corners       string
	}{
		{1, 24, 16, "rbgg"}, {2, 24, 16, "brgg"}, {3, 24, 16, "ggbr"}, {4, 24, 16, "ggrb"},
		{5, 16, 24, "rgbg"}, {6, 16, 24, "grgb"}, {7, 16, 24, "gbgr"}, {8, 16, 24, "bgrg"},
		{0, 24, 16, "rbgg"}, {9, 24, 16, "rbgg"}, {65535, 24, 16, "rbgg"},
	} {
		for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
			t.Run(fmt.Sprintf("%d %v", tc.value, order), func(t *testing.T) {
				p, err := Decode(withOrientation(plain, order, tc.value), DecodeOptions{})
				require.NoError(t, err)
				require.Equal(t, [2]int{tc.width, tc.height}, [2]int{p.Width, p.Height})
				corners := ""
				for _, at := range [][2]int{{1, 1}, {p.Width - 2, 1}, {1, p.Height - 2}, {p.Width - 2, p.Height - 2}} {
					pixel := p.row(at[1])[3*at[0]:][:3]
					most := 0
					for c, v := range pixel {
						if v > pixel[most] {
							most = c
						}
					}
					corners += string("rgb"[most])
				}
				require.Equal(t, tc.corners, corners)
			})
		}
	}
}

// P02: colour is straight, and goes on white unless alpha is dropped.
func TestP02Alpha(t *testing.T) {
	for _, tc := range []struct {
		name        string
		img         image.Image
		white, drop [3]byte
	}{
		{"half", nrgba(200, 0, 0, 128), [3]byte{227, 127, 127}, [3]byte{200, 0, 0}},
		{"none", nrgba(200, 10, 77, 0), [3]byte{255, 255, 255}, [3]byte{200, 10, 77}},
		{"full", nrgba(200, 10, 77, 255), [3]byte{200, 10, 77}, [3]byte{200, 10, 77}},
		{"barely visible", nrgba(9, 99, 199, 1), [3]byte{254, 254, 255}, [3]byte{9, 99, 199}},
		{"16 bits", nrgba64(0xc8ff, 0, 0, 0x80ff), [3]byte{227, 127, 127}, [3]byte{200, 0, 0}},
		{"palette", paletted(color.NRGBA{200, 0, 0, 128}), [3]byte{227, 127, 127}, [3]byte{200, 0, 0}},
		{"palette, transparent", paletted(color.NRGBA{200, 10, 77, 0}), [3]byte{255, 255, 255}, [3]byte{200, 10, 77}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			data := encodePNG(t, tc.img)
			for mode, want := range map[Alpha][3]byte{AlphaWhite: tc.white, AlphaDrop: tc.drop} {
				p, err := Decode(data, DecodeOptions{Alpha: mode})
				require.NoError(t, err)
				require.Equal(t, want[:], p.Pix, "decoded, %v", mode)
				p, err = FromImage(tc.img, DecodeOptions{Alpha: mode})
				require.NoError(t, err)
				require.Equal(t, want[:], p.Pix, "taken over, %v", mode)
			}
		})
	}
	a, err := Decode(encodePNG(t, nrgba(200, 0, 0, 128)), DecodeOptions{})
	require.NoError(t, err)
	b, err := Decode(encodePNG(t, nrgba(200, 0, 0, 128)), DecodeOptions{Alpha: AlphaDrop})
	require.NoError(t, err)
	require.NotEqual(t, a.Digest(), b.Digest(), "the mode is part of the key")
	_, err = Decode(encodePNG(t, nrgba(200, 0, 0, 128)), DecodeOptions{Alpha: 7})
	require.ErrorIs(t, err, ErrUnsupported)
}

func nrgba(r, g, b, a byte) image.Image {
	m := image.NewNRGBA(image.Rect(0, 0, 1, 1))
	copy(m.Pix, []byte{r, g, b, a})
	return m
}

func nrgba64(r, g, b, a uint16) image.Image {
	m := image.NewNRGBA64(image.Rect(0, 0, 1, 1))
	m.SetNRGBA64(0, 0, color.NRGBA64{R: r, G: g, B: b, A: a})
	return m
}

func paletted(c color.Color) image.Image {
	return image.NewPaletted(image.Rect(0, 0, 1, 1), color.Palette{c, color.NRGBA{1, 2, 3, 4}})
}

// P03: 16-bit samples are scaled, not clipped.
func TestP03SixteenBits(t *testing.T) {
	for _, tc := range []struct {
		sample uint16
		want   byte
	}{{0x8000, 128}, {0xffff, 255}, {0x00ff, 0}, {0x0100, 1}, {0x7fff, 127}, {0, 0}} {
		t.Run(fmt.Sprintf("%#x", tc.sample), func(t *testing.T) {
			grey := image.NewGray16(image.Rect(0, 0, 1, 1))
			grey.SetGray16(0, 0, color.Gray16{Y: tc.sample})
			rgb := image.NewRGBA64(image.Rect(0, 0, 1, 1))
			rgb.SetRGBA64(0, 0, color.RGBA64{R: tc.sample, G: tc.sample, B: tc.sample, A: 0xffff})
			for _, img := range []image.Image{grey, rgb} {
				p, err := Decode(encodePNG(t, img), DecodeOptions{})
				require.NoError(t, err)
				require.Equal(t, []byte{tc.want, tc.want, tc.want}, p.Pix)
				q, err := FromImage(img, DecodeOptions{})
				require.NoError(t, err)
				require.Equal(t, p, q)
			}
		})
	}
}

// flatCMYK is a JPEG of 8 x 8 with four components, the DC coefficient of each given, quantised by
// 8: the samples are 128 plus that many levels. adobe below 0: no Adobe marker.
func flatCMYK(adobe int, dc [4]int) []byte {
	file := []byte{0xff, 0xd8}
	segment := func(marker byte, body ...byte) {
		file = append(append(file, 0xff, marker, 0, byte(2+len(body))), body...)
	}
	if adobe >= 0 {
		segment(0xee, append([]byte("Adobe\x00\x64\x00\x00\x00\x00"), byte(adobe))...)
	}
	segment(0xdb, append([]byte{0}, bytes.Repeat([]byte{8}, 64)...)...)
	segment(0xc0, 8, 0, 8, 0, 8, 4, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0, 4, 0x11, 0)
	// Codes 0 (of size 8) and 10 (of size 0) for DC, 0 (end of block) for AC.
	segment(0xc4, append([]byte{0x00, 1, 1}, append(make([]byte, 14), 8, 0)...)...)
	segment(0xc4, append([]byte{0x10, 1}, append(make([]byte, 15), 0)...)...)
	segment(0xda, 4, 1, 0, 2, 0, 3, 0, 4, 0, 0, 63, 0)
	bits := ""
	for _, level := range dc {
		switch {
		case level == 0:
			bits += "10"
		case level > 0:
			bits += fmt.Sprintf("0%08b", level)
		default:
			bits += fmt.Sprintf("0%08b", 255+level)
		}
		bits += "0" // end of block
	}
	for len(bits)%8 != 0 {
		bits += "1"
	}
	for ; len(bits) > 0; bits = bits[8:] {
		var b byte
		for _, bit := range bits[:8] {
			b = b<<1 | byte(bit-'0')
		}
		if file = append(file, b); b == 0xff {
			file = append(file, 0)
		}
	}
	return append(file, 0xff, 0xd9)
}

// P04: four components follow the Adobe marker; without it they are refused.
func TestP04FourComponents(t *testing.T) {
	for _, tc := range []struct {
		name  string
		adobe int
		dc    [4]int
		want  [3]byte
	}{
		{"all stored 255 is white", 0, [4]int{255, 255, 255, 255}, [3]byte{255, 255, 255}},
		{"no black ink, full cyan", 0, [4]int{-128, 255, 255, 255}, [3]byte{0, 255, 255}},
		{"full black ink", 0, [4]int{255, 255, 255, -128}, [3]byte{0, 0, 0}},
		{"YCCK: no black, luma 128 is half of each ink", 2, [4]int{0, 0, 0, 255}, [3]byte{127, 127, 127}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, err := Decode(flatCMYK(tc.adobe, tc.dc), DecodeOptions{})
			require.NoError(t, err)
			require.Equal(t, bytes.Repeat(tc.want[:], 64), p.Pix)
		})
	}
	_, err := Decode(flatCMYK(-1, [4]int{255, 255, 255, 255}), DecodeOptions{})
	require.ErrorIs(t, err, ErrUnsupported)
}

// P05: a size is refused before anything of that size is allocated.
func TestP05GiantSize(t *testing.T) {
	head := func(width, height uint32) []byte { return pngFile(t, width, height, 8, 2, nil) }
	within := make([]byte, 6) // 13377 x 13377 is just within the limit
	binary.LittleEndian.PutUint16(within, 13377)
	tinyGIF := append([]byte("GIF89a"), 0x41, 0x34, 0x41, 0x34, 0x80, 0, 0, 1, 2, 3, 4, 5, 6)
	tinyGIF = append(tinyGIF, 0x2c, 0, 0, 0, 0, 0x41, 0x34, 0x41, 0x34, 0, 2, 2, 0x4c, 1, 0, 0x3b)
	hugeJPEG := flatCMYK(0, [4]int{255, 255, 255, 255})
	frame := bytes.Index(hugeJPEG, []byte{0xff, 0xc0}) + 5
	copy(hugeJPEG[frame:], []byte{0x34, 0x41, 0x34, 0x41})

	for _, tc := range []struct {
		name string
		data []byte
		opts DecodeOptions
		kind error
		size [2]int
	}{
		{"PNG header of 65500 x 65500", head(65500, 65500), DecodeOptions{}, ErrTooLarge, [2]int{65500, 65500}},
		{"sides whose product overflows", head(1<<31-1, 1<<31-1), DecodeOptions{}, ErrTooLarge, [2]int{1<<31 - 1, 1<<31 - 1}},
		{"one pixel over a limit of the caller", head(100, 101), DecodeOptions{MaxPixels: 10000}, ErrTooLarge, [2]int{100, 101}},
		{"PNG within the limit, without the data", head(13377, 13377), DecodeOptions{}, ErrCorrupt, [2]int{13377, 13377}},
		{"GIF within the limit, without the data", tinyGIF, DecodeOptions{}, ErrCorrupt, [2]int{13377, 13377}},
		{"JPEG within the limit, without the data", hugeJPEG, DecodeOptions{}, ErrCorrupt, [2]int{13377, 13377}},
		{"no width", head(0, 5), DecodeOptions{}, ErrCorrupt, [2]int{0, 5}},
		{"no height", head(5, 0), DecodeOptions{}, ErrCorrupt, [2]int{5, 0}},
		{"more bytes than allowed", head(5, 5), DecodeOptions{MaxBytes: 20}, ErrTooLarge, [2]int{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			p, err := Decode(tc.data, tc.opts)
			runtime.ReadMemStats(&after)
			require.Nil(t, p)
			var details *Error
			require.ErrorAs(t, err, &details)
			require.ErrorIs(t, err, tc.kind, "%v", err)
			require.Equal(t, tc.size, [2]int{details.Width, details.Height})
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(8<<20))
		})
	}
	for _, f := range readGolden(t).Bad {
		if strings.Contains(f.File, "bomb") {
			data := readFile(t, f.File)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := Decode(data, DecodeOptions{})
			runtime.ReadMemStats(&after)
			require.Error(t, err)
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(8<<20), f.File)
		}
	}
}

// P07: what is cut off is an error, at every place, in every format.
func TestP07Truncated(t *testing.T) {
	for name, data := range smallFiles(t) {
		t.Run(name, func(t *testing.T) {
			for i := range data {
				_, err := Decode(data[:i], DecodeOptions{})
				require.ErrorIs(t, err, ErrTruncated, "the first %d of %d bytes", i, len(data))
			}
		})
	}
	for _, data := range [][]byte{nil, {}, {0xff}, {0xff, 0xd8}, []byte("\x89PNG"), []byte("GIF"), []byte("RIFF\x10\x00")} {
		_, err := Decode(data, DecodeOptions{})
		require.ErrorIs(t, err, ErrTruncated, "% x", data)
	}
	// A decoder that stops at the last pixel would not see these.
	whole := readFile(t, "in/jpeg_progressive_444.jpg")
	scan := bytes.LastIndex(whole, []byte{0xff, 0xda})
	_, err := Decode(append(bytes.Clone(whole[:scan]), 0xff, 0xd9), DecodeOptions{})
	require.NoError(t, err, "a progressive picture may stop at any scan, if it says so")
	first := bytes.Index(whole, []byte{0xff, 0xda})
	_, err = Decode(append(bytes.Clone(whole[:first]), 0xff, 0xd9), DecodeOptions{})
	require.ErrorIs(t, err, ErrCorrupt, "no scan at all")
}

// P08: what is not a picture that is read here is named.
func TestP08Unsupported(t *testing.T) {
	for _, tc := range []struct{ name, data, kind string }{
		{"AVIF", "\x00\x00\x00\x1cftypavif\x00\x00\x00\x00avifmif1miaf", "AVIF"},
		{"AVIF under a general brand", "\x00\x00\x00\x1cftypmif1\x00\x00\x00\x00mif1avifmiaf", "AVIF"},
		{"HEIC", "\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", "HEIC"},
		{"HEIF of an unknown codec", "\x00\x00\x00\x14ftypmif1\x00\x00\x00\x00mif1", "HEIF"},
		{"film", "\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2", "MP4"},
		{"HTML", "<!DOCTYPE html><html><body>404</body></html>", "HTML"},
		{"HTML behind spaces and a mark", "\xef\xbb\xbf\n  <html lang=en>", "HTML"},
		{"HTML as UTF-16", "\xff\xfe<\x00h\x00t\x00m\x00l\x00>\x00", "HTML"},
		{"SVG", `<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>`, "SVG"},
		{"SVG behind a declaration", "<?xml version=\"1.0\"?>\n<!-- drawn -->\n<svg/>", "SVG"},
		{"XML", `<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>`, "XML"},
		{"JSON", `{"error": "not found"}`, "JSON"},
		{"JPEG XL", "\xff\x0a\xfa\x1f\x01\x90\x00", "JPEG XL"},
		{"PDF", "%PDF-1.7\n", "PDF"},
		{"BigTIFF", "II+\x00\x08\x00\x00\x00", "BigTIFF"},
		{"sound in RIFF", "RIFF\x24\x00\x00\x00WAVEfmt \x10\x00", "RIFF"},
		{"a text that begins like a bitmap", "BMW is a maker of cars in Bavaria", "text"},
		{"bytes", "\x01\x02\x03\x04\x05\x06\x07\x08\x09", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Decode([]byte(tc.data), DecodeOptions{})
			require.ErrorIs(t, err, ErrUnsupported)
			var details *Error
			require.ErrorAs(t, err, &details)
			require.Equal(t, tc.kind, details.Format)
			require.Contains(t, err.Error(), tc.kind)
		})
	}
}

// greyRow is a picture of one row.
func greyRow(levels ...byte) *Picture {
	p := newPicture(len(levels), 1)
	for i, v := range levels {
		p.Pix[3*i], p.Pix[3*i+1], p.Pix[3*i+2] = v, v, v
	}
	return p
}

// P09: the filter widens with the shrink factor.
func TestP09LowPass(t *testing.T) {
	for _, tc := range []struct {
		from, want *Picture
	}{
		{greyRow(0, 255, 0, 255, 0, 255, 0, 255), greyRow(116, 139)},
		{greyRow(0, 0, 0, 0, 255, 255, 255, 255), greyRow(0, 17, 238, 255)},
	} {
		got, err := tc.from.Resize(tc.want.Width, 1, Bicubic)
		require.NoError(t, err)
		require.Equal(t, tc.want, got)
		// Turned by 90 degrees it is the other pass.
		got, err = tc.from.upright(6).Resize(1, tc.want.Width, Bicubic)
		require.NoError(t, err)
		require.Equal(t, tc.want.upright(6), got)
	}
}

// P10: both sides go straight to the model's size.
func TestP10NotCropped(t *testing.T) {
	wide := newPicture(200, 100)
	for y := range 100 {
		for x := range 200 {
			wide.row(y)[3*x+x/100*2] = 255 // red, then blue
		}
	}
	c := goldenConfigs(t, 56)["siglip"]
	for name, p := range map[string]*Picture{"wide": wide, "high": wide.upright(6)} {
		t.Run(name, func(t *testing.T) {
			data, _, err := c.Tensor(p)
			require.NoError(t, err)
			first, last := 0, 56*56-1
			require.Equal(t, [2]float32{1, -1}, [2]float32{data[first], data[2*56*56+first]}, "red corner")
			require.Equal(t, [2]float32{-1, 1}, [2]float32{data[last], data[2*56*56+last]}, "blue corner")
		})
	}
}

// P11: the constants are the config's.
func TestP11Normalisation(t *testing.T) {
	c := goldenConfigs(t, 56)["siglip"]
	table := c.tables()[1]
	require.Equal(t, float32(-1), table[0])
	require.InDelta(t, 0.00392156862745098, table[128], 1e-7)
	require.Equal(t, float32(1), table[255])

	other := *c
	other.Mean[1], other.Std[1] = 0.25, 0.125
	require.Equal(t, float32(-2), other.tables()[1][0])
	require.Equal(t, float32(6), other.tables()[1][255])
	require.Equal(t, *c.tables(), [3][256]float32{other.tables()[0], table, other.tables()[2]})
	other.Normalize = false
	require.Equal(t, float32(1), other.tables()[1][255])
	other.Rescale = false
	require.Equal(t, float32(255), other.tables()[1][255])
}

// P12: every size from 1 x 1 on works with every processor, and at once: thin pictures neither fill
// the memory with a padded square nor with the long side that a shortest edge makes.
func TestP12Thin(t *testing.T) {
	for _, size := range [][2]int{{1, 1}, {1, 4096}, {10000, 1}, {4, 10000}, {3, 1}, {1, 3}, {2, 2}, {1, 500_000}, {500_000, 1}} {
		p := newPicture(size[0], size[1])
		for i := range p.Pix {
			p.Pix[i] = 51
		}
		for name, c := range goldenConfigs(t, 56) {
			t.Run(fmt.Sprintf("%dx%d %s", size[0], size[1], name), func(t *testing.T) {
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				data, shape, err := c.Tensor(p)
				runtime.ReadMemStats(&after)
				require.NoError(t, err)
				require.Equal(t, [3]int{3, 56, 56}, shape)
				require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(48<<20))
				middle := 28*56 + 28
				if size[0] > 1000 || size[1] > 1000 {
					return // padded, the picture is thinner than a pixel
				}
				require.Equal(t, c.tables()[0][51], data[middle])
			})
		}
	}
}

// P13: RGB, planar, row by row.
func TestP13Planes(t *testing.T) {
	c := goldenConfigs(t, 2)["siglip"]
	red := newPicture(5, 4)
	for i := 0; i < len(red.Pix); i += 3 {
		red.Pix[i] = 255
	}
	data, shape, err := c.Tensor(red)
	require.NoError(t, err)
	require.Equal(t, [3]int{3, 2, 2}, shape)
	require.Equal(t, []float32{1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1, -1}, data)

	four := &Picture{Width: 2, Height: 2, Pix: []byte{255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255}}
	data, _, err = c.Tensor(four)
	require.NoError(t, err)
	require.Equal(t, []float32{1, -1, -1, 1, -1, 1, -1, 1, -1, -1, 1, 1}, data)
}

// P16: text that is a picture decodes; text that names one is refused and opened by nobody.
func TestP16Text(t *testing.T) {
	small := readFile(t, "in/png_rgba_cases.png")
	want, err := Decode(small, DecodeOptions{})
	require.NoError(t, err)
	std := base64.StdEncoding.EncodeToString(small)
	wrapped := ""
	for rest := std; rest != ""; rest = rest[min(len(rest), 20):] {
		wrapped += rest[:min(len(rest), 20)] + "\r\n"
	}
	escaped := ""
	for _, b := range small {
		escaped += fmt.Sprintf("%%%02x", b)
	}
	for name, text := range map[string]string{
		"data URL":                     "data:image/png;base64," + std,
		"data URL, shouted":            "DATA:image/png;BASE64," + std,
		"data URL without a type":      "data:;base64," + std,
		"data URL of the wrong type":   "data:image/jpeg;base64," + std,
		"data URL with a parameter":    "data:image/png;name=a.png;base64," + std,
		"data URL, escaped base64":     "data:image/png;base64," + strings.NewReplacer("+", "%2B", "/", "%2F", "=", "%3D").Replace(std),
		"data URL, escaped bytes":      "data:image/png," + escaped,
		"plain":                        std,
		"without padding":              strings.TrimRight(std, "="),
		"wrapped":                      wrapped,
		"wrapped with tabs and spaces": "\t " + strings.ReplaceAll(wrapped, "\r\n", "\n\t ") + " ",
		"the URL alphabet":             base64.URLEncoding.EncodeToString(small),
		"data URL, wrapped":            "data:image/png;base64,\n" + wrapped,
	} {
		t.Run(name, func(t *testing.T) {
			got, err := FromText(text, DecodeOptions{})
			require.NoError(t, err)
			require.Equal(t, want, got)
		})
	}
	photo := base64.StdEncoding.EncodeToString(readFile(t, "in/jpeg_gray.jpg"))
	require.True(t, strings.HasPrefix(photo, "/9j/"), "which looks like a path")
	_, err = FromText(photo, DecodeOptions{})
	require.NoError(t, err)

	for _, tc := range []struct {
		text string
		kind error
	}{
		{"https://example.com/cat.png", ErrUnsupported},
		{"file:///etc/passwd", ErrUnsupported},
		{"//example.com/cat", ErrUnsupported},
		{"../secret.txt", ErrUnsupported},
		{"/etc/hosts.allow", ErrUnsupported},
		{"/etc/passwd", ErrUnsupported},
		{"doc.go", ErrUnsupported}, // exists beside this test
		{`C:\pictures\cat`, ErrUnsupported},
		{"~/cat", ErrUnsupported},
		{"s3://bucket/cat", ErrUnsupported},
		{"javascript:alert(1)", ErrUnsupported},
		{"what is this!", ErrCorrupt},
		{"iVBORw0KGgo=====A", ErrCorrupt},
		{"data:image/png;base64", ErrCorrupt},
		{"data:image/png;base64,@@@@", ErrCorrupt},
		{"data:image/png,%zz", ErrCorrupt},
		{"data:text/html,<html></html>", ErrUnsupported},
		{"data:image/png;base64,", ErrTruncated},
		{"", ErrTruncated},
		{std[:40], ErrTruncated},
	} {
		t.Run(tc.text, func(t *testing.T) {
			p, err := FromText(tc.text, DecodeOptions{})
			require.Nil(t, p)
			require.ErrorIs(t, err, tc.kind, "%v", err)
			var details *Error
			require.ErrorAs(t, err, &details)
		})
	}
	_, err = FromText(std, DecodeOptions{MaxBytes: 10})
	require.ErrorIs(t, err, ErrTooLarge)
}

// P98: the digest covers the size, the config's key every setting.
func TestP98Keys(t *testing.T) {
	pix := make([]byte, 3*30*150)
	digests := map[[32]byte]bool{}
	for _, p := range []Picture{{30, 150, pix}, {150, 30, pix}, {1, 4500, pix}, {30, 149, pix[:3*30*149]}} {
		digests[p.Digest()] = true
	}
	require.Len(t, digests, 4)

	base := *goldenConfigs(t, 56)["clip"]
	keys := map[string]bool{base.Key(): true}
	for _, change := range []func(*Config){
		func(c *Config) { c.PadSquare = true },
		func(c *Config) { c.Width, c.Height, c.ShortestEdge = 56, 56, 0 },
		func(c *Config) { c.Width, c.Height, c.ShortestEdge = 56, 65, 0 },
		func(c *Config) { c.Width, c.Height, c.ShortestEdge = 65, 56, 0 },
		func(c *Config) { c.ShortestEdge = 57 },
		func(c *Config) { c.Resample = Lanczos },
		func(c *Config) { c.CropWidth = 55 },
		func(c *Config) { c.CropHeight = 55 },
		func(c *Config) { c.Rescale = false },
		func(c *Config) { c.RescaleFactor = 1.0 / 256 },
		func(c *Config) { c.Normalize = false },
		func(c *Config) { c.Mean[0] += 1e-9 },
		func(c *Config) { c.Mean[0], c.Mean[1] = c.Mean[1], c.Mean[0] },
		func(c *Config) { c.Std[2] = 0.5 },
	} {
		changed := base
		change(&changed)
		require.False(t, keys[changed.Key()], changed.Key())
		keys[changed.Key()] = true
	}
	same := base
	require.True(t, keys[same.Key()])
}

// smallFiles is one small picture of each kind, some with several frames.
func smallFiles(t testing.TB) map[string][]byte {
	files := map[string][]byte{}
	for _, name := range []string{"jpeg_5x7_420.jpg", "jpeg_orient6.jpg", "png_gray2_trns.png", "png_exif6.png", "png_interlaced_3x5.png",
		"gif_static.gif", "gif_animated.gif", "webp_lossy.webp", "webp_alpha_lossy.webp", "webp_alpha_lossless.webp", "bmp_24.bmp", "bmp_pal8.bmp", "tiff_lzw.tif"} {
		files[name] = readFile(t, "in/"+name)
	}
	ramp := image.NewRGBA(image.Rect(0, 0, 16, 16))
	for i := range ramp.Pix {
		ramp.Pix[i] = byte(i*7) | byte(i%4/3*255)
	}
	files["16x16.jpg"], files["16x16.png"] = encodeJPEG(t, ramp), encodePNG(t, ramp)
	var out bytes.Buffer
	require.NoError(t, gif.Encode(&out, ramp, &gif.Options{NumColors: 16}))
	files["16x16.gif"] = out.Bytes()
	return files
}

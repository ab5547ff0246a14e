package imageprep

import (
	"bytes"
	"errors"
	"image"
	"image/color"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// requirePictureOrError: whatever the data, the result is a whole picture or one typed error.
func requirePictureOrError(t testing.TB, data []byte, opts DecodeOptions) {
	p, err := Decode(data, opts)
	if err == nil {
		require.NoError(t, p.check())
		require.LessOrEqual(t, int64(p.Width)*int64(p.Height), opts.maxPixels())
		return
	}
	require.Nil(t, p)
	var details *Error
	require.ErrorAs(t, err, &details)
	kinds := 0
	for _, kind := range []error{ErrTruncated, ErrCorrupt, ErrUnsupported, ErrTooLarge} {
		if errors.Is(err, kind) {
			kinds++
		}
	}
	require.Equal(t, 1, kinds, "%v", err)
}

// P06: no bytes crash a decoder. Every prefix is in TestP07Truncated.
func TestP06ByteFlips(t *testing.T) {
	for name, data := range smallFiles(t) {
		t.Run(name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(6, uint64(len(data))))
			for range 1000 {
				flipped := bytes.Clone(data)
				for range 1 + random.IntN(3) {
					flipped[random.IntN(len(data))] ^= 1 << random.IntN(8)
				}
				requirePictureOrError(t, flipped, DecodeOptions{MaxPixels: 1 << 20})
			}
		})
	}
}

// P06: a panic inside a decoder, or inside an image.Image of the caller's, is an error.
func TestP06Guard(t *testing.T) {
	err := guard("PNG", func() error { panic("index out of range") })
	require.ErrorIs(t, err, ErrCorrupt)
	require.ErrorContains(t, err, "index out of range")

	short := image.NewNRGBA(image.Rect(0, 0, 9, 9))
	short.Pix = short.Pix[:17]
	outside := image.NewPaletted(image.Rect(0, 0, 2, 2), color.Palette{color.White})
	outside.Pix[3] = 200
	var missing *image.RGBA
	for name, img := range map[string]image.Image{
		"fewer pixels than the bounds say": short,
		"an index beyond the palette":      outside,
		"a nil pointer":                    missing,
		"nothing":                          nil,
		"no size":                          image.NewRGBA(image.Rectangle{}),
	} {
		p, err := FromImage(img, DecodeOptions{})
		require.Nil(t, p, name)
		require.ErrorIs(t, err, ErrCorrupt, name)
	}
	_, err = FromImage(image.NewUniform(color.White), DecodeOptions{})
	require.ErrorIs(t, err, ErrTooLarge, "without end")
}

// fuzzFormat starts from the small files of one format, good and bad.
func fuzzFormat(f *testing.F, ext string) {
	for _, dir := range []string{"in", "bad"} {
		files, err := filepath.Glob(filepath.Join(goldenDir, dir, "*"+ext))
		require.NoError(f, err)
		require.NotEmpty(f, files)
		for _, file := range files {
			if data := readFile(f, filepath.Join(dir, filepath.Base(file))); len(data) < 4000 {
				f.Add(data)
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		requirePictureOrError(t, data, DecodeOptions{MaxPixels: 1 << 18})
	})
}

func FuzzDecodePNG(f *testing.F)  { fuzzFormat(f, ".png") }
func FuzzDecodeJPEG(f *testing.F) { fuzzFormat(f, ".jpg") }
func FuzzDecodeGIF(f *testing.F)  { fuzzFormat(f, ".gif") }
func FuzzDecodeWebP(f *testing.F) { fuzzFormat(f, ".webp") }
func FuzzDecodeBMP(f *testing.F)  { fuzzFormat(f, ".bmp") }

func FuzzDecodeTIFF(f *testing.F) {
	files, err := filepath.Glob("testdata/variants/*.tif")
	require.NoError(f, err)
	require.NotEmpty(f, files)
	for _, file := range files {
		f.Add(readVariant(f, filepath.Base(file)))
	}
	f.Add(readFile(f, "in/tiff_lzw.tif"))
	f.Fuzz(func(t *testing.T, data []byte) {
		requirePictureOrError(t, data, DecodeOptions{MaxPixels: 1 << 18})
	})
}

func FuzzFromText(f *testing.F) {
	f.Add("data:image/png;base64,iVBORw0KGgo=")
	f.Add("../secret.txt")
	f.Add("data:,%")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := FromText(text, DecodeOptions{MaxPixels: 1 << 18})
		if err == nil {
			require.NoError(t, p.check())
			return
		}
		var details *Error
		require.ErrorAs(t, err, &details)
		require.False(t, strings.HasSuffix(err.Error(), ": "))
	})
}

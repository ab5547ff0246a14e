package imageprep

import (
	"bytes"
	"image"
	"image/color"
	"image/draw"
	"image/gif"
	"image/jpeg"
	"image/png"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"
	"golang.org/x/image/webp"
)

// TestFromImageEqualsDecode: a picture that the caller decoded with the usual decoders gives the
// pixels of its file, wherever those decoders keep what that takes.
func TestFromImageEqualsDecode(t *testing.T) {
	decoders := map[string]func([]byte) (image.Image, error){
		"PNG":  func(d []byte) (image.Image, error) { return png.Decode(bytes.NewReader(d)) },
		"JPEG": func(d []byte) (image.Image, error) { return jpeg.Decode(bytes.NewReader(d)) },
		"GIF":  func(d []byte) (image.Image, error) { return gif.Decode(bytes.NewReader(d)) },
		"BMP":  func(d []byte) (image.Image, error) { return bmp.Decode(bytes.NewReader(d)) },
		"TIFF": func(d []byte) (image.Image, error) { return tiff.Decode(bytes.NewReader(d)) },
		"WEBP": func(d []byte) (image.Image, error) { return webp.Decode(bytes.NewReader(d)) },
	}
	lost := map[string]string{
		"jpeg_ycck.jpg":         "Go converts its chroma without interpolating",
		"jpeg_no_eoi.jpg":       "not decoded",
		"webp_lossy.webp":       "Go's type does not say that the planes have video range",
		"webp_alpha_lossy.webp": "the same",
		"webp_animated.webp":    "x/image does not decode it",
	}
	for _, f := range readGolden(t).Files {
		name := filepath.Base(f.File)
		if lost[name] != "" || f.Upright != nil { // or the orientation tag
			continue
		}
		t.Run(name, func(t *testing.T) {
			data := readFile(t, f.File)
			img, err := decoders[f.Format](data)
			require.NoError(t, err)
			for _, alpha := range []Alpha{AlphaWhite, AlphaDrop} {
				want, err := Decode(data, DecodeOptions{Alpha: alpha})
				require.NoError(t, err)
				got, err := FromImage(img, DecodeOptions{Alpha: alpha})
				require.NoError(t, err)
				require.Equal(t, want, got, "%v, %T", alpha, img)
			}
		})
	}
}

// opaqueImage hides the type of an image, so that only At is left.
type opaqueImage struct{ image.Image }

// TestFromImageThroughAt: an unknown type is read through At, with the same result where At keeps
// straight colour.
func TestFromImageThroughAt(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	r := image.Rect(-3, 5, 14, 16)
	straight, deep, multiplied := image.NewNRGBA(r), image.NewNRGBA64(r), image.NewRGBA(r)
	grey, ink := image.NewGray16(r), image.NewCMYK(r)
	for _, pix := range [][]byte{straight.Pix, deep.Pix, grey.Pix, ink.Pix} {
		for i := range pix {
			pix[i] = byte(random.Uint32())
		}
	}
	draw.Draw(multiplied, r, straight, r.Min, draw.Src)
	for _, img := range []image.Image{straight, deep, multiplied, grey, ink} {
		for _, alpha := range []Alpha{AlphaWhite, AlphaDrop} {
			want, err := FromImage(img, DecodeOptions{Alpha: alpha})
			require.NoError(t, err)
			got, err := FromImage(opaqueImage{img}, DecodeOptions{Alpha: alpha})
			require.NoError(t, err)
			require.Equal(t, want, got, "%T %v", img, alpha)
		}
	}
	// Colour that is multiplied already shows on white as itself and the white behind it.
	p, err := FromImage(multiplied, DecodeOptions{})
	require.NoError(t, err)
	for i, v := range p.Pix {
		pixel := multiplied.Pix[i/3*4:]
		require.Equal(t, int(pixel[i%3])+255-int(pixel[3]), int(v), "sample %d", i)
	}
}

// TestFromImageSubImage: a part of an image is that part, also where its edge halves a chroma
// sample; only interpolation looks at what lies beyond the edge.
func TestFromImageSubImage(t *testing.T) {
	parts := []image.Rectangle{image.Rect(0, 0, 9, 7), image.Rect(4, 4, 30, 20), image.Rect(3, 5, 10, 6), image.Rect(5, 3, 6, 4)}
	random := rand.New(rand.NewPCG(3, 4))
	for ratio := image.YCbCrSubsampleRatio444; ratio <= image.YCbCrSubsampleRatio410; ratio++ {
		m := image.NewYCbCr(image.Rect(0, 0, 32, 24), ratio)
		for i := range m.Y {
			m.Y[i] = byte(random.Uint32())
		}
		for i := range m.Cb { // one colour, so that interpolation does not show
			m.Cb[i], m.Cr[i] = 90, 170
		}
		whole, err := FromImage(m, DecodeOptions{})
		require.NoError(t, err)
		for _, part := range parts {
			p, err := FromImage(m.SubImage(part), DecodeOptions{})
			require.NoError(t, err)
			for y := range p.Height {
				from := 3 * part.Min.X
				require.Equal(t, whole.row(part.Min.Y + y)[from:from+3*p.Width], p.row(y), "%v %v", ratio, part)
			}
		}
	}
	straight := image.NewNRGBA(image.Rect(0, 0, 8, 8))
	straight.Set(5, 6, color.NRGBA{1, 2, 3, 255})
	p, err := FromImage(straight.SubImage(image.Rect(5, 6, 7, 8)), DecodeOptions{})
	require.NoError(t, err)
	require.Equal(t, []byte{1, 2, 3, 255, 255, 255, 255, 255, 255, 255, 255, 255}, p.Pix)
}

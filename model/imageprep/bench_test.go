package imageprep

import (
	"image"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// fullHD is a smooth picture of 1920 x 1080 with some noise, as a JPEG of quality 95, 4:2:0.
func fullHD(b *testing.B) []byte {
	m := image.NewYCbCr(image.Rect(0, 0, 1920, 1080), image.YCbCrSubsampleRatio420)
	for i := range m.Y {
		m.Y[i] = byte(128 + 90*math.Sin(float64(i%1920)/37)*math.Cos(float64(i/1920)/53) + float64(uint32(i)*2654435761>>24&7))
	}
	for i := range m.Cb {
		m.Cb[i], m.Cr[i] = byte(i%960/8+60), byte(i/960/6+90)
	}
	return encodeJPEG(b, m)
}

func BenchmarkDecode(b *testing.B) {
	data := fullHD(b)
	b.Run("format=jpeg/size=1920x1080", func(b *testing.B) {
		b.SetBytes(1920 * 1080 * 3)
		for b.Loop() {
			_, err := Decode(data, DecodeOptions{})
			require.NoError(b, err)
		}
	})
}

func BenchmarkTensor(b *testing.B) {
	p, err := Decode(fullHD(b), DecodeOptions{})
	require.NoError(b, err)
	for name, c := range goldenConfigs(b, 384) {
		b.Run("processor="+name+"/from=1920x1080/to=384", func(b *testing.B) {
			b.SetBytes(int64(len(p.Pix)))
			for b.Loop() {
				_, _, err := c.Tensor(p)
				require.NoError(b, err)
			}
		})
	}
}

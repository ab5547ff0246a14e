package imageprep

import (
	"image"
	"image/color"
	"slices"
)

// fromImage reads the samples of img as they are stored, 16-bit ones by their upper half. img's
// bounds are not empty.
func fromImage(img image.Image) straight {
	b := img.Bounds()
	w, h := b.Dx(), b.Dy()
	s := newStraight(w, h)
	switch m := img.(type) {
	case *image.Gray:
		s.fill(m.Pix, m.Stride, 1, func(dst, src []byte) { dst[0], dst[1], dst[2] = src[0], src[0], src[0] })
	case *image.Gray16:
		s.fill(m.Pix, m.Stride, 2, func(dst, src []byte) { dst[0], dst[1], dst[2] = src[0], src[0], src[0] })
	case *image.CMYK:
		s.fill(m.Pix, m.Stride, 4, func(dst, src []byte) {
			dst[0], dst[1], dst[2] = inkRGB(src[0], src[1], src[2], 255-src[3])
		})
	case *image.NRGBA:
		s = s.withAlpha()
		s.fillAlpha(m.Pix, m.Stride, 4, func(dst, src []byte) byte {
			copy(dst, src[:3])
			return src[3]
		})
	case *image.NRGBA64:
		s = s.withAlpha()
		s.fillAlpha(m.Pix, m.Stride, 8, func(dst, src []byte) byte {
			dst[0], dst[1], dst[2] = src[0], src[2], src[4]
			return src[6]
		})
	case *image.RGBA:
		if m.Opaque() {
			s.fill(m.Pix, m.Stride, 4, func(dst, src []byte) { copy(dst, src[:3]) })
			break
		}
		s = s.withAlpha()
		s.fillAlpha(m.Pix, m.Stride, 4, func(dst, src []byte) byte {
			c := unmultiply(uint32(src[0])*0x101, uint32(src[1])*0x101, uint32(src[2])*0x101, uint32(src[3])*0x101)
			copy(dst, c[:3])
			return c[3]
		})
	case *image.RGBA64:
		s = s.withAlpha()
		wide := func(b []byte) uint32 { return uint32(b[0])<<8 | uint32(b[1]) }
		s.fillAlpha(m.Pix, m.Stride, 8, func(dst, src []byte) byte {
			c := unmultiply(wide(src), wide(src[2:]), wide(src[4:]), wide(src[6:]))
			copy(dst, c[:3])
			return c[3]
		})
	case *image.Paletted:
		s = s.withAlpha()
		colours := make([][4]byte, len(m.Palette))
		for i, c := range m.Palette {
			colours[i] = straightColour(c)
		}
		s.fillAlpha(m.Pix, m.Stride, 1, func(dst, src []byte) byte {
			c := colours[src[0]]
			copy(dst, c[:3])
			return c[3]
		})
	case *image.YCbCr:
		newJPEGPlanes(m).convert(s.Picture, yccRow)
	case *image.NYCbCrA:
		newJPEGPlanes(&m.YCbCr).convert(s.Picture, yccRow)
		s.alpha = packedPlane(m.A, m.AStride, w, h)
	default:
		s = s.withAlpha()
		for y := range h {
			for x := range w {
				c := straightColour(img.At(b.Min.X+x, b.Min.Y+y))
				copy(s.Pix[3*(y*w+x):], c[:3])
				s.alpha[y*w+x] = c[3]
			}
		}
	}
	return s
}

// fill calls f for each pixel with its place in s and its size bytes in pix.
func (s straight) fill(pix []byte, stride, size int, f func(dst, src []byte)) {
	pix = slices.Clip(pix) // slicing below must not reach beyond its length, into what is not the picture's
	for y := range s.Height {
		src, dst := pix[y*stride:y*stride+size*s.Width], s.row(y)
		for x := range s.Width {
			f(dst[3*x:3*x+3], src[size*x:size*x+size])
		}
	}
}

// fillAlpha is fill for an f that returns alpha.
func (s straight) fillAlpha(pix []byte, stride, size int, f func(dst, src []byte) byte) {
	i := 0
	s.fill(pix, stride, size, func(dst, src []byte) {
		s.alpha[i] = f(dst, src)
		i++
	})
}

// straightColour is c with 8 bits a sample and alpha last.
func straightColour(c color.Color) [4]byte {
	switch c := c.(type) {
	case color.NRGBA:
		return [4]byte{c.R, c.G, c.B, c.A}
	case color.NRGBA64:
		return [4]byte{byte(c.R >> 8), byte(c.G >> 8), byte(c.B >> 8), byte(c.A >> 8)}
	case color.CMYK:
		r, g, b := inkRGB(c.C, c.M, c.Y, 255-c.K)
		return [4]byte{r, g, b, 255}
	case color.YCbCr:
		r, g, b := yccRGB(c.Y, c.Cb, c.Cr)
		return [4]byte{r, g, b, 255}
	case color.NYCbCrA:
		r, g, b := yccRGB(c.Y, c.Cb, c.Cr)
		return [4]byte{r, g, b, c.A}
	}
	return unmultiply(c.RGBA())
}

// unmultiply undoes the multiplication by alpha, of samples of 16 bits, and rounds to 8 such that
// what AlphaWhite makes of the result is the colour plus the white that shows through.
func unmultiply(r, g, b, a uint32) [4]byte {
	if a == 0 {
		return [4]byte{}
	}
	if a == 0xffff {
		return [4]byte{byte(r >> 8), byte(g >> 8), byte(b >> 8), 255}
	}
	one := func(c uint32) byte { return byte((min(c, a)*255 + a/2) / a) }
	return [4]byte{one(r), one(g), one(b), byte(a >> 8)}
}

// packedPlane is a plane without the gaps between its rows.
func packedPlane(pix []byte, stride, width, height int) []byte {
	pix = slices.Clip(pix)
	out := make([]byte, 0, width*height)
	for y := range height {
		out = append(out, pix[y*stride:y*stride+width]...)
	}
	return out
}

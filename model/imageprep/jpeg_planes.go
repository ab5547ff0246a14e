package imageprep

import (
	"image"
	"slices"
)

// jpegPlanes are the three planes of a JPEG, the second and third with one sample for hx columns
// and vy rows of the picture.
type jpegPlanes struct {
	width, height    int // of the picture
	luma, cb, cr     []byte
	lumaStride       int
	chromaStride     int
	hx, vy           int     // 1, 2 or 4; 1 or 2
	columns, rows    int     // of chroma that the picture touches
	offsetX, offsetY int     // where the picture begins in its first chroma sample; not 0 in a sub-image
	scratch          []int32 // one row of sums, for 2 x 2
}

// newJPEGPlanes looks at m, which is not empty. Its planes may be larger than the picture.
func newJPEGPlanes(m *image.YCbCr) *jpegPlanes {
	p := &jpegPlanes{
		width: m.Rect.Dx(), height: m.Rect.Dy(),
		luma: slices.Clip(m.Y), cb: slices.Clip(m.Cb), cr: slices.Clip(m.Cr), lumaStride: m.YStride, chromaStride: m.CStride,
		hx: 1, vy: 1,
	}
	switch m.SubsampleRatio {
	case image.YCbCrSubsampleRatio422:
		p.hx = 2
	case image.YCbCrSubsampleRatio420:
		p.hx, p.vy = 2, 2
	case image.YCbCrSubsampleRatio440:
		p.vy = 2
	case image.YCbCrSubsampleRatio411:
		p.hx = 4
	case image.YCbCrSubsampleRatio410:
		p.hx, p.vy = 4, 2
	}
	p.offsetX, p.offsetY = floorMod(m.Rect.Min.X, p.hx), floorMod(m.Rect.Min.Y, p.vy)
	p.columns = (p.offsetX + p.width + p.hx - 1) / p.hx
	p.rows = (p.offsetY + p.height + p.vy - 1) / p.vy
	return p
}

func floorMod(a, n int) int { return ((a % n) + n) % n }

// rowConverter turns one row of three planes into interleaved RGB.
type rowConverter func(dst, a, b, c []byte)

// convert interpolates the chroma planes as libjpeg-turbo does and converts each row into dst.
func (p *jpegPlanes) convert(dst *Picture, row rowConverter) {
	cb, cr := make([]byte, p.columns*p.hx), make([]byte, p.columns*p.hx)
	if p.hx == 2 && p.vy == 2 {
		p.scratch = make([]int32, p.columns)
	}
	for y := range p.height {
		luma := p.luma[y*p.lumaStride : y*p.lumaStride+p.width]
		b, c := p.chromaRow(cb, p.cb, y+p.offsetY), p.chromaRow(cr, p.cr, y+p.offsetY)
		row(dst.row(y), luma, b[p.offsetX:p.offsetX+p.width], c[p.offsetX:p.offsetX+p.width])
	}
}

// chromaRow is row y of a chroma plane at the picture's size: interpolated into dst, or the plane's
// own row where there is nothing to interpolate.
//
// The weights are libjpeg's triangle filter ("fancy upsampling", jdsample.c): 3/4 of the sample that
// a pixel lies in and 1/4 of the next nearest, in each direction; its rounding alternates, so that
// it favours neither side. Sampling by four, and planes of one or two columns, are repeated.
func (p *jpegPlanes) chromaRow(dst, plane []byte, y int) []byte {
	at := func(row int) []byte {
		row = min(max(row, 0), p.rows-1)
		return plane[row*p.chromaStride : row*p.chromaStride+p.columns]
	}
	near := at(y / p.vy)
	far := at(y/2 + 1)
	if y%2 == 0 {
		far = at(y/2 - 1)
	}
	switch {
	case p.hx == 1 && p.vy == 1:
		return near
	case p.hx == 1: // two rows
		bias := 1 + y%2
		for i, n := range near {
			dst[i] = byte((3*int(n) + int(far[i]) + bias) >> 2)
		}
	case p.hx == 4 || p.columns <= 2:
		for i, n := range near {
			for j := range p.hx {
				dst[p.hx*i+j] = n
			}
		}
	case p.vy == 1: // two columns
		last := p.columns - 1
		for i, n := range near {
			left, right := int(near[max(i-1, 0)]), int(near[min(i+1, last)])
			dst[2*i] = byte((3*int(n) + left + 1) >> 2)
			dst[2*i+1] = byte((3*int(n) + right + 2) >> 2)
		}
	default: // two of each
		sums := p.scratch
		for i, n := range near {
			sums[i] = 3*int32(n) + int32(far[i])
		}
		last := p.columns - 1
		left := sums[0]
		for i, s := range sums {
			right := sums[min(i+1, last)]
			dst[2*i] = byte((3*s + left + 8) >> 4)
			dst[2*i+1] = byte((3*s + right + 7) >> 4)
			left = s
		}
	}
	return dst
}

// Fixed-point products of the colour conversion, 16 bits behind the point, by sample value.
var crToR, cbToB, crToG, cbToG = func() (rr, bb, rg, bg [256]int32) {
	for i := range int32(256) {
		x := i - 128
		rr[i] = (91881*x + 32768) >> 16
		bb[i] = (116130*x + 32768) >> 16
		rg[i] = -46802*x + 32768
		bg[i] = -22554 * x
	}
	return
}()

// yccRow converts YCbCr with full range (JFIF 1.02), rounded as in libjpeg.
func yccRow(dst, luma, cb, cr []byte) {
	cb, cr, dst = cb[:len(luma)], cr[:len(luma)], dst[:3*len(luma)]
	for x, l := range luma {
		y, b, r := int32(l), cb[x], cr[x]
		dst[3*x] = clamp8(y + crToR[r])
		dst[3*x+1] = clamp8(y + (cbToG[b]+crToG[r])>>16)
		dst[3*x+2] = clamp8(y + cbToB[b])
	}
}

// yccRGB is yccRow for one pixel.
func yccRGB(y, cb, cr byte) (r, g, b byte) {
	var out [3]byte
	yccRow(out[:], []byte{y}, []byte{cb}, []byte{cr})
	return out[0], out[1], out[2]
}

// copyRow is for planes that are RGB already.
func copyRow(dst, a, b, c []byte) {
	for x := range a {
		dst[3*x], dst[3*x+1], dst[3*x+2] = a[x], b[x], c[x]
	}
}

// invertedRow is for planes of inverted ink.
func invertedRow(dst, a, b, c []byte) {
	for x := range a {
		dst[3*x], dst[3*x+1], dst[3*x+2] = 255-a[x], 255-b[x], 255-c[x]
	}
}

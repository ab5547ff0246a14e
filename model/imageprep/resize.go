package imageprep

import (
	"runtime"
	"sync"
)

// Resize gives the picture at width x height, resampled as Pillow 13 does, bit for bit: one pass per
// side that changes, in fixed point, rounded to 8 bits after each. Shrinking widens the filter by
// the same factor, so that no detail aliases. A picture that has the size already is copied.
//
// Errors: ErrTooLarge for over 2^31 samples, ErrCorrupt for a size or picture that is none,
// ErrUnsupported for an unknown filter.
func (p *Picture) Resize(width, height int, f Filter) (*Picture, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	if err := (DecodeOptions{MaxPixels: (1<<31 - 1) / 3}).checkSize("resized picture", width, height); err != nil {
		return nil, err
	}
	if f < Nearest || f > Hamming {
		return nil, fault(ErrUnsupported, "", "%v", f)
	}
	return resize(canvas{picture: p, width: p.Width, height: p.Height}, f, width, height, window{0, 0, width, height}), nil
}

// canvas is a picture with background around it, which is not stored: a thin picture padded to a
// square would be larger than its file by far.
type canvas struct {
	picture       *Picture
	width, height int
	x, y          int // where the picture lies
	background    [3]byte
}

// square is p in the middle of a square; the offset rounds down.
func square(p *Picture, background [3]byte) canvas {
	n := max(p.Width, p.Height)
	return canvas{picture: p, width: n, height: n, x: (n - p.Width) / 2, y: (n - p.Height) / 2, background: background}
}

// window is the part of a resized picture that is wanted.
type window struct{ x, y, width, height int }

// resize gives the window of what c is at width x height. Only the window is ever computed: the
// shortest edge of a thin picture at the model's size can make the other one huge.
//
// Pillow 13 goes down first if the height shrinks by more than twice what the width does, which an
// experiment over thousands of sizes found (older versions always go across first). As the picture
// between the passes has 8 bits, the order shows in the result.
func resize(c canvas, f Filter, width, height int, win window) *Picture {
	if f == Nearest {
		return nearest(c, width, height, win)
	}
	across := newAxis(f, c.width, width, c.x, c.picture.Width)
	down := newAxis(f, c.height, height, c.y, c.picture.Height)
	// Background needs no passes: weights sum to 1, so that it stays what it is.
	part := window{}
	part.x, part.width = across.touched(win.x, win.width)
	part.y, part.height = down.touched(win.y, win.height)
	lessHeight, lessWidth := c.height-height, c.width-width
	p := newPicture(part.width, part.height)
	if part.width == 0 || part.height == 0 {
		// nothing but background
	} else if lessHeight > 0 && lessHeight > 2*lessWidth {
		first, end := across.span(part.x, part.width)
		p = down.down(c.picture, first, end, part.y, part.height, c.background)
		across.narrow(first, end)
		p = across.across(p, 0, p.Height, part.x, part.width, c.background)
	} else {
		first, end := down.span(part.y, part.height)
		p = across.across(c.picture, first, end, part.x, part.width, c.background)
		down.narrow(first, end)
		p = down.down(p, 0, p.Width, part.y, part.height, c.background)
	}
	if part == win {
		return p
	}
	return canvas{picture: p, width: win.width, height: win.height, x: part.x - win.x, y: part.y - win.y, background: c.background}.stored()
}

// stored is the canvas with its background written out.
func (c canvas) stored() *Picture {
	p := newPicture(c.width, c.height)
	for i := 0; i < len(p.Pix); i += 3 {
		copy(p.Pix[i:], c.background[:])
	}
	for y := range c.picture.Height {
		copy(p.row(c.y + y)[3*c.x:], c.picture.row(y))
	}
	return p
}

// mostWeights is how many weights are kept at a time, for a block of columns: 4 MiB. Few pictures
// have more than one block.
const mostWeights = 1 << 20

// across resamples rows first to end-1 of p to columns x to x+width-1.
func (a *axis) across(p *Picture, first, end, x, width int, background [3]byte) *Picture {
	out := newPicture(width, end-first)
	block := min(width, max(1, mostWeights/a.mostTaps))
	var buf []int32
	var scratch []float64
	columns := make([]taps, block)
	for from := 0; from < width; from += block {
		columns = columns[:min(block, width-from)]
		buf = buf[:0]
		for i := range columns {
			columns[i], buf, scratch = a.at(x+from+i, buf, scratch)
		}
		parallelRows(out.Height, len(columns)*a.mostTaps, func(y0, y1 int) {
			for y := y0; y < y1; y++ {
				acrossRow(out.row(y)[3*from:], p.row(first+y), columns, background)
			}
		})
	}
	return out
}

func acrossRow(dst, src []byte, columns []taps, background [3]byte) {
	for i := range columns {
		t := &columns[i]
		const half = 1 << (weightBits - 1)
		r := half + t.outside*int32(background[0])
		g := half + t.outside*int32(background[1])
		b := half + t.outside*int32(background[2])
		pixels := src[3*t.first : 3*(t.first+len(t.weights))]
		for _, w := range t.weights {
			pixel := pixels[:3]
			pixels = pixels[3:]
			r += w * int32(pixel[0])
			g += w * int32(pixel[1])
			b += w * int32(pixel[2])
		}
		out := dst[3*i : 3*i+3]
		out[0], out[1], out[2] = clamp8(r>>weightBits), clamp8(g>>weightBits), clamp8(b>>weightBits)
	}
}

// down resamples columns first to end-1 of p to rows y to y+height-1.
func (a *axis) down(p *Picture, first, end, y, height int, background [3]byte) *Picture {
	out := newPicture(end-first, height)
	parallelRows(height, 3*out.Width*a.mostTaps, func(y0, y1 int) {
		sums := make([]int32, 3*out.Width)
		var buf []int32
		var scratch []float64
		var t taps
		for i := y0; i < y1; i++ {
			t, buf, scratch = a.at(y+i, buf[:0], scratch)
			downRow(out.row(i), p, first, t, sums, background)
		}
	})
	return out
}

func downRow(dst []byte, p *Picture, column int, t taps, sums []int32, background [3]byte) {
	const half = 1 << (weightBits - 1)
	for c, v := range background {
		start := half + t.outside*int32(v)
		for i := c; i < len(sums); i += 3 {
			sums[i] = start
		}
	}
	row := func(k int) []byte { return p.row(t.first + k)[3*column : 3*column+len(sums)] }
	k := 0
	for ; k+4 <= len(t.weights); k += 4 { // four rows at once: the sums are read and written less often
		a, b, c, d := row(k), row(k+1), row(k+2), row(k+3)
		wa, wb, wc, wd := t.weights[k], t.weights[k+1], t.weights[k+2], t.weights[k+3]
		for i := range sums {
			sums[i] += wa*int32(a[i]) + wb*int32(b[i]) + wc*int32(c[i]) + wd*int32(d[i])
		}
	}
	for ; k < len(t.weights); k++ {
		w := t.weights[k]
		for i, v := range row(k) {
			sums[i] += w * int32(v)
		}
	}
	for i, sum := range sums {
		dst[i] = clamp8(sum >> weightBits)
	}
}

// nearest takes the source pixel under the middle of each target pixel. Steps add up from the first
// one, as in Pillow (Geometry.c), whose rounding shows at some sizes.
func nearest(c canvas, width, height int, win window) *Picture {
	steps := func(size, outSize, padding, from, n int) []int {
		scale := float64(size) / float64(outSize)
		at := make([]int, 0, n)
		x := scale * 0.5
		for i := range from + n {
			if i >= from {
				at = append(at, int(x)-padding)
			}
			x += scale
		}
		return at
	}
	xs := steps(c.width, width, c.x, win.x, win.width)
	ys := steps(c.height, height, c.y, win.y, win.height)
	out := newPicture(win.width, win.height)
	p := c.picture
	for j, y := range ys {
		row := out.row(j)
		for i, x := range xs {
			if 0 <= x && x < p.Width && 0 <= y && y < p.Height {
				copy(row[3*i:3*i+3], p.Pix[3*(y*p.Width+x):])
			} else {
				copy(row[3*i:3*i+3], c.background[:])
			}
		}
	}
	return out
}

// parallelRows calls f on ranges that make up 0 to rows-1, on all cores if the work, rows times
// rowWork multiplications, is worth starting them.
func parallelRows(rows, rowWork int, f func(from, to int)) {
	workers := min(runtime.GOMAXPROCS(0), rows)
	if workers < 2 || int64(rows)*int64(rowWork) < 1<<18 {
		f(0, rows)
		return
	}
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() { f(rows*w/workers, rows*(w+1)/workers) })
	}
	all.Wait()
}

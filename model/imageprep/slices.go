package imageprep

import "math"

// Slices is the cutting of MiniCPM-Llama3-V 2.5 (Xu et al. 2024, arXiv:2403.11703, as the model's own
// code has it): a picture of about Edge x Edge pixels or less is one view of its own shape; a larger
// one is that view and a grid of slices, each of about Edge x Edge pixels. Sides are whole patches.
type Slices struct {
	Edge  int // pixels: a view has about Edge*Edge
	Patch int
	Most  int // slices of one picture; at most 1 cuts none
}

type sliceLayout struct {
	whole, full [2]int // width and height of the whole picture's view, and of the picture that is cut
	grid        Grid
}

// layout picks, among the grids of nearly as many slices as the picture has Edge x Edge pixels, the one
// whose shape is nearest to the picture's; of equals the first, in the order of the authors' loops.
func (s *Slices) layout(width, height int) sliceLayout {
	var l sliceLayout
	w, h := float64(width), float64(height)
	area := float64(s.Edge * s.Edge)
	multiple := int(min(math.Ceil(w*h/area), float64(s.Most)))
	if multiple <= 1 {
		l.whole = s.fit(w, h, true)
		return l
	}
	l.whole = s.fit(w, h, false)
	best := math.Inf(1)
	for n := multiple - 1; n <= multiple+1; n++ {
		if n == 1 || n > s.Most {
			continue
		}
		for cols := 1; cols <= n; cols++ {
			if n%cols != 0 {
				continue
			}
			rows := n / cols
			if off := math.Abs(math.Log(w/h) - math.Log(float64(cols)/float64(rows))); off < best {
				best, l.grid = off, Grid{Rows: rows, Cols: cols}
			}
		}
	}
	cell := s.fit(float64(whole(w, l.grid.Cols))/float64(l.grid.Cols), float64(whole(h, l.grid.Rows))/float64(l.grid.Rows), true)
	l.full = [2]int{cell[0] * l.grid.Cols, cell[1] * l.grid.Rows}
	return l
}

// fit is the size of a view for something of width x height: its shape at Edge*Edge pixels (only if it is
// larger, unless grow), each side the nearest number of patches.
//
// A view longer than MostPatches allows, from pictures over 4096 times as long as they are wide, is
// shortened to it: the authors' code has no bound.
func (s *Slices) fit(width, height float64, grow bool) [2]int {
	if grow || width*height > float64(s.Edge*s.Edge) {
		ratio := width / height
		height = math.Trunc(float64(s.Edge) / math.Sqrt(ratio))
		width = math.Trunc(height * ratio)
	}
	w, h := whole(width, s.Patch), whole(height, s.Patch)
	most := s.MostPatches()
	if w/s.Patch*(h/s.Patch) > most {
		if w > h {
			w = max(most/(h/s.Patch), 1) * s.Patch
		} else {
			h = max(most/(w/s.Patch), 1) * s.Patch
		}
	}
	return [2]int{w, h}
}

// MostPatches is the most that a view has: twice those of a square one, as rounding thin sides up to whole
// patches adds some.
func (s *Slices) MostPatches() int { return 2 * (s.Edge / s.Patch) * (s.Edge / s.Patch) }

// whole is the multiple of unit that is nearest to n, of two the even one, and one at least.
func whole(n float64, unit int) int {
	return max(int(math.RoundToEven(n/float64(unit)))*unit, unit)
}

// cut gives the whole picture's view, and then the slices.
func (s *Slices) cut(p *Picture, f Filter) ([]*Picture, Grid) {
	l := s.layout(p.Width, p.Height)
	parts := []*Picture{p.resized(f, l.whole[0], l.whole[1])}
	if l.grid != (Grid{}) {
		parts = append(parts, p.resized(f, l.full[0], l.full[1]).cells(l.grid)...)
	}
	return parts, l.grid
}

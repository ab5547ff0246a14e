package imageprep

// Tiles is the cutting of Idefics3 and SmolVLM (Laurençon et al. 2024, arXiv:2408.12637, section 2.2.3;
// transformers' image_processing_idefics3.py): the picture's longer side becomes LongestEdge, small
// pictures grow; both sides are rounded up to whole tiles; tiles are cut out row by row, and the whole
// picture at a tile's size follows.
type Tiles struct {
	LongestEdge int
	Edge        int  // of a tile, in pixels
	Whole       bool // do_image_splitting off: no tiles, the whole picture alone
}

// The reference never makes a picture larger than this before it rounds up to tiles.
const tiledMost = 4096

// mostTiles along a side. Released models have four; the bound is for what a config may ask for.
const mostTiles = 32

type tileLayout struct {
	first, full [2]int // width and height after the first and the second resize
	grid        Grid
}

// layout follows the reference's arithmetic: ratios in floating point, int() cuts off, an odd shorter
// side gets a pixel more.
func (t *Tiles) layout(width, height int) tileLayout {
	var l tileLayout
	ratio := float64(width) / float64(height)
	even := func(n int) int { return max(n+n%2, 1) }
	if width >= height {
		width = t.LongestEdge
		height = even(int(float64(width) / ratio))
	} else {
		height = t.LongestEdge
		width = even(int(float64(height) * ratio))
	}
	ratio = float64(width) / float64(height)
	if width >= height && width > tiledMost {
		width, height = tiledMost, max(int(tiledMost/ratio), 1)
	} else if height > width && height > tiledMost {
		width, height = max(int(tiledMost*ratio), 1), tiledMost
	}
	l.first = [2]int{width, height}
	if t.Whole {
		l.full = [2]int{t.Edge, t.Edge}
		return l
	}
	up := func(n int) int { return (n + t.Edge - 1) / t.Edge * t.Edge }
	ratio = float64(width) / float64(height)
	if width >= height {
		width = up(width)
		height = up(max(int(float64(width)/ratio), 1))
	} else {
		height = up(height)
		width = up(max(int(float64(height)*ratio), 1))
	}
	l.full = [2]int{width, height}
	if width > t.Edge || height > t.Edge {
		l.grid = Grid{Rows: height / t.Edge, Cols: width / t.Edge}
	}
	return l
}

// cut resizes twice, as the reference does: 8-bit rounding in between shows in the result.
func (t *Tiles) cut(p *Picture, f Filter) ([]*Picture, Grid) {
	l := t.layout(p.Width, p.Height)
	p = p.resized(f, l.first[0], l.first[1])
	p = p.resized(f, l.full[0], l.full[1])
	if l.grid == (Grid{}) {
		return []*Picture{p}, l.grid
	}
	return append(p.cells(l.grid), p.resized(f, t.Edge, t.Edge)), l.grid
}

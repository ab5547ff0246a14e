package siglip

import (
	"fmt"

	"github.com/llama3v/llama3v/model/ops"
)

// View is one picture as a tower takes it: a whole one, a tile or a slice of a larger one.
type View struct {
	Pixels        []float32 // [channels][Height][Width], normalised
	Height, Width int

	// What of Height and Width, from the top left, shows something; the rest is padding that no patch
	// attends to. A patch with any valid pixel counts. 0: all.
	ValidHeight, ValidWidth int
}

// Grid is rows and columns of patches.
type Grid struct{ Rows, Cols int }

// Patches is how many there are.
func (g Grid) Patches() int { return g.Rows * g.Cols }

// ViewGrid is the view's patches, filled or not. Rest pixels at the right and bottom are unused.
func (c Config) ViewGrid(v View) Grid { return Grid{v.Height / c.Patch, v.Width / c.Patch} }

// Grids are those of several views.
func (c Config) Grids(views []View) []Grid {
	grids := make([]Grid, len(views))
	for i, v := range views {
		grids[i] = c.ViewGrid(v)
	}
	return grids
}

// valid is the part of the grid, at its top left, with at least one valid pixel.
func (c Config) valid(v View) Grid {
	g := c.ViewGrid(v)
	if v.ValidHeight > 0 && v.ValidWidth > 0 {
		g.Rows = min(g.Rows, (v.ValidHeight+c.Patch-1)/c.Patch)
		g.Cols = min(g.Cols, (v.ValidWidth+c.Patch-1)/c.Patch)
	}
	return g
}

// check says what of a view does not fit the tower. height and width are those that all views have, 0
// where each has its own.
func (c Config) check(v View, height, width int) error {
	switch g := c.ViewGrid(v); {
	case v.Height < 1 || v.Width < 1 || g.Rows < 1 || g.Cols < 1:
		return fmt.Errorf("%w: a view of %d x %d pixels with patches of %d", ops.ErrShape, v.Width, v.Height, c.Patch)
	case height > 0 && (v.Height != height || v.Width != width):
		return fmt.Errorf("%w: a view of %d x %d pixels, the tower takes %d x %d", ops.ErrShape, v.Width, v.Height, width, height)
	case height == 0 && g.Rows > c.MostPatches/g.Cols:
		return fmt.Errorf("%w: a view of %d x %d pixels has %d patches, the most is %d", ops.ErrShape, v.Width, v.Height, g.Patches(), c.MostPatches)
	case len(v.Pixels) != c.Channels*v.Height*v.Width:
		return fmt.Errorf("%w: %d pixel values for a view of %d x %d x %d", ops.ErrShape, len(v.Pixels), c.Channels, v.Height, v.Width)
	case v.ValidHeight < 0 || v.ValidHeight > v.Height || v.ValidWidth < 0 || v.ValidWidth > v.Width || (v.ValidHeight == 0) != (v.ValidWidth == 0):
		return fmt.Errorf("%w: %d x %d valid pixels of %d x %d", ops.ErrShape, v.ValidWidth, v.ValidHeight, v.Width, v.Height)
	case c.Positions == TablePositions && c.valid(v) != g:
		return fmt.Errorf("%w: padding in a view: the tower has no mask", ops.ErrShape)
	}
	return nil
}

// Positions is a rule for the rows of the position table, S x S, that a view's patches take.
type Positions int

const (
	// TablePositions is SigLIP's own rule: the table as it is at the native size, resized at others.
	TablePositions Positions = iota
	// BucketPositions: patch i of n valid ones along a side takes floor(i*S/n), per axis. A full
	// view of S x S patches has the table as it is (Idefics2, arXiv:2405.02246; Idefics3).
	BucketPositions
	// RowPositions: patch i of all n takes floor(i*S/n) of the table's first row. MiniCPM-V 2.5's
	// authors hand a slice's patches over as one row, and its weights were made with that.
	RowPositions
)

// indices gives the table's row for each patch of a grid whose valid part lies at the top left, row by
// row; what is not valid gets row 0. Whole numbers throughout: fractions in float32 land one too low
// at some sides.
func (p Positions) indices(side int, grid, valid Grid) []int32 {
	list := make([]int32, grid.Patches())
	for r := range valid.Rows {
		for c := range valid.Cols {
			row, col := r*side/valid.Rows, c*side/valid.Cols
			if p == RowPositions {
				row, col = 0, (r*valid.Cols+c)*side/valid.Patches()
			}
			list[r*grid.Cols+c] = int32(row*side + col)
		}
	}
	return list
}

package imageprep

// View is one tensor of a picture: the whole picture, a tile or a slice of it. All of it shows
// something; no processor here leaves padding in a view.
type View struct {
	Pixels        []float32 // [3][Height][Width], normalised
	Height, Width int
}

// Views are what becomes of one picture, in the order in which a prompt shows them.
type Views struct {
	Views []View
	Grid  Grid
}

// Grid says how a picture is cut. Zero: it is not, and has one view. Otherwise there are Rows*Cols tiles
// or slices, row by row, and the whole picture at a tile's size: after the tiles (Idefics3), before the
// slices (MiniCPM).
type Grid struct{ Rows, Cols int }

// Views is how many views a picture with this grid has.
func (g Grid) Views() int { return g.Rows*g.Cols + 1 }

// Grid says how a picture of this size is cut, without looking at one.
func (c *Config) Grid(width, height int) Grid {
	switch {
	case c.Tiles != nil && !c.Tiles.Whole:
		return c.Tiles.layout(width, height).grid
	case c.Slices != nil:
		return c.Slices.layout(width, height).grid
	}
	return Grid{}
}

// Views makes the tower's inputs of p.
//
// Errors: those of [Picture.Resize] for a Picture or Config that was put together wrongly.
func (c *Config) Views(p *Picture) (*Views, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	var parts []*Picture
	var grid Grid
	switch {
	case c.Tiles != nil:
		parts, grid = c.Tiles.cut(p, c.Resample)
	case c.Slices != nil:
		parts, grid = c.Slices.cut(p, c.Resample)
	default:
		parts = []*Picture{c.resize(p)}
	}
	tables := c.tables()
	v := &Views{Grid: grid, Views: make([]View, len(parts))}
	for i, part := range parts {
		v.Views[i] = View{Pixels: planes(part, tables), Height: part.Height, Width: part.Width}
	}
	return v, nil
}

// planes turns interleaved levels into planes of floats.
func planes(p *Picture, tables *[3][256]float32) []float32 {
	n := p.Height * p.Width
	data := make([]float32, 3*n)
	r, g, b := data[:n], data[n:2*n], data[2*n:]
	for i := range n {
		pixel := p.Pix[3*i : 3*i+3]
		r[i], g[i], b[i] = tables[0][pixel[0]], tables[1][pixel[1]], tables[2][pixel[2]]
	}
	return data
}

// resized is p at another size.
func (p *Picture) resized(f Filter, width, height int) *Picture {
	return resize(canvas{picture: p, width: p.Width, height: p.Height}, f, width, height, window{0, 0, width, height})
}

// cells cuts p into equal cells, row by row.
func (p *Picture) cells(g Grid) []*Picture {
	width, height := p.Width/g.Cols, p.Height/g.Rows
	var list []*Picture
	for row := range g.Rows {
		for col := range g.Cols {
			cell := newPicture(width, height)
			for y := range height {
				copy(cell.row(y), p.row(row*height + y)[3*col*width:])
			}
			list = append(list, cell)
		}
	}
	return list
}

package imageprep

// Tensor makes the tower's input of p: float32 [3, height, width], planar, the value of channel c at
// column x and row y at c*height*width + y*width + x.
//
// Errors: those of [Picture.Resize] for a Picture or Config that was put together wrongly, ErrUnsupported
// where the processor cuts pictures, see [Config.Views].
func (c *Config) Tensor(p *Picture) (data []float32, shape [3]int, err error) {
	if err := p.check(); err != nil {
		return nil, shape, err
	}
	if err := c.check(); err != nil {
		return nil, shape, err
	}
	if c.Tiles != nil || c.Slices != nil {
		return nil, shape, &ConfigError{Kind: ErrUnsupported, Detail: "this processor cuts pictures into several tensors; see Views"}
	}
	sized := c.resize(p)
	data, shape = planes(sized, c.tables()), [3]int{3, sized.Height, sized.Width}
	return data, shape, nil
}

// check refuses a Config without a size; ParseConfig makes none such.
func (c *Config) check() error {
	switch t, s := c.Tiles, c.Slices; {
	case t != nil && (t.Edge < 1 || t.LongestEdge < 1 || t.Edge > maxSide || min(t.LongestEdge, tiledMost) > mostTiles*t.Edge):
		return &ConfigError{Kind: ErrUnsupported, Key: "max_image_size", Detail: "more tiles along a side than are read"}
	case s != nil && (s.Patch < 1 || s.Edge < s.Patch || s.Edge > maxSide || s.Most > mostTiles*mostTiles):
		return &ConfigError{Kind: ErrUnsupported, Key: "scale_resolution", Detail: "less than a patch, or out of range"}
	case (t != nil || s != nil) && (c.Resample <= Nearest || c.Resample > Hamming):
		return &ConfigError{Kind: ErrUnsupported, Key: "resample", Detail: c.Resample.String()}
	case t != nil || s != nil:
		return nil
	}
	h, w := c.Size()
	if h < 1 || w < 1 || h > maxSide || w > maxSide {
		return &ConfigError{Kind: ErrConfig, Key: "size", Detail: "not set"}
	}
	if c.Resample < Nearest || c.Resample > Hamming {
		return &ConfigError{Kind: ErrUnsupported, Key: "resample", Detail: c.Resample.String()}
	}
	return nil
}

// resize gives the picture at the tensor's size.
func (c *Config) resize(p *Picture) *Picture {
	from := canvas{picture: p, width: p.Width, height: p.Height}
	if c.PadSquare {
		var background [3]byte
		for i, mean := range c.Mean {
			background[i] = byte(255 * mean)
		}
		from = square(p, background)
	}
	width, height := c.Width, c.Height
	if c.ShortestEdge > 0 {
		// In floating point, as transformers divides.
		if from.width <= from.height {
			width, height = c.ShortestEdge, int(float64(c.ShortestEdge*from.height)/float64(from.width))
		} else {
			width, height = int(float64(c.ShortestEdge*from.width)/float64(from.height)), c.ShortestEdge
		}
	}
	h, w := c.Size()
	return resize(from, c.Resample, width, height, window{(width - w) / 2, (height - h) / 2, w, h})
}

// tables give the float of each level, by channel. The steps round as those of transformers' slow
// processors do: the product in float64, then everything in float32.
func (c *Config) tables() *[3][256]float32 {
	var tables [3][256]float32
	for channel := range tables {
		mean, std := float32(c.Mean[channel]), float32(c.Std[channel])
		for level := range tables[channel] {
			v := float32(level)
			if c.Rescale {
				v = float32(float64(level) * c.RescaleFactor)
			}
			if c.Normalize {
				v = (v - mean) / std
			}
			tables[channel][level] = v
		}
	}
	return &tables
}

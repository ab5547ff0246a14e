package imageprep

// straight is a picture before orientation and alpha: 8 bits a sample, colour not multiplied by
// alpha. Without alpha it is already what a Picture holds.
type straight struct {
	*Picture
	alpha []byte // [height*width], nil: opaque
}

func newStraight(width, height int) straight {
	return straight{Picture: newPicture(width, height)}
}

// withAlpha adds an alpha plane, all zero.
func (s straight) withAlpha() straight {
	s.alpha = make([]byte, s.Width*s.Height)
	return s
}

// flatten removes alpha, in place.
func (s straight) flatten(a Alpha) *Picture {
	if s.alpha == nil || a == AlphaDrop {
		return s.Picture
	}
	for i, alpha := range s.alpha {
		if alpha == 255 {
			continue
		}
		pixel := s.Pix[3*i : 3*i+3]
		for c, v := range pixel {
			pixel[c] = overWhite(v, alpha)
		}
	}
	return s.Picture
}

// overWhite is straight colour c with alpha a on white, rounded to the nearest level.
func overWhite(c, a byte) byte {
	return byte((int(c)*int(a) + 255*(255-int(a)) + 127) / 255)
}

// orientation is the value of the EXIF tag 0x0112: 1 is upright, 2 to 8 the other ways to hold a
// camera or mirror its picture, and anything else is not valid and means 1.
type orientation int

// upright gives the picture as it should be seen.
func (p *Picture) upright(o orientation) *Picture {
	if o < 2 || o > 8 {
		return p
	}
	w, h := p.Width, p.Height
	out := newPicture(w, h)
	if o >= 5 { // the sides change places
		out.Width, out.Height = h, w
	}
	// The pixel at column x and row y of the result is pixel start + x*dx + y*dy of the source.
	var start, dx, dy int
	switch o {
	case 2: // mirrored left to right
		start, dx, dy = w-1, -1, w
	case 3: // upside down
		start, dx, dy = w*h-1, -1, -w
	case 4: // mirrored top to bottom
		start, dx, dy = w*(h-1), 1, -w
	case 5: // mirrored along the main diagonal
		start, dx, dy = 0, w, 1
	case 6: // the camera was turned left: turn right
		start, dx, dy = w*(h-1), -w, 1
	case 7: // mirrored along the other diagonal
		start, dx, dy = w*h-1, -w, -1
	case 8: // the camera was turned right: turn left
		start, dx, dy = w-1, w, -1
	}
	i := 0
	for y := range out.Height {
		from := 3 * (start + y*dy)
		for range out.Width {
			copy(out.Pix[i:i+3], p.Pix[from:from+3])
			i, from = i+3, from+3*dx
		}
	}
	return out
}

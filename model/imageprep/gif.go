package imageprep

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/gif"
	"io"
)

// decodeGIF gives the first frame on its screen. Pixels outside the frame are transparent; their
// stored colour, which AlphaDrop shows, is that of the transparent index or else of index 0, as in
// Pillow.
//
// Go's decoder unpacks the frame. It is handed a GIF of that frame alone with a palette of 256
// black entries, as it overwrites the colour of the transparent index, which AlphaDrop needs, and
// refuses frames that reach over their screen, which others let grow.
func decodeGIF(data []byte, opts DecodeOptions) (straight, orientation, error) {
	f, err := readGIF(data, opts)
	if err != nil {
		return straight{}, 0, err
	}
	img, err := gif.Decode(f.alone())
	if err != nil {
		// All of the frame's blocks are there, so whatever is missing is missing inside.
		return straight{}, 0, fault(ErrCorrupt, "GIF", "%v", err)
	}
	s, err := f.paint(img.(*image.Paletted).Pix)
	return s, 0, err
}

// gifFrame is the first frame of a GIF.
type gifFrame struct {
	screenWidth, screenHeight int
	x, y, width, height       int
	interlaced                bool
	palette                   []byte // RGB
	transparent               int    // index, -1: none
	pixels                    []byte // code size, then blocks, with the empty one
}

// readGIF walks the blocks up to the end of the file's last one.
func readGIF(data []byte, opts DecodeOptions) (*gifFrame, error) {
	cut := func(what string) (*gifFrame, error) { return nil, fault(ErrTruncated, "GIF", "the data ends %s", what) }
	if len(data) < 13 {
		return cut("in the header")
	}
	f := &gifFrame{
		screenWidth: int(binary.LittleEndian.Uint16(data[6:])), screenHeight: int(binary.LittleEndian.Uint16(data[8:])),
		transparent: -1,
	}
	if err := opts.checkSize("GIF", f.screenWidth, f.screenHeight); err != nil {
		return nil, err
	}
	rest := data[13:]
	palette, rest, ok := gifPalette(data[10], rest)
	if !ok {
		return cut("in the palette")
	}
	transparent := -1
	for {
		if len(rest) == 0 {
			return cut("without a trailer")
		}
		kind := rest[0]
		rest = rest[1:]
		switch kind {
		case 0x3b: // trailer
			if f.pixels == nil {
				return nil, fault(ErrCorrupt, "GIF", "no frame")
			}
			return f, nil
		case 0x21: // extension: label, blocks
			if len(rest) == 0 {
				return cut("in an extension")
			}
			label := rest[0]
			blocks, ok := gifBlocks(rest[1:])
			if !ok {
				return cut("in an extension")
			}
			// Graphic control: 4, flags, delay, transparent index.
			if label == 0xf9 && len(blocks) >= 5 && blocks[0] >= 4 {
				transparent = -1
				if blocks[1]&1 != 0 {
					transparent = int(blocks[4])
				}
			}
			rest = rest[1+len(blocks):]
		case 0x2c: // frame: place, size, flags, palette, code size, blocks
			if len(rest) < 9 {
				return cut("in a frame's header")
			}
			head := rest[:9]
			local, after, ok := gifPalette(head[8], rest[9:])
			if !ok || len(after) == 0 {
				return cut("in a frame's palette")
			}
			blocks, ok := gifBlocks(after[1:])
			if !ok {
				return cut("in a frame")
			}
			rest = after[1+len(blocks):]
			if f.pixels != nil {
				continue // a later frame: only that it is there counts
			}
			f.x, f.y = int(binary.LittleEndian.Uint16(head)), int(binary.LittleEndian.Uint16(head[2:]))
			f.width, f.height = int(binary.LittleEndian.Uint16(head[4:])), int(binary.LittleEndian.Uint16(head[6:]))
			f.interlaced, f.transparent = head[8]&0x40 != 0, transparent
			f.pixels = after[:1+len(blocks)]
			if f.palette = palette; local != nil {
				f.palette = local
			}
			if err := f.check(opts); err != nil {
				return nil, err
			}
		default:
			if f.pixels != nil {
				return f, nil // junk between later frames
			}
			return nil, fault(ErrCorrupt, "GIF", "unknown block %#x", kind)
		}
	}
}

// gifPalette takes the palette that flags announce off data. ok is false if data ends inside.
func gifPalette(flags byte, data []byte) (palette, rest []byte, ok bool) {
	if flags&0x80 == 0 {
		return nil, data, true
	}
	n := 3 << (1 + flags&7)
	if len(data) < n {
		return nil, nil, false
	}
	return data[:n], data[n:], true
}

// gifBlocks is the head of data up to and with the empty block. ok is false if data ends before it.
func gifBlocks(data []byte) (blocks []byte, ok bool) {
	for i := 0; i < len(data); i += 1 + int(data[i]) {
		if data[i] == 0 {
			return data[:i+1], true
		}
	}
	return nil, false
}

func (f *gifFrame) check(opts DecodeOptions) error {
	if f.palette == nil {
		return fault(ErrCorrupt, "GIF", "no palette")
	}
	if err := opts.checkSize("GIF", f.width, f.height); err != nil {
		return err
	}
	f.screenWidth, f.screenHeight = max(f.screenWidth, f.x+f.width), max(f.screenHeight, f.y+f.height)
	if err := opts.checkSize("GIF", f.screenWidth, f.screenHeight); err != nil {
		return err
	}
	// A code has at least 3 bits and stands for at most 4096 pixels.
	if most := int64(len(f.pixels)) * 8 / 3 * 4096; int64(f.width)*int64(f.height) > most {
		e := fault(ErrCorrupt, "GIF", "%d bytes of pixel data are too few", len(f.pixels))
		e.Width, e.Height = f.width, f.height
		return e
	}
	return nil
}

// alone is a GIF of nothing but this frame, its palette all black.
func (f *gifFrame) alone() io.Reader {
	head := []byte("GIF89a")
	head = binary.LittleEndian.AppendUint16(head, uint16(f.width))
	head = binary.LittleEndian.AppendUint16(head, uint16(f.height))
	head = append(head, 0, 0, 0, 0x2c, 0, 0, 0, 0)
	head = append(head, head[6:10]...)
	flags := byte(0x87) // a local palette of 256
	if f.interlaced {
		flags |= 0x40
	}
	head = append(append(head, flags), make([]byte, 3*256)...)
	return io.MultiReader(bytes.NewReader(head), bytes.NewReader(f.pixels), bytes.NewReader([]byte{0x3b}))
}

// paint puts the frame's pixels, indices row by row, on the screen.
func (f *gifFrame) paint(indices []byte) (straight, error) {
	colours := len(f.palette) / 3
	var palette [256][3]byte
	for i := range colours {
		palette[i] = [3]byte(f.palette[3*i:])
	}
	for _, i := range indices {
		if int(i) >= colours && int(i) != f.transparent {
			return straight{}, fault(ErrCorrupt, "GIF", "colour %d of a palette of %d", i, colours)
		}
	}

	s := newStraight(f.screenWidth, f.screenHeight)
	partial := f.width != f.screenWidth || f.height != f.screenHeight
	if partial || f.transparent >= 0 {
		s = s.withAlpha()
	}
	if partial {
		behind := palette[max(f.transparent, 0)]
		for i := 0; i < len(s.Pix); i += 3 {
			copy(s.Pix[i:], behind[:])
		}
	}
	for y := range f.height {
		at := (f.y+y)*s.Width + f.x
		for x, index := range indices[y*f.width : (y+1)*f.width] {
			copy(s.Pix[3*(at+x):3*(at+x)+3], palette[index][:])
			if s.alpha != nil && int(index) != f.transparent {
				s.alpha[at+x] = 255
			}
		}
	}
	return s, nil
}

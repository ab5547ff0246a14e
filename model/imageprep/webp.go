package imageprep

import (
	"bytes"
	"encoding/binary"
	"image"
	"io"

	"golang.org/x/image/webp"
)

// decodeWebP reads lossy and lossless pictures and the first frame of animations. x/image unpacks
// them; it knows nothing of animations, so it is handed a file of that frame alone. Its planes of
// lossy pictures are right, its colours are not, see [videoYUV].
func decodeWebP(data []byte, opts DecodeOptions) (straight, orientation, error) {
	f, err := readWebP(data, opts)
	if err != nil {
		return straight{}, 0, err
	}
	img, err := webp.Decode(f.alone())
	if err != nil {
		return straight{}, 0, decoderFault("WebP", err)
	}
	if b := img.Bounds(); b.Dx() != f.width || b.Dy() != f.height {
		return straight{}, 0, fault(ErrCorrupt, "WebP", "a frame of %d x %d announced as %d x %d", b.Dx(), b.Dy(), f.width, f.height)
	}
	var s straight
	switch m := img.(type) {
	case *image.YCbCr:
		s = newStraight(f.width, f.height)
		videoYUV(s.Picture, m)
	case *image.NYCbCrA:
		s = newStraight(f.width, f.height)
		videoYUV(s.Picture, &m.YCbCr)
		s.alpha = packedPlane(m.A, m.AStride, f.width, f.height)
	default:
		s = fromImage(img)
		if !f.hasAlpha {
			s.alpha = nil // the file says that alpha means nothing
		}
	}
	return f.place(s), f.orientation, nil
}

// webpFrame is the one frame of a still picture, or the first of an animation.
type webpFrame struct {
	canvasWidth, canvasHeight int
	x, y, width, height       int
	alpha                     []byte // ALPH chunk, nil: none
	chunk                     string // "VP8 " or "VP8L"
	pixels                    []byte
	hasAlpha                  bool // of VP8L
	orientation               orientation
}

// readWebP walks the chunks (RFC 9649, section 2).
func readWebP(data []byte, opts DecodeOptions) (*webpFrame, error) {
	size := int64(binary.LittleEndian.Uint32(data[4:]))
	if size+8 > int64(len(data)) {
		// The size of a bomb matters more than that it is cut.
		if w, h, ok := webpCanvas(data[12:]); ok {
			if err := opts.checkSize("WebP", w, h); err != nil {
				return nil, err
			}
		}
		return nil, fault(ErrTruncated, "WebP", "%d bytes of %d", len(data), size+8)
	}
	if size < 4 {
		return nil, fault(ErrCorrupt, "WebP", "a size of %d", size)
	}
	f := &webpFrame{}
	body := data[12 : 8+size]
	extended := false
	if w, h, ok := webpCanvas(body); ok {
		extended = true
		f.canvasWidth, f.canvasHeight = w, h
		if err := opts.checkSize("WebP", w, h); err != nil {
			return nil, err
		}
	}
	err := eachChunk(body, func(name string, chunk []byte) error {
		switch {
		case name == "EXIF":
			f.orientation = exifOrientation(chunk)
		case f.pixels != nil:
		case name == "ALPH", name == "VP8 ", name == "VP8L":
			f.take(name, chunk)
		case name == "ANMF":
			// Place and size, in pairs of pixels and less one; duration and flags; chunks.
			if len(chunk) < 16 {
				return fault(ErrCorrupt, "WebP", "a frame header of %d bytes", len(chunk))
			}
			f.x, f.y = 2*uint24(chunk), 2*uint24(chunk[3:])
			f.width, f.height = 1+uint24(chunk[6:]), 1+uint24(chunk[9:])
			return eachChunk(chunk[16:], func(name string, chunk []byte) error {
				f.take(name, chunk)
				return nil
			})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if f.pixels == nil {
		return nil, fault(ErrCorrupt, "WebP", "no frame")
	}
	width, height, err := f.size()
	if err != nil {
		return nil, err
	}
	if f.width == 0 { // no animation
		f.width, f.height = width, height
		if extended {
			f.width, f.height = f.canvasWidth, f.canvasHeight
		}
	}
	if !extended {
		f.canvasWidth, f.canvasHeight = width, height
	}
	switch {
	case width != f.width || height != f.height:
		return nil, fault(ErrCorrupt, "WebP", "pixels of %d x %d in a frame of %d x %d", width, height, f.width, f.height)
	// A lossy macroblock of 16 x 16 codes its modes in over a bit. (A lossless picture of one colour
	// takes no bits a pixel: only MaxPixels bounds those.)
	case f.chunk == "VP8 " && (width+15)/16*((height+15)/16) > 8*len(f.pixels):
		return nil, &Error{Kind: ErrCorrupt, Format: "WebP", Width: width, Height: height, Detail: "too few bytes of pixel data"}
	case f.x+f.width > f.canvasWidth || f.y+f.height > f.canvasHeight:
		return nil, fault(ErrCorrupt, "WebP", "a frame beyond the canvas of %d x %d", f.canvasWidth, f.canvasHeight)
	}
	return f, opts.checkSize("WebP", f.canvasWidth, f.canvasHeight)
}

// take keeps the first chunk of pixels and the alpha before it.
func (f *webpFrame) take(name string, chunk []byte) {
	switch {
	case f.pixels != nil:
	case name == "ALPH":
		f.alpha = chunk
	case name == "VP8 ", name == "VP8L":
		f.chunk, f.pixels = name, chunk
		if name == "VP8L" {
			f.alpha = nil // it has its own
		}
	}
}

// size reads the frame's header (RFC 6386, section 9.1; RFC 9649, section 3.4).
func (f *webpFrame) size() (width, height int, err error) {
	p := f.pixels
	if f.chunk == "VP8L" {
		if len(p) < 5 {
			return 0, 0, fault(ErrTruncated, "WebP", "a lossless frame of %d bytes", len(p))
		}
		bits := binary.LittleEndian.Uint32(p[1:])
		f.hasAlpha = bits>>28&1 != 0
		return 1 + int(bits&0x3fff), 1 + int(bits>>14&0x3fff), nil
	}
	if len(p) < 10 {
		return 0, 0, fault(ErrTruncated, "WebP", "a lossy frame of %d bytes", len(p))
	}
	if p[0]&1 != 0 {
		return 0, 0, fault(ErrCorrupt, "WebP", "the first frame builds on an earlier one")
	}
	width, height = int(binary.LittleEndian.Uint16(p[6:])&0x3fff), int(binary.LittleEndian.Uint16(p[8:])&0x3fff)
	if width == 0 || height == 0 {
		return 0, 0, &Error{Kind: ErrCorrupt, Format: "WebP", Width: width, Height: height, Detail: "a side is zero"}
	}
	return width, height, nil
}

// alone is a WebP file of nothing but this frame.
func (f *webpFrame) alone() io.Reader {
	var file []byte
	put := func(name string, chunk []byte) {
		file = binary.LittleEndian.AppendUint32(append(file, name...), uint32(len(chunk)))
		file = append(file, chunk...)
		if len(chunk)%2 != 0 {
			file = append(file, 0)
		}
	}
	file = append(file, "RIFF\x00\x00\x00\x00WEBP"...)
	if f.alpha != nil {
		head := make([]byte, 10)
		head[0] = 1 << 4 // alpha follows
		putUint24(head[4:], f.width-1)
		putUint24(head[7:], f.height-1)
		put("VP8X", head)
		put("ALPH", f.alpha)
	}
	put(f.chunk, f.pixels)
	binary.LittleEndian.PutUint32(file[4:], uint32(len(file)-8))
	return bytes.NewReader(file)
}

// place puts a frame on its canvas, which is transparent black, as in libwebp.
func (f *webpFrame) place(s straight) straight {
	if f.width == f.canvasWidth && f.height == f.canvasHeight {
		return s
	}
	canvas := newStraight(f.canvasWidth, f.canvasHeight).withAlpha()
	for y := range f.height {
		at := (f.y+y)*f.canvasWidth + f.x
		copy(canvas.Pix[3*at:], s.row(y))
		for x := range f.width {
			if canvas.alpha[at+x] = 255; s.alpha != nil {
				canvas.alpha[at+x] = s.alpha[y*f.width+x]
			}
		}
	}
	return canvas
}

// webpCanvas reads the canvas size if body begins with a VP8X chunk.
func webpCanvas(body []byte) (width, height int, ok bool) {
	if len(body) < 18 || string(body[:4]) != "VP8X" {
		return 0, 0, false
	}
	return 1 + uint24(body[12:]), 1 + uint24(body[15:]), true
}

// eachChunk calls f for each chunk of body, which is padded to an even size.
func eachChunk(body []byte, f func(name string, chunk []byte) error) error {
	for len(body) > 0 {
		if len(body) < 8 {
			return nil // padding, or too little to say anything
		}
		name, size := string(body[:4]), int64(binary.LittleEndian.Uint32(body[4:]))
		if size > int64(len(body)-8) {
			return fault(ErrTruncated, "WebP", "chunk %q of %d bytes, %d are there", name, size, len(body)-8)
		}
		if err := f(name, body[8:8+size]); err != nil {
			return err
		}
		body = body[min(int64(len(body)), 8+size+size%2):]
	}
	return nil
}

func uint24(b []byte) int { return int(b[0]) | int(b[1])<<8 | int(b[2])<<16 }

func putUint24(b []byte, v int) { b[0], b[1], b[2] = byte(v), byte(v>>8), byte(v>>16) }

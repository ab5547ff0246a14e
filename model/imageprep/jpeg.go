package imageprep

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/jpeg"
	"io"
)

// decodeJPEG reads the markers first, then has Go's decoder unpack the planes. That decoder takes
// pictures without quantisation tables, without height and without some of their scans, and
// converts some colours itself; it is handed a file of the coded data alone, under a header that
// makes it give out planes as they are stored.
func decodeJPEG(data []byte, opts DecodeOptions) (straight, orientation, error) {
	f, err := readJPEG(data, opts)
	if err != nil {
		return straight{}, 0, err
	}
	img, err := jpeg.Decode(f.alone())
	if err != nil {
		return straight{}, 0, decoderFault("JPEG", err)
	}
	s := newStraight(f.width, f.height)
	switch m := img.(type) {
	case *image.Gray:
		s = fromImage(m)
	case *image.YCbCr:
		convert := yccRow
		if f.storesRGB() {
			convert = copyRow
		}
		newJPEGPlanes(m).convert(s.Picture, convert)
	case *image.CMYK:
		f.convertCMYK(s.Picture, m)
	default:
		return straight{}, 0, fault(ErrUnsupported, "JPEG", "a decoded %T", img)
	}
	return s, f.orientation, nil
}

// jpegFile is what the markers say.
type jpegFile struct {
	width, height int
	components    []jpegComponent
	coded         [][]byte // the segments and scans that a decoder needs, in order
	orientation   orientation

	jfif           bool
	adobe          bool
	adobeTransform byte // 0: none, 1: YCbCr, 2: YCCK

	tables  [4]bool // quantisation tables defined so far
	scans   int
	entropy int64 // bytes of entropy-coded data
}

type jpegComponent struct {
	id, h, v, table byte
	scanned         bool // some scan has its DC coefficients
}

// maxJPEGScans bounds the work that a small progressive file can ask for: each scan visits every
// block of the picture. Encoders write about ten.
const maxJPEGScans = 200

// readJPEG walks the markers from SOI to EOI (ITU T.81, annex B).
func readJPEG(data []byte, opts DecodeOptions) (*jpegFile, error) {
	f := &jpegFile{}
	rest := data[2:]
	for {
		marker, after, ok := nextMarker(rest)
		if !ok {
			return nil, f.fault(ErrTruncated, "%d bytes without an end marker", len(data))
		}
		rest = after
		switch {
		case marker == 0xd9: // EOI
			return f, f.check()
		case marker == 0xd8:
			return nil, f.fault(ErrCorrupt, "a second picture begins inside")
		case marker == 0x01, 0xd0 <= marker && marker <= 0xd7:
			continue // without content: TEM, and restart markers behind a scan
		}
		size := 0
		if len(rest) >= 2 {
			size = int(binary.BigEndian.Uint16(rest))
		}
		if len(rest) < 2 || size > len(rest) {
			return nil, f.fault(ErrTruncated, "segment %#x of %d bytes, %d are there", marker, size, len(rest))
		}
		if size < 2 {
			return nil, f.fault(ErrCorrupt, "segment %#x of %d bytes", marker, size)
		}
		body := rest[2:size]
		rest = rest[size:]
		if err := f.segment(marker, body, opts); err != nil {
			return nil, err
		}
		if 0xe0 <= marker && marker <= 0xef || marker == 0xfe {
			continue // application data and comments
		}
		f.coded = append(f.coded, []byte{0xff, marker, byte(size >> 8), byte(size)}, body)
		if marker == 0xda {
			scan := entropyCoded(rest)
			f.coded = append(f.coded, scan)
			f.entropy += int64(len(scan))
			rest = rest[len(scan):]
		}
	}
}

// nextMarker finds the next marker, over fill bytes and over garbage, as other decoders do.
func nextMarker(data []byte) (marker byte, rest []byte, ok bool) {
	for {
		i := bytes.IndexByte(data, 0xff)
		if i < 0 {
			return 0, nil, false
		}
		for i < len(data) && data[i] == 0xff {
			i++
		}
		if data = data[i:]; len(data) == 0 {
			return 0, nil, false
		}
		if data[0] != 0 {
			return data[0], data[1:], true
		}
	}
}

// entropyCoded is the head of data up to the next marker that is not a restart.
func entropyCoded(data []byte) []byte {
	for i := 0; ; {
		j := bytes.IndexByte(data[i:], 0xff)
		if j < 0 || i+j+1 >= len(data) {
			return data
		}
		i += j
		if next := data[i+1]; next != 0 && (next < 0xd0 || next > 0xd7) {
			return data[:i]
		}
		i += 2
	}
}

func (f *jpegFile) segment(marker byte, body []byte, opts DecodeOptions) error {
	switch marker {
	case 0xc0, 0xc1, 0xc2: // baseline, extended, progressive
		return f.frame(body, opts)
	case 0xc3, 0xc5, 0xc6, 0xc7, 0xcb, 0xcd, 0xce, 0xcf, 0xde, 0xdf:
		return f.fault(ErrUnsupported, "lossless or hierarchical coding (marker %#x)", marker)
	case 0xc9, 0xca, 0xcc:
		return f.fault(ErrUnsupported, "arithmetic coding")
	case 0xdb:
		return f.quantisation(body)
	case 0xda:
		return f.scan(body)
	case 0xe0:
		f.jfif = f.jfif || bytes.HasPrefix(body, []byte("JFIF\x00"))
	case 0xe1:
		if f.orientation == 0 && bytes.HasPrefix(body, []byte(exifPrefix)) {
			f.orientation = exifOrientation(body)
		}
	case 0xee:
		if len(body) >= 12 && bytes.HasPrefix(body, []byte("Adobe")) {
			f.adobe, f.adobeTransform = true, body[11]
		}
	}
	return nil
}

func (f *jpegFile) frame(body []byte, opts DecodeOptions) error {
	if f.components != nil {
		return f.fault(ErrCorrupt, "two frame headers")
	}
	if len(body) < 6 || len(body) != 6+3*int(body[5]) {
		return f.fault(ErrCorrupt, "a frame header of %d bytes", len(body))
	}
	f.height, f.width = int(binary.BigEndian.Uint16(body[1:])), int(binary.BigEndian.Uint16(body[3:]))
	if f.height == 0 {
		return f.fault(ErrCorrupt, "no height; one that follows the scan is not read")
	}
	if err := opts.checkSize("JPEG", f.width, f.height); err != nil {
		return err
	}
	if body[0] != 8 {
		return f.fault(ErrUnsupported, "%d bits a sample", body[0])
	}
	if n := body[5]; n != 1 && n != 3 && n != 4 {
		return f.fault(ErrUnsupported, "%d components", n)
	}
	for c := body[6:]; len(c) > 0; c = c[3:] {
		f.components = append(f.components, jpegComponent{id: c[0], h: c[1] >> 4, v: c[1] & 15, table: c[2]})
	}
	return nil
}

func (f *jpegFile) quantisation(body []byte) error {
	for len(body) > 0 {
		precision, id := body[0]>>4, body[0]&15
		size := 1 + 64*(1+int(precision))
		if precision > 1 || id > 3 || len(body) < size {
			return f.fault(ErrCorrupt, "a bad quantisation table")
		}
		f.tables[id] = true
		body = body[size:]
	}
	return nil
}

func (f *jpegFile) scan(body []byte) error {
	if f.scans++; f.scans > maxJPEGScans {
		return f.fault(ErrUnsupported, "more than %d scans", maxJPEGScans)
	}
	if f.components == nil {
		return f.fault(ErrCorrupt, "a scan before the frame header")
	}
	if len(body) < 4 || len(body) != 4+2*int(body[0]) {
		return f.fault(ErrCorrupt, "a scan header of %d bytes", len(body))
	}
	fromDC := body[len(body)-3] == 0
	for s := body[1 : len(body)-3]; len(s) > 0; s = s[2:] {
		for i := range f.components {
			c := &f.components[i]
			if c.id != s[0] {
				continue
			}
			if c.table > 3 || !f.tables[c.table] {
				return f.fault(ErrCorrupt, "no quantisation table %d", c.table)
			}
			c.scanned = c.scanned || fromDC
		}
	}
	return nil
}

// check looks at the whole: are all the parts there, and can they be a picture of that size?
func (f *jpegFile) check() error {
	if f.components == nil {
		return f.fault(ErrCorrupt, "no frame header")
	}
	for _, c := range f.components {
		if !c.scanned {
			return f.fault(ErrCorrupt, "no scan of component %d", c.id)
		}
	}
	if len(f.components) == 4 && !f.adobe {
		return f.fault(ErrUnsupported, "four components without an Adobe marker that says what they are")
	}
	// Each block of 8 x 8 takes at least a bit in the scan of its DC coefficient.
	if blocks := int64((f.width+7)/8) * int64((f.height+7)/8); f.entropy*8 < blocks {
		return f.fault(ErrCorrupt, "%d bytes of coded data are too few", f.entropy)
	}
	return nil
}

func (f *jpegFile) fault(kind error, detail string, args ...any) error {
	e := fault(kind, "JPEG", detail, args...)
	e.Width, e.Height = f.width, f.height
	return e
}

// alone is a file of the coded data, under a header by which Go's decoder gives out three planes
// unconverted (JFIF), and four of them inverted (Adobe, no transform).
func (f *jpegFile) alone() io.Reader {
	head := "\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
	if len(f.components) == 4 {
		head = "\xff\xd8\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"
	}
	parts := []io.Reader{bytes.NewReader([]byte(head))}
	for _, c := range f.coded {
		parts = append(parts, bytes.NewReader(c))
	}
	return io.MultiReader(append(parts, bytes.NewReader([]byte{0xff, 0xd9}))...)
}

// storesRGB follows libjpeg (jdapimin.c): JFIF means YCbCr, else the Adobe marker decides, else the
// names of the components.
func (f *jpegFile) storesRGB() bool {
	switch {
	case f.jfif:
		return false
	case f.adobe:
		return f.adobeTransform == 0
	}
	return f.components[0].id == 'R' && f.components[1].id == 'G' && f.components[2].id == 'B'
}

// convertCMYK takes the planes of four components back out of m: Go's decoder gave each sample as
// 255 less what is stored, and those of components 1 and 2 twice in each direction if they are
// subsampled. Adobe stores inverted ink, so that m holds ink again; under YCCK the first three
// components are YCbCr of what is then ink.
func (f *jpegFile) convertCMYK(dst *Picture, m *image.CMYK) {
	p := &jpegPlanes{hx: 1, vy: 1, width: f.width, height: f.height, columns: f.width, rows: f.height}
	if f.components[0].h == 2 {
		p.hx, p.vy, p.columns, p.rows = 2, 2, (f.width+1)/2, (f.height+1)/2
	}
	plane := func(channel, step, columns, rows int) []byte {
		out := make([]byte, 0, columns*rows)
		for y := range rows {
			for x := range columns {
				out = append(out, 255-m.Pix[y*step*m.Stride+4*x*step+channel])
			}
		}
		return out
	}
	p.luma, p.lumaStride = plane(0, 1, f.width, f.height), f.width
	p.cb, p.cr, p.chromaStride = plane(1, p.hx, p.columns, p.rows), plane(2, p.hx, p.columns, p.rows), p.columns
	if f.adobeTransform == 0 {
		p.convert(dst, invertedRow)
	} else {
		p.convert(dst, yccRow)
	}
	for y := range f.height {
		row := dst.row(y)
		for x := range f.width {
			pixel := row[3*x : 3*x+3]
			pixel[0], pixel[1], pixel[2] = inkRGB(pixel[0], pixel[1], pixel[2], 255-m.Pix[y*m.Stride+4*x+3])
		}
	}
}

// inkRGB puts ink on paper, as Pillow does; paper is 255 less the black ink.
func inkRGB(cyan, magenta, yellow, paper byte) (r, g, b byte) {
	one := func(ink byte) byte {
		t := int(ink)*int(paper) + 128
		return byte(max(0, int(paper)-(t>>8+t)>>8))
	}
	return one(cyan), one(magenta), one(yellow)
}

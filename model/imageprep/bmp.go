package imageprep

import (
	"bytes"
	"encoding/binary"
	"io"

	"golang.org/x/image/bmp"
)

// decodeBMP reads uncompressed pictures with 1, 2, 4, 8, 24 or 32 bits a pixel and a header of 40
// bytes or more. The fourth sample counts as alpha only where the header has a mask for it.
//
// x/image unpacks the pixels, but only those that stand directly behind header and palette, and
// only without masks; it is handed a header that says so.
func decodeBMP(data []byte, opts DecodeOptions) (straight, orientation, error) {
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(data[at:]) }
	const fileHeader, infoHeader = 14, 40
	info := int64(u32(14)) // the second header's size; sniff saw that it is there
	if info < infoHeader {
		return straight{}, 0, fault(ErrUnsupported, "BMP", "an OS/2 header of %d bytes", info)
	}
	if int64(len(data)) < fileHeader+info {
		return straight{}, 0, fault(ErrTruncated, "BMP", "the data ends in the header")
	}
	width, height := int(int32(u32(18))), int(int32(u32(22)))
	rows := max(height, -height) // negative: from top to bottom
	if err := opts.checkSize("BMP", width, rows); err != nil {
		return straight{}, 0, err
	}
	planes, depth, packing := binary.LittleEndian.Uint16(data[26:]), int64(binary.LittleEndian.Uint16(data[28:])), u32(30)
	if planes != 1 {
		return straight{}, 0, fault(ErrCorrupt, "BMP", "%d planes", planes)
	}

	head := fileHeader + info
	hasAlpha := false
	const packedMasks = 3
	if packing == packedMasks && depth == 32 {
		masks := data[fileHeader+infoHeader:]
		if info == infoHeader {
			head += 12 // the masks follow the header
		}
		if len(masks) < 12 {
			return straight{}, 0, fault(ErrTruncated, "BMP", "the data ends in the masks")
		}
		if binary.LittleEndian.Uint32(masks) != 0xff0000 || binary.LittleEndian.Uint32(masks[4:]) != 0xff00 || binary.LittleEndian.Uint32(masks[8:]) != 0xff {
			return straight{}, 0, fault(ErrUnsupported, "BMP", "samples not in the order blue, green, red")
		}
		hasAlpha = info >= 56 && binary.LittleEndian.Uint32(masks[12:]) == 0xff000000
		packing = 0
	}
	if packing != 0 {
		return straight{}, 0, fault(ErrUnsupported, "BMP", "compression %d with %d bits a pixel", packing, depth)
	}
	var colours int64
	switch depth {
	case 1, 2, 4, 8:
		if colours = int64(u32(46)); colours == 0 {
			colours = 1 << depth
		}
		if colours > 1<<depth {
			return straight{}, 0, fault(ErrCorrupt, "BMP", "%d colours with %d bits a pixel", colours, depth)
		}
	case 24, 32:
	default:
		return straight{}, 0, fault(ErrUnsupported, "BMP", "%d bits a pixel", depth)
	}
	palette, offset := head, int64(u32(10))
	if offset < palette+4*colours {
		return straight{}, 0, fault(ErrCorrupt, "BMP", "the pixels begin at %d, inside the header", offset)
	}
	if size := (int64(width)*depth + 31) / 32 * 4 * int64(rows); offset+size > int64(len(data)) {
		e := fault(ErrTruncated, "BMP", "%d bytes, the pixels end at %d", len(data), offset+size)
		e.Width, e.Height = width, rows
		return straight{}, 0, e
	}

	plain := bytes.Clone(data[:fileHeader+infoHeader])
	put := func(at int, v uint32) { binary.LittleEndian.PutUint32(plain[at:], v) }
	put(10, uint32(fileHeader+infoHeader+4*colours))
	put(14, infoHeader)
	put(30, 0)
	put(46, uint32(colours))
	pixels := data[offset:]
	img, err := bmp.Decode(io.MultiReader(bytes.NewReader(plain), bytes.NewReader(data[palette:palette+4*colours]), bytes.NewReader(pixels)))
	if err != nil {
		return straight{}, 0, decoderFault("BMP", err)
	}
	s := fromImage(img)
	if hasAlpha { // which x/image sets to opaque under the plain header
		s = s.withAlpha()
		for i := range s.alpha {
			y := i / width
			if height > 0 {
				y = rows - 1 - y
			}
			s.alpha[i] = pixels[4*(y*width+i%width)+3]
		}
	}
	return s, 0, nil
}

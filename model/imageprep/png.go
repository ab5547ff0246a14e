package imageprep

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/png"
	"slices"
)

const pngSignature = "\x89PNG\r\n\x1a\n"

// decodePNG reads the chunks first: sizes, orientation, and whether all of the file is there. Go's
// decoder then checks their sums and unpacks the pixels.
func decodePNG(data []byte, opts DecodeOptions) (straight, orientation, error) {
	info, err := readPNG(data, opts)
	if err != nil {
		return straight{}, 0, err
	}
	img, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		return straight{}, 0, decoderFault("PNG", err)
	}
	// Go's decoder gives indices beyond the palette black, and makes room for them.
	if p, ok := img.(*image.Paletted); ok && info.colours < 256 && slices.Max(p.Pix) >= byte(info.colours) {
		return straight{}, 0, fault(ErrCorrupt, "PNG", "colour %d of a palette of %d", slices.Max(p.Pix), info.colours)
	}
	return fromImage(img), info.orientation, nil
}

type pngInfo struct {
	width, height int
	colours       int // in the palette
	orientation   orientation
}

// pngDepths are the depths that each colour type may have (PNG specification, table 11.1).
var pngDepths = map[byte][]byte{0: {1, 2, 4, 8, 16}, 2: {8, 16}, 3: {1, 2, 4, 8}, 4: {8, 16}, 6: {8, 16}}

func readPNG(data []byte, opts DecodeOptions) (info pngInfo, err error) {
	corrupt := func(detail string, args ...any) (pngInfo, error) {
		e := fault(ErrCorrupt, "PNG", detail, args...)
		e.Width, e.Height = info.width, info.height
		return info, e
	}
	var rowBits, packed int64
	rest := data[len(pngSignature):]
	for first := true; ; first = false {
		if len(rest) < 12 {
			return info, fault(ErrTruncated, "PNG", "no end chunk")
		}
		size, name := int64(binary.BigEndian.Uint32(rest)), string(rest[4:8])
		if first && (name != "IHDR" || size != 13) {
			return corrupt("the first chunk is %q of %d bytes, not the header", name, size)
		}
		if size+12 > int64(len(rest)) {
			return info, fault(ErrTruncated, "PNG", "chunk %q of %d bytes, %d are there", name, size, len(rest)-12)
		}
		body := rest[8 : 8+size]
		rest = rest[12+size:]
		switch name {
		case "IHDR":
			if !first {
				return corrupt("two headers")
			}
			w, h := binary.BigEndian.Uint32(body), binary.BigEndian.Uint32(body[4:])
			if w > 1<<31-1 || h > 1<<31-1 {
				return corrupt("size %d x %d", w, h)
			}
			info.width, info.height = int(w), int(h)
			if err := opts.checkSize("PNG", info.width, info.height); err != nil {
				return info, err
			}
			depth, colour := body[8], body[9]
			if !slices.Contains(pngDepths[colour], depth) {
				return corrupt("depth %d with colour type %d", depth, colour)
			}
			samples := map[byte]int64{0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
			rowBits = int64(w) * samples * int64(depth)
			if colour != 3 {
				info.colours = 256 // there is no palette to keep to
			}
		case "PLTE":
			if info.colours == 0 {
				info.colours = len(body) / 3
			}
		case "IDAT":
			packed += size
		case "eXIf":
			info.orientation = exifOrientation(body)
		case "IEND":
			if info.colours == 0 {
				return corrupt("no palette")
			}
			// Deflate packs at most 1032 to 1 (RFC 1951: 258 bytes in two bits), so this much has to
			// be there before pixels of the claimed size are allocated.
			if need := int64(info.height) * ((rowBits + 7) / 8) / 1032; packed < need {
				return corrupt("%d bytes of pixel data, at least %d are needed", packed, need)
			}
			return info, nil
		}
	}
}

package imageprep

import (
	"bytes"
	"encoding/binary"
)

// exifPrefix stands before the TIFF structure in a JPEG segment, and in some WebP files.
const exifPrefix = "Exif\x00\x00"

// exifOrientation finds the orientation tag in an EXIF block: a TIFF structure, with or without the
// prefix. 0: there is none that makes sense. Bad offsets and counts are as good as no tag: the
// picture itself is whole.
func exifOrientation(data []byte) orientation {
	dir, ok := readDirectory(bytes.TrimPrefix(data, []byte(exifPrefix)))
	if !ok {
		return 0
	}
	return dir.orientation()
}

// directory is the first image file directory of a TIFF structure (TIFF 6.0, section 2).
type directory struct {
	data    []byte // the whole structure; offsets count from its start
	order   binary.ByteOrder
	entries []byte // 12 bytes each, as many as are there
	whole   bool   // all entries are there, and the offset of the next directory
}

const (
	tagBitsPerSample   = 0x0102
	tagCompression     = 0x0103
	tagPhotometric     = 0x0106
	tagStripOffsets    = 0x0111
	tagOrientation     = 0x0112
	tagSamplesPerPixel = 0x0115
	tagStripByteCounts = 0x0117
	tagPlanar          = 0x011c
	tagTileOffsets     = 0x0144
	tagTileByteCounts  = 0x0145
)

func readDirectory(data []byte) (d directory, ok bool) {
	if len(data) < 8 {
		return d, false
	}
	d.data = data
	switch string(data[:4]) {
	case "II*\x00":
		d.order = binary.LittleEndian
	case "MM\x00*":
		d.order = binary.BigEndian
	default:
		return d, false
	}
	at := int64(d.order.Uint32(data[4:]))
	if at+2 > int64(len(data)) {
		return d, false
	}
	end := at + 2 + 12*int64(d.order.Uint16(data[at:]))
	d.whole = end+4 <= int64(len(data))
	d.entries = data[at+2 : min(end, int64(len(data)))]
	return d, true
}

// values are the numbers of a tag of type SHORT or LONG; nil if the tag is missing, of another type
// or beyond the data.
func (d directory) values(tag uint16) []uint32 {
	for e := d.entries; len(e) >= 12; e = e[12:] {
		if d.order.Uint16(e) != tag {
			continue
		}
		size := map[uint16]int64{3: 2, 4: 4}[d.order.Uint16(e[2:])]
		bytes, place := size*int64(d.order.Uint32(e[4:])), e[8:12]
		if bytes > 4 { // then the entry holds where the numbers are
			at := int64(d.order.Uint32(place))
			if at+bytes > int64(len(d.data)) {
				return nil
			}
			place = d.data[at:]
		}
		if size == 0 || bytes == 0 {
			return nil
		}
		numbers := make([]uint32, bytes/size)
		for i := range numbers {
			if size == 2 {
				numbers[i] = uint32(d.order.Uint16(place[2*i:]))
			} else {
				numbers[i] = d.order.Uint32(place[4*i:])
			}
		}
		return numbers
	}
	return nil
}

// first is the first value of a tag, or missing.
func (d directory) first(tag uint16, missing uint32) uint32 {
	if v := d.values(tag); v != nil {
		return v[0]
	}
	return missing
}

func (d directory) orientation() orientation {
	if v := d.values(tagOrientation); len(v) == 1 {
		return orientation(v[0])
	}
	return 0
}

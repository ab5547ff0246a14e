package sentencepiece

import (
	"encoding/binary"
	"math"

	"github.com/llama3v/llama3v/model/tokenizer"
)

// protoField is one field of a protocol buffer message (protobuf.dev, "Encoding"): the number of an
// int, enum or bool, the bits of a float, or the bytes of a text or message.
type protoField struct {
	number int
	wire   int // 0 number, 1 eight bytes, 2 bytes, 5 four bytes
	n      uint64
	data   []byte
}

// fields shows the fields of a message in the order they lie. Groups, which no version of this format
// has, and anything cut off are malformed.
func (r *reader) fields(where string, message []byte, yield func(f protoField) error) error {
	for len(message) > 0 {
		key, n := binary.Uvarint(message)
		if n <= 0 || key>>3 == 0 || key>>3 > 1<<29-1 {
			return r.malformed(where, "a field without a number")
		}
		message = message[n:]
		f := protoField{number: int(key >> 3), wire: int(key & 7)}
		switch f.wire {
		case 0:
			if f.n, n = binary.Uvarint(message); n <= 0 {
				return r.malformed(where, "field %d: a number that does not end", f.number)
			}
		case 1:
			n = 8
		case 5:
			n = 4
		case 2:
			length, size := binary.Uvarint(message)
			if size <= 0 || length > uint64(len(message)-size) {
				return r.malformed(where, "field %d is longer than what is left", f.number)
			}
			f.data, n = message[size:size+int(length)], size+int(length)
		default:
			return r.malformed(where, "field %d has wire type %d", f.number, f.wire)
		}
		if n > len(message) {
			return r.malformed(where, "field %d is longer than what is left", f.number)
		}
		switch f.wire {
		case 1:
			f.n = binary.LittleEndian.Uint64(message)
		case 5:
			f.n = uint64(binary.LittleEndian.Uint32(message))
		}
		message = message[n:]
		if err := yield(f); err != nil {
			return err
		}
	}
	return nil
}

// want checks the wire type of a field that is read.
func (r *reader) want(where string, f protoField, wire int) error {
	if f.wire != wire {
		return r.malformed(where, "field %d has wire type %d, not %d", f.number, f.wire, wire)
	}
	return nil
}

func (f protoField) float() float32 { return math.Float32frombits(uint32(f.n)) }

// reader names the file in errors.
type reader struct{ file string }

func (r *reader) malformed(where, format string, args ...any) error {
	return &tokenizer.FormatError{File: r.file, Where: where, What: sprintf(format, args...)}
}

func (r *reader) unsupported(where, format string, args ...any) error {
	return &tokenizer.UnsupportedError{File: r.file, Where: where, What: sprintf(format, args...)}
}

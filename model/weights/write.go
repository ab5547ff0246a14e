package weights

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// Tensor is a tensor in memory, to be written.
type Tensor struct {
	Name  string
	DType DType
	Shape []int  // outermost first; empty: a scalar
	Data  []byte // row-major, little-endian, as FromFloat32 makes it
}

// Write writes a safetensors file. The bytes depend on the tensors and the metadata only, not on
// their order: tensors lie sorted by the width of their type, widest first, then by name, and the
// header is padded with spaces so that the data begins at a multiple of 8. Every tensor is therefore
// aligned to its own type.
//
// Errors, before anything is written: ErrFormat for a name that is empty, not UTF-8, taken twice or
// reserved, more than 8 dimensions, data of another size than the shape says, metadata that is not
// UTF-8, or a header over 100 MB. Then what w gives.
func Write(w io.Writer, tensors []Tensor, metadata map[string]string) error {
	streams := make([]GGUFTensor, len(tensors))
	for i, t := range tensors {
		if fault := t.fault(); fault != "" {
			return &FormatError{File: "safetensors", Tensor: t.Name, Reason: fault}
		}
		streams[i] = GGUFTensor{t.Name, t.DType, t.Shape, func(w io.Writer) error { _, err := w.Write(t.Data); return err }}
	}
	return WriteStreams(w, streams, metadata)
}

// WriteStreams is [Write] for tensors that pass through in pieces, so that a file of any size takes
// little memory. Errors: as Write, then what Data gives, and ErrFormat where it writes another number of
// bytes.
func WriteStreams(w io.Writer, tensors []GGUFTensor, metadata map[string]string) error {
	tensors = slices.SortedFunc(slices.Values(tensors), func(a, b GGUFTensor) int {
		return cmp.Or(cmp.Compare(b.DType.Bits(), a.DType.Bits()), strings.Compare(a.Name, b.Name))
	})
	header, err := formatHeader(tensors, metadata)
	if err != nil {
		return err
	}
	var length [8]byte
	binary.LittleEndian.PutUint64(length[:], uint64(len(header)))
	if _, err := w.Write(length[:]); err != nil {
		return err
	}
	if _, err := w.Write(header); err != nil {
		return err
	}
	for _, t := range tensors {
		if err := t.write(w, "safetensors"); err != nil {
			return err
		}
	}
	return nil
}

// WriteFile writes a safetensors file that appears under its name only when it is complete and on
// the disk: a crash leaves what was there before. Errors: as Write, or what the file system gave.
func WriteFile(path string, tensors []Tensor, metadata map[string]string) error {
	return writeFile(path, func(w io.Writer) error { return Write(w, tensors, metadata) })
}

// WriteStreamsFile is WriteFile for tensors that pass through in pieces.
func WriteStreamsFile(path string, tensors []GGUFTensor, metadata map[string]string) error {
	return writeFile(path, func(w io.Writer) error { return WriteStreams(w, tensors, metadata) })
}

// formatHeader writes the JSON of sorted tensors, padded.
func formatHeader(tensors []GGUFTensor, metadata map[string]string) ([]byte, error) {
	b := []byte{'{'}
	if len(metadata) > 0 {
		b = append(appendString(b, metadataKey), ":{"...)
		for i, key := range slices.Sorted(maps.Keys(metadata)) {
			if !utf8.ValidString(key) || !utf8.ValidString(metadata[key]) {
				return nil, &FormatError{File: "safetensors", Reason: fmt.Sprintf("metadata %q is not UTF-8", key)}
			}
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendString(b, key), ':')
			b = appendString(b, metadata[key])
		}
		b = append(b, '}')
	}
	offset := int64(0)
	var names keySet
	for _, t := range tensors {
		size, fault := headerFault(t.Name, t.DType, t.Shape)
		if fault != "" {
			return nil, &FormatError{File: "safetensors", Tensor: t.Name, Reason: fault}
		}
		if !names.add(t.Name) {
			return nil, &FormatError{File: "safetensors", Tensor: t.Name, Reason: "the name comes twice"}
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(appendString(b, t.Name), ':')
		b = fmt.Appendf(b, `{"dtype":"%s","shape":[`, t.DType)
		for i, n := range t.Shape {
			if i > 0 {
				b = append(b, ',')
			}
			b = fmt.Append(b, n)
		}
		b = fmt.Appendf(b, `],"data_offsets":[%d,%d]}`, offset, offset+size)
		offset += size
	}
	b = append(b, '}')
	for len(b)%8 != 0 { // the 8 bytes of the length before it change nothing
		b = append(b, ' ')
	}
	if len(b) > maxHeader {
		return nil, &FormatError{File: "safetensors", Reason: fmt.Sprintf("a header of %d bytes is over the limit of %d", len(b), maxHeader)}
	}
	return b, nil
}

// fault says what is wrong with a tensor by itself, or nothing.
func (t *Tensor) fault() string {
	size, fault := headerFault(t.Name, t.DType, t.Shape)
	if fault == "" && size != int64(len(t.Data)) {
		fault = fmt.Sprintf("%s %v takes %d bytes, there are %d", t.DType, t.Shape, size, len(t.Data))
	}
	return fault
}

// headerFault is a tensor's size, or what is wrong with its line of the header.
func headerFault(name string, d DType, shape []int) (size int64, fault string) {
	size, ok := d.Bytes(shape...)
	switch {
	case name == "" || name == metadataKey || !utf8.ValidString(name):
		fault = "not a name that a tensor can have"
	case len(shape) > maxRank:
		fault = fmt.Sprintf("more than %d dimensions", maxRank)
	case d.Quantized():
		fault = fmt.Sprintf("the format has no type %s", d)
	case !ok:
		fault = fmt.Sprintf("%s %v has no size in whole bytes below 2^63", d, shape)
	}
	return size, fault
}

// appendString appends s as a JSON string.
func appendString(b []byte, s string) []byte {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false) // <image> stays readable
	if err := e.Encode(s); err != nil {
		panic(err) // a string can always be encoded, and a bytes.Buffer written
	}
	return append(b, bytes.TrimSuffix(out.Bytes(), []byte("\n"))...)
}

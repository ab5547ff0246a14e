package weights

import (
	"cmp"
	"fmt"
	"slices"
	"unicode/utf8"
)

// Limits of a safetensors header. The reference reader has the first; names and ranks have none in
// the format.
const (
	maxHeader = 100_000_000 // bytes
	maxRank   = 8
)

// metadataKey is the one key of a header that is no tensor.
const metadataKey = "__metadata__"

// entry is one tensor of a header; begin and end are offsets into the file's data.
type entry struct {
	name       string
	dtype      DType
	shape      []int
	begin, end int64
}

// parseHeader reads the JSON part of a safetensors file: an object of tensors, each with dtype,
// shape and data_offsets, and optionally __metadata__ from strings to strings. Errors: *FormatError.
func parseHeader(file string, text []byte) ([]entry, map[string]string, error) {
	if !utf8.Valid(text) {
		return nil, nil, &FormatError{File: file, Reason: "the header is not UTF-8"}
	}
	var entries []entry
	var metadata map[string]string
	s := scanner{text: text}
	tensor := ""
	err := s.object(func(key string) (err error) {
		if key == metadataKey {
			metadata, err = s.stringMap()
			return err
		}
		tensor = key
		if key == "" {
			return s.fail("a tensor without a name")
		}
		e, err := parseEntry(&s)
		if err != nil {
			return err
		}
		e.name = key
		entries = append(entries, e)
		tensor = ""
		return nil
	})
	if err == nil {
		err = s.end()
	}
	if err != nil {
		return nil, nil, &FormatError{File: file, Tensor: tensor, Reason: "bad header: " + err.Error()}
	}
	return entries, metadata, nil
}

// stringMap reads an object whose values are all strings, or null.
func (s *scanner) stringMap() (map[string]string, error) {
	if s.literal("null") {
		return nil, nil
	}
	m := map[string]string{}
	return m, s.object(func(key string) (err error) {
		m[key], err = s.str()
		return err
	})
}

// parseEntry reads what stands behind a tensor's name. Other fields than the three are skipped, as
// the reference does.
func parseEntry(s *scanner) (e entry, err error) {
	var haveDType, haveShape, haveOffsets bool
	err = s.object(func(field string) error {
		switch field {
		case "dtype":
			haveDType = true
			name, err := s.str()
			if err != nil {
				return err
			}
			var known bool
			if e.dtype, known = ParseDType(name); !known {
				return s.fail("the format has no type %q", name)
			}
		case "shape":
			haveShape = true
			return s.array(func() error {
				if len(e.shape) == maxRank {
					return s.fail("more than %d dimensions", maxRank)
				}
				n, err := s.count()
				e.shape = append(e.shape, n)
				return err
			})
		case "data_offsets":
			haveOffsets = true
			var pair [2]int64
			n := 0
			err := s.array(func() error {
				if n == len(pair) {
					return s.fail("data_offsets has more than two numbers")
				}
				v, err := s.count()
				pair[n] = int64(v)
				n++
				return err
			})
			if err == nil && n < len(pair) {
				err = s.fail("data_offsets has %d of two numbers", n)
			}
			e.begin, e.end = pair[0], pair[1]
			return err
		default:
			return s.skip()
		}
		return nil
	})
	switch {
	case err != nil:
	case !haveDType:
		err = s.fail("no dtype")
	case !haveShape:
		err = s.fail("no shape")
	case !haveOffsets:
		err = s.fail("no data_offsets")
	}
	return e, err
}

// checkLayout makes sure that every tensor's range has the size its shape says and that, in the
// order of offsets, the ranges cover the file's dataBytes bytes once and completely. It sorts
// entries by offset. Errors: *FormatError.
func checkLayout(file string, entries []entry, dataBytes int64) error {
	for _, e := range entries {
		fail := func(format string, args ...any) error {
			return &FormatError{File: file, Tensor: e.name, Reason: fmt.Sprintf(format, args...)}
		}
		if e.end < e.begin {
			return fail("its data ends at %d, before it begins at %d", e.end, e.begin)
		}
		size, ok := e.dtype.Bytes(e.shape...)
		if !ok {
			return fail("%s %v has no size in whole bytes below 2^63", e.dtype, e.shape)
		}
		if e.end-e.begin != size {
			return fail("%s %v takes %d bytes, its range %d to %d has %d", e.dtype, e.shape, size, e.begin, e.end, e.end-e.begin)
		}
	}
	slices.SortFunc(entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end))
	})
	at := int64(0)
	for i, e := range entries {
		if e.begin != at {
			what, before := "a gap after", "the start of the data"
			if e.begin < at {
				what = "an overlap with"
			}
			if i > 0 {
				before = fmt.Sprintf("tensor %q", entries[i-1].name)
			}
			return &FormatError{File: file, Tensor: e.name, Reason: fmt.Sprintf(
				"its data begins at %d where %d was expected: %s %s", e.begin, at, what, before)}
		}
		at = e.end
	}
	if at > dataBytes {
		return &FormatError{File: file, Truncated: true, Reason: fmt.Sprintf(
			"cut short: the tensors take %d bytes, the file has %d of them", at, dataBytes)}
	}
	if at < dataBytes {
		return &FormatError{File: file, Reason: fmt.Sprintf("%d bytes after the last tensor", dataBytes-at)}
	}
	return nil
}

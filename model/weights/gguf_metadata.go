package weights

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
)

// Metadata is the keys and values of a GGUF file. Single values are read through [Metadata.Config],
// with its rules and its errors; lists, which can be as long as a vocabulary, by the methods here.
type Metadata struct {
	file string
	// bool, string, an integer or float type of the format's width, or a slice of one of them.
	values map[string]any
	order  []string          // of the keys in the file
	kinds  map[string]uint32 // of lists: the format's type of their elements
}

func newMetadata(file string) *Metadata {
	return &Metadata{file: file, values: map[string]any{}, kinds: map[string]uint32{}}
}

// Keys lists all keys, sorted.
func (m *Metadata) Keys() []string { return slices.Sorted(maps.Keys(m.values)) }

// Has says whether the key is there.
func (m *Metadata) Has(key string) bool { _, ok := m.values[key]; return ok }

// Value is what the file has for a key: bool, string, a number of Go's type of that width, or a slice
// of these, not to be changed; nil where it has nothing.
func (m *Metadata) Value(key string) any { return m.values[key] }

// List is all keys in the order of the file, with values of the width that they have there, as WriteGGUF
// takes them.
func (m *Metadata) List() []Key {
	keys := make([]Key, len(m.order))
	for i, key := range m.order {
		keys[i] = Key{key, narrow(m.values[key], m.kinds[key])}
	}
	return keys
}

// narrow gives a list of numbers the width of the format's type.
func narrow(value any, kind uint32) any {
	switch list := value.(type) {
	case []int64:
		switch kind {
		case ggufU8:
			return each(list, func(v int64) uint8 { return uint8(v) })
		case ggufI8:
			return each(list, func(v int64) int8 { return int8(v) })
		case ggufU16:
			return each(list, func(v int64) uint16 { return uint16(v) })
		case ggufI16:
			return each(list, func(v int64) int16 { return int16(v) })
		case ggufU32:
			return each(list, func(v int64) uint32 { return uint32(v) })
		case ggufI32:
			return each(list, func(v int64) int32 { return int32(v) })
		case ggufU64:
			return each(list, func(v int64) uint64 { return uint64(v) })
		}
	case []float64:
		if kind == ggufF32 {
			return each(list, func(v float64) float32 { return float32(v) })
		}
	}
	return value
}

func each[A, B any](list []A, f func(A) B) []B {
	out := make([]B, len(list))
	for i, v := range list {
		out[i] = f(v)
	}
	return out
}

// shortList is the longest list that Config shows.
const shortList = 256

// Config gives single values and short lists key by key. Dots in a key are part of it.
func (m *Metadata) Config() *Config {
	c := &Config{file: m.file, fields: map[string]any{}, faults: new([]error)}
	for key, value := range m.values {
		if v := configValue(value); v != nil {
			c.fields[key] = v
		}
	}
	return c
}

// configValue is a value in the form that a parsed JSON text has, nil for a long list.
func configValue(value any) any {
	list := func(n int, at func(i int) any) any {
		if n > shortList {
			return nil
		}
		out := make([]any, n)
		for i := range out {
			out[i] = configValue(at(i))
		}
		return out
	}
	switch v := value.(type) {
	case bool, string:
		return v
	case float32:
		return number(strconv.FormatFloat(float64(v), 'g', -1, 32))
	case float64:
		return number(strconv.FormatFloat(v, 'g', -1, 64))
	case []bool:
		return list(len(v), func(i int) any { return v[i] })
	case []string:
		return list(len(v), func(i int) any { return v[i] })
	case []int64:
		return list(len(v), func(i int) any { return v[i] })
	case []float64:
		return list(len(v), func(i int) any { return v[i] })
	}
	return number(fmt.Sprint(value))
}

// Strings is a list of strings. Errors: ErrConfig where the key is missing or something else.
func (m *Metadata) Strings(key string) ([]string, error) { return listOf[string](m, key, "strings") }

// Ints is a list of whole numbers, of any width. Errors: as Strings.
func (m *Metadata) Ints(key string) ([]int64, error) { return listOf[int64](m, key, "whole numbers") }

// Floats is a list of numbers, of either width. Errors: as Strings.
func (m *Metadata) Floats(key string) ([]float64, error) { return listOf[float64](m, key, "numbers") }

func listOf[T any](m *Metadata, key, what string) ([]T, error) {
	value, ok := m.values[key]
	if !ok {
		return nil, &ConfigError{File: m.file, Key: key, Reason: "is missing"}
	}
	list, ok := value.([]T)
	if !ok {
		return nil, &ConfigError{File: m.file, Key: key, Reason: fmt.Sprintf("is %T, not a list of %s", value, what)}
	}
	return list, nil
}

// uint is a whole number that is not negative, or value.
func (m *Metadata) uint(key string, value uint64) uint64 {
	switch v := m.values[key].(type) {
	case uint8:
		return uint64(v)
	case uint16:
		return uint64(v)
	case uint32:
		return uint64(v)
	case uint64:
		return v
	case int32:
		if v >= 0 {
			return uint64(v)
		}
	}
	return value
}

// The format's types of values.
const (
	ggufU8 = iota
	ggufI8
	ggufU16
	ggufI16
	ggufU32
	ggufI32
	ggufF32
	ggufBool
	ggufString
	ggufArray
	ggufU64
	ggufI64
	ggufF64
	ggufTypeCount
)

// ggufSizes are the least bytes that a value of each type takes.
var ggufSizes = [ggufTypeCount]int64{1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8}

// ggufReader reads a header. The first failure stays; what is read after it is zero.
type ggufReader struct {
	src *source
	r   *bufio.Reader
	pos int64
	err error
}

func newGGUFReader(src *source) *ggufReader {
	return &ggufReader{src: src, r: bufio.NewReaderSize(io.NewSectionReader(src, 0, src.size), 64<<10)}
}

func (r *ggufReader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = &FormatError{File: r.src.name, Reason: fmt.Sprintf(format, args...)}
	}
}

func (r *ggufReader) failTensor(name, format string, args ...any) {
	if r.err == nil {
		r.err = &FormatError{File: r.src.name, Tensor: name, Reason: fmt.Sprintf(format, args...)}
	}
}

func (r *ggufReader) left() int64 { return r.src.size - r.pos }

// fits fails where count things of at least size bytes each are more than what is left.
func (r *ggufReader) fits(what string, count uint64, size int64) bool {
	if r.err != nil {
		return false
	}
	if count > uint64(r.left()/size) {
		r.err = &FormatError{File: r.src.name, Truncated: true,
			Reason: fmt.Sprintf("%d %s do not fit the %d bytes behind byte %d", count, what, r.left(), r.pos)}
		return false
	}
	return true
}

// bytes reads n bytes, which are known to be few.
func (r *ggufReader) bytes(n int) []byte {
	b := make([]byte, n)
	if r.err != nil {
		return b
	}
	if int64(n) > r.left() {
		r.err = &FormatError{File: r.src.name, Truncated: true, Reason: fmt.Sprintf("cut short: %d bytes are missing at byte %d", int64(n)-r.left(), r.pos)}
		return b
	}
	if _, err := io.ReadFull(r.r, b); err != nil {
		r.err = &ReadError{File: r.src.name, Err: err}
		return b
	}
	r.pos += int64(n)
	return b
}

func (r *ggufReader) u32() uint32 { return binary.LittleEndian.Uint32(r.bytes(4)) }
func (r *ggufReader) u64() uint64 { return binary.LittleEndian.Uint64(r.bytes(8)) }

func (r *ggufReader) string(most int, what string) string {
	n := r.u64()
	if !r.fits("bytes of "+what, n, 1) {
		return ""
	}
	if n > uint64(most) {
		r.fail("%s of %d bytes; at most %d are read", what, n, most)
		return ""
	}
	return string(r.bytes(int(n)))
}

// key reads one key with its value.
func (r *ggufReader) key(m *Metadata) {
	key := r.string(maxKeyLength, "a key")
	kind := r.u32()
	if r.err != nil {
		return
	}
	if key == "" {
		r.fail("an empty key")
		return
	}
	if m.Has(key) {
		r.fail("key %q comes twice", key)
		return
	}
	m.values[key] = r.value(m, key, kind)
	m.order = append(m.order, key)
}

func (r *ggufReader) value(m *Metadata, key string, kind uint32) any {
	switch kind {
	case ggufU8:
		return r.bytes(1)[0]
	case ggufI8:
		return int8(r.bytes(1)[0])
	case ggufU16:
		return binary.LittleEndian.Uint16(r.bytes(2))
	case ggufI16:
		return int16(binary.LittleEndian.Uint16(r.bytes(2)))
	case ggufU32:
		return r.u32()
	case ggufI32:
		return int32(r.u32())
	case ggufF32:
		return math.Float32frombits(r.u32())
	case ggufBool:
		return r.bytes(1)[0] != 0
	case ggufString:
		return r.string(maxGGUFString, fmt.Sprintf("the value of %q", key))
	case ggufU64:
		return r.u64()
	case ggufI64:
		return int64(r.u64())
	case ggufF64:
		return math.Float64frombits(r.u64())
	case ggufArray:
		return r.array(m, key)
	}
	r.fail("key %q has a value of the unknown type %d", key, kind)
	return nil
}

// array reads a list. Numbers of all widths become int64 or float64.
func (r *ggufReader) array(m *Metadata, key string) any {
	kind, count := r.u32(), r.u64()
	if r.err != nil {
		return nil
	}
	if kind == ggufArray {
		r.fail("key %q is a list of lists", key)
		return nil
	}
	if kind >= ggufTypeCount {
		r.fail("key %q is a list of the unknown type %d", key, kind)
		return nil
	}
	if !r.fits(fmt.Sprintf("elements of the list %q", key), count, ggufSizes[kind]) {
		return nil
	}
	if count > maxGGUFArray {
		r.fail("key %q is a list of %d elements; at most %d are read", key, count, maxGGUFArray)
		return nil
	}
	m.kinds[key] = kind
	n := int(count)
	switch kind {
	case ggufString:
		return fill(r, n, func() string { return r.string(maxGGUFString, fmt.Sprintf("an element of %q", key)) })
	case ggufBool:
		return fill(r, n, func() bool { return r.bytes(1)[0] != 0 })
	case ggufF32:
		return fill(r, n, func() float64 { return float64(math.Float32frombits(r.u32())) })
	case ggufF64:
		return fill(r, n, func() float64 { return math.Float64frombits(r.u64()) })
	}
	return fill(r, n, func() int64 {
		switch kind {
		case ggufU8:
			return int64(r.bytes(1)[0])
		case ggufI8:
			return int64(int8(r.bytes(1)[0]))
		case ggufU16:
			return int64(binary.LittleEndian.Uint16(r.bytes(2)))
		case ggufI16:
			return int64(int16(binary.LittleEndian.Uint16(r.bytes(2))))
		case ggufU32:
			return int64(r.u32())
		case ggufI32:
			return int64(int32(r.u32()))
		}
		n := r.u64()
		if kind == ggufU64 && n > math.MaxInt64 {
			r.fail("key %q has the element %d, beyond 63 bits", key, n)
		}
		return int64(n)
	})
}

func fill[T any](r *ggufReader, n int, next func() T) []T {
	list := make([]T, n)
	for i := range list {
		if list[i] = next(); r.err != nil {
			return nil
		}
	}
	return list
}

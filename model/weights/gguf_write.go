package weights

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
)

// Key is a key of a GGUF file with its value: bool, string, an integer or float type of 8 to 64 bits, or
// a slice of one of these.
type Key struct {
	Name  string
	Value any
}

// GGUFTensor is a tensor to be written in pieces, to a GGUF file or with [WriteStreams]. Data writes exactly the bytes that its type and shape take, row
// by row; it is called once, in the order of the tensors.
type GGUFTensor struct {
	Name  string
	DType DType
	Shape []int // outermost first, at most 4
	Data  func(w io.Writer) error
}

// write passes a tensor on and counts its bytes.
func (t *GGUFTensor) write(w io.Writer, format string) error {
	size, _ := t.DType.Bytes(t.Shape...)
	counted := &exactWriter{w: w, left: size}
	if err := t.Data(counted); err != nil {
		return err
	}
	if counted.left != 0 {
		return &FormatError{File: format, Tensor: t.Name, Reason: fmt.Sprintf("%d of %d bytes were not written", counted.left, size)}
	}
	return nil
}

var ggufNumbers = func() map[DType]uint32 {
	numbers := map[DType]uint32{}
	for number, d := range ggufTypes {
		numbers[d] = number
	}
	return numbers
}()

// WriteGGUF writes a file of version 3: keys and tensors in the order given, every tensor padded to
// general.alignment, which is 32 unless the keys say otherwise. Tensors pass through in the pieces that
// Data writes, so that a file of any size takes little memory. The bytes depend on the arguments only.
//
// Errors, before anything is written: ErrFormat for what a reader would refuse. Then what Data or w
// gives, and ErrFormat where Data writes another number of bytes.
func WriteGGUF(w io.Writer, keys []Key, tensors []GGUFTensor) error {
	header, alignment, err := formatGGUF(keys, tensors)
	if err != nil {
		return err
	}
	if _, err := w.Write(header); err != nil {
		return err
	}
	padding := make([]byte, alignment)
	for _, t := range tensors {
		if err := t.write(w, "gguf"); err != nil {
			return err
		}
		size, _ := t.DType.Bytes(t.Shape...)
		if _, err := w.Write(padding[:padded(size, alignment)-size]); err != nil {
			return err
		}
	}
	return nil
}

// WriteGGUFFile is WriteGGUF to a file that appears under its name only when it is complete and on the
// disk: a crash leaves what was there before.
func WriteGGUFFile(path string, keys []Key, tensors []GGUFTensor) error {
	return writeFile(path, func(w io.Writer) error { return WriteGGUF(w, keys, tensors) })
}

// writeFile writes a file under another name beside its own, as a rename does not cross file systems,
// and renames it. It is created like any new file: the user's umask decides who may read it.
func writeFile(path string, write func(io.Writer) error) error {
	dir, base := filepath.Split(path)
	temp := filepath.Join(dir, fmt.Sprintf(".%s.%016x.tmp", base, rand.Uint64()))
	file, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	buffered := bufio.NewWriterSize(file, 1<<20)
	if err = write(buffered); err == nil {
		if err = buffered.Flush(); err == nil {
			err = file.Sync()
		}
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return nil
}

// exactWriter refuses bytes beyond those that are left.
type exactWriter struct {
	w    io.Writer
	left int64
}

func (e *exactWriter) Write(p []byte) (int, error) {
	if int64(len(p)) > e.left {
		return 0, fmt.Errorf("%w: a tensor's data is longer than its shape says", ErrFormat)
	}
	n, err := e.w.Write(p)
	e.left -= int64(n)
	return n, err
}

func padded(n, alignment int64) int64 { return (n + alignment - 1) / alignment * alignment }

// formatGGUF is everything before the data, padded.
func formatGGUF(keys []Key, tensors []GGUFTensor) (header []byte, alignment int64, err error) {
	put := binary.LittleEndian
	b := append([]byte(ggufMagic), 3, 0, 0, 0)
	b = put.AppendUint64(b, uint64(len(tensors)))
	b = put.AppendUint64(b, uint64(len(keys)))
	alignment = 32
	var names keySet
	for _, k := range keys {
		fault := func(format string, args ...any) error {
			return &FormatError{File: "gguf", Reason: fmt.Sprintf("key %q: ", k.Name) + fmt.Sprintf(format, args...)}
		}
		if k.Name == "" || len(k.Name) > maxKeyLength {
			return nil, 0, fault("not a name that a key can have")
		}
		if !names.add(k.Name) {
			return nil, 0, fault("comes twice")
		}
		if k.Name == "general.alignment" {
			n, ok := k.Value.(uint32)
			if !ok || n == 0 || n&(n-1) != 0 {
				return nil, 0, fault("%v (%T) is no power of two of type uint32", k.Value, k.Value)
			}
			alignment = int64(n)
		}
		b = appendGGUFString(b, k.Name)
		var ok bool
		if b, ok = appendGGUFValue(b, k.Value); !ok {
			return nil, 0, fault("a value of type %T", k.Value)
		}
	}
	offset := int64(0)
	names = keySet{}
	for _, t := range tensors {
		fault := func(format string, args ...any) error {
			return &FormatError{File: "gguf", Tensor: t.Name, Reason: fmt.Sprintf(format, args...)}
		}
		size, ok := t.DType.Bytes(t.Shape...)
		number, known := ggufNumbers[t.DType]
		switch {
		case len(t.Name) > maxGGUFName:
			return nil, 0, fault("a name of more than %d bytes", maxGGUFName)
		case !names.add(t.Name):
			return nil, 0, fault("the name comes twice")
		case len(t.Shape) > maxGGUFRank:
			return nil, 0, fault("more than %d dimensions", maxGGUFRank)
		case !known:
			return nil, 0, fault("the format has no type %s", t.DType)
		case !ok || offset > math.MaxInt64-size-2*alignment:
			return nil, 0, fault("%s %v has no size in whole blocks below 2^63", t.DType, t.Shape)
		}
		b = appendGGUFString(b, t.Name)
		b = put.AppendUint32(b, uint32(len(t.Shape)))
		for _, n := range slices.Backward(t.Shape) { // fastest first
			b = put.AppendUint64(b, uint64(n))
		}
		b = put.AppendUint32(b, number)
		b = put.AppendUint64(b, uint64(offset))
		offset += padded(size, alignment)
	}
	return append(b, make([]byte, padded(int64(len(b)), alignment)-int64(len(b)))...), alignment, nil
}

func appendGGUFString(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint64(b, uint64(len(s))), s...)
}

// appendGGUFValue appends a value's type and the value. ok is false for a Go type that has none.
func appendGGUFValue(b []byte, value any) (_ []byte, ok bool) {
	put := binary.LittleEndian
	if kind, ok := ggufKind(value); ok {
		b = put.AppendUint32(b, kind)
		if s, isString := value.(string); isString {
			return appendGGUFString(b, s), true
		}
		b, err := binary.Append(b, put, value)
		return b, err == nil
	}
	list := func(kind uint32, n int) []byte {
		return put.AppendUint64(put.AppendUint32(put.AppendUint32(b, ggufArray), kind), uint64(n))
	}
	if v, isStrings := value.([]string); isStrings {
		b = list(ggufString, len(v))
		for _, s := range v {
			b = appendGGUFString(b, s)
		}
		return b, true
	}
	kinds := func() (kind uint32, n int, ok bool) {
		switch v := value.(type) {
		case []uint8:
			return ggufU8, len(v), true
		case []int8:
			return ggufI8, len(v), true
		case []uint16:
			return ggufU16, len(v), true
		case []int16:
			return ggufI16, len(v), true
		case []uint32:
			return ggufU32, len(v), true
		case []int32:
			return ggufI32, len(v), true
		case []float32:
			return ggufF32, len(v), true
		case []bool:
			return ggufBool, len(v), true
		case []uint64:
			return ggufU64, len(v), true
		case []int64:
			return ggufI64, len(v), true
		case []float64:
			return ggufF64, len(v), true
		}
		return 0, 0, false
	}
	kind, n, ok := kinds()
	if !ok {
		return b, false
	}
	b, err := binary.Append(list(kind, n), put, value)
	return b, err == nil
}

// ggufKind is the format's type of a single value.
func ggufKind(value any) (kind uint32, ok bool) {
	switch value.(type) {
	case uint8:
		return ggufU8, true
	case int8:
		return ggufI8, true
	case uint16:
		return ggufU16, true
	case int16:
		return ggufI16, true
	case uint32:
		return ggufU32, true
	case int32:
		return ggufI32, true
	case float32:
		return ggufF32, true
	case bool:
		return ggufBool, true
	case string:
		return ggufString, true
	case uint64:
		return ggufU64, true
	case int64:
		return ggufI64, true
	case float64:
		return ggufF64, true
	}
	return 0, false
}

// Package weights reads and writes the files that hold a model's parameters, and says what is
// wrong with them in words.
//
// A [Checkpoint] is a set of named tensors in one or more files of an [fs.FS]. Its whole structure
// is checked when it is opened; the data stays on disk and is read in blocks of rows into memory
// that the caller owns ([Rows]), so that a model of any size passes through a few MiB. Nothing is
// mapped: a file that is cut short while it is read is an error, not a signal.
//
// A [Binder] compares what a model declares with what the checkpoint holds and reports everything
// that does not fit at once. [Config] reads config.json with errors that name the key.
//
// Imports point down: this package knows nothing of devices, kernels or models.
package weights

import (
	"io"
	"io/fs"
	"slices"
	"strings"
)

// Checkpoint is a set of named tensors in the files of one model. Its methods are safe for
// concurrent use. [Safetensors] is an implementation.
type Checkpoint interface {
	// Names lists all tensors, sorted.
	Names() []string
	// Has says whether the tensor exists.
	Has(name string) bool
	// Tensor describes a tensor. Errors: ErrMissingTensor.
	Tensor(name string) (Info, error)
	// Rows begins reading a tensor from its first row. Errors: ErrMissingTensor, and
	// ErrUnsupportedDType where a row is not a whole number of bytes.
	Rows(name string) (*Rows, error)
	// Files lists the files that hold the tensors, in the order of their names.
	Files() []string
	// Close closes the files; reading afterwards gives fs.ErrClosed. Closing twice is no error.
	io.Closer
}

// Info describes one tensor.
type Info struct {
	Name  string
	DType DType
	Shape []int  // outermost first; empty: a scalar. Shared, not to be changed
	Bytes int64  // of its data
	File  string // the file it lies in
}

// Rows is the first dimension where there are two or more, else 1: a vector or a scalar is one row.
func (i Info) Rows() int {
	if len(i.Shape) < 2 {
		return 1
	}
	return i.Shape[0]
}

// Elements is the number of values, 0 where a dimension is.
func (i Info) Elements() int { return i.Rows() * i.Cols() }

// Cols is the number of elements in one row: the product of all other dimensions. It is 0 where
// the tensor is empty.
func (i Info) Cols() int {
	if i.Bytes == 0 {
		return 0 // the product of the other dimensions need not fit an int
	}
	cols := 1
	for n, d := range i.Shape {
		if n > 0 || len(i.Shape) < 2 {
			cols *= d
		}
	}
	return cols
}

// Open reads the structure of the model in the root of fsys: model.safetensors, or else the shards
// that model.safetensors.index.json lists.
//
// Errors: ErrNoCheckpoint with neither there, ErrFormat, ErrTruncated, ErrMissingFile, or what
// fsys gave.
func Open(fsys fs.FS) (Checkpoint, error) {
	s, err := OpenSafetensors(fsys)
	if err != nil {
		return nil, err // not s: an interface that holds a nil pointer is not nil
	}
	return s, nil
}

// ReadFloat32 reads a whole tensor of a floating-point or block type, widened or rounded to float32, through
// a block of at most [DefaultBlock] bytes. It is meant for small tensors: norms, frequencies.
//
// Errors: ErrMissingTensor, ErrUnsupportedDType, ErrTruncated.
func ReadFloat32(cp Checkpoint, name string) ([]float32, error) {
	rows, err := cp.Rows(name)
	if err != nil {
		return nil, err
	}
	info := rows.Info()
	if !usable(info.DType) {
		return nil, &DTypeError{Tensor: name, File: info.File, DType: info.DType}
	}
	elements, bytes := info.DType.Block()
	out := make([]float32, info.Bytes/int64(bytes)*int64(elements))
	block := make([]byte, min(info.Bytes, int64(DefaultBlock/bytes*bytes)))
	for done := int64(0); done < info.Bytes; {
		block = block[:min(int64(len(block)), info.Bytes-done)]
		if err := rows.readAt(block, done); err != nil {
			return nil, err
		}
		from := done / int64(bytes) * int64(elements)
		done += int64(len(block))
		if err := ToFloat32(out[from:done/int64(bytes)*int64(elements)], block, info.DType); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// usable says whether [ToFloat32] converts a type.
func usable(d DType) bool { return slices.Contains(Floats, d) || d.Quantized() }

// missing is the error for a tensor that is not there.
func missing(name string, files []string) error {
	return &MissingTensorError{Names: []string{name}, Files: files}
}

// joinFiles shortens a list of files for an error text.
func joinFiles(files []string) string {
	const most = 3
	if len(files) <= most {
		return strings.Join(files, ", ")
	}
	return strings.Join(files[:most-1], ", ") + ", ... " + files[len(files)-1]
}

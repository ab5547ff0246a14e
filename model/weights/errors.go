package weights

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// What can be wrong, for errors.Is.
var (
	// ErrNoCheckpoint: the folder holds no weights in a known format.
	ErrNoCheckpoint = errors.New("no weights found")
	// ErrFormat: a file breaks the rules of its format.
	ErrFormat = errors.New("malformed file")
	// ErrTruncated: a file is shorter than it says, or its size or time changed while it was read.
	ErrTruncated = errors.New("file is cut short")
	// ErrMissingFile: an index lists files that are not there. Also fs.ErrNotExist.
	ErrMissingFile = errors.New("missing file")
	// ErrMissingTensor: a tensor that is needed is in none of the files.
	ErrMissingTensor = errors.New("missing tensor")
	// ErrShape: a tensor has other dimensions than the model's config says.
	ErrShape = errors.New("wrong shape")
	// ErrUnsupportedDType: a tensor that is needed has a type that cannot be used.
	ErrUnsupportedDType = errors.New("unsupported tensor type")
	// ErrUnexpectedTensor: the checkpoint holds tensors that the model does not know.
	ErrUnexpectedTensor = errors.New("unexpected tensor")
	// ErrNotBound: a slot was read before its binder's Check, or its optional tensor is absent.
	ErrNotBound = errors.New("tensor is not bound")
	// ErrValue: a value, NaN for instance, that a block type cannot hold.
	ErrValue = errors.New("value cannot be quantised")
	// ErrConfig: a JSON config lacks a key, or a value is not one that can be used.
	ErrConfig = errors.New("bad config")
)

// FormatError says how a file breaks the rules of its format. It is ErrFormat, and ErrTruncated too
// where the file is shorter than its own header says.
type FormatError struct {
	File      string
	Tensor    string // the tensor at fault, or empty
	Reason    string
	Truncated bool
}

func (e *FormatError) Error() string {
	if e.Tensor == "" {
		return fmt.Sprintf("%s: %s", e.File, e.Reason)
	}
	return fmt.Sprintf("%s: tensor %q: %s", e.File, e.Tensor, e.Reason)
}

// Is makes the sentinels match.
func (e *FormatError) Is(target error) bool {
	return target == ErrFormat || e.Truncated && target == ErrTruncated
}

// ReadError says which data could not be read. Err is ErrTruncated, fs.ErrClosed or what the file
// system gave.
type ReadError struct {
	File   string
	Tensor string // empty: the file's header
	Err    error
}

func (e *ReadError) Error() string {
	if e.Tensor == "" {
		return fmt.Sprintf("%s: reading the header: %v", e.File, e.Err)
	}
	return fmt.Sprintf("%s: reading tensor %q: %v", e.File, e.Tensor, e.Err)
}

func (e *ReadError) Unwrap() error { return e.Err }

// MissingFilesError lists all files that an index names and that are not there.
type MissingFilesError struct {
	Index string
	Files []string
}

func (e *MissingFilesError) Error() string {
	return fmt.Sprintf("%s: missing %s that it lists: %s",
		e.Index, plural(len(e.Files), "file", "files"), strings.Join(e.Files, ", "))
}

// Is makes the sentinels match.
func (e *MissingFilesError) Is(target error) bool {
	return target == ErrMissingFile || target == fs.ErrNotExist
}

// MissingTensorError lists tensors that are in none of the files.
type MissingTensorError struct {
	Names []string
	Files []string
}

func (e *MissingTensorError) Error() string {
	return fmt.Sprintf("%s: missing %s: %s",
		joinFiles(e.Files), plural(len(e.Names), "tensor", "tensors"), strings.Join(e.Names, ", "))
}

func (e *MissingTensorError) Unwrap() error { return ErrMissingTensor }

// DTypeError says that a tensor's type cannot be used for what was asked.
type DTypeError struct {
	Tensor string // or empty, where bytes were converted without a name
	File   string
	DType  DType
}

func (e *DTypeError) Error() string {
	if e.Tensor == "" {
		return fmt.Sprintf("no conversion for values of type %s", e.DType)
	}
	return fmt.Sprintf("%s: tensor %q: type %s cannot be used here", e.File, e.Tensor, e.DType)
}

func (e *DTypeError) Unwrap() error { return ErrUnsupportedDType }

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

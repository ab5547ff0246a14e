package ops

import (
	"fmt"

	"github.com/llama3v/llama3v/binding"
)

// Tensor is a matrix [rows, cols] on a device: an owner of memory, or a view of another tensor.
// Elements of a row lie together, rows a fixed stride apart.
type Tensor struct {
	device *Device
	buffer *binding.Buffer
	owner  bool

	dtype      DType
	rows, cols int
	stride     int    // elements between two rows
	offset     int64  // bytes
	problem    string // why a view is none: the next op reports it
}

// Rows is 0 for a nil tensor, as is Cols.
func (t *Tensor) Rows() int {
	if t == nil {
		return 0
	}
	return t.rows
}

// Cols is the elements of a row.
func (t *Tensor) Cols() int {
	if t == nil {
		return 0
	}
	return t.cols
}

// DType is the type of the elements.
func (t *Tensor) DType() DType { return t.dtype }

// String is type and shape: "f32 [729, 1152]".
func (t *Tensor) String() string {
	switch {
	case t == nil:
		return "none"
	case t.problem != "":
		return t.problem
	}
	return fmt.Sprintf("%s [%d, %d]", t.dtype, t.rows, t.cols)
}

// RowRange is a view of rows first to first+n-1. Out of range it is a tensor that makes the op that
// takes it fail with [ErrShape].
func (t *Tensor) RowRange(first, n int) *Tensor {
	if t == nil || first < 0 || n < 1 || n > t.rows-first {
		return t.broken("RowRange(%d, %d) of %s", first, n, t)
	}
	v := t.view()
	v.rows = n
	v.offset += int64(first) * int64(t.stride) * int64(t.dtype.Size())
	return v
}

// ColRange is a view of columns first to first+n-1, with RowRange's rule for what is out of range.
func (t *Tensor) ColRange(first, n int) *Tensor {
	if t == nil || first < 0 || n < 1 || n > t.cols-first {
		return t.broken("ColRange(%d, %d) of %s", first, n, t)
	}
	v := t.view()
	v.cols = n
	v.offset += int64(first) * int64(t.dtype.Size())
	return v
}

// Reshape is a view of the same elements, in the same order, as another matrix. Rows must lie
// packed; else, and where the counts differ, it is a tensor that makes the next op fail.
func (t *Tensor) Reshape(rows, cols int) *Tensor {
	if t == nil || !t.packed() || rows < 1 || cols < 1 || t.rows*t.cols%rows != 0 || t.rows*t.cols/rows != cols {
		return t.broken("Reshape(%d, %d) of %s", rows, cols, t)
	}
	v := t.view()
	v.rows, v.cols, v.stride = rows, cols, cols
	return v
}

// packed: no gaps between rows.
func (t *Tensor) packed() bool { return t.stride == t.cols || t.rows == 1 }

func (t *Tensor) view() *Tensor {
	v := *t
	v.owner = false
	return &v
}

func (t *Tensor) broken(format string, args ...any) *Tensor {
	v := &Tensor{problem: fmt.Sprintf(format, args...)}
	if t != nil {
		v.device, v.dtype = t.device, t.dtype
		if t.problem != "" {
			v.problem = t.problem // the first mistake explains the rest
		}
	}
	return v
}

// usable says why a tensor cannot be read or written.
func (t *Tensor) usable() error {
	switch {
	case t == nil:
		return fmt.Errorf("%w: no tensor", ErrShape)
	case t.problem != "":
		return fmt.Errorf("%w: %s", ErrShape, t.problem)
	case t.buffer == nil:
		return fmt.Errorf("%w: an empty tensor", ErrShape)
	}
	return nil
}

// abi is the view as the library takes it; nil is "none".
func (t *Tensor) abi() binding.View {
	if t == nil {
		return binding.View{}
	}
	return t.buffer.View(t.offset, int64(t.stride), t.dtype)
}

// Free gives the memory back once queued work is done with it; a second Free, and Free of a view,
// do nothing. binding.ErrBusy: a live graph uses it, and it stays.
func (t *Tensor) Free() error {
	if t == nil || !t.owner {
		return nil
	}
	return t.buffer.Close()
}

package ops

import (
	"fmt"
	"math"

	"github.com/llama3v/llama3v/binding"
)

// Weight is a matrix [rows, cols] in the library's own packed layout, as a linear layer
// (y = x Wᵀ, rows outputs of cols inputs) or a table (rows entries) uses it.
type Weight struct {
	device     *Device
	packed     *binding.Weight
	dtype      DType
	rows, cols int
}

// NewWeight allocates a weight of F32, F16, BF16 or a block type whose rows are still to be written:
// ops refuse it until each was. Errors: ErrShape (also for rows of no whole number of blocks),
// binding.ErrUnsupported, binding.ErrOutOfMemory.
func (d *Device) NewWeight(t DType, rows, cols int) (*Weight, error) {
	if err := checkWeight(t, rows, cols); err != nil {
		return nil, err
	}
	packed, err := d.context.NewWeight(t, int64(rows), int64(cols))
	if err != nil {
		return nil, fmt.Errorf("weight %s [%d, %d]: %w", t, rows, cols, err)
	}
	return &Weight{device: d, packed: packed, dtype: t, rows: rows, cols: cols}, nil
}

// WeightBytes is what NewWeight would allocate.
func (d *Device) WeightBytes(t DType, rows, cols int) (int64, error) {
	if err := checkWeight(t, rows, cols); err != nil {
		return 0, err
	}
	return d.context.PlanWeight(t, int64(rows), int64(cols))
}

// checkWeight: whole blocks, and a size that an address space can hold.
func checkWeight(t DType, rows, cols int) error {
	rowBytes := t.RowBytes(cols)
	if rowBytes == 0 || rows < 1 || rows > math.MaxInt/rowBytes {
		elements, _ := t.Block()
		return fmt.Errorf("weight %s [%d, %d]: %w: no matrix of blocks of %d", t, rows, cols, ErrShape, elements)
	}
	return nil
}

// Rows is the outputs of the linear layer, or the entries of the table; 0 for a nil weight.
func (w *Weight) Rows() int {
	if w == nil {
		return 0
	}
	return w.rows
}

// Cols is the inputs of the linear layer, or the width of the table; 0 for a nil weight.
func (w *Weight) Cols() int {
	if w == nil {
		return 0
	}
	return w.cols
}

// DType is the type of the elements.
func (w *Weight) DType() DType { return w.dtype }

// String is type and shape: "bf16 [4096, 14336]".
func (w *Weight) String() string {
	if w == nil {
		return "none"
	}
	return fmt.Sprintf("%s [%d, %d]", w.dtype, w.rows, w.cols)
}

// RowBytes is the bytes of one row as WriteRows takes it.
func (w *Weight) RowBytes() int { return w.dtype.RowBytes(w.cols) }

// WriteRows packs whole rows from first on: elements (or blocks) of the weight's type, row-major,
// little-endian.
func (w *Weight) WriteRows(first int, src []byte) error {
	rowBytes := w.RowBytes()
	if len(src) == 0 || len(src)%rowBytes != 0 || first < 0 || len(src)/rowBytes > w.rows-first {
		return fmt.Errorf("write: %w: %d bytes from row %d of weight %s", ErrShape, len(src), first, w)
	}
	return w.packed.WriteRows(int64(first), int64(len(src)/rowBytes), src)
}

// ReadRows waits, and returns n rows from first on, bit for bit as they were written.
func (w *Weight) ReadRows(first, n int) ([]byte, error) {
	if first < 0 || n < 1 || n > w.rows-first {
		return nil, fmt.Errorf("read: %w: rows %d to %d of weight %s", ErrShape, first, first+n-1, w)
	}
	dst := make([]byte, n*w.RowBytes())
	return dst, w.packed.ReadRows(int64(first), int64(n), dst)
}

// PackedBytes is the size of the packed form.
func (w *Weight) PackedBytes() (int64, error) { return w.device.WeightBytes(w.dtype, w.rows, w.cols) }

// ReadPacked waits, and copies bytes of the packed form, from offset on: for a cache that the same
// library reads with WritePacked.
func (w *Weight) ReadPacked(offset int64, dst []byte) error { return w.packed.ReadPacked(offset, dst) }

// WritePacked writes bytes of the packed form. With all of them written, all rows are.
func (w *Weight) WritePacked(offset int64, src []byte) error {
	return w.packed.WritePacked(offset, src)
}

// Free gives the memory back once queued work is done with it; a second Free does nothing.
// binding.ErrBusy: a live graph uses it, and it stays.
func (w *Weight) Free() error {
	if w == nil {
		return nil
	}
	return w.packed.Close()
}

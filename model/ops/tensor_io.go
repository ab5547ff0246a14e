package ops

import (
	"encoding/binary"
	"fmt"
	"math"
)

// stagingBytes is the most host memory that a conversion between Go values and a device's bytes
// takes, however large the tensor is.
const stagingBytes = 1 << 20

// WriteFloat32 queues a copy of data, whole rows of an F32 tensor, to the rows from row on. Data may
// be used again on return.
func (t *Tensor) WriteFloat32(row int, data []float32) error {
	if err := t.writable(F32, row, len(data)); err != nil {
		return err
	}
	return writeValues(t, row, data, func(dst []byte, v float32) { binary.LittleEndian.PutUint32(dst, math.Float32bits(v)) })
}

// WriteInt32 is WriteFloat32 for an I32 tensor.
func (t *Tensor) WriteInt32(row int, data []int32) error {
	if err := t.writable(I32, row, len(data)); err != nil {
		return err
	}
	return writeValues(t, row, data, func(dst []byte, v int32) { binary.LittleEndian.PutUint32(dst, uint32(v)) })
}

// WriteBytes queues a copy of whole rows as the device keeps them, little-endian, for any type.
func (t *Tensor) WriteBytes(row int, data []byte) error {
	if err := t.usable(); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	size := t.dtype.Size()
	if len(data)%size != 0 {
		return fmt.Errorf("write: %w: %d bytes for elements of %d", ErrShape, len(data), size)
	}
	if err := t.writable(t.dtype, row, len(data)/size); err != nil {
		return err
	}
	return t.writeRows(row, data)
}

// writable checks that values of a type fill whole rows from row on.
func (t *Tensor) writable(dtype DType, row, values int) error {
	if err := t.usable(); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if t.dtype != dtype || values == 0 || values%t.cols != 0 || row < 0 || values/t.cols > t.rows-row {
		return fmt.Errorf("write: %w: %d values of %s from row %d of %s", ErrShape, values, dtype, row, t)
	}
	return nil
}

// writeValues converts and writes block by block.
func writeValues[T any](t *Tensor, row int, data []T, put func([]byte, T)) error {
	const size = 4
	blockRows := max(1, stagingBytes/(size*t.cols))
	block := make([]byte, size*min(blockRows*t.cols, len(data)))
	for len(data) > 0 {
		part := data[:min(len(data), blockRows*t.cols)]
		for i, v := range part {
			put(block[size*i:], v)
		}
		if err := t.writeRows(row, block[:size*len(part)]); err != nil {
			return err
		}
		row += len(part) / t.cols
		data = data[len(part):]
	}
	return nil
}

// writeRows writes whole rows: at once when they lie packed, else one by one, as what lies between
// them is another's.
func (t *Tensor) writeRows(row int, data []byte) error {
	rowBytes := t.cols * t.dtype.Size()
	if t.packed() {
		return t.buffer.Write(t.rowOffset(row), data)
	}
	for ; len(data) > 0; row++ {
		if err := t.buffer.Write(t.rowOffset(row), data[:rowBytes]); err != nil {
			return err
		}
		data = data[rowBytes:]
	}
	return nil
}

func (t *Tensor) rowOffset(row int) int64 {
	return t.offset + int64(row)*int64(t.stride)*int64(t.dtype.Size())
}

// ReadFloat32 waits for the work queued and returns the values of an F32 tensor, or those of a BF16 one
// widened, row-major. The error may be one of that work, as in [Stream.Wait].
func (t *Tensor) ReadFloat32() ([]float32, error) {
	if t != nil && t.dtype == BF16 {
		return readNew(t, BF16, func(dst []float32) error {
			return readValues(t, dst, func(src []byte) float32 {
				return math.Float32frombits(uint32(binary.LittleEndian.Uint16(src)) << 16)
			})
		})
	}
	return readNew(t, F32, t.ReadFloat32Into)
}

// ReadFloat32Into is ReadFloat32 into dst, which has exactly rows*cols values.
func (t *Tensor) ReadFloat32Into(dst []float32) error {
	if err := t.readable(F32, len(dst)); err != nil {
		return err
	}
	return readValues(t, dst, func(src []byte) float32 { return math.Float32frombits(binary.LittleEndian.Uint32(src)) })
}

// ReadInt32 is ReadFloat32 for an I32 tensor.
func (t *Tensor) ReadInt32() ([]int32, error) {
	return readNew(t, I32, func(dst []int32) error {
		return readValues(t, dst, func(src []byte) int32 { return int32(binary.LittleEndian.Uint32(src)) })
	})
}

// ReadBytes waits and returns the rows as the device keeps them, packed, for any type.
func (t *Tensor) ReadBytes() ([]byte, error) {
	if err := t.usable(); err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	data := make([]byte, t.rows*t.cols*t.dtype.Size())
	rowBytes := t.cols * t.dtype.Size()
	if t.packed() {
		return data, t.buffer.Read(t.offset, data)
	}
	for row := range t.rows {
		if err := t.buffer.Read(t.rowOffset(row), data[row*rowBytes:][:rowBytes]); err != nil {
			return nil, err
		}
	}
	return data, nil
}

func (t *Tensor) readable(dtype DType, values int) error {
	if err := t.usable(); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	if t.dtype != dtype || values != t.rows*t.cols {
		return fmt.Errorf("read: %w: %d values of %s from %s", ErrShape, values, dtype, t)
	}
	return nil
}

func readNew[T any](t *Tensor, dtype DType, read func([]T) error) ([]T, error) {
	if err := t.usable(); err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	dst := make([]T, t.rows*t.cols)
	if err := t.readable(dtype, len(dst)); err != nil {
		return nil, err
	}
	if err := read(dst); err != nil {
		return nil, err
	}
	return dst, nil
}

// readValues reads block by block and converts. A strided block is read with its gaps, up to the
// last element of its last row.
func readValues[T any](t *Tensor, dst []T, get func([]byte) T) error {
	size := t.dtype.Size()
	blockRows := min(t.rows, max(1, stagingBytes/(size*t.stride)))
	block := make([]byte, size*((blockRows-1)*t.stride+t.cols))
	for row := 0; row < t.rows; row += blockRows {
		n := min(blockRows, t.rows-row)
		part := block[:size*((n-1)*t.stride+t.cols)]
		if err := t.buffer.Read(t.rowOffset(row), part); err != nil {
			return err
		}
		for r := range n {
			for c := range t.cols {
				dst[(row+r)*t.cols+c] = get(part[size*(r*t.stride+c):])
			}
		}
	}
	return nil
}

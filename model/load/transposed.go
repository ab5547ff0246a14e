package load

import (
	"context"
	"errors"

	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/weights"
)

// Transposed declares a product [rows, cols] that the checkpoint keeps as [cols, rows]: what its
// authors multiply from the right. It goes through host memory as a whole, float32, so it is for
// single weights.
func (l *Loader) Transposed(dst *ops.Linear, name string, rows, cols int) {
	slot := l.expect(name, cols, rows)
	pieces := []piece{{Part: Part{Rows: rows}, cols: cols, weight: slot, keep: true}}
	l.products = append(l.products, pieces)
	l.add(target{
		bytes: func() (int64, error) { return l.device.WeightBytes(transposedType(slot.DType), rows, cols) },
		read: func(ctx context.Context, block []byte) (err error) {
			if l.random != nil {
				dst.Weight, err = l.stack(ctx, group{transposedType(slot.DType), pieces}, cols, block)
				return err
			}
			values, err := slot.Float32()
			if err != nil {
				return err
			}
			dst.Weight, err = l.device.NewWeight(transposedType(slot.DType), rows, cols)
			if err != nil {
				return err
			}
			if err := writeTransposed(dst.Weight, values, slot.DType); err != nil {
				return errors.Join(err, dst.Weight.Free())
			}
			return nil
		},
	})
}

// transposedType is the type that a transposed weight has: blocks lie along the wrong side, so that
// block types become float32.
func transposedType(stored weights.DType) ops.DType {
	if stored.Quantized() {
		return ops.F32
	}
	return deviceType(stored)
}

// writeTransposed packs w row by row from the columns of values [cols, rows].
func writeTransposed(w *ops.Weight, values []float32, stored weights.DType) error {
	if transposedType(stored) == ops.F32 {
		stored = weights.F32
	}
	column, row := make([]float32, w.Cols()), make([]byte, w.RowBytes())
	for r := range w.Rows() {
		for c := range column {
			column[c] = values[c*w.Rows()+r]
		}
		if err := weights.FromFloat32(row, column, stored); err != nil {
			return err
		}
		if err := w.WriteRows(r, row); err != nil {
			return err
		}
	}
	return nil
}

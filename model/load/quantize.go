package load

import (
	"errors"
	"math"

	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/weights"
)

// Quantized is what became of a tensor that Load quantised.
type Quantized struct {
	Tensor   string
	From, To weights.DType
	Error    float64 // root mean square of the error over that of the values
}

// quantization is a wish for block types; the zero value is none.
type quantization struct {
	to     weights.DType
	report func(Quantized)
}

// Quantize lets the weights of linear layers that are stored as plain floats become block type t while
// they are read, or the type that weights.DType.Fallback gives for their width; where no block type
// fits, they stay. Tables that are looked up by row, transposed weights, norms, biases and what is
// quantised already stay too. report, which may be nil, hears of every tensor. It comes before Check.
// Errors: weights.ErrUnsupportedDType where t is no block type.
func (l *Loader) Quantize(t weights.DType, report func(Quantized)) error {
	if !t.Quantized() {
		return &weights.DTypeError{DType: t}
	}
	l.declarations.quantization = quantization{t, report}
	return nil
}

// of is the type that a stored weight with rows of cols values has on the device.
func (q quantization) of(stored weights.DType, cols int) weights.DType {
	if q.to == weights.Invalid || stored.Quantized() {
		return stored
	}
	if t := q.to.Fallback(cols); t.Quantized() {
		return t
	}
	return stored
}

// requantizer turns stored rows of one tensor into a block type, and sums the error up.
type requantizer struct {
	tensor        string
	from, to      weights.DType
	cols          int
	errors, norms float64 // sums of squares
}

// rows converts whole rows; first is the number of the first in its tensor.
func (q *requantizer) rows(data []byte, first int) ([]byte, error) {
	_, size := q.from.Block()
	values := make([]float32, len(data)/size)
	if err := weights.ToFloat32(values, data, q.from); err != nil {
		return nil, err
	}
	elements, bytes := q.to.Block()
	out := make([]byte, len(values)/elements*bytes)
	if err := weights.QuantizeRows(out, values, q.cols, q.to); err != nil {
		var fault *weights.ValueError
		if errors.As(err, &fault) {
			fault.Tensor = q.tensor
			fault.Row += first
		}
		return nil, err
	}
	again := make([]float32, len(values))
	if err := weights.ToFloat32(again, out, q.to); err != nil {
		return nil, err
	}
	for i, v := range values {
		d := float64(v) - float64(again[i])
		q.errors += d * d
		q.norms += float64(v) * float64(v)
	}
	return out, nil
}

func (q *requantizer) result() Quantized {
	r := Quantized{Tensor: q.tensor, From: q.from, To: q.to}
	if q.norms > 0 {
		r.Error = math.Sqrt(q.errors / q.norms)
	}
	return r
}

// storedType is the block type of the files that a device type is.
func storedType(t ops.DType) (weights.DType, bool) {
	for stored, d := range deviceTypes {
		if d == t && stored.Quantized() {
			return stored, true
		}
	}
	return weights.Invalid, false
}

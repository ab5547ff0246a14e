package ops

import (
	"fmt"
	"math"
	"strings"
)

// operand is a tensor, or a weight, that an op takes, and the shape it must have.
type operand struct {
	name       string
	t          *Tensor
	w          *Weight
	rows, cols int
	dtype      DType // 0: whatever the library has kernels for
	optional   bool
}

// value is a tensor of activations.
func value(name string, t *Tensor, rows, cols int) operand {
	return operand{name: name, t: t, rows: rows, cols: cols}
}

// maybe is a value that may be nil.
func maybe(name string, t *Tensor, rows, cols int) operand {
	return operand{name: name, t: t, rows: rows, cols: cols, optional: true}
}

// index is a tensor of int32.
func index(name string, t *Tensor, rows, cols int) operand {
	return operand{name: name, t: t, rows: rows, cols: cols, dtype: I32}
}

// maybeIndex is an index that may be nil.
func maybeIndex(name string, t *Tensor, rows, cols int) operand {
	return operand{name: name, t: t, rows: rows, cols: cols, dtype: I32, optional: true}
}

// packed is a weight; whatever its shape is, others follow from it.
func packed(name string, w *Weight) operand {
	return operand{name: name, w: w, rows: w.Rows(), cols: w.Cols()}
}

// wrong says what is wrong with an operand, "" when nothing is.
func (o *operand) wrong(d *Device) string {
	rows, cols, dtype, owner := o.t.Rows(), o.t.Cols(), o.dtype, (*Device)(nil)
	switch {
	case o.w != nil:
		rows, cols, owner = o.w.rows, o.w.cols, o.w.device
	case o.t == nil && o.optional:
		return ""
	case o.t == nil:
		return "is missing"
	case o.t.problem != "":
		return "is " + o.t.problem
	default:
		dtype, owner = o.t.dtype, o.t.device
	}
	switch {
	case owner == nil:
		return "is empty"
	case owner != d:
		return "lives on another device"
	case rows != o.rows || cols != o.cols || rows < 1 || cols < 1:
		return fmt.Sprintf("must be [%d, %d]", o.rows, o.cols)
	case o.dtype != 0 && dtype != o.dtype:
		return "must be " + o.dtype.String()
	}
	return ""
}

// fits checks the operands of an op in order. It is false when the stream has failed before, or
// fails now with ErrShape and a text that names the culprit and shows all shapes.
func (s *Stream) fits(op string, operands ...operand) bool {
	if s.err != nil {
		return false
	}
	for i := range operands {
		if why := operands[i].wrong(s.device); why != "" {
			s.err = fmt.Errorf("%s: %w: %s %s: %s", op, ErrShape, operands[i].name, why, shapes(operands))
			return false
		}
	}
	return true
}

func shapes(operands []operand) string {
	var text strings.Builder
	for i := range operands {
		if i > 0 {
			text.WriteString(", ")
		}
		o := &operands[i]
		text.WriteString(o.name)
		text.WriteByte(' ')
		if o.w != nil {
			text.WriteString(o.w.String())
		} else {
			text.WriteString(o.t.String())
		}
	}
	return text.String()
}

// count is a number that an op takes beside its tensors.
type count struct {
	name string
	n    int
}

// counts checks that each number is at least one and fits what the library takes, so that products
// of two of them cannot overflow.
func (s *Stream) counts(op string, list ...count) bool {
	if s.err != nil {
		return false
	}
	for _, c := range list {
		if c.n < 1 || c.n > math.MaxInt32 {
			s.err = fmt.Errorf("%s: %w: %s is %d", op, ErrShape, c.name, c.n)
			return false
		}
	}
	return true
}

// refuse is an ErrShape about something that is not one operand's shape.
func (s *Stream) refuse(op, format string, args ...any) {
	if s.err == nil {
		s.err = fmt.Errorf("%s: %w: %s", op, ErrShape, fmt.Sprintf(format, args...))
	}
}

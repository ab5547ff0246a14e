// Package ops runs operations over matrices on a device: one file per op, with its formula, its
// shapes and its checks.
//
// A [Device] is one context of a backend library and what lives on it. A [Tensor] is a matrix of
// activations or indices there, or a view of one; a [Weight] is a matrix in the library's own packed
// layout. Ops are methods of a [Stream]. They queue and return; [Stream.Wait] waits for them. The
// first failure stays in the stream and makes later ops do nothing, so that a forward pass reads
// without error checks:
//
//	s := device.Stream()
//	s.RMSNorm(norm, x, weight, 1e-5)
//	s.LinearAdd(x, norm, layer, x)
//	if err := s.Wait(); err != nil { ... }
//
// Shapes are row-major [rows, cols]. A vector over columns (a bias, a norm's weight) is [1, cols], a
// list with an entry per row (ids, positions, offsets) is [rows, 1].
//
// # Errors
//
// [ErrShape]: shapes, or the types of index tensors, do not fit together; nothing was queued.
// Everything else comes from package binding and passes through: binding.ErrUnsupported (the
// library has no kernel for a type or size), binding.ErrInvalidArgument (an overlap that an op does
// not allow, a tensor already freed), binding.ErrOutOfMemory, binding.ErrCancelled, and
// *binding.FaultError for a value on the device that was out of range, which comes back at the
// next wait.
//
// # Goroutines
//
// One goroutine at a time may use a device with all that lives on it. [Device.Cancel] alone may be
// called at any moment.
package ops

import (
	"errors"
	"fmt"
	"math"

	"github.com/llama3v/llama3v/binding"
)

// DType is an element type.
type DType = binding.DType

// Activations are F32 as a rule, indices I32, masks U8; weights are F32, F16, BF16 or a block type.
const (
	F32  = binding.F32
	F16  = binding.F16
	BF16 = binding.BF16
	I32  = binding.I32
	U8   = binding.U8
	I8   = binding.I8

	Q4_0   = binding.Q4_0
	Q4_1   = binding.Q4_1
	Q5_0   = binding.Q5_0
	Q5_1   = binding.Q5_1
	Q8_0   = binding.Q8_0
	Q2_K   = binding.Q2_K
	Q3_K   = binding.Q3_K
	Q4_K   = binding.Q4_K
	Q5_K   = binding.Q5_K
	Q6_K   = binding.Q6_K
	IQ4_NL = binding.IQ4_NL
	IQ4_XS = binding.IQ4_XS
)

var (
	// ErrShape: shapes that do not fit together. The text names the op and all shapes.
	ErrShape = errors.New("shapes do not fit")
	// ErrUnsupported: the loaded library has no kernel for a type, size or feature.
	ErrUnsupported = binding.ErrUnsupported
)

// Activation is a function applied to each element, behind a linear layer or alone.
type Activation int32

// The forms of GELU are three functions, not one with three precisions: at x = 2.2 they are
// 2.169679 (tanh), 2.169412 (erf) and 2.149172 (quick).
const (
	None      = Activation(binding.ActNone)
	GELUTanh  = Activation(binding.ActGELUTanh)  // 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x³)))
	GELUErf   = Activation(binding.ActGELUErf)   // 0.5 x (1 + erf(x / sqrt 2))
	GELUQuick = Activation(binding.ActGELUQuick) // x sigmoid(1.702 x)
	SiLU      = Activation(binding.ActSiLU)      // x sigmoid(x)
)

func (a Activation) String() string {
	switch a {
	case None:
		return "none"
	case GELUTanh:
		return "gelu_tanh"
	case GELUErf:
		return "gelu_erf"
	case GELUQuick:
		return "gelu_quick"
	case SiLU:
		return "silu"
	}
	return fmt.Sprintf("activation(%d)", int32(a))
}

// InvSqrt is 1/sqrt(n), the scale of attention over heads of n columns.
func InvSqrt(n int) float32 { return float32(1 / math.Sqrt(float64(n))) }

// Multiples is 0, step, 2*step, ...: n values. As offsets they cut rows into n-1 sequences of equal
// length.
func Multiples(n, step int) []int32 {
	list := make([]int32, n)
	for i := range list {
		list[i] = int32(i * step)
	}
	return list
}

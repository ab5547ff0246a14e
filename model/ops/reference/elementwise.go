package reference

import (
	"fmt"
	"math"

	"github.com/llama3v/llama3v/model/ops"
)

// Activation is one value through an activation.
func Activation(x float64, act ops.Activation) float64 {
	switch act {
	case ops.None:
		return x
	case ops.GELUTanh:
		return 0.5 * x * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)))
	case ops.GELUErf:
		return 0.5 * x * math.Erfc(-x/math.Sqrt2)
	case ops.GELUQuick:
		return x / (1 + math.Exp(-1.702*x))
	case ops.SiLU:
		return x / (1 + math.Exp(-x))
	}
	panic(fmt.Sprintf("reference: %s", act))
}

// Activate is every value through an activation.
func Activate(x []float32, act ops.Activation) []float64 {
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = Activation(float64(v), act)
	}
	return out
}

// SwiGLU is silu(gate) * up.
func SwiGLU(gate, up []float32) []float64 {
	out := Activate(gate, ops.SiLU)
	for i := range out {
		out[i] *= float64(up[i])
	}
	return out
}

// RoPE turns the pairs (j, j+headDim/2) of every head of x [rows, cols] by positions[row] *
// frequencies[j]. That angle is one float32 product, as in the model's reference implementation; at
// position 10^5 its rounding is 0.004 radians, which a float64 angle would count as an error.
func RoPE(x []float32, positions []int32, frequencies []float32, cols, headDim int) []float64 {
	out := Float64(x)
	half := headDim / 2
	for r, position := range positions {
		for head := r * cols; head < (r+1)*cols; head += headDim {
			for j := range half {
				sin, cos := math.Sincos(float64(float32(position) * frequencies[j]))
				a, b := out[head+j], out[head+j+half]
				out[head+j], out[head+j+half] = a*cos-b*sin, b*cos+a*sin
			}
		}
	}
	return out
}

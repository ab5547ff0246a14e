// Package reference has every op as a plain loop in float64: what the kernels are tested against, in
// the op suite and in the self-test.
//
// Inputs are float32 values as the device holds them, already rounded where a weight or a product is
// of a narrower type; results are float64. Matrices are row-major. Nothing here is meant to be fast.
package reference

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/weights"
)

// Bound is the largest normalised squared error allowed of an op with float32 output, whatever the
// type of its weights: the reference takes the rounded weights, so what is left is the rounding of
// sums and outputs in float32, 3.5e-15 for one rounding and about 1e-12 for a chain over thousands
// of products. An op that keeps its output in a narrower type would add that type's own rounding,
// about 4.3e-8 for f16 and 2.8e-6 for bf16.
const Bound = 1e-10

// NMSE is the normalised squared error sum((got-want)²) / sum(want²). Against zeros it is 0 for
// zeros, else infinite; a NaN in got gives NaN, which no bound admits.
func NMSE(got []float32, want []float64) float64 {
	if len(got) != len(want) {
		return math.NaN()
	}
	var errors, norm float64
	for i, w := range want {
		d := float64(got[i]) - w
		errors += d * d
		norm += w * w
	}
	if errors == 0 {
		return 0
	}
	return errors / norm
}

// MaxError is the largest |got-want|, NaN when there is one in got.
func MaxError(got []float32, want []float64) float64 {
	worst := 0.0
	for i, w := range want {
		worst = math.Max(worst, math.Abs(float64(got[i])-w))
	}
	return worst
}

// Uniform is n values in [-1, 1) that depend on the seed alone.
func Uniform(seed uint64, n int) []float32 {
	r := rand.New(rand.NewPCG(seed, 0x6c3376))
	list := make([]float32, n)
	for i := range list {
		list[i] = 2*r.Float32() - 1
	}
	return list
}

// Encode stores values in a float type as the device takes them, rounding to nearest even.
func Encode(values []float32, t ops.DType) []byte {
	data := make([]byte, len(values)*t.Size())
	if err := weights.FromFloat32(data, values, stored(t)); err != nil {
		panic(err) // the sizes fit, and stored knows the type
	}
	return data
}

// Round is the values after a trip through a float type.
func Round(values []float32, t ops.DType) []float32 {
	rounded := make([]float32, len(values))
	if err := weights.ToFloat32(rounded, Encode(values, t), stored(t)); err != nil {
		panic(err) // the sizes fit, and stored knows the type
	}
	return rounded
}

func stored(t ops.DType) weights.DType {
	switch t {
	case ops.F32:
		return weights.F32
	case ops.F16:
		return weights.F16
	case ops.BF16:
		return weights.BF16
	}
	panic(fmt.Sprintf("reference: %s is no float type", t))
}

// Float64 widens values.
func Float64(values []float32) []float64 {
	wide := make([]float64, len(values))
	for i, v := range values {
		wide[i] = float64(v)
	}
	return wide
}

package ops_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/binding"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/ops/reference"
)

// productBound is for products of block types in 16 bits, against a reference that takes the widened
// weights as they are: a library may round them, to float16 or bfloat16, or not.
var productBound = map[ops.DType]float64{ops.F32: reference.Bound, ops.F16: 3e-7, ops.BF16: 2e-5}

// eachWeightProduct runs a body for every type of weights, as random values or random blocks, and every
// type of products that a device takes with it.
func eachWeightProduct(t *testing.T, d *device, out, in int, body func(d *device, compute ops.DType, w *ops.Weight, values []float32)) {
	types := []ops.DType{ops.F32, ops.F16, ops.BF16}
	for _, b := range blockTypes {
		types = append(types, b.DType)
	}
	caps := d.Capabilities()
	for _, dtype := range types {
		for _, compute := range []ops.DType{ops.F32, ops.F16, ops.BF16} {
			if !caps.WeightTypes.Has(dtype) || !caps.Computes(compute) ||
				compute != ops.F32 && compute != dtype && !(dtype.Quantized() && caps.BlocksInHalf) {
				continue
			}
			t.Run(fmt.Sprintf("%s x %s", dtype, compute), func(t *testing.T) {
				d := d.at(t)
				var w *ops.Weight
				if dtype.Quantized() {
					w = d.blocks(dtype, 21, out, in)
				} else {
					w = d.weight(dtype, reference.Round(reference.Uniform(2, out*in), dtype), out, in)
				}
				body(d, compute, w, d.values(w))
			})
		}
	}
}

// TestLinearFewRows: one to eight rows take the kernel that is shaped for reading the weight, and each row has
// the same bits in all of them.
func TestLinearFewRows(t *testing.T) {
	const in, out, most = 1024 + 256, 19, 8
	x, bias, residual := reference.Uniform(1, most*in), reference.Uniform(3, out), reference.Uniform(4, most*out)
	eachFormTarget(t, func(t *testing.T, g target) {
		d := g.open(t, binding.ContextOptions{Threads: 2})
		gemv := func(t ops.DType, n int) int {
			switch {
			case d.kernels == "plain":
				return 0
			case n > 4 && slices.Contains([]ops.DType{ops.Q5_0, ops.Q5_1, ops.Q2_K, ops.Q3_K, ops.Q5_K, ops.Q6_K}, t):
				return 2 // their registers hold four rows
			}
			return 1
		}
		eachWeightProduct(t, d, out, in, func(d *device, compute ops.DType, w *ops.Weight, values []float32) {
			want := reference.Linear(reference.Round(x, compute), values, bias, residual, most, in, out, ops.None)
			counts := []int{8, 1, 2, 3, 7}
			if d.Capabilities().Emulated && d.kernels != "sm90" {
				counts = []int{2} // the other sets have this kernel as well, or the plain one
			}
			var all []float32
			for _, n := range counts {
				y := d.framed(rowsOf(residual, out, 0, n), n, out)
				d.launches(map[string]int{"gemv_kernel": gemv(w.DType(), n)}, func() {
					d.run(func(s *ops.Stream) {
						s.Compute = compute
						s.LinearAdd(y.Tensor, d.framed(rowsOf(x, in, 0, n), n, in).Tensor, ops.Linear{Weight: w, Bias: d.framed(bias, 1, out).Tensor}, y.Tensor)
					})
				})
				y.intact()
				got := d.read(y.Tensor)
				if all == nil {
					all = got
					require.LessOrEqual(d.t, reference.NMSE(got, want[:n*out]), productBound[compute])
				}
				same(d.t, all[:n*out], got, "%d rows of %d", n, counts[0])
			}
		})
	})
}

// TestLinearFewRowsShapes: outputs that leave part of a warp's and a block's, and columns that leave
// part of a step, with warps that share a row's columns and without.
func TestLinearFewRowsShapes(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		for _, dtype := range []ops.DType{ops.F32, ops.BF16, ops.Q8_0, ops.Q4_0, ops.Q2_K, ops.Q4_K} {
			elements, _ := dtype.Block()
			for _, c := range []struct{ rows, in, out int }{{1, 256, 1}, {2, 512, 3}, {3, 256, 33}, {5, 4352, 17}, {8, 2304, 65}, {1, 8448, 35}} {
				t.Run(fmt.Sprintf("%s %v", dtype, c), func(t *testing.T) {
					d := d.at(t)
					in := c.in
					var w *ops.Weight
					if dtype.Quantized() {
						w = d.blocks(dtype, 22, c.out, in)
					} else {
						in += 3 * elements // not whole chunks of 16 bytes
						w = d.weight(dtype, reference.Round(reference.Uniform(2, c.out*in), dtype), c.out, in)
					}
					x := reference.Uniform(1, c.rows*in)
					y := d.framed(make([]float32, c.rows*c.out), c.rows, c.out)
					d.run(func(s *ops.Stream) {
						s.Compute = ops.F32
						s.LinearAct(y.Tensor, d.framed(x, c.rows, in).Tensor, ops.Linear{Weight: w}, ops.SiLU)
					})
					near(t, reference.Linear(x, d.values(w), nil, nil, c.rows, in, c.out, ops.SiLU), d.read(y.Tensor))
					y.intact()
				})
			}
		}
	})
}

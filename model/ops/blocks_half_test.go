package ops_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/binding"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/ops/reference"
)

// eachBlockHalf runs a body for every block type in products of 16 bits, where a library has those.
func eachBlockHalf(t *testing.T, d *device, body func(d *device, dtype, compute ops.DType)) {
	if !d.Capabilities().BlocksInHalf {
		require.NotEqual(t, "cuda", d.Capabilities().Name)
		t.Skip("no products of blocks in 16 bits")
	}
	for _, b := range blockTypes {
		for _, compute := range []ops.DType{ops.BF16, ops.F16} {
			t.Run(fmt.Sprintf("%s x %s", b, compute), func(t *testing.T) { body(d.at(t), b.DType, compute) })
		}
	}
}

// TestLinearBlocksInHalf: more rows than a few take the tensor cores, with blocks widened on their way
// there; part of a tile of rows, of outputs and, with 768 inputs, of no step.
func TestLinearBlocksInHalf(t *testing.T) {
	const out = 70
	eachForm(t, func(t *testing.T, d *device) {
		eachBlockHalf(t, d, func(d *device, dtype, compute ops.DType) {
			elements, _ := dtype.Block()
			for _, c := range []struct{ rows, blocks int }{{9, 3}, {72, 1}} {
				in := c.blocks * elements
				w, x := d.blocks(dtype, 31, out, in), reference.Uniform(1, c.rows*in)
				bias, residual := reference.Uniform(3, out), reference.Uniform(4, c.rows*out)
				y := d.framed(residual, c.rows, out)
				kernels := map[string]int{"gemv_kernel": 0, "gemm_blocks_sm90_kernel": 0, "matmul_kernel<X>": 0}
				switch d.kernels {
				case "plain":
					kernels["matmul_kernel<X>"] = 1
				case "sm90":
					kernels["gemm_blocks_sm90_kernel"] = 1
				}
				d.launches(kernels, func() {
					d.run(func(s *ops.Stream) {
						s.Compute = compute
						s.LinearAdd(y.Tensor, d.framed(x, c.rows, in).Tensor, ops.Linear{Weight: w, Bias: d.floats(bias, 1, out)}, y.Tensor)
					})
				})
				want := reference.Linear(reference.Round(x, compute), d.values(w), bias, residual, c.rows, in, out, ops.None)
				require.LessOrEqual(d.t, reference.NMSE(d.read(y.Tensor), want), productBound[compute])
				y.intact()
			}
		})
	})
}

// TestLinearBlocksBatchInvariant: where a context asks for it, a row has the same bits alone and among
// others, in every type of products.
func TestLinearBlocksBatchInvariant(t *testing.T) {
	const in, out, most = 512, 35, 13
	x := reference.Uniform(1, most*in)
	eachFormTarget(t, func(t *testing.T, g target) {
		caps := g.library.Capabilities()
		if !caps.BatchInvariant && !caps.BatchInvariantMode {
			t.Skip("no such mode")
		}
		d := g.open(t, binding.ContextOptions{Threads: 2, BatchInvariant: true})
		for _, dtype := range []ops.DType{ops.Q4_0, ops.Q6_K} {
			for _, compute := range []ops.DType{ops.F32, ops.BF16} {
				if compute != ops.F32 && !caps.BlocksInHalf {
					continue
				}
				t.Run(fmt.Sprintf("%s x %s", dtype, compute), func(t *testing.T) {
					d := d.at(t)
					l := ops.Linear{Weight: d.blocks(dtype, 33, out, in)}
					product := func(first, n int) []float32 {
						y := d.zeros(n, out)
						d.launches(map[string]int{"gemv_kernel": 0}, func() {
							d.run(func(s *ops.Stream) {
								s.Compute = compute
								s.Linear(y, d.floats(rowsOf(x, in, first, n), n, in), l)
							})
						})
						return d.read(y)
					}
					all := product(0, most)
					for _, part := range [][2]int{{0, 1}, {5, 8}, {12, 1}} {
						same(t, rowsOf(all, out, part[0], part[1]), product(part[0], part[1]), "rows %v", part)
					}
				})
			}
		}
	})
}

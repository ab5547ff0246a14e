package ops_test

import (
	"testing"

	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/ops/reference"
)

// Where a library keeps activations in bfloat16, an op without products gives what it gives in float32
// of the same values, rounded once.
func TestKeptInBF16(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		if !d.Capabilities().ActivationTypes.Has(ops.BF16) {
			t.Skip("the library has no activations of bf16")
		}
		for _, size := range [][2]int{{1, 1}, {3, 7}, {5, 72}, {2, 1153}, {2, 4096}} {
			rows, cols := size[0], size[1]
			values := func(seed uint64) []float32 { return reference.Round(reference.Uniform(seed, rows*cols), ops.BF16) }
			x, gate, up := reference.Uniform(1, rows*cols), values(5), values(6)
			weight, bias := d.floats(reference.Uniform(3, cols), 1, cols), d.floats(reference.Uniform(4, cols), 1, cols)
			f := d.floats(x, rows, cols)
			for name, run := range map[string]func(s *ops.Stream, out, gate, up *ops.Tensor){
				"layer_norm": func(s *ops.Stream, out, _, _ *ops.Tensor) { s.LayerNorm(out, f, weight, bias, 1e-6) },
				"rms_norm":   func(s *ops.Stream, out, _, _ *ops.Tensor) { s.RMSNorm(out, f, weight, 1e-6) },
				"swiglu":     func(s *ops.Stream, out, gate, up *ops.Tensor) { s.SwiGLU(out, gate, up) },
				"activation": func(s *ops.Stream, out, gate, _ *ops.Tensor) { s.Activate(out, gate, ops.GELUTanh) },
			} {
				want, fromHalf := d.zeros(rows, cols), d.zeros(rows, cols)
				out, inPlace := d.half(ops.BF16, make([]float32, rows*cols), rows, cols), d.half(ops.BF16, gate, rows, cols)
				odd := d.tensor(ops.BF16, rows, cols+1).ColRange(1, cols) // nothing is aligned
				g, u := d.half(ops.BF16, gate, rows, cols), d.half(ops.BF16, up, rows, cols)
				d.run(func(s *ops.Stream) {
					run(s, want, d.floats(gate, rows, cols), d.floats(up, rows, cols))
					run(s, fromHalf, g.Tensor, u.Tensor)
					run(s, out.Tensor, g.Tensor, u.Tensor)
					run(s, odd, g.Tensor, u.Tensor)
					run(s, inPlace.Tensor, inPlace.Tensor, u.Tensor)
				})
				same(t, d.read(want), d.read(fromHalf), "%s of [%d, %d] out of bf16", name, rows, cols)
				rounded := reference.Round(d.read(want), ops.BF16)
				for _, got := range []*ops.Tensor{out.Tensor, odd, inPlace.Tensor} {
					same(t, rounded, d.read(got), "%s of [%d, %d]", name, rows, cols)
				}
				out.intact()
				inPlace.intact()
				g.intact()
			}
		}
	})
}

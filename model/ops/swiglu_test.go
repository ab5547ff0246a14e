package ops_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/binding"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/ops/reference"
)

func TestSwiGLU(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		eachSize(t, d, func(d *device, rows, cols int) {
			gate, up := reference.Uniform(1, rows*cols), reference.Uniform(2, rows*cols)
			for i := range gate {
				gate[i] *= 9
			}
			want := reference.SwiGLU(gate, up)
			// Over the gate, over up, and apart.
			y, z := d.framed(gate, rows, cols), d.framed(up, rows, cols)
			apart := d.zeros(rows, cols)
			d.run(func(s *ops.Stream) {
				s.SwiGLU(apart, y.Tensor, z.Tensor)
				s.SwiGLU(z.Tensor, y.Tensor, z.Tensor)
				s.SwiGLU(y.Tensor, y.Tensor, d.floats(up, rows, cols))
			})
			near(d.t, want, d.read(apart))
			same(d.t, d.read(apart), d.read(y.Tensor), "over the gate")
			same(d.t, d.read(apart), d.read(z.Tensor), "over up")
			y.intact()
			z.intact()
		})
	})
}

// TestSwiGLUFused: gate and up as the two halves of one product, the result over the gate's half.
func TestSwiGLUFused(t *testing.T) {
	const rows, cols = 5, 77
	both := reference.Uniform(1, rows*2*cols)
	var gate, up []float32
	for r := range rows {
		gate = append(gate, both[r*2*cols:][:cols]...)
		up = append(up, both[r*2*cols+cols:][:cols]...)
	}
	each(t, func(t *testing.T, d *device) {
		x := d.floats(both, rows, 2*cols)
		d.run(func(s *ops.Stream) { s.SwiGLU(x.ColRange(0, cols), x.ColRange(0, cols), x.ColRange(cols, cols)) })
		near(t, reference.SwiGLU(gate, up), d.read(x.ColRange(0, cols)))
		same(t, up, d.read(x.ColRange(cols, cols)), "up is only read")
	})
}

// TestSwiGLUNotFinite: P17: what fits float32 stays finite, an infinity or NaN of either side shows,
// and only in its place.
func TestSwiGLUNotFinite(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	values := []struct{ gate, up, want float32 }{
		{70000, 70000, 4.9e9}, {-70000, 70000, 0}, {-1e38, -1e38, 0}, {1e38, 0, 0},
		{inf, 2, inf}, {inf, -2, -inf}, {3e38, 3e38, inf}, {nan, 0, nan}, {0, nan, nan}, {0, inf, nan}, {1e38, 1, 1e38},
	}
	var gate, up []float32
	for range 3 { // whole vectors and the rest of one
		for _, v := range values {
			gate, up = append(gate, v.gate), append(up, v.up)
		}
	}
	each(t, func(t *testing.T, d *device) {
		y := d.floats(gate, 1, len(gate))
		d.run(func(s *ops.Stream) { s.SwiGLU(y, y, d.floats(up, 1, len(up))) })
		for i, got := range d.read(y) {
			v := values[i%len(values)]
			if math.IsNaN(float64(v.want)) {
				require.True(t, math.IsNaN(float64(got)), "silu(%v) * %v is %v", v.gate, v.up, got)
				continue
			}
			require.Equal(t, v.want, got+0, "silu(%v) * %v", v.gate, v.up)
		}
	})
}

func TestSwiGLUInvariant(t *testing.T) {
	const cols = invariantCols
	gate, up := reference.Uniform(1, 64*cols), reference.Uniform(2, 64*cols)
	eachTarget(t, func(t *testing.T, g target) {
		invariant(t, g, func(d *device, first, n int) []float32 {
			y := d.floats(rowsOf(gate, cols, first, n), n, cols)
			d.run(func(s *ops.Stream) { s.SwiGLU(y, y, d.floats(rowsOf(up, cols, first, n), n, cols)) })
			return d.read(y)
		})
	})
}

func TestSwiGLUErrors(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		x, y := d.zeros(4, 3), d.zeros(4, 3)
		refused(t, d, []refusal{
			{"no gate", ops.ErrShape, func(s *ops.Stream) { s.SwiGLU(x, nil, y) }},
			{"no up", ops.ErrShape, func(s *ops.Stream) { s.SwiGLU(x, y, nil) }},
			{"no out", ops.ErrShape, func(s *ops.Stream) { s.SwiGLU(nil, x, y) }},
			{"up of another width", ops.ErrShape, func(s *ops.Stream) { s.SwiGLU(x, x, d.zeros(4, 2)) }},
			{"out of another height", ops.ErrShape, func(s *ops.Stream) { s.SwiGLU(d.zeros(5, 3), x, y) }},
			{"zero rows", ops.ErrShape, func(s *ops.Stream) { s.SwiGLU(x.RowRange(0, 0), x.RowRange(0, 0), y.RowRange(0, 0)) }},
			{"out over part of up", binding.ErrInvalidArgument, func(s *ops.Stream) {
				s.SwiGLU(y.RowRange(0, 3), x.RowRange(0, 3), y.RowRange(1, 3))
			}},
			{"integers", binding.ErrInvalidArgument, func(s *ops.Stream) { s.SwiGLU(x, x, d.tensor(ops.I32, 4, 3)) }},
			{"a tensor that was freed", binding.ErrInvalidArgument, func(s *ops.Stream) {
				gone := d.zeros(4, 3)
				require.NoError(t, gone.Free())
				s.SwiGLU(x, gone, y)
			}},
		})
	})
}

package ops_test

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/binding"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/ops/reference"
)

func TestRMSNorm(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		eachSize(t, d, func(d *device, rows, cols int) {
			x, w := reference.Uniform(1, rows*cols), reference.Uniform(2, cols)
			weight := d.framed(w, 1, cols)
			y := d.framed(x, rows, cols) // in place
			d.run(func(s *ops.Stream) { s.RMSNorm(y.Tensor, y.Tensor, weight.Tensor, 1e-5) })
			near(d.t, reference.RMSNorm(x, w, cols, 1e-5), d.read(y.Tensor))
			y.intact()

			apart := d.zeros(rows, cols)
			d.run(func(s *ops.Stream) { s.RMSNorm(apart, d.floats(x, rows, cols), weight.Tensor, 1e-5) })
			same(d.t, d.read(y.Tensor), d.read(apart), "packed against in place in a frame")
		})
	})
}

// TestRMSNormEdges: a row of zeros stays zeros, a row so small that eps decides, values past where
// half precision ends (P17), and what is not finite stays in its row.
func TestRMSNormEdges(t *testing.T) {
	const rows, cols = 5, 19
	x := reference.Uniform(1, rows*cols)
	for c := range cols {
		x[c] = 0
		x[cols+c] *= 1e-6
		x[2*cols+c] *= 70000
	}
	x[3*cols+5] = float32(math.NaN())
	w := reference.Uniform(2, cols)
	each(t, func(t *testing.T, d *device) {
		y := d.zeros(rows, cols)
		d.run(func(s *ops.Stream) { s.RMSNorm(y, d.floats(x, rows, cols), d.floats(w, 1, cols), 1e-5) })
		got := d.read(y)
		for _, row := range []int{0, 1, 2, 4} {
			near(t, reference.RMSNorm(rowsOf(x, cols, row, 1), w, cols, 1e-5), rowsOf(got, cols, row, 1))
		}
		for _, v := range rowsOf(got, cols, 3, 1) {
			require.True(t, math.IsNaN(float64(v)))
		}
	})
}

// TestRMSNormEpsilon: P40: eps is the caller's, and added to the mean of the squares.
func TestRMSNormEpsilon(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		for eps, want := range map[float32]float64{1e-5: 0.301511, 1e-6: 0.707107, 1e-12: 1} {
			x, w := slices.Repeat([]float32{0.001}, 19), slices.Repeat([]float32{1}, 19)
			y := d.floats(x, 1, 19)
			d.run(func(s *ops.Stream) { s.RMSNorm(y, y, d.floats(w, 1, 19), eps) })
			for _, v := range d.read(y) {
				require.InDelta(t, want, float64(v), 1e-6, "eps %g", eps)
			}
		}
	})
}

func TestRMSNormInvariant(t *testing.T) {
	const cols = invariantCols
	x, w := reference.Uniform(1, 64*cols), reference.Uniform(2, cols)
	eachTarget(t, func(t *testing.T, g target) {
		invariant(t, g, func(d *device, first, n int) []float32 {
			y := d.floats(rowsOf(x, cols, first, n), n, cols)
			d.run(func(s *ops.Stream) { s.RMSNorm(y, y, d.floats(w, 1, cols), 1e-5) })
			return d.read(y)
		})
	})
}

func TestRMSNormErrors(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		x, w := d.zeros(4, 3), d.zeros(1, 3)
		refused(t, d, []refusal{
			{"no x", ops.ErrShape, func(s *ops.Stream) { s.RMSNorm(x, nil, w, 1e-5) }},
			{"no weight", ops.ErrShape, func(s *ops.Stream) { s.RMSNorm(x, x, nil, 1e-5) }},
			{"no out", ops.ErrShape, func(s *ops.Stream) { s.RMSNorm(nil, x, w, 1e-5) }},
			{"weight of another width", ops.ErrShape, func(s *ops.Stream) { s.RMSNorm(x, x, d.zeros(1, 4), 1e-5) }},
			{"weight as a column", ops.ErrShape, func(s *ops.Stream) { s.RMSNorm(x, x, d.zeros(3, 1), 1e-5) }},
			{"out of another width", ops.ErrShape, func(s *ops.Stream) { s.RMSNorm(d.zeros(4, 2), x, w, 1e-5) }},
			{"zero rows", ops.ErrShape, func(s *ops.Stream) { s.RMSNorm(x.RowRange(0, 0), x.RowRange(0, 0), w, 1e-5) }},
			{"eps below zero", binding.ErrInvalidArgument, func(s *ops.Stream) { s.RMSNorm(x, x, w, -1e-5) }},
			{"eps infinite", binding.ErrInvalidArgument, func(s *ops.Stream) { s.RMSNorm(x, x, w, float32(math.Inf(1))) }},
			{"out over part of x", binding.ErrInvalidArgument, func(s *ops.Stream) { s.RMSNorm(x.RowRange(1, 3), x.RowRange(0, 3), w, 1e-5) }},
			{"out over the weight", binding.ErrInvalidArgument, func(s *ops.Stream) { s.RMSNorm(x, d.zeros(4, 3), x.RowRange(0, 1), 1e-5) }},
			{"integers", binding.ErrInvalidArgument, func(s *ops.Stream) { s.RMSNorm(x, d.tensor(ops.I32, 4, 3), w, 1e-5) }},
			{"a tensor that was freed", binding.ErrInvalidArgument, func(s *ops.Stream) {
				gone := d.zeros(1, 3)
				require.NoError(t, gone.Free())
				s.RMSNorm(x, x, gone, 1e-5)
			}},
		})
	})
}

package ops_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/binding"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/ops/reference"
)

func TestLayerNorm(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		eachSize(t, d, func(d *device, rows, cols int) {
			x, w, b := reference.Uniform(1, rows*cols), reference.Uniform(2, cols), reference.Uniform(3, cols)
			weight, bias := d.framed(w, 1, cols), d.framed(b, 1, cols)
			y := d.framed(x, rows, cols) // in place
			d.run(func(s *ops.Stream) { s.LayerNorm(y.Tensor, y.Tensor, weight.Tensor, bias.Tensor, 1e-6) })
			near(d.t, reference.LayerNorm(x, w, b, cols, 1e-6), d.read(y.Tensor))
			y.intact()

			apart := d.zeros(rows, cols)
			d.run(func(s *ops.Stream) { s.LayerNorm(apart, d.floats(x, rows, cols), weight.Tensor, bias.Tensor, 1e-6) })
			same(d.t, d.read(y.Tensor), d.read(apart), "packed against in place in a frame")
		})
	})
}

// TestLayerNormFarFromZero: a variance taken as E[x²] - mean² would be all rounding here.
func TestLayerNormFarFromZero(t *testing.T) {
	const rows, cols = 3, 729
	x, w, b := reference.Uniform(1, rows*cols), reference.Uniform(2, cols), reference.Uniform(3, cols)
	for i := range x {
		x[i] += 1000
	}
	each(t, func(t *testing.T, d *device) {
		y := d.zeros(rows, cols)
		d.run(func(s *ops.Stream) {
			s.LayerNorm(y, d.floats(x, rows, cols), d.floats(w, 1, cols), d.floats(b, 1, cols), 1e-6)
		})
		near(t, reference.LayerNorm(x, w, b, cols, 1e-6), d.read(y))
	})
}

// TestLayerNormEdges: a constant row is its bias, large values do not overflow where their squares
// fit, and what is not finite stays in its row.
func TestLayerNormEdges(t *testing.T) {
	const rows, cols = 4, 19
	x := reference.Uniform(1, rows*cols)
	for c := range cols {
		x[c] = 3
		x[cols+c] *= 70000 // P17
	}
	x[2*cols+5] = float32(math.Inf(-1))
	w, b := reference.Uniform(2, cols), reference.Uniform(3, cols)
	each(t, func(t *testing.T, d *device) {
		y := d.zeros(rows, cols)
		d.run(func(s *ops.Stream) {
			s.LayerNorm(y, d.floats(x, rows, cols), d.floats(w, 1, cols), d.floats(b, 1, cols), 1e-6)
		})
		got := d.read(y)
		require.Equal(t, b, got[:cols])
		for _, row := range []int{1, 3} {
			near(t, reference.LayerNorm(rowsOf(x, cols, row, 1), w, b, cols, 1e-6), rowsOf(got, cols, row, 1))
		}
		require.True(t, math.IsNaN(float64(got[2*cols])))
	})
}

func TestLayerNormInvariant(t *testing.T) {
	const cols = invariantCols
	x, w, b := reference.Uniform(1, 64*cols), reference.Uniform(2, cols), reference.Uniform(3, cols)
	eachTarget(t, func(t *testing.T, g target) {
		invariant(t, g, func(d *device, first, n int) []float32 {
			y := d.floats(rowsOf(x, cols, first, n), n, cols)
			d.run(func(s *ops.Stream) { s.LayerNorm(y, y, d.floats(w, 1, cols), d.floats(b, 1, cols), 1e-6) })
			return d.read(y)
		})
	})
}

func TestLayerNormErrors(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		x, w, b := d.zeros(4, 3), d.zeros(1, 3), d.zeros(1, 3)
		refused(t, d, []refusal{
			{"no x", ops.ErrShape, func(s *ops.Stream) { s.LayerNorm(x, nil, w, b, 1e-6) }},
			{"no weight", ops.ErrShape, func(s *ops.Stream) { s.LayerNorm(x, x, nil, b, 1e-6) }},
			{"no bias", ops.ErrShape, func(s *ops.Stream) { s.LayerNorm(x, x, w, nil, 1e-6) }},
			{"no out", ops.ErrShape, func(s *ops.Stream) { s.LayerNorm(nil, x, w, b, 1e-6) }},
			{"weight of another width", ops.ErrShape, func(s *ops.Stream) { s.LayerNorm(x, x, d.zeros(1, 4), b, 1e-6) }},
			{"bias of another width", ops.ErrShape, func(s *ops.Stream) { s.LayerNorm(x, x, w, d.zeros(1, 2), 1e-6) }},
			{"out of another height", ops.ErrShape, func(s *ops.Stream) { s.LayerNorm(d.zeros(3, 3), x, w, b, 1e-6) }},
			{"zero rows", ops.ErrShape, func(s *ops.Stream) { s.LayerNorm(x.RowRange(0, 0), x.RowRange(0, 0), w, b, 1e-6) }},
			{"eps of zero", binding.ErrInvalidArgument, func(s *ops.Stream) { s.LayerNorm(x, x, w, b, 0) }},
			{"eps that is no number", binding.ErrInvalidArgument, func(s *ops.Stream) { s.LayerNorm(x, x, w, b, float32(math.NaN())) }},
			{"out over part of x", binding.ErrInvalidArgument, func(s *ops.Stream) { s.LayerNorm(x.RowRange(0, 3), x.RowRange(1, 3), w, b, 1e-6) }},
			{"out over the weight", binding.ErrInvalidArgument, func(s *ops.Stream) { s.LayerNorm(x, d.zeros(4, 3), x.RowRange(2, 1), b, 1e-6) }},
			{"out over the bias", binding.ErrInvalidArgument, func(s *ops.Stream) { s.LayerNorm(x, d.zeros(4, 3), w, x.RowRange(2, 1), 1e-6) }},
			{"integers", binding.ErrInvalidArgument, func(s *ops.Stream) { s.LayerNorm(x, d.tensor(ops.I32, 4, 3), w, b, 1e-6) }},
			{"a tensor that was freed", binding.ErrInvalidArgument, func(s *ops.Stream) {
				gone := d.zeros(4, 3)
				require.NoError(t, gone.Free())
				s.LayerNorm(x, gone, w, b, 1e-6)
			}},
		})
	})
}

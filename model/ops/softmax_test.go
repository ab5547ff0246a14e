package ops_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/binding"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/ops/reference"
)

func TestSoftmax(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		eachSize(t, d, func(d *device, rows, cols int) {
			const scale = 7.5
			x := reference.Uniform(1, rows*cols)
			y := d.framed(x, rows, cols) // in place
			d.run(func(s *ops.Stream) { s.Softmax(y.Tensor, y.Tensor, scale) })
			near(d.t, reference.Softmax(x, cols, scale), d.read(y.Tensor))
			y.intact()

			apart := d.zeros(rows, cols)
			d.run(func(s *ops.Stream) { s.Softmax(apart, d.floats(x, rows, cols), scale) })
			same(d.t, d.read(y.Tensor), d.read(apart), "packed against in place in a frame")
		})
	})
}

// TestSoftmaxMasked: P53: a row with everything masked is zeros, not NaN; -inf elsewhere is a weight
// of exactly zero.
func TestSoftmaxMasked(t *testing.T) {
	inf := float32(math.Inf(-1))
	x := reference.Uniform(1, 4*4)
	copy(x[4:], []float32{inf, inf, inf, inf})
	x[9] = inf
	each(t, func(t *testing.T, d *device) {
		y := d.floats(x, 4, 4)
		d.run(func(s *ops.Stream) { s.Softmax(y, y, 1) })
		got := d.read(y)
		require.Equal(t, []float32{0, 0, 0, 0}, got[4:8])
		require.Zero(t, got[9])
		near(t, reference.Softmax(x, 4, 1), got)
	})
}

// TestSoftmaxRange: scores far apart and far from zero neither overflow nor vanish, and a NaN is not
// hidden.
func TestSoftmaxRange(t *testing.T) {
	nan := float32(math.NaN())
	x := []float32{
		1e4, 1e4 - 1, -1e4, 0,
		-3e38, -3e38, -3e38, -3e38,
		88, -88, 100, 99.5,
		1, nan, 2, 3,
		1e-38, 0, -1e-38, 1e-45,
	}
	each(t, func(t *testing.T, d *device) {
		y := d.floats(x, 5, 4)
		d.run(func(s *ops.Stream) { s.Softmax(y, y, 1) })
		got := d.read(y)
		for _, row := range []int{0, 1, 2, 4} {
			near(t, reference.Softmax(rowsOf(x, 4, row, 1), 4, 1), rowsOf(got, 4, row, 1))
		}
		for _, v := range rowsOf(got, 4, 3, 1) {
			require.True(t, math.IsNaN(float64(v)), "the row of the NaN")
		}
	})
}

// TestSoftmaxScale: any scale above zero; a masked value stays masked at the smallest.
func TestSoftmaxScale(t *testing.T) {
	const rows, cols = 4, 41
	x := reference.Uniform(1, rows*cols)
	x[7], x[40] = float32(math.Inf(-1)), float32(math.Inf(-1))
	each(t, func(t *testing.T, d *device) {
		for _, scale := range []float32{math.SmallestNonzeroFloat32, 1e-3, 0.11785113, 1, 90, 1e6} {
			y := d.zeros(rows, cols)
			d.run(func(s *ops.Stream) { s.Softmax(y, d.floats(x, rows, cols), scale) })
			got := d.read(y)
			near(t, reference.Softmax(x, cols, scale), got)
			require.Zero(t, got[7], "scale %g", scale)
			require.Zero(t, got[40], "scale %g", scale)
		}
	})
}

// TestSoftmaxNotFinite: NaN or +inf anywhere makes its row NaN, never an answer, beside masked values
// too; the rows around it are whole.
func TestSoftmaxNotFinite(t *testing.T) {
	const cols = 35 // whole vectors and the rest of one
	masked := float32(math.Inf(-1))
	each(t, func(t *testing.T, d *device) {
		for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(1))} {
			for _, at := range []int{0, 17, cols - 1} {
				for _, alone := range []bool{false, true} {
					x := reference.Uniform(1, 3*cols)
					for c := range cols {
						if alone {
							x[cols+c] = masked
						}
					}
					x[cols+at] = bad
					y := d.floats(x, 3, cols)
					d.run(func(s *ops.Stream) { s.Softmax(y, y, 1) })
					got := d.read(y)
					for c, v := range rowsOf(got, cols, 1, 1) {
						require.True(t, math.IsNaN(float64(v)), "%v at %d, alone %v: column %d is %v", bad, at, alone, c, v)
					}
					for _, row := range []int{0, 2} {
						near(t, reference.Softmax(rowsOf(x, cols, row, 1), cols, 1), rowsOf(got, cols, row, 1))
					}
				}
			}
		}
	})
}

func TestSoftmaxInvariant(t *testing.T) {
	const cols = invariantCols
	x := reference.Uniform(1, 64*cols)
	eachTarget(t, func(t *testing.T, g target) {
		invariant(t, g, func(d *device, first, n int) []float32 {
			y := d.floats(rowsOf(x, cols, first, n), n, cols)
			d.run(func(s *ops.Stream) { s.Softmax(y, y, 5) })
			return d.read(y)
		})
	})
}

func TestSoftmaxErrors(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		x := d.zeros(4, 3)
		refused(t, d, []refusal{
			{"no x", ops.ErrShape, func(s *ops.Stream) { s.Softmax(x, nil, 1) }},
			{"no out", ops.ErrShape, func(s *ops.Stream) { s.Softmax(nil, x, 1) }},
			{"another width", ops.ErrShape, func(s *ops.Stream) { s.Softmax(d.zeros(4, 4), x, 1) }},
			{"zero rows", ops.ErrShape, func(s *ops.Stream) { s.Softmax(x.RowRange(0, 0), x.RowRange(0, 0), 1) }},
			{"scale of zero", binding.ErrInvalidArgument, func(s *ops.Stream) { s.Softmax(x, x, 0) }},
			{"scale infinite", binding.ErrInvalidArgument, func(s *ops.Stream) { s.Softmax(x, x, float32(math.Inf(1))) }},
			{"out over part of x", binding.ErrInvalidArgument, func(s *ops.Stream) { s.Softmax(x.RowRange(0, 3), x.RowRange(1, 3), 1) }},
			{"scale below zero", binding.ErrInvalidArgument, func(s *ops.Stream) { s.Softmax(x, x, -1) }},
			{"scale that is no number", binding.ErrInvalidArgument, func(s *ops.Stream) { s.Softmax(x, x, float32(math.NaN())) }},
			{"integers", binding.ErrInvalidArgument, func(s *ops.Stream) { s.Softmax(x, d.tensor(ops.I32, 4, 3), 1) }},
			{"a tensor that was freed", binding.ErrInvalidArgument, func(s *ops.Stream) {
				gone := d.zeros(4, 3)
				require.NoError(t, gone.Free())
				s.Softmax(gone, x, 1)
			}},
		})
	})
}

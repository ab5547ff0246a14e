package ops_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/binding"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/ops/reference"
)

func TestLogProb(t *testing.T) {
	for _, c := range []struct{ rows, cols, k int }{{1, 1, 1}, {3, 7, 7}, {5, 50, 3}, {2, 1023, 20}, {2, 1025, 20}, {1, 128256, 20}, {3, 20011, 1}} {
		for _, scale := range []float32{1, 30} {
			t.Run(fmt.Sprintf("%d of %d x %d, up to %v", c.k, c.rows, c.cols, scale), func(t *testing.T) {
				x := reference.Uniform(1, c.rows*c.cols)
				for i := range x {
					x[i] *= scale
				}
				likeliest := reference.TopK(x, c.cols, c.k)
				want := reference.LogProb(x, likeliest, c.cols)
				each(t, func(t *testing.T, d *device) {
					xd, out, ids := d.framed(x, c.rows, c.cols), d.framed(make([]float32, c.rows*c.k), c.rows, c.k), d.tensor(ops.I32, c.rows, c.k)
					d.run(func(s *ops.Stream) {
						s.TopK(ids, nil, xd.Tensor)
						s.LogProb(out.Tensor, xd.Tensor, ids)
					})
					got := d.read(out.Tensor)
					require.LessOrEqual(t, reference.MaxError(got, want), 1e-5, "nats")
					out.intact()
				})
			})
		}
	}
}

// TestLogProbByHand: masked and left out ids, and scores near the ends of float32.
func TestLogProbByHand(t *testing.T) {
	inf := float32(math.Inf(-1))
	each(t, func(t *testing.T, d *device) {
		out := d.floats([]float32{7, 7, 7, 7, 7, 7, 7, 7, 7}, 3, 3)
		d.run(func(s *ops.Stream) {
			s.LogProb(out, d.floats([]float32{5, inf, 5, inf, 3e38, -3e38, -2e38, -2e38, inf}, 3, 3), d.ints(2, -1, 1, 1, 2, -1, 0, 1, 0).Reshape(3, 3))
		})
		half := float32(-math.Ln2)
		require.Equal(t, []float32{half, 7, inf, 0, inf, 7, half, half, half}, d.read(out))
	})
}

func TestLogProbFaults(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	each(t, func(t *testing.T, d *device) {
		for _, id := range []int32{-2, 3, math.MaxInt32} {
			s, out := d.Stream(), d.zeros(2, 2)
			s.LogProb(out, d.floats([]float32{1, 1, 1, 1, 1, 1}, 2, 3), d.ints(0, 1, 2, id).Reshape(2, 2))
			fault(t, s, "log_prob", binding.FaultTokenID, 1, int64(id))
			got := d.read(out)
			require.InDeltaSlice(t, []float32{-1.0986123, -1.0986123, -1.0986123}, got[:3], 1e-6)
			require.True(t, math.IsNaN(float64(got[3])))
		}
		for _, c := range []struct {
			row    []float32
			column int64
		}{{[]float32{1, nan, 2}, 1}, {[]float32{1, 2, inf}, 2}, {[]float32{-inf, -inf, -inf}, 0}} {
			s, out := d.Stream(), d.zeros(2, 1)
			s.LogProb(out, d.floats(append([]float32{0, 0, 0}, c.row...), 2, 3), d.ints(0, 0))
			fault(t, s, "log_prob", binding.FaultNotFinite, 1, c.column)
			got := d.read(out)
			require.InDelta(t, -1.0986123, got[0], 1e-6)
			require.True(t, math.IsNaN(float64(got[1])))
		}
	})
}

func TestLogProbInvariant(t *testing.T) {
	const cols, rows, k = 5003, 64, 5
	x := reference.Uniform(1, rows*cols)
	var first []float32
	eachTarget(t, func(t *testing.T, g target) {
		invariant(t, g, func(d *device, at, n int) []float32 {
			part := rowsOf(x, cols, at, n)
			out := d.zeros(n, k)
			ids := reference.TopK(part, cols, k)
			d.run(func(s *ops.Stream) { s.LogProb(out, d.floats(part, n, cols), d.ints(ids...).Reshape(n, k)) })
			got := d.read(out)
			if n == rows && g.ordered() {
				if first == nil {
					first = got
				}
				same(t, first, got, "all kernel sets")
			}
			return got
		})
	})
}

func TestLogProbErrors(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		x, ids, out := d.zeros(4, 3), d.tensor(ops.I32, 4, 2), d.zeros(4, 2)
		refused(t, d, []refusal{
			{"no x", ops.ErrShape, func(s *ops.Stream) { s.LogProb(out, nil, ids) }},
			{"no ids", ops.ErrShape, func(s *ops.Stream) { s.LogProb(out, x, nil) }},
			{"no out", ops.ErrShape, func(s *ops.Stream) { s.LogProb(nil, x, ids) }},
			{"ids in float", ops.ErrShape, func(s *ops.Stream) { s.LogProb(out, x, d.zeros(4, 2)) }},
			{"out of another width", ops.ErrShape, func(s *ops.Stream) { s.LogProb(x, d.zeros(4, 3), ids) }},
			{"zero rows", ops.ErrShape, func(s *ops.Stream) { s.LogProb(out.RowRange(0, 0), x.RowRange(0, 0), ids.RowRange(0, 0)) }},
			{"integers", binding.ErrInvalidArgument, func(s *ops.Stream) { s.LogProb(out, d.tensor(ops.I32, 4, 3), ids) }},
			{"out over x", binding.ErrInvalidArgument, func(s *ops.Stream) { s.LogProb(x.ColRange(0, 2), x, ids) }},
			{"a tensor that was freed", binding.ErrInvalidArgument, func(s *ops.Stream) {
				gone := d.zeros(4, 2)
				require.NoError(t, gone.Free())
				s.LogProb(gone, x, ids)
			}},
		})
	})
}

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

// TestCopyRows: in frames, with NaN and infinity as they are.
func TestCopyRows(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		eachSize(t, d, func(d *device, rows, cols int) {
			x := reference.Uniform(1, rows*cols)
			x[len(x)/2] = math.Float32frombits(0xffc12345)
			y := d.framed(make([]float32, len(x)), rows, cols)
			d.run(func(s *ops.Stream) { s.CopyRows(y.Tensor, d.framed(x, rows, cols).Tensor) })
			same(d.t, x, d.read(y.Tensor), "copy")
			y.intact()
		})
	})
}

// TestCopyRowsTypes: rows of every type move as bytes.
func TestCopyRowsTypes(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		for _, dtype := range []ops.DType{ops.F32, ops.F16, ops.BF16, ops.I32, ops.U8, ops.I8} {
			t.Run(dtype.String(), func(t *testing.T) {
				d := d.at(t)
				data := make([]byte, 5*7*dtype.Size())
				for i := range data {
					data[i] = byte(i*37 + 1)
				}
				x, y := d.tensor(dtype, 5, 7), d.tensor(dtype, 3, 3)
				require.NoError(t, x.WriteBytes(0, data))
				d.run(func(s *ops.Stream) { s.GatherRows(y, x.ColRange(2, 3), d.ints(4, 0, 4)) })
				var want []byte
				for _, row := range []int{4, 0, 4} {
					want = append(want, data[(row*7+2)*dtype.Size():][:3*dtype.Size()]...)
				}
				got, err := y.ReadBytes()
				require.NoError(t, err)
				require.Equal(t, want, got)
			})
		}
	})
}

func TestGatherAndScatterRows(t *testing.T) {
	const cols = 33
	x, before := reference.Uniform(1, 9*cols), reference.Uniform(2, 9*cols)
	index := []int32{8, -1, 0, 3, -1, 4, 2} // -1 skips a row
	each(t, func(t *testing.T, d *device) {
		t.Run("gather", func(t *testing.T) {
			d := d.at(t)
			want := slices.Clone(before[:7*cols])
			reference.Gather(want, x, index, cols)
			y := d.framed(before[:7*cols], 7, cols)
			d.run(func(s *ops.Stream) { s.GatherRows(y.Tensor, d.framed(x, 9, cols).Tensor, d.ints(index...)) })
			same(t, want, d.read(y.Tensor), "gather")
			y.intact()
		})
		t.Run("scatter", func(t *testing.T) {
			d := d.at(t)
			want := slices.Clone(before)
			reference.Scatter(want, x[:7*cols], index, cols)
			y := d.framed(before, 9, cols)
			d.run(func(s *ops.Stream) { s.ScatterRows(y.Tensor, d.framed(x[:7*cols], 7, cols).Tensor, d.ints(index...)) })
			same(t, want, d.read(y.Tensor), "scatter")
			y.intact()
		})
		t.Run("splice: picture rows into the slots among token rows", func(t *testing.T) {
			d := d.at(t)
			tokens := d.floats(before, 9, cols)
			table := d.weight(ops.F32, x, 9, cols)
			ids := []int32{1, -1, -1, 2, -1, 3, 0, 0, 5}
			d.run(func(s *ops.Stream) {
				s.ScatterRows(tokens, d.floats(x[:3*cols], 3, cols), d.ints(1, 2, 4))
				s.Embedding(tokens, d.ints(ids...), table)
			})
			got := d.read(tokens)
			for i, slot := range []int{1, 2, 4} {
				same(t, rowsOf(x, cols, i, 1), rowsOf(got, cols, slot, 1), "slot %d", slot)
			}
			same(t, rowsOf(x, cols, 5, 1), rowsOf(got, cols, 8, 1), "token 5")
		})
	})
}

// TestRowIndexFaults: an index outside is a fault with its row; that row is skipped, the others move.
func TestRowIndexFaults(t *testing.T) {
	const cols = 5
	x, before := reference.Uniform(1, 4*cols), reference.Uniform(2, 4*cols)
	each(t, func(t *testing.T, d *device) {
		for _, bad := range []int32{4, -2, math.MaxInt32, math.MinInt32} {
			for name, run := range map[string]func(s *ops.Stream, out, x, index *ops.Tensor){
				"gather": (*ops.Stream).GatherRows, "scatter": (*ops.Stream).ScatterRows,
			} {
				t.Run(name, func(t *testing.T) {
					d := d.at(t)
					y, s := d.framed(before, 4, cols), d.Stream()
					run(s, y.Tensor, d.floats(x, 4, cols), d.ints(0, bad, 2, 3))
					fault(t, s, "copy_rows", binding.FaultRowIndex, 1, int64(bad))
					got := d.read(y.Tensor)
					same(t, rowsOf(before, cols, 1, 1), rowsOf(got, cols, 1, 1), "skipped")
					same(t, rowsOf(x, cols, 2, 2), rowsOf(got, cols, 2, 2), "the others")
					y.intact()
				})
			}
		}
	})
}

// TestRowIndexEdges: the first of several faults is reported, nothing but -1 moves nothing, and
// columns of one tensor are no overlap.
func TestRowIndexEdges(t *testing.T) {
	const rows, cols = 300, 6
	each(t, func(t *testing.T, d *device) {
		index := slices.Repeat([]int32{rows}, rows)
		for i := range 9 {
			index[i] = -1
		}
		index[11] = -7
		before := reference.Uniform(2, rows*cols)
		y, s := d.floats(before, rows, cols), d.Stream()
		s.GatherRows(y, d.zeros(rows, cols), d.ints(index...))
		fault(t, s, "copy_rows", binding.FaultRowIndex, 9, rows)
		s.ScatterRows(y, d.zeros(rows, cols), d.ints(index...))
		fault(t, s, "copy_rows", binding.FaultRowIndex, 9, rows)
		same(t, before, d.read(y), "no row moved")

		nothing := d.ints(slices.Repeat([]int32{-1}, rows)...)
		d.run(func(s *ops.Stream) {
			s.GatherRows(y, d.zeros(2, cols), nothing)
			s.ScatterRows(y, d.zeros(rows, cols), nothing)
		})
		same(t, before, d.read(y), "no row moved")

		d.run(func(s *ops.Stream) { s.CopyRows(y.ColRange(4, 2), y.ColRange(1, 2)) })
		want := slices.Clone(before)
		for at := 0; at < len(want); at += cols {
			copy(want[at+4:][:2], want[at+1:])
		}
		same(t, want, d.read(y), "columns 1 and 2 to 4 and 5")
	})
}

func TestCopyRowsInvariant(t *testing.T) {
	const cols = invariantCols
	x := reference.Uniform(1, 64*cols)
	index := make([]int32, 64)
	for i := range index {
		index[i] = int32(i * 27 % 64)
	}
	eachTarget(t, func(t *testing.T, g target) {
		invariant(t, g, func(d *device, first, n int) []float32 {
			y := d.zeros(n, cols)
			d.run(func(s *ops.Stream) { s.GatherRows(y, d.floats(x, 64, cols), d.ints(index[first:first+n]...)) })
			return d.read(y)
		})
	})
}

func TestCopyRowsErrors(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		x, y, index := d.zeros(4, 3), d.zeros(2, 3), d.ints(0, 1)
		refused(t, d, []refusal{
			{"copy of nothing", ops.ErrShape, func(s *ops.Stream) { s.CopyRows(y, nil) }},
			{"copy to nothing", ops.ErrShape, func(s *ops.Stream) { s.CopyRows(nil, x) }},
			{"copy to another height", ops.ErrShape, func(s *ops.Stream) { s.CopyRows(y, x) }},
			{"copy to another width", ops.ErrShape, func(s *ops.Stream) { s.CopyRows(d.zeros(4, 2), x) }},
			{"copy of zero rows", ops.ErrShape, func(s *ops.Stream) { s.CopyRows(y.RowRange(0, 0), x.RowRange(0, 0)) }},
			{"copy to another type", binding.ErrInvalidArgument, func(s *ops.Stream) { s.CopyRows(d.tensor(ops.I32, 4, 3), x) }},
			{"copy onto itself", binding.ErrInvalidArgument, func(s *ops.Stream) { s.CopyRows(x.RowRange(0, 3), x.RowRange(1, 3)) }},
			{"gather without index", ops.ErrShape, func(s *ops.Stream) { s.GatherRows(y, x, nil) }},
			{"gather by a row of indices", ops.ErrShape, func(s *ops.Stream) { s.GatherRows(y, x, index.Reshape(1, 2)) }},
			{"gather by floats", ops.ErrShape, func(s *ops.Stream) { s.GatherRows(y, x, d.zeros(2, 1)) }},
			{"gather to another height", ops.ErrShape, func(s *ops.Stream) { s.GatherRows(x, y, index) }},
			{"gather over x", binding.ErrInvalidArgument, func(s *ops.Stream) { s.GatherRows(x.RowRange(2, 2), x, index) }},
			{"scatter without index", ops.ErrShape, func(s *ops.Stream) { s.ScatterRows(x, y, nil) }},
			{"scatter to nothing", ops.ErrShape, func(s *ops.Stream) { s.ScatterRows(nil, y, index) }},
			{"scatter of another height", ops.ErrShape, func(s *ops.Stream) { s.ScatterRows(x, y.RowRange(0, 1), index) }},
			{"scatter to another width", ops.ErrShape, func(s *ops.Stream) { s.ScatterRows(d.zeros(4, 4), y, index) }},
			{"scatter over x", binding.ErrInvalidArgument, func(s *ops.Stream) { s.ScatterRows(x, x.RowRange(0, 2), index) }},
			{"scatter over x behind its own count of rows", binding.ErrInvalidArgument, func(s *ops.Stream) { s.ScatterRows(x, x.RowRange(2, 2), index) }},
			{"gather over the index", binding.ErrInvalidArgument, func(s *ops.Stream) { s.GatherRows(index, d.ints(5, 6), index) }},
			{"scatter over the index", binding.ErrInvalidArgument, func(s *ops.Stream) { s.ScatterRows(index, d.ints(5, 6), index) }},
			{"a tensor that was freed", binding.ErrInvalidArgument, func(s *ops.Stream) {
				gone := d.ints(0, 1)
				require.NoError(t, gone.Free())
				s.GatherRows(y, x, gone)
			}},
		})
	})
}

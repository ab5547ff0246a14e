package ops_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/binding"
	"github.com/llama3v/llama3v/model/ops"
)

func TestAdvance(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		t.Run("sequences go on, idle places stay", func(t *testing.T) {
			d := d.at(t)
			next, ids, positions, lengths := d.ints(30, 40, 50), d.ints(7, 8, 9), d.ints(4, 0, 100), d.ints(5, 0, 101)
			d.run(func(s *ops.Stream) { s.Advance(next, ids, positions, lengths) })
			require.Equal(t, []int32{30, 8, 50}, d.readInts(ids))
			require.Equal(t, []int32{5, 0, 101}, d.readInts(positions))
			require.Equal(t, []int32{6, 0, 102}, d.readInts(lengths))
			require.Equal(t, []int32{30, 40, 50}, d.readInts(next))
		})
		t.Run("any of the three may be left out", func(t *testing.T) {
			d := d.at(t)
			next, ids, positions, lengths := d.ints(30), d.ints(7), d.ints(4), d.ints(5)
			d.run(func(s *ops.Stream) {
				s.Advance(next, ids, nil, lengths)
				s.Advance(next, nil, positions, lengths)
				s.Advance(next, nil, nil, lengths)
				s.Advance(next, ids, positions, nil)
			})
			require.Equal(t, [][]int32{{30}, {6}, {8}}, [][]int32{d.readInts(ids), d.readInts(positions), d.readInts(lengths)})
		})
		t.Run("without lengths every sequence goes on", func(t *testing.T) {
			d := d.at(t)
			next, ids, positions := d.ints(30, 40), d.ints(7, 8), d.ints(0, 4)
			d.run(func(s *ops.Stream) { s.Advance(next, ids, positions, nil) })
			require.Equal(t, [][]int32{{30, 40}, {1, 5}}, [][]int32{d.readInts(ids), d.readInts(positions)})
		})
		t.Run("a length below zero is idle", func(t *testing.T) {
			d := d.at(t)
			next, ids, positions, lengths := d.ints(30, 40), d.ints(7, 8), d.ints(4, 4), d.ints(-1, 1)
			d.run(func(s *ops.Stream) { s.Advance(next, ids, positions, lengths) })
			require.Equal(t, [][]int32{{7, 40}, {4, 5}, {-1, 2}}, [][]int32{d.readInts(ids), d.readInts(positions), d.readInts(lengths)})
		})
		t.Run("columns of one table", func(t *testing.T) {
			d := d.at(t)
			state, err := d.FromInt32([]int32{1, 10, 5, 2, 20, 0}, 2, 3) // id, position, length
			until(d, state, err)
			d.run(func(s *ops.Stream) {
				s.Advance(d.ints(8, 9), state.ColRange(0, 1), state.ColRange(1, 1), state.ColRange(2, 1))
			})
			require.Equal(t, []int32{8, 11, 6, 2, 20, 0}, d.readInts(state))
		})
		t.Run("64 sequences", func(t *testing.T) {
			d := d.at(t)
			lengths := d.ints(ops.Multiples(64, 1)...) // the first is idle
			ids := d.ints(make([]int32, 64)...)
			d.run(func(s *ops.Stream) { s.Advance(d.ints(ops.Multiples(64, 3)...), ids, nil, lengths) })
			require.Equal(t, ops.Multiples(64, 3), d.readInts(ids))
			want := ops.Multiples(64, 1)
			for i := range want[1:] {
				want[i+1]++
			}
			require.Equal(t, want, d.readInts(lengths))
		})
	})
}

func TestAdvanceErrors(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		a, b, c := d.ints(1, 2), d.ints(1, 2), d.ints(1, 2)
		refused(t, d, []refusal{
			{"no next", ops.ErrShape, func(s *ops.Stream) { s.Advance(nil, a, b, c) }},
			{"next in float", ops.ErrShape, func(s *ops.Stream) { s.Advance(d.zeros(2, 1), a, b, c) }},
			{"ids of another count", ops.ErrShape, func(s *ops.Stream) { s.Advance(a, d.ints(1), b, c) }},
			{"positions in float", ops.ErrShape, func(s *ops.Stream) { s.Advance(a, b, d.zeros(2, 1), c) }},
			{"lengths as a row", ops.ErrShape, func(s *ops.Stream) { s.Advance(a, b, nil, c.Reshape(1, 2)) }},
			{"ids over next", binding.ErrInvalidArgument, func(s *ops.Stream) { s.Advance(a, a, b, c) }},
			{"positions over lengths", binding.ErrInvalidArgument, func(s *ops.Stream) { s.Advance(a, nil, b, b) }},
			{"lengths over next", binding.ErrInvalidArgument, func(s *ops.Stream) { s.Advance(a, nil, nil, a) }},
			{"zero sequences", ops.ErrShape, func(s *ops.Stream) { s.Advance(a.RowRange(0, 0), nil, nil, nil) }},
			{"a tensor that was freed", binding.ErrInvalidArgument, func(s *ops.Stream) {
				gone := d.ints(1, 2)
				require.NoError(t, gone.Free())
				s.Advance(a, b, gone, c)
			}},
		})
	})
}

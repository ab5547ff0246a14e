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

func TestWeight(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		for _, dtype := range []ops.DType{ops.F32, ops.F16, ops.BF16} {
			for _, shape := range [][2]int{{1, 1}, {7, 72}, {65, 129}, {130, 33}} {
				t.Run(fmt.Sprintf("%s %v: written in pieces, read in pieces", dtype, shape), func(t *testing.T) {
					d := d.at(t)
					rows, cols := shape[0], shape[1]
					rowBytes := cols * dtype.Size()
					data := make([]byte, rows*rowBytes)
					for i := range data {
						data[i] = byte(i*89 + i>>8) // any bits, NaN too
					}
					plan, err := d.WeightBytes(dtype, rows, cols)
					require.NoError(t, err)
					require.GreaterOrEqual(t, plan, int64(len(data)))
					before, err := d.Counters()
					require.NoError(t, err)
					w, err := d.NewWeight(dtype, rows, cols)
					until(d, w, err)
					after, err := d.Counters()
					require.NoError(t, err)
					require.Equal(t, plan, after.Bytes-before.Bytes, "the plan is what is allocated")
					require.Equal(t, []any{rows, cols, dtype}, []any{w.Rows(), w.Cols(), w.DType()})

					half := rows / 2
					odd := append([]byte{0}, data...)[1:] // rows at an odd address
					require.NoError(t, w.WriteRows(half, odd[half*rowBytes:]))
					if half > 0 {
						require.NoError(t, w.WriteRows(0, data[len(data)-half*rowBytes:])) // and once more
						require.NoError(t, w.WriteRows(0, data[:half*rowBytes]))
					}
					got, err := w.ReadRows(0, rows)
					require.NoError(t, err)
					require.Equal(t, data, got)
					got, err = w.ReadRows(rows-1, 1)
					require.NoError(t, err)
					require.Equal(t, data[len(data)-rowBytes:], got)

					for name, err := range map[string]error{
						"part of a row":  w.WriteRows(0, data[1:]),
						"nothing":        w.WriteRows(0, nil),
						"past the end":   w.WriteRows(1, data),
						"from below":     w.WriteRows(-1, data),
						"read past":      second(w.ReadRows(rows, 1)),
						"read of none":   second(w.ReadRows(0, 0)),
						"read from -1":   second(w.ReadRows(-1, 1)),
						"read of excess": second(w.ReadRows(0, math.MaxInt)),
					} {
						require.ErrorIs(t, err, ops.ErrShape, name)
					}
				})
			}
		}
	})
}

// TestWeightCodes: P41, P42: each of the 65536 codes of a 16-bit type comes back as it went in,
// whatever the layout is in between: wider than a panel, narrower, and one column.
func TestWeightCodes(t *testing.T) {
	data := make([]byte, 2<<16)
	for code := range 1 << 16 {
		data[2*code], data[2*code+1] = byte(code), byte(code>>8)
	}
	each(t, func(t *testing.T, d *device) {
		for _, dtype := range []ops.DType{ops.F16, ops.BF16} {
			for _, cols := range []int{1024, 32, 1} {
				w, err := d.NewWeight(dtype, 1<<16/cols, cols)
				until(d, w, err)
				require.NoError(t, w.WriteRows(0, data))
				got, err := w.ReadRows(0, w.Rows())
				require.NoError(t, err)
				require.Equal(t, data, got, w.String())
			}
		}
	})
}

// TestWeightRewrite: a row may be written again between products: those queued before see the old
// row, those behind the new one, and its neighbours keep what they have, wherever in a panel it lies.
func TestWeightRewrite(t *testing.T) {
	const rows, cols = 70, 37
	each(t, func(t *testing.T, d *device) {
		for _, dtype := range []ops.DType{ops.F32, ops.F16, ops.BF16} {
			values := reference.Round(reference.Uniform(1, rows*cols), dtype)
			x := reference.Uniform(2, cols)
			w, y := d.weight(dtype, values, rows, cols), d.zeros(1, rows)
			xd, s := d.floats(x, 1, cols), d.Stream()
			for i, row := range []int{0, 15, 16, 33, 63, 64, rows - 1} {
				s.Linear(y, xd, ops.Linear{Weight: w})
				before := reference.Linear(x, values, nil, nil, 1, cols, rows, ops.None)
				fresh := reference.Round(reference.Uniform(uint64(3+i), cols), dtype)
				require.NoError(t, w.WriteRows(row, reference.Encode(fresh, dtype)))
				near(t, before, d.read(y))

				copy(values[row*cols:], fresh)
				got, err := w.ReadRows(0, rows)
				require.NoError(t, err)
				require.Equal(t, reference.Encode(values, dtype), got, "%s, row %d", dtype, row)
				s.Linear(y, xd, ops.Linear{Weight: w})
				near(t, reference.Linear(x, values, nil, nil, 1, cols, rows, ops.None), d.read(y))
			}
			require.NoError(t, s.Wait())
		}
	})
}

// TestWeightUnwritten: ops refuse a weight until each row was written, in whatever order; one row
// written twice does not stand for two, and a refused write is none.
func TestWeightUnwritten(t *testing.T) {
	const rows, cols = 5, 3
	row := make([]byte, cols*4)
	each(t, func(t *testing.T, d *device) {
		w, err := d.NewWeight(ops.F32, rows, cols)
		until(d, w, err)
		x, y, s := d.zeros(1, cols), d.zeros(1, rows), d.Stream()
		for _, at := range []int{3, 0, 3, 4, 1} {
			require.NoError(t, w.WriteRows(at, row))
			s.Linear(y, x, ops.Linear{Weight: w})
			require.ErrorIs(t, s.Wait(), binding.ErrInvalidArgument)
		}
		require.ErrorIs(t, w.WriteRows(2, row[1:]), ops.ErrShape)
		s.Linear(y, x, ops.Linear{Weight: w})
		require.ErrorIs(t, s.Wait(), binding.ErrInvalidArgument)
		require.NoError(t, w.WriteRows(2, row))
		s.Linear(y, x, ops.Linear{Weight: w})
		require.NoError(t, s.Wait())
	})
}

// TestWeightFree: a second Free is harmless, all of its memory comes back, and what is done with it
// then says that it is gone.
func TestWeightFree(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		before, err := d.Counters()
		require.NoError(t, err)
		w, err := d.NewWeight(ops.BF16, 65, 33)
		require.NoError(t, err)
		require.NoError(t, w.Free())
		require.NoError(t, w.Free(), "twice")
		require.ErrorIs(t, w.WriteRows(0, make([]byte, 2*33)), binding.ErrClosed)
		require.ErrorIs(t, second(w.ReadRows(0, 1)), binding.ErrClosed)
		after, err := d.Counters()
		require.NoError(t, err)
		require.Equal(t, []int64{before.Bytes, before.Objects}, []int64{after.Bytes, after.Objects})
	})
}

// TestPackedBytes: a weight written in the packed form of another is that one; until the last byte is
// there it is not written, and what leaves the packed form is refused.
func TestPackedBytes(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		for _, dtype := range []ops.DType{ops.F32, ops.BF16, ops.Q4_0} {
			const rows, cols = 65, 96
			elements, bytes := dtype.Block()
			data := make([]byte, rows*cols/elements*bytes)
			for i := range data {
				data[i] = byte(i*7 + i>>8)
			}
			from, err := d.NewWeight(dtype, rows, cols)
			until(d, from, err)
			require.NoError(t, from.WriteRows(0, data))
			size, err := from.PackedBytes()
			require.NoError(t, err)
			packed := make([]byte, size)
			half := size / 2
			require.NoError(t, from.ReadPacked(half, packed[half:]))
			require.NoError(t, from.ReadPacked(0, packed[:half]))

			to, err := d.NewWeight(dtype, rows, cols)
			until(d, to, err)
			require.NoError(t, to.WritePacked(0, packed[:half]))
			s := d.Stream()
			s.Linear(d.tensor(ops.F32, 1, rows), d.tensor(ops.F32, 1, cols), ops.Linear{Weight: to})
			require.ErrorIs(t, s.Wait(), binding.ErrInvalidArgument, "half a weight")
			require.NoError(t, to.WritePacked(half, packed[half:]))
			got, err := to.ReadRows(0, rows)
			require.NoError(t, err)
			require.Equal(t, data, got)
			d.run(func(s *ops.Stream) {
				s.Linear(d.tensor(ops.F32, 1, rows), d.tensor(ops.F32, 1, cols), ops.Linear{Weight: to})
			})
			require.ErrorIs(t, to.WritePacked(size-1, packed[:2]), binding.ErrInvalidArgument)
			require.ErrorIs(t, to.ReadPacked(-1, packed[:2]), binding.ErrInvalidArgument)
		}
	})
}

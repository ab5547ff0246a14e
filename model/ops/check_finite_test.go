package ops_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/binding"
	"github.com/llama3v/llama3v/model/ops"
)

func TestCheckFinite(t *testing.T) {
	bad := map[string]float32{"NaN": float32(math.NaN()), "infinity": float32(math.Inf(1)), "-infinity": float32(math.Inf(-1))}
	each(t, func(t *testing.T, d *device) {
		t.Run("finite, however large or small", func(t *testing.T) {
			d := d.at(t)
			x := d.framed([]float32{math.MaxFloat32, -math.MaxFloat32, math.SmallestNonzeroFloat32, 0}, 2, 2)
			d.run(func(s *ops.Stream) { s.CheckFinite(x.Tensor, 3) }) // with NaN all around it
		})
		for name, v := range bad {
			for _, c := range [][4]int{{1, 1, 0, 0}, {5, 257, 4, 256}, {5, 257, 2, 0}, {64, 77, 33, 76}, {1, 4304, 0, 4303}, {257, 1031, 128, 5}} {
				t.Run(name, func(t *testing.T) {
					d := d.at(t)
					rows, cols, row, col := c[0], c[1], c[2], c[3]
					data := make([]float32, rows*cols)
					data[row*cols+col] = v
					data[rows*cols-1] = v // a later one is not the one reported
					s := d.Stream()
					s.CheckFinite(d.framed(data, rows, cols).Tensor, 42)
					err := s.Wait()
					var f *binding.FaultError
					require.ErrorAs(t, err, &f)
					require.True(t, f.NotFinite())
					require.Equal(t, []int64{42, int64(row), int64(col)}, []int64{int64(f.Stage), f.Index, f.Value}, err)
					status, err := d.DeviceStatus()
					require.NoError(t, err)
					require.Equal(t, f.DeviceStatus, status)
				})
			}
		}
		t.Run("every kind of NaN, at each place of a vector and its rest", func(t *testing.T) {
			d := d.at(t)
			const cols = 37
			x, s := d.zeros(2, cols), d.Stream()
			for i, bits := range []uint32{0x7f800001, 0xff800001, 0x7fc00000, 0xffffffff, 0x7fffffff} {
				for at := i; at < cols; at += 5 {
					row := make([]float32, cols)
					row[at] = math.Float32frombits(bits)
					require.NoError(t, x.WriteFloat32(1, row))
					s.CheckFinite(x, 0)
					fault(t, s, "check_finite", binding.FaultNotFinite, 1, int64(at))
				}
			}
			require.NoError(t, x.WriteFloat32(1, make([]float32, cols)))
			d.run(func(s *ops.Stream) { s.CheckFinite(x, 0) })
		})
		t.Run("the first of many, in a matrix that threads share", func(t *testing.T) {
			d := d.at(t)
			const rows, cols = 729, 1152
			x, s := d.zeros(rows, cols), d.Stream()
			s.CheckFinite(x, 5)
			require.NoError(t, s.Wait())
			for _, row := range []int{728, 500, 364, 1} { // each before the ones that are there
				bad := make([]float32, cols)
				bad[1151], bad[row] = float32(math.NaN()), float32(math.Inf(1))
				require.NoError(t, x.WriteFloat32(row, bad))
				s.CheckFinite(x, 5)
				fault(t, s, "check_finite", binding.FaultNotFinite, int64(row), int64(row))
			}
		})
		t.Run("the first of two stages is reported", func(t *testing.T) {
			d := d.at(t)
			x, s := d.floats([]float32{float32(math.NaN())}, 1, 1), d.Stream()
			s.CheckFinite(d.zeros(1, 1), 1)
			s.CheckFinite(x, 2)
			s.CheckFinite(x, 3)
			var f *binding.FaultError
			require.ErrorAs(t, s.Wait(), &f)
			require.EqualValues(t, 2, f.Stage)
		})
		refused(t, d, []refusal{
			{"no x", ops.ErrShape, func(s *ops.Stream) { s.CheckFinite(nil, 1) }},
			{"zero rows", ops.ErrShape, func(s *ops.Stream) { s.CheckFinite(d.zeros(2, 2).RowRange(0, 0), 1) }},
			{"integers", binding.ErrInvalidArgument, func(s *ops.Stream) { s.CheckFinite(d.tensor(ops.I32, 2, 2), 1) }},
			{"a tensor that was freed", binding.ErrInvalidArgument, func(s *ops.Stream) {
				gone := d.zeros(2, 2)
				require.NoError(t, gone.Free())
				s.CheckFinite(gone, 1)
			}},
		})
	})
}

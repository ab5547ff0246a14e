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

func TestTensorReadWrite(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		t.Run("new is zeros", func(t *testing.T) {
			d := d.at(t)
			x := d.zeros(3, 5)
			require.Equal(t, make([]float32, 15), d.read(x))
			require.Equal(t, []any{3, 5, ops.F32, "f32 [3, 5]"}, []any{x.Rows(), x.Cols(), x.DType(), x.String()})
		})
		t.Run("bits go in and out, NaN included", func(t *testing.T) {
			d := d.at(t)
			data := reference.Uniform(1, 15)
			data[3], data[4], data[5] = math.Float32frombits(0x7fc12345), float32(math.Inf(-1)), math.Float32frombits(1)
			same(t, data, d.read(d.floats(data, 3, 5)), "read")
			into := make([]float32, 15)
			require.NoError(t, d.floats(data, 3, 5).ReadFloat32Into(into))
			same(t, data, into, "read into")
		})
		t.Run("some rows", func(t *testing.T) {
			d := d.at(t)
			x := d.zeros(4, 2)
			require.NoError(t, x.WriteFloat32(1, []float32{1, 2, 3, 4}))
			require.Equal(t, []float32{0, 0, 1, 2, 3, 4, 0, 0}, d.read(x))
		})
		t.Run("integers", func(t *testing.T) {
			d := d.at(t)
			x := d.ints(1, -1, math.MaxInt32, math.MinInt32)
			require.NoError(t, x.WriteInt32(1, []int32{-200}))
			require.Equal(t, []int32{1, -200, math.MaxInt32, math.MinInt32}, d.readInts(x))
		})
		t.Run("bytes of a type without Go values", func(t *testing.T) {
			d := d.at(t)
			x := d.tensor(ops.BF16, 2, 2)
			require.NoError(t, x.WriteBytes(1, []byte{1, 2, 3, 4}))
			got, err := x.ReadBytes()
			require.NoError(t, err)
			require.Equal(t, []byte{0, 0, 0, 0, 1, 2, 3, 4}, got)
		})
		t.Run("views with gaps", func(t *testing.T) {
			d := d.at(t)
			data := reference.Uniform(1, 7*9)
			x := d.floats(data, 7, 9)
			v := x.RowRange(2, 4).ColRange(3, 5).RowRange(1, 3).ColRange(1, 2) // rows 3..5, columns 4..5
			require.Equal(t, []float32{data[31], data[32], data[40], data[41], data[49], data[50]}, d.read(v))
			require.NoError(t, v.WriteFloat32(1, []float32{8, 9}))
			data[40], data[41] = 8, 9
			same(t, data, d.read(x), "nothing else was written")
			raw, err := v.ReadBytes()
			require.NoError(t, err)
			require.Equal(t, reference.Encode(d.read(v), ops.F32), raw)
			require.NoError(t, v.Free(), "a view does not own")
			same(t, data, d.read(x), "freed view")
		})
		t.Run("bytes of every type, packed and with gaps", func(t *testing.T) {
			d := d.at(t)
			for _, dtype := range []ops.DType{ops.F32, ops.F16, ops.BF16, ops.I32, ops.U8, ops.I8} {
				const rows, cols = 5, 7
				size := dtype.Size()
				data := make([]byte, rows*cols*size)
				for i := range data {
					data[i] = byte(i*151 + 3)
				}
				x := d.tensor(dtype, rows, cols)
				require.NoError(t, x.WriteBytes(0, data))
				got, err := x.ReadBytes()
				require.NoError(t, err)
				require.Equal(t, data, got, dtype.String())

				v := x.RowRange(1, 3).ColRange(2, 3)
				part := make([]byte, 2*3*size)
				for i := range part {
					part[i] = byte(0xff - i)
				}
				require.NoError(t, v.WriteBytes(1, part))
				for r := range 2 {
					copy(data[((2+r)*cols+2)*size:][:3*size], part[r*3*size:])
				}
				got, err = x.ReadBytes()
				require.NoError(t, err)
				require.Equal(t, data, got, "%s: nothing else was written", dtype)
				got, err = v.ReadBytes()
				require.NoError(t, err)
				require.Equal(t, slices.Concat(data[(cols+2)*size:][:3*size], part), got, "%s: the view", dtype)
			}
		})
		t.Run("integers with gaps", func(t *testing.T) {
			d := d.at(t)
			x, err := d.FromInt32([]int32{1, 2, 3, 4, 5, 6}, 3, 2)
			until(d, x, err)
			require.NoError(t, x.ColRange(1, 1).WriteInt32(1, []int32{-8, -9}))
			require.Equal(t, []int32{2, -8, -9}, d.readInts(x.ColRange(1, 1)))
			require.Equal(t, []int32{1, 2, 3, -8, 5, -9}, d.readInts(x))
		})
		t.Run("reshape", func(t *testing.T) {
			d := d.at(t)
			x := d.floats(reference.Uniform(1, 12), 3, 4)
			same(t, d.read(x), d.read(x.Reshape(2, 6)), "same order")
			same(t, d.read(x)[4:8], d.read(x.RowRange(1, 1).Reshape(4, 1)), "one row is packed")
			require.Equal(t, "f32 [12, 1]", x.Reshape(12, 1).String())
		})
		t.Run("larger than a staging block, packed and with gaps", func(t *testing.T) {
			d := d.at(t)
			const rows, cols = 1031, 517
			data := reference.Uniform(1, rows*cols)
			same(t, data, d.read(d.floats(data, rows, cols)), "packed")
			f := d.framed(data, rows, cols)
			same(t, data, d.read(f.Tensor), "with gaps")
			f.intact()
			wide := reference.Uniform(2, 300000) // a row longer than a block
			same(t, wide, d.read(d.floats(wide, 1, 300000)), "one row")
		})
		t.Run("written behind queued work, read behind it", func(t *testing.T) {
			d := d.at(t)
			x, y, s := d.floats([]float32{1}, 1, 1), d.zeros(1, 1), d.Stream()
			s.CopyRows(y, x)
			require.NoError(t, x.WriteFloat32(0, []float32{2}))
			require.Equal(t, []float32{1}, d.read(y))
			require.NoError(t, s.Wait())
		})
	})
}

// TestTensorErrors: what does not fit is ErrShape at once, or at the op that takes a broken view;
// never a panic.
func TestTensorErrors(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		x := d.zeros(3, 4)
		for name, err := range map[string]error{
			"new of no rows":           second(d.NewTensor(ops.F32, 0, 3)),
			"new of negative columns":  second(d.NewTensor(ops.F32, 3, -1)),
			"new past the address":     second(d.NewTensor(ops.F32, math.MaxInt/2, 3)),
			"new of no type":           second(d.NewTensor(0, 3, 3)),
			"values that do not fill":  second(d.FromFloat32(make([]float32, 11), 3, 4)),
			"integers that overflow":   second(d.FromInt32(make([]int32, 13), 3, 4)),
			"from past the address":    second(d.FromFloat32(nil, math.MaxInt, math.MaxInt)),
			"write of part of a row":   x.WriteFloat32(0, make([]float32, 5)),
			"write of nothing":         x.WriteFloat32(0, nil),
			"write past the end":       x.WriteFloat32(2, make([]float32, 8)),
			"write from row -1":        x.WriteFloat32(-1, make([]float32, 4)),
			"write from far away":      x.WriteFloat32(math.MaxInt, make([]float32, 4)),
			"write of another type":    x.WriteInt32(0, make([]int32, 4)),
			"write of part of a value": x.WriteBytes(0, make([]byte, 15)),
			"read of another type":     second(x.ReadInt32()),
			"read into too little":     x.ReadFloat32Into(make([]float32, 11)),
			"write to a broken view":   x.RowRange(1, 3).WriteFloat32(0, make([]float32, 4)),
			"read of a broken view":    second(x.ColRange(-1, 2).ReadFloat32()),
			"bytes of a broken view":   second(x.ColRange(3, 2).ReadBytes()),
			"read of an empty tensor":  second((&ops.Tensor{}).ReadFloat32()),
			"write to no tensor":       (*ops.Tensor)(nil).WriteFloat32(0, []float32{1}),
			"weight of no rows":        second(d.NewWeight(ops.F32, 0, 3)),
			"weight past the address":  second(d.WeightBytes(ops.F32, math.MaxInt/2, 3)),
		} {
			require.ErrorIs(t, err, ops.ErrShape, name)
		}
		for _, dtype := range []ops.DType{ops.I32, ops.U8, ops.I8} {
			_, err := d.NewWeight(dtype, 3, 4)
			require.ErrorIs(t, err, binding.ErrUnsupported, dtype.String())
		}

		y := d.zeros(2, 4)
		refused(t, d, []refusal{
			{"rows past the end", ops.ErrShape, func(s *ops.Stream) { s.CopyRows(y, x.RowRange(2, 2)) }},
			{"rows from below zero", ops.ErrShape, func(s *ops.Stream) { s.CopyRows(y, x.RowRange(-1, 2)) }},
			{"rows whose end overflows", ops.ErrShape, func(s *ops.Stream) { s.CopyRows(y, x.RowRange(2, math.MaxInt)) }},
			{"columns past the end", ops.ErrShape, func(s *ops.Stream) { s.CopyRows(y, x.ColRange(1, 4)) }},
			{"no columns", ops.ErrShape, func(s *ops.Stream) { s.CopyRows(y, x.ColRange(1, 0)) }},
			{"reshape to another count", ops.ErrShape, func(s *ops.Stream) { s.CopyRows(y, x.Reshape(2, 5)) }},
			{"reshape with gaps", ops.ErrShape, func(s *ops.Stream) { s.CopyRows(y, x.ColRange(0, 2).Reshape(2, 3)) }},
			{"reshape to zero rows", ops.ErrShape, func(s *ops.Stream) { s.CopyRows(y, x.Reshape(0, 4)) }},
			{"view of a broken view", ops.ErrShape, func(s *ops.Stream) { s.CopyRows(y, x.RowRange(9, 1).ColRange(0, 1).Reshape(1, 1)) }},
			{"view of no tensor", ops.ErrShape, func(s *ops.Stream) { s.CopyRows(y, (*ops.Tensor)(nil).RowRange(0, 1)) }},
			{"an empty tensor", ops.ErrShape, func(s *ops.Stream) { s.CopyRows(&ops.Tensor{}, &ops.Tensor{}) }},
		})
		s := d.Stream()
		s.RMSNorm(y, x.RowRange(1, 5), y, 1)
		require.EqualError(t, s.Wait(), "rms_norm: shapes do not fit: x is RowRange(1, 5) of f32 [3, 4]: x RowRange(1, 5) of f32 [3, 4], weight f32 [2, 4], out f32 [2, 4]")
		s.RMSNorm(y, x, y, 1)
		require.EqualError(t, s.Wait(), "rms_norm: shapes do not fit: weight must be [1, 4]: x f32 [3, 4], weight f32 [2, 4], out f32 [2, 4]")
	})
}

func second[T any](_ T, err error) error { return err }

func TestTensorFree(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		before, err := d.Counters()
		require.NoError(t, err)
		x, err := d.NewTensor(ops.F32, 100, 100)
		require.NoError(t, err)
		v := x.RowRange(1, 2)
		require.NoError(t, x.Free())
		require.NoError(t, x.Free(), "twice")
		require.ErrorIs(t, v.WriteFloat32(0, make([]float32, 100)), binding.ErrClosed, "the view is of nothing")
		after, err := d.Counters()
		require.NoError(t, err)
		require.Equal(t, before.Bytes, after.Bytes)
		require.Equal(t, before.Objects, after.Objects)
		require.NoError(t, (*ops.Tensor)(nil).Free())
		require.NoError(t, (*ops.Weight)(nil).Free())
	})
}

// TestOtherDevice: ids of two devices may be equal, so a tensor of another is refused by name.
func TestOtherDevice(t *testing.T) {
	eachTarget(t, func(t *testing.T, g target) {
		d, other := g.open(t, binding.ContextOptions{Threads: 1}), g.open(t, binding.ContextOptions{Threads: 1})
		x, y := d.zeros(1, 1), other.zeros(1, 1)
		refused(t, d, []refusal{
			{"tensor", ops.ErrShape, func(s *ops.Stream) { s.CopyRows(x, y) }},
			{"weight", ops.ErrShape, func(s *ops.Stream) {
				s.Linear(x, x, ops.Linear{Weight: other.weight(ops.F32, []float32{1}, 1, 1)})
			}},
			{"view", ops.ErrShape, func(s *ops.Stream) { s.CopyRows(y.RowRange(0, 1), x) }},
		})
		_, err := d.Stream().Capture(y, nil, func() {})
		require.ErrorIs(t, err, ops.ErrShape)
	})
}

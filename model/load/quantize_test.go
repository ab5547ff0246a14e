package load_test

import (
	"context"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/internal/golden"
	"github.com/llama3v/llama3v/internal/testdevice"
	"github.com/llama3v/llama3v/model/load"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/weights"
)

func TestQuantize(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		m := golden.NewModel(t, "{}").
			Random(t, 0, 1, "wide.weight", 5, 256).
			Random(t, 0, 1, "narrow.weight", 3, 96).
			Random(t, 0, 1, "odd.weight", 3, 20).
			Random(t, 0, 1, "table", 4, 256).
			Random(t, 0, 1, "q.weight", 6, 64)
		m.Convert(t, "wide.weight", weights.BF16)
		l := loader(t, dev, m.FS(t))
		reports := map[string]load.Quantized{}
		require.NoError(t, l.Quantize(weights.Q4_K, func(q load.Quantized) { reports[q.Tensor] = q }))
		var wide, narrow, odd, piece ops.Linear
		var table *ops.Weight
		l.Linear(&wide, 256, load.NoBias, load.Rows("wide", 5))
		l.Linear(&narrow, 96, load.NoBias, load.Rows("narrow", 3))
		l.Linear(&odd, 20, load.NoBias, load.Rows("odd", 3))
		l.Linear(&piece, 64, load.NoBias, load.Part{Weight: "q.weight", First: 2, Rows: 3, Of: 6})
		l.Table(&table, "table", 4, 256)
		finish(t, l)

		for _, c := range []struct {
			name        string
			got         *ops.Weight
			dtype       ops.DType
			to          weights.DType
			first, rows int
			cols        int
		}{
			{"wide.weight", wide.Weight, ops.Q4_K, weights.Q4_K, 0, 5, 256},
			{"narrow.weight", narrow.Weight, ops.Q5_0, weights.Q5_0, 0, 3, 96},
			{"q.weight", piece.Weight, ops.Q5_0, weights.Q5_0, 2, 3, 64},
			{"odd.weight", odd.Weight, ops.F32, weights.F32, 0, 3, 20},
			{"table", table, ops.F32, weights.F32, 0, 4, 256},
		} {
			require.Equal(t, c.dtype, c.got.DType(), c.name)
			values := m.Values(t, c.name)[c.first*c.cols:][:c.rows*c.cols]
			elements, size := c.to.Block()
			want := make([]byte, len(values)/elements*size)
			require.NoError(t, weights.FromFloat32(want, values, c.to))
			requireRows(t, c.got, want)
			if !c.to.Quantized() {
				require.NotContains(t, reports, c.name)
				continue
			}
			// The error that is reported is that of the rows read.
			again := make([]float32, len(values))
			require.NoError(t, weights.ToFloat32(again, want, c.to))
			require.InDelta(t, math.Sqrt(golden.NMSE(again, values)), reports[c.name].Error, 1e-6, c.name)
			require.Equal(t, c.to, reports[c.name].To)
		}
		require.ElementsMatch(t, []ops.DType{ops.Q4_K, ops.Q5_0, ops.F32}, l.Products())

		planned, err := l.Bytes()
		require.NoError(t, err)
		plain := loader(t, dev, m.FS(t))
		plain.Linear(&wide, 256, load.NoBias, load.Rows("wide", 5))
		plain.Linear(&narrow, 96, load.NoBias, load.Rows("narrow", 3))
		plain.Linear(&odd, 20, load.NoBias, load.Rows("odd", 3))
		plain.Linear(&piece, 64, load.NoBias, load.Part{Weight: "q.weight", First: 2, Rows: 3, Of: 6})
		plain.Table(&table, "table", 4, 256)
		_, err = plain.Check()
		require.NoError(t, err)
		before, err := plain.Bytes()
		require.NoError(t, err)
		require.Less(t, planned, before, "the plan counts the quantised bytes")
	})
}

func TestQuantizeRefuses(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		values := golden.Uniform(1, 3*64, 0, 1)
		values[2*64+5] = float32(math.NaN())
		m := golden.NewModel(t, "{}").Put(t, "a.weight", weights.F32, values, 3, 64)
		l := loader(t, dev, m.FS(t))
		require.ErrorIs(t, l.Quantize(weights.F16, nil), weights.ErrUnsupportedDType)
		require.NoError(t, l.Quantize(weights.Q8_0, nil))
		var dst ops.Linear
		l.Linear(&dst, 64, load.NoBias, load.Rows("a", 3))
		_, err := l.Check()
		require.NoError(t, err)
		err = l.Load(context.Background())
		require.ErrorIs(t, err, weights.ErrValue)
		var fault *weights.ValueError
		require.ErrorAs(t, err, &fault)
		require.Equal(t, "a.weight", fault.Tensor)
		require.Equal(t, 2, fault.Row)
		require.Equal(t, 5, fault.Col)
	})
}

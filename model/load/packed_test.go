package load_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/internal/golden"
	"github.com/llama3v/llama3v/internal/testdevice"
	"github.com/llama3v/llama3v/model/load"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/weights"
)

// TestPackedCache: weights from the cache are those that were packed; what is wrong in it, or belongs
// to another library or to other weights, is not used.
func TestPackedCache(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		folder := filepath.Join(t.TempDir(), "cache")
		values := make([]float32, 2*96*64)
		for i := range values {
			values[i] = float32(i%37) / 37
		}
		// rows loads the weight and gives its rows and how many tensors were quantised for it.
		rows := func(values []float32, library string, to weights.DType) (data []byte, quantised int) {
			m := golden.NewModel(t, "{}").Put(t, "a.weight", weights.F32, values[:96*64], 96, 64).Put(t, "b.weight", weights.F32, values[96*64:], 96, 64)
			l := loader(t, dev, m.FS(t))
			l.CachePacked(folder, library)
			if to != weights.Invalid {
				require.NoError(t, l.Quantize(to, func(load.Quantized) { quantised++ }))
			}
			var linear ops.Linear
			l.Linear(&linear, 64, load.NoBias, load.Rows("a", 96), load.Rows("b", 96))
			finish(t, l)
			data, err := linear.Weight.ReadRows(0, 192)
			require.NoError(t, err)
			require.NoError(t, linear.Weight.Free())
			return data, quantised
		}
		files := func() []string {
			names, err := filepath.Glob(filepath.Join(folder, "*"))
			require.NoError(t, err)
			return names
		}
		first, quantised := rows(values, "one", weights.Q8_0)
		require.Equal(t, 2, quantised)
		require.Len(t, files(), 1)
		again, quantised := rows(values, "one", weights.Q8_0)
		require.Equal(t, first, again)
		require.Zero(t, quantised, "nothing is quantised twice")

		_, quantised = rows(values, "two", weights.Q8_0)
		require.Equal(t, 2, quantised, "another library packs in another way")
		rows(values, "one", weights.Invalid)
		require.Len(t, files(), 3, "another type is another weight")
		values[5]++
		changed, quantised := rows(values, "one", weights.Q8_0)
		require.Equal(t, 2, quantised, "one value is another")
		require.NotEqual(t, first, changed)

		for _, damage := range []func(data []byte) []byte{
			func(data []byte) []byte { return data[:len(data)-1] },
			func(data []byte) []byte { data[3] ^= 1; return data },
			func(data []byte) []byte { return nil },
		} {
			for _, name := range files() {
				data, err := os.ReadFile(name)
				require.NoError(t, err)
				require.NoError(t, os.WriteFile(name, damage(data), 0o600))
			}
			got, quantised := rows(values, "one", weights.Q8_0)
			require.Equal(t, changed, got)
			require.Equal(t, 2, quantised, "a damaged file is none")
			_, quantised = rows(values, "one", weights.Q8_0)
			require.Zero(t, quantised, "and was written anew")
		}
	})
}

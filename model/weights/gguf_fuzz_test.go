package weights

import (
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// FuzzGGUF: no file panics, what opens holds what it says, and what it says can be written again.
func FuzzGGUF(f *testing.F) {
	whole, err := os.ReadFile(filepath.Join(testdata, "golden/gguf/models/tiny-untied-hd24.BF16.gguf"))
	require.NoError(f, err)
	f.Add(whole[:4096])
	f.Add(gguf([]ggufKey{{"general.architecture", "llama"}, {"general.alignment", uint32(64)}, {"tokenizer.ggml.tokens", []string{"a", "b"}},
		{"types", []int32{1, 2}}, {"scores", []float32{1}}, {"x", true}},
		ggufEntry{"a", 0, []uint64{2, 1}, make([]byte, 8)}, ggufEntry{"q", 2, []uint64{32, 2}, make([]byte, 36)}).Data)
	f.Add(gguf([]ggufKey{{"split.count", uint16(2)}}).Data)
	f.Add(gguf(nil).Data)
	f.Fuzz(func(t *testing.T, file []byte) {
		g, err := OpenGGUF(fstest.MapFS{"m.gguf": {Data: file}}, "m.gguf")
		if err != nil {
			require.True(t, isAny(err, ErrFormat, ErrTruncated, ErrMissingFile, ErrUnsupportedDType), "%v", err)
			return
		}
		defer g.Close()
		requireSane(t, g)
		total := int64(0)
		for _, name := range g.Names() {
			info, err := g.Tensor(name)
			require.NoError(t, err)
			total += info.Bytes
		}
		require.LessOrEqual(t, total, int64(len(file)))
		_ = g.Metadata().Config().Err()
		if g.Metadata().uint("general.alignment", 32) <= 1<<16 { // the writer pads up to it
			_, _, err = formatGGUF(g.Metadata().List(), nil)
			require.NoError(t, err)
		}
	})
}

package vlm_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/binding"
	"github.com/llama3v/llama3v/internal/golden"
	"github.com/llama3v/llama3v/model/vlm"
	"github.com/llama3v/llama3v/model/weights"
)

// FuzzConfig: no config.json panics or is taken with a decoder or a tower that has no sizes.
func FuzzConfig(f *testing.F) {
	files, err := filepath.Glob(filepath.Join(golden.Root(), "golden", "models", "*", "config.json"))
	require.NoError(f, err)
	require.NotEmpty(f, files)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(text)
	}
	f.Add([]byte(`{"model_type":"llama","hidden_size":1e300,"num_hidden_layers":-1}`))
	f.Fuzz(func(t *testing.T, config []byte) {
		c, err := vlm.ReadConfig(fstest.MapFS{"config.json": {Data: config}})
		if err != nil {
			require.True(t, errors.Is(err, weights.ErrConfig) || errors.Is(err, binding.ErrUnsupported) || errors.Is(err, weights.ErrFormat), "%v", err)
			return
		}
		require.True(t, c.Text != nil || c.Vision != nil)
		if c.Text != nil {
			require.Positive(t, min(c.Text.Vocab, c.Text.Dim, c.Text.Layers, c.Text.Heads, c.Text.KVHeads, c.Text.HeadDim, c.Text.Hidden))
		}
		if c.Vision != nil {
			require.Positive(t, min(c.Vision.ImageSize, c.Vision.Patch, c.Vision.Dim, c.Vision.Layers, c.Vision.Heads, c.Vision.Hidden))
		}
	})
}

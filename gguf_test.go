package llama3v_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v"
)

// ggufFolder is a folder with links to files of the golden GGUF models.
func ggufFolder(t *testing.T, names ...string) string {
	t.Helper()
	folder := t.TempDir()
	for _, name := range names {
		path, err := filepath.Abs(filepath.Join("testdata", "golden", "gguf", "models", name))
		require.NoError(t, err)
		require.NoError(t, os.Symlink(path, filepath.Join(folder, name)))
	}
	return folder
}

func TestOpenGGUF(t *testing.T) {
	openDemo(t) // skips without a library
	ctx := context.Background()
	const tied, q8, text = "tiny-tied-rope8.F32.gguf", "tiny-k256.Q8_0.gguf", "tiny-llava.F32.gguf"
	const old, swapped = "tiny-llava.mmproj-old.gguf", "tiny-llava.mmproj-swapped.gguf"
	for _, tc := range []struct {
		name  string
		files []string
		open  string // in the folder
		opts  []llama3v.Option
		sees  bool
		is    error
		text  string
	}{
		{"a file", []string{tied, q8}, tied, nil, false, nil, ""},
		{"a folder with one model", []string{q8}, "", nil, false, nil, ""},
		{"int8 activations for its blocks", []string{q8}, "", []llama3v.Option{llama3v.WithActivations(llama3v.Int8)}, false, nil, ""},
		{"no blocks for int8 activations", []string{tied}, "", []llama3v.Option{llama3v.WithActivations(llama3v.Int8)}, false, llama3v.ErrUnsupported, "int8 activations are for quantised weights"},
		{"an eye beside the file", []string{text, old}, text, nil, true, nil, ""},
		{"an eye in the folder", []string{text, old}, "", nil, true, nil, ""},
		{"two models", []string{tied, q8}, "", nil, false, llama3v.ErrUnsupported, tied},
		{"two eyes", []string{text, old, swapped}, text, nil, false, llama3v.ErrUnsupported, "WithProjector"},
		{"an eye of another width", []string{q8, old}, "", nil, false, llama3v.ErrShape, "projector.linear_2.weight in tiny-llava.mmproj-old.gguf"},
		{"an eye alone", []string{old}, old, nil, false, llama3v.ErrUnsupported, "clip"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m, err := llama3v.Open(ctx, filepath.Join(ggufFolder(t, tc.files...), tc.open), tc.opts...)
			if tc.is != nil {
				require.ErrorIs(t, err, tc.is)
				require.ErrorContains(t, err, tc.text)
				return
			}
			require.NoError(t, err)
			defer m.Close()
			answer, err := m.Ask(ctx, "hello world", llama3v.Raw(), llama3v.MaxTokens(4), llama3v.IgnoreEOS())
			require.NoError(t, err)
			require.Len(t, answer.TokenIDs, 4)
			_, err = m.EncodeImages(ctx, []llama3v.Picture{llama3v.File("testdata/demo/pictures/dog.jpg")}, llama3v.Layer(1))
			if tc.sees {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, llama3v.ErrUnsupported)
			}
		})
	}
	t.Run("WithProjector", func(t *testing.T) {
		folder, elsewhere := ggufFolder(t, text), ggufFolder(t, old)
		m, err := llama3v.Open(ctx, folder, llama3v.WithProjector(filepath.Join(elsewhere, old)))
		require.NoError(t, err)
		defer m.Close()
		_, err = m.EncodeImages(ctx, []llama3v.Picture{llama3v.File("testdata/demo/pictures/dog.jpg")}, llama3v.Layer(1))
		require.NoError(t, err)
	})
	t.Run("an eye for a model of another form", func(t *testing.T) {
		_, err := llama3v.Open(ctx, demo, llama3v.WithProjector(filepath.Join("testdata", "golden", "gguf", "models", old)))
		require.ErrorIs(t, err, llama3v.ErrUnsupported)
		require.ErrorContains(t, err, "WithProjector")
	})
	t.Run("more layers than the eye has", func(t *testing.T) {
		_, err := llama3v.Open(ctx, ggufFolder(t, text, old), llama3v.WithVisionLayers(3))
		require.ErrorContains(t, err, "clip.vision.block_count is 2, and 3 layers were asked for")
	})
	t.Run("an activation nobody has", func(t *testing.T) {
		_, err := llama3v.Open(ctx, ggufFolder(t, text, old), llama3v.WithVisionActivation("relu"))
		require.ErrorIs(t, err, llama3v.ErrOption)
	})
	t.Run("inspect", func(t *testing.T) {
		d, err := llama3v.Inspect(ctx, filepath.Join(ggufFolder(t, "tiny-k256.Q4_K_M.gguf"), "tiny-k256.Q4_K_M.gguf"))
		require.NoError(t, err)
		require.Empty(t, d.Problems)
		require.Positive(t, d.Types["Q4_K"])
		require.Positive(t, d.Types["Q6_K"])
		require.Equal(t, 512, d.Vocabulary)
		require.NotNil(t, d.Plan)
	})
}

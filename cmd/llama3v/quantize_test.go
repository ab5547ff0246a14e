package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/internal/golden"
	"github.com/llama3v/llama3v/model/weights"
)

func TestQuantizeCommand(t *testing.T) {
	in := filepath.Join(golden.Root(), "golden", "gguf", "models", "tiny-untied-hd24.F32.gguf")
	path := filepath.Join(t.TempDir(), "out.gguf")
	var out bytes.Buffer
	require.NoError(t, quantizeGGUF(context.Background(), &out, in, path, weights.Q4_K))
	g, err := weights.OpenGGUF(os.DirFS(filepath.Dir(path)), "out.gguf")
	require.NoError(t, err)
	defer g.Close()
	for name, want := range map[string]weights.DType{
		"blk.0.attn_q.weight": weights.Q5_0, // hidden 64: no superblock
		"token_embd.weight":   weights.Q8_0, "output_norm.weight": weights.F32,
	} {
		info, err := g.Tensor(name)
		require.NoError(t, err)
		require.Equal(t, want, info.DType, name)
		require.Contains(t, out.String(), name)
	}
	source, err := weights.OpenGGUF(os.DirFS(filepath.Dir(in)), filepath.Base(in))
	require.NoError(t, err)
	defer source.Close()
	want, err := weights.ReadFloat32(source, "blk.0.attn_q.weight")
	require.NoError(t, err)
	got, err := weights.ReadFloat32(g, "blk.0.attn_q.weight")
	require.NoError(t, err)
	nmse := golden.NMSE(got, want)
	require.Positive(t, nmse)
	require.Less(t, nmse, 0.01)

	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, quantizeGGUF(cancelled, &out, in, path+".2.gguf", weights.Q8_0), context.Canceled)
	require.NoFileExists(t, path+".2.gguf")
	for _, args := range [][]string{{"quantize", in}, {"quantize", in, path, "--type", "Q9"}, {"quantize", in, "x.bin", "--type", "Q4_0"}} {
		require.Equal(t, 2, execute(context.Background(), args))
	}
}

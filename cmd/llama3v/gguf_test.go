package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func goldenGGUF(name string) string {
	return filepath.Join("..", "..", "testdata", "golden", "gguf", "models", name)
}

func TestTokenizeGGUF(t *testing.T) {
	code, out, errText := runLine(t, "tokenize", goldenGGUF("tiny-tied-rope8.F32.gguf"), "hello world", "--json")
	require.Equal(t, 0, code, errText)
	require.JSONEq(t, `{"ids":[271,372,414],"pieces":["he","llo"," world"]}`, out)

	code, _, errText = runLine(t, "tokenize", goldenGGUF("tiny-llava.mmproj-old.gguf"), "hello")
	require.Equal(t, 1, code)
	require.Contains(t, errText, "clip")
}

func TestInspectGGUF(t *testing.T) {
	needBackend(t)
	alone := filepath.Join(t.TempDir(), "model.gguf") // what lies beside it would be its eye
	path, err := filepath.Abs(goldenGGUF("tiny-untied-hd24.BF16.gguf"))
	require.NoError(t, err)
	require.NoError(t, os.Symlink(path, alone))
	code, out, errText := runLine(t, "inspect", alone, "--tensors")
	require.Equal(t, 0, code, errText)
	for _, part := range []string{
		"family      llama", "own output", "1 of 24", "begin 417, end [421]", "chat template true", "plan ", "blk.0.attn_q.weight", "[96, 64]", "BF16",
	} {
		require.Contains(t, out, part)
	}

	code, out, errText = runLine(t, "inspect", goldenGGUF("tiny-llava.mmproj-old.gguf"))
	require.Equal(t, 0, code, errText)
	require.Contains(t, out, "a vision tower without its text model")
	require.Contains(t, out, "v.patch_embd.weight", "the tensors are there to see")
}

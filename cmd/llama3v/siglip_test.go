package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/internal/golden"
	"github.com/llama3v/llama3v/model/weights"
)

// siglipFolder is the small SigLIP model with a vocabulary of the words that golden.Words spells.
func siglipFolder(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	for _, name := range []string{"config.json", "model.safetensors", "preprocessor_config.json"} {
		data, err := os.ReadFile(filepath.Join(golden.Root(), "golden", "models", "siglip_full", name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(folder, name), data, 0o600))
	}
	require.NoError(t, os.WriteFile(filepath.Join(folder, "spiece.model"), golden.Vocabulary(97), 0o600))
	return folder
}

func TestClassify(t *testing.T) {
	needBackend(t)
	model := siglipFolder(t)
	labels := []string{golden.Words(5, 6), golden.Words(40), golden.Words(80)}
	code, out, errText := runLine(t, "classify", model, picture("dog.jpg"), picture("frog.png"), "--labels", strings.Join(labels, ","))
	require.Equal(t, 0, code, errText)
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	require.Len(t, lines, 6, out)
	for i, line := range lines {
		cells := strings.Split(line, "\t")
		require.Len(t, cells, 3)
		require.Equal(t, picture([]string{"dog.jpg", "frog.png"}[i/3]), cells[0])
		require.Contains(t, labels, cells[1])
		require.Regexp(t, `^[01]\.\d{6}$`, cells[2])
	}
	require.GreaterOrEqual(t, lines[0][strings.LastIndex(lines[0], "\t"):], lines[1][strings.LastIndex(lines[1], "\t"):])

	code, out, errText = runLine(t, "classify", model, picture("dog.jpg"), "--labels", labels[0], "--labels", labels[1],
		"--template", "%s", "--template", golden.Words(9)+" %s", "--json")
	require.Equal(t, 0, code, errText)
	var object struct {
		Pictures []struct {
			Picture string
			Labels  []struct {
				Label              string
				Index              int
				Probability, Logit float64
			}
		}
		Backend map[string]any
	}
	require.NoError(t, json.Unmarshal([]byte(out), &object))
	require.Len(t, object.Pictures, 1)
	require.Len(t, object.Pictures[0].Labels, 2)
	for _, label := range object.Pictures[0].Labels {
		require.Equal(t, labels[label.Index], label.Label)
		require.NotZero(t, label.Logit)
	}
	require.NotEmpty(t, object.Backend)
}

func TestEmbedTexts(t *testing.T) {
	needBackend(t)
	model, file := siglipFolder(t), filepath.Join(t.TempDir(), "out.safetensors")
	first, second := golden.Words(96, 3, 34, 66), golden.Words(83)
	code, out, errText := runLine(t, "embed", model, "--text", first, "--text", second, "-o", file)
	require.Equal(t, 0, code, errText)
	require.Equal(t, file+": texts [2, 144]\n", out)
	read := func(name string) []float32 {
		s, err := weights.OpenSafetensorsFile(os.DirFS(filepath.Dir(file)), filepath.Base(file))
		require.NoError(t, err)
		defer s.Close()
		values, err := weights.ReadFloat32(s, name)
		require.NoError(t, err)
		require.Contains(t, s.Metadata(filepath.Base(file))["texts"], second)
		return values
	}
	texts := read("texts")
	want, _ := golden.Open(t, "siglip_full").Want("text.pooler_output")
	require.Less(t, golden.NMSE(texts, want[:288]), 1e-10)

	// Pictures beside texts, from stdin.
	stdin := filepath.Join(t.TempDir(), "lines")
	require.NoError(t, os.WriteFile(stdin, []byte(first+"\r\n\n "+second+" "), 0o600))
	lines, err := os.Open(stdin)
	require.NoError(t, err)
	defer lines.Close()
	keep := os.Stdin
	os.Stdin = lines
	defer func() { os.Stdin = keep }()
	code, out, errText = runLine(t, "embed", model, picture("dog.jpg"), "--pooled", "--text", "-", "-o", file, "--json")
	require.Equal(t, 0, code, errText)
	require.Contains(t, out, `"shape":[1,144]`)
	require.Contains(t, out, `"text_shape":[2,144]`)
	require.Equal(t, texts, read("texts"))
	require.Len(t, read("features"), 144)
}

func TestTokenizeAndInspectSigLIP(t *testing.T) {
	model := siglipFolder(t)
	code, out, errText := runLine(t, "tokenize", model, golden.Words(96, 3), "--json")
	require.Equal(t, 0, code, errText)
	require.JSONEq(t, `{"ids":[96,3],"pieces":["`+golden.Words(96)+`","`+golden.Words(3)+`"]}`, out)
	code, out, errText = runLine(t, "inspect", model)
	require.Equal(t, 0, code, errText)
	require.Contains(t, out, "text        16 tokens of 97, width 144, 2 layers, 2 heads of 72, mlp 131; tokenizer 97 ids")

	require.NoError(t, os.WriteFile(filepath.Join(model, "spiece.model"), []byte{8}, 0o600))
	code, _, errText = runLine(t, "tokenize", model, "a")
	require.Equal(t, 1, code)
	require.Contains(t, errText, "spiece.model")
}

func TestSigLIPCommandsRefuse(t *testing.T) {
	for _, tc := range []struct {
		name string
		code int
		args []string
		text string
	}{
		{"classify without labels", 2, []string{"classify", demo, "x.png"}, "--labels"},
		{"classify without pictures", 2, []string{"classify", demo, "--labels", "a"}, "pictures"},
		{"a template without a place", 2, []string{"classify", demo, "x.png", "--labels", "a", "--template", "a photo"}, "%s"},
		{"embed of nothing", 2, []string{"embed", demo, "-o", "y"}, "pictures or texts"},
		{"pooled texts", 2, []string{"embed", demo, "--text", "a", "--pooled", "-o", "y"}, "for pictures"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code, _, errText := runLine(t, tc.args...)
			require.Equal(t, tc.code, code)
			require.Contains(t, errText, tc.text)
		})
	}
	needBackend(t)
	model := siglipFolder(t)
	for _, tc := range []struct {
		name string
		args []string
		text string
	}{
		{"a model without a text tower", []string{"classify", demo, picture("dog.jpg"), "--labels", "a"}, "no text tower"},
		{"texts for a model without one", []string{"embed", demo, "--text", "a", "-o", filepath.Join(t.TempDir(), "y")}, "no text tower"},
		{"a text of nothing", []string{"embed", model, "--text", "!", "-o", filepath.Join(t.TempDir(), "y")}, "empty text"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code, out, errText := runLine(t, tc.args...)
			require.Equal(t, 1, code, errText)
			require.Empty(t, out)
			require.Contains(t, errText, tc.text)
		})
	}
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/internal/golden"
	"github.com/llama3v/llama3v/internal/testdevice"
	"github.com/llama3v/llama3v/model/llama"
	"github.com/llama3v/llama3v/model/load"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/tokenizer"
	"github.com/llama3v/llama3v/model/vlm"
	"github.com/llama3v/llama3v/model/weights"
)

const (
	llama3Pattern = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	template      = "{{ bos_token }}{{ messages[0].content }}"
)

// smallTokenizer is a tokenizer.json of Llama 3's kind: two special tokens, the bytes, and one merge.
func smallTokenizer(t *testing.T, change func(file map[string]any)) []byte {
	t.Helper()
	vocab := map[string]int{}
	spelled := map[int]rune{}
	next := 256
	for b := range 256 {
		spelled[b] = rune(b)
		if b < '!' || b > '~' && b < 0xA1 || b == 0xAD { // GPT-2's spelling of bytes that do not print
			spelled[b] = rune(next)
			next++
		}
		vocab[string(spelled[b])] = b + 2
	}
	vocab["ab"] = 258
	file := map[string]any{
		"version": "1.0", "decoder": map[string]any{"type": "ByteLevel"},
		"added_tokens": []map[string]any{
			{"id": 0, "content": "<|begin_of_text|>", "special": true}, {"id": 1, "content": "<|end_of_text|>", "special": true},
			{"id": 259, "content": "<tool>", "special": false},
		},
		"pre_tokenizer": map[string]any{"type": "Sequence", "pretokenizers": []map[string]any{
			{"type": "Split", "pattern": map[string]any{"Regex": llama3Pattern}, "behavior": "Isolated", "invert": false},
			{"type": "ByteLevel", "add_prefix_space": false, "use_regex": false},
		}},
		"post_processor": map[string]any{"type": "TemplateProcessing",
			"single":         []map[string]any{{"SpecialToken": map[string]any{"id": "<|begin_of_text|>"}}, {"Sequence": map[string]any{"id": "A"}}},
			"special_tokens": map[string]any{"<|begin_of_text|>": map[string]any{"ids": []int{0}}}},
		"model": map[string]any{"type": "BPE", "ignore_merges": true, "vocab": vocab, "merges": [][]string{{"a", "b"}}},
	}
	if change != nil {
		change(file)
	}
	data, err := json.Marshal(file)
	require.NoError(t, err)
	return data
}

// textModel is a golden model's folder with a tokenizer and a chat template.
func textModel(t *testing.T, name string, tokenizerFile []byte) string {
	t.Helper()
	dir := t.TempDir()
	from := filepath.Join(golden.Root(), "golden", "models", name)
	files, err := os.ReadDir(from)
	require.NoError(t, err)
	for _, f := range files {
		if ok, _ := filepath.Match("model*", f.Name()); ok || f.Name() == "config.json" || f.Name() == "generation_config.json" {
			require.NoError(t, copyFile(filepath.Join(dir, f.Name()), filepath.Join(from, f.Name())))
		}
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "tokenizer.json"), tokenizerFile, 0o666))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "chat_template.jinja"), []byte(template), 0o666))
	return dir
}

// score is the logits of some ids, of the model that c and cp are. It closes cp.
func score(t *testing.T, dev *ops.Device, c *vlm.Config, cp weights.Checkpoint) []float32 {
	t.Helper()
	defer func() { require.NoError(t, cp.Close()) }()
	l := load.New(dev, cp)
	m := vlm.Declare(l, c)
	unknown, err := l.Check()
	require.NoError(t, err)
	require.Empty(t, unknown)
	require.NoError(t, l.Load(context.Background()))
	r, err := llama.NewRunner(dev, m.Decoder, ops.F32, llama.Sizes{Positions: 128, Context: 128, PrefillRows: 100})
	require.NoError(t, err)
	ids := make([]int32, 90)
	for i := range ids {
		ids[i] = int32((i*i*7 + 3) % 290)
	}
	seq, err := r.Cache.Reserve(context.Background(), len(ids))
	require.NoError(t, err)
	defer seq.Close()
	logits, err := r.Score(dev, dev.Stream(), seq, ids, nil)
	require.NoError(t, err)
	require.Len(t, logits, len(ids)*c.Text.Vocab)
	return slices.Clone(logits)
}

func scoreFolder(t *testing.T, dev *ops.Device, dir string) []float32 {
	t.Helper()
	c, err := vlm.ReadConfig(os.DirFS(dir))
	require.NoError(t, err)
	cp, err := weights.Open(os.DirFS(dir))
	require.NoError(t, err)
	return score(t, dev, c, cp)
}

func scoreGGUF(t *testing.T, dev *ops.Device, path string) []float32 {
	t.Helper()
	g, err := weights.OpenGGUF(os.DirFS(filepath.Dir(path)), filepath.Base(path))
	require.NoError(t, err)
	c, cp, err := vlm.ReadGGUF(g)
	require.NoError(t, err)
	return score(t, dev, c, cp)
}

// TestFolderToGGUF: in F32 the file is the same model, bit for bit; in Q8_0 close to it.
func TestFolderToGGUF(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		for _, tc := range []struct {
			name, why string
			blocks    bool // rows that blocks of 32 fill
		}{
			{"llama3_gqa", "shards, and fewer key heads than query heads", true},
			{"llama31_rope", "scaled frequencies become factors", false},
			{"llama32_rope", "tied: there is no output matrix; heads are wider than hidden/heads", true},
		} {
			t.Run(tc.name, func(t *testing.T) {
				dir := textModel(t, tc.name, smallTokenizer(t, nil))
				want := scoreFolder(t, dev, dir)
				path := filepath.Join(t.TempDir(), "f32.gguf")
				require.NoError(t, quantize(context.Background(), io.Discard, dir, path, weights.F32))
				require.Equal(t, want, scoreGGUF(t, dev, path), tc.why)

				small := filepath.Join(t.TempDir(), "q8_0.gguf")
				require.NoError(t, quantize(context.Background(), io.Discard, dir, small, weights.Q8_0))
				if !tc.blocks {
					require.Equal(t, want, scoreGGUF(t, dev, small), "no row fits: every type stays")
					return
				}
				again := filepath.Join(t.TempDir(), "again.gguf")
				require.NoError(t, quantize(context.Background(), io.Discard, small, again, weights.F32))
				require.Less(t, golden.NMSE(scoreGGUF(t, dev, small), scoreGGUF(t, dev, again)), 1e-9, "blocks written out as numbers")
				nmse := golden.NMSE(scoreGGUF(t, dev, small), want)
				t.Logf("Q8_0: normalised error of logits %.1e", nmse)
				require.Positive(t, nmse)
				require.Less(t, nmse, 5e-3) // of random weights; rows in a wrong order give about 1
			})
		}
	})
}

func TestFolderToGGUFKeepsTokenizerAndTemplate(t *testing.T) {
	data := smallTokenizer(t, nil)
	dir := textModel(t, "llama32_rope", data)
	path := filepath.Join(t.TempDir(), "out.gguf")
	var out bytes.Buffer
	require.NoError(t, quantize(context.Background(), &out, dir, path, weights.BF16))
	g, err := weights.OpenGGUF(os.DirFS(filepath.Dir(path)), "out.gguf")
	require.NoError(t, err)
	defer g.Close()
	for key, want := range map[string]any{
		"general.file_type": uint32(32), "tokenizer.ggml.pre": "llama-bpe", "tokenizer.chat_template": template,
		"tokenizer.ggml.add_bos_token": true, "tokenizer.ggml.bos_token_id": uint32(0), "tokenizer.ggml.eos_token_id": uint32(1),
	} {
		require.EqualValues(t, want, g.Metadata().Value(key), key)
	}
	for name, want := range map[string]weights.DType{
		"token_embd.weight": weights.BF16, "output_norm.weight": weights.F32, "blk.1.attn_q.weight": weights.BF16, "rope_freqs.weight": weights.F32,
	} {
		info, err := g.Tensor(name)
		require.NoError(t, err)
		require.Equal(t, want, info.DType, name)
	}
	require.False(t, g.Has("output.weight"), "tied")
	c, _, err := vlm.ReadGGUF(g)
	require.NoError(t, err)
	folder, err := vlm.ReadConfig(os.DirFS(dir))
	require.NoError(t, err)
	require.Equal(t, folder.EOS, c.EOS)
	require.Equal(t, folder.BOS, c.BOS)
	got, err := vlm.ReadGGUFTokenizer(g, c)
	require.NoError(t, err)
	want, err := tokenizer.Parse(data)
	require.NoError(t, err)
	for _, text := range []string{"abab cab 12345", "é\n\n x<tool>y", "<|end_of_text|>"} {
		a, err := want.Encode(text)
		require.NoError(t, err)
		b, err := got.Encode(text)
		require.NoError(t, err)
		require.Equal(t, a, b, text)
	}
	require.Equal(t, c.Text.Vocab, got.VocabSize(), "rows without a token have a filler")
	require.Equal(t, want.PostProcessorPrefix(), got.PostProcessorPrefix())
}

func TestFolderToGGUFRefuses(t *testing.T) {
	model := func(file map[string]any) map[string]any { return file["model"].(map[string]any) }
	for name, tc := range map[string]struct {
		change func(file map[string]any)
		want   error
	}{
		"a splitting rule that no name stands for": {func(file map[string]any) {
			file["pre_tokenizer"] = map[string]any{"type": "ByteLevel", "add_prefix_space": false, "use_regex": true}
		}, tokenizer.ErrUnsupported},
		"a known rule with merges of another kind": {func(file map[string]any) { model(file)["ignore_merges"] = false }, tokenizer.ErrUnsupported},
		"another kind of tokenizer":                {func(file map[string]any) { model(file)["type"] = "Unigram" }, tokenizer.ErrUnsupported},
		"more tokens than the table has rows": {func(file map[string]any) {
			file["added_tokens"] = []map[string]any{{"id": 400, "content": "<x>", "special": true}}
		}, tokenizer.ErrFormat},
	} {
		t.Run(name, func(t *testing.T) {
			dir := textModel(t, "llama32_rope", smallTokenizer(t, tc.change))
			path := filepath.Join(t.TempDir(), "out.gguf")
			require.ErrorIs(t, quantize(context.Background(), io.Discard, dir, path, weights.F32), tc.want)
			require.NoFileExists(t, path)
		})
	}
	var family *vlm.FamilyError
	llava := filepath.Join(golden.Root(), "golden", "models", "llava_siglip")
	require.ErrorAs(t, quantize(context.Background(), io.Discard, llava, filepath.Join(t.TempDir(), "out.gguf"), weights.F32), &family)
}

func TestConvertSafetensors(t *testing.T) {
	dir := textModel(t, "llama3_gqa", smallTokenizer(t, nil))
	to := filepath.Join(t.TempDir(), "f16")
	require.NoError(t, quantize(context.Background(), io.Discard, dir, to, weights.F16))
	files, err := os.ReadDir(to)
	require.NoError(t, err)
	names := map[string]bool{}
	for _, f := range files {
		names[f.Name()] = true
	}
	require.Equal(t, []string{"chat_template.jinja", "config.json", "generation_config.json", "model.safetensors", "tokenizer.json"},
		slices.Sorted(maps.Keys(names)), "the index of the old shards does not hold any more")
	was, err := weights.Open(os.DirFS(dir))
	require.NoError(t, err)
	defer was.Close()
	is, err := weights.Open(os.DirFS(to))
	require.NoError(t, err)
	defer is.Close()
	require.Equal(t, was.Names(), is.Names())
	for _, name := range was.Names() {
		before, err := was.Tensor(name)
		require.NoError(t, err)
		after, err := is.Tensor(name)
		require.NoError(t, err)
		want, err := weights.ReadFloat32(was, name)
		require.NoError(t, err)
		if len(before.Shape) == 1 {
			require.Equal(t, before.DType, after.DType, "%s is no matrix", name)
		} else {
			require.Equal(t, weights.F16, after.DType, name)
			for i, v := range want {
				want[i] = weights.Float16ToFloat32(weights.Float32ToFloat16(v))
			}
		}
		got, err := weights.ReadFloat32(is, name)
		require.NoError(t, err)
		require.Equal(t, want, got, name)
	}

	ctx, in := context.Background(), filepath.Join(to, "model.safetensors")
	one := filepath.Join(t.TempDir(), "one.safetensors")
	require.NoError(t, quantize(ctx, io.Discard, in, one, weights.F32))
	cp, err := weights.OpenSafetensorsFile(os.DirFS(filepath.Dir(one)), "one.safetensors")
	require.NoError(t, err)
	defer cp.Close()
	info, err := cp.Tensor("model.embed_tokens.weight")
	require.NoError(t, err)
	require.Equal(t, weights.F32, info.DType)

	require.ErrorIs(t, quantize(ctx, io.Discard, dir, to, weights.F16), fs.ErrExist, "a folder that is there is left alone")
	require.ErrorContains(t, quantize(ctx, io.Discard, dir, to+"2", weights.Q4_K), "write a .gguf file")
	require.ErrorIs(t, quantize(ctx, io.Discard, dir, to+"2", weights.Q4_K), errUsage)
	require.ErrorIs(t, quantize(ctx, io.Discard, in, to+".gguf", weights.F16), errUsage, "there is no config")
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	require.ErrorIs(t, quantize(cancelled, io.Discard, dir, to+"3", weights.F16), context.Canceled)
	left, err := os.ReadDir(filepath.Dir(to))
	require.NoError(t, err)
	require.Len(t, left, 1, "nothing half done stays")
}

func TestConversionRefusesInfinities(t *testing.T) {
	file := filepath.Join(t.TempDir(), "in.safetensors")
	data := make([]byte, 8)
	require.NoError(t, weights.FromFloat32(data, []float32{1, 1e5}, weights.F32))
	require.NoError(t, weights.WriteFile(file, []weights.Tensor{{Name: "a.weight", DType: weights.F32, Shape: []int{2, 1}, Data: data}}, nil))
	to := file + ".out.safetensors"
	err := quantize(context.Background(), io.Discard, file, to, weights.F16)
	var fault *weights.ValueError
	require.ErrorAs(t, err, &fault)
	require.Equal(t, weights.ValueError{Tensor: "a.weight", Row: 1, Value: 1e5, DType: weights.F16}, *fault)
	require.NoFileExists(t, to)
	require.NoError(t, quantize(context.Background(), io.Discard, file, to, weights.BF16))

	require.NoError(t, weights.FromFloat32(data, []float32{1, float32(math.Inf(1))}, weights.F32))
	require.NoError(t, weights.WriteFile(file, []weights.Tensor{{Name: "a.weight", DType: weights.F32, Shape: []int{2, 1}, Data: data}}, nil))
	require.NoError(t, quantize(context.Background(), io.Discard, file, to, weights.F16), "what is infinite stays so")
}

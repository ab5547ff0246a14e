package vlm_test

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/binding"
	"github.com/llama3v/llama3v/internal/golden"
	"github.com/llama3v/llama3v/internal/need"
	"github.com/llama3v/llama3v/internal/testdevice"
	"github.com/llama3v/llama3v/model/chat"
	"github.com/llama3v/llama3v/model/llama"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/tokenizer"
	"github.com/llama3v/llama3v/model/vlm"
	"github.com/llama3v/llama3v/model/weights"
)

// smolLM2 is the folder and name of SmolLM2-135M-Instruct, Q4_1.
func smolLM2(t *testing.T) (folder, name string) {
	t.Helper()
	if testing.Short() {
		t.Skip("the real model takes a minute")
	}
	path := os.Getenv("LLAMA3V_SMOLLM2")
	if path == "" {
		path = filepath.Join(golden.Root(), "..", "build", "fetched", "smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")
	}
	if _, err := os.Stat(path); err != nil {
		need.Missing(t, "smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf; tools/fetch-smollm2.sh fetches it (LLAMA3V_SMOLLM2 names another place)")
	}
	return filepath.Dir(path), filepath.Base(path)
}

type smolLM2Prompt struct {
	ID       string `json:"id"`
	Messages []struct {
		Role    string `json:"role"`
		Content string `json:"content"`
	} `json:"messages"`
	Text    string       `json:"text"`
	IDs     []int32      `json:"prompt_ids"`
	Top     [][2]float64 `json:"hf_top20"`
	Greedy  []int32      `json:"hf_greedy"`
	Margins []float64    `json:"hf_margin"`
}

// TestSmolLM2: a real model, answer by answer and logit by logit as transformers runs it in float32 on
// the dequantised weights.
func TestSmolLM2(t *testing.T) {
	const tolerance, least = 5e-4, 1e-3 // of logits; the margin below which two implementations may part
	folder, name := smolLM2(t)
	var expected struct{ Prompts []smolLM2Prompt }
	readJSON(t, filepath.Join(golden.Root(), "golden", "smollm2", "expected.json"), &expected)
	require.Len(t, expected.Prompts, 9)

	dev := testdevice.CPU(t, binding.ContextOptions{})
	m := openGGUF(t, dev, os.DirFS(folder), name)
	require.Equal(t, int32(-1), m.Config.BOS, "P45: SmolLM2 adds no start token")
	tok, template := smolLM2Text(t, folder, name)
	r, err := llama.NewRunner(dev, m.Decoder, ops.F32, llama.Sizes{Positions: 1600, Context: 1600, PrefillRows: 512})
	require.NoError(t, err)
	s := dev.Stream()
	for _, p := range expected.Prompts {
		t.Run(p.ID, func(t *testing.T) {
			if p.Messages == nil {
				ids, err := tok.Encode(p.Text)
				require.NoError(t, err)
				require.Equal(t, p.IDs, ids)
			} else { // the text holds special tokens, which text never becomes
				var messages []chat.Message
				for _, m := range p.Messages {
					messages = append(messages, chat.Text(m.Role, m.Content))
				}
				prompt, err := template.Render(messages, chat.Options{AddGenerationPrompt: true})
				require.NoError(t, err)
				ids, err := prompt.Encode(tok)
				require.NoError(t, err)
				require.Equal(t, p.IDs, ids)
			}
			seq, err := r.Cache.Reserve(context.Background(), len(p.IDs)+len(p.Greedy))
			require.NoError(t, err)
			defer seq.Close()
			requireGreedy(t, r, s, seq, p.IDs, p.Greedy, p.Margins, least)
			seq.Close()

			seq, err = r.Cache.Reserve(context.Background(), len(p.IDs))
			require.NoError(t, err)
			defer seq.Close()
			for rest := p.IDs; len(rest) > 0; {
				chunk := rest[:min(len(rest), r.PrefillRows())]
				rest = rest[len(chunk):]
				_, err := r.Prefill(s, seq, chunk, nil, len(rest) == 0)
				require.NoError(t, err)
			}
			logits, err := r.Logits(false)
			require.NoError(t, err)
			worst := 0.0
			for _, top := range p.Top {
				worst = max(worst, math.Abs(float64(logits[int(top[0])])-top[1]))
			}
			t.Logf("largest difference among the reference's 20 largest logits: %.1e", worst)
			require.LessOrEqual(t, worst, tolerance)
		})
	}
}

// smolLM2Text is the tokenizer and the chat template in the file.
func smolLM2Text(t *testing.T, folder, name string) (*tokenizer.BPE, *chat.Template) {
	t.Helper()
	g, err := weights.OpenGGUF(os.DirFS(folder), name)
	require.NoError(t, err)
	defer g.Close()
	c, _, err := vlm.ReadGGUF(g)
	require.NoError(t, err)
	tok, err := vlm.ReadGGUFTokenizer(g, c)
	require.NoError(t, err)
	template, err := vlm.ReadGGUFTemplate(g, c, tok)
	require.NoError(t, err)
	return tok, template
}

// TestSmolLM2Int8: int8 activations change perplexity on 1,500 tokens by less than half a percent.
func TestSmolLM2Int8(t *testing.T) {
	folder, name := smolLM2(t)
	var expected struct{ Prompts []smolLM2Prompt }
	readJSON(t, filepath.Join(golden.Root(), "golden", "smollm2", "expected.json"), &expected)
	long := expected.Prompts[len(expected.Prompts)-1]
	require.Len(t, long.IDs, 1500)

	dev := testdevice.CPU(t, binding.ContextOptions{})
	m := openGGUF(t, dev, os.DirFS(folder), name)
	perplexity := func(compute ops.DType) float64 {
		r, err := llama.NewRunner(dev, m.Decoder, compute, llama.Sizes{Positions: 1536, Context: 1536, PrefillRows: 256})
		require.NoError(t, err)
		s := dev.Stream()
		s.Compute = compute
		seq, err := r.Cache.Reserve(context.Background(), len(long.IDs))
		require.NoError(t, err)
		defer seq.Close()
		sum, vocab := 0.0, m.Config.Text.Vocab
		for at := 0; at < len(long.IDs); at += r.PrefillRows() {
			chunk := long.IDs[at:min(at+r.PrefillRows(), len(long.IDs))]
			logits, err := r.Score(dev, s, seq, chunk, nil)
			require.NoError(t, err)
			for i := range chunk {
				if next := at + i + 1; next < len(long.IDs) {
					sum += surprise(logits[i*vocab:(i+1)*vocab], long.IDs[next])
				}
			}
		}
		return math.Exp(sum / float64(len(long.IDs)-1))
	}
	exact, int8 := perplexity(ops.F32), perplexity(ops.I8)
	t.Logf("perplexity: f32 %.4f, int8 %.4f (%+.2f %%)", exact, int8, 100*(int8/exact-1))
	require.InEpsilon(t, exact, int8, 0.005)
}

// surprise is -log of the probability that logits give id.
func surprise(logits []float32, id int32) float64 {
	top := float64(logits[0])
	for _, l := range logits {
		top = max(top, float64(l))
	}
	sum := 0.0
	for _, l := range logits {
		sum += math.Exp(float64(l) - top)
	}
	return math.Log(sum) + top - float64(logits[id])
}

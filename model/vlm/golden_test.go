package vlm_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/internal/golden"
	"github.com/llama3v/llama3v/internal/testdevice"
	"github.com/llama3v/llama3v/model/llama"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/siglip"
	"github.com/llama3v/llama3v/model/vlm"
)

// The bound of the reference cases: float32 against float32 stays far below it, and every mistake
// their README lists lies above. Long scaled rotary positions amplify the rounding of the angles. A
// small probability's relative error is the absolute one of its logit: the rounding of a cosine, 1e-7,
// times the scale of 114.
const (
	bound      = 1e-10
	ropeBound  = 2e-10
	probsBound = 5e-10
)

// eachCase runs f for every case on every device: "siglip_full/cpu".
func eachCase(t *testing.T, names []string, f func(t *testing.T, dev *ops.Device, c *golden.Case)) {
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			testdevice.Each(t, func(t *testing.T, dev *ops.Device) { f(t, dev, golden.Open(t, name)) })
		})
	}
}

// eachCaseInBatches is eachCase in contexts whose results never depend on what else is in a batch.
func eachCaseInBatches(t *testing.T, names []string, f func(t *testing.T, dev *ops.Device, c *golden.Case)) {
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			testdevice.EachInvariant(t, func(t *testing.T, dev *ops.Device) { f(t, dev, golden.Open(t, name)) })
		})
	}
}

// openCase loads a case's model on a device, with taps going to the returned map.
func openCase(t *testing.T, dev *ops.Device, c *golden.Case) (*vlm.Model, *ops.Stream, tapped) {
	t.Helper()
	config, err := vlm.ReadConfig(c.FS)
	require.NoError(t, err)
	return openConfig(t, dev, c, config)
}

// openConfig is openCase with a config that differs from the file.
func openConfig(t *testing.T, dev *ops.Device, c *golden.Case, config *vlm.Config) (*vlm.Model, *ops.Stream, tapped) {
	t.Helper()
	m, unknown, err := tryOpenConfig(t, dev, c.FS, config)
	require.NoError(t, err)
	require.Empty(t, unknown)
	s := dev.Stream()
	taps := tapped{}
	s.SetTap(func(name string, _, _ int, data []float32) { taps[name] = data })
	return m, s, taps
}

// tapped collects what the forward pass shows on its way.
type tapped map[string][]float32

func TestGoldenSigLIP(t *testing.T) {
	eachCaseInBatches(t, []string{"siglip_full"}, func(t *testing.T, dev *ops.Device, c *golden.Case) {
		m, s, taps := openCase(t, dev, c)
		pixels, shape := c.Input("pixel_values")
		e, err := siglip.NewEncoder(dev, m.Tower, shape[0], shape[2], shape[3])
		require.NoError(t, err)
		pooled := e.Forward(s, pixels, m.Config.Vision.Pooled())
		require.NoError(t, s.Wait())
		got, err := pooled.ReadFloat32()
		require.NoError(t, err)
		c.Near(t, "vision.patch", patches(t, dev, s, m.Tower, pixels, shape), bound)
		for k := range m.Config.Vision.Layers + 1 {
			name := fmt.Sprintf("vision.hidden.%d", k)
			c.Near(t, name, taps[name], bound)
		}
		c.Near(t, "vision.last_hidden_state", taps["vision.last_hidden_state"], bound)
		c.Near(t, "vision.pooler_output", got, bound)
		c.Near(t, "image_embeds", normalised(got, m.Config.Vision.Dim), bound)
		checkTexts(t, dev, c, m, s, taps, got)
	})
}

// checkTexts is the text half of the case, and the scores of its pictures and texts.
func checkTexts(t *testing.T, dev *ops.Device, c *golden.Case, m *vlm.Model, s *ops.Stream, taps tapped, pictures []float32) {
	t.Helper()
	ids := c.InputInts("input_ids")
	text := m.Config.Words
	texts := len(ids) / text.Length
	reader, err := vlm.NewReader(dev, m.Words, texts)
	require.NoError(t, err)
	got, err := reader.Embed(s, ids)
	require.NoError(t, err)
	for k := range text.Layers + 1 {
		name := fmt.Sprintf("text.hidden.%d", k)
		c.Near(t, name, taps[name], bound)
	}
	c.Near(t, "text.last_hidden_state", taps["text.last_hidden_state"], bound)
	c.Near(t, "text.pooler_output", got, bound)
	c.Near(t, "text_embeds", normalised(got, text.Out), bound)

	scale, bias := reader.Score()
	scores, err := siglip.Compare(pictures, got, text.Out, scale, bias)
	require.NoError(t, err)
	c.Near(t, "logits_per_image", scores.Logits, bound)
	c.Near(t, "probs", scores.Probs, probsBound)

	// A text's embedding does not depend on the others, to the last bit.
	for i := range texts {
		alone, err := reader.Embed(s, ids[i*text.Length:][:text.Length])
		require.NoError(t, err)
		require.Equal(t, got[i*text.Out:][:text.Out], alone, "text %d by itself", i)
	}
}

func TestGoldenSigLIPVision(t *testing.T) {
	eachCase(t, []string{"siglip_vision_16"}, func(t *testing.T, dev *ops.Device, c *golden.Case) {
		m, s, taps := openCase(t, dev, c)
		for _, part := range []string{"square", "other.0", "other.1"} { // the others have sizes of their own
			pixels, shape := c.Input(part + ".pixel_values")
			e, err := siglip.NewEncoder(dev, m.Tower, shape[0], shape[2], shape[3])
			require.NoError(t, err)
			e.Forward(s, pixels, m.Config.Vision.Pooled())
			require.NoError(t, s.Wait())
			for k := range m.Config.Vision.Layers + 1 {
				c.Near(t, fmt.Sprintf("%s.hidden.%d", part, k), taps[fmt.Sprintf("vision.hidden.%d", k)], bound)
			}
			c.Near(t, part+".last_hidden_state", taps["vision.last_hidden_state"], bound)
			c.Near(t, part+".pooler_output", taps["vision.pooler_output"], bound)
		}
	})
}

// patches is the patch convolution without the positions, which the tower never shows by itself.
func patches(t *testing.T, dev *ops.Device, s *ops.Stream, tower *siglip.Tower, pixels []float32, shape []int) []float32 {
	t.Helper()
	x, err := dev.FromFloat32(pixels, shape[0]*shape[1]*shape[2], shape[3])
	require.NoError(t, err)
	out, err := dev.NewTensor(ops.F32, shape[0]*tower.Config.Patches(), tower.Config.Dim)
	require.NoError(t, err)
	s.PatchEmbed(out, x, ops.PatchEmbed{Linear: tower.Patch,
		Images: shape[0], Channels: shape[1], Height: shape[2], Width: shape[3], Patch: tower.Config.Patch})
	require.NoError(t, s.Wait())
	got, err := out.ReadFloat32()
	require.NoError(t, err)
	return got
}

func TestGoldenLlama(t *testing.T) {
	eachCase(t, []string{"llama3_gqa", "llama31_rope", "llama32_rope"}, func(t *testing.T, dev *ops.Device, c *golden.Case) {
		limit := bound
		if c.Name == "llama31_rope" {
			limit = ropeBound
		}
		m, s, taps := openCase(t, dev, c)
		c.Near(t, "rope.inv_freq", m.Config.Text.Frequencies(), 1e-13)
		checkPrompts(t, dev, c, m, s, taps, nil, -1, limit)
	})
}

func TestGoldenLlama3V(t *testing.T) {
	eachCase(t, []string{"llama3v_sa2", "llama3v_sa2_attn"}, func(t *testing.T, dev *ops.Device, c *golden.Case) {
		m, s, taps := openCase(t, dev, c)
		pixels, shape := c.Input("pixel_values")
		eye, err := vlm.NewEye(dev, m, shape[0])
		require.NoError(t, err)
		features, err := eye.Features(s, pixels, m.Config.Features)
		require.NoError(t, err)
		c.Near(t, "features", features.Data, bound)
		projected, err := eye.Project(s, pixels)
		require.NoError(t, err)
		for _, step := range []string{"projector.in_proj", "projector.block.0", "projector.block.1", "projector.norm"} {
			c.Near(t, step, taps[step], bound)
		}
		c.Near(t, "projected", projected.Data, bound)
		checkPrompts(t, dev, c, m, s, taps, projected, m.Config.ImageToken, bound)
	})
}

// checkPrompts runs every prompt of a case: logits of all positions, hidden states where the case
// has them, then 24 greedy tokens with their logits through the captured step.
func checkPrompts(t *testing.T, dev *ops.Device, c *golden.Case, m *vlm.Model, s *ops.Stream, taps tapped, seen *vlm.Seen, image int32, limit float64) {
	t.Helper()
	const new = 24
	sizes := llama.Sizes{Positions: 256, Context: 256, PrefillRows: 200}
	r, err := llama.NewRunner(dev, m.Decoder, ops.F32, sizes)
	require.NoError(t, err)
	for k, prompt := range c.Prompts() {
		ids, rows := expand(prompt, image, seen)
		want := func(what string) string { return fmt.Sprintf("prompt.%d.%s", k, what) }

		seq, err := r.Cache.Reserve(context.Background(), len(ids)+new)
		require.NoError(t, err)
		logits, err := r.Score(dev, s, seq, ids, rows)
		require.NoError(t, err)
		c.Near(t, want("logits"), logits, limit)
		if c.Has(want("final_norm")) {
			c.Near(t, want("final_norm"), taps["final_norm"], limit)
			for layer := range m.Config.Text.Layers + 1 {
				c.Near(t, want(fmt.Sprintf("hidden.%d", layer)), taps[fmt.Sprintf("hidden.%d", layer)], limit)
			}
		}
		seq.Close()

		seq, err = r.Cache.Reserve(context.Background(), len(ids)+new)
		require.NoError(t, err)
		next, err := r.Prefill(s, seq, ids, rows, true)
		require.NoError(t, err)
		greedy := []int32{next}
		all, err := r.Logits(false)
		require.NoError(t, err)
		for len(greedy) < new {
			next, err = r.Decode(seq, next)
			require.NoError(t, err)
			greedy = append(greedy, next)
			step, err := r.Logits(true)
			require.NoError(t, err)
			all = append(all, step...)
		}
		seq.Close()
		require.Equal(t, prompt.Greedy, greedy, "%s: greedy ids", prompt.Name)
		c.Near(t, fmt.Sprintf("greedy.%d.logits", k), all, limit)
	}
}

// expand puts as many slots in place of each image id as its picture has rows.
func expand(p golden.Prompt, image int32, seen *vlm.Seen) (ids []int32, rows []float32) {
	picture := 0
	for _, id := range p.IDs {
		if id != image || seen == nil {
			ids = append(ids, id)
			continue
		}
		size := seen.Tokens * seen.Dim
		rows = append(rows, seen.Data[p.Images[picture]*size:][:size]...)
		for range seen.Tokens {
			ids = append(ids, llama.Slot)
		}
		picture++
	}
	return ids, rows
}

func normalised(rows []float32, dim int) []float32 {
	out := make([]float32, len(rows))
	for at := 0; at < len(rows); at += dim {
		norm := golden.Norm(rows[at : at+dim])
		for i := range dim {
			out[at+i] = float32(float64(rows[at+i]) / norm)
		}
	}
	return out
}

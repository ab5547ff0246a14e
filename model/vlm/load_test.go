package vlm_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/binding"
	"github.com/llama3v/llama3v/internal/golden"
	"github.com/llama3v/llama3v/internal/testdevice"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/weights"
)

// P29, P30, P26: what is wrong with a checkpoint is known before a weight is read, with names,
// numbers and files.
func TestCheckpointsThatDoNotFit(t *testing.T) {
	dev := testdevice.CPU(t, binding.ContextOptions{Threads: 1})
	const embed = "language_model.model.embed_tokens.weight"
	for _, tc := range []struct {
		name   string
		change func(m *golden.Model)
		is     []error
		text   []string
	}{
		{"P29: a decoder of another width", func(m *golden.Model) { m.Set(192, "text_config", "hidden_size").Set(64, "text_config", "head_dim") },
			[]error{ops.ErrShape}, []string{"projector.out_proj.weight in model.safetensors is [128 80], the config makes it [192 80]", embed + " in model.safetensors is [331 128]"}},
		{"P29: a projector for another tower", func(m *golden.Model) { m.Random(t, 0, 1, "projector.in_proj.weight", 80, 100) },
			[]error{ops.ErrShape}, []string{"projector.in_proj.weight in model.safetensors is [80 100], the config makes it [80 144]"}},
		{"P29: a projector of another width", func(m *golden.Model) { m.Set(96, "projector_config", "width") },
			[]error{ops.ErrShape}, []string{"projector.in_proj.weight in model.safetensors is [80 144], the config makes it [96 144]"}},
		{"a weight stored transposed", func(m *golden.Model) {
			w := m.Values(t, "projector.in_proj.weight")
			m.Put(t, "projector.in_proj.weight", weights.F32, w, 144, 80)
		}, []error{ops.ErrShape}, []string{"is [144 80], the config makes it [80 144]"}},
		{"another number of patches", func(m *golden.Model) { m.Set(84, "vision_config", "image_size") },
			[]error{ops.ErrShape}, []string{"position_embedding.weight in model.safetensors is [25 144], the config makes it [36 144]"}},
		{"a smaller vocabulary", func(m *golden.Model) { m.Set(330, "text_config", "vocab_size") },
			[]error{ops.ErrShape}, []string{"lm_head.weight", "[331 128]", "[330 128]"}},
		{"P30: several tensors are missing", func(m *golden.Model) {
			m.Remove(t, "projector.blocks.1.norm2.bias", "language_model.lm_head.weight", "vision_tower.vision_model.post_layernorm.weight")
		}, []error{weights.ErrMissingTensor}, []string{"projector.blocks.1.norm2.bias", "language_model.lm_head.weight", "vision_tower.vision_model.post_layernorm.weight"}},
		{"P30: one more layer in the config than in the file", func(m *golden.Model) { m.Set(3, "text_config", "num_hidden_layers") },
			[]error{weights.ErrMissingTensor}, []string{"layers.2.self_attn.q_proj.weight", "layers.2.mlp.down_proj.weight"}},
		{"missing, wrong and unknown at once", func(m *golden.Model) {
			m.Rename(t, "projector.norm.bias", "projector.norm.offset").Random(t, 0, 1, embed, 331, 64)
		}, []error{weights.ErrMissingTensor, ops.ErrShape}, []string{"projector.norm.bias", embed, "[331 64]"}},
		{"P76: a type that nothing converts", func(m *golden.Model) {
			tensor := m.Tensors[embed]
			tensor.DType, tensor.Data = weights.F8E4M3, tensor.Data[:331*128]
			m.Tensors[embed] = tensor
		}, []error{weights.ErrUnsupportedDType}, []string{embed, "F8_E4M3"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := golden.Open(t, "llama3v_sa2").Model()
			tc.change(m)
			_, _, err := tryOpen(t, dev, m.FS(t))
			for _, want := range tc.is {
				require.ErrorIs(t, err, want)
			}
			for _, text := range tc.text {
				require.ErrorContains(t, err, text)
			}
		})
	}
	counters, err := dev.Counters()
	require.NoError(t, err)
	require.Zero(t, counters.Allocations, "nothing was read for any of them")
}

// P26, P39: leftovers that are known are ignored by name, everything else is reported and no error.
func TestTensorsThatNothingAskedFor(t *testing.T) {
	dev := testdevice.CPU(t, binding.ContextOptions{Threads: 1})
	m := golden.Open(t, "llama3v_sa2").Model()
	for _, name := range []string{"language_model.model.layers.0.self_attn.rotary_emb.inv_freq", "vision_tower.vision_model.embeddings.position_ids",
		"language_model.model.layers.2.input_layernorm.weight", "projector.blocks.2.norm1.weight", "visual.proj"} {
		m.Random(t, 0, 1, name, 3)
	}
	_, unknown, err := tryOpen(t, dev, m.FS(t))
	require.NoError(t, err)
	require.Equal(t, []string{"language_model.model.layers.2.input_layernorm.weight", "projector.blocks.2.norm1.weight", "visual.proj"}, unknown)

	m = golden.Open(t, "llama3v_sa2_attn").Model()
	m.Random(t, 0, 1, "language_model.lm_head.weight", 217, 128)
	_, unknown, err = tryOpen(t, dev, m.FS(t))
	require.NoError(t, err)
	require.Empty(t, unknown, "P39: tied models may carry the table twice")
}

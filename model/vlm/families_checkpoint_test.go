package vlm_test

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/binding"
	"github.com/llama3v/llama3v/internal/golden"
	"github.com/llama3v/llama3v/internal/testdevice"
	"github.com/llama3v/llama3v/model/llama"
	"github.com/llama3v/llama3v/model/load"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/siglip"
	"github.com/llama3v/llama3v/model/vlm"
	"github.com/llama3v/llama3v/model/weights"
)

// viewsOf are a case's pictures, tiles or slices as its family takes them.
func viewsOf(t *testing.T, c *golden.Case) []siglip.View {
	t.Helper()
	switch c.Name {
	case "idefics3":
		return tiles(t, c)
	case "minicpmv25":
		return slicesOf(c)
	}
	pixels, shape := c.Input("pixel_values")
	views := make([]siglip.View, shape[0])
	size := shape[1] * shape[2] * shape[3]
	for i := range views {
		views[i] = siglip.View{Pixels: pixels[i*size:][:size], Height: shape[2], Width: shape[3]}
	}
	return views
}

// pictured are the families that look at pictures, by their cases, with the id of a slot.
var pictured = []string{"llama3v_sa2", "llava_siglip", "llava_clip", "idefics3", "minicpmv25"}

func slotID(c *golden.Case, m *vlm.Model) int32 {
	if m.Config.ImageToken >= 0 {
		return m.Config.ImageToken
	}
	var inputs struct{ Special struct{ Unk int32 } } // minicpmv25: the tokenizer's
	c.JSON("inputs.json", &inputs)
	return inputs.Special.Unk
}

// P15: in every family a changed picture, tile or slice, and two in another order, change the logits;
// the same ones do not.
func TestPixelsMatter(t *testing.T) {
	eachCase(t, pictured, func(t *testing.T, dev *ops.Device, c *golden.Case) {
		m, s := open(t, dev, c.FS), dev.Stream()
		views := viewsOf(t, c)
		e := eye(t, dev, m, len(views))
		r, err := llama.NewRunner(dev, m.Decoder, ops.F32, llama.Sizes{Positions: 128, Context: 128, PrefillRows: 128})
		require.NoError(t, err)
		prompts := c.Prompts()
		prompt := prompts[slices.IndexFunc(prompts, func(p golden.Prompt) bool { return len(p.Images) > 1 })]
		logits := func(views []siglip.View) []float32 {
			seen, err := e.ProjectViews(s, views)
			require.NoError(t, err)
			require.Equal(t, m.PictureTokens(), seen.Tokens)
			ids, rows := expand(prompt, slotID(c, m), seen)
			require.Len(t, ids, len(prompt.IDs)+len(prompt.Images)*(seen.Tokens-1), "slots")
			seq, err := r.Cache.Reserve(context.Background(), len(ids))
			require.NoError(t, err)
			defer seq.Close()
			all, err := r.Score(dev, s, seq, ids, rows)
			require.NoError(t, err)
			return all
		}
		want := logits(views)
		require.Equal(t, want, logits(views))
		for _, changed := range prompt.Images {
			other := slices.Clone(views)
			other[changed].Pixels = slices.Clone(views[changed].Pixels)
			other[changed].Pixels[len(other[changed].Pixels)/2] += 1
			require.NotEqual(t, want, logits(other), "view %d", changed)
		}
		swapped := slices.Clone(views)
		swapped[prompt.Images[0]], swapped[prompt.Images[1]] = views[prompt.Images[1]], views[prompt.Images[0]]
		require.NotEqual(t, want, logits(swapped))
	})
}

// A view's rows are the same bits alone and beside others, in any order.
func TestViewsStayApart(t *testing.T) {
	eachCase(t, pictured, func(t *testing.T, dev *ops.Device, c *golden.Case) {
		m, s := open(t, dev, c.FS), dev.Stream()
		views := viewsOf(t, c)
		e := eye(t, dev, m, len(views))
		all, err := e.ProjectViews(s, views)
		require.NoError(t, err)
		size := all.Tokens * all.Dim
		for k := range views {
			one, err := e.ProjectViews(s, views[k:k+1])
			require.NoError(t, err)
			require.Equal(t, all.Data[k*size:][:size], one.Data)
		}
		slices.Reverse(views)
		turned, err := e.ProjectViews(s, views)
		require.NoError(t, err)
		for k := range views {
			require.Equal(t, all.Data[(len(views)-1-k)*size:][:size], turned.Data[k*size:][:size])
		}
		last, err := e.ViewFeatures(s, views, m.Config.Vision.LastHidden())
		require.NoError(t, err)
		require.Len(t, last.Rows, len(views))
		sum := 0
		for _, n := range last.Rows {
			sum += n
		}
		require.Len(t, last.Data, sum*last.Dim)
		if c.Name == "minicpmv25" {
			require.Equal(t, []int{14, 12, 15}, last.Rows)
			require.Zero(t, last.Tokens, "views differ")
		}
	})
}

// What lies in a padded tile's padding changes nothing that has a valid pixel.
func TestPaddingDoesNotCount(t *testing.T) {
	eachCase(t, []string{"idefics3"}, func(t *testing.T, dev *ops.Device, c *golden.Case) {
		m, s := open(t, dev, c.FS), dev.Stream()
		part := tiles(t, c)[3]
		e := eye(t, dev, m, 1)
		f := m.Config.Vision.LastHidden()
		want, err := e.ViewFeatures(s, []siglip.View{part}, f)
		require.NoError(t, err)
		noisy := part
		noisy.Pixels = slices.Clone(part.Pixels)
		for i := range noisy.Pixels {
			if i%84 >= 70 { // columns of whole padded patches
				noisy.Pixels[i] = 3
			}
		}
		got, err := e.ViewFeatures(s, []siglip.View{noisy}, f)
		require.NoError(t, err)
		for patch := range 36 {
			same := slices.Equal(want.Data[patch*72:][:72], got.Data[patch*72:][:72])
			require.Equal(t, patch%6 < 5, same, "patch %d: its own row differs, and no other", patch)
		}
	})
}

// Views that do not fit are refused before anything runs, and the next ones are not hit.
func TestViewsThatDoNotFit(t *testing.T) {
	view := func(h, w int) siglip.View {
		return siglip.View{Pixels: make([]float32, 3*h*w), Height: h, Width: w}
	}
	padded := func(v siglip.View, h, w int) siglip.View { v.ValidHeight, v.ValidWidth = h, w; return v }
	for _, tc := range []struct {
		name, family string
		views        []siglip.View
		text         string
	}{
		{"no view", "idefics3", nil, "0 views"},
		{"more than there is room for", "idefics3", []siglip.View{view(84, 84), view(84, 84), view(84, 84)}, "3 views"},
		{"a tile of another size", "idefics3", []siglip.View{view(84, 98)}, "98 x 84"},
		{"pixels of another number", "idefics3", []siglip.View{{Pixels: make([]float32, 5), Height: 84, Width: 84}}, "5 pixel values"},
		{"more valid than there is", "idefics3", []siglip.View{padded(view(84, 84), 85, 84)}, "valid"},
		{"half a rectangle", "idefics3", []siglip.View{padded(view(84, 84), 0, 84)}, "valid"},
		{"a negative rectangle", "idefics3", []siglip.View{padded(view(84, 84), -1, -1)}, "valid"},
		{"padding in a tower without a mask", "llava_siglip", []siglip.View{padded(view(42, 42), 14, 42)}, "padding"},
		{"the second of two", "llava_siglip", []siglip.View{view(42, 42), view(14, 14)}, "view 2 of 2"},
		{"a slice of no patch", "minicpmv25", []siglip.View{view(13, 140)}, "140 x 13"},
		{"a slice of no pixels", "minicpmv25", []siglip.View{{}}, "0 x 0"},
		{"a slice of a negative size", "minicpmv25", []siglip.View{{Height: -14, Width: -14}}, "-14 x -14"},
		{"a slice of too many patches", "minicpmv25", []siglip.View{view(14*64, 14*33)}, "2112 patches, the most is 2048"},
		{"a slice whose size no number holds", "minicpmv25", []siglip.View{{Height: 1 << 62, Width: 1 << 62}}, "most is 2048"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
				c := golden.Open(t, tc.family)
				m, s := open(t, dev, c.FS), dev.Stream()
				e := eye(t, dev, m, 2)
				good := viewsOf(t, c)[:2]
				want, err := e.ProjectViews(s, good)
				require.NoError(t, err)
				_, err = e.ProjectViews(s, tc.views)
				require.ErrorIs(t, err, ops.ErrShape)
				require.ErrorContains(t, err, tc.text)
				again, err := e.ProjectViews(s, good)
				require.NoError(t, err)
				require.Equal(t, want.Data, again.Data, "P97")
			})
		})
	}
}

// The plan is what an eye of each family allocates.
func TestEyeBytesOfFamilies(t *testing.T) {
	eachCase(t, pictured, func(t *testing.T, dev *ops.Device, c *golden.Case) {
		m := open(t, dev, c.FS)
		for _, n := range []int{1, 3} {
			before, err := dev.Counters()
			require.NoError(t, err)
			eye(t, dev, m, n)
			after, err := dev.Counters()
			require.NoError(t, err)
			require.Equal(t, m.Config.EyeBytes(n, m.Tower.Head != nil, ops.F32), after.Bytes-before.Bytes, "%d views", n)
		}
	})
}

// renamed gives a model's tensors other prefixes; pairs are old and new.
func renamed(t *testing.T, m *golden.Model, pairs ...string) *golden.Model {
	t.Helper()
	for _, name := range slices.Collect(maps.Keys(m.Tensors)) {
		for i := 0; i < len(pairs); i += 2 {
			if rest, ok := strings.CutPrefix(name, pairs[i]); ok {
				m.Rename(t, name, pairs[i+1]+rest)
				break
			}
		}
	}
	return m
}

// flat moves the decoder's keys to the top level, as LLaVA's own configs have them.
func flat(m *golden.Model, kind string) *golden.Model {
	for key, value := range m.Config["text_config"].(map[string]any) {
		m.Config[key] = value
	}
	return m.Set(nil, "text_config").Set(kind, "model_type")
}

// One model under the names of every form that it is published in gives the same rows and logits.
func TestNamesOfOneModel(t *testing.T) {
	const vision, proj, text = "vision_tower.vision_model.", "multi_modal_projector.", "language_model.model."
	for _, tc := range []struct {
		name, family string
		change       func(t *testing.T, m *golden.Model) *golden.Model
	}{
		{"transformers, newer names", "llava_siglip", func(t *testing.T, m *golden.Model) *golden.Model {
			return renamed(t, m, "vision_tower.", "model.vision_tower.", proj, "model."+proj, text, "model.language_model.", "language_model.lm_head", "lm_head")
		}},
		{"transformers, older names", "llava_clip", func(t *testing.T, m *golden.Model) *golden.Model {
			return renamed(t, m, "model.vision_tower.", "vision_tower.", "model."+proj, proj, "model.language_model.", text, "lm_head", "language_model.lm_head")
		}},
		{"Bunny", "llava_siglip", func(t *testing.T, m *golden.Model) *golden.Model {
			return renamed(t, flat(m, "bunny-llama").Set("mlp2x_gelu", "mm_projector_type").Set(72, "mm_hidden_size"),
				vision, "model.vision_tower.vision_tower.vision_model.", proj+"linear_1", "model.mm_projector.0", proj+"linear_2", "model.mm_projector.2",
				text, "model.", "language_model.lm_head", "lm_head")
		}},
		{"LLaVA's own, with CLIP", "llava_clip", func(t *testing.T, m *golden.Model) *golden.Model {
			return renamed(t, flat(m, "llava_llama").Set("mlp2x_gelu", "mm_projector_type").Set(-2, "mm_vision_select_layer").Set("patch", "mm_vision_select_feature"),
				"model.vision_tower.vision_model.", "model.vision_tower.vision_tower.vision_model.", "model."+proj+"linear_1", "model.mm_projector.0",
				"model."+proj+"linear_2", "model.mm_projector.2", "model.language_model.", "model.")
		}},
		{"llama-3-vision-alpha", "llava_siglip", func(t *testing.T, m *golden.Model) *golden.Model {
			return renamed(t, m.Set("llamavision", "model_type"), vision, "vision_model.vision_model.", proj+"linear_1", "mm_projector.model.0",
				proj+"linear_2", "mm_projector.model.2", "language_model.", "text_model.")
		}},
		{"the release called Llama3-V", "minicpmv25", func(t *testing.T, m *golden.Model) *golden.Model {
			return renamed(t, m.Set("llama3v", "model_type"), "vpm.", "vison.", "resampler.", "projection.")
		}},
		{"SmolVLM", "idefics3", func(t *testing.T, m *golden.Model) *golden.Model {
			return m.Set("smolvlm", "model_type").Set("smolvlm_vision", "vision_config", "model_type")
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
				c := golden.Open(t, tc.family)
				m, s := open(t, dev, c.FS), dev.Stream()
				other := open(t, dev, tc.change(t, c.Model()).FS(t))
				views := viewsOf(t, c)
				want, err := eye(t, dev, m, len(views)).ProjectViews(s, views)
				require.NoError(t, err)
				got, err := eye(t, dev, other, len(views)).ProjectViews(s, views)
				require.NoError(t, err)
				require.Equal(t, want.Data, got.Data)
				last := func(m *vlm.Model) []float32 {
					r, err := llama.NewRunner(dev, m.Decoder, ops.F32, llama.Sizes{Positions: 16, Context: 16, PrefillRows: 16})
					require.NoError(t, err)
					seq, err := r.Cache.Reserve(context.Background(), 3)
					require.NoError(t, err)
					logits, err := r.Score(dev, s, seq, []int32{1, 2, 3}, nil)
					require.NoError(t, err)
					return logits
				}
				require.Equal(t, last(m), last(other))
			})
		})
	}
}

// Layers above the features' may be missing, with post norm and head (P26): nothing else changes, and
// what would need them is an error.
func TestSpareLayers(t *testing.T) {
	eachCase(t, []string{"llava_siglip", "llava_clip"}, func(t *testing.T, dev *ops.Device, c *golden.Case) {
		m, s := open(t, dev, c.FS), dev.Stream()
		views := viewsOf(t, c)
		want, err := eye(t, dev, m, 2).ProjectViews(s, views)
		require.NoError(t, err)
		changed := c.Model()
		for name := range maps.Clone(changed.Tensors) {
			if strings.Contains(name, "encoder.layers.2.") || strings.Contains(name, "post_layernorm") || strings.Contains(name, "vision_model.head.") {
				changed.Remove(t, name)
			}
		}
		short := open(t, dev, changed.FS(t))
		e := eye(t, dev, short, 2)
		got, err := e.ProjectViews(s, views)
		require.NoError(t, err)
		require.Equal(t, want.Data, got.Data)
		for _, f := range []siglip.Features{short.Config.Vision.LastHidden(), short.Config.Vision.Pooled(), {Layer: 3}, {Layer: 2, Post: true}} {
			_, err = e.ViewFeatures(s, views, f)
			require.ErrorIs(t, err, ops.ErrUnsupported, "%v", f)
		}
	})
}

// P29, P30: what is wrong with a family's checkpoint is known before a weight is read.
func TestFamilyCheckpointsThatDoNotFit(t *testing.T) {
	for _, tc := range []struct {
		name, family string
		change       func(t *testing.T, m *golden.Model)
		is           error
		text         []string
	}{
		{"P30: a layer that runs is not spare", "llava_siglip", func(t *testing.T, m *golden.Model) {
			m.Remove(t, "vision_tower.vision_model.encoder.layers.1.layer_norm1.weight", "multi_modal_projector.linear_2.bias")
		}, weights.ErrMissingTensor, []string{"encoder.layers.1.layer_norm1.weight", "multi_modal_projector.linear_2.bias"}},
		{"P30: a torn spare layer", "llava_siglip", func(t *testing.T, m *golden.Model) {
			m.Remove(t, "vision_tower.vision_model.encoder.layers.2.mlp.fc1.weight")
		}, weights.ErrMissingTensor, []string{"encoder.layers.2.mlp.fc1.weight"}},
		{"P29: a projector for another tower", "llava_siglip", func(t *testing.T, m *golden.Model) {
			m.Random(t, 0, 1, "multi_modal_projector.linear_1.weight", 128, 100)
		}, ops.ErrShape, []string{"linear_1.weight in model.safetensors is [128 100], the config makes it [128 72]"}},
		{"P29: a projector for another decoder", "llava_clip", func(t *testing.T, m *golden.Model) {
			m.Random(t, 0, 1, "model.multi_modal_projector.linear_2.weight", 192, 128)
		}, ops.ErrShape, []string{"linear_2.weight in model.safetensors is [192 128], the config makes it [128 128]"}},
		{"CLIP without its class token", "llava_clip", func(t *testing.T, m *golden.Model) {
			m.Remove(t, "model.vision_tower.vision_model.embeddings.class_embedding", "model.vision_tower.vision_model.pre_layrnorm.bias")
		}, weights.ErrMissingTensor, []string{"class_embedding", "pre_layrnorm.bias"}},
		{"a scale that the connector does not have", "idefics3", func(t *testing.T, m *golden.Model) { m.Set(2, "scale_factor") },
			ops.ErrShape, []string{"proj.weight in model.safetensors is [128 648], the config makes it [128 288]"}},
		{"no connector", "idefics3", func(t *testing.T, m *golden.Model) { m.Remove(t, "model.connector.modality_projection.proj.weight") },
			weights.ErrMissingTensor, []string{"model.connector.modality_projection.proj.weight"}},
		{"another number of queries", "minicpmv25", func(t *testing.T, m *golden.Model) { m.Set(9, "query_num") },
			ops.ErrShape, []string{"resampler.query in model.safetensors is [7 256], the config makes it [9 256]"}},
		{"a resampler of another tower", "minicpmv25", func(t *testing.T, m *golden.Model) { m.Random(t, 0, 1, "resampler.kv_proj.weight", 256, 80) },
			ops.ErrShape, []string{"kv_proj.weight in model.safetensors is [256 80], the config makes it [256 72]"}},
		{"parts of the resampler", "minicpmv25", func(t *testing.T, m *golden.Model) {
			m.Remove(t, "resampler.proj", "resampler.ln_post.weight", "resampler.attn.in_proj_bias")
		}, weights.ErrMissingTensor, []string{"resampler.proj", "resampler.ln_post.weight", "resampler.attn.in_proj_bias"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dev := testdevice.CPU(t, binding.ContextOptions{Threads: 1})
			m := golden.Open(t, tc.family).Model()
			tc.change(t, m)
			_, _, err := tryOpen(t, dev, m.FS(t))
			require.ErrorIs(t, err, tc.is)
			for _, text := range tc.text {
				require.ErrorContains(t, err, text)
			}
			counters, err := dev.Counters()
			require.NoError(t, err)
			require.Zero(t, counters.Allocations, "nothing was read")
		})
	}
}

// P18: NaN or infinity names its stage in every family.
func TestFamiliesNameTheStageOfNaN(t *testing.T) {
	for family, tensors := range map[string][2]string{
		"llava_siglip": {"vision_tower.vision_model.encoder.layers.0.mlp.fc1.bias", "multi_modal_projector.linear_1.bias"},
		"llava_clip":   {"model.vision_tower.vision_model.pre_layrnorm.bias", "model.multi_modal_projector.linear_2.bias"},
		"idefics3":     {"model.vision_model.post_layernorm.bias", "model.connector.modality_projection.proj.weight"},
		"minicpmv25":   {"vpm.embeddings.position_embedding.weight", "resampler.ln_kv.bias"},
	} {
		t.Run(family, func(t *testing.T) {
			testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
				for i, stage := range []int32{vlm.StageVision, vlm.StageProjector} {
					c := golden.Open(t, family)
					changed := c.Model()
					values := changed.Values(t, tensors[i])
					values[0] = float32(math.NaN())
					changed.Put(t, tensors[i], weights.F32, values, changed.Tensors[tensors[i]].Shape...)
					m := open(t, dev, changed.FS(t))
					views := viewsOf(t, c)
					_, err := eye(t, dev, m, len(views)).ProjectViews(dev.Stream(), views)
					var fault *binding.FaultError
					require.ErrorAs(t, err, &fault, fmt.Sprint(stage))
					require.True(t, fault.NotFinite())
					require.Equal(t, stage, fault.Stage)
				}
			})
		})
	}
}

// A tower published apart, text side and all, is read from the folder of its name.
func TestTowerInAFolderOfItsOwn(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		c := golden.Open(t, "llava_siglip")
		const vision, proj, text = "vision_tower.vision_model.", "multi_modal_projector.", "language_model.model."
		whole := renamed(t, flat(c.Model(), "bunny-llama").Set("mlp2x_gelu", "mm_projector_type").Set("me/My-Tower", "mm_vision_tower"),
			proj+"linear_1", "model.mm_projector.0", proj+"linear_2", "model.mm_projector.2", text, "model.", "language_model.lm_head", "lm_head")
		apart := golden.NewModel(t, `{}`).Random(t, 0, 1, "text_model.embeddings.token_embedding.weight", 3, 2).Random(t, 0, 1, "logit_scale", 1)
		for name, tensor := range maps.Clone(whole.Tensors) {
			if rest, ok := strings.CutPrefix(name, "vision_tower."); ok {
				whole.Remove(t, name)
				tensor.Name = rest
				apart.Tensors[rest] = tensor
			}
		}
		openApart := func(folder string) (*vlm.Model, []string, error) {
			fsys := whole.FS(t)
			if folder != "" {
				fsys[folder+"/model.safetensors"] = apart.FS(t)["model.safetensors"]
			}
			config, err := vlm.ReadConfig(fsys)
			require.NoError(t, err)
			cp, err := weights.Open(fsys)
			require.NoError(t, err)
			if cp, err = vlm.WithTower(fsys, config, cp); err != nil {
				return nil, nil, err
			}
			defer cp.Close()
			l := load.New(dev, cp)
			m := vlm.Declare(l, config)
			unknown, err := l.Check()
			if err != nil {
				return nil, nil, err
			}
			return m, unknown, l.Load(context.Background())
		}
		// The tower's sizes follow from its name, or stand in the config beside it.
		m, unknown, err := openApart("My-Tower")
		require.NoError(t, err)
		require.Empty(t, unknown)
		views := viewsOf(t, c)
		got, err := eye(t, dev, m, 2).ProjectViews(dev.Stream(), views)
		require.NoError(t, err)
		c.Near(t, "projected", got.Data, bound)

		_, _, err = openApart("")
		require.ErrorIs(t, err, weights.ErrMissingTensor)
		require.ErrorContains(t, err, "patch_embedding.weight")
		_, _, err = openApart("Another")
		require.ErrorIs(t, err, weights.ErrMissingTensor)
		apart.Remove(t, "vision_model.embeddings.position_embedding.weight")
		_, _, err = openApart("My-Tower")
		require.ErrorIs(t, err, weights.ErrMissingTensor, "P30")
		require.ErrorContains(t, err, "position_embedding.weight")
	})
	for _, name := range []string{"..", "a/..", "/", ".", ""} {
		_, err := read(t, golden.NewModel(t, published["Bunny-Llama-3-8B-V"]).Set(name, "mm_vision_tower"))
		require.Error(t, err, "%q", name)
	}
}

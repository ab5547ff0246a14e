package vlm_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/binding"
	"github.com/llama3v/llama3v/internal/golden"
	"github.com/llama3v/llama3v/model/llama"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/projector"
	"github.com/llama3v/llama3v/model/siglip"
	"github.com/llama3v/llama3v/model/vlm"
	"github.com/llama3v/llama3v/model/weights"
)

// configs are the smallest config.json of each family: keys that may be absent are.
var configs = map[string]string{
	"llama3v": `{"model_type":"llama3v","image_token_index":90,
		"projector_config":{"type":"llama3v_sa2","width":24,"num_heads":3,"intermediate_size":10},
		"vision_config":{"hidden_size":36,"num_attention_heads":2,"num_hidden_layers":3,"intermediate_size":20,"patch_size":4,"image_size":10},
		"text_config":{"vocab_size":100,"hidden_size":20,"intermediate_size":30,"num_hidden_layers":2,"num_attention_heads":4,
			"num_key_value_heads":2,"head_dim":8,"rms_norm_eps":1e-5,"bos_token_id":1,"eos_token_id":2}}`,
	"llama": `{"model_type":"llama","vocab_size":100,"hidden_size":16,"intermediate_size":30,"num_hidden_layers":2,
		"num_attention_heads":4,"rms_norm_eps":1e-5}`,
	"siglip":              `{"model_type":"siglip","text_config":{},"vision_config":{}}`,
	"siglip_vision_model": `{"model_type":"siglip_vision_model"}`,
}

func read(t *testing.T, m *golden.Model, files ...string) (*vlm.Config, error) {
	t.Helper()
	config, err := json.Marshal(m.Config)
	require.NoError(t, err)
	fsys := fstest.MapFS{"config.json": {Data: config}}
	for i := 0; i < len(files); i += 2 {
		fsys[files[i]] = &fstest.MapFile{Data: []byte(files[i+1])}
	}
	return vlm.ReadConfig(fsys)
}

func TestReadConfigFillsInWhatTheReferenceLeavesOut(t *testing.T) {
	base := siglip.Config{Dim: 768, Hidden: 3072, Layers: 12, Heads: 12, Channels: 3, ImageSize: 224, Patch: 16, Eps: 1e-6, Act: ops.GELUTanh}
	for _, family := range []string{"siglip", "siglip_vision_model"} {
		t.Run(family, func(t *testing.T) {
			c, err := read(t, golden.NewModel(t, configs[family]))
			require.NoError(t, err)
			require.Equal(t, &base, c.Vision)
			require.Nil(t, c.Text)
			require.Nil(t, c.Projector)
			require.Equal(t, siglip.Features{Layer: 12, Post: true}, c.Features)
			if family == "siglip" { // google/siglip-base-patch16-224's text_config holds no size at all
				require.Equal(t, &siglip.TextConfig{Dim: 768, Hidden: 3072, Layers: 12, Heads: 12, Vocab: 32000, Length: 64,
					Out: 768, Eps: 1e-6, Act: ops.GELUTanh}, c.Words)
			}
		})
	}
	t.Run("llama", func(t *testing.T) {
		c, err := read(t, golden.NewModel(t, configs["llama"]))
		require.NoError(t, err)
		require.Equal(t, &llama.Config{Vocab: 100, Dim: 16, Hidden: 30, Layers: 2, Heads: 4, KVHeads: 4, HeadDim: 4,
			NormEps: 1e-5, RopeTheta: 10000, MaxPositions: 2048}, c.Text)
	})
	t.Run("llama3v", func(t *testing.T) {
		c, err := read(t, golden.NewModel(t, configs["llama3v"]))
		require.NoError(t, err)
		require.Equal(t, &siglip.Config{Dim: 36, Hidden: 20, Layers: 3, Heads: 2, Channels: 3, ImageSize: 10, Patch: 4, Eps: 1e-6, Act: ops.GELUTanh}, c.Vision)
		require.Equal(t, 4, c.Vision.Patches(), "P14: 10 pixels of patches of 4: rest pixels are unused")
		require.Equal(t, &projector.SA2Config{Width: 24, Blocks: 2, Heads: 3, Hidden: 10, Eps: 1e-6, Act: ops.GELUTanh}, c.Projector)
		require.Equal(t, 8, c.Text.HeadDim, "P38: what is given wins over hidden/heads")
		require.Equal(t, siglip.Features{Layer: 2}, c.Features, "-2 of three layers, before the post norm")
		require.EqualValues(t, 90, c.ImageToken)
		require.EqualValues(t, 1, c.BOS)
		require.Equal(t, []int32{2}, c.EOS)
	})
	t.Run("so400m has 729 patches of 72-wide heads", func(t *testing.T) {
		c, err := read(t, golden.NewModel(t, `{"model_type":"siglip_vision_model","hidden_size":1152,"num_attention_heads":16,"image_size":384,"patch_size":14}`))
		require.NoError(t, err)
		require.Equal(t, 729, c.Vision.Patches(), "P14")
		require.InDelta(t, 0.11785113, ops.InvSqrt(c.Vision.Dim/c.Vision.Heads), 1e-8, "P24: the scale of the true width")
	})
}

// P21, P20: vision_feature_layer.
func TestFeatureLayer(t *testing.T) {
	three := siglip.Config{Layers: 3}
	for _, tc := range []struct {
		name  string
		layer int
		want  int // -1: an error
	}{
		{"the embedding output", 0, 0},
		{"the last layer", 3, 3},
		{"the last layer from the end", -1, 3},
		{"the one before", -2, 2},
		{"the embedding output from the end", -4, 0},
		{"one too many", 4, -1},
		{"one too many from the end", -5, -1},
		{"far out", -1 << 62, -1},
		{"far out, the other way", 1 << 62, -1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, err := three.State(tc.layer)
			if tc.want < 0 {
				require.ErrorIs(t, err, ops.ErrShape)
				require.ErrorContains(t, err, "0 to 3")
				return
			}
			require.NoError(t, err)
			require.Equal(t, siglip.Features{Layer: tc.want}, f, "before the post norm")
		})
	}
	require.Equal(t, siglip.Features{Layer: 3, Post: true}, three.LastHidden())
	require.Equal(t, siglip.Features{Layer: 3, Post: true, Pooled: true}, three.Pooled())
}

// P43: the ends of an answer are the union of all config files, a number or a list in each.
func TestEndsOfAnAnswer(t *testing.T) {
	for _, tc := range []struct {
		name       string
		eos        any // of the text config
		top        any
		generation string
		want       []int32
		bos        int32
	}{
		{"none", nil, nil, "", nil, 1},
		{"a number", 7, nil, "", []int32{7}, 1},
		{"a list", []int{9, 7, 9}, nil, "", []int32{7, 9}, 1},
		{"each file names another", 7, 8, `{"eos_token_id":[9,10]}`, []int32{7, 8, 9, 10}, 1},
		{"the generation config alone", nil, nil, `{"eos_token_id":3,"bos_token_id":50}`, []int32{3}, 1},
		{"null is none", 7, nil, `{"eos_token_id":null}`, []int32{7}, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := golden.NewModel(t, configs["llama3v"]).Set(tc.eos, "text_config", "eos_token_id").Set(tc.top, "eos_token_id")
			var files []string
			if tc.generation != "" {
				files = []string{"generation_config.json", tc.generation}
			}
			c, err := read(t, m, files...)
			require.NoError(t, err)
			require.Equal(t, tc.want, c.EOS)
			require.Equal(t, tc.bos, c.BOS, "the model's own config goes before the generation config")
		})
	}
	_, err := read(t, golden.NewModel(t, configs["llama"]), "generation_config.json", `{"eos_token_id":"</s>"}`)
	require.ErrorIs(t, err, weights.ErrConfig)
	require.ErrorContains(t, err, "generation_config.json: eos_token_id")
	_, err = read(t, golden.NewModel(t, configs["llama"]), "generation_config.json", `{`)
	require.ErrorContains(t, err, "generation_config.json")
}

// Each fault names its file and its key, before any weight is read.
func TestConfigFaults(t *testing.T) {
	type path = []string
	for _, tc := range []struct {
		name   string
		family string
		path   path
		value  any // nil: absent
		want   []string
	}{
		{"no model type", "llama", path{"model_type"}, nil, []string{"model_type is missing"}},
		{"no vocabulary", "llama", path{"vocab_size"}, nil, []string{"vocab_size is missing"}},
		{"an empty vocabulary", "llama", path{"vocab_size"}, 0, []string{"vocab_size is 0", "1 to"}},
		{"no width", "llama", path{"hidden_size"}, nil, []string{"hidden_size is missing"}},
		{"a negative width", "llama", path{"hidden_size"}, -20, []string{"hidden_size is -20"}},
		{"a width that is no number", "llama", path{"hidden_size"}, "20", []string{"hidden_size", `"20"`}},
		{"a width with a fraction", "llama", path{"hidden_size"}, 20.5, []string{"hidden_size", "20.5"}},
		{"a width that no memory holds", "llama", path{"hidden_size"}, 1 << 40, []string{"hidden_size"}},
		{"no MLP width", "llama", path{"intermediate_size"}, nil, []string{"intermediate_size is missing"}},
		{"no layers", "llama", path{"num_hidden_layers"}, nil, []string{"num_hidden_layers is missing"}},
		{"zero layers", "llama", path{"num_hidden_layers"}, 0, []string{"num_hidden_layers is 0"}},
		{"no heads", "llama", path{"num_attention_heads"}, nil, []string{"num_attention_heads is missing"}},
		{"zero heads", "llama", path{"num_attention_heads"}, 0, []string{"num_attention_heads is 0"}},
		{"P40: no norm epsilon", "llama", path{"rms_norm_eps"}, nil, []string{"rms_norm_eps is missing"}},
		{"P40: an epsilon of zero", "llama", path{"rms_norm_eps"}, 0, []string{"rms_norm_eps is 0"}},
		{"heads that do not divide the width", "llama", path{"num_attention_heads"}, 3, []string{"hidden_size is 16", "num_attention_heads 3"}},
		{"heads that the key heads do not divide", "llama", path{"num_key_value_heads"}, 3, []string{"num_attention_heads is 4", "num_key_value_heads 3"}},
		{"an odd head width has no rotary pairs", "llama", path{"head_dim"}, 7, []string{"head_dim is 7"}},
		{"a head width beyond the kernels", "llama", path{"head_dim"}, 258, []string{"head_dim is 258"}},
		{"biases", "llama", path{"attention_bias"}, true, []string{"attention_bias", "biases"}},
		{"biases of the MLP", "llama", path{"mlp_bias"}, true, []string{"mlp_bias", "biases"}},
		{"P19: an activation the decoder does not have", "llama", path{"hidden_act"}, "gelu", []string{`hidden_act is "gelu"`, "silu"}},
		{"P36: an unknown rotary rule", "llama", path{"rope_scaling"}, map[string]any{"rope_type": "yarn", "factor": 2}, []string{`rope_scaling.rope_type is "yarn"`}},
		{"P36: the rule without its factor", "llama", path{"rope_scaling"},
			map[string]any{"rope_type": "llama3", "low_freq_factor": 1, "high_freq_factor": 4, "original_max_position_embeddings": 64},
			[]string{"rope_scaling.factor is missing"}},
		{"P36: a band turned round", "llama", path{"rope_scaling"},
			map[string]any{"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 1, "original_max_position_embeddings": 64},
			[]string{"rope_scaling.high_freq_factor is 1", "low_freq_factor 4"}},
		{"P36: a rule without a name", "llama", path{"rope_scaling"}, map[string]any{"factor": 2}, []string{"rope_scaling.rope_type is missing"}},
		{"tied is a word", "llama", path{"tie_word_embeddings"}, "yes", []string{"tie_word_embeddings"}},

		{"no vision config", "siglip", path{"vision_config"}, nil, []string{"vision_config is missing"}},
		{"a text tower whose heads do not divide its width", "siglip", path{"text_config", "num_attention_heads"}, 7, []string{"text_config.hidden_size is 768", "num_attention_heads 7"}},
		{"P29: towers of two widths", "siglip", path{"text_config", "projection_size"}, 512, []string{"text_config makes embeddings of 512 columns", "768"}},
		{"a vision config that is a list", "siglip", path{"vision_config"}, []int{1}, []string{"vision_config is not an object"}},
		{"heads that do not divide the tower's width", "siglip_vision_model", path{"num_attention_heads"}, 7, []string{"hidden_size is 768", "num_attention_heads 7"}},
		{"a patch larger than the picture", "siglip_vision_model", path{"patch_size"}, 225, []string{"patch_size is 225", "image_size 224"}},
		{"a patch of no pixels", "siglip_vision_model", path{"patch_size"}, 0, []string{"patch_size is 0"}},
		{"grey pictures", "siglip_vision_model", path{"num_channels"}, 1, []string{"num_channels is 1"}},
		{"P19: an unknown activation", "siglip_vision_model", path{"hidden_act"}, "gelu_new", []string{`hidden_act is "gelu_new"`}},
		{"an epsilon of zero", "siglip_vision_model", path{"layer_norm_eps"}, 0, []string{"layer_norm_eps is 0"}},

		{"no projector config", "llama3v", path{"projector_config"}, nil, []string{"projector_config is missing"}},
		{"no projector type", "llama3v", path{"projector_config", "type"}, nil, []string{"projector_config.type is missing"}},
		{"no projector width", "llama3v", path{"projector_config", "width"}, nil, []string{"projector_config.width is missing"}},
		{"no projector heads", "llama3v", path{"projector_config", "num_heads"}, nil, []string{"projector_config.num_heads is missing"}},
		{"projector heads that do not divide its width", "llama3v", path{"projector_config", "num_heads"}, 5, []string{"projector_config.width is 24", "num_heads 5"}},
		{"no projector MLP width, which 0 would switch off", "llama3v", path{"projector_config", "intermediate_size"}, nil, []string{"projector_config.intermediate_size is missing"}},
		{"P19: the projector's activation", "llama3v", path{"projector_config", "hidden_act"}, "relu", []string{"projector_config.hidden_act"}},
		{"no image token", "llama3v", path{"image_token_index"}, nil, []string{"image_token_index is missing"}},
		{"an image token outside the table", "llama3v", path{"image_token_index"}, 100, []string{"image_token_index is 100", "100"}},
		{"P21: a layer that the tower does not have", "llama3v", path{"vision_feature_layer"}, 4, []string{"vision_feature_layer is 4", "0 to 3"}},
		{"P21: a layer from the end that the tower does not have", "llama3v", path{"vision_feature_layer"}, -5, []string{"vision_feature_layer is -5"}},
		{"P22: a class token that SigLIP does not have", "llama3v", path{"vision_feature_select_strategy"}, "default", []string{"vision_feature_select_strategy"}},
		{"the decoder's faults have the decoder's path", "llama3v", path{"text_config", "rms_norm_eps"}, nil, []string{"text_config.rms_norm_eps is missing"}},
		{"the tower's faults have the tower's path", "llama3v", path{"vision_config", "hidden_size"}, "wide", []string{"vision_config.hidden_size"}},
		{"no decoder", "llama3v", path{"text_config"}, nil, []string{"text_config is missing"}},
		{"an end id that is no id", "llama3v", path{"text_config", "eos_token_id"}, -2, []string{"text_config.eos_token_id is -2"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := read(t, golden.NewModel(t, configs[tc.family]).Set(tc.value, tc.path...))
			require.Nil(t, c)
			require.ErrorIs(t, err, weights.ErrConfig)
			require.ErrorContains(t, err, "config.json")
			for _, text := range tc.want {
				require.ErrorContains(t, err, text)
			}
		})
	}
}

func TestAllFaultsOfAConfigAtOnce(t *testing.T) {
	m := golden.NewModel(t, configs["llama3v"]).Set(nil, "text_config", "rms_norm_eps").
		Set(0, "vision_config", "patch_size").Set(nil, "projector_config", "width").Set(nil, "image_token_index")
	_, err := read(t, m)
	for _, key := range []string{"text_config.rms_norm_eps", "vision_config.patch_size", "projector_config.width", "image_token_index"} {
		require.ErrorContains(t, err, key)
	}
}

func TestKindsOfModelThatDoNotExist(t *testing.T) {
	_, err := read(t, golden.NewModel(t, `{"model_type":"gpt5v"}`))
	require.ErrorIs(t, err, binding.ErrUnsupported)
	var family *vlm.FamilyError
	require.ErrorAs(t, err, &family)
	require.Equal(t, vlm.FamilyError{File: "config.json", ModelType: "gpt5v"}, *family)
	require.EqualError(t, err, `config.json: model type "gpt5v" is not supported (bunny-llama, idefics3, llama, llama3v, llamavision, llava, llava_llama, minicpmv, siglip, siglip_vision_model, smolvlm are)`)

	_, err = read(t, golden.NewModel(t, configs["llama3v"]).Set("perceiver", "projector_config", "type"))
	require.ErrorIs(t, err, binding.ErrUnsupported)
	require.ErrorAs(t, err, &family)
	require.Equal(t, "perceiver", family.Projector)
	require.ErrorContains(t, err, "llama3v_sa2")
}

func TestConfigThatCannotBeRead(t *testing.T) {
	_, err := vlm.ReadConfig(fstest.MapFS{})
	require.ErrorIs(t, err, fs.ErrNotExist)
	for name, text := range map[string]string{"empty": "", "cut": `{"model_type":"lla`, "a list": "[]", "not text": "\xff\xfe"} {
		t.Run(name, func(t *testing.T) {
			_, err := vlm.ReadConfig(fstest.MapFS{"config.json": {Data: []byte(text)}})
			require.ErrorIs(t, err, weights.ErrConfig)
			require.False(t, errors.Is(err, fs.ErrNotExist))
			require.ErrorContains(t, err, "config.json")
		})
	}
}

func TestStageNames(t *testing.T) {
	require.Equal(t, "vision tower", vlm.StageName(vlm.StageVision))
	require.Equal(t, "projector", vlm.StageName(vlm.StageProjector))
	require.Equal(t, "logits", vlm.StageName(vlm.StageLogits))
	require.Equal(t, "stage 9", vlm.StageName(9))
}

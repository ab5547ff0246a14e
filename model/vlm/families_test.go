package vlm_test

import (
	"encoding/json"
	"testing"

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

const llama3Keys = `"vocab_size":128256,"hidden_size":4096,"intermediate_size":14336,"num_hidden_layers":32,"num_attention_heads":32,
	"num_key_value_heads":8,"rms_norm_eps":1e-5,"rope_theta":500000,"max_position_embeddings":8192`

// published are config.json files as the models' authors wrote them, without what does not matter
// here. Keys inside other objects that have the library's own value are left out, as it does.
var published = map[string]string{
	"llava-llama-3-8b-v1_1-transformers": `{"model_type":"llava","image_token_index":128257,"projector_hidden_act":"gelu","vision_feature_layer":-2,
		"vision_feature_select_strategy":"default","image_seq_length":576,
		"text_config":{"model_type":"llama","vocab_size":128320,"intermediate_size":14336,"num_key_value_heads":8,"rms_norm_eps":1e-5,"rope_theta":500000,
			"max_position_embeddings":8192,"bos_token_id":128000,"eos_token_id":128001},
		"vision_config":{"model_type":"clip_vision_model","hidden_size":1024,"image_size":336,"intermediate_size":4096,"num_attention_heads":16,
			"num_hidden_layers":24,"patch_size":14,"projection_dim":768,"vocab_size":32000}}`,
	"Bunny-Llama-3-8B-V": `{"model_type":"bunny-llama",` + llama3Keys + `,"mm_hidden_size":1152,"mm_projector_type":"mlp2x_gelu",
		"mm_vision_tower":"google/siglip-so400m-patch14-384","image_aspect_ratio":"pad","use_mm_proj":true,"hidden_act":"silu"}`,
	"llava-llama-3-8b-v1_1-hf": `{"model_type":"llava_llama",` + llama3Keys + `,"mm_hidden_size":1024,"mm_projector_type":"mlp2x_gelu","mm_vision_select_layer":-2,
		"mm_vision_select_feature":"patch","mm_vision_tower":"openai/clip-vit-large-patch14-336"}`,
	"llama-3-vision-alpha-hf": `{"model_type":"llamavision","text_config":{"model_type":"llama","vocab_size":128256,"intermediate_size":14336,
		"num_key_value_heads":8,"rms_norm_eps":1e-5,"rope_theta":500000,"max_position_embeddings":8192}}`,
	"SmolVLM-256M": `{"model_type":"idefics3","image_token_id":49190,"scale_factor":4,"tie_word_embeddings":false,
		"text_config":{"model_type":"llama","vocab_size":49280,"hidden_size":576,"intermediate_size":1536,"num_attention_heads":9,"num_hidden_layers":30,
			"num_key_value_heads":3,"rms_norm_eps":1e-5,"rope_theta":100000,"max_position_embeddings":8192,"head_dim":64,"qk_layer_norms":false,
			"rope_interleaved":false,"use_resampler":false},
		"vision_config":{"hidden_size":768,"image_size":512,"max_image_size":{"longest_edge":512},"model_type":"smolvlm_vision","num_attention_heads":12,
			"patch_size":16,"size":{"longest_edge":2048},"use_base_siglip":false}}`,
	"SmolVLM2-2.2B": `{"model_type":"smolvlm","image_token_id":49190,"scale_factor":3,
		"text_config":{"model_type":"llama","vocab_size":49280,"hidden_size":2048,"intermediate_size":8192,"num_hidden_layers":24,"rms_norm_eps":1e-5,
			"rope_theta":273768,"max_position_embeddings":16384},
		"vision_config":{"image_size":384,"intermediate_size":4304,"num_hidden_layers":27,"patch_size":14}}`,
	"Idefics3-8B-Llama3": `{"model_type":"idefics3","image_token_id":128257,"scale_factor":2,
		"text_config":{"model_type":"llama","vocab_size":128259,"intermediate_size":14336,"num_key_value_heads":8,"rms_norm_eps":1e-5,"rope_theta":500000},
		"vision_config":{"image_size":364,"intermediate_size":4304,"num_hidden_layers":27,"patch_size":14}}`,
	"MiniCPM-Llama3-V-2_5": `{"model_type":"minicpmv",` + llama3Keys + `,"query_num":96,"image_size":448,"patch_size":14,"drop_vision_last_layer":false,
		"batch_vision_input":true,"slice_mode":true,"slice_config":{"max_slice_nums":9,"patch_size":14,"model_type":"minicpmv"},
		"vision_config":{"hidden_size":1152,"image_size":980,"intermediate_size":4304,"model_type":"idefics2","num_attention_heads":16,
			"num_hidden_layers":27,"patch_size":14}}`,
}

// What each published model is made of.
func TestPublishedModels(t *testing.T) {
	so400m := siglip.SO400M384
	clip := siglip.CLIPL336
	llama3 := llama.Config{Vocab: 128256, Dim: 4096, Hidden: 14336, Layers: 32, Heads: 32, KVHeads: 8, HeadDim: 128, NormEps: 1e-5, RopeTheta: 500000, MaxPositions: 8192}
	with := func(c siglip.Config, change func(*siglip.Config)) *siglip.Config { change(&c); return &c }
	spare := func(n int) func(*siglip.Config) { return func(c *siglip.Config) { c.Spare = n } }
	for _, tc := range []struct {
		name      string
		vision    *siglip.Config
		projector projector.Config
		features  siglip.Features
		tokens    int // of a view
		image     int32
		dim       int // of the decoder
	}{
		{"llava-llama-3-8b-v1_1-transformers", with(clip, spare(1)), &projector.MLPConfig{Layers: 2, Act: ops.GELUErf}, siglip.Features{Layer: 23, Patches: true}, 576, 128257, 4096},
		{"Bunny-Llama-3-8B-V", with(so400m, spare(1)), &projector.MLPConfig{Layers: 2, Act: ops.GELUErf}, siglip.Features{Layer: 26}, 729, -200, 4096},
		{"llava-llama-3-8b-v1_1-hf", with(clip, spare(1)), &projector.MLPConfig{Layers: 2, Act: ops.GELUErf}, siglip.Features{Layer: 23, Patches: true}, 576, -200, 4096},
		{"llama-3-vision-alpha-hf", with(so400m, spare(1)), &projector.MLPConfig{Layers: 2, Act: ops.GELUErf}, siglip.Features{Layer: 26}, 729, -200, 4096},
		{"SmolVLM-256M", &siglip.Config{Dim: 768, Hidden: 3072, Layers: 12, Heads: 12, Channels: 3, ImageSize: 512, Patch: 16, Eps: 1e-6, Act: ops.GELUTanh,
			NoHead: true, Positions: siglip.BucketPositions}, &projector.ShuffleConfig{Scale: 4, Grid: 32}, siglip.Features{Layer: 12, Post: true}, 64, 49190, 576},
		{"SmolVLM2-2.2B", with(so400m, func(c *siglip.Config) { c.NoHead, c.Positions = true, siglip.BucketPositions }),
			&projector.ShuffleConfig{Scale: 3, Grid: 27}, siglip.Features{Layer: 27, Post: true}, 81, 49190, 2048},
		{"Idefics3-8B-Llama3", with(so400m, func(c *siglip.Config) { c.ImageSize, c.NoHead, c.Positions = 364, true, siglip.BucketPositions }),
			&projector.ShuffleConfig{Scale: 2, Grid: 26}, siglip.Features{Layer: 27, Post: true}, 169, 128257, 4096},
		{"MiniCPM-Llama3-V-2_5", with(so400m, func(c *siglip.Config) {
			c.ImageSize, c.NoHead, c.Positions, c.MostPatches = 980, true, siglip.RowPositions, 2048
		}), &projector.ResamplerConfig{Queries: 96, HeadDim: 128, Eps: 1e-6}, siglip.Features{Layer: 27, Post: true}, 96, -1, 4096},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := read(t, golden.NewModel(t, published[tc.name]))
			require.NoError(t, err)
			require.Equal(t, tc.vision, c.Vision)
			require.Equal(t, tc.projector, c.Projector)
			require.Equal(t, tc.features, c.Features)
			require.Equal(t, tc.tokens, c.ViewTokens())
			require.Equal(t, tc.image, c.ImageToken)
			require.Equal(t, tc.dim, c.Text.Dim)
			require.False(t, c.Text.Tied)
			if tc.dim == 4096 && tc.name != "Idefics3-8B-Llama3" {
				want := llama3
				want.Vocab = c.Text.Vocab
				require.Equal(t, &want, c.Text)
			}
			text, err := json.Marshal(c)
			require.NoError(t, err)
			require.NotEmpty(t, c.Projector.String())
			require.Contains(t, string(text), `"Projector":{`)
		})
	}
	t.Run("what was released as Llama3-V", func(t *testing.T) {
		c, err := read(t, golden.NewModel(t, published["MiniCPM-Llama3-V-2_5"]).Set("llama3v", "model_type"))
		require.NoError(t, err)
		require.Equal(t, "minicpmv", c.Family)
		require.Equal(t, 96, c.ViewTokens())
	})
}

// Faults of a family's own keys name file and key.
func TestFamilyConfigFaults(t *testing.T) {
	type path = []string
	const llava, bunny, smol, mini = "llava-llama-3-8b-v1_1-transformers", "Bunny-Llama-3-8B-V", "SmolVLM-256M", "MiniCPM-Llama3-V-2_5"
	siglipTower := map[string]any{"model_type": "siglip_vision_model"}
	for _, tc := range []struct {
		name  string
		model string
		path  path
		value any // nil: absent
		want  []string
	}{
		{"P22: a class token that SigLIP does not have", llava, path{"vision_config"}, siglipTower, []string{"vision_feature_select_strategy is default", "full"}},
		{"an unknown strategy", llava, path{"vision_feature_select_strategy"}, "cls", []string{`vision_feature_select_strategy is "cls"`}},
		{"P21: a layer that is not there", llava, path{"vision_feature_layer"}, 25, []string{"vision_feature_layer is 25", "0 to 24"}},
		{"several layers at once", llava, path{"vision_feature_layer"}, []int{-2, -3}, []string{"vision_feature_layer is a list"}},
		{"P19: the projector's activation", llava, path{"projector_hidden_act"}, "gelu_fast", []string{`projector_hidden_act is "gelu_fast"`}},
		{"P19: the tower's activation", llava, path{"vision_config", "hidden_act"}, "relu", []string{`vision_config.hidden_act is "relu"`}},
		{"no image token", llava, path{"image_token_index"}, nil, []string{"image_token_index is missing"}},
		{"P33: an image token outside the table", llava, path{"image_token_index"}, 128320, []string{"image_token_index is 128320", "128320"}},
		{"another number of tokens", llava, path{"image_seq_length"}, 577, []string{"image_seq_length is 577", "576"}},
		{"no decoder", llava, path{"text_config"}, nil, []string{"text_config is missing"}},
		{"no tower", llava, path{"vision_config"}, nil, []string{"vision_config is missing"}},
		{"no projector type", bunny, path{"mm_projector_type"}, nil, []string{"mm_projector_type is missing"}},
		{"no tower's name", bunny, path{"mm_vision_tower"}, nil, []string{"mm_vision_tower is missing"}},
		{"P29: a projector for another tower", bunny, path{"mm_hidden_size"}, 1024, []string{"mm_hidden_size is 1024", "1152"}},
		{"P40: no norm epsilon", bunny, path{"rms_norm_eps"}, nil, []string{"rms_norm_eps is missing"}},
		{"a scale that does not divide the grid", smol, path{"scale_factor"}, 5, []string{"scale_factor is 5", "32 patches"}},
		{"P33: an image id outside the table", smol, path{"image_token_id"}, 49280, []string{"image_token_id is 49280"}},
		{"no number of queries", mini, path{"query_num"}, nil, []string{"query_num is missing"}},
		{"a width that heads of 128 do not divide", mini, path{"hidden_size"}, 4160, []string{"hidden_size is 4160", "heads of 128"}},
		{"slices of less than a patch", mini, path{"image_size"}, 13, []string{"image_size is 13"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := read(t, golden.NewModel(t, published[tc.model]).Set(tc.value, tc.path...))
			require.Nil(t, c)
			require.ErrorIs(t, err, weights.ErrConfig)
			for _, text := range append(tc.want, "config.json") {
				require.ErrorContains(t, err, text)
			}
		})
	}
}

// What a family cannot do is said at once: typed, with what it is.
func TestFamiliesRefuse(t *testing.T) {
	type path = []string
	const llava, bunny, smol, mini = "llava-llama-3-8b-v1_1-transformers", "Bunny-Llama-3-8B-V", "SmolVLM-256M", "MiniCPM-Llama3-V-2_5"
	for _, tc := range []struct {
		name  string
		model string
		path  path
		value any
		want  vlm.FamilyError
		text  string
	}{
		{"another tower", llava, path{"vision_config", "model_type"}, "dinov2", vlm.FamilyError{ModelType: "llava", Tower: "dinov2"}, "SigLIP and CLIP"},
		{"another decoder", llava, path{"text_config", "model_type"}, "mistral", vlm.FamilyError{ModelType: "llava", Decoder: "mistral"}, "llama is"},
		{"features at several scales", bunny, path{"use_s2"}, true, vlm.FamilyError{ModelType: "bunny-llama", Feature: "use_s2 (features at several scales)"}, "use_s2"},
		{"an unknown projector", bunny, path{"mm_projector_type"}, "resnet4x", vlm.FamilyError{ModelType: "bunny-llama", Projector: "resnet4x"}, "mlp2x_gelu"},
		{"layers without a number", bunny, path{"mm_projector_type"}, "mlpx_gelu", vlm.FamilyError{ModelType: "bunny-llama", Projector: "mlpx_gelu"}, "mlp2x_gelu"},
		{"a tower of unknown sizes", bunny, path{"mm_vision_tower"}, "me/my-tower", vlm.FamilyError{ModelType: "bunny-llama", Tower: "me/my-tower"}, "me/my-tower"},
		{"patches merged in space", bunny, path{"mm_patch_merge_type"}, "spatial_unpad", vlm.FamilyError{ModelType: "bunny-llama", Feature: "mm_patch_merge_type spatial_unpad"}, "spatial_unpad"},
		{"a resampler", smol, path{"text_config", "use_resampler"}, true, vlm.FamilyError{ModelType: "idefics3", Feature: "text_config.use_resampler"}, "use_resampler"},
		{"interleaved rotary pairs", smol, path{"text_config", "rope_interleaved"}, true, vlm.FamilyError{ModelType: "idefics3", Feature: "text_config.rope_interleaved"}, "rope_interleaved"},
		{"norms of queries and keys", smol, path{"text_config", "qk_layer_norms"}, true, vlm.FamilyError{ModelType: "idefics3", Feature: "text_config.qk_layer_norms"}, "qk_layer_norms"},
		{"2.6, which has another decoder and another rule", mini, path{"version"}, 2.6, vlm.FamilyError{ModelType: "minicpmv", Feature: "a version other than 2.5"}, "2.5"},
		{"another tower of slices", mini, path{"vision_config", "model_type"}, "vit", vlm.FamilyError{ModelType: "minicpmv", Tower: "vit"}, "vit"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := read(t, golden.NewModel(t, published[tc.model]).Set(tc.value, tc.path...))
			require.Nil(t, c)
			require.ErrorIs(t, err, binding.ErrUnsupported)
			var fault *vlm.FamilyError
			require.ErrorAs(t, err, &fault)
			tc.want.File = "config.json"
			require.Equal(t, tc.want, *fault)
			require.ErrorContains(t, err, tc.text)
		})
	}
}

// Projectors of another depth follow from their name.
func TestProjectorTypes(t *testing.T) {
	for kind, layers := range map[string]int{"linear": 1, "mlp2x_gelu": 2, "mlp3x_gelu": 3} {
		c, err := read(t, golden.NewModel(t, published["Bunny-Llama-3-8B-V"]).Set(kind, "mm_projector_type"))
		require.NoError(t, err)
		require.Equal(t, &projector.MLPConfig{Layers: layers, Act: ops.GELUErf}, c.Projector)
	}
}

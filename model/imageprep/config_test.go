package imageprep

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

const siglipConfig = `{
	"image_processor_type": "SiglipImageProcessor", "do_convert_rgb": null,
	"do_resize": true, "size": {"height": 84, "width": 70}, "resample": 3,
	"do_rescale": true, "rescale_factor": 0.00392156862745098,
	"do_normalize": true, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.25, 0.5]}`

func TestParseConfig(t *testing.T) {
	c, err := ParseConfig([]byte(siglipConfig))
	require.NoError(t, err)
	require.Equal(t, &Config{
		Width: 70, Height: 84, Resample: Bicubic, Rescale: true, RescaleFactor: 0.00392156862745098,
		Normalize: true, Mean: [3]float64{0.5, 0.5, 0.5}, Std: [3]float64{0.5, 0.25, 0.5},
	}, c)
	h, w := c.Size()
	require.Equal(t, [2]int{84, 70}, [2]int{h, w})

	// As the first CLIP files were written: no rescale_factor, sizes as numbers, another key for the type.
	c, err = ParseConfig([]byte(`{"feature_extractor_type": "CLIPFeatureExtractor", "crop_size": 200, "do_center_crop": true,
		"do_normalize": true, "do_resize": true, "image_mean": [0.4, 0.5, 0.6], "image_std": [0.1, 0.2, 0.3], "resample": 3, "size": 224}`))
	require.NoError(t, err)
	require.Equal(t, &Config{
		ShortestEdge: 224, CropWidth: 200, CropHeight: 200, Resample: Bicubic, Rescale: true, RescaleFactor: 1.0 / 255,
		Normalize: true, Mean: [3]float64{0.4, 0.5, 0.6}, Std: [3]float64{0.1, 0.2, 0.3},
	}, c)
	h, w = c.Size()
	require.Equal(t, [2]int{200, 200}, [2]int{h, w})
}

// TestParseConfigForms changes one key of a good file at a time; "" removes it.
func TestParseConfigForms(t *testing.T) {
	for _, tc := range []struct {
		name, key, value string
		kind             error // nil: fine
	}{
		{"the fast processor", "image_processor_type", `"SiglipImageProcessorFast"`, nil},
		{"an unknown processor", "image_processor_type", `"ViTImageProcessor"`, ErrUnsupported},
		{"variable size", "image_processor_type", `"Siglip2ImageProcessor"`, ErrUnsupported},
		{"no processor", "image_processor_type", "", ErrConfig},
		{"a number for a processor", "image_processor_type", "7", ErrConfig},
		{"a size that is one number", "size", "84", nil},
		{"no size", "size", "", ErrConfig},
		{"a null size", "size", "null", ErrConfig},
		{"height alone", "size", `{"height": 84}`, ErrUnsupported},
		{"a shortest edge, which SigLIP has not", "size", `{"shortest_edge": 84}`, ErrUnsupported},
		{"a longest edge", "size", `{"longest_edge": 84}`, ErrUnsupported},
		{"a zero side", "size", `{"height": 0, "width": 84}`, ErrConfig},
		{"a negative side", "size", `{"height": 84, "width": -84}`, ErrConfig},
		{"a broken side", "size", `{"height": 84.5, "width": 84}`, ErrConfig},
		{"a giant side", "size", `{"height": 84, "width": 1000000}`, ErrConfig},
		{"a side beyond integers", "size", `{"height": 84, "width": 1e30}`, ErrConfig},
		{"sides in a list", "size", `[84, 84]`, ErrConfig},
		{"bilinear", "resample", "2", nil},
		{"hamming", "resample", "5", nil},
		{"an unknown filter", "resample", "6", ErrUnsupported},
		{"a negative filter", "resample", "-1", ErrUnsupported},
		{"a filter by name", "resample", `"bicubic"`, ErrConfig},
		{"no filter", "resample", "", ErrConfig},
		{"no resizing", "do_resize", "false", ErrUnsupported},
		{"a switch that is none", "do_resize", `"yes"`, ErrConfig},
		{"no mean", "image_mean", "", ErrConfig},
		{"two means", "image_mean", "[0.5, 0.5]", ErrConfig},
		{"a mean beyond float32", "image_mean", "[0.5, 1e300, 0.5]", ErrConfig},
		{"no deviation", "image_std", "", ErrConfig},
		{"a zero deviation", "image_std", "[0.5, 0, 0.5]", ErrConfig},
		{"a deviation that float32 rounds to zero", "image_std", "[0.5, 1e-200, 0.5]", ErrConfig},
		{"a negative deviation", "image_std", "[0.5, -0.5, 0.5]", ErrConfig},
		{"no factor: 1/255", "rescale_factor", "", nil},
		{"a zero factor", "rescale_factor", "0", ErrConfig},
		{"a step of another processor", "do_image_splitting", "true", ErrUnsupported},
		{"the same, off", "do_image_splitting", "false", nil},
		{"padding, which SigLIP has not", "do_pad", "true", ErrUnsupported},
		{"a crop without a size", "do_center_crop", "true", ErrConfig},
		{"a key that changes nothing", "processor_class", `"SiglipProcessor"`, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var keys map[string]json.RawMessage
			require.NoError(t, json.Unmarshal([]byte(siglipConfig), &keys))
			if keys[tc.key] = json.RawMessage(tc.value); tc.value == "" {
				delete(keys, tc.key)
			}
			data, err := json.Marshal(keys)
			require.NoError(t, err)
			requireConfig(t, data, tc.key, tc.kind)
		})
	}
}

func requireConfig(t *testing.T, data []byte, key string, kind error) {
	c, err := ParseConfig(data)
	if kind == nil {
		require.NoError(t, err)
		require.NoError(t, c.check())
		return
	}
	require.Nil(t, c)
	require.ErrorIs(t, err, kind, "%v", err)
	var details *ConfigError
	require.ErrorAs(t, err, &details)
	if key == "do_center_crop" {
		key = "crop_size"
	}
	require.Equal(t, key, details.Key)
	require.Contains(t, err.Error(), key)
}

func TestParseConfigCrop(t *testing.T) {
	clip := func(rest string) []byte {
		return []byte(`{"image_processor_type": "CLIPImageProcessor", "image_mean": [0, 0, 0], "image_std": [1, 1, 1], ` + rest + `}`)
	}
	for _, tc := range []struct {
		name, rest, key string
		kind            error
	}{
		{"edge and crop", `"resample": 3, "size": {"shortest_edge": 9}, "crop_size": {"height": 9, "width": 8}`, "", nil},
		{"squash and crop", `"resample": 3, "size": {"height": 9, "width": 9}, "crop_size": 4`, "", nil},
		{"the default is to crop", `"resample": 3, "size": 9`, "crop_size", ErrConfig},
		{"no crop leaves the size open", `"resample": 3, "size": 9, "do_center_crop": false`, "do_center_crop+", ErrUnsupported},
		{"more than there is", `"resample": 3, "size": 9, "crop_size": 10`, "crop_size", ErrUnsupported},
		{"higher than there is", `"resample": 3, "size": {"height": 9, "width": 20}, "crop_size": 10`, "crop_size", ErrUnsupported},
		{"nearest takes no edge", `"resample": 0, "size": 9, "crop_size": 9`, "resample", ErrUnsupported},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.key == "do_center_crop+" {
				_, err := ParseConfig(clip(tc.rest))
				require.ErrorIs(t, err, tc.kind)
				require.ErrorContains(t, err, "do_center_crop")
				return
			}
			requireConfig(t, clip(tc.rest), tc.key, tc.kind)
		})
	}
	for _, text := range []string{"", "null", "[]", "7", "{", `{"size": NaN}`} {
		_, err := ParseConfig([]byte(text))
		require.ErrorIs(t, err, ErrConfig, text)
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(siglipConfig))
	f.Add([]byte(`{"image_processor_type": "LlavaImageProcessor", "do_pad": true, "size": 9, "crop_size": 9, "resample": 3}`))
	f.Add([]byte(`{"image_processor_type": "SmolVLMImageProcessor", "image_mean": [0, 0, 0], "image_std": [1, 1, 1], "resample": 1, "size": {"longest_edge": 9}, "max_image_size": {"longest_edge": 3}}`))
	f.Add([]byte(`{"image_processor_type": "MiniCPMVImageProcessor", "max_slice_nums": 9, "scale_resolution": 28, "patch_size": 14, "norm_mean": [0, 0, 0], "norm_std": [1, 1, 1]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseConfig(data)
		if err != nil {
			var details *ConfigError
			require.ErrorAs(t, err, &details)
			return
		}
		require.NoError(t, c.check())
	})
}

package vlm

import (
	"math"

	"github.com/llama3v/llama3v/model/llama"
	"github.com/llama3v/llama3v/model/projector"
	"github.com/llama3v/llama3v/model/siglip"
	"github.com/llama3v/llama3v/model/weights"
)

// readIdefics3 is Idefics3 (Laurençon et al. 2024, arXiv:2408.12637) and SmolVLM: a picture is cut
// into tiles, followed by the whole picture at a tile's size; each goes through a SigLIP tower with
// its post norm, and squares of scale_factor x scale_factor patches become one position. Tiles may be
// part filled: positions spread over the valid patches, padding is seen by none.
func readIdefics3(c *Config, file *weights.Config) error {
	c.names = names{vision: []string{"model.vision_model"}, projector: []string{"model.connector"}, decoder: []string{"model.text_model"}}
	text := file.Object("text_config")
	if err := c.onlyLlama(text); err != nil {
		return err
	}
	for _, key := range []string{"qk_layer_norms", "use_resampler", "rope_interleaved"} {
		if text.BoolOr(key, false) {
			return &FamilyError{File: "config.json", ModelType: c.Family, Feature: "text_config." + key}
		}
	}
	vision := siglip.ReadIdefics3Config(file.Object("vision_config"))
	vision.NoHead, vision.Positions = true, siglip.BucketPositions
	scale := file.IntOr("scale_factor", 2, 1, 1<<8)
	c.readText(file, llama.ReadInnerConfig(text))
	c.ImageToken = int32(file.IntOr("image_token_id", 128257, 0, math.MaxInt32))
	if file.Err() != nil {
		return nil
	}
	if vision.Grid()%scale != 0 {
		file.Fail("scale_factor", "is %d, the tower has %d patches along a side, no multiple of it", scale, vision.Grid())
	}
	c.Vision, c.Projector = &vision, &projector.ShuffleConfig{Scale: scale, Grid: vision.Grid()}
	c.Features = vision.LastHidden()
	return nil
}

package vlm

import (
	"github.com/llama3v/llama3v/model/llama"
	"github.com/llama3v/llama3v/model/projector"
	"github.com/llama3v/llama3v/model/siglip"
	"github.com/llama3v/llama3v/model/weights"
)

// readMiniCPM is MiniCPM-Llama3-V 2.5 (Yao et al. 2024, arXiv:2408.01800): a picture is cut into
// slices of about the size that the tower was trained at, each of its own shape, the whole picture
// before them; so400m with a 70 x 70 position table sees them one by one, and a resampler makes
// query_num positions of each. The weights once released as Llama3-V are this model under names of
// their own.
//
// The decoder's keys stand at the top level. Positions are the authors' rule; for the other one,
// set Vision.Positions to siglip.BucketPositions before the model is declared.
func readMiniCPM(c *Config, file *weights.Config) error {
	c.names = names{
		vision:    []string{"vpm", "vison"}, // the second is spelled so in the files
		projector: []string{"resampler", "projection"},
		decoder:   []string{"llm.model"},
		head:      []string{"llm"},
	}
	if version := file.FloatOr("version", 2.5, 0, 100); version != 2.5 && file.Err() == nil {
		return &FamilyError{File: "config.json", ModelType: c.Family, Feature: "a version other than 2.5"}
	}
	config := file.Object("vision_config")
	if kind := config.StringOr("model_type", "idefics2"); kind != "idefics2" && kind != "idefics2_vision" {
		return &FamilyError{File: "config.json", ModelType: c.Family, Tower: kind}
	}
	vision := siglip.ReadIdefics2Config(config)
	vision.NoHead, vision.Positions = true, siglip.RowPositions
	if file.BoolOr("drop_vision_last_layer", false) {
		vision.Layers-- // not run, and not in the file
	}
	queries := file.Int("query_num", 1, 1<<12)
	size := file.IntOr("image_size", 448, 1, 1<<13)
	c.readText(file, llama.ReadConfig(file))
	c.SliceEdge, c.Slices = size, 9
	if file.Has("slice_config") {
		c.Slices = file.Object("slice_config").IntOr("max_slice_nums", 9, 1, 1<<8)
	}
	if !file.BoolOr("slice_mode", true) {
		c.Slices = 1
	}
	if file.Err() != nil {
		return nil
	}
	const headDim = 128
	if c.Text.Dim%headDim != 0 {
		file.Fail("hidden_size", "is %d; the resampler has heads of %d", c.Text.Dim, headDim)
	}
	if vision.Layers < 1 {
		file.Fail("drop_vision_last_layer", "is true, and vision_config.num_hidden_layers leaves no layer")
	}
	// A slice has about size x size pixels. Rounding sides up to whole patches adds some, most in
	// narrow ones.
	vision.MostPatches = 2 * (size / vision.Patch) * (size / vision.Patch)
	if vision.MostPatches < 1 {
		file.Fail("image_size", "is %d, less than a patch of %d", size, vision.Patch)
	}
	c.Vision, c.Projector = &vision, &projector.ResamplerConfig{Queries: queries, HeadDim: headDim, Eps: 1e-6}
	c.Features = vision.LastHidden()
	return nil
}

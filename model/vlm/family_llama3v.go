package vlm

import (
	"math"

	"github.com/llama3v/llama3v/model/llama"
	"github.com/llama3v/llama3v/model/projector"
	"github.com/llama3v/llama3v/model/siglip"
	"github.com/llama3v/llama3v/model/weights"
)

// readLlama3V is this project's own family: a SigLIP tower, two self-attention blocks over its
// patches (projector type "llama3v_sa2"), a Llama 3 decoder. All pictures' patches become positions
// of the prompt, in place of their image token; everything is causal.
func readLlama3V(c *Config, file *weights.Config) error {
	if !file.Has("projector_config") && file.Has("query_num") {
		c.Family = "minicpmv" // what was released under this project's name
		return readMiniCPM(c, file)
	}
	c.names = names{vision: []string{"vision_tower.vision_model"}, projector: []string{"projector"},
		decoder: []string{"language_model.model"}, head: []string{"language_model"}}
	p := file.Object("projector_config")
	if kind := p.String("type"); p.Err() == nil && kind != "llama3v_sa2" {
		return &FamilyError{File: "config.json", ModelType: c.Family, Projector: kind}
	}
	file.EnumOr("vision_feature_select_strategy", "full", "full") // no class token to drop
	vision, projection := siglip.ReadConfig(file.Object("vision_config")), projector.ReadSA2Config(p)
	c.Vision, c.Projector = &vision, &projection
	c.readText(file, llama.ReadConfig(file.Object("text_config")))
	c.ImageToken = int32(file.Int("image_token_index", 0, math.MaxInt32))
	c.readLayer(file, "vision_feature_layer")
	return nil
}

// readText takes the decoder inside a larger model. Whether its tables are tied stands at both levels,
// and defaults to false at each.
func (c *Config) readText(file *weights.Config, text llama.Config) {
	text.Tied = text.Tied || file.BoolOr("tie_word_embeddings", false)
	c.Text = &text
}

// readLayer reads the hidden state that the projector takes: -2 where the key is absent.
func (c *Config) readLayer(file *weights.Config, key string) {
	layer := file.IntOr(key, -2, math.MinInt32, math.MaxInt32)
	if file.Err() != nil {
		return
	}
	features, err := c.Vision.State(layer)
	if err != nil {
		file.Fail(key, "is %d: %v", layer, err)
	}
	c.Features = features
}

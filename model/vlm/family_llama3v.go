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
	c.names = names{vision: "vision_tower.vision_model", projector: "projector", decoder: "language_model.model", head: "language_model"}
	p := file.Object("projector_config")
	if kind := p.String("type"); p.Err() == nil && kind != "llama3v_sa2" {
		return &FamilyError{File: "config.json", ModelType: c.Family, Projector: kind}
	}
	file.EnumOr("vision_feature_select_strategy", "full", "full") // no class token to drop
	vision, projection := siglip.ReadConfig(file.Object("vision_config")), projector.ReadSA2Config(p)
	text := llama.ReadConfig(file.Object("text_config"))
	// The key stands at both levels, and defaults to false at each.
	text.Tied = text.Tied || file.BoolOr("tie_word_embeddings", false)
	c.Vision, c.Projector, c.Text = &vision, &projection, &text
	c.ImageToken = int32(file.Int("image_token_index", 0, math.MaxInt32))
	layer := file.IntOr("vision_feature_layer", -2, math.MinInt32, math.MaxInt32)
	if file.Err() != nil {
		return nil
	}
	features, err := vision.State(layer)
	if err != nil {
		file.Fail("vision_feature_layer", "is %d: %v", layer, err)
	}
	c.Features = features
	if int(c.ImageToken) >= text.Vocab {
		file.Fail("image_token_index", "is %d, the vocabulary has %d", c.ImageToken, text.Vocab)
	}
	return nil
}

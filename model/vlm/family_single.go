package vlm

import (
	"github.com/llama3v/llama3v/model/llama"
	"github.com/llama3v/llama3v/model/siglip"
	"github.com/llama3v/llama3v/model/weights"
)

// readLlama is a decoder alone: Llama 3, 3.1, 3.2, SmolLM2.
func readLlama(c *Config, file *weights.Config) error {
	text := llama.ReadConfig(file)
	c.Text = &text
	c.names = names{decoder: []string{"model"}}
	return nil
}

// readSigLIP is both towers of SigLIP, or SigLIP 2 at a fixed resolution, which is the same network: the
// tokenizer's file tells them apart, and preprocessor_config.json. A checkpoint without the text tower is
// the vision tower alone.
func readSigLIP(c *Config, file *weights.Config) error {
	vision := siglip.ReadConfig(file.Object("vision_config"))
	c.Vision, c.Features = &vision, vision.LastHidden()
	c.names = names{vision: []string{"vision_model"}, ignore: []string{"logit_scale", "logit_bias"}}
	if !file.Has("text_config") {
		return nil
	}
	words := siglip.ReadTextConfig(file.Object("text_config"))
	c.Words = &words
	// Both go through one inner product. A vision tower's embedding is as wide as the tower.
	if file.Err() == nil && words.Out != vision.Dim {
		file.Fail("text_config", "makes embeddings of %d columns, vision_config of %d", words.Out, vision.Dim)
	}
	return nil
}

// readSigLIPVision is the vision tower alone.
func readSigLIPVision(c *Config, file *weights.Config) error {
	vision := siglip.ReadConfig(file)
	c.Vision, c.Features = &vision, vision.LastHidden()
	c.names = names{vision: []string{"vision_model"}}
	return nil
}

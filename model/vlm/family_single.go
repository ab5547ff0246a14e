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

// readSigLIP is the vision tower of a checkpoint that has a text tower too, which is left aside.
func readSigLIP(c *Config, file *weights.Config) error {
	vision := siglip.ReadConfig(file.Object("vision_config"))
	c.Vision, c.Features = &vision, vision.LastHidden()
	c.names = names{vision: []string{"vision_model"}, ignore: []string{"text_model.*", "logit_scale", "logit_bias"}}
	return nil
}

// readSigLIPVision is the vision tower alone.
func readSigLIPVision(c *Config, file *weights.Config) error {
	vision := siglip.ReadConfig(file)
	c.Vision, c.Features = &vision, vision.LastHidden()
	c.names = names{vision: []string{"vision_model"}}
	return nil
}

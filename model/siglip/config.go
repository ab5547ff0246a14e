package siglip

import (
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/weights"
)

// Config holds the sizes of a vision tower.
type Config struct {
	Dim, Hidden, Layers, Heads int
	Channels, ImageSize, Patch int // pixels; rest pixels at the right and bottom are unused
	Eps                        float32
	Act                        ops.Activation
	NoHead                     bool // vision_use_head false: the pooling head is not to be used
}

// Grid is the patches along a side, Patches those of a picture.
func (c Config) Grid() int    { return c.ImageSize / c.Patch }
func (c Config) Patches() int { return c.Grid() * c.Grid() }

func (c Config) layerShape() LayerShape {
	return LayerShape{Dim: c.Dim, Heads: c.Heads, Hidden: c.Hidden, Eps: c.Eps, Act: c.Act}
}

// ReadConfig reads vision_config. Absent keys have the values of transformers' SiglipVisionConfig,
// which leaves them out when it writes; faults stay in c.
func ReadConfig(c *weights.Config) Config {
	cfg := Config{
		Dim:       c.IntOr("hidden_size", 768, 1, 1<<16),
		Hidden:    c.IntOr("intermediate_size", 3072, 1, 1<<20),
		Layers:    c.IntOr("num_hidden_layers", 12, 1, 1<<10),
		Heads:     c.IntOr("num_attention_heads", 12, 1, 1<<10),
		Channels:  c.IntOr("num_channels", 3, 3, 3),
		ImageSize: c.IntOr("image_size", 224, 1, 1<<13),
		Patch:     c.IntOr("patch_size", 16, 1, 1<<10),
		Eps:       float32(c.FloatOr("layer_norm_eps", 1e-6, 1e-20, 1)),
		Act:       ReadActivation(c, "hidden_act"),
		NoHead:    !c.BoolOr("vision_use_head", true),
	}
	if c.Err() != nil {
		return cfg
	}
	if cfg.Dim%cfg.Heads != 0 {
		c.Fail("hidden_size", "is %d, no multiple of num_attention_heads %d", cfg.Dim, cfg.Heads)
	}
	if cfg.Patch > cfg.ImageSize {
		c.Fail("patch_size", "is %d, more than image_size %d", cfg.Patch, cfg.ImageSize)
	}
	return cfg
}

// ReadActivation reads the name of an activation; the three GELU forms are three functions. Absent
// means gelu_pytorch_tanh, as in SigLIP's reference.
func ReadActivation(c *weights.Config, key string) ops.Activation {
	switch c.EnumOr(key, "gelu_pytorch_tanh", "gelu_pytorch_tanh", "gelu", "quick_gelu", "silu") {
	case "gelu":
		return ops.GELUErf
	case "quick_gelu":
		return ops.GELUQuick
	case "silu":
		return ops.SiLU
	}
	return ops.GELUTanh
}

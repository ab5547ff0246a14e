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

	// Class makes it a CLIP tower (Radford et al. 2021, arXiv:2103.00020): a class token before the
	// patches, a norm before the layers, patches without a bias.
	Class bool
	// Positions says which rows of the position table a view's patches take.
	Positions Positions
	// MostPatches of a view, where each view has a size of its own. 0: all have ImageSize.
	MostPatches int
	// Spare is how many of the last layers a checkpoint may lack, and with them the post norm:
	// those that no feature is taken from.
	Spare int
}

// Grid is the patches along a side, Patches those of a picture at the native size.
func (c Config) Grid() int    { return c.ImageSize / c.Patch }
func (c Config) Patches() int { return c.Grid() * c.Grid() }

// ViewPatches is the most patches of one view.
func (c Config) ViewPatches() int {
	if c.MostPatches > 0 {
		return c.MostPatches
	}
	return c.Patches()
}

// class is the tokens of a view that are no patches.
func (c Config) class() int {
	if c.Class {
		return 1
	}
	return 0
}

func (c Config) layerShape() LayerShape {
	return LayerShape{Dim: c.Dim, Heads: c.Heads, Hidden: c.Hidden, Eps: c.Eps, Act: c.Act}
}

// The values that transformers' configs have for absent keys, which it leaves out when it writes.
var (
	defaults         = Config{Dim: 768, Hidden: 3072, Layers: 12, Heads: 12, ImageSize: 224, Patch: 16, Eps: 1e-6, Act: ops.GELUTanh}
	clipDefaults     = Config{Dim: 768, Hidden: 3072, Layers: 12, Heads: 12, ImageSize: 224, Patch: 32, Eps: 1e-5, Act: ops.GELUQuick, Class: true}
	idefics2Defaults = Config{Dim: 768, Hidden: 3072, Layers: 12, Heads: 12, ImageSize: 224, Patch: 32, Eps: 1e-6, Act: ops.GELUTanh}
	idefics3Defaults = Config{Dim: 1152, Hidden: 3072, Layers: 12, Heads: 16, ImageSize: 224, Patch: 32, Eps: 1e-6, Act: ops.GELUTanh}
)

// The towers that some configs give by name alone.
var (
	// SO400M384 is google/siglip-so400m-patch14-384.
	SO400M384 = Config{Dim: 1152, Hidden: 4304, Layers: 27, Heads: 16, Channels: 3, ImageSize: 384, Patch: 14, Eps: 1e-6, Act: ops.GELUTanh}
	// CLIPL336 is openai/clip-vit-large-patch14-336.
	CLIPL336 = Config{Dim: 1024, Hidden: 4096, Layers: 24, Heads: 16, Channels: 3, ImageSize: 336, Patch: 14, Eps: 1e-5, Act: ops.GELUQuick, Class: true}
)

// ReadConfig reads vision_config. Absent keys have the values of transformers' SiglipVisionConfig,
// which leaves them out when it writes; faults stay in c.
func ReadConfig(c *weights.Config) Config { return readConfig(c, defaults) }

// ReadCLIPConfig is ReadConfig for a CLIP tower (CLIPVisionConfig).
func ReadCLIPConfig(c *weights.Config) Config { return readConfig(c, clipDefaults) }

// ReadIdefics2Config is ReadConfig for the tower of MiniCPM-V 2.5 (Idefics2VisionConfig).
func ReadIdefics2Config(c *weights.Config) Config { return readConfig(c, idefics2Defaults) }

// ReadIdefics3Config is ReadConfig for the tower of Idefics3 and SmolVLM (Idefics3VisionConfig).
func ReadIdefics3Config(c *weights.Config) Config { return readConfig(c, idefics3Defaults) }

func readConfig(c *weights.Config, absent Config) Config {
	cfg := Config{
		Dim:       c.IntOr("hidden_size", absent.Dim, 1, 1<<16),
		Hidden:    c.IntOr("intermediate_size", absent.Hidden, 1, 1<<20),
		Layers:    c.IntOr("num_hidden_layers", absent.Layers, 1, 1<<10),
		Heads:     c.IntOr("num_attention_heads", absent.Heads, 1, 1<<10),
		Channels:  c.IntOr("num_channels", 3, 3, 3),
		ImageSize: c.IntOr("image_size", absent.ImageSize, 1, 1<<13),
		Patch:     c.IntOr("patch_size", absent.Patch, 1, 1<<10),
		Eps:       float32(c.FloatOr("layer_norm_eps", float64(absent.Eps), 1e-20, 1)),
		Act:       ReadActivationOr(c, "hidden_act", absent.Act),
		NoHead:    !c.BoolOr("vision_use_head", true),
		Class:     absent.Class,
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
	return ReadActivationOr(c, key, ops.GELUTanh)
}

// ReadActivationOr is ReadActivation where absent means another one.
func ReadActivationOr(c *weights.Config, key string, absent ops.Activation) ops.Activation {
	if !c.Has(key) {
		return absent
	}
	switch c.Enum(key, "gelu_pytorch_tanh", "gelu", "quick_gelu", "silu") {
	case "gelu":
		return ops.GELUErf
	case "quick_gelu":
		return ops.GELUQuick
	case "silu":
		return ops.SiLU
	}
	return ops.GELUTanh
}

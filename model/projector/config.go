package projector

import (
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/siglip"
	"github.com/llama3v/llama3v/model/weights"
)

// SA2Config holds the sizes of an SA2 block.
type SA2Config struct {
	Width, Blocks, Heads int
	Hidden               int // 0: blocks of attention only
	Eps                  float32
	Act                  ops.Activation
}

// ReadSA2Config reads projector_config; faults stay in c.
func ReadSA2Config(c *weights.Config) SA2Config {
	cfg := SA2Config{
		Width:  c.Int("width", 1, 1<<16),
		Blocks: c.IntOr("num_blocks", 2, 1, 1<<8),
		Heads:  c.Int("num_heads", 1, 1<<10),
		Hidden: c.Int("intermediate_size", 0, 1<<20),
		Eps:    float32(c.FloatOr("layer_norm_eps", 1e-6, 1e-20, 1)),
		Act:    siglip.ReadActivation(c, "hidden_act"),
	}
	if c.Err() == nil && cfg.Width%cfg.Heads != 0 {
		c.Fail("width", "is %d, no multiple of num_heads %d", cfg.Width, cfg.Heads)
	}
	return cfg
}

func (c SA2Config) layerShape() siglip.LayerShape {
	return siglip.LayerShape{Dim: c.Width, Heads: c.Heads, Hidden: c.Hidden, Eps: c.Eps, Act: c.Act}
}

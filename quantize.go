package llama3v

import (
	"fmt"

	"github.com/llama3v/llama3v/model/load"
	"github.com/llama3v/llama3v/model/weights"
)

// WithQuantization lets the weights of linear layers that a checkpoint stores as plain floats become
// block type t while they are read (weights.Q4_0, weights.Q8_0, weights.Q4_K and so on). Rows that no
// superblock of 256 fills take the type that weights.DType.Fallback gives; where no block fits, and for
// embedding tables, norms and what is quantised already, weights stay as they are. The logger hears of
// each tensor's error.
func WithQuantization(t weights.DType) Option {
	return func(c *config) error {
		if !t.Quantized() {
			return fmt.Errorf("%w: quantization to %s (one of %v)", ErrOption, t, weights.Quantized)
		}
		c.quantization = t
		return nil
	}
}

// quantize tells the loader what the option says.
func (c *config) quantize(l *load.Loader) error {
	if c.quantization == weights.Invalid {
		return nil
	}
	return l.Quantize(c.quantization, func(q load.Quantized) {
		c.logger.Info("quantised", "tensor", q.Tensor, "from", q.From, "to", q.To, "relative_error", q.Error)
	})
}

package projector

import (
	"fmt"
	"strconv"

	"github.com/llama3v/llama3v/model/load"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/siglip"
)

// MLPConfig holds the sizes of LLaVA's projector: "linear" has one layer, "mlp2x_gelu" two, all as
// wide as the decoder.
type MLPConfig struct {
	Layers int
	Act    ops.Activation // between layers: the exact GELU in every published model
	NoBias bool
}

// MLP is LLaVA 1.5's projector (Liu et al. 2023, arXiv:2310.03744), token by token:
//
//	y = W2 act(W1 x + b1) + b2
type MLP struct {
	Layers []ops.Linear // [textDim, visionDim], then [textDim, textDim]

	config MLPConfig
	hidden [2]*ops.Tensor // [tokens, textDim], taking turns
}

// Load declares the layers, named linear_1, linear_2, ... (transformers) or 0, 2, ... (LLaVA and
// Bunny number the activations between them too).
func (c MLPConfig) Load(l *load.Loader, visionDim, textDim int) Projector {
	p := &MLP{config: c, Layers: make([]ops.Linear, c.Layers)}
	in := visionDim
	for i := range p.Layers {
		layer := l.Sub(fmt.Sprintf("linear_%d", i+1), strconv.Itoa(2*i))
		layer.Linear(&p.Layers[i], in, load.Bias(!c.NoBias), load.Part{Weight: "weight", Bias: "bias", Rows: textDim})
		in = textDim
	}
	return p
}

func (c MLPConfig) String() string { return fmt.Sprintf("mlp: %d linear layers, %s", c.Layers, c.Act) }

// Tokens is tokens: nothing is pooled.
func (c MLPConfig) Tokens(tokens int) int { return tokens }

// WorkspaceBytes implements Config.
func (c MLPConfig) WorkspaceBytes(views, tokens, _, textDim int, _ ops.DType) int64 {
	return int64(min(c.Layers, 2)) * int64(views*tokens) * int64(textDim) * 4
}

// Prepare implements Projector.
func (p *MLP) Prepare(d *ops.Device, views, tokens int) (err error) {
	for i := range min(len(p.Layers), len(p.hidden)) {
		if p.hidden[i], err = d.NewTensor(ops.F32, views*tokens, p.Layers[0].Weight.Rows()); err != nil {
			return err
		}
	}
	return nil
}

// Forward implements Projector. Tap: "projected".
func (p *MLP) Forward(s *ops.Stream, features *ops.Tensor, _ []siglip.Grid) *ops.Tensor {
	x, rows := features, features.Rows()
	for i, layer := range p.Layers {
		y := p.hidden[i%2].RowRange(0, rows)
		if i+1 < len(p.Layers) {
			s.LinearAct(y, x, layer, p.config.Act)
		} else {
			s.Linear(y, x, layer)
		}
		x = y
	}
	s.Tap("projected", x)
	return x
}

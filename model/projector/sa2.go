package projector

import (
	"fmt"

	"github.com/llama3v/llama3v/model/load"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/siglip"
)

// SA2 is the llama3v family's own block ("llama3v_sa2"): attention over the patches of one
// picture aligns them with text embeddings.
//
//	x = in(features)
//	x = layer(x)     NumBlocks times, the SigLIP encoder layer
//	y = out(norm(x))
//
// The features already carry positions, so there is no positional term.
type SA2 struct {
	In     ops.Linear // [width, visionDim]
	Blocks []siglip.Layer
	Norm   siglip.Norm
	Out    ops.Linear // [textDim, width]

	config SA2Config
	x, y   *ops.Tensor // [tokens, width], [tokens, textDim]
	offset *ops.Tensor // [pictures+1, 1] int32
	work   *siglip.Workspace
}

var sa2Names = siglip.LayerNames{Norm1: "norm1", Attention: "attn", Norm2: "norm2", MLP: "mlp"}

// Load declares the block's tensors under l ("projector").
func (c SA2Config) Load(l *load.Loader, visionDim, textDim int) Projector {
	p := &SA2{config: c, Blocks: make([]siglip.Layer, c.Blocks)}
	l.Linear(&p.In, visionDim, load.WithBias, load.Rows("in_proj", c.Width))
	for i := range p.Blocks {
		p.Blocks[i].Load(l.Sub(fmt.Sprintf("blocks.%d", i)), sa2Names, c.layerShape())
	}
	p.Norm.Load(l.Sub("norm"), c.Width, c.Eps)
	l.Linear(&p.Out, c.Width, load.WithBias, load.Rows("out_proj", textDim))
	return p
}

func (c SA2Config) String() string {
	return fmt.Sprintf("llama3v_sa2: width %d, %d blocks, %d heads of %d, mlp %d", c.Width, c.Blocks, c.Heads, c.Width/c.Heads, c.Hidden)
}

// Prepare implements Projector.
func (p *SA2) Prepare(d *ops.Device, pictures, patches int) (err error) {
	tokens := pictures * patches
	if p.x, err = d.NewTensor(ops.F32, tokens, p.config.Width); err != nil {
		return err
	}
	if p.y, err = d.NewTensor(ops.F32, tokens, p.Out.Weight.Rows()); err != nil {
		return err
	}
	if p.offset, err = d.FromInt32(ops.Multiples(pictures+1, patches), pictures+1, 1); err != nil {
		return err
	}
	p.work, err = siglip.NewWorkspace(d, tokens, p.config.layerShape())
	return err
}

// WorkspaceBytes implements Config.
func (c SA2Config) WorkspaceBytes(pictures, patches, _, textDim int, kept ops.DType) int64 {
	tokens := pictures * patches
	return int64(tokens)*int64(c.Width+textDim)*4 + siglip.WorkspaceBytes(tokens, c.layerShape(), kept) + int64(pictures+1)*4
}

// Tokens is patches: nothing is pooled.
func (c SA2Config) Tokens(patches int) int { return patches }

// Forward implements Projector. Taps: "projector.in_proj", "projector.block.k", "projector.norm",
// "projected".
func (p *SA2) Forward(s *ops.Stream, features *ops.Tensor, grids []siglip.Grid) *ops.Tensor {
	rows := features.Rows()
	x, y, offsets := p.x.RowRange(0, rows), p.y.RowRange(0, rows), p.offset.RowRange(0, len(grids)+1)
	s.Linear(x, features, p.In)
	s.Tap("projector.in_proj", x)
	for i := range p.Blocks {
		p.Blocks[i].Forward(s, x, offsets, p.work)
		s.Tap(fmt.Sprintf("projector.block.%d", i), x)
	}
	p.Norm.Forward(s, x, x)
	s.Tap("projector.norm", x)
	s.Linear(y, x, p.Out)
	s.Tap("projected", y)
	return y
}

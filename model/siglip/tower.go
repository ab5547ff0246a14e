package siglip

import (
	"fmt"

	"github.com/llama3v/llama3v/model/load"
	"github.com/llama3v/llama3v/model/ops"
)

// Tower is the vision model. Head is nil when the checkpoint has no pooling head, PostNorm is
// loaded whether or not a caller asks for features behind it.
type Tower struct {
	Patch    ops.Linear  // [dim, channels*patch*patch], flattened in (channel, row, column) order
	Position *ops.Tensor // [grid*grid, dim], a CLIP tower's class token before them
	Class    *ops.Tensor // [1, dim], nil without a class token
	PreNorm  *Norm       // nil but in a CLIP tower
	Layers   []Layer     // fewer than the config says where the checkpoint lacks spare ones
	PostNorm Norm        // empty where the checkpoint lacks it and it is spare
	Head     *Head

	Config Config
}

// Load declares the tower's tensors under l, the name of the vision model ("vision_model").
// The pooling head is taken when the checkpoint has it and the config does not rule it out.
func Load(l *load.Loader, cfg Config) *Tower {
	t := &Tower{Config: cfg, Layers: make([]Layer, cfg.Layers)}
	embeddings := l.Sub("embeddings")
	patch := load.Rows("patch_embedding", cfg.Dim)
	patch.Shape = []int{cfg.Dim, cfg.Channels, cfg.Patch, cfg.Patch} // a convolution's
	embeddings.Linear(&t.Patch, cfg.Channels*cfg.Patch*cfg.Patch, load.Bias(!cfg.Class), patch)
	embeddings.Matrix(&t.Position, "position_embedding.weight", cfg.class()+cfg.Patches(), cfg.Dim)
	if cfg.Class {
		embeddings.Vector(&t.Class, "class_embedding", cfg.Dim)
		t.PreNorm = &Norm{}
		t.PreNorm.Load(l.Sub("pre_layrnorm"), cfg.Dim, cfg.Eps) // the released checkpoints' spelling
	}
	layer := func(i int) *load.Loader { return l.Sub(fmt.Sprintf("encoder.layers.%d", i)) }
	for spare := cfg.Spare; spare > 0 && !layer(len(t.Layers)-1).Has("layer_norm1.weight"); spare-- {
		t.Layers = t.Layers[:len(t.Layers)-1]
	}
	for i := range t.Layers {
		t.Layers[i].Load(layer(i), towerNames, cfg.layerShape())
	}
	if post := l.Sub("post_layernorm"); cfg.Spare == 0 || post.Has("weight") {
		t.PostNorm.Load(post, cfg.Dim, cfg.Eps)
	}
	if head := l.Sub("head"); !cfg.NoHead && !cfg.Class && head.Has("probe") {
		t.Head = loadHead(head, cfg)
	}
	// Some old files carry the position numbers 0, 1, 2, ... as a tensor.
	l.Ignore("embeddings.position_ids")
	return t
}

// runs says why the tower cannot give f: a layer or norm that is spare and not in the checkpoint, no
// pooling head.
func (t *Tower) runs(f Features) error {
	c := t.Config
	switch {
	case f.Layer < 0 || f.Layer > c.Layers:
		return fmt.Errorf("%w: vision layer %d of a tower with %d layers", ops.ErrShape, f.Layer, c.Layers)
	case f.Layer > len(t.Layers):
		return fmt.Errorf("%w: vision layer %d: the checkpoint has %d of the tower's %d", ops.ErrUnsupported, f.Layer, len(t.Layers), c.Layers)
	case f.Post && t.PostNorm.Weight == nil:
		return fmt.Errorf("%w: output behind the post norm: the checkpoint has none", ops.ErrUnsupported)
	case f.Pooled && t.Head == nil:
		return fmt.Errorf("%w: pooled output: the checkpoint has no pooling head", ops.ErrUnsupported)
	}
	return nil
}

// Features says which output of the tower is wanted.
type Features struct {
	Layer  int  // hidden state 0 (embedding output) to Config.Layers (last layer, before the post norm)
	Post   bool // Layer is Config.Layers, and the post norm follows
	Pooled bool // the pooling head follows the post norm: one row per picture

	// Patches leaves a CLIP tower's class token out.
	Patches bool
}

// State is hidden state layer, counted from the end when negative: -1 is the last layer's output.
// An index outside is an error that names the range (hidden states are one more than layers).
func (c Config) State(layer int) (Features, error) {
	index := layer
	if index < 0 {
		index += c.Layers + 1
	}
	if index < 0 || index > c.Layers {
		return Features{}, fmt.Errorf("%w: vision layer %d of a tower with %d layers (0 to %d, or -%d to -1)",
			ops.ErrShape, layer, c.Layers, c.Layers, c.Layers+1)
	}
	return Features{Layer: index}, nil
}

// LastHidden is the output behind the post norm; a CLIP tower's is the last layer's, as its post norm
// is for the class token alone.
func (c Config) LastHidden() Features { return Features{Layer: c.Layers, Post: !c.Class} }

// Pooled is the pooling head's output.
func (c Config) Pooled() Features { return Features{Layer: c.Layers, Post: true, Pooled: true} }

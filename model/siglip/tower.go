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
	Position *ops.Tensor // [grid*grid, dim]
	Layers   []Layer
	PostNorm Norm
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
	embeddings.Linear(&t.Patch, cfg.Channels*cfg.Patch*cfg.Patch, load.WithBias, patch)
	embeddings.Matrix(&t.Position, "position_embedding.weight", cfg.Patches(), cfg.Dim)
	for i := range t.Layers {
		t.Layers[i].Load(l.Sub(fmt.Sprintf("encoder.layers.%d", i)), towerNames, cfg.layerShape())
	}
	t.PostNorm.Load(l.Sub("post_layernorm"), cfg.Dim, cfg.Eps)
	if head := l.Sub("head"); !cfg.NoHead && head.Has("probe") {
		t.Head = loadHead(head, cfg)
	}
	// Some old files carry the position numbers 0, 1, 2, ... as a tensor.
	l.Ignore("embeddings.position_ids")
	return t
}

// Features says which output of the tower is wanted.
type Features struct {
	Layer  int  // hidden state 0 (embedding output) to Config.Layers (last layer, before the post norm)
	Post   bool // Layer is Config.Layers, and the post norm follows
	Pooled bool // the pooling head follows the post norm: one row per picture
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

// LastHidden is the output behind the post norm.
func (c Config) LastHidden() Features { return Features{Layer: c.Layers, Post: true} }

// Pooled is the pooling head's output.
func (c Config) Pooled() Features { return Features{Layer: c.Layers, Post: true, Pooled: true} }

// Encoder runs a Tower: its workspaces, for up to a number of pictures of one size at a time.
type Encoder struct {
	tower    *Tower
	pictures int // most at once
	height   int
	width    int
	patches  int // of a picture

	pixels   *ops.Tensor // [pictures*channels*height, width]
	position *ops.Tensor // [patches, dim]: the tower's own at the native size
	x        *ops.Tensor // [pictures*patches, dim]
	offsets  *ops.Tensor // [pictures+1, 1] int32: 0, patches, 2*patches, ...
	work     *Workspace
	head     *headWork
}

// NewEncoder makes an encoder for pictures of height x width pixels. At the native size the
// position table is used as it is; at others it is resized (see resizePositions).
func NewEncoder(d *ops.Device, t *Tower, pictures, height, width int) (*Encoder, error) {
	c := t.Config
	gridH, gridW := height/c.Patch, width/c.Patch
	if gridH < 1 || gridW < 1 || pictures < 1 {
		return nil, fmt.Errorf("%w: %d pictures of %d x %d pixels with patches of %d", ops.ErrShape, pictures, width, height, c.Patch)
	}
	e := &Encoder{tower: t, pictures: pictures, height: height, width: width, patches: gridH * gridW, position: t.Position}
	tokens := pictures * e.patches
	var err error
	if gridH != c.Grid() || gridW != c.Grid() {
		if e.position, err = resizedPositions(d, t, gridH, gridW); err != nil {
			return nil, err
		}
	}
	if e.pixels, err = d.NewTensor(ops.F32, pictures*c.Channels*height, width); err != nil {
		return nil, err
	}
	if e.x, err = d.NewTensor(ops.F32, tokens, c.Dim); err != nil {
		return nil, err
	}
	if e.offsets, err = d.FromInt32(ops.Multiples(pictures+1, e.patches), pictures+1, 1); err != nil {
		return nil, err
	}
	if e.work, err = NewWorkspace(d, tokens, c.layerShape()); err != nil {
		return nil, err
	}
	if t.Head != nil {
		e.head, err = t.Head.newWork(d, pictures, e.patches, c)
	}
	return e, err
}

// EncoderBytes is what NewEncoder allocates at the native size.
func EncoderBytes(c Config, pictures int, head bool) int64 {
	tokens := int64(pictures * c.Patches())
	bytes := int64(pictures*c.Channels*c.ImageSize*c.ImageSize)*4 + tokens*int64(c.Dim)*4 +
		WorkspaceBytes(int(tokens), c.layerShape()) + int64(pictures+1)*4
	if head {
		bytes += headWorkBytes(pictures, c)
	}
	return bytes
}

// Pictures is the most pictures of one Forward; Patches the tokens of each.
func (e *Encoder) Pictures() int { return e.pictures }
func (e *Encoder) Patches() int  { return e.patches }

// Forward queues the tower on pixels, n pictures [n][channels][height][width] of normalised
// float32, up to the output that f asks for; layers above it do not run. It returns that output:
// [n*patches, dim], or [n, dim] when pooled; it stays valid until the next Forward. Errors stay in s.
//
// Taps: "vision.patch" is not separate from the positions here; "vision.hidden.k",
// "vision.last_hidden_state", "vision.pooler_output".
func (e *Encoder) Forward(s *ops.Stream, pixels []float32, f Features) *ops.Tensor {
	c := e.tower.Config
	size := c.Channels * e.height * e.width
	n := len(pixels) / size
	if n < 1 || n > e.pictures || n*size != len(pixels) {
		s.Fail(fmt.Errorf("%w: %d pixel values for 1 to %d pictures of %d", ops.ErrShape, len(pixels), e.pictures, size))
		return e.x
	}
	if f.Layer < 0 || f.Layer > c.Layers {
		s.Fail(fmt.Errorf("%w: vision layer %d of a tower with %d layers", ops.ErrShape, f.Layer, c.Layers))
		return e.x
	}
	if f.Pooled && e.tower.Head == nil {
		s.Fail(fmt.Errorf("%w: pooled output: the checkpoint has no pooling head", ops.ErrUnsupported))
		return e.x
	}
	if err := e.pixels.WriteFloat32(0, pixels); err != nil {
		s.Fail(err)
		return e.x
	}
	x, offsets := e.x.RowRange(0, n*e.patches), e.offsets.RowRange(0, n+1)
	s.PatchEmbed(x, e.pixels.RowRange(0, n*c.Channels*e.height), ops.PatchEmbed{
		Linear: e.tower.Patch, Position: e.position,
		Images: n, Channels: c.Channels, Height: e.height, Width: e.width, Patch: c.Patch,
	})
	s.Tap("vision.hidden.0", x)
	for i := range e.tower.Layers[:f.Layer] {
		e.tower.Layers[i].Forward(s, x, offsets, e.work)
		s.Tap(fmt.Sprintf("vision.hidden.%d", i+1), x)
	}
	if !f.Post {
		return x
	}
	e.tower.PostNorm.Forward(s, x, x)
	s.Tap("vision.last_hidden_state", x)
	if !f.Pooled {
		return x
	}
	pooled := e.tower.Head.forward(s, x, offsets, n, e.head)
	s.Tap("vision.pooler_output", pooled)
	return pooled
}

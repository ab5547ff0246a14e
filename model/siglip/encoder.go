package siglip

import (
	"fmt"

	"github.com/llama3v/llama3v/model/ops"
)

// Encoder runs a Tower: its workspaces, for up to a number of views at a time.
type Encoder struct {
	tower         *Tower
	views         int // most at once
	patches       int // of all of them
	height, width int // of every view; 0 where each has its own size

	pixels   *ops.Tensor // [all pixels of all views, 1]
	position *ops.Tensor // [patches, dim]: of one view, where all have one size; else gathered for all
	index    *ops.Tensor // [patches, 1] int32: what is gathered; nil in towers that take the table
	mask     *ops.Tensor // [patches, 1] uint8: 0 for padding; nil like index
	class    *ops.Tensor // [1, dim]: the class token with its position, nil without
	bare     *ops.Tensor // [patches, dim]: features without the class tokens
	x        *ops.Tensor // [tokens, dim]
	offsets  *ops.Tensor // [views+1, 1] int32
	work     *Workspace
	head     *headWork

	captured map[pass]capturedPass
}

// pass is what a forward pass depends on where all views have the encoder's size.
type pass struct {
	views    int
	padded   bool
	features Features
	compute  ops.DType
}

type capturedPass struct {
	graph *ops.Graph
	out   *ops.Tensor
}

// NewEncoder makes an encoder for pictures of height x width pixels. At the native size the
// position table is used as it is; at others it is resized (see resizePositions) or, in towers that
// have another rule, spread over the patches by it.
func NewEncoder(d *ops.Device, t *Tower, pictures, height, width int) (*Encoder, error) {
	c := t.Config
	gridH, gridW := height/c.Patch, width/c.Patch
	if gridH < 1 || gridW < 1 || pictures < 1 {
		return nil, fmt.Errorf("%w: %d pictures of %d x %d pixels with patches of %d", ops.ErrShape, pictures, width, height, c.Patch)
	}
	e := &Encoder{tower: t, views: pictures, patches: pictures * gridH * gridW, height: height, width: width, position: t.Position}
	if c.Class {
		e.position = t.Position.RowRange(1, c.Patches())
	}
	if c.Positions == TablePositions && (gridH != c.Grid() || gridW != c.Grid()) {
		var err error
		if e.position, err = resizedPositions(d, t, gridH, gridW); err != nil {
			return nil, err
		}
	}
	return e, e.allocate(d, pictures*c.Channels*height*width)
}

// NewViewEncoder makes an encoder for as many views as the tower's config allows: each of its own
// size, up to MostPatches, or each of the native size.
func NewViewEncoder(d *ops.Device, t *Tower, views int) (*Encoder, error) {
	c := t.Config
	if c.MostPatches == 0 {
		return NewEncoder(d, t, views, c.ImageSize, c.ImageSize)
	}
	if views < 1 {
		return nil, fmt.Errorf("%w: %d views", ops.ErrShape, views)
	}
	e := &Encoder{tower: t, views: views, patches: views * c.MostPatches}
	return e, e.allocate(d, e.patches*c.Channels*c.Patch*c.Patch)
}

func (e *Encoder) allocate(d *ops.Device, pixels int) (err error) {
	c := e.tower.Config
	tokens := e.patches + e.views*c.class()
	if e.pixels, err = d.NewTensor(ops.F32, pixels, 1); err != nil {
		return err
	}
	if c.Positions != TablePositions {
		if e.position, err = d.NewTensor(ops.F32, e.patches, c.Dim); err != nil {
			return err
		}
		if e.index, err = d.NewTensor(ops.I32, e.patches, 1); err != nil {
			return err
		}
		if e.mask, err = d.NewTensor(ops.U8, e.patches, 1); err != nil {
			return err
		}
	}
	if c.Class {
		if e.class, err = e.tower.classRow(d); err != nil {
			return err
		}
		if e.bare, err = d.NewTensor(ops.F32, e.patches, c.Dim); err != nil {
			return err
		}
	}
	if e.x, err = d.NewTensor(ops.F32, tokens, c.Dim); err != nil {
		return err
	}
	if e.offsets, err = d.NewTensor(ops.I32, e.views+1, 1); err != nil {
		return err
	}
	if e.work, err = NewWorkspace(d, tokens, c.layerShape()); err != nil {
		return err
	}
	if e.tower.Head != nil {
		e.head, err = e.tower.Head.newWork(d, e.views, e.patches/e.views, c)
	}
	return err
}

// classRow is the class token with its position, the same for every view.
func (t *Tower) classRow(d *ops.Device) (*ops.Tensor, error) {
	class, err := t.Class.ReadFloat32()
	if err != nil {
		return nil, err
	}
	position, err := t.Position.RowRange(0, 1).ReadFloat32()
	if err != nil {
		return nil, err
	}
	for i, p := range position {
		class[i] += p
	}
	return d.FromFloat32(class, 1, len(class))
}

// EncoderBytes is what NewViewEncoder allocates on a device that keeps such a type.
func EncoderBytes(c Config, views int, head bool, kept ops.DType) int64 {
	patches, pixels, row := views*c.ViewPatches(), views*c.Channels*c.ImageSize*c.ImageSize, int64(c.Dim)*4
	if c.MostPatches > 0 {
		pixels = patches * c.Channels * c.Patch * c.Patch
	}
	tokens := patches + views*c.class()
	bytes := int64(pixels)*4 + int64(tokens)*row + WorkspaceBytes(tokens, c.layerShape(), kept) + int64(views+1)*4
	if c.Positions != TablePositions {
		bytes += int64(patches) * (row + 4 + 1)
	}
	if c.Class {
		bytes += row + int64(patches)*row
	}
	if head {
		bytes += headWorkBytes(views, c, kept)
	}
	return bytes
}

// Pictures is the most pictures of one Forward; Patches the most patches of each.
func (e *Encoder) Pictures() int { return e.views }
func (e *Encoder) Patches() int  { return e.patches / e.views }

// Forward is ForwardViews on pixels [n][channels][height][width] of whole pictures, all of the
// encoder's size.
func (e *Encoder) Forward(s *ops.Stream, pixels []float32, f Features) *ops.Tensor {
	size := e.tower.Config.Channels * e.height * e.width
	if size == 0 || len(pixels) == 0 || len(pixels)%size != 0 {
		s.Fail(fmt.Errorf("%w: %d pixel values for 1 to %d pictures of %d", ops.ErrShape, len(pixels), e.views, size))
		return e.x
	}
	views := make([]View, len(pixels)/size)
	for i := range views {
		views[i] = View{Pixels: pixels[i*size:][:size], Height: e.height, Width: e.width}
	}
	return e.ForwardViews(s, views, f)
}

// ForwardViews queues the tower on views up to the output that f asks for; layers above it do not
// run. It returns that output: the tokens of one view after another, [tokens, dim], or [views, dim]
// when pooled; it stays valid until the next call. Errors stay in s. Where the library captures and all
// views have one size, the pass is captured once for each number of views and replayed, and this waits.
//
// Taps: "vision.patch" is not separate from the positions here; "vision.hidden.k",
// "vision.last_hidden_state", "vision.pooler_output".
func (e *Encoder) ForwardViews(s *ops.Stream, views []View, f Features) *ops.Tensor {
	b, err := e.batch(views)
	if err == nil {
		err = e.tower.runs(f)
	}
	if err == nil {
		err = e.write(views, b)
	}
	if err != nil {
		s.Fail(err)
		return e.x
	}
	if e.height > 0 && s.Captures() {
		return e.replay(s, views, b, f)
	}
	return e.queue(s, views, b, f)
}

// replay runs the pass as a graph: the device goes through its layers without the host.
func (e *Encoder) replay(s *ops.Stream, views []View, b batch, f Features) *ops.Tensor {
	key := pass{len(views), b.padded, f, s.Compute}
	p, ok := e.captured[key]
	if !ok {
		graph, err := s.Capture(nil, nil, func() { p.out = e.queue(s, views, b, f) })
		if err != nil {
			s.Fail(err)
			return e.x
		}
		if p.graph = graph; e.captured == nil {
			e.captured = map[pass]capturedPass{}
		}
		e.captured[key] = p
	}
	if _, err := p.graph.Replay(1, nil, nil); err != nil {
		s.Fail(err)
	}
	return p.out
}

// queue queues the pass op by op.
func (e *Encoder) queue(s *ops.Stream, views []View, b batch, f Features) *ops.Tensor {
	x, offsets := e.x.RowRange(0, b.tokens), e.offsets.RowRange(0, len(views)+1)
	var mask *ops.Tensor
	if b.padded {
		mask = e.mask.RowRange(0, b.tokens)
	}
	e.embed(s, x, views, b)
	s.Tap("vision.hidden.0", x)
	for i := range e.tower.Layers[:f.Layer] {
		e.tower.Layers[i].ForwardMasked(s, x, offsets, mask, e.work)
		s.Tap(fmt.Sprintf("vision.hidden.%d", i+1), x)
	}
	if f.Patches && e.class != nil {
		return e.patchesOf(s, x, b)
	}
	if !f.Post {
		return x
	}
	e.tower.PostNorm.Forward(s, x, x)
	s.Tap("vision.last_hidden_state", x)
	if !f.Pooled {
		return x
	}
	pooled := e.tower.Head.forward(s, x, offsets, len(views), e.head)
	s.Tap("vision.pooler_output", pooled)
	return pooled
}

// batch is how the views of one call lie in the tensors.
type batch struct {
	grids           []Grid
	patches, tokens int
	padded          bool
}

func (e *Encoder) batch(views []View) (batch, error) {
	var b batch
	c := e.tower.Config
	if len(views) < 1 || len(views) > e.views {
		return b, fmt.Errorf("%w: %d views for a tower that takes 1 to %d at once", ops.ErrShape, len(views), e.views)
	}
	for i, v := range views {
		if err := c.check(v, e.height, e.width); err != nil {
			return b, fmt.Errorf("view %d of %d: %w", i+1, len(views), err)
		}
		g := c.ViewGrid(v)
		b.grids = append(b.grids, g)
		b.patches += g.Patches() // at most views times the most of one: checked above
		b.padded = b.padded || c.valid(v) != g
	}
	b.tokens = b.patches + len(views)*c.class()
	return b, nil
}

// write brings pixels, offsets, and what depends on each view's size, to the device.
func (e *Encoder) write(views []View, b batch) error {
	c := e.tower.Config
	offsets, pixels := make([]int32, 1, len(views)+1), 0
	var index []int32
	var mask []byte
	for i, v := range views {
		if err := e.pixels.WriteFloat32(pixels, v.Pixels); err != nil {
			return err
		}
		pixels += len(v.Pixels)
		grid, valid := b.grids[i], c.valid(v)
		offsets = append(offsets, offsets[i]+int32(grid.Patches()+c.class()))
		if c.Positions == TablePositions {
			continue
		}
		index = append(index, c.Positions.indices(c.Grid(), grid, valid)...)
		for at := range grid.Patches() {
			filled := byte(0)
			if at/grid.Cols < valid.Rows && at%grid.Cols < valid.Cols {
				filled = 1
			}
			mask = append(mask, filled)
		}
	}
	if err := e.offsets.WriteInt32(0, offsets); err != nil || index == nil {
		return err
	}
	if err := e.mask.WriteBytes(0, mask); err != nil {
		return err
	}
	return e.index.WriteInt32(0, index)
}

// embed queues patches and positions of every view, and the class token before them, into x.
func (e *Encoder) embed(s *ops.Stream, x *ops.Tensor, views []View, b batch) {
	c := e.tower.Config
	if e.index != nil {
		s.GatherRows(e.position.RowRange(0, b.patches), e.tower.Position, e.index.RowRange(0, b.patches))
	}
	token, patch, pixel := 0, 0, 0
	for i, v := range views {
		n := b.grids[i].Patches()
		position := e.position
		if e.index != nil {
			position = e.position.RowRange(patch, n)
		}
		if e.class != nil {
			s.CopyRows(x.RowRange(token, 1), e.class)
			token++
		}
		pixels := e.pixels.RowRange(pixel, len(v.Pixels)).Reshape(c.Channels*v.Height, v.Width)
		s.PatchEmbed(x.RowRange(token, n), pixels, ops.PatchEmbed{
			Linear: e.tower.Patch, Position: position,
			Images: 1, Channels: c.Channels, Height: v.Height, Width: v.Width, Patch: c.Patch,
		})
		token, patch, pixel = token+n, patch+n, pixel+len(v.Pixels)
	}
	if e.tower.PreNorm != nil {
		e.tower.PreNorm.Forward(s, x, x)
	}
}

// patchesOf queues a copy of x without the class tokens.
func (e *Encoder) patchesOf(s *ops.Stream, x *ops.Tensor, b batch) *ops.Tensor {
	patch := 0
	for i, g := range b.grids {
		s.CopyRows(e.bare.RowRange(patch, g.Patches()), x.RowRange(patch+i+1, g.Patches()))
		patch += g.Patches()
	}
	return e.bare.RowRange(0, patch)
}

// Package siglip is the SigLIP vision tower (Zhai et al. 2023, arXiv:2303.15343): a ViT without
// class token, with learned positions, tanh GELU and an attention-pooling head. The reference is
// transformers' models/siglip/modeling_siglip.py (4.54.1).
//
// The towers that other families made of it are the same code under another [Config]: positions
// spread over views of any size and padded tiles (Idefics2 and 3, MiniCPM-V), and CLIP, which has a
// class token and a norm more.
//
// All activations are float32 matrices [tokens, dim]; the tokens of a batch of pictures lie one
// picture after another, patches row-major from the top left.
package siglip

import (
	"github.com/llama3v/llama3v/model/load"
	"github.com/llama3v/llama3v/model/ops"
)

// Norm is a layer norm: weight and bias [dim].
type Norm struct {
	Weight, Bias *ops.Tensor // [1, dim]
	Eps          float32
}

// Forward queues out = norm(x). out may be x.
func (n *Norm) Forward(s *ops.Stream, out, x *ops.Tensor) {
	s.LayerNorm(out, x, n.Weight, n.Bias, n.Eps)
}

// Load declares the norm's two tensors under l.
func (n *Norm) Load(l *load.Loader, dim int, eps float32) {
	n.Eps = eps
	l.Vector(&n.Weight, "weight", dim)
	l.Vector(&n.Bias, "bias", dim)
}

// LayerShape holds the sizes of one encoder layer.
type LayerShape struct {
	Dim, Heads, Hidden int // Hidden 0: the layer has attention only
	Eps                float32
	Act                ops.Activation
}

// LayerNames holds the names of a layer's parts in a checkpoint; the projector of the llama3v
// family has the same layer under other names.
type LayerNames struct{ Norm1, Attention, Norm2, MLP string }

var towerNames = LayerNames{"layer_norm1", "self_attn", "layer_norm2", "mlp"}

// Layer is one pre-norm transformer layer:
//
//	h = x + out(attention(norm1(x)))
//	y = h + fc2(act(fc1(norm2(h))))
type Layer struct {
	Norm1, Norm2 Norm
	QKV          ops.Linear // [3*dim, dim]: the rows of q, then k, then v
	Out          ops.Linear // [dim, dim]
	FC1, FC2     ops.Linear // [hidden, dim], [dim, hidden]

	shape LayerShape
}

// Load declares the layer's tensors under l.
func (b *Layer) Load(l *load.Loader, names LayerNames, shape LayerShape) {
	b.shape = shape
	dim := shape.Dim
	b.Norm1.Load(l.Sub(names.Norm1), dim, shape.Eps)
	attention := l.Sub(names.Attention)
	attention.Linear(&b.QKV, dim, load.WithBias, load.Rows("q_proj", dim), load.Rows("k_proj", dim), load.Rows("v_proj", dim))
	attention.Linear(&b.Out, dim, load.WithBias, load.Rows("out_proj", dim))
	if shape.Hidden == 0 {
		return
	}
	b.Norm2.Load(l.Sub(names.Norm2), dim, shape.Eps)
	mlp := l.Sub(names.MLP)
	mlp.Linear(&b.FC1, dim, load.WithBias, load.Rows("fc1", shape.Hidden))
	mlp.Linear(&b.FC2, shape.Hidden, load.WithBias, load.Rows("fc2", dim))
}

// Forward runs the layer on x [tokens, dim] in place; offsets [pictures+1] cuts the tokens into
// pictures, which do not see each other. It overwrites every tensor of w.
func (b *Layer) Forward(s *ops.Stream, x, offsets *ops.Tensor, w *Workspace) {
	b.ForwardMasked(s, x, offsets, nil, w)
}

// ForwardMasked is Forward where tokens whose mask [tokens, 1] is 0 are seen by none; they see the
// others, and their rows are computed. A nil mask masks nothing.
func (b *Layer) ForwardMasked(s *ops.Stream, x, offsets, mask *ops.Tensor, w *Workspace) {
	dim, rows := b.shape.Dim, x.Rows()
	norm, qkv, attn := w.norm.RowRange(0, rows), w.qkv.RowRange(0, rows), w.attn.RowRange(0, rows)

	b.Norm1.Forward(s, norm, x)
	s.Linear(qkv, norm, b.QKV)
	full := attention(b.shape.Heads, dim/b.shape.Heads, offsets, offsets)
	full.KeyMask = mask
	s.Attention(attn, qkv.ColRange(0, dim), qkv.ColRange(dim, dim), qkv.ColRange(2*dim, dim), full)
	s.LinearAdd(x, attn, b.Out, x)
	if b.shape.Hidden == 0 {
		return
	}
	hidden := w.hidden.RowRange(0, rows)
	b.Norm2.Forward(s, norm, x)
	s.LinearAct(hidden, norm, b.FC1, b.shape.Act)
	s.LinearAdd(x, hidden, b.FC2, x)
}

// attention has every query of a picture see every key of it, scaled by the true head width
// (72 in so400m), whatever a kernel pads it to.
func attention(heads, headDim int, queries, keys *ops.Tensor) ops.Attention {
	return ops.Attention{
		Heads: heads, KVHeads: heads, HeadDim: headDim, Scale: ops.InvSqrt(headDim),
		QOffsets: queries, KOffsets: keys,
	}
}

// Workspace holds a layer's intermediate results for up to a number of tokens; one serves all
// layers of one shape.
type Workspace struct {
	norm, qkv, attn, hidden *ops.Tensor
}

// NewWorkspace allocates for tokens rows. Errors: binding.ErrOutOfMemory.
func NewWorkspace(d *ops.Device, tokens int, shape LayerShape) (*Workspace, error) {
	w := &Workspace{}
	err := d.NewTensors(d.Kept(), tokens,
		ops.Want{Tensor: &w.norm, Cols: shape.Dim},
		ops.Want{Tensor: &w.qkv, Cols: 3 * shape.Dim},
		ops.Want{Tensor: &w.attn, Cols: shape.Dim},
		ops.Want{Tensor: &w.hidden, Cols: max(shape.Hidden, 1)},
	)
	return w, err
}

// WorkspaceBytes is what NewWorkspace allocates on a device that keeps such a type.
func WorkspaceBytes(tokens int, shape LayerShape, kept ops.DType) int64 {
	return int64(tokens) * int64(5*shape.Dim+max(shape.Hidden, 1)) * int64(kept.Size())
}

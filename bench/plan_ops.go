package bench

import (
	"fmt"

	"github.com/llama3v/llama3v/model/llama"
	"github.com/llama3v/llama3v/model/projector"
	"github.com/llama3v/llama3v/model/siglip"
	"github.com/llama3v/llama3v/model/vlm"
	"github.com/llama3v/llama3v/model/weights"
)

// Op is an op of a step with what it reads, writes and computes, each of its operands once: the lists
// below follow the forward passes of model/siglip, model/projector and model/llama op by op.
type Op struct {
	Name  string `json:"op"`   // of the part: "qkv"
	Kind  string `json:"kind"` // of the op: "linear"
	Times int    `json:"times"`

	Far        int64   `json:"far_bytes"`  // weights, tables, the cache: what was not just written
	Near       int64   `json:"near_bytes"` // activations
	Operations float64 `json:"operations"` // of products, two a multiply-add
	Padded     float64 `json:"padded"`     // Operations as the tensor cores' instructions have them, without tiles
	Exps       float64 `json:"exps"`       // exponentials of attention

	M int64 `json:"m,omitempty"` // of a product of weights, else 0
	N int64 `json:"n,omitempty"`
	K int64 `json:"k,omitempty"`
	// Partial is what a block leaves for a second kernel, where one row's keys are cut among blocks:
	// the sums of its heads, each with a maximum and a total.
	Partial int64 `json:"partial_bytes,omitempty"`
}

// opList collects the ops of a step. kept is the bytes of an element of what lies between two products
// (ops.Capabilities.Keeps); residual sums, norms' weights, biases, features and logits are float32.
type opList struct {
	weight weights.DType
	kept   int64
	ops    []Op
	err    error
}

const f32Bytes = 4

// rows is n rows of the weights' type.
func (l *opList) rows(n, cols int) int64 {
	size, ok := l.weight.Bytes(n, cols)
	if !ok && l.err == nil {
		l.err = fmt.Errorf("weights of %s: rows of %d are no whole blocks", l.weight, cols)
	}
	return size
}

// repeat has what f lists run n times.
func (l *opList) repeat(n int, f func()) {
	first := len(l.ops)
	f()
	if n == 0 {
		l.ops = l.ops[:first]
	}
	for i := range l.ops[first:] {
		l.ops[first+i].Times *= n
	}
}

func (l *opList) add(o Op) {
	o.Times = 1
	if o.Padded == 0 {
		o.Padded = o.Operations
	}
	l.ops = append(l.ops, o)
}

// moves is an op of no products: elementwise, by row, or a copy.
func (l *opList) moves(name, kind string, far, near int) {
	l.add(Op{Name: name, Kind: kind, Far: int64(far), Near: int64(near)})
}

// layer is a linear layer beside its sizes.
type layer struct {
	bias     bool
	residual bool // float32, in and out
	x32      bool // x is float32 whatever is kept
	out32    bool // out is
}

// linear is out [m, n] = x [m, k] Wᵀ.
func (l *opList) linear(name string, m, n, k int, y layer) {
	x, out := l.kept, l.kept
	if y.x32 {
		x = f32Bytes
	}
	if y.out32 {
		out = f32Bytes
	}
	if y.residual {
		out = 2 * f32Bytes
	}
	o := Op{Name: name, Kind: "linear", Far: l.rows(n, k), Near: int64(m) * (int64(k)*x + int64(n)*out),
		Operations: 2 * float64(m) * float64(n) * float64(k), M: int64(m), N: int64(n), K: int64(k)}
	if y.bias {
		o.Far += int64(n) * f32Bytes
	}
	l.add(o)
}

// attend is attention of q rows to k keys in each of n sequences. Scores are a product over headDim,
// which the instructions take in sixteens; values one with headDim columns, which they take in eights.
func (l *opList) attend(n, q, k, heads, headDim int) {
	pairs, width := float64(n)*float64(q)*float64(k)*float64(heads), float64(headDim)
	l.add(Op{Name: "attention", Kind: "attention", Near: int64(n) * int64(2*q+2*k) * int64(heads*headDim) * l.kept,
		Operations: 4 * pairs * width, Padded: 2 * pairs * float64(roundUp(headDim, 16)+roundUp(headDim, 8)), Exps: pairs})
}

func roundUp(n, to int) int { return (n + to - 1) / to * to }

// norm is a layer norm from float32 rows; in place it stays float32.
func (l *opList) norm(name string, rows, dim int, inPlace bool) {
	out := int(l.kept)
	if inPlace {
		out = f32Bytes
	}
	l.moves(name, "layer_norm", 2*dim*f32Bytes, rows*dim*(f32Bytes+out))
}

// encoderLayer is siglip.Layer on n views of tokens each.
func (l *opList) encoderLayer(n, tokens, dim, heads, hidden int) {
	rows := n * tokens
	l.norm("norm1", rows, dim, false)
	l.linear("qkv", rows, 3*dim, dim, layer{bias: true})
	l.attend(n, tokens, tokens, heads, dim/heads)
	l.linear("out", rows, dim, dim, layer{bias: true, residual: true})
	l.norm("norm2", rows, dim, false)
	l.linear("fc1", rows, hidden, dim, layer{bias: true})
	l.linear("fc2", rows, dim, hidden, layer{bias: true, residual: true})
}

// tower is siglip.Encoder on views of so many patches.
func (l *opList) tower(c siglip.Config, views, patches int, f siglip.Features) {
	tokens, class := patches, 0
	if c.Class {
		tokens, class = patches+1, 1
	}
	rows := views * tokens
	if c.Positions != siglip.TablePositions {
		l.moves("positions", "copy_rows", views*patches*c.Dim*f32Bytes, views*patches*c.Dim*f32Bytes)
	}
	in := c.Channels * c.Patch * c.Patch
	l.repeat(views, func() {
		l.repeat(class, func() { l.moves("class", "copy_rows", c.Dim*f32Bytes, c.Dim*f32Bytes) })
		o := Op{Name: "patches", Kind: "patch_embed", Far: l.rows(c.Dim, in) + int64(patches)*int64(c.Dim)*f32Bytes,
			Near:       int64(patches) * int64(in+c.Dim) * f32Bytes,
			Operations: 2 * float64(patches) * float64(in) * float64(c.Dim), M: int64(patches), N: int64(c.Dim), K: int64(in)}
		if !c.Class {
			o.Far += int64(c.Dim) * f32Bytes // bias
		}
		l.add(o)
	})
	l.repeat(class, func() { l.norm("pre_norm", rows, c.Dim, true) })
	l.repeat(f.Layer, func() { l.encoderLayer(views, tokens, c.Dim, c.Heads, c.Hidden) })
	if f.Patches && c.Class {
		l.repeat(views, func() { l.moves("patches", "copy_rows", 0, 2*patches*c.Dim*f32Bytes) })
		return
	}
	if f.Post {
		l.norm("post_norm", rows, c.Dim, true)
	}
}

// project is a projector on one view of so many patches, of a grid's side.
func (l *opList) project(c *vlm.Config, patches int) {
	in, out := c.Vision.Dim, c.Text.Dim
	switch p := c.Projector.(type) {
	case *projector.MLPConfig:
		for i := range p.Layers {
			l.linear(fmt.Sprintf("linear_%d", i+1), patches, out, in, layer{bias: !p.NoBias, x32: true, out32: true})
			in = out
		}
	case *projector.ShuffleConfig:
		area := p.Scale * p.Scale
		l.moves("shuffle", "copy_rows", 0, 2*patches*in*f32Bytes)
		l.linear("proj", patches/area, out, area*in, layer{x32: true, out32: true})
	case *projector.SA2Config:
		l.linear("in_proj", patches, p.Width, in, layer{bias: true, x32: true, out32: true})
		l.repeat(p.Blocks, func() { l.encoderLayer(1, patches, p.Width, p.Heads, p.Hidden) })
		l.norm("norm", patches, p.Width, true)
		l.linear("out_proj", patches, out, p.Width, layer{bias: true, x32: true, out32: true})
	case *projector.ResamplerConfig:
		kept := l.kept
		l.kept = f32Bytes // nothing of it is kept otherwise
		q, bias := p.Queries, layer{bias: true}
		l.linear("kv", patches, out, in, layer{})
		l.norm("norm_kv", patches, out, true)
		l.repeat(2, func() { l.moves("positions", "copy_rows", 0, patches*out*f32Bytes) }) // half the columns each
		l.linear("k_positions", patches, out, out, layer{})
		l.linear("k", patches, out, out, layer{bias: true, residual: true})
		l.linear("v", patches, out, out, bias)
		l.norm("norm_q", q, out, true)
		l.linear("q", q, out, out, bias)
		l.attend(1, q, patches, out/p.HeadDim, p.HeadDim)
		l.linear("out", q, out, out, bias)
		l.norm("norm", q, out, true)
		l.linear("proj", q, out, out, layer{})
		l.kept = kept
	default:
		panic(fmt.Sprintf("no ops are known for %T", c.Projector)) // eyes and this switch go together
	}
}

// decode is a step of llama.Decoder on rows new positions of one sequence behind which there are before
// others, with logits of the last and the arg-max.
func (l *opList) decode(c llama.Config, rows, before int) {
	q, kv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	rms := func(name string, rows int) {
		l.moves(name, "rms_norm", c.Dim*f32Bytes, rows*c.Dim*(f32Bytes+int(l.kept)))
	}
	l.moves("embedding", "embedding", int(l.rows(rows, c.Dim)), rows*(c.Dim+1)*f32Bytes)
	l.repeat(c.Layers, func() {
		rms("norm", rows)
		l.linear("qkv", rows, q+2*kv, c.Dim, layer{})
		l.moves("rope", "rope", 0, 2*rows*(q+kv)*int(l.kept))
		l.moves("cache", "cache_append", rows*2*kv*int(l.kept), rows*2*kv*int(l.kept))
		// Row i sees before+i+1 keys.
		pairs := (float64(rows)*float64(before) + float64(rows)*float64(rows+1)/2) * float64(c.Heads)
		attention := Op{Name: "attention", Kind: "paged_attention", Far: int64(before+rows) * int64(2*kv) * l.kept,
			Near: int64(rows) * int64(2*q) * l.kept, Operations: 4 * pairs * float64(c.HeadDim), Exps: pairs}
		if rows == 1 {
			attention.Partial = int64(c.Heads/c.KVHeads) * int64(c.HeadDim+2) * f32Bytes
		}
		l.add(attention)
		l.linear("out", rows, c.Dim, q, layer{residual: true})
		rms("mlp_norm", rows)
		l.linear("gate_up", rows, 2*c.Hidden, c.Dim, layer{})
		l.moves("swiglu", "swiglu", 0, 3*rows*c.Hidden*int(l.kept))
		l.linear("down", rows, c.Dim, c.Hidden, layer{residual: true})
	})
	if rows > 1 {
		l.moves("last", "copy_rows", 0, 2*c.Dim*f32Bytes)
	}
	rms("last_norm", 1)
	l.linear("lm_head", 1, c.Vocab, c.Dim, layer{out32: true})
	l.moves("check", "check_finite", 0, c.Vocab*f32Bytes)
	l.moves("arg_max", "topk", 0, (c.Vocab+1)*f32Bytes)
}

// operations is those of all products of what f lists.
func operations(f func(l *opList)) float64 {
	l := &opList{weight: weights.F32, kept: f32Bytes}
	f(l)
	sum := 0.0
	for _, o := range l.ops {
		sum += float64(o.Times) * o.Operations
	}
	return sum
}

package siglip

import (
	"github.com/llama3v/llama3v/model/load"
	"github.com/llama3v/llama3v/model/ops"
)

// Head is the attention-pooling head: a learned probe attends to all tokens of a picture, then an
// MLP with residual. There is no residual from the probe itself.
//
//	a = out(attention(q(probe), k(x), v(x)))
//	y = a + fc2(act(fc1(norm(a))))
type Head struct {
	Probe    *ops.Tensor // [1, dim]
	Q        ops.Linear  // [dim, dim], the first third of in_proj
	KV       ops.Linear  // [2*dim, dim], the rest: k, then v
	Out      ops.Linear  // [dim, dim]
	Norm     Norm
	FC1, FC2 ops.Linear

	shape LayerShape
}

func loadHead(l *load.Loader, cfg Config) *Head {
	h := &Head{shape: cfg.layerShape()}
	dim := cfg.Dim
	l.Matrix(&h.Probe, "probe", 1, 1, dim)
	attention := l.Sub("attention")
	// torch.nn.MultiheadAttention stacks q, k and v in one tensor, named with an underscore.
	stacked := load.Part{Weight: "in_proj_weight", Bias: "in_proj_bias", Of: 3 * dim}
	q, kv := stacked, stacked
	q.Rows = dim
	kv.First, kv.Rows = dim, 2*dim
	attention.Linear(&h.Q, dim, load.WithBias, q)
	attention.Linear(&h.KV, dim, load.WithBias, kv)
	attention.Linear(&h.Out, dim, load.WithBias, load.Rows("out_proj", dim))
	h.Norm.Load(l.Sub("layernorm"), dim, cfg.Eps)
	mlp := l.Sub("mlp")
	mlp.Linear(&h.FC1, dim, load.WithBias, load.Rows("fc1", cfg.Hidden))
	mlp.Linear(&h.FC2, cfg.Hidden, load.WithBias, load.Rows("fc2", dim))
	return h
}

// headWork holds the head's intermediate results: one row per picture, and the keys and values of
// all tokens.
type headWork struct {
	probes, q, attn, out, norm, hidden *ops.Tensor
	kv                                 *ops.Tensor // [pictures*patches, 2*dim]
	queries                            *ops.Tensor // [pictures+1, 1] int32: 0, 1, 2, ...
}

func (h *Head) newWork(d *ops.Device, pictures, patches int, c Config) (*headWork, error) {
	w := &headWork{}
	err := d.NewTensors(ops.F32, pictures, ops.Want{Tensor: &w.probes, Cols: c.Dim}, ops.Want{Tensor: &w.out, Cols: c.Dim})
	if err != nil {
		return nil, err
	}
	err = d.NewTensors(d.Kept(), pictures, ops.Want{Tensor: &w.q, Cols: c.Dim}, ops.Want{Tensor: &w.attn, Cols: c.Dim},
		ops.Want{Tensor: &w.norm, Cols: c.Dim}, ops.Want{Tensor: &w.hidden, Cols: c.Hidden})
	if err != nil {
		return nil, err
	}
	if w.kv, err = d.NewTensor(d.Kept(), pictures*patches, 2*c.Dim); err != nil {
		return nil, err
	}
	w.queries, err = d.FromInt32(ops.Multiples(pictures+1, 1), pictures+1, 1)
	return w, err
}

func headWorkBytes(pictures int, c Config, kept ops.DType) int64 {
	between := int64(3*c.Dim+c.Hidden+2*c.Dim*c.ViewPatches()) * int64(kept.Size())
	return int64(pictures)*(int64(2*c.Dim)*4+between) + int64(pictures+1)*4
}

// forward pools x [n*patches, dim], the tokens behind the post norm, to [n, dim].
func (h *Head) forward(s *ops.Stream, x, offsets *ops.Tensor, n int, w *headWork) *ops.Tensor {
	dim := h.shape.Dim
	kv, probes, q := w.kv.RowRange(0, x.Rows()), w.probes.RowRange(0, n), w.q.RowRange(0, n)
	attn, out, norm, hidden := w.attn.RowRange(0, n), w.out.RowRange(0, n), w.norm.RowRange(0, n), w.hidden.RowRange(0, n)

	for i := range n { // every picture has the same query
		s.CopyRows(probes.RowRange(i, 1), h.Probe)
	}
	s.Linear(q, probes, h.Q)
	s.Linear(kv, x, h.KV)
	s.Attention(attn, q, kv.ColRange(0, dim), kv.ColRange(dim, dim),
		attention(h.shape.Heads, dim/h.shape.Heads, w.queries.RowRange(0, n+1), offsets))
	s.Linear(out, attn, h.Out)

	h.Norm.Forward(s, norm, out)
	s.LinearAct(hidden, norm, h.FC1, h.shape.Act)
	s.LinearAdd(out, hidden, h.FC2, out)
	return out
}

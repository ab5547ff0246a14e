package projector

import (
	"fmt"
	"math"

	"github.com/llama3v/llama3v/model/load"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/siglip"
)

// ResamplerConfig holds the sizes of MiniCPM-V's resampler. It is as wide as the decoder.
type ResamplerConfig struct {
	Queries int // positions that every view becomes
	HeadDim int // 128 in the released models
	Eps     float32
}

// Resampler is the perceiver resampler of MiniCPM-V (Yao et al. 2024, arXiv:2408.01800, section
// 3.2): learned queries attend once to the patches of one view, in place of which they stand from
// then on.
//
//	kv = norm_kv(x Wkv)
//	a  = out(attention(q(norm_q(query)), k(kv + position), v(kv)))
//	y  = norm_post(a) proj
//
// Keys carry two-dimensional sine positions, values do not. There is no residual. proj is multiplied
// from the right, as the authors keep it.
type Resampler struct {
	Query               *ops.Tensor // [queries, dim]
	KV                  ops.Linear  // [dim, visionDim]
	Q, K, V, Out        ops.Linear  // [dim, dim]
	NormQ, NormKV, Norm siglip.Norm
	Proj                ops.Linear // [dim, dim], transposed on loading

	config    ResamplerConfig
	kv, k, v  *ops.Tensor // [tokens, dim]
	q, a, y   *ops.Tensor // [views*queries, dim]
	axis      *ops.Tensor // [tokens of a view, dim/2]: the sines of each row and column
	rows      *ops.Tensor // [tokens, 1] int32: the row in the grid that each patch has
	cols      *ops.Tensor // [tokens, 1] int32
	offsets   *ops.Tensor // [views+1, 1] int32: patches
	queryEnds *ops.Tensor // [views+1, 1] int32: 0, queries, 2*queries, ...
}

// Load implements Config.
func (c ResamplerConfig) Load(l *load.Loader, visionDim, dim int) Projector {
	p := &Resampler{config: c}
	l.Matrix(&p.Query, "query", c.Queries, dim)
	l.Linear(&p.KV, visionDim, load.NoBias, load.Rows("kv_proj", dim))
	attention := l.Sub("attn")
	for i, part := range []*ops.Linear{&p.Q, &p.K, &p.V} {
		// torch.nn.MultiheadAttention stacks q, k and v in one tensor.
		attention.Linear(part, dim, load.WithBias, load.Part{Weight: "in_proj_weight", Bias: "in_proj_bias", First: i * dim, Rows: dim, Of: 3 * dim})
	}
	attention.Linear(&p.Out, dim, load.WithBias, load.Rows("out_proj", dim))
	p.NormQ.Load(l.Sub("ln_q"), dim, c.Eps)
	p.NormKV.Load(l.Sub("ln_kv"), dim, c.Eps)
	p.Norm.Load(l.Sub("ln_post"), dim, c.Eps)
	l.Transposed(&p.Proj, "proj", dim, dim)
	l.Ignore("pos_embed") // the sines as a tensor; they follow from the grid
	return p
}

func (c ResamplerConfig) String() string {
	return fmt.Sprintf("resampler: %d queries, heads of %d", c.Queries, c.HeadDim)
}

// Tokens is the number of queries, however many patches there are.
func (c ResamplerConfig) Tokens(int) int { return c.Queries }

// WorkspaceBytes implements Config.
func (c ResamplerConfig) WorkspaceBytes(views, tokens, _, dim int, _ ops.DType) int64 {
	all := int64(views * tokens)
	return all*int64(3*dim+2)*4 + int64(views*c.Queries)*int64(3*dim)*4 + int64(tokens)*int64(dim/2)*4 + 2*int64(views+1)*4
}

// Prepare implements Projector.
func (p *Resampler) Prepare(d *ops.Device, views, tokens int) (err error) {
	dim, queries := p.Query.Cols(), p.config.Queries
	if err = d.NewTensors(ops.F32, views*tokens, ops.Want{Tensor: &p.kv, Cols: dim}, ops.Want{Tensor: &p.k, Cols: dim}, ops.Want{Tensor: &p.v, Cols: dim}); err != nil {
		return err
	}
	if err = d.NewTensors(ops.F32, views*queries, ops.Want{Tensor: &p.q, Cols: dim}, ops.Want{Tensor: &p.a, Cols: dim}, ops.Want{Tensor: &p.y, Cols: dim}); err != nil {
		return err
	}
	if err = d.NewTensors(ops.I32, views*tokens, ops.Want{Tensor: &p.rows, Cols: 1}, ops.Want{Tensor: &p.cols, Cols: 1}); err != nil {
		return err
	}
	if p.axis, err = d.FromFloat32(sines(tokens, dim/2), tokens, dim/2); err != nil {
		return err
	}
	if p.offsets, err = d.NewTensor(ops.I32, views+1, 1); err != nil {
		return err
	}
	p.queryEnds, err = d.FromInt32(ops.Multiples(views+1, queries), views+1, 1)
	return err
}

// sines gives [n, width]: place i's sines, then its cosines, at width/2 frequencies falling from 1
// (Vaswani et al. 2017, arXiv:1706.03762, section 3.5).
func sines(n, width int) []float32 {
	list, half := make([]float32, n*width), width/2
	for i := range n {
		for j := range half {
			angle := float64(i) * math.Pow(10000, -float64(j)/float64(half))
			list[i*width+j], list[i*width+half+j] = float32(math.Sin(angle)), float32(math.Cos(angle))
		}
	}
	return list
}

// Forward implements Projector. Taps: "resampler.position", "resampler.kv", "resampler.attn",
// "resampler.ln_post", "projected".
func (p *Resampler) Forward(s *ops.Stream, features *ops.Tensor, grids []siglip.Grid) *ops.Tensor {
	dim, tokens, views, queries := p.Query.Cols(), features.Rows(), len(grids), p.config.Queries
	if err := p.place(grids); err != nil {
		s.Fail(err)
		return p.y
	}
	kv, k, v := p.kv.RowRange(0, tokens), p.k.RowRange(0, tokens), p.v.RowRange(0, tokens)
	q, a, y := p.q.RowRange(0, views*queries), p.a.RowRange(0, views*queries), p.y.RowRange(0, views*queries)

	s.Linear(kv, features, p.KV)
	p.NormKV.Forward(s, kv, kv)
	s.Tap("resampler.kv", kv)

	// k(kv + position) as k(kv) + Wk position; the position is built where v comes afterwards. Its
	// first half is the column's, the second the row's.
	position := v
	s.GatherRows(position.ColRange(0, dim/2), p.axis, p.cols.RowRange(0, tokens))
	s.GatherRows(position.ColRange(dim/2, dim/2), p.axis, p.rows.RowRange(0, tokens))
	s.Tap("resampler.position", position)
	s.Linear(k, position, ops.Linear{Weight: p.K.Weight})
	s.LinearAdd(k, kv, p.K, k)
	s.Linear(v, kv, p.V)

	first := q.RowRange(0, queries)
	p.NormQ.Forward(s, y.RowRange(0, queries), p.Query)
	s.Linear(first, y.RowRange(0, queries), p.Q)
	for view := 1; view < views; view++ { // every view is asked the same
		s.CopyRows(q.RowRange(view*queries, queries), first)
	}
	s.Attention(a, q, k, v, ops.Attention{
		Heads: dim / p.config.HeadDim, KVHeads: dim / p.config.HeadDim, HeadDim: p.config.HeadDim, Scale: ops.InvSqrt(p.config.HeadDim),
		QOffsets: p.queryEnds.RowRange(0, views+1), KOffsets: p.offsets.RowRange(0, views+1),
	})
	s.Linear(y, a, p.Out)
	s.Tap("resampler.attn", y)
	p.Norm.Forward(s, a, y)
	s.Tap("resampler.ln_post", a)
	s.Linear(y, a, p.Proj)
	s.Tap("projected", y)
	return y
}

// place writes where each patch stands, and where each view's patches end.
func (p *Resampler) place(grids []siglip.Grid) error {
	var rows, cols []int32
	offsets := make([]int32, 1, len(grids)+1)
	for _, g := range grids {
		for i := range g.Patches() {
			rows, cols = append(rows, int32(i/g.Cols)), append(cols, int32(i%g.Cols))
		}
		offsets = append(offsets, int32(len(rows)))
	}
	if err := p.offsets.WriteInt32(0, offsets); err != nil {
		return err
	}
	if err := p.rows.WriteInt32(0, rows); err != nil {
		return err
	}
	return p.cols.WriteInt32(0, cols)
}

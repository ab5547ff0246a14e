package ops

import "github.com/llama3v/llama3v/binding"

// PagedHeads is the head layout of attention over a paged cache.
type PagedHeads struct {
	Heads, KVHeads, HeadDim int     // heads a multiple of kvHeads; headDim 1 to 256
	Scale                   float32 // InvSqrt(HeadDim) as a rule
}

// PagedAttention queues causal attention over a paged cache that holds the step's own keys and
// values already ([Stream.CacheAppend]): the row at position t sees positions 0 to t of its
// sequence. Prefill, decode and mixtures go in one call; a row's result is the same bits however the
// rows before it were cut into steps (of bfloat16 on a Hopper card: in a batch-invariant context).
//
//	q, out          [rows, heads*headDim]
//	kCache, vCache  [pages*pageSize, kvHeads*headDim]
//
// q and the caches are of one type. Rows of idle sequences get zeros. Faults: binding.FaultPage,
// FaultPosition, FaultOffsets.
func (s *Stream) PagedAttention(out, q, kCache, vCache *Tensor, p Paged, a PagedHeads) {
	const op = "paged_attention"
	if !s.heads(op, a.Heads, a.KVHeads, a.HeadDim) {
		return
	}
	rows, cols := q.Rows(), a.Heads*a.HeadDim
	if !s.paged(op, kCache, vCache, a.KVHeads*a.HeadDim, p) || !s.fits(op, value("q", q, rows, cols), value("out", out, rows, cols)) {
		return
	}
	s.queue(s.context().PagedAttention(&binding.PagedAttentionParams{
		PageSize: int32(p.PageSize), Q: q.abi(), Out: out.abi(), KCache: kCache.abi(), VCache: vCache.abi(),
		PageTable: p.PageTable.abi(), Lengths: p.Lengths.abi(), QOffsets: p.QOffsets.abi(),
		Rows: int64(rows), Sequences: int64(p.PageTable.rows), Pages: int64(kCache.rows / p.PageSize),
		MaxPages: int64(p.PageTable.cols), Heads: int32(a.Heads), KVHeads: int32(a.KVHeads), HeadDim: int32(a.HeadDim), Scale: a.Scale,
	}))
}

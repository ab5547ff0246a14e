package ops

import "github.com/llama3v/llama3v/binding"

// Attention describes bidirectional attention over sequences that lie one behind the other.
type Attention struct {
	Heads, KVHeads, HeadDim int     // heads a multiple of kvHeads; headDim 1 to 256
	Scale                   float32 // InvSqrt(HeadDim) as a rule

	QOffsets, KOffsets *Tensor // [sequences+1, 1] I32: sequence i owns rows off[i] to off[i+1]-1
	KeyMask            *Tensor // [keys, 1] U8 or nil: a key whose mask is 0 counts for no one
}

// Attention queues out = softmax(scale q kᵀ) v, per sequence and head: every query of a sequence
// against every key of it. Head h of q reads head h/(heads/kvHeads) of k and v.
//
//	q, out  [queries, heads*headDim]
//	k, v    [keys, kvHeads*headDim]
//
// q, k and v are of one type, out of any that the library has for activations. All four may be column
// ranges of a wider matrix; kernels for tensor cores take rows that begin at multiples of 16 bytes. A
// query with no key left gets zeros; rows of q in no sequence are left alone.
func (s *Stream) Attention(out, q, k, v *Tensor, a Attention) {
	const op = "attention"
	if !s.heads(op, a.Heads, a.KVHeads, a.HeadDim) {
		return
	}
	queries, keys, sequences := q.Rows(), k.Rows(), a.QOffsets.Rows()-1
	qCols, kvCols := a.Heads*a.HeadDim, a.KVHeads*a.HeadDim
	if !s.fits(op, value("q", q, queries, qCols), value("k", k, keys, kvCols), value("v", v, keys, kvCols), value("out", out, queries, qCols),
		index("q offsets", a.QOffsets, a.QOffsets.Rows(), 1), index("k offsets", a.KOffsets, sequences+1, 1),
		operand{name: "key mask", t: a.KeyMask, rows: keys, cols: 1, dtype: U8, optional: true}) {
		return
	}
	if !s.counts(op, count{"sequences", sequences}) {
		return
	}
	s.queue(s.context().Attention(&binding.AttentionParams{
		Scale: a.Scale, Q: q.abi(), K: k.abi(), V: v.abi(), Out: out.abi(),
		QOffsets: a.QOffsets.abi(), KOffsets: a.KOffsets.abi(), KeyMask: a.KeyMask.abi(),
		QRows: int64(queries), KRows: int64(keys), Sequences: int64(sequences),
		Heads: int32(a.Heads), KVHeads: int32(a.KVHeads), HeadDim: int32(a.HeadDim),
	}))
}

// heads checks the head counts of both attention ops.
func (s *Stream) heads(op string, heads, kvHeads, headDim int) bool {
	if !s.counts(op, count{"heads", heads}, count{"kvHeads", kvHeads}, count{"headDim", headDim}) {
		return false
	}
	if heads%kvHeads != 0 {
		s.refuse(op, "%d heads are no multiple of %d kvHeads", heads, kvHeads)
		return false
	}
	return true
}

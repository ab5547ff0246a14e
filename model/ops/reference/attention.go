package reference

import "math"

// Heads is the head layout of attention.
type Heads struct {
	Heads, KVHeads, HeadDim int
	Scale                   float32
}

// Attention is softmax(scale q kᵀ) v per sequence and head: q [queries, heads*headDim], k and v
// [keys, kvHeads*headDim], offsets as ops.Attention has them, mask [keys] or nil. Rows of no
// sequence are zeros here.
func Attention(q, k, v []float32, qOffsets, kOffsets []int32, mask []byte, h Heads) []float64 {
	out := make([]float64, len(q))
	for s := range len(qOffsets) - 1 {
		for row := int(qOffsets[s]); row < int(qOffsets[s+1]); row++ {
			attend(out, q, k, v, row, int(kOffsets[s]), int(kOffsets[s+1]), mask, h)
		}
	}
	return out
}

// Causal is attention of one sequence's rows to its own keys and values, which all lie in k and v
// [len, kvHeads*headDim]: row j of q has position first+j, and sees positions 0 to first+j.
func Causal(q, k, v []float32, first int, h Heads) []float64 {
	out := make([]float64, len(q))
	for row := range len(q) / (h.Heads * h.HeadDim) {
		attend(out, q, k, v, row, 0, first+row+1, nil, h)
	}
	return out
}

// attend fills row of out from keys begin to end-1.
func attend(out []float64, q, k, v []float32, row, begin, end int, mask []byte, h Heads) {
	qCols, kvCols := h.Heads*h.HeadDim, h.KVHeads*h.HeadDim
	scores := make([]float64, end-begin)
	for head := range h.Heads {
		column := head / (h.Heads / h.KVHeads) * h.HeadDim
		query := q[row*qCols+head*h.HeadDim:][:h.HeadDim]
		for key := begin; key < end; key++ {
			scores[key-begin] = float64(h.Scale) * dot(query, k[key*kvCols+column:][:h.HeadDim])
			if mask != nil && mask[key] == 0 {
				scores[key-begin] = math.Inf(-1)
			}
		}
		result := out[row*qCols+head*h.HeadDim:][:h.HeadDim]
		for i, weight := range weigh(scores) {
			values := v[(begin+i)*kvCols+column:][:h.HeadDim]
			for d := range result {
				result[d] += weight * float64(values[d])
			}
		}
	}
}

package ops

import "github.com/llama3v/llama3v/binding"

// Embedding queues out[i] = row ids[i] of the table, widened to float32.
//
//	ids  [rows, 1] I32
//	out  [rows, table's cols]
//
// An id of -1 marks a slot that something else fills: its row of out stays as it is. Any other id
// outside the table is a fault (binding.FaultTokenID), and its row becomes zeros.
func (s *Stream) Embedding(out, ids *Tensor, table *Weight) {
	if !s.fits("embedding", packed("table", table), index("ids", ids, ids.Rows(), 1), value("out", out, ids.Rows(), table.Cols())) {
		return
	}
	s.queue(s.context().Embedding(&binding.EmbeddingParams{
		Weight: table.packed.ID(), IDs: ids.abi(), Out: out.abi(), Rows: int64(ids.rows),
	}))
}

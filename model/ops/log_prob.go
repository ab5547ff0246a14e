package ops

import "github.com/llama3v/llama3v/binding"

// LogProb queues out[j] = x[ids[j]] - log(sum(exp(x))) for each row: the natural logarithms of the
// probabilities of some columns. With the ids of TopK they are those of the likeliest.
//
//	out  [rows, k]
//	x    [rows, cols]
//	ids  [rows, k] I32; an id of -1 leaves its place in out
//
// Any other id outside the columns is a fault (binding.FaultTokenID), and so are NaN, +inf and a row of
// -inf alone (binding.FaultNotFinite); what they spoil becomes NaN.
func (s *Stream) LogProb(out, x, ids *Tensor) {
	rows, k := x.Rows(), ids.Cols()
	if !s.fits("log_prob", value("out", out, rows, k), value("x", x, rows, x.Cols()), index("ids", ids, rows, k)) {
		return
	}
	s.queue(s.context().LogProb(&binding.LogProbParams{
		K: int32(k), X: x.abi(), IDs: ids.abi(), Out: out.abi(), Rows: int64(rows), Cols: int64(x.cols),
	}))
}

package ops

import "github.com/llama3v/llama3v/binding"

// CheckFinite queues a search for NaN and infinity in x: a fault (binding.FaultNotFinite) that
// carries stage, a number of the caller's own.
//
//	x  [rows, cols]
func (s *Stream) CheckFinite(x *Tensor, stage int) {
	if !s.fits("check_finite", value("x", x, x.Rows(), x.Cols())) {
		return
	}
	s.queue(s.context().CheckFinite(&binding.CheckFiniteParams{
		Stage: int32(stage), X: x.abi(), Rows: int64(x.rows), Cols: int64(x.cols),
	}))
}

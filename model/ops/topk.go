package ops

import "github.com/llama3v/llama3v/binding"

// TopK queues the k largest of each row, largest first, the lower index first among equals.
//
//	x       [rows, cols]
//	ids     [rows, k] I32, k at most cols and Capabilities.MaxTopK
//	values  [rows, k] or nil
//
// A NaN, or a row of -inf alone, is a fault (binding.FaultNotFinite).
func (s *Stream) TopK(ids, values, x *Tensor) {
	k := ids.Cols()
	if !s.fits("topk", value("x", x, x.Rows(), x.Cols()), index("ids", ids, x.Rows(), k), maybe("values", values, x.Rows(), k)) {
		return
	}
	if k > x.cols {
		s.refuse("topk", "%d of the %d values of a row", k, x.cols)
		return
	}
	s.queue(s.context().TopK(&binding.TopKParams{
		K: int32(k), X: x.abi(), IDs: ids.abi(), Values: values.abi(), Rows: int64(x.rows), Cols: int64(x.cols),
	}))
}

// ArgMax queues the index of the largest value of each row, the lowest among equals.
//
//	ids  [rows, 1] I32
func (s *Stream) ArgMax(ids, x *Tensor) {
	if s.fits("topk", index("ids", ids, x.Rows(), 1)) {
		s.TopK(ids, nil, x)
	}
}

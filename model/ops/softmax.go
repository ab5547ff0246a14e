package ops

import "github.com/llama3v/llama3v/binding"

// Softmax queues out = softmax(scale x), row by row. -inf counts as masked; a row of nothing else
// becomes zeros.
//
//	x, out  [rows, cols], out may be x
func (s *Stream) Softmax(out, x *Tensor, scale float32) {
	rows, cols := x.Rows(), x.Cols()
	if !s.fits("softmax", value("x", x, rows, cols), value("out", out, rows, cols)) {
		return
	}
	s.queue(s.context().Softmax(&binding.SoftmaxParams{
		Scale: scale, X: x.abi(), Out: out.abi(), Rows: int64(rows), Cols: int64(cols),
	}))
}

package ops

import "github.com/llama3v/llama3v/binding"

// RMSNorm queues out = x / sqrt(mean(x²) + eps) * weight, row by row (Zhang & Sennrich 2019,
// arXiv:1910.07467).
//
//	x, out  [rows, cols], out may be x
//	weight  [1, cols]
func (s *Stream) RMSNorm(out, x, weight *Tensor, eps float32) {
	rows, cols := x.Rows(), x.Cols()
	if !s.fits("rms_norm", value("x", x, rows, cols), value("weight", weight, 1, cols), value("out", out, rows, cols)) {
		return
	}
	s.queue(s.context().RMSNorm(&binding.RMSNormParams{
		Eps: eps, X: x.abi(), Weight: weight.abi(), Out: out.abi(), Rows: int64(rows), Cols: int64(cols),
	}))
}

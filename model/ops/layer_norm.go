package ops

import "github.com/llama3v/llama3v/binding"

// LayerNorm queues out = (x - mean) / sqrt(var + eps) * weight + bias, row by row, var biased
// (Ba et al. 2016, arXiv:1607.06450).
//
//	x, out        [rows, cols], out may be x
//	weight, bias  [1, cols]
func (s *Stream) LayerNorm(out, x, weight, bias *Tensor, eps float32) {
	rows, cols := x.Rows(), x.Cols()
	if !s.fits("layer_norm", value("x", x, rows, cols), value("weight", weight, 1, cols), value("bias", bias, 1, cols),
		value("out", out, rows, cols)) {
		return
	}
	s.queue(s.context().LayerNorm(&binding.LayerNormParams{
		Eps: eps, X: x.abi(), Weight: weight.abi(), Bias: bias.abi(), Out: out.abi(), Rows: int64(rows), Cols: int64(cols),
	}))
}

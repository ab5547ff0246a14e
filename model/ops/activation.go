package ops

import "github.com/llama3v/llama3v/binding"

// Activate queues out = act(x).
//
//	x, out  [rows, cols], out may be x
func (s *Stream) Activate(out, x *Tensor, act Activation) {
	rows, cols := x.Rows(), x.Cols()
	if !s.fits("activation", value("x", x, rows, cols), value("out", out, rows, cols)) {
		return
	}
	s.queue(s.context().Activation(&binding.ActivationParams{
		Activation: binding.Activation(act), X: x.abi(), Out: out.abi(), Rows: int64(rows), Cols: int64(cols),
	}))
}

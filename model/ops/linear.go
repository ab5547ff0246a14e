package ops

import "github.com/llama3v/llama3v/binding"

// Linear is a layer y = x Wᵀ + bias.
type Linear struct {
	Weight *Weight // [out, in]
	Bias   *Tensor // [1, out] or nil
}

// Linear queues out = x Wᵀ + bias.
//
//	x    [rows, in]
//	out  [rows, out]
func (s *Stream) Linear(out, x *Tensor, l Linear) { s.linear(out, x, l, None, nil) }

// LinearAct queues out = act(x Wᵀ + bias).
func (s *Stream) LinearAct(out, x *Tensor, l Linear, act Activation) {
	s.linear(out, x, l, act, nil)
}

// LinearAdd queues out = x Wᵀ + bias + residual.
//
//	residual  [rows, out], may be out
func (s *Stream) LinearAdd(out, x *Tensor, l Linear, residual *Tensor) {
	if s.fits("linear", value("residual", residual, residual.Rows(), residual.Cols())) {
		s.linear(out, x, l, None, residual)
	}
}

func (s *Stream) linear(out, x *Tensor, l Linear, act Activation, residual *Tensor) {
	w := l.Weight
	if !s.fits("linear", packed("weight", w), value("x", x, x.Rows(), w.Cols()), maybe("bias", l.Bias, 1, w.Rows()),
		maybe("residual", residual, x.Rows(), w.Rows()), value("out", out, x.Rows(), w.Rows())) {
		return
	}
	s.queue(s.context().Linear(&binding.LinearParams{
		Activation: binding.Activation(act), Weight: w.packed.ID(),
		X: x.abi(), Bias: l.Bias.abi(), Residual: residual.abi(), Out: out.abi(),
		Rows: int64(x.rows), Compute: s.Compute,
	}))
}

package ops

import "github.com/llama3v/llama3v/binding"

// Linear is a layer y = x Wᵀ + bias.
type Linear struct {
	Weight *Weight   // [out, in]
	More   []*Weight // the rows of W behind those of Weight, where they are of another type
	Bias   *Tensor   // [1, out] or nil
}

// Out is the outputs: the rows of W.
func (l Linear) Out() int {
	rows := l.Weight.Rows()
	for _, w := range l.More {
		rows += w.Rows()
	}
	return rows
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
	if len(l.More) == 0 {
		s.product(out, x, l, act, residual)
		return
	}
	if !s.fits("linear", value("x", x, x.Rows(), l.Weight.Cols()), maybe("bias", l.Bias, 1, l.Out()),
		maybe("residual", residual, x.Rows(), l.Out()), value("out", out, x.Rows(), l.Out())) {
		return
	}
	first := 0
	for _, w := range append([]*Weight{l.Weight}, l.More...) {
		part := Linear{Weight: w}
		if l.Bias != nil {
			part.Bias = l.Bias.ColRange(first, w.Rows())
		}
		var rest *Tensor
		if residual != nil {
			rest = residual.ColRange(first, w.Rows())
		}
		s.product(out.ColRange(first, w.Rows()), x, part, act, rest)
		first += w.Rows()
	}
}

// product queues a linear layer of one weight.
func (s *Stream) product(out, x *Tensor, l Linear, act Activation, residual *Tensor) {
	w := l.Weight
	if !s.fits("linear", packed("weight", w), value("x", x, x.Rows(), w.Cols()), maybe("bias", l.Bias, 1, w.Rows()),
		maybe("residual", residual, x.Rows(), w.Rows()), value("out", out, x.Rows(), w.Rows())) {
		return
	}
	compute := s.Compute
	if compute == I8 && !w.dtype.Quantized() {
		compute = F32 // I8 is for block types; a model has both
	}
	s.queue(s.context().Linear(&binding.LinearParams{
		Activation: binding.Activation(act), Weight: w.packed.ID(),
		X: x.abi(), Bias: l.Bias.abi(), Residual: residual.abi(), Out: out.abi(),
		Rows: int64(x.rows), Compute: compute,
	}))
}

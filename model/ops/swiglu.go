package ops

import "github.com/llama3v/llama3v/binding"

// SwiGLU queues out = silu(gate) * up (Shazeer 2020, arXiv:2002.05202).
//
//	gate, up, out  [rows, cols], out may be gate or up
func (s *Stream) SwiGLU(out, gate, up *Tensor) {
	rows, cols := gate.Rows(), gate.Cols()
	if !s.fits("swiglu", value("gate", gate, rows, cols), value("up", up, rows, cols), value("out", out, rows, cols)) {
		return
	}
	s.queue(s.context().SwiGLU(&binding.SwiGLUParams{
		Gate: gate.abi(), Up: up.abi(), Out: out.abi(), Rows: int64(rows), Cols: int64(cols),
	}))
}

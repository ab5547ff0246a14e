package ops

import "github.com/llama3v/llama3v/binding"

// RoPE queues the rotary embedding of x in place (Su et al. 2021, arXiv:2104.09864), pairs
// (j, j + headDim/2) of each head turned by positions[row] * frequencies[j].
//
//	x            [rows, heads*headDim]
//	positions    [rows, 1] I32, at least 0 (else binding.FaultPosition)
//	frequencies  [1, headDim/2], radians per position
func (s *Stream) RoPE(x, positions, frequencies *Tensor, headDim int) {
	const op = "rope"
	if !s.counts(op, count{"headDim", headDim}) {
		return
	}
	rows, cols := x.Rows(), x.Cols()
	if headDim%2 != 0 || cols%headDim != 0 {
		s.refuse(op, "headDim %d: even, and the %d columns of x a multiple of it", headDim, cols)
		return
	}
	if !s.fits(op, value("x", x, rows, cols), index("positions", positions, rows, 1), value("frequencies", frequencies, 1, headDim/2)) {
		return
	}
	s.queue(s.context().Rope(&binding.RopeParams{
		Heads: int32(cols / headDim), X: x.abi(), Positions: positions.abi(), Frequencies: frequencies.abi(),
		Rows: int64(rows), HeadDim: int32(headDim),
	}))
}

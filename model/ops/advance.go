package ops

import "github.com/llama3v/llama3v/binding"

// Advance queues the end of a decode step on the device: ids = next, positions += 1, lengths += 1
// for every sequence whose length is above 0; the others stay.
//
//	all  [sequences, 1] I32; ids, positions and lengths may be nil
func (s *Stream) Advance(next, ids, positions, lengths *Tensor) {
	n := next.Rows()
	if !s.fits("advance", index("next", next, n, 1), maybeIndex("ids", ids, n, 1), maybeIndex("positions", positions, n, 1),
		maybeIndex("lengths", lengths, n, 1)) {
		return
	}
	s.queue(s.context().Advance(&binding.AdvanceParams{
		Next: next.abi(), IDs: ids.abi(), Positions: positions.abi(), Lengths: lengths.abi(), Sequences: int64(n),
	}))
}

package ops

import "github.com/llama3v/llama3v/binding"

// CopyRows queues out = x, of any type.
//
//	x, out  [rows, cols] of one type, not overlapping
func (s *Stream) CopyRows(out, x *Tensor) {
	if s.fits("copy_rows", value("x", x, x.Rows(), x.Cols()), value("out", out, x.Rows(), x.Cols())) {
		s.copyRows(out, x, nil, nil, x.rows)
	}
}

// GatherRows queues out[i] = x[index[i]]. An index of -1 leaves row i of out as it is; any other
// outside x is a fault (binding.FaultRowIndex).
//
//	index  [rows, 1] I32
//	out    [rows, cols], not overlapping x
func (s *Stream) GatherRows(out, x, at *Tensor) {
	if s.fits("copy_rows", value("x", x, x.Rows(), x.Cols()), index("index", at, at.Rows(), 1), value("out", out, at.Rows(), x.Cols())) {
		s.copyRows(out, x, at, nil, at.rows)
	}
}

// ScatterRows queues out[index[i]] = x[i], with GatherRows's rule for indices. Two rows with one
// target: the order is not defined.
//
//	x      [rows, cols]
//	index  [rows, 1] I32
//	out    [any, cols], not overlapping x
func (s *Stream) ScatterRows(out, x, at *Tensor) {
	if s.fits("copy_rows", value("x", x, x.Rows(), x.Cols()), index("index", at, x.Rows(), 1), value("out", out, out.Rows(), x.Cols())) {
		s.copyRows(out, x, nil, at, x.rows)
	}
}

func (s *Stream) copyRows(out, x, from, to *Tensor, rows int) {
	s.queue(s.context().CopyRows(&binding.CopyRowsParams{
		X: x.abi(), Out: out.abi(), XIndex: from.abi(), OutIndex: to.abi(),
		Rows: int64(rows), Cols: int64(x.cols), XRows: int64(x.rows), OutRows: int64(out.rows),
	}))
}

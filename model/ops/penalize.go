package ops

import "github.com/llama3v/llama3v/binding"

// PenaltyCols is the columns of a row of settings of [Stream.Penalize].
const PenaltyCols = 3

// Penalties lower the scores of tokens that a text has already. Repetition 1 and zeros elsewhere
// change nothing, and neither does the zero value.
type Penalties struct {
	Repetition float32 // above 0: a token of the prompt or the answer has its score divided by it, a negative one multiplied
	Presence   float32 // taken off the score of a token of the answer
	Frequency  float32 // taken off it for each time it is there
}

// PenaltyRows is the settings of one row each, for an F32 tensor [len(list), PenaltyCols].
func PenaltyRows(list ...Penalties) []float32 {
	rows := make([]float32, 0, len(list)*PenaltyCols)
	for _, p := range list {
		rows = append(rows, p.Repetition, p.Presence, p.Frequency)
	}
	return rows
}

// Penalize queues lower scores in x, in place, for the tokens that a text has already: each once for
// repetition, then presence and frequency.
//
//	x         [rows, cols]
//	counts    [rows, cols] I32: how often each token was generated
//	prompt    [rows, cols] U8 or nil: not 0 for a token of the prompt
//	settings  [rows, PenaltyCols], of PenaltyRows
//
// Settings out of range are a fault (binding.FaultSetting with the column), and leave their row.
func (s *Stream) Penalize(x, counts, prompt, settings *Tensor) {
	rows, cols := x.Rows(), x.Cols()
	if !s.fits("penalize", value("x", x, rows, cols), index("counts", counts, rows, cols),
		operand{name: "prompt", t: prompt, rows: rows, cols: cols, dtype: U8, optional: true},
		value("settings", settings, rows, PenaltyCols)) {
		return
	}
	s.queue(s.context().Penalize(&binding.PenalizeParams{
		X: x.abi(), Counts: counts.abi(), Prompt: prompt.abi(), Settings: settings.abi(), Rows: int64(rows), Cols: int64(cols),
	}))
}

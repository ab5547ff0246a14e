package ops

import (
	"math"

	"github.com/llama3v/llama3v/binding"
)

// SamplingCols is the columns of a row of settings of [Stream.Sample].
const SamplingCols = 8

// Sampling says how a token is drawn from its scores. The zero value takes the largest; with a
// temperature above 0 TopP must be set, 1 to leave it out.
type Sampling struct {
	Temperature float32 // 0: the largest, the lowest id among equals, whatever else is set
	TopK        int     // > 0: only the k largest and what equals the k-th
	TopP        float32 // in (0, 1], < 1: only the largest whose probabilities reach it together
	MinP        float32 // in [0, 1], > 0: none with less than this part of the largest probability
	Seed        uint64
}

// SamplingRows is the settings of one row each, for an I32 tensor [len(list), SamplingCols].
func SamplingRows(list ...Sampling) []int32 {
	rows := make([]int32, 0, len(list)*SamplingCols)
	bits := func(v float32) int32 { return int32(math.Float32bits(v)) }
	for _, p := range list {
		// More than all columns are all; below zero stays so, for the device to refuse.
		k := max(-1, min(p.TopK, math.MaxInt32))
		rows = append(rows, bits(p.Temperature), int32(k), bits(p.TopP), bits(p.MinP), int32(p.Seed), int32(p.Seed>>32), 0, 0)
	}
	return rows
}

// Sample queues one draw from the softmax of each row of x: temperature, top-k, top-p, min-p in this
// order, then a number from Philox4x32-10 by the row's seed and position, so that a draw does not depend
// on what else is in the batch. The header has the definition.
//
//	ids        [rows, 1] I32
//	x          [rows, cols]
//	settings   [rows, SamplingCols] I32, of SamplingRows
//	positions  [rows, 1] I32: names the draw in its text, as a rule the position of the token whose scores x are
//	counts     [rows, cols] I32 or nil: the drawn id's count goes up by one
//
// Settings out of range are a fault (binding.FaultSetting with the column), and so are NaN, a row of -inf
// alone, and +inf where a draw is made (binding.FaultNotFinite): the row's id is -1.
func (s *Stream) Sample(ids, x, settings, positions, counts *Tensor) {
	rows, cols := x.Rows(), x.Cols()
	if !s.fits("sample", index("ids", ids, rows, 1), value("x", x, rows, cols), index("settings", settings, rows, SamplingCols),
		index("positions", positions, rows, 1), maybeIndex("counts", counts, rows, cols)) {
		return
	}
	s.queue(s.context().Sample(&binding.SampleParams{
		X: x.abi(), Settings: settings.abi(), Positions: positions.abi(), IDs: ids.abi(), Counts: counts.abi(),
		Rows: int64(rows), Cols: int64(cols),
	}))
}

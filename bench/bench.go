// Package bench measures ops and whole models beside the bound that the same machine reaches in the
// same run: a loop of multiply-adds in registers for products, a stream of reads through as much
// memory as the op moves for the rest. A rate without its bound says little: processors differ, and
// so does one machine from minute to minute.
package bench

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/llama3v/llama3v/binding"
	"github.com/llama3v/llama3v/model/ops"
)

// Row is one measurement.
type Row struct {
	Op      string  `json:"op"`
	Backend string  `json:"backend"`
	DType   string  `json:"dtype"` // weights x activations in products; one word means both
	Shape   []int   `json:"shape"` // [rows, in, out] for linear
	Seconds float64 `json:"seconds"`
	Rate    float64 `json:"rate"` // in Unit
	Unit    string  `json:"unit"` // "GFLOP/s" or "GB/s"
	Bound   float64 `json:"bound"`
	Share   float64 `json:"share"` // of Bound
}

// Bound is a peak that was measured in the run.
type Bound struct {
	Name     string  `json:"name"`
	Rate     float64 `json:"rate"`
	Unit     string  `json:"unit"`
	PerCycle float64 `json:"per_cycle"` // operations or bytes per cycle of one core
}

// ErrBound: an op was faster than its bound, so the bound was wrong.
var ErrBound = errors.New("share of the bound above 1.02")

// Meter measures on one device. Cores are shared with other work, on a virtual machine with that of
// others too, and change their speed by half from one moment to the next; so op and bound take
// turns, a share is of the faster of the two bounds around it, and the median share counts.
type Meter struct {
	device   *ops.Device
	backend  string
	cores    int
	repeat   time.Duration
	bounds   map[bound]*Bound
	together bool // a wait costs a card as much as many ops: one for all runs of a turn
}

// bound is what limits an op: multiply-adds of a type, or reads through a working set.
type bound struct {
	compute ops.DType // 0: reads
	bytes   int64     // working set of reads
}

// NewMeter measures each op for about repeat.
func NewMeter(d *ops.Device, repeat time.Duration) *Meter {
	caps := d.Capabilities()
	name := caps.Name
	if caps.Emulated {
		name += " (emulated)"
	}
	return &Meter{device: d, backend: name, cores: caps.Cores, repeat: repeat, together: caps.Name != "cpu", bounds: map[bound]*Bound{}}
}

// peak measures a bound now, in its unit. Products of bfloat16 may run on the float32 loop where the
// processor's own bfloat16 products are slower, so the faster of both bounds them.
func (m *Meter) peak(b bound) (float64, error) {
	about := max(m.repeat/20, 10*time.Millisecond)
	if b.compute == 0 {
		return m.take(b, binding.PeakRead, 0, about)
	}
	rate, err := m.take(b, binding.PeakCompute, ops.F32, about)
	if err != nil || b.compute == ops.F32 {
		return rate, err
	}
	own, err := m.take(b, binding.PeakCompute, b.compute, about)
	if errors.Is(err, binding.ErrUnsupported) { // the kernel set has no loop of its own for the type
		err = nil
	}
	return max(rate, own), err
}

// take measures a peak, and keeps the best of the run for Bounds.
func (m *Meter) take(b bound, kind binding.Peak, t ops.DType, about time.Duration) (float64, error) {
	rate, cycle, err := m.device.MeasurePeak(kind, t, b.bytes, about)
	rate /= 1e9
	if best := m.bounds[b]; err == nil && (best == nil || rate > best.Rate) {
		m.bounds[b] = &Bound{Name: b.String(), Unit: b.unit(), Rate: rate, PerCycle: cycle}
	}
	return rate, err
}

func (b bound) String() string {
	if b.compute != 0 {
		return b.compute.String() + " multiply-adds"
	}
	return fmt.Sprintf("reads through %.1f MB", float64(b.bytes)/1e6)
}

func (b bound) unit() string {
	if b.compute != 0 {
		return "GFLOP/s"
	}
	return "GB/s"
}

// Bounds are the best of each bound that the run saw, by name.
func (m *Meter) Bounds() []Bound {
	var list []Bound
	for _, b := range m.bounds {
		list = append(list, *b)
	}
	slices.SortFunc(list, func(a, b Bound) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// measurement is an op ready to run, over and over.
type measurement struct {
	op, dtype string
	shape     []int
	work      float64 // operations, or bytes moved, of one run
	bound     bound
	run       func(s *ops.Stream, i int) // i counts runs, for ops that take turns on several inputs
}

// measure times one op in several turns with its bound, and gives the turn of the median share. A
// share above 1.02 is looked at again before it counts: the bound may just have had the worse turns.
func (m *Meter) measure(x measurement) (Row, error) {
	const most, tries = 1.02, 3
	var row Row
	for range tries {
		var err error
		if row, err = m.turns(x); err != nil {
			return row, fmt.Errorf("%s %s %v: %w", x.op, x.dtype, x.shape, err)
		}
		if row.Share <= most || m.device.Capabilities().Emulated { // whose rates bound nothing
			return row, nil
		}
	}
	return row, fmt.Errorf("%w: %s %s %v at %.1f %s, bound %.1f", ErrBound, x.op, x.dtype, x.shape, row.Rate, row.Unit, row.Bound)
}

func (m *Meter) turns(x measurement) (Row, error) {
	s := m.device.Stream()
	s.Compute = ops.F32
	if x.bound.compute != 0 {
		s.Compute = x.bound.compute
	}
	runs := 0
	batch := func(n int) (seconds float64, err error) {
		begin := time.Now()
		for i := range n {
			x.run(s, runs)
			runs++
			if m.together && i+1 < n {
				continue
			}
			if err := s.Wait(); err != nil { // without it we would time the queueing
				return 0, err
			}
		}
		return time.Since(begin).Seconds() / float64(n), nil
	}
	first, err := batch(2) // the second finds workspaces in place
	if err != nil {
		return Row{}, err
	}
	const turns = 9
	n := max(1, int(m.repeat.Seconds()/turns/first))
	rows := make([]Row, turns)
	before, err := m.peak(x.bound)
	if err != nil {
		return Row{}, err
	}
	for i := range rows {
		seconds, err := batch(n)
		if err != nil {
			return Row{}, err
		}
		after, err := m.peak(x.bound)
		if err != nil {
			return Row{}, err
		}
		r := Row{Op: x.op, Backend: m.backend, DType: x.dtype, Shape: x.shape, Seconds: seconds,
			Rate: x.work / seconds / 1e9, Unit: x.bound.unit(), Bound: max(before, after)}
		r.Share = r.Rate / r.Bound
		rows[i], before = r, after
	}
	slices.SortFunc(rows, func(a, b Row) int { return cmp.Compare(a.Share, b.Share) })
	return rows[turns/2], nil
}

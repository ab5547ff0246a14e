// Package bench measures ops and whole models beside the bound that the same machine reaches in the
// same run: a loop of multiply-adds in registers for products, a stream of reads through as much
// memory as the op moves for the rest. A rate without its bound says little: processors differ, and
// so does one machine from minute to minute.
package bench

import (
	"errors"
	"fmt"
	"slices"
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

// Meter measures on one device. Bounds are taken beside every measurement and the best of the run
// counts, as other work on the machine can only make either side slower.
type Meter struct {
	device  *ops.Device
	backend string
	cores   int
	repeat  time.Duration
	bounds  map[bound]*Bound
}

// bound is what limits an op: multiply-adds of a type, or reads through a working set.
type bound struct {
	compute ops.DType // 0: reads
	bytes   int64     // working set of reads
}

// NewMeter measures each op for about repeat.
func NewMeter(d *ops.Device, repeat time.Duration) *Meter {
	caps := d.Capabilities()
	return &Meter{device: d, backend: caps.Name, cores: caps.Cores, repeat: repeat, bounds: map[bound]*Bound{}}
}

// peak measures a bound anew, and keeps the best. Products of bfloat16 may run on the float32 loop
// where the processor's own bfloat16 products are slower, so the faster of both bounds them.
func (m *Meter) peak(b bound) (*Bound, error) {
	known := m.bounds[b]
	if known == nil {
		known = &Bound{Name: fmt.Sprintf("reads through %.1f MB", float64(b.bytes)/1e6), Unit: "GB/s"}
		if b.compute != 0 {
			known.Name, known.Unit = b.compute.String()+" multiply-adds", "GFLOP/s"
		}
		m.bounds[b] = known
	}
	about := max(m.repeat/4, 10*time.Millisecond)
	if b.compute == 0 {
		return known, m.raise(known, binding.PeakRead, 0, b.bytes, about)
	}
	if err := m.raise(known, binding.PeakCompute, ops.F32, 0, about); err != nil || b.compute == ops.F32 {
		return known, err
	}
	err := m.raise(known, binding.PeakCompute, b.compute, 0, about)
	if errors.Is(err, binding.ErrUnsupported) { // the kernel set has no loop of its own for the type
		err = nil
	}
	return known, err
}

// raise measures, and keeps the rate when it is the best so far.
func (m *Meter) raise(known *Bound, kind binding.Peak, t ops.DType, bytes int64, about time.Duration) error {
	rate, cycle, err := m.device.MeasurePeak(kind, t, bytes, about)
	if err == nil && rate/1e9 > known.Rate {
		known.Rate, known.PerCycle = rate/1e9, cycle
	}
	return err
}

// Bounds are those measured so far, by name.
func (m *Meter) Bounds() []Bound {
	var list []Bound
	for _, b := range m.bounds {
		list = append(list, *b)
	}
	slices.SortFunc(list, func(a, b Bound) int { return compareStrings(a.Name, b.Name) })
	return list
}

func compareStrings(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// measurement is an op ready to run, over and over.
type measurement struct {
	op, dtype string
	shape     []int
	work      float64 // operations, or bytes moved, of one run
	bound     bound
	run       func(s *ops.Stream, i int) // i counts runs, for ops that take turns on several inputs
}

// measure times one op: the best of several batches, each long enough for the clock.
func (m *Meter) measure(x measurement) (Row, error) {
	s := m.device.Stream()
	s.Compute = ops.F32
	if x.bound.compute != 0 {
		s.Compute = x.bound.compute
	}
	runs := 0
	batch := func(n int) (time.Duration, error) {
		begin := time.Now()
		for range n {
			x.run(s, runs)
			runs++
			if err := s.Wait(); err != nil { // without it we would time the queueing
				return 0, err
			}
		}
		return time.Since(begin), nil
	}
	first, err := batch(2) // the second finds workspaces in place
	if err != nil {
		return Row{}, fmt.Errorf("%s %v: %w", x.op, x.shape, err)
	}
	const batches = 5
	n := max(1, int(float64(m.repeat)/batches/(float64(first)/2)))
	best := time.Duration(0)
	for range batches {
		if _, err := m.peak(x.bound); err != nil {
			return Row{}, err
		}
		d, err := batch(n)
		if err != nil {
			return Row{}, err
		}
		if best == 0 || d < best {
			best = d
		}
	}
	limit, err := m.peak(x.bound)
	if err != nil {
		return Row{}, err
	}
	seconds := best.Seconds() / float64(n)
	return Row{Op: x.op, Backend: m.backend, DType: x.dtype, Shape: x.shape, Seconds: seconds,
		Rate: x.work / seconds / 1e9, Unit: limit.Unit, Bound: limit.Rate}, nil
}

// finish fills in the shares, once all bounds of the run are known. Where a core is shared with
// others the peak loop may never have had it for itself; so a bound that an op passed is measured
// some more before it counts as wrong.
func (m *Meter) finish(rows []Row, of []bound) error {
	const most, again = 1.02, 40
	for i := range rows {
		r := &rows[i]
		for try := 0; ; try++ {
			r.Bound = m.bounds[of[i]].Rate
			if r.Share = r.Rate / r.Bound; r.Share <= most {
				break
			}
			if try == again {
				return fmt.Errorf("%w: %s %s %v at %.1f %s, bound %.1f", ErrBound, r.Op, r.DType, r.Shape, r.Rate, r.Unit, r.Bound)
			}
			if _, err := m.peak(of[i]); err != nil {
				return err
			}
		}
	}
	// A bound that rose for one row holds for all.
	for i := range rows {
		rows[i].Bound = m.bounds[of[i]].Rate
		rows[i].Share = rows[i].Rate / rows[i].Bound
	}
	return nil
}

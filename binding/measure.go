package binding

import "unsafe"

// Peak is a kind of bound that Context.MeasurePeak measures.
type Peak int32

const (
	PeakCompute Peak = 1 // multiply-adds in registers: operations, two each
	PeakRead    Peak = 2 // reads through memory again and again: bytes
)

// MeasurePeak measures what the device can do at most, now, on all of the context's threads: the
// bound that a kernel's speed is held against. It runs for about seconds (0.01 to 10) and waits.
//
// PeakCompute: operations of compute type dtype; bytes is 0. PeakRead: bytes read; bytes is the
// size of the memory read through, and dtype 0. The rates are per second, and per clock cycle of
// one core. ErrUnsupported: the kernel set has no such loop. ErrOutOfMemory: no room to read.
//
//	l3v_status l3v_measure_peak(l3v_context* ctx, int32_t kind, int32_t dtype, int64_t bytes,
//	                            double seconds, double* per_second, double* per_cycle);
func (c *Context) MeasurePeak(kind Peak, dtype DType, bytes int64, seconds float64) (perSecond, perCycle float64, err error) {
	if err := c.lock(symMeasurePeak); err != nil {
		return 0, 0, err
	}
	defer c.mu.Unlock()
	type rates struct{ perSecond, perCycle float64 }
	r := result[rates](c.block)
	second := c.block.address(blockResults)
	cycle := second + unsafe.Offsetof(r.perCycle)
	status := callMeasurePeak(c.lib.functions[symMeasurePeak], c.handle, int32(kind), int32(dtype), bytes, seconds, second, cycle)
	if status != int32(StatusOK) {
		return 0, 0, c.failure(symMeasurePeak, Status(status))
	}
	return r.perSecond, r.perCycle, nil
}

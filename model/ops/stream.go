package ops

import (
	"fmt"

	"github.com/llama3v/llama3v/binding"
)

// Stream queues ops on its device. All streams of a device share the one queue; each has its own
// settings and its own first failure, after which its ops do nothing until Wait has returned it.
type Stream struct {
	// Compute is the type of the products in Linear and PatchEmbed. F32: activations as they are.
	// BF16: activations rounded to bfloat16 first, for weights of bfloat16. I8: every 32 activations of
	// a row as int8 with one scale, for weights of block types; others as F32. Sums are float32.
	Compute DType

	device *Device
	err    error
	tap    func(name string, rows, cols int, data []float32)
}

// Stream makes a stream that computes in float32.
func (d *Device) Stream() *Stream { return &Stream{Compute: F32, device: d} }

// Err is the first failure since the last Wait. It does not wait.
func (s *Stream) Err() error { return s.err }

// Fail makes err the stream's failure, unless it is nil or there is one already.
func (s *Stream) Fail(err error) {
	if s.err == nil {
		s.err = err
	}
}

// Wait waits for everything queued on the device. It returns and clears the first failure since
// the last wait: the stream's own, or one of the device (binding.ErrCancelled,
// *binding.FaultError, binding.ErrDeviceLost). When both failed it is each of them.
func (s *Stream) Wait() error {
	own := s.err
	s.err = nil
	onDevice := s.device.context.Synchronize()
	if own != nil && onDevice != nil {
		return fmt.Errorf("%w; of the ops queued before it: %w", own, onDevice)
	}
	if own != nil {
		return own
	}
	return onDevice
}

// SetTap has f called with each result that the code names with Tap; nil ends it. It makes every
// Tap wait, and data is the callee's to keep.
func (s *Stream) SetTap(f func(name string, rows, cols int, data []float32)) { s.tap = f }

// Captures says whether what the code queues next can be captured: the library can, no capture is open,
// nothing failed before, and nobody looks at what lies between (SetTap).
func (s *Stream) Captures() bool {
	return s.device.capabilities.Capture && !s.device.capturing && s.tap == nil && s.err == nil
}

// Tap shows an intermediate result to the tap function. Without one, and under capture, it costs
// and does nothing.
func (s *Stream) Tap(name string, t *Tensor) {
	if s.tap == nil || s.err != nil || s.device.capturing {
		return
	}
	data, err := t.ReadFloat32()
	if err != nil {
		s.err = fmt.Errorf("tap %s: %w", name, err)
		return
	}
	s.tap(name, t.rows, t.cols, data)
}

// queue keeps an op's failure.
func (s *Stream) queue(err error) {
	if err != nil {
		s.err = err
	}
}

func (s *Stream) context() *binding.Context { return s.device.context }

package ops

import (
	"fmt"

	"github.com/llama3v/llama3v/binding"
)

// Graph is a captured stretch of ops that one call runs again. It holds the tensors and weights
// that its ops use: freeing one is binding.ErrBusy until the graph is freed.
type Graph struct {
	graph *binding.Graph
}

// Capture records the ops that record queues, without running them. A replay first fills in from
// the host, and copies out to the host after each step; both are packed tensors or nil. While it
// records, every stream of the device records, and only ops are allowed: no writes, reads or waits.
//
// When an op fails there is no graph; the error is returned and the stream is usable again. A
// failure from before the capture is returned too, but stays for Wait.
func (s *Stream) Capture(in, out *Tensor, record func()) (*Graph, error) {
	if s.err != nil {
		return nil, s.err
	}
	var io binding.GraphIO
	var err error
	if io.In, io.InOffset, io.InBytes, err = s.block("in", in); err != nil {
		return nil, err
	}
	if io.Out, io.OutOffset, io.OutBytes, err = s.block("out", out); err != nil {
		return nil, err
	}
	if err := s.context().BeginCapture(); err != nil {
		return nil, err
	}
	s.device.capturing = true
	ended := false
	defer func() {
		s.device.capturing = false
		if !ended { // record failed or panicked
			_ = s.context().AbortCapture() // what led here is the error to report
		}
	}()
	record()
	if err := s.err; err != nil {
		s.err = nil
		return nil, err
	}
	ended = true
	graph, err := s.context().EndCapture(io)
	if err != nil {
		return nil, err
	}
	return &Graph{graph}, nil
}

// block is the memory of a packed tensor.
func (s *Stream) block(name string, t *Tensor) (buffer *binding.Buffer, offset, bytes int64, err error) {
	if t == nil {
		return nil, 0, 0, nil
	}
	if err := t.usable(); err != nil {
		return nil, 0, 0, fmt.Errorf("capture: %s: %w", name, err)
	}
	if t.device != s.device || !t.packed() {
		return nil, 0, 0, fmt.Errorf("capture: %w: %s %s is not a packed tensor of this device", ErrShape, name, t)
	}
	return t.buffer, t.offset, int64(t.rows) * int64(t.cols) * int64(t.dtype.Size()), nil
}

// Replay runs the graph steps times in one call and waits. In has the bytes of the capture's in;
// after step i the bytes of its out land at out[i*len(out)/steps:]. Done is the number of steps
// whose bytes are whole, also beside an error, which is what [Stream.Wait] would return. It
// allocates nothing.
func (g *Graph) Replay(steps int, in, out []byte) (done int, err error) {
	return g.graph.Replay(steps, in, out)
}

// Free frees the graph and lets go of what it holds. A second Free does nothing.
func (g *Graph) Free() error {
	if g == nil {
		return nil
	}
	return g.graph.Close()
}

package ops

import "github.com/llama3v/llama3v/binding"

// Event is a time stamp on the device's own clock.
type Event struct {
	event *binding.Event
}

// NewEvent makes an event.
func (d *Device) NewEvent() (*Event, error) {
	e, err := d.context.NewEvent()
	if err != nil {
		return nil, err
	}
	return &Event{e}, nil
}

// Free frees the event. A second Free does nothing.
func (e *Event) Free() error {
	if e == nil {
		return nil
	}
	return e.event.Close()
}

// Record queues a time stamp. Not under capture.
func (s *Stream) Record(e *Event) {
	if s.err == nil {
		s.queue(e.event.Record())
	}
}

// Elapsed waits for both events and returns the seconds from start to end.
func (s *Stream) Elapsed(start, end *Event) (float64, error) {
	d, err := end.event.Since(start.event)
	return d.Seconds(), err
}

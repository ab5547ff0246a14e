package binding

import "time"

// Event is a time stamp on the device's own clock.
type Event struct {
	object
}

// NewEvent makes an event.
//
//	l3v_status l3v_event_create(l3v_context* ctx, uint64_t* out);
func (c *Context) NewEvent() (*Event, error) {
	if err := c.lock(symEventCreate); err != nil {
		return nil, err
	}
	defer c.mu.Unlock()
	id, err := c.create(symEventCreate, 2)
	if err != nil {
		return nil, err
	}
	e := &Event{object{c: c, id: id}}
	e.leak = watch(e, "event", c.leak)
	return e, nil
}

// Record queues a time stamp. Not under capture.
//
//	l3v_status l3v_event_record(l3v_context* ctx, uint64_t event);
func (e *Event) Record() error {
	if err := e.lock(symEventRecord); err != nil {
		return err
	}
	defer e.c.mu.Unlock()
	e.c.args[1] = uintptr(e.id)
	return e.c.call(symEventRecord, 2)
}

// Since waits for both events and returns the time from start's newest record to e's.
// ErrInvalidArgument: one was never recorded.
//
//	l3v_status l3v_event_elapsed(l3v_context* ctx, uint64_t start, uint64_t end, double* seconds);
func (e *Event) Since(start *Event) (time.Duration, error) {
	c := e.c
	if err := start.on(c, symEventElapsed); err != nil {
		return 0, err
	}
	if err := e.lock(symEventElapsed); err != nil {
		return 0, err
	}
	defer c.mu.Unlock()
	seconds := result[float64](c.block)
	c.args[1], c.args[2], c.args[3] = uintptr(start.id), uintptr(e.id), c.block.address(blockResults)
	if err := c.call(symEventElapsed, 4); err != nil {
		return 0, err
	}
	return time.Duration(*seconds * float64(time.Second)), nil
}

// Close frees the event. A second Close does nothing.
//
//	l3v_status l3v_event_free(l3v_context* ctx, uint64_t event);
func (e *Event) Close() error {
	if e == nil {
		return nil
	}
	return e.free(symEventFree)
}

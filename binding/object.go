package binding

// object is what buffers, weights, graphs and events share: an id of their context that is never
// used again, so that a stale one is refused by the library and never reaches another object.
type object struct {
	c      *Context
	id     uint64
	leak   *leak
	closed bool // guarded by c.mu
}

// ID is the object's id in params structs and views. It keeps its value after Close, and the
// library refuses it then.
func (o *object) ID() uint64 { return o.id }

// lock takes the context for one call on the object, or says that one of them is closed.
func (o *object) lock(s symbol) error {
	if err := o.c.lock(s); err != nil {
		return err
	}
	if o.closed {
		o.c.mu.Unlock()
		return closedError(s.op())
	}
	return nil
}

// free ends the object with the function s. It is done when the context was closed before.
func (o *object) free(s symbol) error {
	c := o.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if o.closed {
		return nil
	}
	if !c.closed {
		c.args[1] = uintptr(o.id)
		if err := c.call(s, 2); err != nil {
			return err
		}
	}
	o.closed = true
	o.leak.close()
	return nil
}

// on refuses an object of another context, whose id means something else here.
func (o *object) on(c *Context, s symbol) error {
	if o.c != c {
		return &Error{Op: s.op(), Status: StatusInvalidArgument, Text: "an object of another context"}
	}
	return nil
}

package binding

// Buffer is device memory of a context.
type Buffer struct {
	object
	bytes int64
}

// NewBuffer allocates bytes > 0 of device memory, filled with zeros and aligned to at least 64
// bytes. ErrOutOfMemory says the bytes needed and available.
//
//	l3v_status l3v_buffer_alloc(l3v_context* ctx, int64_t bytes, uint64_t* out);
func (c *Context) NewBuffer(bytes int64) (*Buffer, error) {
	if err := c.lock(symBufferAlloc); err != nil {
		return nil, err
	}
	defer c.mu.Unlock()
	c.args[1] = uintptr(bytes)
	id, err := c.create(symBufferAlloc, 3)
	if err != nil {
		return nil, err
	}
	b := &Buffer{object{c: c, id: id}, bytes}
	b.leak = watch(b, "buffer", c.leak)
	return b, nil
}

// Bytes is the size the buffer was made with.
func (b *Buffer) Bytes() int64 { return b.bytes }

// View is a matrix in the buffer: offset in bytes, row stride in elements (0: packed).
func (b *Buffer) View(offset, rowStride int64, dtype DType) View {
	return View{Buffer: b.id, Offset: offset, RowStride: rowStride, DType: dtype}
}

// Write queues a copy of src to the bytes from offset on, behind the work already queued. Src may
// be used again on return.
//
//	l3v_status l3v_buffer_write(l3v_context* ctx, uint64_t buffer, int64_t offset,
//	                            const void* src, int64_t bytes);
func (b *Buffer) Write(offset int64, src []byte) error {
	c := b.c
	if err := b.lock(symBufferWrite); err != nil {
		return err
	}
	defer c.mu.Unlock()
	c.args[1], c.args[2] = uintptr(b.id), uintptr(offset)
	c.args[3], c.args[4] = host(&c.in, src), uintptr(len(src))
	return c.call(symBufferWrite, 5)
}

// Read waits for the work queued and copies the bytes from offset on to dst, which is written
// only when the error is nil. The error may be one of that work, as in [Context.Synchronize].
//
//	l3v_status l3v_buffer_read(l3v_context* ctx, uint64_t buffer, int64_t offset, void* dst,
//	                           int64_t bytes);
func (b *Buffer) Read(offset int64, dst []byte) error {
	c := b.c
	if err := b.lock(symBufferRead); err != nil {
		return err
	}
	defer c.mu.Unlock()
	c.args[1], c.args[2] = uintptr(b.id), uintptr(offset)
	c.args[3], c.args[4] = host(&c.out, dst), uintptr(len(dst))
	return c.call(symBufferRead, 5)
}

// Close frees the buffer once queued work is done with it. ErrBusy: a live graph uses it, and it
// stays open. A second Close does nothing.
//
//	l3v_status l3v_buffer_free(l3v_context* ctx, uint64_t buffer);
func (b *Buffer) Close() error {
	if b == nil {
		return nil
	}
	return b.free(symBufferFree)
}

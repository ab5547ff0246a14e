package binding

import (
	"errors"
	"fmt"
	"sync"
	"unsafe"
)

// ContextOptions says what a context runs on. The zero value is device 0 as the library likes it.
type ContextOptions struct {
	Device      int
	Threads     int    // cpu: 0 is one per usable core
	MemoryLimit int64  // bytes the context may allocate, 0: no limit of its own
	Kernels     string // "" lets the library choose; cpu: "scalar", "avx2", "avx512", "neon"; cuda: "plain", "sm80", "sm90"

	// A row's bits never depend on what else is in the call: see Capabilities.BatchInvariantMode.
	BatchInvariant bool
}

// contextParams mirrors l3v_context_params.
type contextParams struct {
	structSize  uint32
	device      int32
	threads     int32
	flags       uint32
	memoryLimit int64
	kernels     [32]byte
}

// Context owns a device, one stream of work and every object made on it. Ops queue on the stream
// and return; Synchronize, Buffer.Read, Weight.ReadRows, Graph.Replay, Event elapsed times and
// Close wait for it. One call runs at a time; other goroutines wait, except in Cancel.
type Context struct {
	lib  *Library
	leak *leak

	mu     sync.Mutex // one call at a time; guards all below
	handle uintptr
	block  block
	args   [8]uintptr
	in     *byte // host memory of the call that runs: see host
	out    *byte
	closed bool

	life sync.RWMutex // Cancel holds it while it uses the handle
	gone bool         // set by Close: the handle may not be used any more
}

// NewContext makes a context. Close it when done.
//
//	l3v_status l3v_context_create(const l3v_context_params* p, l3v_context** out, char* err,
//	                              uint64_t err_cap);
func (l *Library) NewContext(o ContextOptions) (*Context, error) {
	op := symContextCreate.op()
	if err := errors.Join(fitsInt32(op, "device", o.Device), fitsInt32(op, "thread count", o.Threads)); err != nil {
		return nil, err
	}
	p := contextParams{device: int32(o.Device), threads: int32(o.Threads), memoryLimit: o.MemoryLimit}
	if o.BatchInvariant {
		p.flags |= contextBatchInvariant
	}
	if len(o.Kernels) >= len(p.kernels) {
		return nil, &Error{Op: op, Status: StatusUnsupported, Text: fmt.Sprintf("no kernel set is named %q", o.Kernels)}
	}
	copy(p.kernels[:], o.Kernels)
	b, err := newBlock()
	if err != nil {
		return nil, err
	}
	put(b, &p)
	out := result[uintptr](b)
	status := Status(int32(call(l.functions[symContextCreate], []uintptr{
		b.address(0), b.address(blockResults), b.address(blockText), blockBytes - blockText,
	})))
	if status != StatusOK {
		err := &Error{Op: op, Status: status, Text: b.text()}
		return nil, errors.Join(err, b.free())
	}
	c := &Context{lib: l, handle: *out, block: b}
	c.leak = watch(c, "context", nil)
	return c, nil
}

// Library is where the context comes from.
func (c *Context) Library() *Library { return c.lib }

// Close waits for the call in flight and for queued work, then frees the context with everything
// made on it; its buffers, weights, graphs and events are closed too. A second Close does nothing.
//
//	l3v_status l3v_context_destroy(l3v_context* ctx);
func (c *Context) Close() error {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.life.Lock()
	c.gone = true
	c.life.Unlock()
	c.closed = true
	c.args[0] = c.handle
	status := Status(int32(call(c.lib.functions[symContextDestroy], c.args[:1])))
	c.handle = 0
	c.leak.close()
	var err error
	if status != StatusOK {
		err = &Error{Op: symContextDestroy.op(), Status: status}
	}
	return errors.Join(err, c.block.free())
}

// Cancel stops the work that is queued or running, between two ops. The next call that waits
// returns ErrCancelled and clears the request, whether or not anything was stopped. Cancel does
// not wait for a call in flight and may be called from any goroutine.
//
//	l3v_status l3v_cancel(l3v_context* ctx);
func (c *Context) Cancel() error {
	c.life.RLock()
	defer c.life.RUnlock()
	if c.gone {
		return closedError(symCancel.op())
	}
	// Not through c.args, which belongs to the call that may be running.
	if status := Status(int32(call(c.lib.functions[symCancel], []uintptr{c.handle}))); status != StatusOK {
		return &Error{Op: symCancel.op(), Status: status}
	}
	return nil
}

// Synchronize waits for everything queued and returns the first failure since the last wait:
// ErrCancelled, ErrBadValue, ErrDeviceLost.
//
//	l3v_status l3v_synchronize(l3v_context* ctx);
func (c *Context) Synchronize() error {
	if err := c.lock(symSynchronize); err != nil {
		return err
	}
	defer c.mu.Unlock()
	return c.call(symSynchronize, 1)
}

// Counters mirrors l3v_counters: what a context has done and holds.
type Counters struct {
	structSize  uint32
	reserved0   uint32
	Entries     int64 // calls into the library on this context, the one that read this not counted
	Ops         int64 // ops run, those of replays included
	Captures    int64 // graphs made
	Replays     int64 // graph runs
	Allocations int64 // native allocations: buffers, weights, workspaces, graphs
	Objects     int64 // buffers, weights, graphs and events alive
	Bytes       int64 // allocated now
	BytesPeak   int64 // most bytes allocated at once
	Workspace   int64 // of Bytes: held by the ops' own scratch memory
}

// Counters reads the context's counters.
//
//	l3v_status l3v_counters_read(l3v_context* ctx, l3v_counters* out);
func (c *Context) Counters() (Counters, error) { return read[Counters](c, symCountersRead) }

// DeviceStatus mirrors l3v_device_status: what a kernel found wrong.
type DeviceStatus struct {
	structSize uint32
	Fault      Fault // FaultNone before the first
	Op         int32 // struct id of the op that found it, see OpName
	Stage      int32 // CheckFiniteParams.Stage, else 0
	Index      int64 // see Fault
	Value      int64
}

// NotFinite reports whether the fault was NaN or infinity.
func (d DeviceStatus) NotFinite() bool { return d.Fault == FaultNotFinite }

// OpName is the op that found the fault: "embedding".
func (d DeviceStatus) OpName() string {
	for _, l := range layouts {
		if l.id == uint32(d.Op) {
			return l.op()
		}
	}
	return fmt.Sprintf("op %d", d.Op)
}

// DeviceStatus reads the fault behind the newest ErrBadValue of the context.
//
//	l3v_status l3v_device_status_read(l3v_context* ctx, l3v_device_status* out);
func (c *Context) DeviceStatus() (DeviceStatus, error) {
	return read[DeviceStatus](c, symDeviceStatusRead)
}

// Copy queues a copy of bytes from src to dst, inside the device. It may be captured.
//
//	l3v_status l3v_buffer_copy(l3v_context* ctx, uint64_t dst, int64_t dst_offset, uint64_t src,
//	                           int64_t src_offset, int64_t bytes);
func (c *Context) Copy(dst *Buffer, dstOffset int64, src *Buffer, srcOffset, bytes int64) error {
	if err := errors.Join(dst.on(c, symBufferCopy), src.on(c, symBufferCopy)); err != nil {
		return err
	}
	if err := c.lock(symBufferCopy); err != nil {
		return err
	}
	defer c.mu.Unlock()
	c.args[1], c.args[2] = uintptr(dst.id), uintptr(dstOffset)
	c.args[3], c.args[4], c.args[5] = uintptr(src.id), uintptr(srcOffset), uintptr(bytes)
	return c.call(symBufferCopy, 6)
}

// lock takes the context for one call, or says that it is closed.
func (c *Context) lock(s symbol) error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return closedError(s.op())
	}
	return nil
}

func closedError(op string) error { return fmt.Errorf("%s: %w", op, ErrClosed) }

// call runs a function on the locked context with its first n arguments, of which args[0] is the
// context. Whatever host memory the call uses was put into c.in and c.out through host.
func (c *Context) call(s symbol, n int) error {
	c.args[0] = c.handle
	status := Status(int32(call(c.lib.functions[s], c.args[:n])))
	c.in, c.out = nil, nil
	if status != StatusOK {
		return c.failure(s, status)
	}
	return nil
}

// host is the address of a host slice for the call about to run. Storing the pointer in a field
// of the context does two things that an integer cannot: the slice stays alive until the call is
// over, and the compiler puts an array behind it on the heap, where it does not move, even when
// the caller declared it on a stack that may grow.
func host(keep **byte, data []byte) uintptr {
	*keep = unsafe.SliceData(data)
	if len(data) == 0 {
		return 0
	}
	return uintptr(unsafe.Pointer(*keep))
}

// failure makes the error of a failed call: the context's text, and for a bad value what the
// device found.
func (c *Context) failure(s symbol, status Status) error {
	err := &Error{Op: s.op(), Status: status, Text: c.lastError()}
	if status != StatusBadValue {
		return err
	}
	found := ask[DeviceStatus](c.block)
	c.args[0], c.args[1] = c.handle, c.block.address(blockResults)
	if Status(int32(call(c.lib.functions[symDeviceStatusRead], c.args[:2]))) != StatusOK {
		return err
	}
	found.structSize = 0
	return &FaultError{Err: err, DeviceStatus: *found}
}

// lastError copies the text of the context's newest failure, cut to what the block holds.
//
//	uint64_t l3v_last_error(l3v_context* ctx, char* buf, uint64_t cap);
func (c *Context) lastError() string {
	c.block.mem[blockText] = 0
	c.args[0], c.args[1], c.args[2] = c.handle, c.block.address(blockText), blockBytes-blockText
	call(c.lib.functions[symLastError], c.args[:3])
	return c.block.text()
}

// queue runs an op: its params are copied into the context's block with their size filled in.
func queue[P any](c *Context, s symbol, p *P) error {
	if p == nil {
		return &Error{Op: s.op(), Status: StatusInvalidArgument, Text: "params are nil"}
	}
	if err := c.lock(s); err != nil {
		return err
	}
	defer c.mu.Unlock()
	put(c.block, p)
	c.args[1] = c.block.address(0)
	return c.call(s, 2)
}

// read runs a function that fills one struct.
func read[T any](c *Context, s symbol) (T, error) {
	var zero T
	if err := c.lock(s); err != nil {
		return zero, err
	}
	defer c.mu.Unlock()
	out := ask[T](c.block)
	c.args[1] = c.block.address(blockResults)
	if err := c.call(s, 2); err != nil {
		return zero, err
	}
	*structSize(out) = 0 // a value of ours has none
	return *out, nil
}

// create runs a function that makes an object and writes its id behind n-2 other arguments.
func (c *Context) create(s symbol, n int) (uint64, error) {
	id := result[uint64](c.block)
	c.args[n-1] = c.block.address(blockResults)
	if err := c.call(s, n); err != nil {
		return 0, err
	}
	return *id, nil
}

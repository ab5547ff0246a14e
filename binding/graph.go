package binding

// Graph is a captured stretch of ops that one call runs again. It holds the buffers and weights
// that its ops use: closing one is ErrBusy until the graph is closed.
type Graph struct {
	object
}

// GraphIO says which device memory a graph exchanges with the host: In is filled from the host
// before the first step of a replay, Out is copied to the host after every step. A nil buffer
// with 0 bytes means none.
type GraphIO struct {
	In                  *Buffer
	InOffset, InBytes   int64
	Out                 *Buffer
	OutOffset, OutBytes int64
}

// graphParams mirrors l3v_graph_params.
type graphParams struct {
	structSize          uint32
	reserved0           uint32
	inBuffer            uint64
	inOffset, inBytes   int64
	outBuffer           uint64
	outOffset, outBytes int64
}

// BeginCapture starts a capture: until EndCapture, ops are checked and recorded instead of run.
// Only ops and Copy are allowed meanwhile; other calls return ErrBusy.
//
//	l3v_status l3v_capture_begin(l3v_context* ctx);
func (c *Context) BeginCapture() error {
	if err := c.lock(symCaptureBegin); err != nil {
		return err
	}
	defer c.mu.Unlock()
	return c.call(symCaptureBegin, 1)
}

// EndCapture ends the capture and makes its graph. When an op of the capture failed there is no
// graph, and that op's error comes back.
//
//	l3v_status l3v_capture_end(l3v_context* ctx, const l3v_graph_params* p, uint64_t* out);
func (c *Context) EndCapture(io GraphIO) (*Graph, error) {
	p := graphParams{inOffset: io.InOffset, inBytes: io.InBytes, outOffset: io.OutOffset, outBytes: io.OutBytes}
	if io.In != nil {
		if err := io.In.on(c, symCaptureEnd); err != nil {
			return nil, err
		}
		p.inBuffer = io.In.id
	}
	if io.Out != nil {
		if err := io.Out.on(c, symCaptureEnd); err != nil {
			return nil, err
		}
		p.outBuffer = io.Out.id
	}
	if err := c.lock(symCaptureEnd); err != nil {
		return nil, err
	}
	defer c.mu.Unlock()
	put(c.block, &p)
	c.args[1] = c.block.address(0)
	id, err := c.create(symCaptureEnd, 3)
	if err != nil {
		return nil, err
	}
	g := &Graph{object{c: c, id: id}}
	g.leak = watch(g, "graph", c.leak)
	return g, nil
}

// AbortCapture ends the capture without a graph. It does nothing when none is open.
//
//	l3v_status l3v_capture_abort(l3v_context* ctx);
func (c *Context) AbortCapture() error {
	if err := c.lock(symCaptureAbort); err != nil {
		return err
	}
	defer c.mu.Unlock()
	return c.call(symCaptureAbort, 1)
}

// Replay runs the graph steps >= 1 times and waits. In (exactly GraphIO.InBytes) goes in before the
// first step; after step i the out block lands at out[i * GraphIO.OutBytes:], so out has
// steps * OutBytes. Done is the number of steps whose out block is whole, also beside an error,
// which is what [Context.Synchronize] would return. It allocates nothing.
//
//	l3v_status l3v_graph_replay(l3v_context* ctx, uint64_t graph, int32_t steps, const void* in,
//	                            int64_t in_bytes, void* out, int64_t out_bytes, int32_t* done);
func (g *Graph) Replay(steps int, in, out []byte) (done int, err error) {
	c := g.c
	if err := fitsInt32(symGraphReplay.op(), "step count", steps); err != nil {
		return 0, err
	}
	if err := g.lock(symGraphReplay); err != nil {
		return 0, err
	}
	defer c.mu.Unlock()
	finished := result[int32](c.block)
	c.args[1], c.args[2] = uintptr(g.id), uintptr(int32(steps))
	c.args[3], c.args[4] = host(&c.in, in), uintptr(len(in))
	c.args[5], c.args[6] = host(&c.out, out), uintptr(len(out))
	c.args[7] = c.block.address(blockResults)
	err = c.call(symGraphReplay, 8)
	return int(*finished), err
}

// Close frees the graph and lets go of its buffers and weights. A second Close does nothing.
//
//	l3v_status l3v_graph_free(l3v_context* ctx, uint64_t graph);
func (g *Graph) Close() error {
	if g == nil {
		return nil
	}
	return g.free(symGraphFree)
}

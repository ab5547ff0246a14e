package binding

// Moving, choosing and checking rows.

// CopyRowsParams mirrors l3v_copy_rows_params.
//
// An index view of none means i itself; an index of -1 skips the row.
type CopyRowsParams struct {
	structSize                 uint32
	reserved0                  uint32
	X, Out, XIndex, OutIndex   View
	Rows, Cols, XRows, OutRows int64
}

// CopyRows queues out[out_index[i]] = x[x_index[i]] for i in 0..rows-1.
//
//	l3v_status l3v_copy_rows(l3v_context* ctx, const l3v_copy_rows_params* p);
func (c *Context) CopyRows(p *CopyRowsParams) error { return queue(c, symCopyRows, p) }

// TopKParams mirrors l3v_topk_params.
//
// x [rows, cols], ids [rows, k] of I32, values [rows, k] or none.
type TopKParams struct {
	structSize     uint32
	K              int32
	X, IDs, Values View
	Rows, Cols     int64
}

// TopK queues the k largest of each row, largest first, the lower index first among equals.
//
//	l3v_status l3v_topk(l3v_context* ctx, const l3v_topk_params* p);
func (c *Context) TopK(p *TopKParams) error { return queue(c, symTopK, p) }

// AdvanceParams mirrors l3v_advance_params.
//
// All [sequences, 1] of I32; ids, positions and lengths may be none.
type AdvanceParams struct {
	structSize                    uint32
	reserved0                     uint32
	Next, IDs, Positions, Lengths View
	Sequences                     int64
}

// Advance queues the end of a decode step: ids = next, positions += 1, lengths += 1 where lengths > 0.
//
//	l3v_status l3v_advance(l3v_context* ctx, const l3v_advance_params* p);
func (c *Context) Advance(p *AdvanceParams) error { return queue(c, symAdvance, p) }

// CheckFiniteParams mirrors l3v_check_finite_params.
//
// x [rows, cols]. Stage is the caller's own number and comes back in [DeviceStatus].
type CheckFiniteParams struct {
	structSize uint32
	Stage      int32
	X          View
	Rows, Cols int64
}

// CheckFinite queues a search for NaN and infinity in x: FaultNotFinite with stage.
//
//	l3v_status l3v_check_finite(l3v_context* ctx, const l3v_check_finite_params* p);
func (c *Context) CheckFinite(p *CheckFiniteParams) error { return queue(c, symCheckFinite, p) }

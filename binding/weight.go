package binding

// Weight is a matrix [rows, cols] in the library's own layout, as a linear layer (y = x Wᵀ) or a
// table uses it. Rows go in and come out in the plain row-major form of its element type.
type Weight struct {
	object
	dtype      DType
	rows, cols int64
}

// weightParams mirrors l3v_weight_params.
type weightParams struct {
	structSize uint32
	dtype      DType
	rows, cols int64
}

// PlanWeight is the bytes that NewWeight would allocate.
//
//	l3v_status l3v_weight_plan(l3v_context* ctx, const l3v_weight_params* p, int64_t* bytes);
func (c *Context) PlanWeight(dtype DType, rows, cols int64) (int64, error) {
	if err := c.lock(symWeightPlan); err != nil {
		return 0, err
	}
	defer c.mu.Unlock()
	put(c.block, &weightParams{dtype: dtype, rows: rows, cols: cols})
	c.args[1] = c.block.address(0)
	bytes, err := c.create(symWeightPlan, 3)
	return int64(bytes), err
}

// NewWeight makes a weight whose rows are still to be written: ops refuse it until each was.
//
//	l3v_status l3v_weight_create(l3v_context* ctx, const l3v_weight_params* p, uint64_t* out);
func (c *Context) NewWeight(dtype DType, rows, cols int64) (*Weight, error) {
	if err := c.lock(symWeightCreate); err != nil {
		return nil, err
	}
	defer c.mu.Unlock()
	put(c.block, &weightParams{dtype: dtype, rows: rows, cols: cols})
	c.args[1] = c.block.address(0)
	id, err := c.create(symWeightCreate, 3)
	if err != nil {
		return nil, err
	}
	w := &Weight{object{c: c, id: id}, dtype, rows, cols}
	w.leak = watch(w, "weight", c.leak)
	return w, nil
}

// DType is the element type of the rows.
func (w *Weight) DType() DType { return w.dtype }

// Rows is the output size of the linear layer, or the entries of the table.
func (w *Weight) Rows() int64 { return w.rows }

// Cols is the input size of the linear layer, or the width of the table.
func (w *Weight) Cols() int64 { return w.cols }

// WriteRows packs rows [first, first + rows) from src: rows * cols elements, row-major,
// little-endian, at any alignment. A row may be written again. Not under capture.
//
//	l3v_status l3v_weight_write_rows(l3v_context* ctx, uint64_t weight, int64_t first,
//	                                 int64_t rows, const void* src, int64_t bytes);
func (w *Weight) WriteRows(first, rows int64, src []byte) error {
	c := w.c
	if err := w.lock(symWeightWriteRows); err != nil {
		return err
	}
	defer c.mu.Unlock()
	c.args[1], c.args[2], c.args[3] = uintptr(w.id), uintptr(first), uintptr(rows)
	c.args[4], c.args[5] = host(&c.in, src), uintptr(len(src))
	return c.call(symWeightWriteRows, 6)
}

// ReadRows waits, and copies rows [first, first + rows) to dst, bit for bit as they were written.
//
//	l3v_status l3v_weight_read_rows(l3v_context* ctx, uint64_t weight, int64_t first,
//	                                int64_t rows, void* dst, int64_t bytes);
func (w *Weight) ReadRows(first, rows int64, dst []byte) error {
	c := w.c
	if err := w.lock(symWeightReadRows); err != nil {
		return err
	}
	defer c.mu.Unlock()
	c.args[1], c.args[2], c.args[3] = uintptr(w.id), uintptr(first), uintptr(rows)
	c.args[4], c.args[5] = host(&c.out, dst), uintptr(len(dst))
	return c.call(symWeightReadRows, 6)
}

// ReadPacked waits, and copies bytes of the packed form, from offset on: see PlanWeight for how many
// there are. They mean something to the very library that they came from.
//
//	l3v_status l3v_weight_read_packed(l3v_context* ctx, uint64_t weight, int64_t offset, void* dst,
//	                                  int64_t bytes);
func (w *Weight) ReadPacked(offset int64, dst []byte) error {
	c := w.c
	if err := w.lock(symWeightReadPacked); err != nil {
		return err
	}
	defer c.mu.Unlock()
	c.args[1], c.args[2] = uintptr(w.id), uintptr(offset)
	c.args[3], c.args[4] = host(&c.out, dst), uintptr(len(dst))
	return c.call(symWeightReadPacked, 5)
}

// WritePacked writes bytes of the packed form. A weight whose bytes were all written has all its rows.
//
//	l3v_status l3v_weight_write_packed(l3v_context* ctx, uint64_t weight, int64_t offset,
//	                                   const void* src, int64_t bytes);
func (w *Weight) WritePacked(offset int64, src []byte) error {
	c := w.c
	if err := w.lock(symWeightWritePacked); err != nil {
		return err
	}
	defer c.mu.Unlock()
	c.args[1], c.args[2] = uintptr(w.id), uintptr(offset)
	c.args[3], c.args[4] = host(&c.in, src), uintptr(len(src))
	return c.call(symWeightWritePacked, 5)
}

// Close frees the weight once queued work is done with it. ErrBusy: a live graph uses it, and it
// stays open. A second Close does nothing.
//
//	l3v_status l3v_weight_free(l3v_context* ctx, uint64_t weight);
func (w *Weight) Close() error {
	if w == nil {
		return nil
	}
	return w.free(symWeightFree)
}

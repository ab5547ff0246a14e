package binding

// Functions of elements and of rows.

// SwiGLUParams mirrors l3v_swiglu_params.
//
// All [rows, cols]; out may be gate or up.
type SwiGLUParams struct {
	structSize    uint32
	reserved0     uint32
	Gate, Up, Out View
	Rows, Cols    int64
}

// SwiGLU queues out = silu(gate) * up.
//
//	l3v_status l3v_swiglu(l3v_context* ctx, const l3v_swiglu_params* p);
func (c *Context) SwiGLU(p *SwiGLUParams) error { return queue(c, symSwiGLU, p) }

// ActivationParams mirrors l3v_activation_params.
//
// x and out [rows, cols], in place allowed.
type ActivationParams struct {
	structSize uint32
	Activation Activation
	X, Out     View
	Rows, Cols int64
}

// Activation queues out = activation(x).
//
//	l3v_status l3v_activation(l3v_context* ctx, const l3v_activation_params* p);
func (c *Context) Activation(p *ActivationParams) error { return queue(c, symActivation, p) }

// SoftmaxParams mirrors l3v_softmax_params.
//
// x and out [rows, cols], in place allowed. A row of nothing but -inf becomes zeros.
type SoftmaxParams struct {
	structSize uint32
	Scale      float32
	X, Out     View
	Rows, Cols int64
}

// Softmax queues out = softmax(scale x), row by row.
//
//	l3v_status l3v_softmax(l3v_context* ctx, const l3v_softmax_params* p);
func (c *Context) Softmax(p *SoftmaxParams) error { return queue(c, symSoftmax, p) }

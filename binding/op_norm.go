package binding

// Norms over rows.

// LayerNormParams mirrors l3v_layer_norm_params.
//
// x and out [rows, cols], in place allowed; weight and bias [cols].
type LayerNormParams struct {
	structSize           uint32
	Eps                  float32 // > 0
	X, Weight, Bias, Out View
	Rows, Cols           int64
}

// LayerNorm queues out = (x - mean) / sqrt(var + eps) * weight + bias, row by row.
//
//	l3v_status l3v_layer_norm(l3v_context* ctx, const l3v_layer_norm_params* p);
func (c *Context) LayerNorm(p *LayerNormParams) error { return queue(c, symLayerNorm, p) }

// RMSNormParams mirrors l3v_rms_norm_params.
//
// x and out [rows, cols], in place allowed; weight [cols].
type RMSNormParams struct {
	structSize     uint32
	Eps            float32 // > 0
	X, Weight, Out View
	Rows, Cols     int64
}

// RMSNorm queues out = x / sqrt(mean(x²) + eps) * weight, row by row.
//
//	l3v_status l3v_rms_norm(l3v_context* ctx, const l3v_rms_norm_params* p);
func (c *Context) RMSNorm(p *RMSNormParams) error { return queue(c, symRMSNorm, p) }

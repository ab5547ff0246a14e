package binding

// Products with a weight: linear layers, table rows and picture patches.

// LinearParams mirrors l3v_linear_params.
//
// x [rows, cols of weight], bias [rows of weight] or none, residual (or none) and out
// [rows, rows of weight]. Out may be the same view as residual.
type LinearParams struct {
	structSize             uint32
	Activation             Activation
	Weight                 uint64 // Weight.ID
	X, Bias, Residual, Out View
	Rows                   int64
	Compute                DType // F32, or BF16: x rounded to bfloat16 first (bf16 weights only)
	reserved0              uint32
}

// Linear queues out = activation(x Wᵀ + bias) + residual.
//
//	l3v_status l3v_linear(l3v_context* ctx, const l3v_linear_params* p);
func (c *Context) Linear(p *LinearParams) error { return queue(c, symLinear, p) }

// EmbeddingParams mirrors l3v_embedding_params.
//
// ids [rows, 1] of I32, out [rows, cols of weight]. An id of -1 leaves its row of out as it is; any
// other id outside the table is FaultTokenID.
type EmbeddingParams struct {
	structSize uint32
	reserved0  uint32
	Weight     uint64 // Weight.ID
	IDs, Out   View
	Rows       int64
}

// Embedding queues out[i] = row ids[i] of the table, widened.
//
//	l3v_status l3v_embedding(l3v_context* ctx, const l3v_embedding_params* p);
func (c *Context) Embedding(p *EmbeddingParams) error { return queue(c, symEmbedding, p) }

// PatchEmbedParams mirrors l3v_patch_embed_params.
//
// pixels [images * channels * height, width], bias [dim] or none, position [grid, dim] or none, out
// [images * grid, dim] with grid = (height/patch) * (width/patch). The weight is [dim, channels *
// patch * patch], flattened in (channel, row, column) order.
type PatchEmbedParams struct {
	structSize                             uint32
	Compute                                DType  // F32, or BF16: x rounded to bfloat16 first (bf16 weights only)
	Weight                                 uint64 // Weight.ID
	Pixels, Bias, Position, Out            View
	Images, Channels, Height, Width, Patch int64
}

// PatchEmbed queues the projection of patch x patch squares of each picture.
//
//	l3v_status l3v_patch_embed(l3v_context* ctx, const l3v_patch_embed_params* p);
func (c *Context) PatchEmbed(p *PatchEmbedParams) error { return queue(c, symPatchEmbed, p) }

package binding

// Attention, the paged cache and rotary embedding.

// AttentionParams mirrors l3v_attention_params.
//
// q and out [q_rows, heads * head_dim], k and v [k_rows, kv_heads * head_dim]; q_offsets and k_offsets
// [sequences + 1, 1] of I32; key_mask [k_rows, 1] of U8 or none.
type AttentionParams struct {
	structSize                                uint32
	Scale                                     float32
	Q, K, V, Out, QOffsets, KOffsets, KeyMask View
	QRows, KRows, Sequences                   int64
	Heads, KVHeads, HeadDim                   int32
	reserved0                                 uint32
}

// Attention queues bidirectional attention: out = softmax(scale q kᵀ) v per sequence and head.
//
//	l3v_status l3v_attention(l3v_context* ctx, const l3v_attention_params* p);
func (c *Context) Attention(p *AttentionParams) error { return queue(c, symAttention, p) }

// CacheAppendParams mirrors l3v_cache_append_params.
//
// k and v [rows, cols], caches [pages * page_size, cols], page_table [sequences, max_pages], lengths
// [sequences, 1] with the step's rows counted in, q_offsets [sequences + 1, 1].
type CacheAppendParams struct {
	structSize                                         uint32
	PageSize                                           int32 // a power of two
	K, V, KCache, VCache, PageTable, Lengths, QOffsets View
	Rows, Sequences, Pages, MaxPages, Cols             int64 // Cols: kv_heads * head_dim
}

// CacheAppend queues the copy of a step's keys and values into the paged cache.
//
//	l3v_status l3v_cache_append(l3v_context* ctx, const l3v_cache_append_params* p);
func (c *Context) CacheAppend(p *CacheAppendParams) error { return queue(c, symCacheAppend, p) }

// PagedAttentionParams mirrors l3v_paged_attention_params.
//
// q and out [rows, heads * head_dim]; the row at position t sees positions 0..t of its sequence.
// Caches, page_table, lengths and q_offsets as in [CacheAppendParams].
type PagedAttentionParams struct {
	structSize                                           uint32
	PageSize                                             int32 // a power of two
	Q, Out, KCache, VCache, PageTable, Lengths, QOffsets View
	Rows, Sequences, Pages, MaxPages                     int64
	Heads, KVHeads, HeadDim                              int32
	Scale                                                float32
}

// PagedAttention queues causal attention over the paged cache.
//
//	l3v_status l3v_paged_attention(l3v_context* ctx, const l3v_paged_attention_params* p);
func (c *Context) PagedAttention(p *PagedAttentionParams) error {
	return queue(c, symPagedAttention, p)
}

// RopeParams mirrors l3v_rope_params.
//
// x [rows, heads * head_dim], positions [rows, 1] of I32, frequencies [head_dim / 2] in radians per
// position.
type RopeParams struct {
	structSize                uint32
	Heads                     int32
	X, Positions, Frequencies View
	Rows                      int64
	HeadDim                   int32
	reserved0                 uint32
}

// Rope queues the rotary embedding of x in place, pairs (j, j + head_dim/2).
//
//	l3v_status l3v_rope(l3v_context* ctx, const l3v_rope_params* p);
func (c *Context) Rope(p *RopeParams) error { return queue(c, symRope, p) }

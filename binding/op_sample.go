package binding

// Choosing the next token.

// PenalizeParams mirrors l3v_penalize_params.
//
// x [rows, cols] in place, counts [rows, cols] of I32, prompt [rows, cols] of U8 or none, settings
// [rows, 3]: repetition, presence and frequency.
type PenalizeParams struct {
	structSize                  uint32
	reserved0                   uint32
	X, Counts, Prompt, Settings View
	Rows, Cols                  int64
}

// Penalize queues lower scores for the tokens that a text has already.
//
//	l3v_status l3v_penalize(l3v_context* ctx, const l3v_penalize_params* p);
func (c *Context) Penalize(p *PenalizeParams) error { return queue(c, symPenalize, p) }

// SampleParams mirrors l3v_sample_params.
//
// x [rows, cols], settings [rows, 8] of I32 as the header lists them, positions and ids [rows, 1] of I32,
// counts [rows, cols] of I32 or none.
type SampleParams struct {
	structSize                          uint32
	reserved0                           uint32
	X, Settings, Positions, IDs, Counts View
	Rows, Cols                          int64
}

// Sample queues the draw of one column of each row.
//
//	l3v_status l3v_sample(l3v_context* ctx, const l3v_sample_params* p);
func (c *Context) Sample(p *SampleParams) error { return queue(c, symSample, p) }

// LogProbParams mirrors l3v_log_prob_params.
//
// x [rows, cols], ids [rows, k] of I32, out [rows, k].
type LogProbParams struct {
	structSize  uint32
	K           int32
	X, IDs, Out View
	Rows, Cols  int64
}

// LogProb queues out[j] = x[ids[j]] - log(sum(exp(x))) for each row.
//
//	l3v_status l3v_log_prob(l3v_context* ctx, const l3v_log_prob_params* p);
func (c *Context) LogProb(p *LogProbParams) error { return queue(c, symLogProb, p) }

// Package llama is the Llama 3 decoder (Grattafiori et al. 2024, arXiv:2407.21783, section 3.2):
// RMS norm, grouped-query attention with rotary positions over a paged cache, SwiGLU. The
// reference is transformers' models/llama/modeling_llama.py (4.54.1).
package llama

import (
	"fmt"

	"github.com/llama3v/llama3v/model/load"
	"github.com/llama3v/llama3v/model/ops"
)

// Block is one decoder layer:
//
//	h = x + out(attention(norm(x)))
//	y = h + down(silu(gate(norm(h))) * up(norm(h)))
type Block struct {
	AttnNorm *ops.Tensor // [1, dim]
	QKV      ops.Linear  // [(heads+2*kvHeads)*headDim, dim]: q, then k, then v
	Out      ops.Linear  // [dim, heads*headDim]
	MLPNorm  *ops.Tensor // [1, dim]
	GateUp   ops.Linear  // [2*hidden, dim]: gate, then up
	Down     ops.Linear  // [dim, hidden]
}

func (b *Block) load(l *load.Loader, c Config) {
	q, kv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	l.Vector(&b.AttnNorm, "input_layernorm.weight", c.Dim)
	attention := l.Sub("self_attn")
	attention.Linear(&b.QKV, c.Dim, load.NoBias, load.Rows("q_proj", q), load.Rows("k_proj", kv), load.Rows("v_proj", kv))
	attention.Linear(&b.Out, q, load.NoBias, load.Rows("o_proj", c.Dim))
	l.Vector(&b.MLPNorm, "post_attention_layernorm.weight", c.Dim)
	mlp := l.Sub("mlp")
	mlp.Linear(&b.GateUp, c.Dim, load.NoBias, load.Rows("gate_proj", c.Hidden), load.Rows("up_proj", c.Hidden))
	mlp.Linear(&b.Down, c.Hidden, load.NoBias, load.Rows("down_proj", c.Dim))
	// Old files carry the frequencies as a tensor; they follow from the config.
	attention.Ignore("rotary_emb.inv_freq")
}

// forward runs the block on x [rows, dim] in place. It appends the rows' keys and values to the
// layer's cache; positions, lengths and page tables are read on the device, so that a captured
// step stays valid. It overwrites every tensor of w.
func (b *Block) forward(s *ops.Stream, x *ops.Tensor, c Config, kv cacheLayer, step *Step, frequencies *ops.Tensor) {
	rows := x.Rows()
	qDim, kvDim := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	norm, qkv := step.norm.RowRange(0, rows), step.qkv.RowRange(0, rows)
	attn, gateUp := step.attn.RowRange(0, rows), step.gateUp.RowRange(0, rows)
	k, v := qkv.ColRange(qDim, kvDim), qkv.ColRange(qDim+kvDim, kvDim)
	gate, up := gateUp.ColRange(0, c.Hidden), gateUp.ColRange(c.Hidden, c.Hidden)
	paged := step.paged()

	s.RMSNorm(norm, x, b.AttnNorm, c.NormEps)
	s.Linear(qkv, norm, b.QKV)
	s.RoPE(qkv.ColRange(0, qDim+kvDim), step.positions.RowRange(0, rows), frequencies, c.HeadDim) // q and k at once
	s.CacheAppend(kv.k, kv.v, k, v, paged)
	s.PagedAttention(attn, qkv.ColRange(0, qDim), kv.k, kv.v, paged,
		ops.PagedHeads{Heads: c.Heads, KVHeads: c.KVHeads, HeadDim: c.HeadDim, Scale: ops.InvSqrt(c.HeadDim)})
	s.LinearAdd(x, attn, b.Out, x)

	s.RMSNorm(norm, x, b.MLPNorm, c.NormEps)
	s.Linear(gateUp, norm, b.GateUp)
	s.SwiGLU(gate, gate, up) // Shazeer 2020, arXiv:2002.05202
	s.LinearAdd(x, gate, b.Down, x)
}

// Decoder is the model's weights. Head shares the embedding table where the config ties them.
type Decoder struct {
	Embed  *ops.Weight // [vocab, dim]
	Blocks []Block
	Norm   *ops.Tensor // [1, dim]
	Head   ops.Linear  // [vocab, dim]

	Config      Config
	frequencies *ops.Tensor // [1, headDim/2]
}

// Load declares the decoder's tensors: model holds embed_tokens, layers and norm, head holds
// lm_head. A tied checkpoint has no lm_head of its own; one that carries it all the same must not
// disagree, and the table is used.
func Load(model, head *load.Loader, c Config) *Decoder {
	d := &Decoder{Config: c, Blocks: make([]Block, c.Layers)}
	model.Table(&d.Embed, "embed_tokens.weight", c.Vocab, c.Dim)
	for i := range d.Blocks {
		d.Blocks[i].load(model.Sub(fmt.Sprintf("layers.%d", i)), c)
	}
	model.Vector(&d.Norm, "norm.weight", c.Dim)
	model.Values(&d.frequencies, c.Frequencies())
	if c.Tied {
		model.After(func() { d.Head.Weight = d.Embed })
		head.Ignore("lm_head.weight")
	} else {
		head.Linear(&d.Head, c.Dim, load.NoBias, load.Rows("lm_head", c.Vocab))
	}
	return d
}

// Embed queues the embedding rows of step's ids into its x. Slots (id Slot) keep what is there.
func (d *Decoder) embed(s *ops.Stream, step *Step, rows int) *ops.Tensor {
	x := step.x.RowRange(0, rows)
	s.Embedding(x, step.ids.RowRange(0, rows), d.Embed)
	return x
}

// forward runs all blocks on x in place.
//
// Taps: "hidden.0" the embedding output, "hidden.k" the output of layer k.
func (d *Decoder) forward(s *ops.Stream, x *ops.Tensor, cache *Cache, step *Step) {
	s.Tap("hidden.0", x)
	for i := range d.Blocks {
		d.Blocks[i].forward(s, x, d.Config, cache.layers[i], step, d.frequencies)
		s.Tap(fmt.Sprintf("hidden.%d", i+1), x)
	}
}

// logits queues norm and head for x [rows, dim] into out [rows, vocab], and checks them.
//
// Taps: "final_norm", "logits".
func (d *Decoder) logits(s *ops.Stream, out, x, norm *ops.Tensor) {
	s.RMSNorm(norm, x, d.Norm, d.Config.NormEps)
	s.Tap("final_norm", norm)
	s.Linear(out, norm, d.Head)
	s.CheckFinite(out, StageLogits)
	s.Tap("logits", out)
}

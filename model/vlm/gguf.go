package vlm

import (
	"fmt"
	"math"
	"slices"

	"github.com/llama3v/llama3v/model/chat"
	"github.com/llama3v/llama3v/model/llama"
	"github.com/llama3v/llama3v/model/tokenizer"
	"github.com/llama3v/llama3v/model/weights"
)

// ropeFactors is the tensor that holds what rotary frequencies are divided by.
const ropeFactors = "rope_freqs.weight"

// ReadGGUF reads the config of a text model in a GGUF file (llama.cpp's gguf-py/gguf/constants.py) and
// shows its tensors under the names and in the order of rows of the same model in safetensors. The
// family is what general.architecture says. The file stays the caller's to close.
//
// Errors: weights.ErrConfig for keys that are missing or contradict each other or the tensors, a
// *FamilyError for an architecture that this version does not have.
func ReadGGUF(g *weights.GGUF) (*Config, weights.Checkpoint, error) {
	file := g.Metadata().Config()
	arch := file.String("general.architecture")
	if err := file.Err(); err != nil {
		return nil, nil, err
	}
	if IsEyeGGUF(g) {
		return nil, nil, &FamilyError{File: g.Files()[0], ModelType: arch, Feature: "a vision tower without its text model"}
	}
	if arch != "llama" {
		return nil, nil, &FamilyError{File: g.Files()[0], ModelType: arch}
	}
	text, err := readGGUFLlama(g, file)
	if err != nil {
		return nil, nil, err
	}
	c := &Config{Family: "llama", Text: text, ImageToken: -1, BOS: -1, names: names{decoder: []string{"model"}, ignore: []string{ropeFactors}}}
	c.readGGUFEnds(file)
	if err := file.Err(); err != nil {
		return nil, nil, err
	}
	return c, weights.Rename(g, llamaAliases(*text)), nil
}

// IsEyeGGUF says whether a file is not a text model but the vision tower and projector of one, a
// so-called mmproj file.
func IsEyeGGUF(g *weights.GGUF) bool {
	return g.Metadata().Value("general.architecture") == "clip"
}

// readGGUFLlama reads the decoder's sizes, and holds them against the embedding table.
func readGGUFLlama(g *weights.GGUF, file *weights.Config) (*llama.Config, error) {
	c := &llama.Config{
		Dim:          file.Int("llama.embedding_length", 1, 1<<16),
		Hidden:       file.Int("llama.feed_forward_length", 1, 1<<20),
		Layers:       file.Int("llama.block_count", 1, 1<<10),
		Heads:        file.Int("llama.attention.head_count", 1, 1<<10),
		NormEps:      float32(file.Float("llama.attention.layer_norm_rms_epsilon", 1e-20, 1)),
		RopeTheta:    file.FloatOr("llama.rope.freq_base", 10000, 1, 1e12),
		MaxPositions: file.Int("llama.context_length", 1, 1<<24),
		Tied:         !g.Has("output.weight"),
	}
	c.KVHeads = file.IntOr("llama.attention.head_count_kv", max(c.Heads, 1), 1, 1<<10)
	c.HeadDim = file.IntOr("llama.attention.key_length", max(c.Dim/max(c.Heads, 1), 1), 1, 256)
	if n := file.IntOr("llama.attention.value_length", c.HeadDim, 1, 256); n != c.HeadDim {
		file.Fail("llama.attention.value_length", "is %d, key_length %d: values of another width are not supported", n, c.HeadDim)
	}
	if n := file.IntOr("llama.rope.dimension_count", c.HeadDim, 1, 256); n != c.HeadDim {
		file.Fail("llama.rope.dimension_count", "is %d, a head has %d: partly rotated heads are not supported", n, c.HeadDim)
	}
	if kind := file.StringOr("llama.rope.scaling.type", "none"); kind != "none" {
		file.Fail("llama.rope.scaling.type", "is %q; none, and the factors of %s, are supported", kind, ropeFactors)
	}
	if scale := file.FloatOr("llama.rope.scale_linear", 1, 0, 1e6); scale != 1 {
		file.Fail("llama.rope.scale_linear", "is %v; no scaling of that kind is supported", scale)
	}
	if n := file.IntOr("llama.expert_count", 0, 0, 1<<20); n != 0 {
		file.Fail("llama.expert_count", "is %d; a decoder with experts is not supported", n)
	}
	if err := file.Err(); err != nil {
		return nil, err
	}
	if !file.Has("llama.attention.key_length") && c.Dim%c.Heads != 0 {
		file.Fail("llama.embedding_length", "is %d, no multiple of the %d heads, and llama.attention.key_length is not given", c.Dim, c.Heads)
	}
	if c.Heads%c.KVHeads != 0 {
		file.Fail("llama.attention.head_count", "is %d, no multiple of head_count_kv %d", c.Heads, c.KVHeads)
	}
	if c.HeadDim%2 != 0 {
		file.Fail("llama.attention.key_length", "is %d; rotary positions need an even one", c.HeadDim)
	}
	table, err := g.Tensor("token_embd.weight")
	if err != nil {
		return nil, err
	}
	c.Vocab = table.Rows()
	if n := file.IntOr("llama.vocab_size", c.Vocab, 1, math.MaxInt32); n != c.Vocab {
		file.Fail("llama.vocab_size", "is %d, token_embd.weight has %d rows", n, c.Vocab)
	}
	if g.Has(ropeFactors) {
		if c.Factors, err = weights.ReadFloat32(g, ropeFactors); err != nil {
			return nil, err
		}
		bad := slices.ContainsFunc(c.Factors, func(f float32) bool { return !(f > 0) || math.IsInf(float64(f), 1) })
		if len(c.Factors) != c.HeadDim/2 || bad {
			file.Fail(ropeFactors, "has %d factors for %d frequencies, or one that is not above zero", len(c.Factors), c.HeadDim/2)
		}
	}
	return c, file.Err()
}

// readGGUFEnds takes the ids that begin a prompt and end an answer.
func (c *Config) readGGUFEnds(file *weights.Config) {
	for _, key := range []string{"eos", "eot", "eom"} {
		for _, id := range file.Ints("tokenizer.ggml."+key+"_token_id", 0, c.Text.Vocab-1) {
			c.EOS = append(c.EOS, int32(id))
		}
	}
	slices.Sort(c.EOS)
	c.EOS = slices.Compact(c.EOS)
	// Without the key, llama.cpp adds a start token for Llama 3's rule and none for SmolLM2's.
	adds := file.StringOr("tokenizer.ggml.pre", "") == "llama-bpe"
	if file.BoolOr("tokenizer.ggml.add_bos_token", adds) {
		for _, id := range file.Ints("tokenizer.ggml.bos_token_id", 0, c.Text.Vocab-1) {
			c.BOS = int32(id)
		}
	}
}

// llamaAliases are the names of a decoder's tensors, and the heads whose rows are in GGUF's order.
func llamaAliases(c llama.Config) map[string]weights.Alias {
	aliases := map[string]weights.Alias{
		"model.embed_tokens.weight": {Name: "token_embd.weight"},
		"model.norm.weight":         {Name: "output_norm.weight"},
		"lm_head.weight":            {Name: "output.weight"},
	}
	parts := map[string]weights.Alias{
		"input_layernorm": {Name: "attn_norm"}, "post_attention_layernorm": {Name: "ffn_norm"},
		"self_attn.q_proj": {Name: "attn_q", HeadRows: c.HeadDim}, "self_attn.k_proj": {Name: "attn_k", HeadRows: c.HeadDim},
		"self_attn.v_proj": {Name: "attn_v"}, "self_attn.o_proj": {Name: "attn_output"},
		"mlp.gate_proj": {Name: "ffn_gate"}, "mlp.up_proj": {Name: "ffn_up"}, "mlp.down_proj": {Name: "ffn_down"},
	}
	for i := range c.Layers {
		for name, a := range parts {
			a.Name = fmt.Sprintf("blk.%d.%s.weight", i, a.Name)
			aliases[fmt.Sprintf("model.layers.%d.%s.weight", i, name)] = a
		}
	}
	return aliases
}

// ReadGGUFTokenizer makes the tokenizer that a GGUF file holds. Errors: weights.ErrConfig, and those
// of tokenizer.FromVocabulary.
func ReadGGUFTokenizer(g *weights.GGUF, c *Config) (*tokenizer.BPE, error) {
	m := g.Metadata()
	file := m.Config()
	file.Enum("tokenizer.ggml.model", "gpt2")
	v := tokenizer.Vocabulary{File: g.Files()[0], Pre: file.String("tokenizer.ggml.pre")}
	if err := file.Err(); err != nil {
		return nil, err
	}
	var err error
	if v.Tokens, err = m.Strings("tokenizer.ggml.tokens"); err != nil {
		return nil, err
	}
	if v.Types, err = m.Ints("tokenizer.ggml.token_type"); err != nil {
		return nil, err
	}
	if v.Merges, err = m.Strings("tokenizer.ggml.merges"); err != nil {
		return nil, err
	}
	if c.BOS >= 0 {
		v.Prefix = []int32{c.BOS}
	}
	return tokenizer.FromVocabulary(v)
}

// ReadGGUFTemplate makes the chat template that a GGUF file holds. Errors: chat.ErrNoTemplate without
// one, and those of chat.New.
func ReadGGUFTemplate(g *weights.GGUF, c *Config, t tokenizer.Tokenizer) (*chat.Template, error) {
	file := g.Metadata().Config()
	textOf := func(key string) string {
		id := file.IntOr(key, -1, 0, t.VocabSize()-1)
		if id < 0 {
			return ""
		}
		text, err := t.TokenBytes(int32(id))
		if err != nil {
			file.Fail(key, "is %d: %v", id, err)
		}
		return string(text)
	}
	adds := c.BOS >= 0
	config := chat.Config{
		Source: file.StringOr("tokenizer.chat_template", ""), Specials: t.Specials(),
		BOS: textOf("tokenizer.ggml.bos_token_id"), EOS: textOf("tokenizer.ggml.eos_token_id"), AddBOS: &adds,
	}
	if err := file.Err(); err != nil {
		return nil, err
	}
	return chat.New(config.With(c.ChatFormat(config)))
}

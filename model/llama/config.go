package llama

import "github.com/llama3v/llama3v/model/weights"

// Config holds the sizes of a decoder.
type Config struct {
	Vocab, Dim, Hidden, Layers int
	Heads, KVHeads, HeadDim    int
	NormEps                    float32
	RopeTheta                  float64
	Scaling                    *Scaling  // nil: none
	Factors                    []float32 // what each frequency is divided by, in files that have Scaling worked out; nil: none
	MaxPositions               int
	Tied                       bool // the embedding table is the output layer
}

// ReadConfig reads a Llama config.json. Sizes and the norm's epsilon must be there; other absent keys
// have the values of transformers' LlamaConfig. What this decoder does not have (biases, other
// activations, other rotary rules) is a fault. Faults stay in c.
func ReadConfig(c *weights.Config) Config {
	for _, key := range []string{"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "rms_norm_eps"} {
		if !c.Has(key) {
			c.Fail(key, "is missing")
		}
	}
	return ReadInnerConfig(c)
}

// ReadInnerConfig reads the text_config of a model that transformers wrote. From an object inside
// another it leaves out every key that has LlamaConfig's own value, sizes and the norm's epsilon too
// (hidden_size is not there when it is 4096), so that absent means that value.
func ReadInnerConfig(c *weights.Config) Config {
	c.EnumOr("hidden_act", "silu", "silu")
	for _, key := range []string{"attention_bias", "mlp_bias"} {
		if c.BoolOr(key, false) {
			c.Fail(key, "is true; a decoder with biases is not supported")
		}
	}
	cfg := Config{
		Vocab:        c.IntOr("vocab_size", 32000, 1, 1<<24),
		Dim:          c.IntOr("hidden_size", 4096, 1, 1<<16),
		Hidden:       c.IntOr("intermediate_size", 11008, 1, 1<<20),
		Layers:       c.IntOr("num_hidden_layers", 32, 1, 1<<10),
		Heads:        c.IntOr("num_attention_heads", 32, 1, 1<<10),
		NormEps:      float32(c.FloatOr("rms_norm_eps", 1e-6, 1e-20, 1)),
		RopeTheta:    c.FloatOr("rope_theta", 10000, 1, 1e12),
		MaxPositions: c.IntOr("max_position_embeddings", 2048, 1, 1<<24),
		Tied:         c.BoolOr("tie_word_embeddings", false),
	}
	cfg.KVHeads = c.IntOr("num_key_value_heads", max(cfg.Heads, 1), 1, 1<<10)
	cfg.HeadDim = c.IntOr("head_dim", max(cfg.Dim/max(cfg.Heads, 1), 1), 1, 256)
	if c.Has("rope_scaling") {
		cfg.Scaling = readScaling(c.Object("rope_scaling"))
	}
	if c.Err() != nil {
		return cfg
	}
	if !c.Has("head_dim") && cfg.Dim%cfg.Heads != 0 {
		c.Fail("hidden_size", "is %d, no multiple of num_attention_heads %d, and head_dim is not given", cfg.Dim, cfg.Heads)
	}
	if cfg.Heads%cfg.KVHeads != 0 {
		c.Fail("num_attention_heads", "is %d, no multiple of num_key_value_heads %d", cfg.Heads, cfg.KVHeads)
	}
	if cfg.HeadDim%2 != 0 {
		c.Fail("head_dim", "is %d; rotary positions need an even one", cfg.HeadDim)
	}
	return cfg
}

// readScaling reads rope_scaling; the rule's name is rope_type, type in older files.
func readScaling(c *weights.Config) *Scaling {
	key := "rope_type"
	if !c.Has(key) && c.Has("type") {
		key = "type"
	}
	if c.Enum(key, "llama3", "default") == "default" {
		return nil
	}
	s := &Scaling{
		Factor:   c.Float("factor", 1, 1e6),
		LowFreq:  c.Float("low_freq_factor", 1e-6, 1e6),
		HighFreq: c.Float("high_freq_factor", 1e-6, 1e6),
		Original: c.Int("original_max_position_embeddings", 1, 1<<24),
	}
	if c.Err() == nil && s.HighFreq <= s.LowFreq {
		c.Fail("high_freq_factor", "is %v, not above low_freq_factor %v", s.HighFreq, s.LowFreq)
	}
	return s
}

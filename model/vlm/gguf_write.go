package vlm

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/llama3v/llama3v/model/chat"
	"github.com/llama3v/llama3v/model/llama"
	"github.com/llama3v/llama3v/model/tokenizer"
	"github.com/llama3v/llama3v/model/weights"
)

// GGUFModel is a text model of a folder as a GGUF file holds it: what [ReadGGUF], [ReadGGUFTokenizer] and
// [ReadGGUFTemplate] read. The caller closes Checkpoint.
type GGUFModel struct {
	Keys       []weights.Key
	Names      []string           // of the tensors, sorted
	Checkpoint weights.Checkpoint // has them, under those names and in that order of rows
	Factors    []float32          // the tensor FactorsName; nil: none
}

// FactorsName is the tensor that holds what rotary frequencies are divided by.
const FactorsName = ropeFactors

// NewGGUFModel reads a folder of family llama: config.json, generation_config.json, tokenizer.json, the
// chat template where there is one, and the headers of the safetensors files. A tied model's second
// copy of its table is left out.
//
// Errors: those of [ReadConfig], [weights.Open] and [tokenizer.ReadVocabulary]; a *FamilyError for
// other families; a *weights.CheckError for tensors that do not fit the config or are not part of it.
func NewGGUFModel(fsys fs.FS) (_ *GGUFModel, err error) {
	c, err := ReadConfig(fsys)
	if err != nil {
		return nil, err
	}
	if c.Family != "llama" {
		return nil, &FamilyError{File: "config.json", ModelType: c.Family, Feature: "a GGUF file"}
	}
	m := &GGUFModel{Keys: llamaKeys(*c.Text), Factors: scalingFactors(*c.Text)}
	ends, err := tokenizerKeys(fsys, c)
	if err != nil {
		return nil, err
	}
	m.Keys = append(m.Keys, ends...)

	cp, err := weights.Open(fsys)
	if err != nil {
		return nil, err
	}
	needs, aliases := llamaTensors(*c.Text)
	report, err := weights.Check(cp, needs, []string{"*.rotary_emb.inv_freq", tiedHead(*c.Text)})
	if err == nil {
		err = report.RefuseUnexpected()
	}
	if err != nil {
		return nil, errors.Join(err, cp.Close())
	}
	m.Names, m.Checkpoint = slices.Sorted(maps.Keys(aliases)), weights.Rename(cp, aliases)
	return m, nil
}

// tiedHead is the tensor that a tied checkpoint may carry for nothing.
func tiedHead(c llama.Config) string {
	if c.Tied {
		return "lm_head.weight"
	}
	return ""
}

// llamaTensors is what a folder must hold, and where each tensor of the GGUF file is there.
func llamaTensors(c llama.Config) (needs []weights.Need, aliases map[string]weights.Alias) {
	q, kv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	shapes := map[string][]int{
		"token_embd": {c.Vocab, c.Dim}, "output": {c.Vocab, c.Dim}, "output_norm": {c.Dim},
		"attn_norm": {c.Dim}, "ffn_norm": {c.Dim},
		"attn_q": {q, c.Dim}, "attn_k": {kv, c.Dim}, "attn_v": {kv, c.Dim}, "attn_output": {c.Dim, q},
		"ffn_gate": {c.Hidden, c.Dim}, "ffn_up": {c.Hidden, c.Dim}, "ffn_down": {c.Dim, c.Hidden},
	}
	aliases = map[string]weights.Alias{}
	for folder, a := range llamaAliases(c) {
		if c.Tied && folder == "lm_head.weight" {
			continue
		}
		aliases[a.Name] = weights.Alias{Name: folder, HeadRows: -a.HeadRows}
		part := strings.TrimSuffix(a.Name, ".weight")
		if rest, layer := strings.CutPrefix(part, "blk."); layer {
			_, part, _ = strings.Cut(rest, ".")
		}
		needs = append(needs, weights.Need{Names: []string{folder}, Shape: shapes[part], DTypes: weights.Floats})
	}
	return needs, aliases
}

func llamaKeys(c llama.Config) []weights.Key {
	n := func(v int) uint32 { return uint32(v) } // all are checked to be below 2^24
	return []weights.Key{
		{Name: "general.architecture", Value: "llama"},
		{Name: "llama.vocab_size", Value: n(c.Vocab)},
		{Name: "llama.context_length", Value: n(c.MaxPositions)},
		{Name: "llama.embedding_length", Value: n(c.Dim)},
		{Name: "llama.block_count", Value: n(c.Layers)},
		{Name: "llama.feed_forward_length", Value: n(c.Hidden)},
		{Name: "llama.attention.head_count", Value: n(c.Heads)},
		{Name: "llama.attention.head_count_kv", Value: n(c.KVHeads)},
		{Name: "llama.attention.key_length", Value: n(c.HeadDim)},
		{Name: "llama.attention.value_length", Value: n(c.HeadDim)},
		{Name: "llama.attention.layer_norm_rms_epsilon", Value: c.NormEps},
		{Name: "llama.rope.dimension_count", Value: n(c.HeadDim)},
		{Name: "llama.rope.freq_base", Value: float32(c.RopeTheta)},
	}
}

// scalingFactors is the scaling of rotary frequencies as numbers that divide them. Of the float32
// numbers around the quotient it takes the one with which the same frequency comes out, where one does.
func scalingFactors(c llama.Config) []float32 {
	if c.Scaling == nil {
		return nil
	}
	scaled := c.Frequencies()
	factors := make([]float32, len(scaled))
	base := float64(float32(c.RopeTheta)) // as the file holds it
	for j := range factors {
		f := math.Pow(base, -2*float64(j)/float64(c.HeadDim))
		factors[j] = float32(f / float64(scaled[j]))
		for _, candidate := range []float32{factors[j], math.Nextafter32(factors[j], 0), math.Nextafter32(factors[j], math.MaxFloat32)} {
			if float32(f/float64(candidate)) == scaled[j] {
				factors[j] = candidate
				break
			}
		}
	}
	return factors
}

// tokenizerKeys are the vocabulary, the ids that begin a prompt and end an answer, and the template.
func tokenizerKeys(fsys fs.FS, c *Config) ([]weights.Key, error) {
	data, err := fs.ReadFile(fsys, tokenizer.FileName)
	if err != nil {
		return nil, err
	}
	v, err := tokenizer.ReadVocabulary(data, c.Text.Vocab)
	if err != nil {
		return nil, err
	}
	prompts, err := chat.ReadConfig(fsys)
	if err != nil && !errors.Is(err, chat.ErrNoTemplate) {
		return nil, err
	}
	types := make([]int32, len(v.Types))
	for i, t := range v.Types {
		types[i] = int32(t)
	}
	keys := []weights.Key{
		{Name: "tokenizer.ggml.model", Value: "gpt2"},
		{Name: "tokenizer.ggml.pre", Value: v.Pre},
		{Name: "tokenizer.ggml.tokens", Value: v.Tokens},
		{Name: "tokenizer.ggml.token_type", Value: types},
		{Name: "tokenizer.ggml.merges", Value: v.Merges},
	}
	fault := func(file, key, format string, args ...any) error {
		return fmt.Errorf("%w: %s: %s %s", weights.ErrConfig, file, key, fmt.Sprintf(format, args...))
	}
	if len(v.Prefix) > 1 {
		return nil, fault(tokenizer.FileName, "post_processor", "puts %d tokens before a text; a GGUF file has one", len(v.Prefix))
	}
	bos, add := c.BOS, len(v.Prefix) > 0
	if add {
		bos = v.Prefix[0]
	}
	if prompts.AddBOS != nil {
		add = *prompts.AddBOS
	}
	if int(bos) >= c.Text.Vocab || add && bos < 0 {
		return nil, fault("config.json", "bos_token_id", "is %d, with a vocabulary of %d that a prompt needs it from", bos, c.Text.Vocab)
	}
	if bos >= 0 {
		keys = append(keys, weights.Key{Name: "tokenizer.ggml.bos_token_id", Value: uint32(bos)})
	}
	ends, err := endKeys(c, v, prompts.EOS)
	if err != nil {
		return nil, err
	}
	keys = append(append(keys, ends...), weights.Key{Name: "tokenizer.ggml.add_bos_token", Value: add})
	if prompts.Source != "" {
		keys = append(keys, weights.Key{Name: "tokenizer.chat_template", Value: prompts.Source})
	}
	return keys, nil
}

// endKeys gives each id that ends an answer a key of its own: eos the one that tokenizer_config.json
// names, else the first; eom the end of a message; eot what is left.
func endKeys(c *Config, v tokenizer.Vocabulary, eos string) ([]weights.Key, error) {
	if len(c.EOS) > 3 {
		return nil, fmt.Errorf("%w: eos_token_id: %d ids end an answer; a GGUF file names three", weights.ErrConfig, len(c.EOS))
	}
	for _, id := range c.EOS {
		if int(id) >= c.Text.Vocab {
			return nil, fmt.Errorf("%w: eos_token_id: %d, the vocabulary has %d", weights.ErrConfig, id, c.Text.Vocab)
		}
	}
	rest := slices.Clone(c.EOS)
	var keys []weights.Key
	take := func(key string, wanted func(text string) bool, need bool) {
		at := slices.IndexFunc(rest, func(id int32) bool { return wanted(v.Tokens[id]) })
		if at < 0 && need && len(rest) > 0 {
			at = 0
		}
		if at >= 0 {
			keys = append(keys, weights.Key{Name: "tokenizer.ggml." + key + "_token_id", Value: uint32(rest[at])})
			rest = slices.Delete(rest, at, at+1)
		}
	}
	isEOM := func(text string) bool { return text == "<|eom_id|>" }
	take("eos", func(text string) bool { return text == eos }, true)
	last := len(rest) == 2
	take("eom", isEOM, last)
	take("eot", func(string) bool { return true }, false)
	return keys, nil
}

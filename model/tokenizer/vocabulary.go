package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Vocabulary is a tokenizer as GGUF files hold it: lists, and the name of a splitting rule.
type Vocabulary struct {
	File   string   // where it is from, for errors
	Pre    string   // the rule's name: "llama-bpe" or "smollm"
	Tokens []string // by id, in byte-level spelling but for control and user-defined ones
	Types  []int64  // of each token, TokenNormal and so on
	Merges []string // "left right", by rank
	Prefix []int32  // what stands before a text, usually the start token
}

// What a token of a Vocabulary is (llama.cpp's llama_token_type).
const (
	TokenNormal      = 1
	TokenUnknown     = 2
	TokenControl     = 3
	TokenUserDefined = 4
	TokenUnused      = 5
	TokenByte        = 6
)

// vocabularyRules are the splitting rules by llama.cpp's names (llama-vocab.cpp), as pre_tokenizer of
// a tokenizer.json would have them, and whether a piece that is a token stays whole.
var vocabularyRules = map[string]struct {
	pre          string
	ignoreMerges bool
}{
	"llama-bpe": {`{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":` + quoted(llama3Pattern) +
		`},"behavior":"Isolated","invert":false},{"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]}`, true},
	"smollm": {`{"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},` +
		`{"type":"ByteLevel","add_prefix_space":false,"use_regex":true}]}`, false},
}

func quoted(s string) string {
	text, _ := json.Marshal(s) // of a string it cannot fail
	return string(text)
}

// FromVocabulary makes the tokenizer that a Vocabulary describes; it gives the ids of the
// tokenizer.json that the list came from. Errors: UnsupportedError for a splitting rule that is not
// known, FormatError for lists that do not fit together.
func FromVocabulary(v Vocabulary) (*BPE, error) {
	t, err := fromVocabulary(v)
	if err != nil {
		return nil, inFile(err, v.File)
	}
	return t, nil
}

// inFile names the file that an error of this package is about.
func inFile(err error, file string) error {
	var format *FormatError
	var rule *UnsupportedError
	switch {
	case errors.As(err, &format):
		format.File = file
	case errors.As(err, &rule):
		rule.File = file
	}
	return err
}

func fromVocabulary(v Vocabulary) (*BPE, error) {
	rule, ok := vocabularyRules[v.Pre]
	if !ok {
		return nil, unsupported("pre", "the splitting rule %q; llama-bpe and smollm are known", v.Pre)
	}
	if len(v.Types) != len(v.Tokens) {
		return nil, malformed("types", "%d types for %d tokens", len(v.Types), len(v.Tokens))
	}
	var f file
	f.Model.Type, f.Model.IgnoreMerges = "BPE", rule.ignoreMerges
	f.Model.Vocab = make(map[string]int64, len(v.Tokens))
	for id, text := range v.Tokens {
		where := fmt.Sprintf("tokens[%d] %.40q", id, text)
		switch kind := v.Types[id]; kind {
		case TokenNormal:
			if _, twice := f.Model.Vocab[text]; twice {
				return nil, malformed(where, "listed twice")
			}
			f.Model.Vocab[text] = int64(id)
		case TokenControl, TokenUnknown, TokenUnused, TokenUserDefined:
			f.AddedTokens = append(f.AddedTokens, addedToken{ID: int64(id), Content: text, Special: kind != TokenUserDefined})
		default:
			return nil, unsupported(where, "a token of type %d", kind)
		}
	}
	for i, line := range v.Merges {
		left, right, ok := cutOnce(line)
		if !ok {
			return nil, malformed(fmt.Sprintf("merges[%d]", i), "%q is not two tokens", line)
		}
		f.Model.Merges = append(f.Model.Merges, [2]string{left, right})
	}
	t := &BPE{ignoreMerges: f.Model.IgnoreMerges, prefix: v.Prefix}
	var err error
	if t.split, err = parsePreTokenizer(json.RawMessage(rule.pre)); err != nil {
		return nil, err
	}
	if err := t.readVocab(&f); err != nil {
		return nil, err
	}
	if err := t.readMerges(&f); err != nil {
		return nil, err
	}
	if err := t.readAdded(f.AddedTokens); err != nil {
		return nil, err
	}
	for _, id := range v.Prefix {
		if id < 0 || int(id) >= len(t.tokens) {
			return nil, malformed("prefix", "id %d is outside the vocabulary", id)
		}
	}
	return t, nil
}

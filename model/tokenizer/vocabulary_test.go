package tokenizer_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/model/tokenizer"
)

// asVocabulary is a tokenizer.json as llama.cpp's converter writes it into a GGUF file.
func asVocabulary(t testing.TB, data []byte, pre string) tokenizer.Vocabulary {
	t.Helper()
	var file struct {
		AddedTokens []struct {
			ID      int
			Content string
			Special bool
		} `json:"added_tokens"`
		Model struct {
			Vocab  map[string]int
			Merges []any
		}
	}
	require.NoError(t, json.Unmarshal(data, &file))
	size := len(file.Model.Vocab)
	for _, id := range file.Model.Vocab {
		size = max(size, id+1)
	}
	for _, added := range file.AddedTokens {
		size = max(size, added.ID+1)
	}
	v := tokenizer.Vocabulary{Pre: pre, Tokens: make([]string, size), Types: make([]int64, size)}
	for text, id := range file.Model.Vocab {
		v.Tokens[id], v.Types[id] = text, tokenizer.TokenNormal
	}
	for _, added := range file.AddedTokens {
		v.Tokens[added.ID], v.Types[added.ID] = added.Content, tokenizer.TokenUserDefined
		if added.Special {
			v.Types[added.ID] = tokenizer.TokenControl
		}
	}
	for _, merge := range file.Model.Merges {
		switch m := merge.(type) {
		case string:
			v.Merges = append(v.Merges, m)
		case []any:
			v.Merges = append(v.Merges, fmt.Sprintf("%s %s", m...))
		}
	}
	return v
}

// The same vocabulary out of both containers gives the same ids, text and special tokens.
func TestVocabularyEqualsTokenizerJSON(t *testing.T) {
	for kind, pre := range map[string]string{"llama3": "llama-bpe", "smollm2": "smollm"} {
		t.Run(kind, func(t *testing.T) {
			tok, err := tokenizer.FromVocabulary(asVocabulary(t, vocab(t, kind), pre))
			require.NoError(t, err)
			json, g := load(t, kind), readGolden(t, kind)
			require.Equal(t, json.VocabSize(), tok.VocabSize())
			require.Equal(t, json.Specials(), tok.Specials())
			for id := range int32(tok.VocabSize()) {
				want, err := json.TokenBytes(id)
				require.NoError(t, err)
				got, err := tok.TokenBytes(id)
				require.NoError(t, err)
				require.Equal(t, want, got, "id %d", id)
			}
			require.Len(t, g.Strings, 359)
			for _, s := range g.Strings {
				text, wantText := s.input(t)
				ids, err := tok.Encode(text)
				require.NoError(t, err)
				require.Equal(t, s.want(), append([]int32{}, ids...), "%s/%d: %.80q", s.Cat, s.N, text)
				back, err := tok.Decode(ids, false)
				require.NoError(t, err)
				require.Equal(t, wantText, back)
			}
		})
	}
}

func TestVocabularyStart(t *testing.T) {
	v := smallVocabulary()
	v.Prefix = []int32{5}
	tok, err := tokenizer.FromVocabulary(v)
	require.NoError(t, err)
	ids, err := tok.Encode("ab")
	require.NoError(t, err)
	require.Equal(t, []int32{2}, ids, "a text alone")
	require.Equal(t, []int32{5}, tok.PostProcessorPrefix(), "P45: the start token stands before a prompt, once")
}

// smallVocabulary has the tokens a, b, ab, abc, c and a start token.
func smallVocabulary() tokenizer.Vocabulary {
	return tokenizer.Vocabulary{
		Pre: "llama-bpe", Tokens: []string{"a", "b", "ab", "abc", "c", "<s>"}, Types: []int64{1, 1, 1, 1, 1, 3},
		Merges: []string{"a b", "ab c"},
	}
}

func TestVocabularyFaults(t *testing.T) {
	for _, tc := range []struct {
		name string
		with func(v *tokenizer.Vocabulary)
		is   error
		text string
	}{
		{"P48: a splitting rule that is not known", func(v *tokenizer.Vocabulary) { v.Pre = "gpt-4o" }, tokenizer.ErrUnsupported, "gpt-4o"},
		{"P48: no splitting rule", func(v *tokenizer.Vocabulary) { v.Pre = "" }, tokenizer.ErrUnsupported, "splitting rule"},
		{"fewer types than tokens", func(v *tokenizer.Vocabulary) { v.Types = v.Types[1:] }, tokenizer.ErrFormat, "5 types for 6 tokens"},
		{"a type that is not known", func(v *tokenizer.Vocabulary) { v.Types[4] = 9 }, tokenizer.ErrUnsupported, `tokens[4] "c"`},
		{"a byte token, which byte-level vocabularies have none of", func(v *tokenizer.Vocabulary) { v.Types[0] = 6 }, tokenizer.ErrUnsupported, "type 6"},
		{"a token listed twice", func(v *tokenizer.Vocabulary) { v.Tokens[4] = "a" }, tokenizer.ErrFormat, "tokens[4]"},
		{"a merge of one token", func(v *tokenizer.Vocabulary) { v.Merges[1] = "abc" }, tokenizer.ErrFormat, "merges[1]"},
		{"a merge of three tokens", func(v *tokenizer.Vocabulary) { v.Merges[1] = "a b c" }, tokenizer.ErrFormat, "merges[1]"},
		{"a merge of a token that is not there", func(v *tokenizer.Vocabulary) { v.Merges[1] = "ab d" }, tokenizer.ErrFormat, "d"},
		{"a start token outside the vocabulary", func(v *tokenizer.Vocabulary) { v.Prefix = []int32{6} }, tokenizer.ErrFormat, "id 6"},
		{"a start token below zero", func(v *tokenizer.Vocabulary) { v.Prefix = []int32{-1} }, tokenizer.ErrFormat, "id -1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := smallVocabulary()
			v.File = "small.gguf"
			tc.with(&v)
			tok, err := tokenizer.FromVocabulary(v)
			require.Nil(t, tok)
			require.ErrorIs(t, err, tc.is)
			require.ErrorContains(t, err, tc.text)
			require.ErrorContains(t, err, "small.gguf: ")
		})
	}
}

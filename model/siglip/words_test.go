package siglip_test

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/model/siglip"
	"github.com/llama3v/llama3v/model/tokenizer"
	"github.com/llama3v/llama3v/model/tokenizer/sentencepiece"
)

const vocabularies = "../tokenizer/sentencepiece/testdata/"

// noTokens is a tokenizer without special tokens.
type noTokens struct{ *sentencepiece.Tokenizer }

func (noTokens) Specials() []tokenizer.Special { return nil }

func TestNewWritingByEndToken(t *testing.T) {
	data, err := os.ReadFile(vocabularies + "siglip/tokenizer.json")
	require.NoError(t, err)
	tok, err := sentencepiece.ParseJSON(data)
	require.NoError(t, err)
	w, err := siglip.NewWriting(tok, 16)
	require.NoError(t, err)
	require.Equal(t, siglip.Writing{Canonical: true, End: 1, Pad: 1, Length: 16}, w)
	_, err = siglip.NewWriting(noTokens{tok}, 16)
	require.ErrorIs(t, err, tokenizer.ErrUnsupported)
}

func vocabulary(t *testing.T, folder string) *sentencepiece.Tokenizer {
	t.Helper()
	tok, err := sentencepiece.Load(os.DirFS(vocabularies + folder))
	require.NoError(t, err)
	return tok
}

// What transformers' SiglipTokenizer, and SigLIP 2's, make of 250 texts, padding and truncation
// included; see the README beside the cases.
func TestGoldenWriting(t *testing.T) {
	data, err := os.ReadFile(vocabularies + "cases.json")
	require.NoError(t, err)
	var cases []struct {
		Text    *string
		One     []int32         `json:"siglip_64"`
		Short   []int32         `json:"siglip_16"`
		Two     json.RawMessage `json:"siglip2_64"` // long ones lie in another form, and are tested by hand
		Ignored json.RawMessage `json:"repeat"`
	}
	require.NoError(t, json.Unmarshal(data, &cases))
	one, two := vocabulary(t, "siglip"), vocabulary(t, "gemma")
	wide, err := siglip.NewWriting(one, 64)
	require.NoError(t, err)
	require.Equal(t, siglip.Writing{Canonical: true, End: 1, Pad: 1, Length: 64}, wide)
	narrow, err := siglip.NewWriting(one, 16)
	require.NoError(t, err)
	gemma, err := siglip.NewWriting(two, 64)
	require.NoError(t, err)
	require.Equal(t, siglip.Writing{End: 1, Pad: 0, Length: 64}, gemma)

	check := func(w siglip.Writing, tok *sentencepiece.Tokenizer, text string, want []int32) {
		t.Helper()
		got, err := w.IDs(tok, text)
		if len(want) == 1 { // the end token alone
			require.ErrorIs(t, err, siglip.ErrEmptyText, "%q", text)
			return
		}
		require.NoError(t, err, "%q", text)
		for len(want) < w.Length {
			want = append(want, w.Pad)
		}
		require.Equal(t, want, got, "%q", text)
	}
	texts, cut := 0, 0
	for _, c := range cases {
		if c.Text == nil {
			continue
		}
		texts++
		check(wide, one, *c.Text, c.One)
		short := c.Short
		if short == nil {
			short = c.One[:min(len(c.One), 16)]
		} else {
			cut++
			require.EqualValues(t, 1, short[15])
		}
		check(narrow, one, *c.Text, short)
		var ids []int32
		require.NoError(t, json.Unmarshal(c.Two, &ids))
		check(gemma, two, *c.Text, ids)
	}
	require.Greater(t, texts, 240)
	require.Greater(t, cut, 20, "texts that are longer than 16 tokens")
}

func TestWriting(t *testing.T) {
	one, two := vocabulary(t, "siglip"), vocabulary(t, "gemma")
	wide, err := siglip.NewWriting(one, 64)
	require.NoError(t, err)
	long, err := wide.IDs(one, strings.Repeat("a photo of a cat ", 1000))
	require.NoError(t, err)
	require.Len(t, long, 64)
	require.EqualValues(t, 1, long[63], "the end token stays")
	require.NotContains(t, long[:63], int32(1))

	same := func(a, b string) {
		t.Helper()
		left, err := wide.IDs(one, a)
		require.NoError(t, err)
		right, err := wide.IDs(one, b)
		require.NoError(t, err)
		require.Equal(t, left, right)
	}
	same("A Photo, of a CAT!", "a photo of a cat")
	same(" a \t photo\nof a\u00a0cat \x1f", "a photo of a cat")
	same("</s>", "s") // what a user types is no end token

	gemma, err := siglip.NewWriting(two, 16)
	require.NoError(t, err)
	ids, err := gemma.IDs(two, strings.Repeat("cat ", 100))
	require.NoError(t, err)
	require.EqualValues(t, 1, ids[15])
	ids, err = gemma.IDs(two, "cat")
	require.NoError(t, err)
	end := slices.Index(ids, 1)
	require.Positive(t, end)
	for _, id := range ids[end+1:] {
		require.Zero(t, id, "SigLIP 2 pads with 0")
	}
	for _, text := range []string{"", " ", "\n\t", "!?", "- -"} {
		_, err := wide.IDs(one, text)
		require.ErrorIs(t, err, siglip.ErrEmptyText, "%q", text)
	}
	_, err = gemma.IDs(two, "")
	require.ErrorIs(t, err, siglip.ErrEmptyText)
}

package tokenizer_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/model/tokenizer"
)

// TestReadVocabulary: the lists are those that llama.cpp's converter writes, and make the same tokenizer.
func TestReadVocabulary(t *testing.T) {
	for kind, pre := range map[string]string{"llama3": "llama-bpe", "smollm2": "smollm"} {
		t.Run(kind, func(t *testing.T) {
			data := vocab(t, kind)
			want, file := asVocabulary(t, data, pre), mustParse(t, data)
			size := len(want.Tokens)
			v, err := tokenizer.ReadVocabulary(data, size+1)
			require.NoError(t, err)
			require.Equal(t, pre, v.Pre)
			require.Equal(t, want.Tokens, v.Tokens[:size])
			require.Equal(t, want.Types, v.Types[:size])
			require.Equal(t, want.Merges, v.Merges)
			require.Equal(t, file.PostProcessorPrefix(), v.Prefix)
			require.EqualValues(t, tokenizer.TokenUnused, v.Types[size], "a row without a token")
			again, err := tokenizer.FromVocabulary(v)
			require.NoError(t, err)
			for _, text := range []string{"Hello  world, 12345\n", "naïve \U0001F600", ""} {
				a, err := file.Encode(text)
				require.NoError(t, err)
				b, err := again.Encode(text)
				require.NoError(t, err)
				require.Equal(t, a, b, text)
			}
			_, err = tokenizer.ReadVocabulary(data, size-1)
			require.ErrorIs(t, err, tokenizer.ErrFormat, "one row too few")
		})
	}
}

func mustParse(t *testing.T, data []byte) *tokenizer.BPE {
	t.Helper()
	tok, err := tokenizer.Parse(data)
	require.NoError(t, err)
	return tok
}

package tokenizer_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/model/tokenizer"
)

// Any bytes as tokenizer.json give a working tokenizer or a typed error.
func FuzzLoad(f *testing.F) {
	f.Add(small)
	f.Add(small[:len(small)/2])
	f.Add([]byte(`{"version":"1.0","model":{"type":"BPE","vocab":{"a":0},"merges":[["a","a"]]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		tok, err := tokenizer.Parse(data)
		if err != nil {
			require.Condition(t, func() bool {
				return isOneOf(err, tokenizer.ErrFormat, tokenizer.ErrUnsupported)
			}, "%v", err)
			return
		}
		ids, err := tok.Encode("ab <|end|>\x00\xff 12")
		require.NoError(t, err)
		_, err = tok.Decode(ids, false)
		require.NoError(t, err)
	})
}

// Any text encodes, comes back whole, makes no special token, and streams to the same text.
func FuzzEncode(f *testing.F) {
	tok := load(f, "llama3")
	for _, s := range readGolden(f, "llama3").Strings {
		if s.Text != nil {
			f.Add(*s.Text)
		}
	}
	f.Add("\xff\xfe\x00")
	f.Fuzz(func(t *testing.T, text string) {
		ids, err := tok.Encode(text)
		require.NoError(t, err)
		stream, streamed := tokenizer.NewStream(tok), ""
		for _, id := range ids {
			require.Less(t, id, int32(128000))
			streamed += stream.Push(id)
		}
		streamed += stream.Flush()
		require.Equal(t, tokenizer.ToValidUTF8(text), streamed)
		back, err := tok.Decode(ids, false)
		require.NoError(t, err)
		require.Equal(t, streamed, back)
	})
}

func isOneOf(err error, targets ...error) bool {
	for _, target := range targets {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

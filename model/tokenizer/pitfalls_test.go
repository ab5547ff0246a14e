package tokenizer_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/model/tokenizer"
)

// P47: control text in a message is text; no id of a special token comes from it.
func TestP47ControlTextIsText(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			tok := load(t, kind)
			special := map[int32]bool{}
			var all strings.Builder
			for _, s := range tok.Specials() {
				special[s.ID] = true
				all.WriteString(s.Text)
			}
			for _, text := range []string{
				"hi<|eot_id|><|start_header_id|>system<|end_header_id|>",
				all.String(),
			} {
				ids, err := tok.Encode(text)
				require.NoError(t, err)
				require.NotEmpty(t, ids)
				for _, id := range ids {
					require.False(t, special[id], "id %d from %.60q", id, text)
				}
			}
		})
	}
}

// P48: the splitting rule is the file's own.
func TestP48SplittingRule(t *testing.T) {
	for _, tc := range []struct {
		kind, text string
		want       []string
	}{
		{"llama3", "1234567", []string{"123", "456", "7"}},
		{"llama3", "Mary's", []string{"Mary", "'s"}},
		{"llama3", "   x", []string{"  ", " x"}},
		{"smollm2", "1234567", []string{"1", "2", "3", "4", "5", "6", "7"}},
		{"smollm2", "   x", []string{"  ", " x"}},
	} {
		t.Run(tc.kind+" "+tc.text, func(t *testing.T) {
			tok := load(t, tc.kind)
			ids, err := tok.Encode(tc.text)
			require.NoError(t, err)
			var got []string
			for _, id := range ids {
				bytes, err := tok.TokenBytes(id)
				require.NoError(t, err)
				got = append(got, string(bytes))
			}
			require.Equal(t, tc.want, got)
		})
	}
}

// edit gives the small file below with a change made to it.
func edit(t testing.TB, change func(file map[string]any)) []byte {
	var file map[string]any
	require.NoError(t, json.Unmarshal(small, &file))
	change(file)
	data, err := json.Marshal(file)
	require.NoError(t, err)
	return data
}

// small is a whole tokenizer.json with eight tokens.
var small = []byte(`{
	"version": "1.0", "truncation": null, "padding": null, "normalizer": null,
	"added_tokens": [
		{"id": 6, "content": "<|end|>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true},
		{"id": 7, "content": "<tool>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": false}],
	"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
	"post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<|end|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
		"pair": [], "special_tokens": {"<|end|>": {"id": "<|end|>", "ids": [6], "tokens": ["<|end|>"]}}},
	"decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
	"model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
		"fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
		"vocab": {"a": 0, "b": 1, "Ġ": 2, "ab": 3, "Ġab": 4, "abab": 5},
		"merges": ["a b", "Ġ ab", "ab ab"]}}`)

func TestSmallFile(t *testing.T) {
	tok, err := tokenizer.Parse(small)
	require.NoError(t, err)
	require.Equal(t, 8, tok.VocabSize())
	require.Equal(t, []tokenizer.Special{{ID: 6, Text: "<|end|>"}}, tok.Specials())
	require.Equal(t, []int32{6}, tok.PostProcessorPrefix())
	for _, tc := range []struct {
		name, text string
		want       []int32
	}{
		{"lowest rank first, then from the left", "ababab", []int32{5, 3}},
		{"a leading space belongs to the word", " abb", []int32{4, 1}},
		{"special tokens stay text, here without tokens but for the letters", "a<|end|>b", []int32{0, 1}},
		{"an added token that is not special is found in any text", "ab<tool>ab", []int32{3, 7, 3}},
		{"bytes without a token are dropped and do not part their neighbours", "a\x01b", []int32{0, 1}},
		{"empty", "", []int32{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ids, err := tok.Encode(tc.text)
			require.NoError(t, err)
			require.Equal(t, tc.want, ids)
		})
	}
	text, err := tok.Decode([]int32{6, 4, 7, 6}, true)
	require.NoError(t, err)
	require.Equal(t, " ab<tool>", text)
}

// P48, P91: files that are broken or ask for unknown rules are refused with the place named.
func TestP91BrokenAndUnknownFiles(t *testing.T) {
	model := func(key string, value any) func(map[string]any) {
		return func(f map[string]any) { f["model"].(map[string]any)[key] = value }
	}
	top := func(key string, value any) func(map[string]any) {
		return func(f map[string]any) { f[key] = value }
	}
	added := func(token map[string]any) func(map[string]any) {
		return func(f map[string]any) { f["added_tokens"] = append(f["added_tokens"].([]any), token) }
	}
	byteLevel := map[string]any{"type": "ByteLevel", "add_prefix_space": false, "use_regex": true}
	splitBy := func(pattern map[string]any, behavior string, invert bool) map[string]any {
		return map[string]any{"type": "Sequence", "pretokenizers": []any{
			map[string]any{"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}, byteLevel}}
	}
	gpt2 := `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
	nested := any(byteLevel)
	for range 20 {
		nested = map[string]any{"type": "Sequence", "pretokenizers": []any{nested}}
	}
	for _, tc := range []struct {
		name   string
		change func(map[string]any)
		is     error
		says   string
	}{
		{"another model", model("type", "Unigram"), tokenizer.ErrUnsupported, "model.type"},
		{"dropout makes ids random", model("dropout", 0.1), tokenizer.ErrUnsupported, "model.dropout"},
		{"word-piece prefix", model("continuing_subword_prefix", "##"), tokenizer.ErrUnsupported, "continuing_subword_prefix"},
		{"end-of-word suffix", model("end_of_word_suffix", "</w>"), tokenizer.ErrUnsupported, "end_of_word_suffix"},
		{"byte fallback", model("byte_fallback", true), tokenizer.ErrUnsupported, "byte_fallback"},
		{"unknown bytes would become a token", model("unk_token", "a"), tokenizer.ErrUnsupported, "unk_token"},
		{"no vocabulary", model("vocab", map[string]any{}), tokenizer.ErrFormat, "model.vocab"},
		{"id far beyond what the file holds", model("vocab", map[string]any{"a": 1 << 31}), tokenizer.ErrFormat, "2147483648"},
		{"negative id", model("vocab", map[string]any{"a": -1}), tokenizer.ErrFormat, "-1"},
		{"fractional id", model("vocab", map[string]any{"a": 0.5}), tokenizer.ErrFormat, "0.5"},
		{"one id for two tokens", model("vocab", map[string]any{"a": 0, "b": 0}), tokenizer.ErrFormat, "two tokens"},
		{"empty token", model("vocab", map[string]any{"": 0}), tokenizer.ErrFormat, "empty token"},
		{"merge of an unknown token", model("merges", []any{"a z"}), tokenizer.ErrFormat, "model.merges[0]"},
		{"merge into an unknown token", model("merges", []any{"b a"}), tokenizer.ErrFormat, "\"ba\""},
		{"merge of three", model("merges", []any{"a b a"}), tokenizer.ErrFormat, "merges[0]"},
		{"merge of one, as a list", model("merges", []any{[]any{"a"}}), tokenizer.ErrFormat, "merges[0]"},
		{"merges of two kinds", model("merges", []any{"a b", []any{"a", "b"}}), tokenizer.ErrFormat, ""},
		{"normalizer", top("normalizer", map[string]any{"type": "NFC"}), tokenizer.ErrUnsupported, "NFC"},
		{"no pre-tokenizer", top("pre_tokenizer", nil), tokenizer.ErrUnsupported, "pre_tokenizer"},
		{"unknown pre-tokenizer", top("pre_tokenizer", map[string]any{"type": "Metaspace"}), tokenizer.ErrUnsupported, "Metaspace"},
		{"prefix space", top("pre_tokenizer", map[string]any{"type": "ByteLevel", "add_prefix_space": true}), tokenizer.ErrUnsupported, "add_prefix_space"},
		{"unknown regular expression", top("pre_tokenizer", splitBy(map[string]any{"Regex": `\w+`}, "Isolated", false)), tokenizer.ErrUnsupported, `\\w+`},
		{"split at a string", top("pre_tokenizer", splitBy(map[string]any{"String": " "}, "Isolated", false)), tokenizer.ErrUnsupported, "regular expression"},
		{"split that removes", top("pre_tokenizer", splitBy(map[string]any{"Regex": gpt2}, "Removed", false)), tokenizer.ErrUnsupported, "Removed"},
		{"inverted split", top("pre_tokenizer", splitBy(map[string]any{"Regex": gpt2}, "Isolated", true)), tokenizer.ErrUnsupported, "invert"},
		{"steps after ByteLevel", top("pre_tokenizer", map[string]any{"type": "Sequence", "pretokenizers": []any{byteLevel, byteLevel}}), tokenizer.ErrUnsupported, "last"},
		{"Digits alone", top("pre_tokenizer", map[string]any{"type": "Digits", "individual_digits": true}), tokenizer.ErrUnsupported, "last"},
		{"Sequence in Sequence without end", top("pre_tokenizer", nested), tokenizer.ErrFormat, "too deep"},
		{"empty Sequence", top("pre_tokenizer", map[string]any{"type": "Sequence", "pretokenizers": []any{}}), tokenizer.ErrFormat, "empty"},
		{"no decoder", top("decoder", nil), tokenizer.ErrUnsupported, "decoder"},
		{"unknown decoder", top("decoder", map[string]any{"type": "Metaspace"}), tokenizer.ErrUnsupported, "Metaspace"},
		{"unknown post-processor", top("post_processor", map[string]any{"type": "BertProcessing"}), tokenizer.ErrUnsupported, "BertProcessing"},
		{"post-processor with an id outside", top("post_processor", map[string]any{"type": "TemplateProcessing",
			"single":         []any{map[string]any{"SpecialToken": map[string]any{"id": "x"}}},
			"special_tokens": map[string]any{"x": map[string]any{"ids": []any{1 << 31}}}}), tokenizer.ErrFormat, "outside"},
		{"post-processor with an unknown name", top("post_processor", map[string]any{"type": "TemplateProcessing",
			"single": []any{map[string]any{"SpecialToken": map[string]any{"id": "x"}}}}), tokenizer.ErrFormat, "special_tokens"},
		{"version", top("version", "2.0"), tokenizer.ErrUnsupported, "version"},
		{"added token that strips spaces", added(map[string]any{"id": 8, "content": "<m>", "lstrip": true}), tokenizer.ErrUnsupported, "lstrip"},
		{"added token over another", added(map[string]any{"id": 3, "content": "<m>"}), tokenizer.ErrFormat, "already"},
		{"added token twice", added(map[string]any{"id": 8, "content": "<tool>"}), tokenizer.ErrFormat, "twice"},
		{"added token without text", added(map[string]any{"id": 8, "content": ""}), tokenizer.ErrFormat, "empty"},
		{"added token longer than any text", added(map[string]any{"id": 8, "content": strings.Repeat("x", 5000)}), tokenizer.ErrFormat, "longer"},
		{"added token with a huge id", added(map[string]any{"id": 1 << 40, "content": "<m>"}), tokenizer.ErrFormat, "added_tokens[2]"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := tokenizer.Parse(edit(t, tc.change))
			require.ErrorIs(t, err, tc.is)
			require.ErrorContains(t, err, tc.says)
			var format *tokenizer.FormatError
			var unsupported *tokenizer.UnsupportedError
			require.True(t, errors.As(err, &format) || errors.As(err, &unsupported))
		})
	}
	for name, data := range map[string][]byte{
		"empty": nil, "cut short": small[:len(small)/2], "a list": []byte("[]"), "not UTF-8": []byte("{\"version\": \"1.0\xff\"}"),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := tokenizer.Parse(data)
			require.ErrorIs(t, err, tokenizer.ErrFormat)
		})
	}
	t.Run("no file", func(t *testing.T) {
		_, err := tokenizer.Load(fstest.MapFS{})
		require.ErrorIs(t, err, fs.ErrNotExist)
		require.ErrorContains(t, err, tokenizer.FileName)
	})
}

// P33, P91: an id outside the vocabulary is an error, in a stream too.
func TestP91UnknownIDs(t *testing.T) {
	tok := load(t, "smollm2")
	for _, id := range []int32{-1, -200, 49152, 128256, 1<<31 - 1, -1 << 31} {
		_, err := tok.Decode([]int32{33, id}, true)
		require.ErrorIs(t, err, tokenizer.ErrUnknownID)
		var unknown *tokenizer.UnknownIDError
		require.ErrorAs(t, err, &unknown)
		require.Equal(t, id, unknown.ID)
		_, err = tok.TokenBytes(id)
		require.ErrorIs(t, err, tokenizer.ErrUnknownID)

		stream := tokenizer.NewStream(tok)
		require.Empty(t, stream.Push(id))
		require.Equal(t, "1", stream.Push(33))
		require.ErrorIs(t, stream.Err(), tokenizer.ErrUnknownID)
	}
}

// P49: the bytes F0 9F 98 give nothing, 80 completes the character.
func TestP49HalfCharacters(t *testing.T) {
	tok := load(t, "llama3")
	byteID := map[byte]int32{}
	for id := range int32(tok.VocabSize()) {
		if bytes, err := tok.TokenBytes(id); err == nil && len(bytes) == 1 {
			byteID[bytes[0]] = id
		}
	}
	stream := tokenizer.NewStream(tok)
	require.Empty(t, stream.Push(byteID[0xF0]))
	require.Empty(t, stream.Push(byteID[0x9F]))
	require.Empty(t, stream.Push(byteID[0x98]))
	require.Equal(t, "😸", stream.Push(byteID[0xB8]))
	require.Empty(t, stream.Push(byteID[0xC3]))
	require.Equal(t, "\uFFFD(", stream.Push(byteID['(']))
	require.Empty(t, stream.Push(byteID[0xE2]))
	require.Equal(t, "\uFFFD", stream.Flush())
	require.Empty(t, stream.Flush())

	stream.SkipSpecial = true
	require.Empty(t, stream.Push(128009))
	stream.SkipSpecial = false
	require.Equal(t, "<|eot_id|>", stream.Push(128009))
	require.NoError(t, stream.Err())
}

// P50: decoding does not tidy spaces.
func TestP50NoCleanUp(t *testing.T) {
	for _, kind := range kinds {
		tok := load(t, kind)
		for _, text := range []string{"x != y and a . b", "do n't , is n't ?", " a  b ", "\n\n x"} {
			ids, err := tok.Encode(text)
			require.NoError(t, err)
			back, err := tok.Decode(ids, true)
			require.NoError(t, err)
			require.Equal(t, text, back)
		}
	}
}

// P51: what could begin a stop text is held back, and released when it does not.
func TestP51StopText(t *testing.T) {
	for _, tc := range []struct {
		name   string
		stops  []string
		pieces []string
		want   string
		found  string
	}{
		{"over three pieces", []string{"own fox"}, []string{"The quick br", "own", " fox", " jumps"}, "The quick br", "own fox"},
		{"released at the end", []string{"own fox"}, []string{"The quick br", "own"}, "The quick brown", ""},
		{"released when it fails", []string{"own fox"}, []string{"br", "own", " dog"}, "brown dog", ""},
		{"a false start inside the start", []string{"aab"}, []string{"a", "a", "a", "b"}, "a", "aab"},
		{"the earlier of two", []string{"two", "one"}, []string{"a one two"}, "a ", "one"},
		{"whole in one piece", []string{"."}, []string{"A dog. A cat."}, "A dog", "."},
		{"none", nil, []string{"a", "b"}, "ab", ""},
		{"of several bytes a character", []string{"Ende…"}, []string{"Das End", "e", "…"}, "Das ", "Ende…"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			stop, err := tokenizer.NewStop(tc.stops...)
			require.NoError(t, err)
			got := ""
			for _, piece := range tc.pieces {
				text, stopped := stop.Push(piece)
				got += text
				require.True(t, utf8.ValidString(text))
				require.Equal(t, stop.Found() != "", stopped)
			}
			got += stop.Flush()
			require.Equal(t, tc.want, got)
			require.Equal(t, tc.found, stop.Found())
		})
	}
	_, err := tokenizer.NewStop("a", "")
	require.ErrorIs(t, err, tokenizer.ErrEmptyStop)
}

// P91: bad bytes, NUL and a megabyte without spaces give ids, in bounded memory.
func TestP91HardTexts(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			tok := load(t, kind)
			for _, text := range []string{"\xff\xfe", "a\x00b", "\x00", strings.Repeat("ab", 1<<19), strings.Repeat("\U0001F600", 1<<16)} {
				ids, err := tok.Encode(text)
				require.NoError(t, err)
				back, err := tok.Decode(ids, false)
				require.NoError(t, err)
				require.Equal(t, tokenizer.ToValidUTF8(text), back)
			}
			long := strings.Repeat("loremipsumdolor", 1<<20/15)
			_, err := tok.Encode(long)
			require.NoError(t, err)
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			for range 4 {
				_, err := tok.Encode(long)
				require.NoError(t, err)
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			require.Less(t, int64(after.HeapAlloc)-int64(before.HeapAlloc), int64(8<<20), "memory kept after 4 texts of 1 MB")
			runtime.KeepAlive(tok)
		})
	}
}

// The demo's vocabulary: its file loads, and every string comes back.
func TestDemoVocabulary(t *testing.T) {
	tok, err := tokenizer.Load(os.DirFS(filepath.Join("..", "..", "testdata", "demo")))
	require.NoError(t, err)
	require.Equal(t, 1588, tok.VocabSize())
	require.Len(t, tok.Specials(), 6)
	require.Equal(t, []int32{1582}, tok.PostProcessorPrefix())
	for _, s := range readGolden(t, "llama3").Strings {
		if s.Hex != nil {
			continue
		}
		text, want := s.input(t)
		ids, err := tok.Encode(text)
		require.NoError(t, err)
		back, err := tok.Decode(ids, false)
		require.NoError(t, err)
		require.Equal(t, want, back)
	}
	// The answers of the reference run.
	ids, err := tok.Encode("A dog.")
	require.NoError(t, err)
	require.Equal(t, []int32{32, 631, 13}, ids)
}

func TestP45PostProcessorOfLaterLlama3Files(t *testing.T) {
	var file map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(llama3Vocab(t), &file))
	tok := load(t, "llama3")
	require.Empty(t, tok.PostProcessorPrefix(), "the first release adds nothing")
	post, err := os.ReadFile("testdata/llama3/post_processor_bos.json")
	require.NoError(t, err)
	file["post_processor"] = post
	data, err := json.Marshal(file)
	require.NoError(t, err)
	tok, err = tokenizer.Parse(data)
	require.NoError(t, err)
	require.Equal(t, []int32{128000}, tok.PostProcessorPrefix())
}

package sentencepiece_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/internal/golden"
	"github.com/llama3v/llama3v/model/tokenizer"
	"github.com/llama3v/llama3v/model/tokenizer/sentencepiece"
)

// all are the vocabularies of testdata.
func all(t testing.TB) map[string]*sentencepiece.Tokenizer {
	return map[string]*sentencepiece.Tokenizer{
		"siglip": load(t, "siglip", "spiece.model"), "siglip.json": load(t, "siglip", "tokenizer.json"),
		"bytes": load(t, "bytes", "spiece.model"),
		"gemma": load(t, "gemma", "tokenizer.model"), "gemma.json": load(t, "gemma", "tokenizer.json"),
	}
}

// Much of one thing, of which every step costs the most, and bytes that are no text.
func TestLargeAndBrokenTexts(t *testing.T) {
	random := make([]byte, 1<<18)
	source := rand.NewChaCha8([32]byte{1})
	source.Read(random)
	texts := map[string]string{
		"one word":         strings.Repeat("photo", 1<<18/5),
		"spaces":           strings.Repeat(" ", 1<<18),
		"a run of as":      strings.Repeat("a", 1<<20),
		"unknown":          strings.Repeat("☃", 1<<18),
		"marks":            strings.Repeat("\u2581", 1<<18),
		"combining":        "a" + strings.Repeat("\u0301", 1<<18),
		"a ligature of 18": strings.Repeat("\ufdfa", 1<<16),
		"zero bytes":       strings.Repeat("\x00", 1<<18),
		"random bytes":     string(random),
		"cut off":          "caf\xc3",
		"surrogates":       "\xed\xa0\x80\xed\xb0\x80",
		"too long a form":  "\xc0\x80",
		"zero inside":      "a\x00b",
	}
	for name, tok := range all(t) {
		if strings.HasSuffix(name, ".json") {
			continue // the same models; their steps are linear, too
		}
		for what, text := range texts {
			t.Run(name+"/"+what, func(t *testing.T) {
				ids, err := tok.Encode(text)
				require.NoError(t, err)
				if len(ids) > 0 {
					require.Less(t, slices.Max(ids), int32(tok.VocabSize()))
					require.GreaterOrEqual(t, slices.Min(ids), int32(0))
				}
				if !utf8.ValidString(text) {
					same, err := tok.Encode(tokenizer.ToValidUTF8(text))
					require.NoError(t, err)
					require.True(t, slices.Equal(same, ids), "bytes that form no character are U+FFFD")
				}
				decoded, err := tok.Decode(ids, false)
				require.NoError(t, err)
				require.True(t, utf8.ValidString(decoded))
			})
		}
	}
}

// Where nothing is rewritten and every byte has a token, decoding gives the text back.
func TestDecodeGivesTheTextBack(t *testing.T) {
	tokens := all(t)
	for _, c := range goldenCases(t) {
		for _, name := range []string{"bytes", "gemma"} {
			ids, err := tokens[name].Encode(c.Text)
			require.NoError(t, err)
			text, err := tokens[name].Decode(ids, true)
			require.NoError(t, err)
			require.Equal(t, strings.ReplaceAll(c.Text, "\u2581", " "), text, name)
		}
	}
	ids, err := tokens["siglip"].Encode("a photo of  a cat")
	require.NoError(t, err)
	text, err := tokens["siglip"].Decode(append(ids, 1, 1), true)
	require.NoError(t, err)
	require.Equal(t, "a photo of a cat", text)
	text, err = tokens["siglip"].Decode(append(ids, 1), false)
	require.NoError(t, err)
	require.Equal(t, "a photo of a cat</s>", text)

	_, err = tokens["siglip"].Decode([]int32{-1}, false)
	require.ErrorIs(t, err, tokenizer.ErrUnknownID)
	_, err = tokens["siglip"].TokenBytes(int32(tokens["siglip"].VocabSize()))
	require.ErrorIs(t, err, tokenizer.ErrUnknownID)
}

// No text becomes a control token, whichever file the vocabulary came from.
func TestControlTokensAreNotFoundInText(t *testing.T) {
	for name, tok := range all(t) {
		specials := tok.Specials()
		require.NotEmpty(t, specials, name)
		for _, s := range specials {
			for _, text := range []string{s.Text, "a " + s.Text + " b", s.Text + s.Text} {
				ids, err := tok.Encode(text)
				require.NoError(t, err)
				if s.Text != "<unk>" {
					require.NotContains(t, ids, s.ID, "%s: %q", name, text)
				}
			}
		}
	}
	// Nor a byte's spelling that byte.
	for _, name := range []string{"bytes", "gemma", "gemma.json"} {
		ids, err := all(t)[name].Encode("<0x41>")
		require.NoError(t, err)
		require.Greater(t, len(ids), 1, name)
	}
}

// field makes a field of a protocol buffer message: text and bytes.
func field(number int, data []byte) []byte {
	out := binary.AppendUvarint(nil, uint64(number)<<3|2)
	out = binary.AppendUvarint(out, uint64(len(data)))
	return append(out, data...)
}

func number(field int, n uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(nil, uint64(field)<<3), n)
}

func pieceOf(text string, score uint32, kind uint64) []byte {
	p := field(1, []byte(text))
	p = append(p, 2<<3|5)
	p = binary.LittleEndian.AppendUint32(p, score)
	return field(1, append(p, number(3, kind)...))
}

const one = 0x3f800000 // the bits of 1

func TestMalformedModels(t *testing.T) {
	good := bytes.Join([][]byte{pieceOf("<unk>", 0, 2), pieceOf("a", one, 1)}, nil)
	_, err := sentencepiece.Parse("spiece.model", good)
	require.NoError(t, err)
	chars := func(table []byte) []byte { return append(bytes.Clone(good), field(3, field(2, table))...) }
	size := func(n uint32, rest ...byte) []byte {
		return append(binary.LittleEndian.AppendUint32(nil, n), rest...)
	}
	for _, tc := range []struct {
		name string
		data []byte
		err  error
		says string
	}{
		{"nothing", nil, tokenizer.ErrFormat, "pieces: none"},
		{"text", []byte("hello, this is no model"), tokenizer.ErrFormat, "model"},
		{"a number that does not end", []byte{0x80}, tokenizer.ErrFormat, "number"},
		{"a field longer than the file", []byte{1<<3 | 2, 200, 1, 'a'}, tokenizer.ErrFormat, "longer"},
		{"a field of 2^63 bytes", append([]byte{1<<3 | 2}, binary.AppendUvarint(nil, 1<<63)...), tokenizer.ErrFormat, "longer"},
		{"field number 0", []byte{2, 0}, tokenizer.ErrFormat, "without a number"},
		{"a group", []byte{1<<3 | 3}, tokenizer.ErrFormat, "wire type 3"},
		{"pieces as numbers", number(1, 5), tokenizer.ErrFormat, "wire type 0"},
		{"a piece without text", append(bytes.Clone(good), field(1, nil)...), tokenizer.ErrFormat, "pieces[2]: empty"},
		{"a piece twice", append(bytes.Clone(good), pieceOf("a", one, 1)...), tokenizer.ErrFormat, "twice"},
		{"a piece that is not UTF-8", append(bytes.Clone(good), pieceOf("\xff", one, 1)...), tokenizer.ErrFormat, "UTF-8"},
		{"a piece of a megabyte", append(bytes.Clone(good), pieceOf(strings.Repeat("b", 1<<20), one, 1)...), tokenizer.ErrFormat, "longer"},
		{"a score of NaN", append(bytes.Clone(good), pieceOf("b", 0x7fc00000, 1)...), tokenizer.ErrFormat, "NaN"},
		{"a score of infinity", append(bytes.Clone(good), pieceOf("b", 0x7f800000, 1)...), tokenizer.ErrFormat, "Inf"},
		{"a type that is none", append(bytes.Clone(good), pieceOf("b", one, 7)...), tokenizer.ErrFormat, "type 7"},
		{"a second unknown token", append(bytes.Clone(good), pieceOf("b", one, 2)...), tokenizer.ErrFormat, "second"},
		{"no unknown token", pieceOf("a", one, 1), tokenizer.ErrFormat, "no unknown"},
		{"byte fallback with neither bytes nor an unknown token", append(pieceOf("a", one, 1), field(2, number(35, 1))...), tokenizer.ErrFormat, "0 of 256"},
		{"a byte that is none", append(bytes.Clone(good), pieceOf("<0xGG>", one, 6)...), tokenizer.ErrFormat, "byte's spelling"},
		{"a word model", append(bytes.Clone(good), field(2, number(3, 3))...), tokenizer.ErrUnsupported, "model_type"},
		{"spaces behind words", append(bytes.Clone(good), field(2, number(24, 1))...), tokenizer.ErrUnsupported, "suffix"},
		{"an unused piece in BPE", append(bytes.Join([][]byte{good, pieceOf("b", one, 5)}, nil), field(2, number(3, 2))...), tokenizer.ErrUnsupported, "unused"},
		{"a table shorter than its size", chars([]byte{1, 2}), tokenizer.ErrFormat, "charsmap"},
		{"a trie of no units", chars(size(0, 0)), tokenizer.ErrFormat, "trie"},
		{"a trie of 4 GB", chars(size(1<<32-4, 0)), tokenizer.ErrFormat, "trie"},
		{"a trie of half a unit", chars(size(2, 0, 0, 0)), tokenizer.ErrFormat, "trie"},
		{"a replacement without end", chars(size(4, 0, 0, 0, 0, 'x')), tokenizer.ErrFormat, "no end"},
		{"a replacement that is not UTF-8", chars(size(4, 0, 0, 0, 0, 0xff, 0)), tokenizer.ErrFormat, "UTF-8"},
		{"a replacement of a megabyte", chars(size(4, append(make([]byte, 4), append(bytes.Repeat([]byte("x"), 1<<20), 0)...)...)), tokenizer.ErrFormat, "longer"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := sentencepiece.Parse("spiece.model", tc.data)
			require.ErrorIs(t, err, tc.err)
			require.ErrorContains(t, err, "spiece.model")
			require.ErrorContains(t, err, tc.says)
		})
	}
}

// A real model with every byte changed, or cut off anywhere, is an error or works.
func TestDamagedModels(t *testing.T) {
	whole, err := os.ReadFile("testdata/bytes/spiece.model")
	require.NoError(t, err)
	source := rand.New(rand.NewPCG(3, 4))
	refused, works := 0, 0
	for range 1500 {
		data := bytes.Clone(whole)
		if source.IntN(3) == 0 {
			data = data[:source.IntN(len(data))]
		} else {
			for range 1 + source.IntN(3) {
				data[source.IntN(len(data))] = byte(source.Uint32())
			}
		}
		tok, err := sentencepiece.Parse("spiece.model", data)
		if err != nil {
			refused++
			continue
		}
		works++
		_, err = tok.Encode("a photo of a cat, é☃\x00")
		require.NoError(t, err)
	}
	require.Positive(t, refused)
	require.Positive(t, works)
}

// A character table of noise is read within bounds, and its time too.
func TestCharacterTablesOfNoise(t *testing.T) {
	source := rand.New(rand.NewPCG(5, 6))
	text := strings.Repeat("a photo of a café\u0301 ", 200)
	for range 200 {
		units := 1 + source.IntN(64)
		table := binary.LittleEndian.AppendUint32(nil, uint32(units*4))
		for range units {
			u := source.Uint32()
			if source.IntN(2) == 0 { // units that lead somewhere near, and match
				u = uint32(source.IntN(units))<<10 | uint32(source.IntN(2))<<8 | uint32(text[source.IntN(len(text))])
			}
			table = binary.LittleEndian.AppendUint32(table, u)
		}
		table = append(table, "x\x00yz\x00\x00"...)
		data := bytes.Join([][]byte{pieceOf("<unk>", 0, 2), pieceOf("a", one, 1), field(3, field(2, table))}, nil)
		tok, err := sentencepiece.Parse("spiece.model", data)
		require.NoError(t, err)
		_, err = tok.Encode(text)
		require.NoError(t, err)
	}
}

func TestMalformedJSON(t *testing.T) {
	read := func(t *testing.T, folder string) map[string]any {
		data, err := os.ReadFile("testdata/" + folder + "/tokenizer.json")
		require.NoError(t, err)
		var f map[string]any
		require.NoError(t, json.Unmarshal(data, &f))
		return f
	}
	model := func(f map[string]any) map[string]any { return f["model"].(map[string]any) }
	step := func(kv ...any) map[string]any {
		m := map[string]any{}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i].(string)] = kv[i+1]
		}
		return m
	}
	for _, tc := range []struct {
		name, folder string
		change       func(f map[string]any)
		err          error
		says         string
	}{
		{"another version", "siglip", func(f map[string]any) { f["version"] = "2.0" }, tokenizer.ErrUnsupported, "version"},
		{"a model of another kind", "siglip", func(f map[string]any) { model(f)["type"] = "WordPiece" }, tokenizer.ErrUnsupported, "WordPiece"},
		{"an unknown id outside", "siglip", func(f map[string]any) { model(f)["unk_id"] = 1 << 40 }, tokenizer.ErrFormat, "unk_id"},
		{"a row that is no pair", "siglip", func(f map[string]any) { model(f)["vocab"] = []any{[]any{"a"}} }, tokenizer.ErrFormat, "vocab[0]"},
		{"a score that is a word", "siglip", func(f map[string]any) { model(f)["vocab"] = []any{[]any{"a", "b"}} }, tokenizer.ErrFormat, "vocab[0]"},
		{"an added token at another's id", "siglip", func(f map[string]any) {
			f["added_tokens"] = []any{step("id", 5, "content", "<x>", "special", true)}
		}, tokenizer.ErrFormat, "added_tokens[0]"},
		{"an added token far away", "siglip", func(f map[string]any) {
			f["added_tokens"] = []any{step("id", 1<<40, "content", "<x>", "special", true)}
		}, tokenizer.ErrFormat, "added_tokens[0]"},
		{"an added token that takes spaces", "siglip", func(f map[string]any) {
			f["added_tokens"] = []any{step("id", 3, "content", "▁", "lstrip", true)}
		}, tokenizer.ErrUnsupported, "lstrip"},
		{"a normaliser nobody has", "siglip", func(f map[string]any) { f["normalizer"] = step("type", "Bert") }, tokenizer.ErrUnsupported, "Bert"},
		{"a regular expression that is not known", "siglip", func(f map[string]any) {
			f["normalizer"] = step("type", "Replace", "pattern", step("Regex", "a+b"), "content", "")
		}, tokenizer.ErrUnsupported, "a+b"},
		{"a class of letters", "siglip", func(f map[string]any) {
			f["normalizer"] = step("type", "Replace", "pattern", step("Regex", `[\w]`), "content", "")
		}, tokenizer.ErrUnsupported, "regular"},
		{"a range of characters", "siglip", func(f map[string]any) {
			f["normalizer"] = step("type", "Replace", "pattern", step("Regex", `[a-z]`), "content", "")
		}, tokenizer.ErrUnsupported, "regular"},
		{"an empty pattern", "siglip", func(f map[string]any) {
			f["normalizer"] = step("type", "Replace", "pattern", step("String", ""), "content", "x")
		}, tokenizer.ErrFormat, "empty"},
		{"a damaged table", "siglip", func(f map[string]any) {
			f["normalizer"] = step("type", "Precompiled", "precompiled_charsmap", base64.StdEncoding.EncodeToString([]byte{9}))
		}, tokenizer.ErrFormat, "charsmap"},
		{"a table that is no base64", "siglip", func(f map[string]any) {
			f["normalizer"] = step("type", "Precompiled", "precompiled_charsmap", "%%%")
		}, tokenizer.ErrFormat, "base64"},
		{"a pre-tokeniser nobody has", "siglip", func(f map[string]any) { f["pre_tokenizer"] = step("type", "ByteLevel") }, tokenizer.ErrUnsupported, "ByteLevel"},
		{"another sign for spaces", "siglip", func(f map[string]any) {
			f["pre_tokenizer"] = step("type", "Metaspace", "replacement", "_")
		}, tokenizer.ErrUnsupported, "Metaspace"},
		{"a split at letters", "gemma", func(f map[string]any) {
			f["pre_tokenizer"] = step("type", "Split", "pattern", step("String", "a"), "behavior", "MergedWithPrevious")
		}, tokenizer.ErrUnsupported, "Split"},
		{"a byte-level vocabulary", "gemma", func(f map[string]any) { model(f)["byte_fallback"] = false }, tokenizer.ErrUnsupported, "byte_fallback"},
		{"dropout", "gemma", func(f map[string]any) { model(f)["dropout"] = 0.1 }, tokenizer.ErrUnsupported, "dropout"},
		{"ids with a gap", "gemma", func(f map[string]any) { model(f)["vocab"] = step("a", 0, "b", 2) }, tokenizer.ErrFormat, "vocab"},
		{"an id for two", "gemma", func(f map[string]any) { model(f)["vocab"] = step("a", 0, "b", 0) }, tokenizer.ErrFormat, "vocab"},
		{"a merge of what is not there", "gemma", func(f map[string]any) { model(f)["merges"] = []any{[]any{"zz", "zz"}} }, tokenizer.ErrFormat, "merges[0]"},
		{"a merge of three", "gemma", func(f map[string]any) { model(f)["merges"] = []any{"a b c"} }, tokenizer.ErrFormat, "merges[0]"},
		{"merges that are none", "gemma", func(f map[string]any) { model(f)["merges"] = 5 }, tokenizer.ErrFormat, "merges"},
		{"an unknown token that is not there", "gemma", func(f map[string]any) { model(f)["unk_token"] = "<?>" }, tokenizer.ErrFormat, "unk_token"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := read(t, tc.folder)
			tc.change(f)
			data, err := json.Marshal(f)
			require.NoError(t, err)
			_, err = sentencepiece.ParseJSON(data)
			require.ErrorIs(t, err, tc.err)
			require.ErrorContains(t, err, "tokenizer.json")
			require.ErrorContains(t, err, tc.says)
		})
	}
	for _, text := range []string{"", "{", "[]", "null", "\xff", `{"version":"1.0"}`, `{"version":"1.0","model":5}`} {
		_, err := sentencepiece.ParseJSON([]byte(text))
		require.Error(t, err, text)
	}
	nested := strings.Repeat(`{"type":"Sequence","normalizers":[`, 20) + strings.Repeat("]}", 20)
	_, err := sentencepiece.ParseJSON([]byte(`{"version":"1.0","normalizer":` + nested +
		`,"model":{"type":"Unigram","unk_id":0,"vocab":[["<unk>",0]]}}`))
	require.ErrorIs(t, err, tokenizer.ErrFormat)
	require.ErrorContains(t, err, "nested")
}

// The steps that published files have and the ones of testdata lack.
func TestJSONSteps(t *testing.T) {
	make := func(normalizer, pre string) string {
		return `{"version":"1.0","normalizer":` + normalizer + `,"pre_tokenizer":` + pre +
			`,"added_tokens":[{"id":4,"content":"[x]","special":false}],
			"model":{"type":"Unigram","unk_id":0,"vocab":[["<unk>",0],["▁",-2],["▁a",-1],["b",-1],["[x]",0]]}}`
	}
	const space = `{"type":"Metaspace","replacement":"▁","prepend_scheme":"always"}`
	for _, tc := range []struct {
		name, normalizer, pre, text string
		want                        []int32
	}{
		{"T5's older pre-tokeniser", "null", `{"type":"Sequence","pretokenizers":[{"type":"WhitespaceSplit"},{"type":"Metaspace","replacement":"▁","add_prefix_space":true}]}`, " ab  a ", []int32{2, 3, 2}},
		{"no space in front", "null", `{"type":"Metaspace","replacement":"▁","prepend_scheme":"never"}`, "b a", []int32{3, 2}},
		{"one is there already", "null", space, " b", []int32{1, 3}},
		{"the text in one part", "null", `{"type":"Metaspace","replacement":"▁","prepend_scheme":"first","split":false}`, "a b", []int32{2, 1, 3}},
		{"a space by the normaliser", `{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},{"type":"Replace","pattern":{"String":" "},"content":"▁"}]}`, "null", "a b", []int32{2, 1, 3}},
		{"upper case", `{"type":"Lowercase"}`, space, "AB", []int32{2, 3}},
		{"NFKC", `{"type":"NFKC"}`, space, "\uff41\uff42", []int32{2, 3}},
		{"NFD", `{"type":"NFD"}`, space, "\u00e2", []int32{2, 0}},
		{"strip", `{"type":"Strip","strip_left":true,"strip_right":true}`, space, "\ta ", []int32{2}},
		{"strip at the left", `{"type":"Strip","strip_left":true,"strip_right":false}`, space, " a ", []int32{2, 1}},
		{"unknown characters of one word are one", "null", space, "bxyz xb", []int32{1, 3, 0, 1, 0, 3}},
		{"an added token", "null", space, "a[x]b", []int32{2, 4, 1, 3}},
		{"a table that rewrites nothing", `{"type":"Precompiled","precompiled_charsmap":null}`, space, "a", []int32{2}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tok, err := sentencepiece.ParseJSON([]byte(make(tc.normalizer, tc.pre)))
			require.NoError(t, err)
			got, err := tok.Encode(tc.text)
			require.NoError(t, err)
			require.Equal(t, tc.want, got)
		})
	}
}

// Gemma's own tokenizer.json lacks one byte's token; a character that needs it is unknown.
func TestAByteWithoutAToken(t *testing.T) {
	data, err := os.ReadFile("testdata/gemma/tokenizer.json")
	require.NoError(t, err)
	tok, err := sentencepiece.ParseJSON(bytes.Replace(data, []byte(`"<0x98>"`), []byte(`"98"`), 1))
	require.NoError(t, err)
	whole, err := load(t, "gemma", "tokenizer.json").Encode("☃a") // e2 98 83
	require.NoError(t, err)
	require.Len(t, whole, 4)
	ids, err := tok.Encode("☃☃a")
	require.NoError(t, err)
	require.Equal(t, []int32{3, whole[3]}, ids)
}

func TestLoadTakesTheFirstFileThereIs(t *testing.T) {
	spiece, small := golden.Vocabulary(10), golden.Vocabulary(20)
	tok, err := sentencepiece.Load(fstest.MapFS{"spiece.model": {Data: spiece}, "tokenizer.json": {Data: []byte("{")}, "tokenizer.model": {Data: small}})
	require.NoError(t, err)
	require.Equal(t, 10, tok.VocabSize())
	tok, err = sentencepiece.Load(fstest.MapFS{"tokenizer.model": {Data: small}})
	require.NoError(t, err)
	require.Equal(t, 20, tok.VocabSize())
	_, err = sentencepiece.Load(fstest.MapFS{"spiece.model": {Data: []byte{8}}, "tokenizer.model": {Data: small}})
	require.ErrorIs(t, err, tokenizer.ErrFormat, "a broken file is not passed over")
	_, err = sentencepiece.Load(fstest.MapFS{})
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestLower(t *testing.T) {
	for in, want := range map[string]string{
		"A PHOTO": "a photo", "ΣΑΣ": "σασ", "\u0130": "i\u0307", "ǅ": "ǆ", "ẞ": "ß", "é": "é", "K": "k", "": "",
	} {
		require.Equal(t, want, sentencepiece.Lower(in), in)
	}
}

func FuzzParse(f *testing.F) {
	for _, name := range []string{"bytes/spiece.model", "gemma/tokenizer.model"} {
		data, err := os.ReadFile("testdata/" + name)
		require.NoError(f, err)
		f.Add(data, "a photo")
	}
	f.Fuzz(func(t *testing.T, data []byte, text string) {
		tok, err := sentencepiece.Parse("spiece.model", data)
		if err != nil {
			return
		}
		ids, err := tok.Encode(text)
		require.NoError(t, err)
		for _, id := range ids {
			require.Less(t, int(id), tok.VocabSize())
		}
	})
}

func FuzzEncode(f *testing.F) {
	tokens := all(f)
	for _, c := range goldenCases(f)[:50] {
		f.Add(c.Text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for name, tok := range tokens {
			ids, err := tok.Encode(text)
			require.NoError(t, err)
			back, err := tok.Decode(ids, false)
			require.NoError(t, err)
			if name == "bytes" || name == "gemma" {
				require.Equal(t, strings.ReplaceAll(tokenizer.ToValidUTF8(text), "\u2581", " "), back)
			}
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	text := strings.Repeat("a photo of a small red wooden boat near the water. ", 200)
	for name, tok := range all(b) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				_, err := tok.Encode(text)
				require.NoError(b, err)
			}
		})
	}
}

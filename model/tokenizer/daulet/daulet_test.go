//go:build cgo && daulet

package daulet_test

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/internal/need"
	"github.com/llama3v/llama3v/model/tokenizer"
	"github.com/llama3v/llama3v/model/tokenizer/daulet"
)

var kinds = []string{"llama3", "smollm2", "demo"}

func vocab(t testing.TB, kind string) []byte {
	path := filepath.Join("..", "testdata", kind, "tokenizer.json")
	switch kind {
	case "demo":
		path = filepath.Join("..", "..", "..", "testdata", "demo", "tokenizer.json")
	case "llama3":
		if path = os.Getenv("L3V_LLAMA3_VOCAB"); path == "" {
			path = filepath.Join("..", "..", "..", "build", "fetched", "llama3", "tokenizer.json")
		}
	}
	data, err := os.ReadFile(path)
	if err != nil && kind == "llama3" {
		need.Missing(t, "llama3-vocab", "run tools/fetch-llama3-vocab.sh or set L3V_LLAMA3_VOCAB: "+err.Error())
	}
	require.NoError(t, err)
	return data
}

// both loads a vocabulary in Rust and in Go.
func both(t testing.TB, kind string) (*daulet.Tokenizer, *tokenizer.BPE) {
	data := vocab(t, kind)
	r, err := daulet.Parse(data)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	g, err := tokenizer.Parse(data)
	require.NoError(t, err)
	return r, g
}

// goldenTexts are the texts of testdata/<kind>/encode.json with their ids.
func goldenTexts(t testing.TB, kind string) (texts []string, ids [][]int32) {
	data, err := os.ReadFile(filepath.Join("..", "testdata", kind, "encode.json"))
	require.NoError(t, err)
	var file struct {
		Strings []struct {
			Text   *string
			Repeat []any
			Hex    string
			IDs    []int32
			RLE    [][2]int32
		}
	}
	require.NoError(t, json.Unmarshal(data, &file))
	for _, s := range file.Strings {
		var text string
		switch {
		case s.Text != nil:
			text = *s.Text
		case s.Repeat != nil:
			text = strings.Repeat(s.Repeat[0].(string), int(s.Repeat[1].(float64)))
		default:
			raw, err := hex.DecodeString(s.Hex)
			require.NoError(t, err)
			text = string(raw)
		}
		want := append([]int32{}, s.IDs...)
		for _, run := range s.RLE {
			for range run[1] {
				want = append(want, run[0])
			}
		}
		texts, ids = append(texts, text), append(ids, want)
	}
	require.Len(t, texts, 359)
	return texts, ids
}

// The Rust library gives the golden ids, and Go the ids of the Rust library.
func TestEqualIDs(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			r, g := both(t, kind)
			golden := kind
			if kind == "demo" {
				golden = "llama3"
			}
			texts, ids := goldenTexts(t, golden)
			for i, text := range texts {
				got, err := r.Encode(text)
				require.NoError(t, err)
				if kind != "demo" {
					require.Equal(t, ids[i], got, "%.80q", text)
				}
				inGo, err := g.Encode(text)
				require.NoError(t, err)
				require.Equal(t, got, inGo, "%.80q", text)
				a, err := r.Decode(got, false)
				require.NoError(t, err)
				b, err := g.Decode(got, false)
				require.NoError(t, err)
				require.Equal(t, b, a)
			}
			require.Equal(t, g.VocabSize(), r.VocabSize())
			require.Equal(t, g.Specials(), r.Specials())
		})
	}
}

// splitsOf is a tokenizer.json with the splitting rule of a vocabulary and a model that shows where it
// splits: a letter, a digit or a space is merged with the byte before or after it whenever both are in
// one piece.
func splitsOf(t *testing.T, kind string) []byte {
	var file map[string]any
	require.NoError(t, json.Unmarshal(vocab(t, kind), &file))
	spelling := map[int]string{}
	next := 0x100
	for b := range 256 {
		if b >= 0x21 && b <= 0x7E || b >= 0xA1 && b <= 0xAC || b >= 0xAE {
			spelling[b] = string(rune(b))
		} else {
			spelling[b] = string(rune(next))
			next++
		}
	}
	ids, merges := map[string]int{}, [][2]string{}
	for b := range 256 {
		ids[spelling[b]] = b
	}
	for b := 0x80; b < 256; b++ {
		for _, pair := range [][2]string{
			{spelling['a'], spelling[b]}, {spelling[b], spelling['b']},
			{spelling['1'], spelling[b]}, {spelling[b], spelling['2']}, {spelling[' '], spelling[b]},
		} {
			ids[pair[0]+pair[1]] = len(ids)
			merges = append(merges, pair)
		}
	}
	file["added_tokens"], file["post_processor"] = []any{}, nil
	file["model"] = map[string]any{"type": "BPE", "vocab": ids, "merges": merges, "ignore_merges": false,
		"dropout": nil, "unk_token": nil, "byte_fallback": false, "fuse_unk": false}
	data, err := json.Marshal(file)
	require.NoError(t, err)
	return data
}

// P48: every character that this Go's Unicode tables know falls into the same class. (The two
// libraries may stand at different versions of Unicode, so characters that are newer are left out.)
func TestP48EveryCharacter(t *testing.T) {
	known := []*unicode.RangeTable{unicode.L, unicode.M, unicode.N, unicode.P, unicode.S, unicode.Z, unicode.Cc, unicode.Cf}
	for _, kind := range []string{"llama3", "smollm2"} {
		t.Run(kind, func(t *testing.T) {
			data := splitsOf(t, kind)
			r, err := daulet.Parse(data)
			require.NoError(t, err)
			defer r.Close()
			g, err := tokenizer.Parse(data)
			require.NoError(t, err)
			equal := func(text string) bool {
				a, err := r.Encode(text)
				require.NoError(t, err)
				b, err := g.Encode(text)
				require.NoError(t, err)
				return slices.Equal(a, b)
			}
			// a letter before, a letter after, digits on both sides, a space before, an apostrophe before
			text := func(c rune) string {
				s := string(c)
				return "a" + s + "." + s + "b.1" + s + "2. " + s + ".'" + s + "b\n" + s + s + "\n"
			}
			var differ []rune
			count := 0
			const block = 256
			for start := rune(0); start < utf8.MaxRune; start += block {
				var b strings.Builder
				for c := start; c < start+block; c++ {
					if unicode.In(c, known...) {
						b.WriteString(text(c))
						count++
					}
				}
				if equal(b.String()) {
					continue
				}
				for c := start; c < start+block; c++ {
					if unicode.In(c, known...) && !equal(text(c)) {
						differ = append(differ, c)
					}
				}
			}
			require.Greater(t, count, 140000)
			require.Empty(t, differ, "%d characters differ: %.2000U", len(differ), differ)
		})
	}
}

// P91: bad bytes, NUL, long text, unknown ids and broken files never abort, and memory is given back.
func TestP91NeverAborts(t *testing.T) {
	r, g := both(t, "llama3")
	for _, text := range []string{
		"\xff\xfe", "\x00", "a\x00b", "\x00\U0010FFFE0\U0010FFFE1\U0010FFFE", "\U0010FFFE", strings.Repeat("ab", 1<<19),
	} {
		want, err := g.Encode(text)
		require.NoError(t, err)
		got, err := r.Encode(text)
		require.NoError(t, err)
		require.Equal(t, want, got, "%.40q", text)
	}
	_, err := r.Decode([]int32{-1 << 31}, false)
	require.ErrorIs(t, err, tokenizer.ErrUnknownID)
	for _, data := range []string{"", "{", "[]", `{"version": "1.0"}`} {
		_, err := daulet.Parse([]byte(data))
		require.Error(t, err)
	}
	_, err = daulet.Load(fstest.MapFS{})
	require.ErrorIs(t, err, os.ErrNotExist)

	long := strings.Repeat("loremipsumdolor", 1<<20/15)
	resident := func() int64 { return residentBytes(t) }
	for range 3 {
		_, err := r.Encode(long)
		require.NoError(t, err)
	}
	before := resident()
	for range 20 {
		_, err := r.Encode(long)
		require.NoError(t, err)
	}
	runtime.GC()
	require.Less(t, resident()-before, int64(128<<20), "memory after 20 texts of 1 MB")
}

// residentBytes is the memory of the process, Rust's part too.
func residentBytes(t *testing.T) int64 {
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip("needs /proc/self/statm to see the memory that Rust holds")
	}
	var pages [2]int64
	fields := strings.Fields(string(data))
	for i := range pages {
		require.NoError(t, json.Unmarshal([]byte(fields[i]), &pages[i]))
	}
	return pages[1] * int64(os.Getpagesize())
}

func TestClose(t *testing.T) {
	r, err := daulet.Parse(vocab(t, "smollm2"))
	require.NoError(t, err)
	done := make(chan error)
	for range 4 {
		go func() {
			var err error
			for err == nil {
				_, err = r.Encode("some text")
			}
			done <- err
		}()
	}
	require.NoError(t, r.Close())
	require.NoError(t, r.Close())
	for range 4 {
		require.ErrorIs(t, <-done, daulet.ErrClosed)
	}
}

package sentencepiece_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/model/tokenizer/sentencepiece"
)

// idList is ids, long ones as [id, count] pairs.
type idList []int32

func (l *idList) UnmarshalJSON(data []byte) error {
	var pairs [][2]int32
	if strings.HasPrefix(string(data), "[[") {
		if err := json.Unmarshal(data, &pairs); err != nil {
			return err
		}
		for _, p := range pairs {
			for range p[1] {
				*l = append(*l, p[0])
			}
		}
		return nil
	}
	var ids []int32
	err := json.Unmarshal(data, &ids)
	*l = ids
	return err
}

type goldenCase struct {
	Text   string             `json:"text"`
	Repeat [2]json.RawMessage `json:"repeat"`

	SigLIP     idList `json:"siglip"`
	SigLIPJSON idList `json:"siglip_json"`
	Bytes      idList `json:"bytes"`
	Gemma      idList `json:"gemma"`
	GemmaJSON  idList `json:"gemma_json"`
}

func goldenCases(t testing.TB) []goldenCase {
	t.Helper()
	data, err := os.ReadFile("testdata/cases.json")
	require.NoError(t, err)
	var cases []goldenCase
	require.NoError(t, json.Unmarshal(data, &cases))
	for i := range cases {
		c := &cases[i]
		if c.Repeat[0] != nil {
			var unit string
			var count int
			require.NoError(t, json.Unmarshal(c.Repeat[0], &unit))
			require.NoError(t, json.Unmarshal(c.Repeat[1], &count))
			c.Text = strings.Repeat(unit, count)
		}
	}
	require.Len(t, cases, 266)
	return cases
}

// load reads a folder of testdata, only the file of that name in it.
func load(t testing.TB, folder, name string) *sentencepiece.Tokenizer {
	t.Helper()
	data, err := fs.ReadFile(os.DirFS("testdata/"+folder), name)
	require.NoError(t, err)
	tok, err := sentencepiece.Load(fstest.MapFS{name: {Data: data}})
	require.NoError(t, err)
	return tok
}

func TestGoldenEncode(t *testing.T) {
	for _, tc := range []struct {
		folder, file string
		want         func(c goldenCase) []int32
		differs      map[string]string // texts where we hold to SentencePiece, and why
	}{
		{"siglip", "spiece.model", func(c goldenCase) []int32 { return c.SigLIP }, nil},
		{"siglip", "tokenizer.json", func(c goldenCase) []int32 { return c.SigLIPJSON }, map[string]string{
			"a\u0301\u0302\u0303": "the tokenizers library looks the table up for whole graphemes, and takes the shortest rule",
		}},
		{"bytes", "spiece.model", func(c goldenCase) []int32 { return c.Bytes }, nil},
		{"gemma", "tokenizer.model", func(c goldenCase) []int32 { return c.Gemma }, nil},
		{"gemma", "tokenizer.json", func(c goldenCase) []int32 {
			if c.GemmaJSON != nil {
				return c.GemmaJSON
			}
			return c.Gemma
		}, nil},
	} {
		t.Run(tc.folder+"/"+tc.file, func(t *testing.T) {
			tok := load(t, tc.folder, tc.file)
			for _, c := range goldenCases(t) {
				got, err := tok.Encode(c.Text)
				require.NoError(t, err)
				if _, ok := tc.differs[c.Text]; ok {
					require.NotEqual(t, []int32(tc.want(c)), got, "no longer an exception: %q", c.Text)
					continue
				}
				if want := tc.want(c); len(want) > 0 || len(got) > 0 {
					require.Equal(t, want, got, "%.80q", c.Text)
				}
			}
		})
	}
}

package weights

import (
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// scan reads text as one value.
func scan(text string) (any, error) {
	s := scanner{text: []byte(text)}
	v, err := s.value()
	if err == nil {
		err = s.end()
	}
	return v, err
}

// jsonCases are texts on both sides of the rules.
var jsonCases = []string{
	``, ` `, `null`, `true`, `false`, `nul`, `truex`, `tru`, `"`, `""`, `"a`, `"\"`, `"\\"`, `"\x"`, `"\u12"`, `"\u12G4"`, `"\u00e9"`,
	"\"\t\"", "\"\x00\"", "\"\x7f\"", `0`, `-0`, `-`, `01`, `-01`, `1.`, `.5`, `1.5`, `1e`, `1e+`, `1e+5`, `1E-5`, `1e5.5`, `+1`, `0x1`,
	`[]`, `[`, `]`, `[1]`, `[1,]`, `[,1]`, `[1 2]`, `[[[]]]`, `{}`, `{`, `}`, `{"a"}`, `{"a":}`, `{"a":1}`, `{"a":1,}`, `{a:1}`, `{1:1}`,
	`{"a":1 "b":2}`, `{"a":{"b":[null,true,{"c":"d"}]}}`, ` [ 1 , 2 ] `, "\v1", `1 1`, "[1]\x00", `{"a":1}}`, `"\ud83d\ude00"`, "\u00a01",
	`"\u0010"`, "\"\\u00\x110\"", `"\/\b\f\n\r\t"`, `[1]]`,
}

func TestJSONAgreesWithTheStandardLibrary(t *testing.T) {
	for _, text := range jsonCases {
		_, err := scan(text)
		require.Equal(t, json.Valid([]byte(text)), err == nil, "%q: %v", text, err)
	}
}

func TestJSONIsStricter(t *testing.T) {
	for _, text := range []string{
		`{"a":1,"a":1}`, `{"a":1,"\u0061":1}`, `[{"x":{"a":1,"b":2,"a":3}}]`,
		`{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"i":1,"j":1,"k":1,"c":1}`, // past the keys that are compared one by one
		`{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"i":1,"j":1,"k":1,"k":1}`,
		`"\ud800"`, `"\udc00"`, `"\ud800\ud800"`, `"\ud800x"`, `"\ud800\n"`,
	} {
		require.True(t, json.Valid([]byte(text)))
		_, err := scan(text)
		require.Error(t, err, text)
	}
}

func TestJSONValues(t *testing.T) {
	v, err := scan(`{"s":"a\u00e9\ud83d\ude00\"\\\/\b\f\n\r\t","n":-1.5e3,"l":[1,[],{}],"t":true,"f":false,"z":null}`)
	require.NoError(t, err)
	require.Equal(t, map[string]any{
		"s": "aé😀\"\\/\b\f\n\r\t", "n": number("-1.5e3"),
		"l": []any{number("1"), []any{}, map[string]any{}}, "t": true, "f": false, "z": nil,
	}, v)
}

func FuzzJSON(f *testing.F) {
	for _, text := range jsonCases {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) {
			t.Skip("the scanner's callers refuse it")
		}
		_, err := scan(text)
		if err == nil && !json.Valid([]byte(text)) {
			t.Fatalf("accepted %q", text)
		}
		s := scanner{text: []byte(text)}
		skipped := s.skip()
		if skipped == nil {
			skipped = s.end()
		}
		require.Equal(t, err, skipped, "skip and value differ")
	})
}

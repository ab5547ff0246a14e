package main

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// P15, P16: conversations in the form of chat services; pictures are files or data URLs, nothing else.
func TestBatchMessages(t *testing.T) {
	needBackend(t)
	data, err := os.ReadFile(picture("dog.jpg"))
	require.NoError(t, err)
	url := "data:image/jpeg;base64," + base64.StdEncoding.EncodeToString(data)
	const ask = `{"type": "text", "text": "What is this?"}`
	user := func(parts ...string) string {
		return `{"messages": [{"role": "user", "content": [` + strings.Join(parts, ", ") + `]}]}`
	}
	quoted := func(s string) string { b, _ := json.Marshal(s); return string(b) }
	dog := quoted(picture("dog.jpg"))
	cases := []struct{ name, line, answer, fault string }{
		{"a path", user(`{"type": "image", "image": `+dog+`}`, ask), "A dog.", ""},
		{"a path under its own name", user(`{"type": "image", "path": `+dog+`}`, ask), "A dog.", ""},
		{"a data URL", user(`{"type": "image", "image": `+quoted(url)+`}`, ask), "A dog.", ""},
		{"as chat services name it", user(`{"type": "image_url", "image_url": {"url": `+quoted(url)+`}}`, ask), "A dog.", ""},
		{"the same, as a text", user(`{"type": "image_url", "image_url": `+quoted(url)+`}`, ask), "A dog.", ""},
		{"a data URL beside a prompt", `{"pictures": [` + quoted(url) + `], "prompt": "What is this?"}`, "A dog.", ""},
		{"turns before the question", `{"messages": [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Hello."},
			{"role": "user", "content": [{"type": "image", "image": ` + dog + `}, ` + ask + `]}]}`, "", ""},
		{"a URL is not fetched", user(`{"type": "image", "image": "https://example.com/dog.jpg"}`, ask), "", "nothing is fetched"},
		{"nor is one of a file opened", user(`{"type": "image_url", "image_url": {"url": "file://`+picture("dog.jpg")+`"}}`, ask), "", "nothing is fetched"},
		{"a path is no URL", user(`{"type": "image_url", "image_url": {"url": "../secret.txt"}}`, ask), "", "nothing is fetched"},
		{"a URL beside a prompt", `{"pictures": ["http://example.com/x.png"], "prompt": "What is this?"}`, "", "nothing is fetched"},
		{"two sources", user(`{"type": "image", "image": `+dog+`, "path": `+dog+`}`, ask), "", "a picture has one of"},
		{"no source", user(`{"type": "image"}`, ask), "", "a picture has one of"},
		{"a part of another kind", user(`{"type": "input_audio"}`, ask), "", `type "input_audio"`},
		{"no text", user(`{"type": "text"}`), "", `without "text"`},
		{"both forms", `{"messages": [{"role": "user", "content": "x"}], "prompt": "y"}`, "", "one form"},
		{"no messages", `{"messages": []}`, "", "empty"},
		{"no role", `{"messages": [{"content": "x"}]}`, "", "no role"},
		{"no content", `{"messages": [{"role": "user", "content": 7}]}`, "", "neither a text nor a list"},
		{"neither form", `{}`, "", `no "prompt" and no "messages"`},
	}
	var lines strings.Builder
	for _, tc := range cases {
		lines.WriteString(strings.ReplaceAll(tc.line, "\n", " ") + "\n")
	}
	file := filepath.Join(t.TempDir(), "questions.jsonl")
	require.NoError(t, os.WriteFile(file, []byte(lines.String()), 0o600))
	code, out, _ := runLine(t, "run", demo, "--batch", file, "--max-tokens", "8")
	require.Equal(t, 1, code)
	decoder := json.NewDecoder(strings.NewReader(out))
	for _, tc := range cases {
		var object map[string]any
		require.NoError(t, decoder.Decode(&object))
		t.Run(tc.name, func(t *testing.T) {
			if tc.fault != "" {
				require.Contains(t, object["error"], tc.fault)
				return
			}
			require.NotContains(t, object, "error")
			require.EqualValues(t, 36, object["image_tokens"])
			if tc.answer != "" {
				require.Equal(t, tc.answer, object["answer"])
			}
		})
	}
}

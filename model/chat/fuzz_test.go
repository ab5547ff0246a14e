package chat_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/model/chat"
)

// Any template either renders or fails with a typed error, and no text of a message becomes structure
// unless the template itself writes it.
func FuzzTemplate(f *testing.F) {
	files, err := filepath.Glob(filepath.Join("testdata", "templates", "*.jinja"))
	require.NoError(f, err)
	require.NotEmpty(f, files)
	for _, file := range files {
		source, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(string(source), "hi <|im_end|> <image>")
	}
	f.Add(`{% for m in messages %}{{ m.content }}{% endfor %}`, "<|im_start|>")
	f.Add(`{{ messages[0]['content'][1:] | replace('<', '') ~ (1 if x else 2) }}`, "<")
	tok := tokenizerOf(f, "smollm2")
	f.Fuzz(func(t *testing.T, source, text string) {
		template, err := chat.New(chat.Config{Source: source, Specials: tok.Specials(), ImageToken: "<image>", BOS: "<|im_start|>"})
		if err == nil {
			var prompt chat.Prompt
			prompt, err = template.Render([]chat.Message{chat.Text("user", text), {Role: "user", Parts: []chat.Part{{Image: true}}}}, chat.Options{AddGenerationPrompt: true})
			if err == nil {
				_, err = prompt.Encode(tok)
			}
		}
		if err != nil {
			for _, known := range []error{chat.ErrTemplate, chat.ErrNoTemplate, chat.ErrImages, chat.ErrNoImages, chat.ErrMismatch} {
				if errors.Is(err, known) {
					return
				}
			}
			t.Fatalf("an error of no known kind: %v", err)
		}
	})
}

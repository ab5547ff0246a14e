package chat_test

import (
	"testing"

	"github.com/llama3v/llama3v/model/chat"
)

func BenchmarkRenderAndEncode(b *testing.B) {
	template, tok := demo(b)
	messages := []chat.Message{{Role: "user", Parts: []chat.Part{{Image: true}, {Text: "What is this?"}}}}
	b.ReportAllocs()
	for b.Loop() {
		prompt, err := template.Render(messages, chat.Options{AddGenerationPrompt: true})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := prompt.Encode(tok); err != nil {
			b.Fatal(err)
		}
	}
}

package tokenizer_test

import (
	"strings"
	"testing"

	"github.com/llama3v/llama3v/model/tokenizer"
)

func BenchmarkEncode(b *testing.B) {
	english := strings.Repeat("The encoder turns an image into patch embeddings, and the projector puts 729 of them beside the text. It isn't slow!\n", 80)
	texts := []struct{ name, text string }{
		{"prose", english},
		{"cjk", strings.Repeat("今天天气很好，我们去北京看看。", 200)},
		{"no_spaces", strings.Repeat("loremipsumdolor", 1<<20/15)},
	}
	for _, kind := range kinds {
		tok := load(b, kind)
		for _, text := range texts {
			b.Run("vocab="+kind+"/text="+text.name, func(b *testing.B) {
				b.SetBytes(int64(len(text.text)))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := tok.Encode(text.text); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkParse(b *testing.B) {
	for _, kind := range kinds {
		data := vocab(b, kind)
		b.Run("vocab="+kind, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if _, err := tokenizer.Parse(data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

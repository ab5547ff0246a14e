package chat_test

import (
	"fmt"
	"log"
	"os"

	"github.com/llama3v/llama3v/model/chat"
	"github.com/llama3v/llama3v/model/tokenizer"
)

func Example() {
	model := os.DirFS("../../testdata/demo")
	template, err := chat.FromFS(model)
	if err != nil {
		log.Fatal(err)
	}
	tok, err := tokenizer.Load(model)
	if err != nil {
		log.Fatal(err)
	}
	prompt, err := template.Render([]chat.Message{
		{Role: "user", Parts: []chat.Part{{Image: true}, {Text: "What is <|image|>?"}}},
	}, chat.Options{AddGenerationPrompt: true})
	if err != nil {
		log.Fatal(err)
	}
	for _, piece := range prompt.Pieces[:6] {
		switch piece.Kind {
		case chat.PieceText:
			fmt.Printf("text    %q\n", piece.Text)
		case chat.PieceSpecial:
			fmt.Printf("special %d %s\n", piece.ID, piece.Text)
		case chat.PieceImage:
			fmt.Printf("picture %d\n", piece.Image)
		}
	}
	ids, err := prompt.Encode(tok)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(ids[5] == chat.ImageSlot)
	// Output:
	// special 1582 <|begin_of_text|>
	// special 1584 <|start_header_id|>
	// text    "user"
	// special 1585 <|end_header_id|>
	// text    "\n\n"
	// picture 0
	// true
}

package tokenizer_test

import (
	"fmt"
	"log"
	"os"

	"github.com/llama3v/llama3v/model/tokenizer"
)

func ExampleLoad() {
	tok, err := tokenizer.Load(os.DirFS("../../testdata/demo"))
	if err != nil {
		log.Fatal(err)
	}
	ids, err := tok.Encode("What is <|eot_id|>?") // special tokens in a text are text
	if err != nil {
		log.Fatal(err)
	}
	text, err := tok.Decode(ids, false)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(ids[:3], text)
	// Output: [330 297 220] What is <|eot_id|>?
}

func ExampleStream() {
	tok, err := tokenizer.Load(os.DirFS("../../testdata/demo"))
	if err != nil {
		log.Fatal(err)
	}
	ids, err := tok.Encode("é?")
	if err != nil {
		log.Fatal(err)
	}
	stream := tokenizer.NewStream(tok)
	for _, id := range ids { // é comes as two tokens of one byte
		fmt.Printf("%d %q\n", id, stream.Push(id))
	}
	fmt.Printf("%q %v\n", stream.Flush(), stream.Err())
	// Output:
	// 127 ""
	// 102 "é"
	// 30 "?"
	// "" <nil>
}

func ExampleStop() {
	stop, err := tokenizer.NewStop("own fox")
	if err != nil {
		log.Fatal(err)
	}
	for _, piece := range []string{"The quick br", "own", " fox", " jumps"} {
		text, stopped := stop.Push(piece)
		fmt.Printf("%q %v\n", text, stopped)
	}
	// Output:
	// "The quick br" false
	// "" false
	// "" true
	// "" true
}

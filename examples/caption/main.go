// Caption describes pictures, one line each.
//
//	go run ./examples/caption testdata/demo testdata/demo/pictures/dog.jpg testdata/demo/pictures/frog.png
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"

	"github.com/llama3v/llama3v"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) < 3 {
		log.Fatal("usage: caption MODEL PICTURE...")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := caption(ctx, os.Args[1], os.Args[2:]); err != nil {
		log.Fatal(err)
	}
}

func caption(ctx context.Context, model string, pictures []string) error {
	m, err := llama3v.Open(ctx, model)
	if err != nil {
		return err
	}
	defer m.Close()
	for _, path := range pictures {
		fmt.Printf("%s: ", path)
		chat := llama3v.Chat{llama3v.User("Describe the picture.", llama3v.File(path))}
		for token, err := range m.Generate(ctx, chat, llama3v.MaxTokens(64)) {
			if err != nil {
				return err
			}
			fmt.Print(token.Text)
		}
		fmt.Println()
	}
	return nil
}

// Backends asks one question on each backend that this machine has, without a rebuild: the choice is
// made when the model is opened.
//
//	go run ./examples/backends testdata/demo testdata/demo/pictures/dog.jpg
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"

	"github.com/llama3v/llama3v"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 3 {
		log.Fatal("usage: backends MODEL PICTURE")
	}
	for _, name := range []string{"cuda", "metal", "cpu"} {
		err := ask(context.Background(), name, os.Args[1], os.Args[2])
		switch {
		case errors.Is(err, llama3v.ErrNoBackend): // a named backend never falls back to another
			fmt.Printf("%-6s not on this machine\n", name)
		case err != nil:
			log.Fatal(err)
		}
	}
}

func ask(ctx context.Context, backend, model, picture string) error {
	m, err := llama3v.Open(ctx, model, llama3v.WithBackend(backend))
	if err != nil {
		return err
	}
	defer m.Close()
	answer, err := m.Ask(ctx, "What is this?", llama3v.File(picture))
	if err != nil {
		return err
	}
	fmt.Printf("%-6s %s (%s; %.0f tokens/s)\n", backend, answer, answer.Backend, answer.Timings.DecodeRate())
	return nil
}

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/llama3v/llama3v/model/chat"
	"github.com/llama3v/llama3v/model/tokenizer"
	"github.com/llama3v/llama3v/model/tokenizer/sentencepiece"
	"github.com/llama3v/llama3v/model/vlm"
	"github.com/llama3v/llama3v/model/weights"
)

func newTokenize() *cobra.Command {
	var asChat, asJSON bool
	cmd := &cobra.Command{
		Use:   "tokenize MODEL TEXT",
		Short: "Show the ids of a text, or of a whole chat prompt",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usage("tokenize wants a model folder or a GGUF file, and a text")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			t, readTemplate, err := readText(args[0])
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			var ids []int32
			if asChat {
				template, err := readTemplate()
				if err != nil {
					return fmt.Errorf("%s: %w", args[0], err)
				}
				prompt, err := template.Render([]chat.Message{{Role: "user", Parts: []chat.Part{{Text: args[1]}}}},
					chat.Options{AddGenerationPrompt: true})
				if err != nil {
					return err
				}
				ids, err = prompt.Encode(t)
				if err != nil {
					return err
				}
			} else if ids, err = t.Encode(args[1]); err != nil {
				return err
			}
			pieces := make([]string, len(ids))
			for i, id := range ids {
				if pieces[i], err = t.Decode([]int32{id}, false); err != nil {
					return err
				}
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]any{"ids": ids, "pieces": pieces})
			}
			for i, id := range ids {
				if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%7d  %q\n", id, pieces[i]); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asChat, "chat", false, "render TEXT as a user's turn with the model's chat template")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

// readText reads the tokenizer of a model folder or a GGUF file; template gives its chat template.
func readText(path string) (t tokenizer.Tokenizer, template func() (*chat.Template, error), err error) {
	if info, err := os.Stat(path); err != nil || info.IsDir() {
		fsys := os.DirFS(path)
		t, err := loadTokenizer(fsys)
		return t, func() (*chat.Template, error) {
			c, err := vlm.ReadConfig(fsys)
			if err != nil { // a tokenizer alone, or of a model that is not for this version: its own template
				return chat.FromFS(fsys)
			}
			return vlm.ReadTemplate(fsys, c)
		}, err
	}
	g, err := weights.OpenGGUF(os.DirFS(filepath.Dir(path)), filepath.Base(path))
	if err != nil {
		return nil, nil, err
	}
	defer g.Close() // what follows reads metadata, which stays
	c, _, err := vlm.ReadGGUF(g)
	if err != nil {
		return nil, nil, err
	}
	bpe, err := vlm.ReadGGUFTokenizer(g, c)
	if err != nil {
		return nil, nil, err
	}
	return bpe, func() (*chat.Template, error) { return vlm.ReadGGUFTemplate(g, c, bpe) }, nil
}

// loadTokenizer reads a folder's tokenizer, a decoder's or a text tower's.
func loadTokenizer(fsys fs.FS) (tokenizer.Tokenizer, error) {
	t, err := tokenizer.Load(fsys)
	if err == nil {
		return t, nil
	}
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, tokenizer.ErrUnsupported) {
		return nil, err
	}
	s, other := sentencepiece.Load(fsys)
	switch {
	case other == nil:
		return s, nil
	case errors.Is(other, fs.ErrNotExist), errors.Is(other, tokenizer.ErrUnsupported):
		return nil, err
	}
	return nil, other
}

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/llama3v/llama3v/model/chat"
	"github.com/llama3v/llama3v/model/tokenizer"
	"github.com/llama3v/llama3v/model/tokenizer/sentencepiece"
)

func newTokenize() *cobra.Command {
	var asChat, asJSON bool
	cmd := &cobra.Command{
		Use:   "tokenize MODEL TEXT",
		Short: "Show the ids of a text, or of a whole chat prompt",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usage("tokenize wants a model folder and a text")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			fsys := os.DirFS(args[0])
			t, err := loadTokenizer(fsys)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			var ids []int32
			if asChat {
				template, err := chat.FromFS(fsys)
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

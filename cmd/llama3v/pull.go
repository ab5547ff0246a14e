package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/llama3v/llama3v/hub"
)

func newPull() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "pull hf:ORG/NAME[@REVISION][:FILE]",
		Short: "Fetch a model's files into the cache that the Hugging Face tools share",
		Long: `Fetch the files that opening a model needs: configs, tokenizer, weights as safetensors, or one GGUF file.
What is in the cache stays, what was cut off goes on, sizes and digests are checked. HF_ENDPOINT, HF_TOKEN,
HF_HOME, HF_HUB_CACHE and HF_HUB_OFFLINE mean what they mean to the Hugging Face tools. Prints the path to open.`,
		Example: "  llama3v pull hf:HuggingFaceTB/SmolVLM-256M-Instruct",
		Args:    exactly(1, "pull wants one name, hf:ORG/NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !hub.IsRef(args[0]) {
				return usage("%q does not begin with %s", args[0], hub.Prefix)
			}
			path, err := pull(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return printPath(cmd, path, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

// pull fetches a model, and says on a terminal how far it is.
func pull(ctx context.Context, name string) (string, error) {
	ref, err := hub.Parse(name)
	if err != nil {
		return "", usage("%v", err)
	}
	client := hub.FromEnvironment()
	if term.IsTerminal(int(os.Stderr.Fd())) {
		var shown time.Time
		client.Progress = func(p hub.Progress) {
			if p.Done == p.Size || time.Since(shown) > time.Second/4 {
				shown = time.Now()
				fmt.Fprintf(os.Stderr, "\r%s: %.1f of %.1f MB\x1b[K", p.File, float64(p.Done)/1e6, float64(p.Size)/1e6)
			}
		}
		defer fmt.Fprint(os.Stderr, "\r\x1b[K")
	}
	return client.Pull(ctx, ref)
}

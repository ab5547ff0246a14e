package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/llama3v/llama3v"
)

type classifyFlags struct {
	openFlags
	labels    []string
	templates []string
	json      bool
}

func newClassify() *cobra.Command {
	f := &classifyFlags{}
	cmd := &cobra.Command{
		Use:   "classify MODEL PICTURE... --labels A,B,C",
		Short: "Score pictures against labels with a SigLIP model",
		Long: `Score pictures against labels with a SigLIP model.

A line for each picture and label: picture, label and probability, with tabs between them, a picture's most
probable label first. Every label is judged by itself; a picture's probabilities do not add up to 1.`,
		Example: `  llama3v classify hf:google/siglip-base-patch16-224 cat.jpg --labels "2 cats,a dog,a remote control"`,
		Args:    atLeast(2, "classify wants a model folder and pictures"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(f.labels) == 0 {
				return usage("classify wants labels: --labels A,B,C")
			}
			for _, template := range f.templates {
				if strings.Count(template, "%s") != 1 {
					return usage("--template %q: %%s must be in it once, where the label goes", template)
				}
			}
			var opts []llama3v.ClassifyOption
			if len(f.templates) > 0 {
				opts = append(opts, llama3v.Templates(f.templates...))
			}
			return f.run(cmd.Context(), args[0], args[1:], opts, cmd.OutOrStdout())
		},
	}
	f.openFlags.add(cmd)
	flags := cmd.Flags()
	flags.StringSliceVar(&f.labels, "labels", nil, `labels with commas between them; may be repeated; "a, b" in quotes is one`)
	flags.StringArrayVar(&f.templates, "template", nil, fmt.Sprintf("text made of a label, with %%s for it; repeated: the mean of all (default %q)", llama3v.DefaultTemplate))
	flags.BoolVar(&f.json, "json", false, "print one JSON object")
	return cmd
}

func (f *classifyFlags) run(ctx context.Context, model string, paths []string, opts []llama3v.ClassifyOption, out io.Writer) error {
	m, err := f.open(ctx, model)
	if err != nil {
		return err
	}
	defer m.Close()
	done := progress(fmt.Sprintf("classifying %d pictures", len(paths)))
	scores, err := m.Classify(ctx, files(paths), f.labels, opts...)
	done()
	if err != nil {
		return err
	}
	if f.json {
		type picture struct {
			Picture string          `json:"picture"`
			Labels  []llama3v.Label `json:"labels"`
		}
		all := make([]picture, len(paths))
		for i, path := range paths {
			all[i] = picture{path, scores[i]}
		}
		return json.NewEncoder(out).Encode(map[string]any{"pictures": all, "backend": newBackendJSON(m.Backend())})
	}
	for i, path := range paths {
		for _, label := range scores[i] {
			if _, err := fmt.Fprintf(out, "%s\t%s\t%.6f\n", path, label.Text, label.Probability); err != nil {
				return err
			}
		}
	}
	return nil
}

// files are the pictures at paths.
func files(paths []string) []llama3v.Picture {
	pictures := make([]llama3v.Picture, len(paths))
	for i, path := range paths {
		pictures[i] = llama3v.File(path)
	}
	return pictures
}

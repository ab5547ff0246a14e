package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/llama3v/llama3v"
	"github.com/llama3v/llama3v/model/weights"
)

type embedFlags struct {
	openFlags
	out    string
	layer  int
	pooled bool
	json   bool
}

func newEmbed() *cobra.Command {
	f := &embedFlags{}
	cmd := &cobra.Command{
		Use:     "embed MODEL PICTURE... -o FILE",
		Short:   "Write the vision tower's features of pictures to a safetensors file",
		Example: `  llama3v embed testdata/demo cat.jpg dog.png --pooled -o features.safetensors`,
		Args:    atLeast(2, "embed wants a model folder and pictures"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.out == "" {
				return usage("embed wants a file to write: -o FILE")
			}
			if f.pooled && cmd.Flags().Changed("layer") {
				return usage("--layer and --pooled exclude each other")
			}
			want := llama3v.LastHidden()
			if f.pooled {
				want = llama3v.Pooled()
			} else if cmd.Flags().Changed("layer") {
				want = llama3v.Layer(f.layer)
			}
			return f.run(cmd.Context(), args[0], args[1:], want, cmd.OutOrStdout())
		},
	}
	f.openFlags.add(cmd)
	flags := cmd.Flags()
	flags.StringVarP(&f.out, "output", "o", "", "safetensors file to write")
	flags.IntVar(&f.layer, "layer", 0, "hidden state: 0 embeddings, -1 last layer before the post norm (default: last layer behind it)")
	flags.BoolVar(&f.pooled, "pooled", false, "the pooling head's output, one row per picture")
	flags.BoolVar(&f.json, "json", false, "print one JSON object about what was written")
	return cmd
}

func (f *embedFlags) run(ctx context.Context, model string, paths []string, want llama3v.EncodeOption, out io.Writer) error {
	m, err := f.open(ctx, model)
	if err != nil {
		return err
	}
	defer m.Close()
	pictures := make([]llama3v.Picture, len(paths))
	for i, path := range paths {
		pictures[i] = llama3v.File(path)
	}
	done := progress(fmt.Sprintf("encoding %d pictures", len(paths)))
	features, err := m.EncodeImages(ctx, pictures, want)
	done()
	if err != nil {
		return err
	}
	names, err := json.Marshal(paths)
	if err != nil {
		return err
	}
	values := features.Data().([]float32)
	shape := append([]int{}, features.Shape()...)
	tensor := weights.Tensor{Name: "features", DType: weights.F32, Shape: shape, Data: make([]byte, 4*len(values))}
	if err := weights.FromFloat32(tensor.Data, values, tensor.DType); err != nil {
		return err
	}
	if err := weights.WriteFile(f.out, []weights.Tensor{tensor}, map[string]string{"pictures": string(names), "model": model}); err != nil {
		return err
	}
	if f.json {
		return json.NewEncoder(out).Encode(map[string]any{
			"file": f.out, "tensor": "features", "dtype": "F32", "shape": shape, "pictures": paths, "backend": newBackendJSON(m.Backend()),
		})
	}
	_, err = fmt.Fprintf(out, "%s: features %s\n", f.out, strings.ReplaceAll(fmt.Sprint(shape), " ", ", "))
	return err
}

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"gorgonia.org/tensor"

	"github.com/llama3v/llama3v"
	"github.com/llama3v/llama3v/model/weights"
)

type embedFlags struct {
	openFlags
	out    string
	texts  []string
	layer  int
	pooled bool
	json   bool
}

func newEmbed() *cobra.Command {
	f := &embedFlags{}
	cmd := &cobra.Command{
		Use:   "embed MODEL [PICTURE...] [--text TEXT] -o FILE",
		Short: "Write the features of pictures, and of texts, to a safetensors file",
		Long: `Write the vision tower's features of pictures to a safetensors file, as the tensor "features", and SigLIP's
embeddings of texts, as the tensor "texts".`,
		Example: `  llama3v embed testdata/demo cat.jpg dog.png --pooled -o features.safetensors
  llama3v embed hf:google/siglip-base-patch16-224 --text "a cat" --text "a dog" -o texts.safetensors
  llama3v embed hf:google/siglip-base-patch16-224 --text - -o texts.safetensors < lines.txt`,
		Args: atLeast(1, "embed wants a model folder and pictures or texts"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 && len(f.texts) == 0 {
				return usage("embed wants a model folder and pictures or texts")
			}
			if f.out == "" {
				return usage("embed wants a file to write: -o FILE")
			}
			if f.pooled && cmd.Flags().Changed("layer") {
				return usage("--layer and --pooled exclude each other")
			}
			if len(args) == 1 && (f.pooled || cmd.Flags().Changed("layer")) {
				return usage("--layer and --pooled are for pictures")
			}
			want := llama3v.LastHidden()
			if f.pooled {
				want = llama3v.Pooled()
			} else if cmd.Flags().Changed("layer") {
				want = llama3v.Layer(f.layer)
			}
			texts, err := readTexts(f.texts, os.Stdin)
			if err != nil {
				return err
			}
			return f.run(cmd.Context(), args[0], args[1:], texts, want, cmd.OutOrStdout())
		},
	}
	f.openFlags.add(cmd)
	flags := cmd.Flags()
	flags.StringVarP(&f.out, "output", "o", "", "safetensors file to write")
	flags.StringArrayVar(&f.texts, "text", nil, "text to embed; may be repeated; - takes the lines of stdin")
	flags.IntVar(&f.layer, "layer", 0, "hidden state: 0 embeddings, -1 last layer before the post norm (default: last layer behind it)")
	flags.BoolVar(&f.pooled, "pooled", false, "the pooling head's output, one row per picture")
	flags.BoolVar(&f.json, "json", false, "print one JSON object about what was written")
	return cmd
}

// maxLine bounds a line of stdin, in bytes.
const maxLine = 1 << 20

// readTexts puts the lines of stdin in the place of "-", empty ones left out.
func readTexts(list []string, stdin io.Reader) ([]string, error) {
	var texts []string
	for _, text := range list {
		if text != "-" {
			texts = append(texts, text)
			continue
		}
		before, lines := len(texts), bufio.NewScanner(stdin)
		lines.Buffer(nil, maxLine)
		for lines.Scan() {
			if line := strings.TrimSpace(lines.Text()); line != "" {
				texts = append(texts, line)
			}
		}
		if err := lines.Err(); err != nil {
			return nil, fmt.Errorf("stdin, line %d: %w", len(texts)-before+1, err)
		}
		if len(texts) == before {
			return nil, fmt.Errorf("stdin: no lines for --text -")
		}
	}
	return texts, nil
}

func (f *embedFlags) run(ctx context.Context, model string, paths, texts []string, want llama3v.EncodeOption, out io.Writer) error {
	m, err := f.open(ctx, model)
	if err != nil {
		return err
	}
	defer m.Close()
	var tensors []weights.Tensor
	notes := map[string]string{"model": model}
	object := map[string]any{"file": f.out, "dtype": "F32", "backend": newBackendJSON(m.Backend())}
	var line []string
	// add takes what a tower made of list into the file and the reports.
	add := func(name, kind string, list []string, values *tensor.Dense, err error) error {
		if err != nil {
			return err
		}
		t, err := float32Tensor(name, values)
		if err != nil {
			return err
		}
		names, err := json.Marshal(list)
		if err != nil {
			return err
		}
		tensors, notes[kind] = append(tensors, t), string(names)
		object[kind] = list
		line = append(line, fmt.Sprintf("%s %s", name, strings.ReplaceAll(fmt.Sprint(t.Shape), " ", ", ")))
		return nil
	}
	if len(paths) > 0 {
		done := progress(fmt.Sprintf("encoding %d pictures", len(paths)))
		features, err := m.EncodeImages(ctx, files(paths), want)
		done()
		if err := add("features", "pictures", paths, features, err); err != nil {
			return err
		}
		object["tensor"], object["shape"] = "features", tensors[0].Shape
	}
	if len(texts) > 0 {
		done := progress(fmt.Sprintf("encoding %d texts", len(texts)))
		embeddings, err := m.EncodeTexts(ctx, texts)
		done()
		if err := add("texts", "texts", texts, embeddings, err); err != nil {
			return err
		}
		object["text_tensor"], object["text_shape"] = "texts", tensors[len(tensors)-1].Shape
	}
	if err := weights.WriteFile(f.out, tensors, notes); err != nil {
		return err
	}
	if f.json {
		return json.NewEncoder(out).Encode(object)
	}
	_, err = fmt.Fprintf(out, "%s: %s\n", f.out, strings.Join(line, "; "))
	return err
}

// float32Tensor is a tensor as the file has it.
func float32Tensor(name string, values *tensor.Dense) (weights.Tensor, error) {
	data := values.Data().([]float32)
	t := weights.Tensor{Name: name, DType: weights.F32, Shape: append([]int{}, values.Shape()...), Data: make([]byte, 4*len(data))}
	return t, weights.FromFloat32(t.Data, data, t.DType)
}

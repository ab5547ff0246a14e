package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/llama3v/llama3v/model/vlm"
	"github.com/llama3v/llama3v/model/weights"
)

func newQuantize() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "quantize IN OUT --type TYPE",
		Short: "Write a model with its weights in another type",
		Long: `Write a model with its weights in another type: F32, F16, BF16, or a block type: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K,
Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL or IQ4_XS.

IN.gguf becomes OUT.gguf. A folder of a Llama text model (config.json, tokenizer.json, safetensors) becomes OUT.gguf, or,
like any other folder, a new folder OUT with the same JSON files; a .safetensors file becomes a folder or a file. Block
types can be written to .gguf only.

Of block types the embedding table and the output matrix become Q6_K, of Q8_0 files Q8_0. Rows that no superblock of 256
fills take the type with blocks of 32 that is next in size; where none fits, and for tensors that are no matrices or
quantised already, the type stays. F32, F16 and BF16 write blocks out as numbers. Prints each tensor's type, bytes and
error (root mean square, over that of the values).`,
		Example: `  llama3v quantize model-f16.gguf model-q4_k.gguf --type Q4_K
  llama3v quantize ./Llama-3.2-1B-Instruct llama-q8.gguf --type Q8_0
  llama3v quantize ./llava ./llava-bf16 --type BF16`,
		Args: exactly(2, "quantize wants a model and the name of the new one"),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, ok := parseWeightType(name)
			if !ok {
				return usage("--type %q: one of %v", name, slices.Concat(plainTypes, weights.Quantized))
			}
			return quantize(cmd.Context(), cmd.OutOrStdout(), args[0], args[1], t)
		},
	}
	cmd.Flags().StringVar(&name, "type", "", "the type of the linear layers' weights")
	return cmd
}

// plainTypes are those that matrices are written in beside the block types.
var plainTypes = []weights.DType{weights.F32, weights.F16, weights.BF16}

func parseWeightType(name string) (weights.DType, bool) {
	if t, ok := weights.ParseDType(strings.ToUpper(name)); ok && slices.Contains(plainTypes, t) {
		return t, true
	}
	return weights.ParseBlockType(name)
}

// quantize writes the model from to the file or folder to.
func quantize(ctx context.Context, out io.Writer, from, to string, t weights.DType) error {
	isGGUF := func(path string) bool { return strings.HasSuffix(path, ".gguf") }
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	switch {
	case !info.IsDir() && isGGUF(from):
		if !isGGUF(to) {
			return usage("%s: a GGUF file becomes another, name it .gguf", to)
		}
		return quantizeGGUF(ctx, out, from, to, t)
	case !info.IsDir() && !strings.HasSuffix(from, ".safetensors"):
		return usage("%s: neither a folder nor a .gguf or .safetensors file", from)
	case !isGGUF(to) && t.Quantized():
		return usage("%s: safetensors files have no type %s: write a .gguf file", to, t)
	case !isGGUF(to):
		return convertSafetensors(ctx, out, from, to, t)
	case !info.IsDir():
		return usage("%s: a GGUF file needs the config and the tokenizer too: give the folder", from)
	}
	return folderToGGUF(ctx, out, from, to, t)
}

// fileTypes are the numbers that general.file_type has for files of mostly one type (llama.cpp's
// llama_ftype; of K types the plain "S" mix).
var fileTypes = map[weights.DType]uint32{
	weights.F32: 0, weights.F16: 1, weights.Q4_0: 2, weights.Q4_1: 3, weights.Q8_0: 7, weights.Q5_0: 8, weights.Q5_1: 9,
	weights.Q2_K: 10, weights.Q3_K: 11, weights.Q4_K: 14, weights.Q5_K: 16, weights.Q6_K: 18, weights.IQ4_NL: 25,
	weights.IQ4_XS: 30, weights.BF16: 32,
}

// typeKeys say what type a file's tensors mostly are.
func typeKeys(t weights.DType) []weights.Key {
	var keys []weights.Key
	if number, ok := fileTypes[t]; ok {
		keys = append(keys, weights.Key{Name: "general.file_type", Value: number})
	}
	return append(keys, weights.Key{Name: "general.quantization_version", Value: uint32(2)})
}

func quantizeGGUF(ctx context.Context, out io.Writer, from, to string, t weights.DType) (err error) {
	g, err := weights.OpenGGUF(os.DirFS(filepath.Dir(from)), filepath.Base(from))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	var keys []weights.Key
	for _, k := range g.Metadata().List() {
		// The new file is whole, and what its most frequent type was no longer holds.
		if !strings.HasPrefix(k.Name, "split.") && k.Name != "general.file_type" && k.Name != "general.quantization_version" {
			keys = append(keys, k)
		}
	}
	c := conversion{ctx: ctx, out: out, cp: g}
	for _, name := range g.Names() {
		info, err := g.Tensor(name)
		if err != nil {
			return err
		}
		if err := c.add(info, targetType(info, t)); err != nil {
			return err
		}
	}
	if err := weights.WriteGGUFFile(to, append(keys, typeKeys(t)...), c.tensors); err != nil {
		return err
	}
	return c.summary()
}

// folderToGGUF makes a GGUF file of a text model's folder. What is no matrix becomes F32, which is
// what llama.cpp's operations on norms take.
func folderToGGUF(ctx context.Context, out io.Writer, from, to string, t weights.DType) (err error) {
	m, err := vlm.NewGGUFModel(os.DirFS(from))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Checkpoint.Close()) }()
	c := conversion{ctx: ctx, out: out, cp: m.Checkpoint}
	for _, name := range m.Names {
		info, err := m.Checkpoint.Tensor(name)
		if err != nil {
			return err
		}
		target := targetType(info, t)
		if len(info.Shape) == 1 {
			target = weights.F32
		}
		if err := c.add(info, target); err != nil {
			return err
		}
	}
	if m.Factors != nil {
		data := make([]byte, 4*len(m.Factors))
		if err := weights.FromFloat32(data, m.Factors, weights.F32); err != nil {
			return err
		}
		c.tensors = append(c.tensors, weights.GGUFTensor{Name: vlm.FactorsName, DType: weights.F32, Shape: []int{len(m.Factors)},
			Data: func(w io.Writer) error { _, err := w.Write(data); return err }})
	}
	if err := weights.WriteGGUFFile(to, append(m.Keys, typeKeys(t)...), c.tensors); err != nil {
		return err
	}
	return c.summary()
}

// conversion gathers the tensors of a new file. Each is read and converted while the file is written.
type conversion struct {
	ctx           context.Context
	out           io.Writer
	cp            weights.Checkpoint
	tensors       []weights.GGUFTensor
	before, after int64
}

func (c *conversion) add(info weights.Info, target weights.DType) error {
	size, ok := target.Bytes(info.Shape...)
	if !ok {
		return fmt.Errorf("%w: tensor %q: %s %v", weights.ErrShape, info.Name, target, info.Shape)
	}
	c.before, c.after = c.before+info.Bytes, c.after+size
	c.tensors = append(c.tensors, weights.GGUFTensor{Name: info.Name, DType: target, Shape: info.Shape, Data: func(w io.Writer) error {
		relative, err := convertTensor(c.ctx, w, c.cp, info, target)
		if err == nil {
			_, err = fmt.Fprintf(c.out, "%-6s -> %-6s %12d bytes  error %.5f  %s\n", info.DType, target, size, relative, info.Name)
		}
		return err
	}})
	return nil
}

func (c *conversion) summary() error {
	_, err := fmt.Fprintf(c.out, "%d bytes of tensors became %d\n", c.before, c.after)
	return err
}

// targetType is the type that a tensor gets where t is wanted.
func targetType(info weights.Info, t weights.DType) weights.DType {
	plain := slices.Contains(weights.Floats, info.DType)
	if !strings.HasSuffix(info.Name, ".weight") || strings.Contains(info.Name, "norm") || len(info.Shape) < 2 {
		return info.DType
	}
	if !t.Quantized() {
		if plain || info.DType.Quantized() {
			return t
		}
		return info.DType
	}
	if !plain || len(info.Shape) != 2 {
		return info.DType
	}
	if info.Name == "token_embd.weight" || info.Name == "output.weight" {
		if t != weights.Q8_0 {
			t = weights.Q6_K
		}
	}
	if t = t.Fallback(info.Shape[1]); !t.Quantized() {
		return info.DType
	}
	return t
}

// convertTensor writes a tensor in another type, in blocks of rows.
func convertTensor(ctx context.Context, w io.Writer, cp weights.Checkpoint, info weights.Info, target weights.DType) (relative float64, err error) {
	rows, err := cp.Rows(info.Name)
	if err != nil {
		return 0, err
	}
	block := make([]byte, rows.BlockBytes(weights.DefaultBlock))
	var faults, norm float64
	for done := 0; ; {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		n, err := rows.Next(block)
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return 0, err
		}
		data := block[:n*rows.RowBytes()]
		if target != info.DType {
			values := make([]float32, n*info.Cols())
			if err := weights.ToFloat32(values, data, info.DType); err != nil {
				return 0, err
			}
			elements, size := target.Block()
			data = make([]byte, len(values)/elements*size)
			again := make([]float32, len(values))
			if err := recode(data, again, values, info.Cols(), target); err != nil {
				var fault *weights.ValueError
				if errors.As(err, &fault) {
					fault.Tensor, fault.Row = info.Name, fault.Row+done
				}
				return 0, err
			}
			for i, v := range values {
				if d := float64(v) - float64(again[i]); !math.IsNaN(d) { // of what is not finite and stays so
					faults, norm = faults+d*d, norm+float64(v)*float64(v)
				}
			}
		}
		if _, err := w.Write(data); err != nil {
			return 0, err
		}
		done += n
	}
	return math.Sqrt(faults / max(norm, math.SmallestNonzeroFloat64)), nil
}

// recode stores values in another type, and again what they are there. A finite value that the type
// would make infinite is a *weights.ValueError.
func recode(data []byte, again, values []float32, cols int, target weights.DType) error {
	if err := weights.QuantizeRows(data, values, cols, target); err != nil {
		return err
	}
	if err := weights.ToFloat32(again, data, target); err != nil {
		return err
	}
	for i, v := range values {
		if math.IsInf(float64(again[i]), 0) && !math.IsInf(float64(v), 0) {
			return &weights.ValueError{Row: i / cols, Col: i % cols, Value: v, DType: target}
		}
	}
	return nil
}

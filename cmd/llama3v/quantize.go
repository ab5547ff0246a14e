package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/llama3v/llama3v/model/weights"
)

func newQuantize() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "quantize IN.gguf OUT.gguf --type TYPE",
		Short: "Turn the float weights of a GGUF model into a block type",
		Long: `Turn the float weights of a GGUF model into a block type: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K,
Q6_K, IQ4_NL or IQ4_XS. The embedding table and the output matrix become Q6_K, of Q8_0 files Q8_0. Rows that no
superblock of 256 fills take the type with blocks of 32 that is next in size; where none fits, and for tensors of one
dimension or quantised already, the type stays. Prints each tensor's type, bytes and error (root mean square, over that
of the values).`,
		Example: "  llama3v quantize model-f16.gguf model-q4_k.gguf --type Q4_K",
		Args:    exactly(2, "quantize wants a GGUF file and the name of the new one"),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, ok := weights.ParseBlockType(name)
			if !ok {
				return usage("--type %q: one of %v", name, weights.Quantized)
			}
			if !strings.HasSuffix(args[0], ".gguf") || !strings.HasSuffix(args[1], ".gguf") {
				return usage("quantize reads and writes .gguf files")
			}
			return quantizeGGUF(cmd.Context(), cmd.OutOrStdout(), args[0], args[1], t)
		},
	}
	cmd.Flags().StringVar(&name, "type", "", "the block type of the linear layers")
	return cmd
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
	keys = append(keys, weights.Key{Name: "general.quantization_version", Value: uint32(2)})

	var tensors []weights.GGUFTensor
	var before, after int64
	for _, name := range g.Names() {
		info, err := g.Tensor(name)
		if err != nil {
			return err
		}
		target := targetType(info, t)
		size, ok := target.Bytes(info.Shape...)
		if !ok {
			return fmt.Errorf("%w: tensor %q: %s %v", weights.ErrShape, name, target, info.Shape)
		}
		before, after = before+info.Bytes, after+size
		tensors = append(tensors, weights.GGUFTensor{Name: name, DType: target, Shape: info.Shape, Data: func(w io.Writer) error {
			relative, err := convertTensor(ctx, w, g, info, target)
			if err == nil {
				_, err = fmt.Fprintf(out, "%-6s -> %-6s %12d bytes  error %.5f  %s\n", info.DType, target, size, relative, name)
			}
			return err
		}})
	}
	if err := weights.WriteGGUFFile(to, keys, tensors); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%d bytes of tensors became %d\n", before, after)
	return err
}

// targetType is the type that a tensor gets where t is wanted.
func targetType(info weights.Info, t weights.DType) weights.DType {
	plain := info.DType == weights.F32 || info.DType == weights.F16 || info.DType == weights.BF16
	if len(info.Shape) != 2 || !plain || !strings.HasSuffix(info.Name, ".weight") || strings.Contains(info.Name, "norm") {
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
			if err := weights.QuantizeRows(data, values, info.Cols(), target); err != nil {
				var fault *weights.ValueError
				if errors.As(err, &fault) {
					fault.Tensor, fault.Row = info.Name, fault.Row+done
				}
				return 0, err
			}
			again := make([]float32, len(values))
			if err := weights.ToFloat32(again, data, target); err != nil {
				return 0, err
			}
			for i, v := range values {
				d := float64(v) - float64(again[i])
				faults, norm = faults+d*d, norm+float64(v)*float64(v)
			}
		}
		if _, err := w.Write(data); err != nil {
			return 0, err
		}
		done += n
	}
	return math.Sqrt(faults / max(norm, math.SmallestNonzeroFloat64)), nil
}

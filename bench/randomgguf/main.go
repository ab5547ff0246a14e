// Command randomgguf writes a GGUF file with the shape of Llama 3 8B and random weights, for measuring
// other software at a size that is at hand nowhere else: speed does not depend on the values.
//
//	go run ./bench/randomgguf -type q4_0 -layers 4 out.gguf
package main

import (
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"

	"github.com/llama3v/llama3v/model/weights"
)

// The shape (arXiv:2407.21783, table 3).
const vocab, dim, hidden, heads, kvHeads, headDim = 128256, 4096, 14336, 32, 8, 128

func main() {
	name := flag.String("type", "q4_0", "type of the weights")
	layers := flag.Int("layers", 4, "layers, of 32")
	flag.Parse()
	if err := write(flag.Arg(0), *name, *layers); err != nil {
		fmt.Fprintln(os.Stderr, "randomgguf:", err)
		os.Exit(1)
	}
}

func write(path, name string, layers int) error {
	types := map[string]weights.DType{"f32": weights.F32, "f16": weights.F16, "bf16": weights.BF16}
	dtype, ok := types[name]
	if !ok {
		if dtype, ok = weights.ParseBlockType(name); !ok {
			return fmt.Errorf("no type %q", name)
		}
	}
	if path == "" || layers < 1 {
		return fmt.Errorf("wants a file to write and at least one layer")
	}
	keys := []weights.Key{
		{Name: "general.architecture", Value: "llama"},
		{Name: "llama.block_count", Value: uint32(layers)},
		{Name: "llama.context_length", Value: uint32(8192)},
		{Name: "llama.embedding_length", Value: uint32(dim)},
		{Name: "llama.feed_forward_length", Value: uint32(hidden)},
		{Name: "llama.attention.head_count", Value: uint32(heads)},
		{Name: "llama.attention.head_count_kv", Value: uint32(kvHeads)},
		{Name: "llama.attention.layer_norm_rms_epsilon", Value: float32(1e-5)},
		{Name: "llama.rope.freq_base", Value: float32(500000)},
		{Name: "llama.rope.dimension_count", Value: uint32(headDim)},
		{Name: "llama.vocab_size", Value: uint32(vocab)},
		{Name: "tokenizer.ggml.model", Value: "no_vocab"},
	}
	var tensors []weights.GGUFTensor
	add := func(name string, t weights.DType, shape ...int) {
		tensors = append(tensors, weights.GGUFTensor{Name: name, DType: t, Shape: shape, Data: func(w io.Writer) error { return random(w, t, shape) }})
	}
	add("token_embd.weight", dtype, vocab, dim)
	for i := range layers {
		block := fmt.Sprintf("blk.%d.", i)
		add(block+"attn_norm.weight", weights.F32, dim)
		add(block+"attn_q.weight", dtype, heads*headDim, dim)
		add(block+"attn_k.weight", dtype, kvHeads*headDim, dim)
		add(block+"attn_v.weight", dtype, kvHeads*headDim, dim)
		add(block+"attn_output.weight", dtype, dim, heads*headDim)
		add(block+"ffn_norm.weight", weights.F32, dim)
		add(block+"ffn_gate.weight", dtype, hidden, dim)
		add(block+"ffn_up.weight", dtype, hidden, dim)
		add(block+"ffn_down.weight", dtype, dim, hidden)
	}
	add("output_norm.weight", weights.F32, dim)
	add("output.weight", dtype, vocab, dim)
	return weights.WriteGGUFFile(path, keys, tensors)
}

// random writes rows of a plain size, the same 64 again and again.
func random(w io.Writer, t weights.DType, shape []int) error {
	rows, cols := 1, shape[len(shape)-1]
	if len(shape) > 1 {
		rows = shape[0]
	}
	const most = 64
	n := min(rows, most)
	source := rand.New(rand.NewPCG(1, uint64(cols)))
	values := make([]float32, n*cols)
	for i := range values {
		values[i] = (source.Float32() - 0.5) / 16
	}
	size, ok := t.Bytes(n, cols)
	if !ok {
		return fmt.Errorf("rows of %d do not fit %s", cols, strings.ToLower(t.String()))
	}
	block := make([]byte, size)
	if err := weights.FromFloat32(block, values, t); err != nil {
		return err
	}
	for at := 0; at < rows; at += n {
		part := block[:len(block)/n*min(n, rows-at)]
		if _, err := w.Write(part); err != nil {
			return err
		}
	}
	return nil
}

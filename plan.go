package llama3v

import (
	"fmt"

	"github.com/llama3v/llama3v/model/llama"
	"github.com/llama3v/llama3v/model/load"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/siglip"
	"github.com/llama3v/llama3v/model/vlm"
)

// Plan is the bytes that a model takes on the device, known before a weight is read.
type Plan struct {
	Weights int64 `json:"weights"` // packed
	Cache   int64 `json:"cache"`   // keys and values of all positions
	Vision  int64 `json:"vision"`  // pixels and intermediate results of tower and projector
	Text    int64 `json:"text"`    // intermediate results of a text tower
	Decoder int64 `json:"decoder"` // intermediate results of prefill and decode
	Kernels int64 `json:"kernels"` // the ops' own scratch memory, an upper bound
}

// Total is the sum.
func (p Plan) Total() int64 { return p.Weights + p.Cache + p.Vision + p.Text + p.Decoder + p.Kernels }

func (p Plan) String() string {
	return fmt.Sprintf("weights %d, cache %d, vision %d, text %d, decoder %d, kernels %d", p.Weights, p.Cache, p.Vision, p.Text, p.Decoder, p.Kernels)
}

func newPlan(c *vlm.Config, m *vlm.Model, loader *load.Loader, z llama.Sizes, pictures int, k kernels) (Plan, error) {
	var p Plan
	var err error
	kept := k.kept
	if p.Weights, err = loader.Bytes(); err != nil {
		return p, err
	}
	if c.Vision != nil {
		p.Vision = c.EyeBytes(pictures, m.Tower.Head != nil, kept)
	}
	if m.Words != nil {
		p.Text = siglip.TextEncoderBytes(*c.Words, textsAtOnce(*c.Words), kept)
	}
	if c.Text != nil {
		p.Cache = llama.CacheBytes(*c.Text, z.Positions, kept)
		p.Decoder = llama.RunnerBytes(*c.Text, z, kept) - p.Cache
	}
	p.Kernels = k.bytes(c, z, pictures)
	return p, nil
}

// kernels is what their scratch memory depends on besides the model.
type kernels struct {
	backend       string
	cores         int // processors or multiprocessors
	compute, kept ops.DType
}

// bytes bounds the scratch memory that the backend's ops take for themselves.
func (k kernels) bytes(c *vlm.Config, z llama.Sizes, pictures int) int64 {
	if k.backend == "cuda" {
		return k.cudaBytes(c, z, pictures)
	}
	bytes := int64(k.cores) * cpuKernelBytes
	if c.Vision != nil { // patches cut out of a picture, tile or slice, one after another
		bytes += int64(c.Vision.ViewPatches()) * int64(c.Vision.Channels*c.Vision.Patch*c.Vision.Patch) * 4
	}
	return bytes
}

// cpuKernelBytes bounds the scratch memory of one thread of the CPU backend: packed blocks of activations
// and widened weights, and tiles of attention, whose sizes are fixed.
const cpuKernelBytes = 2 << 20

// Of the CUDA backend (csrc/cuda: device.cpp, tiles.h, paged_attention.cu).
const (
	cudaFaultBytes = 64 << 10  // the window of fault words and those of the graphs
	cudaTile       = 128 * 256 // of a product, the largest
	cudaWaves      = 4         // of tiles over the card, up to which a product is split
	cudaSplits     = 16        // at most
	cudaChunk      = 128       // positions of a part of a split row, the fewest
	cudaSplitRows  = 8         // at most, of a sequence that is split
)

// cudaBytes is one block that all ops share: the largest product's activations in 16 bits and the sums
// of its splits, or the parts of attention over the longest text.
func (k kernels) cudaBytes(c *vlm.Config, z llama.Sizes, pictures int) int64 {
	var most int64
	product := func(rows, in, out int) {
		if k.compute != ops.F32 {
			sums := min(cudaSplits*int64(rows)*int64(out), cudaWaves*cudaTile*int64(k.cores))
			most = max(most, int64(rows)*int64(in)*2+sums*4)
		}
	}
	if v := c.Vision; v != nil {
		rows := pictures * (v.ViewPatches() + 1)
		product(rows, v.Channels*v.Patch*v.Patch, v.Dim)
		product(rows, v.Dim, max(3*v.Dim, v.Hidden))
		product(rows, v.Hidden, v.Dim)
		if c.Text != nil { // the projector's
			product(rows, max(v.Dim, c.Text.Dim), max(3*v.Dim, c.Text.Dim))
		}
	}
	if t := c.Text; t != nil {
		product(z.PrefillRows, t.Dim, max((t.Heads+2*t.KVHeads)*t.HeadDim, 2*t.Hidden))
		product(z.PrefillRows, t.Hidden, t.Dim)
		product(1, t.Dim, t.Vocab)
		parts := int64(z.Context+cudaChunk-1) / cudaChunk * int64(max(2*k.cores, cudaSplitRows*t.Heads))
		most = max(most, parts*int64(t.HeadDim+2)*8)
	}
	return cudaFaultBytes + most
}

// fits compares the plan with the caller's limit and with what is free on the device.
func (p Plan) fits(limit, free int64) error {
	if limit > 0 && p.Total() > limit {
		return &MemoryError{Plan: p, Available: limit, Limit: true}
	}
	if free > 0 && p.Total() > free {
		return &MemoryError{Plan: p, Available: free}
	}
	return nil
}

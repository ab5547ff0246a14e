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

func newPlan(c *vlm.Config, m *vlm.Model, loader *load.Loader, z llama.Sizes, pictures, threads int, kept ops.DType) (Plan, error) {
	var p Plan
	var err error
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
	p.Kernels = int64(threads) * kernelBytes
	if c.Vision != nil { // patches cut out of a picture, tile or slice, one after another
		p.Kernels += int64(c.Vision.ViewPatches()) * int64(c.Vision.Channels*c.Vision.Patch*c.Vision.Patch) * 4
	}
	return p, nil
}

// kernelBytes bounds the scratch memory of one thread of the CPU backend: packed blocks of activations
// and widened weights, and tiles of attention, whose sizes are fixed.
const kernelBytes = 2 << 20

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

package binding

import (
	"bytes"
	"time"
)

// Capabilities is what a library can do on a device.
type Capabilities struct {
	Name   string // "cpu", "cuda", "metal"
	Device string // processor or card, and the kernel set chosen for it

	Emulated           bool // runs a GPU's kernels on the CPU: for tests, never picked by itself
	Capture            bool // Context.BeginCapture works
	BatchInvariant     bool // a result never depends on what else is in the batch
	BatchInvariantMode bool // or only where ContextOptions.BatchInvariant asks
	BlocksInHalf       bool // compute in F16 and BF16 takes weights of block types

	WeightTypes     TypeSet // of weights
	ActivationTypes TypeSet // of activations
	ComputeTypes    TypeSet // of LinearParams.Compute

	MemoryTotal int64 // bytes on the device
	MemoryFree  int64 // bytes free when asked

	MaxHeadDim    int
	MaxTopK       int
	Cores         int           // processors or multiprocessors
	CancelLatency time.Duration // Context.Cancel takes effect within it on the largest single op
}

// String is what it is and what it runs on: "cpu: AMD EPYC, avx512", "cuda: emulator, 9.0 (emulated)".
func (c Capabilities) String() string {
	text := c.Name + ": " + c.Device
	if c.Emulated {
		text += " (emulated)"
	}
	return text
}

// capabilities mirrors l3v_capabilities.
type capabilities struct {
	structSize      uint32
	flags           uint32
	weightTypes     uint64
	activationTypes uint64
	computeTypes    uint64
	memoryTotal     int64
	memoryFree      int64
	maxHeadDim      int32
	maxTopK         int32
	cores           int32
	cancelLatencyMS int32
	name            [64]byte
	device          [128]byte
}

func (c *capabilities) public() Capabilities {
	return Capabilities{
		Name:               cString(c.name[:]),
		Device:             cString(c.device[:]),
		Emulated:           c.flags&capEmulated != 0,
		Capture:            c.flags&capCapture != 0,
		BatchInvariant:     c.flags&capBatchInvariant != 0,
		BatchInvariantMode: c.flags&capBatchInvariantMode != 0,
		BlocksInHalf:       c.flags&capBlocksInHalf != 0,
		WeightTypes:        TypeSet(c.weightTypes),
		ActivationTypes:    TypeSet(c.activationTypes),
		ComputeTypes:       TypeSet(c.computeTypes),
		MemoryTotal:        c.memoryTotal,
		MemoryFree:         c.memoryFree,
		MaxHeadDim:         int(c.maxHeadDim),
		MaxTopK:            int(c.maxTopK),
		Cores:              int(c.cores),
		CancelLatency:      time.Duration(c.cancelLatencyMS) * time.Millisecond,
	}
}

func cString(b []byte) string {
	text, _, _ := bytes.Cut(b, []byte{0})
	return string(text)
}

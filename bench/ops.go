package bench

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/llama3v/llama3v/model/ops"
)

// The real shapes: SigLIP so400m-384 (729 patches, width 1152, 16 heads of 72, MLP 4304) and
// Llama 3 8B (width 4096, MLP 14336, 32 heads on 8 of 128).
const (
	patches, visionDim, visionHeads, visionHeadDim, visionHidden = 729, 1152, 16, 72, 4304
	textDim, textHidden, textHeads, textKVHeads, textHeadDim     = 4096, 14336, 32, 8, 128
	prompt, vocab, page                                          = 512, 128256, 16
)

// Names are the ops that Ops measures.
func Names() []string {
	var names []string
	for _, g := range groups {
		names = append(names, g.op)
	}
	return names
}

// group makes the measurements of one op. free releases what they hold.
type group struct {
	op   string
	make func(m *maker) []func() (measurement, error)
}

var groups = []group{
	{"linear", linears}, {"embedding", embeddings}, {"patch_embed", patchEmbeds},
	{"attention", attentions}, {"cache_append", appends}, {"paged_attention", pagedAttentions},
	{"layer_norm", layerNorms}, {"rms_norm", rmsNorms}, {"rope", ropes}, {"swiglu", swiglus},
	{"activation", activations}, {"copy_rows", copies}, {"softmax", softmaxes}, {"topk", topks},
	{"advance", advances}, {"check_finite", checks}, {"penalize", penalties}, {"sample", samples},
	{"log_prob", logProbs},
}

// Ops measures the named ops (all without names) at the real shapes. each, which may be nil, hears of
// every row as it is done. Types that the library has no kernel for are left out. An op above 1.02 of its bound fails with ErrBound.
func (m *Meter) Ops(names []string, each func(Row)) ([]Row, error) {
	for _, name := range names {
		if !slices.Contains(Names(), name) {
			return nil, fmt.Errorf("no op %q to measure; there are %s", name, strings.Join(Names(), ", "))
		}
	}
	var rows []Row
	for _, g := range groups {
		if len(names) > 0 && !slices.Contains(names, g.op) {
			continue
		}
		maker := &maker{device: m.device, random: rand.New(rand.NewPCG(1, 2))}
		for _, prepare := range g.make(maker) {
			x, err := prepare()
			if err == nil {
				x.op = g.op
				var row Row
				if row, err = m.measure(x); err == nil {
					rows = append(rows, row)
					if each != nil {
						each(row)
					}
				}
			}
			if errors.Is(err, ops.ErrUnsupported) {
				err = nil
			}
			if freeErr := maker.free(); err == nil {
				err = freeErr
			}
			if err != nil {
				return nil, err
			}
		}
	}
	return rows, nil
}

// maker allocates inputs, and frees them after each measurement.
type maker struct {
	device *ops.Device
	random *rand.Rand
	frees  []func() error
	err    error
}

func (k *maker) free() error {
	for _, f := range k.frees {
		if err := f(); k.err == nil {
			k.err = err
		}
	}
	k.frees = nil
	err := k.err
	k.err = nil
	return err
}

// floats is a matrix of plain values: denormals would be timed instead.
func (k *maker) floats(rows, cols int) *ops.Tensor {
	data := make([]float32, rows*cols)
	for i := range data {
		data[i] = k.random.Float32() - 0.5
	}
	return k.keep(k.device.FromFloat32(data, rows, cols))
}

func (k *maker) ints(values []int32) *ops.Tensor {
	return k.keep(k.device.FromInt32(values, len(values), 1))
}

func (k *maker) keep(t *ops.Tensor, err error) *ops.Tensor {
	if err != nil {
		k.err = err
		return &ops.Tensor{}
	}
	k.frees = append(k.frees, t.Free)
	return t
}

// weight is a matrix of random values of a type.
func (k *maker) weight(t ops.DType, rows, cols int) *ops.Weight {
	w, err := k.device.NewWeight(t, rows, cols)
	if err != nil {
		k.err = err
		return nil
	}
	k.frees = append(k.frees, w.Free)
	// One block of random rows, written again and again: speed does not depend on the values.
	const block = 64
	data := randomRows(k.random, t, min(block, rows), cols)
	for first := 0; first < rows; first += block {
		n := min(block, rows-first)
		if err := w.WriteRows(first, data[:n*t.RowBytes(cols)]); err != nil {
			k.err = err
		}
	}
	return w
}

// randomRows are values in plain range, little-endian. For all three types setting the sign and a
// few mantissa bits at random over a fixed exponent gives values of magnitude 1 to 2. Blocks are bytes
// without the top exponent bit of a scale, wherever it lies: none is infinite or NaN.
func randomRows(r *rand.Rand, t ops.DType, rows, cols int) []byte {
	if t.Quantized() {
		data := make([]byte, rows*t.RowBytes(cols))
		for i := range data {
			data[i] = byte(r.Uint32()) &^ 0x40
		}
		return data
	}
	data := make([]byte, rows*cols*t.Size())
	for i := 0; i < len(data); i += t.Size() {
		bits := r.Uint32()
		switch t {
		case ops.F32:
			bits = bits&0x807fffff | 0x3c000000
			data[i], data[i+1], data[i+2], data[i+3] = byte(bits), byte(bits>>8), byte(bits>>16), byte(bits>>24)
		case ops.BF16:
			bits = bits&0x807f | 0x3c00
			data[i], data[i+1] = byte(bits), byte(bits>>8)
		case ops.F16:
			bits = bits&0x83ff | 0x2000
			data[i], data[i+1] = byte(bits), byte(bits>>8)
		}
	}
	return data
}

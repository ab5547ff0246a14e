package bench

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/llama3v/llama3v/model/llama"
	"github.com/llama3v/llama3v/model/load"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/siglip"
	"github.com/llama3v/llama3v/model/vlm"
	"github.com/llama3v/llama3v/model/weights"
)

// shapes are the real models, by name (their configs' figures).
var shapes = map[string]*vlm.Config{
	"siglip-so400m-384": {Vision: &siglip.Config{Dim: visionDim, Hidden: visionHidden, Layers: 27, Heads: visionHeads, Channels: 3,
		ImageSize: 384, Patch: 14, Eps: 1e-6, Act: ops.GELUTanh}},
	"siglip-base-224": {Vision: &siglip.Config{Dim: 768, Hidden: 3072, Layers: 12, Heads: 12, Channels: 3,
		ImageSize: 224, Patch: 16, Eps: 1e-6, Act: ops.GELUTanh}},
	"llama-3-8b": {Text: &llama.Config{Vocab: vocab, Dim: textDim, Hidden: textHidden, Layers: 32, Heads: textHeads, KVHeads: textKVHeads,
		HeadDim: textHeadDim, NormEps: 1e-5, RopeTheta: 5e5, MaxPositions: 8192}},
	"llama-3.2-1b": {Text: &llama.Config{Vocab: vocab, Dim: 2048, Hidden: 8192, Layers: 16, Heads: 32, KVHeads: 8,
		HeadDim: 64, NormEps: 1e-5, RopeTheta: 5e5, MaxPositions: 8192, Tied: true}},
	"smollm2-135m": {Text: &llama.Config{Vocab: 49152, Dim: 576, Hidden: 1536, Layers: 30, Heads: 9, KVHeads: 3,
		HeadDim: 64, NormEps: 1e-5, RopeTheta: 1e5, MaxPositions: 8192, Tied: true}},
}

// Models are the names that Model knows.
func Models() []string {
	names := slices.AppendSeq(slices.Collect(maps.Keys(shapes)), maps.Keys(eyes))
	slices.Sort(names)
	return names
}

// shape is the config of a name, layers deep where that is above 0, and the name that says so.
func shape(name string, layers int) (*vlm.Config, string, error) {
	known, ok := shapes[name]
	if !ok {
		known, ok = eyes[name]
	}
	if !ok {
		return nil, "", fmt.Errorf("no shape %q to measure; there are %s", name, strings.Join(Models(), ", "))
	}
	c := *known
	if layers > 0 {
		name = fmt.Sprintf("%s, %d layers", name, layers)
		if c.Vision != nil {
			v := *c.Vision
			v.Layers = min(layers, v.Layers)
			c.Vision, c.Features.Layer = &v, min(layers, c.Features.Layer)
		}
		if c.Text != nil {
			v := *c.Text
			v.Layers = min(layers, v.Layers)
			c.Text = &v
		}
	}
	return &c, name, nil
}

// Model measures a real shape with random weights of type t, in activations compute: an encoder's
// seconds per picture, a decoder's prefill of 512 tokens and its tokens per second one at a time.
// layers above 0 makes it that many layers deep, for what does not fit the machine; the row's name
// says so.
func (m *Meter) Model(ctx context.Context, name string, t weights.DType, compute ops.DType, layers int) ([]Row, error) {
	c, name, err := shape(name, layers)
	if err != nil {
		return nil, err
	}
	m.device.Keep(m.device.Capabilities().Keeps(compute))
	loader := load.NewRandom(m.device, t)
	model := vlm.Declare(loader, c)
	weightBytes, err := loader.Bytes()
	if err != nil {
		return nil, err
	}
	if err := loader.Load(ctx); err != nil {
		return nil, err
	}
	dtype := strings.ToLower(t.String()) + "x" + compute.String()
	if c.Projector != nil {
		return m.eye(name, dtype, compute, model)
	}
	if c.Vision != nil {
		return m.encoder(name, dtype, compute, model)
	}
	return m.decoder(ctx, name, dtype, compute, model, weightBytes)
}

func (m *Meter) encoder(name, dtype string, compute ops.DType, model *vlm.Model) ([]Row, error) {
	c := *model.Config.Vision
	e, err := siglip.NewEncoder(m.device, model.Tower, 1, c.ImageSize, c.ImageSize)
	if err != nil {
		return nil, err
	}
	pixels := make([]float32, c.Channels*c.ImageSize*c.ImageSize)
	for i := range pixels {
		pixels[i] = float32(i%255)/127.5 - 1
	}
	row, err := m.measure(measurement{op: name + " encode", dtype: dtype, shape: []int{1, c.Channels, c.ImageSize, c.ImageSize},
		work: encoderWork(c), bound: bound{compute: compute},
		run: func(s *ops.Stream, _ int) { e.Forward(s, pixels, c.LastHidden()) }})
	if err != nil {
		return nil, err
	}
	return []Row{row}, nil
}

// encoderWork is the multiply-adds of a tower on a whole picture, two operations each.
func encoderWork(c siglip.Config) float64 { return towerWork(c, c.Patches(), c.Layers) }

// towerWork is encoderWork of a view of so many patches, as far as a layer.
func towerWork(c siglip.Config, patches, layers int) float64 {
	return operations(func(l *opList) { l.tower(c, 1, patches, siglip.Features{Layer: layers}) })
}

func (m *Meter) decoder(ctx context.Context, name, dtype string, compute ops.DType, model *vlm.Model, weightBytes int64) ([]Row, error) {
	c := *model.Config.Text
	r, err := llama.NewRunner(m.device, model.Decoder, compute, llama.Sizes{Positions: 1024, Context: 1024, PrefillRows: prompt})
	if err != nil {
		return nil, err
	}
	ids := make([]int32, prompt)
	for i := range ids {
		ids[i] = int32(i * 7 % c.Vocab)
	}
	var failed error
	prefill, err := m.measure(measurement{op: name + " prefill", dtype: dtype, shape: []int{prompt}, work: prefillWork(c), bound: bound{compute: compute},
		run: func(s *ops.Stream, _ int) {
			sequence, err := r.Cache.Reserve(ctx, prompt)
			if err == nil {
				_, err = r.Prefill(s, sequence, ids, nil, true)
				sequence.Close()
			}
			s.Fail(err)
		}})
	if err != nil {
		return nil, err
	}

	// Every weight is read once a token but the embedding table, of which one row is.
	read := weightBytes
	if !c.Tied {
		table, err := m.device.WeightBytes(model.Decoder.Embed.DType(), c.Vocab, c.Dim)
		if err != nil {
			return nil, err
		}
		read -= table
	}
	sequence, err := r.Cache.Reserve(ctx, 1024)
	if err != nil {
		return nil, err
	}
	defer sequence.Close()
	decode, err := m.measure(measurement{op: name + " decode", dtype: dtype, shape: []int{1}, work: float64(read), bound: bound{bytes: read},
		run: func(s *ops.Stream, i int) {
			if sequence.Length+1 >= 1024 {
				sequence.Length = 0
			}
			if _, err := r.Decode(sequence, int32(i%c.Vocab)); err != nil {
				failed = err
			}
		}})
	if err == nil {
		err = failed
	}
	if err != nil {
		return nil, err
	}
	return []Row{prefill, decode}, nil
}

// prefillWork is the multiply-adds of a prompt, two operations each; only the last row meets the
// output layer.
func prefillWork(c llama.Config) float64 {
	return operations(func(l *opList) { l.decode(c, prompt, 0) })
}

// PerSecond is how many of the row's units of work (pictures, tokens) a second brings.
func (r Row) PerSecond() float64 {
	n := 1.0
	if len(r.Shape) == 1 {
		n = float64(r.Shape[0])
	}
	return n / r.Seconds
}

// DefaultRepeat is how long each op is measured.
const DefaultRepeat = 400 * time.Millisecond

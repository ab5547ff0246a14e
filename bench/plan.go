package bench

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/llama3v/llama3v/model/llama"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/vlm"
	"github.com/llama3v/llama3v/model/weights"
)

// Card is a device on paper: what a step's ops are bound by.
type Card struct {
	Name            string
	Multiprocessors int64
	Clock           float64 // Hz, at which the peaks hold
	Memory          float64 // bytes a second
	Cache           int64   // bytes of L2
	Shared          int64   // bytes that a block may ask for
	Tensor          float64 // operations a second in bfloat16, not sparse
	Float32         float64 // operations a second outside the tensor cores

	tiles tileSet
}

// cards, from NVIDIA's white papers and data sheets of both, and the CUDA programming guide's table of
// compute capabilities for shared memory. The H100's clock is the one that its peak follows from: 4096
// operations a cycle and multiprocessor.
var cards = map[string]Card{
	"h100": {"H100 SXM", 132, 1.83e9, 3.35e12, 50 << 20, 227 << 10, 989.4e12, 66.9e12, sm90},
	"a100": {"A100 SXM 80 GB", 108, 1.41e9, 2.039e12, 40 << 20, 163 << 10, 312e12, 19.5e12, sm80},
}

// expsPerCycle is a multiprocessor's rate of exponentials (CUDA programming guide, throughput of
// arithmetic instructions, 8.0 and 9.0).
const expsPerCycle = 16

// Cards are the names that NewPlan knows.
func Cards() []string { return slices.Sorted(maps.Keys(cards)) }

// Launch is the seconds from the end of a kernel to the first work of the next in a graph: assumed, not
// measured.
func (c Card) Launch() float64 { return nextKernelCycles / c.Clock }

// near is the bytes a second that all multiprocessors draw from L2.
func (c Card) near() float64 { return cacheBytes * float64(c.Multiprocessors) * c.Clock }

func (c Card) String() string {
	return fmt.Sprintf("%s: %d multiprocessors at %.2f GHz, memory %.2f TB/s, L2 %d MiB at %.1f TB/s, %.0f TFLOP/s in bf16, %.1f in f32, %.2f µs a launch",
		c.Name, c.Multiprocessors, c.Clock/1e9, c.Memory/1e12, c.Cache>>20, c.near()/1e12, c.Tensor/1e12, c.Float32/1e12, c.Launch()*1e6)
}

// PlanRow is an op with its time on a card, once, without its launch.
type PlanRow struct {
	Op
	Bound float64 `json:"bound_s"` // no kernel is faster
	Limit string  `json:"limit"`   // what Bound is by
	Tiled float64 `json:"tiled_s"` // in the tiles that the backend takes
	Tile  string  `json:"tile,omitempty"`
	Waves float64 `json:"waves,omitempty"` // blocks of tiles over multiprocessors
	Used  float64 `json:"used,omitempty"`  // share of the multiply-adds in the waves that are of the product
}

// Step is what one run of a captured graph does.
type Step struct {
	Model   string    `json:"model"`
	Name    string    `json:"step"`
	Weights string    `json:"weights"`
	Compute string    `json:"compute"`
	Kept    string    `json:"kept"`
	Rows    []PlanRow `json:"ops,omitempty"`

	Launches int     `json:"launches"`
	Bound    float64 `json:"bound_s"` // the rows' sum, each launch with it
	Tiled    float64 `json:"tiled_s"`
	Unit     string  `json:"unit"` // what a step brings Count of
	Count    int     `json:"count"`
	Goal     *Goal   `json:"goal,omitempty"`
}

// Goal is what a step is to reach, in units a second, or in seconds where Seconds.
type Goal struct {
	Least   float64 `json:"least"`
	Aim     float64 `json:"aim"`
	Seconds bool    `json:"seconds"`
}

// Share is seconds over the time that a step which brings count has at a value of the goal.
func (g Goal) Share(value float64, count int, seconds float64) float64 {
	if g.Seconds {
		return seconds / value
	}
	return value * seconds / float64(count)
}

// The goals on an H100, by model, step and weights.
var goals = map[[3]string]Goal{
	{"siglip-so400m-384", "encode 32", "bf16"}: {Least: 600, Aim: 750},
	{"llama-3-8b", "decode", "bf16"}:           {Least: 165, Aim: 185},
	{"llama-3-8b", "decode", "q4_0"}:           {Least: 400, Aim: 540},
	{"llava-siglip-eye", firstToken, "bf16"}:   {Least: 0.060, Aim: 0.035, Seconds: true},
}

const (
	firstToken = "first token"
	question   = 32  // tokens of text beside a picture
	behind     = 512 // positions in the cache of a decode step
)

// NewPlan lists the steps of a model (see Models) on a card, products taken in compute (F32 or BF16) and
// what lies between them kept in kept: a tower with 1 and 32 pictures; a decoder with one token behind
// 512, and a prompt of 512; a tower with its projector, one picture and the prompt it stands in, up to
// the first token of the decoder that the projector is made for.
func NewPlan(card, name string, w weights.DType, compute, kept ops.DType, layers int) (Card, []Step, error) {
	c, ok := cards[card]
	if !ok {
		return c, nil, fmt.Errorf("no card %q to plan for; there are %s", card, strings.Join(Cards(), ", "))
	}
	config, title, err := shape(name, layers)
	if err != nil {
		return c, nil, err
	}
	p := plan{card: c, compute: compute, kept: kept, weights: w, model: title}
	switch v := config.Vision; {
	case config.Projector != nil:
		patches := v.ViewPatches()
		features := config.FeatureTokens()
		p.step("encode 1", "images", 1, func(l *opList) { l.tower(*v, 1, patches, config.Features) })
		p.step("project", "images", 1, func(l *opList) { l.project(config, features) })
		rows := config.Projector.Tokens(features) + question
		decoder, text := decoderOf(config)
		if text != nil {
			p.step(fmt.Sprintf("prefill %d of %s", rows, decoder), "tokens", rows, func(l *opList) { l.decode(*text, rows, 0) })
			p.sum(firstToken, "tokens", 1)
		}
	case v != nil:
		for _, n := range []int{1, 32} {
			p.step(fmt.Sprintf("encode %d", n), "images", n, func(l *opList) { l.tower(*v, n, v.Patches(), v.LastHidden()) })
		}
	default:
		p.step("decode", "tokens", 1, func(l *opList) { l.decode(*config.Text, 1, behind) })
		p.step(fmt.Sprintf("prefill %d", prompt), "tokens", prompt, func(l *opList) { l.decode(*config.Text, prompt, 0) })
	}
	if layers == 0 && card == "h100" && compute == ops.BF16 {
		for i := range p.steps {
			s := &p.steps[i]
			if g, ok := goals[[3]string{name, s.Name, s.Weights}]; ok {
				s.Goal = &g
			}
		}
	}
	return c, p.steps, p.err
}

// decoderOf is the decoder as wide as what an eye projects to.
func decoderOf(eye *vlm.Config) (string, *llama.Config) {
	for _, name := range slices.Sorted(maps.Keys(shapes)) {
		if text := shapes[name].Text; text != nil && text.Dim == eye.Text.Dim {
			return name, text
		}
	}
	return "", nil
}

// plan collects steps.
type plan struct {
	card          Card
	compute, kept ops.DType
	weights       weights.DType
	model         string
	steps         []Step
	err           error
}

func (p *plan) new(name, unit string, count int) Step {
	return Step{Model: p.model, Name: name, Weights: strings.ToLower(p.weights.String()), Compute: p.compute.String(), Kept: p.kept.String(),
		Unit: unit, Count: count}
}

// step adds the ops that f lists.
func (p *plan) step(name, unit string, count int, f func(l *opList)) {
	l := &opList{weight: p.weights, kept: int64(p.kept.Size())}
	f(l)
	if l.err != nil && p.err == nil {
		p.err = l.err
	}
	s := p.new(name, unit, count)
	for _, o := range l.ops {
		r := p.card.row(o, p.compute)
		s.Rows = append(s.Rows, r)
		s.Launches += r.Times
		s.Bound += float64(r.Times) * (r.Bound + p.card.Launch())
		s.Tiled += float64(r.Times) * (r.Tiled + p.card.Launch())
	}
	p.steps = append(p.steps, s)
}

// sum adds a step that is all before it.
func (p *plan) sum(name, unit string, count int) {
	s := p.new(name, unit, count)
	for _, part := range p.steps {
		s.Launches += part.Launches
		s.Bound += part.Bound
		s.Tiled += part.Tiled
	}
	p.steps = append(p.steps, s)
}

// row gives an op its time. What was written by the op before is read from L2 where all of it fits
// there, else from memory.
func (c Card) row(o Op, compute ops.DType) PlanRow {
	peak := c.Float32
	if compute == ops.BF16 {
		peak = c.Tensor
	}
	far, near := float64(o.Far), float64(o.Near)
	if o.Near > c.Cache {
		far, near = far+near, 0
	}
	r := PlanRow{Op: o, Limit: "memory", Bound: far / c.Memory}
	limit := func(seconds float64, name string) {
		if seconds > r.Bound {
			r.Bound, r.Limit = seconds, name
		}
	}
	exps := o.Exps / (expsPerCycle * float64(c.Multiprocessors) * c.Clock)
	limit(near/c.near(), "L2")
	limit(o.Operations/peak, "products")
	limit(exps, "exponentials")

	r.Tiled = r.Bound
	switch {
	case o.Partial > 0:
		r.Tiled += c.Launch() + 2*float64(c.Multiprocessors*o.Partial)/c.near() // a block each, written and read
	case compute == ops.BF16 && o.M > rowsWithoutTiles:
		t := c.tiles.choose(c.Multiprocessors, o.M, o.N, o.K, false, elementBytes)
		blocks := t.count(o.M, o.N)
		steps := ceil(ceil(o.K, t.depth), t.splits)
		r.Tile = fmt.Sprintf("%dx%dx%d/%d", t.rows, t.cols, t.depth, t.splits)
		r.Waves = float64(blocks) / float64(c.Multiprocessors)
		r.Used = float64(o.M) * float64(o.N) * float64(o.K) /
			(float64(ceil(blocks, c.Multiprocessors)*c.Multiprocessors) * float64(t.rows*t.cols*t.depth*steps))
		cycles := t.cycles(c.tiles.products, c.Multiprocessors, o.M, o.N, o.K, elementBytes)
		r.Tiled = max(r.Bound, float64(cycles)/c.Clock)
	case o.Operations > 0 && compute == ops.BF16 && o.M == 0:
		r.Used = o.Operations / o.Padded
		r.Tiled = max(r.Bound, o.Padded/peak)
	}
	return r
}

// IsDecoder says whether a name of Models is a decoder's.
func IsDecoder(name string) bool { return shapes[name] != nil && shapes[name].Text != nil }

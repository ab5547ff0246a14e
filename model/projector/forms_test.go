package projector

import (
	"context"
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/internal/golden"
	"github.com/llama3v/llama3v/internal/testdevice"
	"github.com/llama3v/llama3v/model/load"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/siglip"
	"github.com/llama3v/llama3v/model/weights"
)

var (
	_ Config    = SA2Config{}
	_ Config    = MLPConfig{}
	_ Config    = ShuffleConfig{}
	_ Config    = ResamplerConfig{}
	_ Projector = (*MLP)(nil)
	_ Projector = (*Shuffle)(nil)
	_ Projector = (*Resampler)(nil)
)

// loaded loads a block from a model in memory.
func loaded(t *testing.T, dev *ops.Device, m *golden.Model, c Config, visionDim, textDim int) Projector {
	t.Helper()
	cp, err := weights.Open(m.FS(t))
	require.NoError(t, err)
	defer cp.Close()
	l := load.New(dev, cp)
	p := c.Load(l, visionDim, textDim)
	unknown, err := l.Check()
	require.NoError(t, err)
	require.Empty(t, unknown)
	require.NoError(t, l.Load(context.Background()))
	return p
}

// run projects features of views.
func run(t *testing.T, dev *ops.Device, p Projector, features []float32, visionDim int, grids ...siglip.Grid) []float32 {
	t.Helper()
	x, err := dev.FromFloat32(features, len(features)/visionDim, visionDim)
	require.NoError(t, err)
	s := dev.Stream()
	got, err := p.Forward(s, x, grids).ReadFloat32()
	require.NoError(t, err)
	require.NoError(t, s.Err())
	return got
}

// times is x Wᵀ + b in float64.
func times(x []float64, w, b []float32, in int) []float64 {
	var out []float64
	for at := 0; at < len(x); at += in {
		for o := range len(w) / in {
			sum := 0.0
			if b != nil {
				sum = float64(b[o])
			}
			for i := range in {
				sum += float64(w[o*in+i]) * x[at+i]
			}
			out = append(out, sum)
		}
	}
	return out
}

func wide(x []float32) []float64 {
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = float64(v)
	}
	return out
}

func narrow(x []float64) []float32 {
	out := make([]float32, len(x))
	for i, v := range x {
		out[i] = float32(v)
	}
	return out
}

// P19: LLaVA's projector of each depth, with the exact GELU between layers and none behind the last.
func TestMLPEqualsThePlainReference(t *testing.T) {
	const visionDim, textDim = 5, 7
	for _, tc := range []struct {
		name   string
		layers int
		bias   bool
		prefix func(i int) string
	}{
		{"linear", 1, true, func(int) string { return "linear_1" }},
		{"two layers under LLaVA's numbers", 2, true, func(i int) string { return fmt.Sprint(2 * i) }},
		{"two layers without biases", 2, false, func(i int) string { return fmt.Sprintf("linear_%d", i+1) }},
		{"three layers", 3, true, func(i int) string { return fmt.Sprint(2 * i) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
				m := golden.NewModel(t, `{}`)
				x := golden.Uniform(1, 4*visionDim, 0, 4)
				want, in := wide(x), visionDim
				for i := range tc.layers {
					name := tc.prefix(i)
					m.Random(t, 0, 2, name+".weight", textDim, in)
					var bias []float32
					if tc.bias {
						m.Random(t, 0, 2, name+".bias", textDim)
						bias = m.Values(t, name+".bias")
					}
					if i > 0 {
						for j, v := range want {
							want[j] = 0.5 * v * (1 + math.Erf(v/math.Sqrt2))
						}
					}
					want, in = times(want, m.Values(t, name+".weight"), bias, in), textDim
				}
				c := MLPConfig{Layers: tc.layers, Act: ops.GELUErf, NoBias: !tc.bias}
				p := loaded(t, dev, m, c, visionDim, textDim)
				before, err := dev.Counters()
				require.NoError(t, err)
				require.NoError(t, p.Prepare(dev, 2, 2))
				after, err := dev.Counters()
				require.NoError(t, err)
				require.Equal(t, c.WorkspaceBytes(2, 2, visionDim, textDim, ops.F32), after.Bytes-before.Bytes)
				got := run(t, dev, p, x, visionDim, siglip.Grid{Rows: 1, Cols: 2}, siglip.Grid{Rows: 1, Cols: 2})
				require.LessOrEqual(t, golden.NMSE(got, narrow(want)), 1e-12)
			})
		})
	}
}

// The order of Idefics3's pixel shuffle: row by row outside, row by row within a square.
func TestShuffleOrder(t *testing.T) {
	require.Equal(t, []int32{0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15}, ShuffleConfig{Scale: 2, Grid: 4}.order(1))
	require.Equal(t, []int32{0, 1, 2, 3, 4, 5, 6, 7}, ShuffleConfig{Scale: 1, Grid: 2}.order(2))
	for view, at := range (ShuffleConfig{Scale: 3, Grid: 6}).order(4) {
		require.Equal(t, view/36, int(at)/36, "views stay apart")
	}
}

func TestShuffleEqualsThePlainReference(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		const visionDim, textDim, grid, scale = 3, 5, 6, 2
		c := ShuffleConfig{Scale: scale, Grid: grid}
		m := golden.NewModel(t, `{}`).Random(t, 0, 1, "modality_projection.proj.weight", textDim, scale*scale*visionDim)
		p := loaded(t, dev, m, c, visionDim, textDim)
		before, err := dev.Counters()
		require.NoError(t, err)
		require.NoError(t, p.Prepare(dev, 2, grid*grid))
		after, err := dev.Counters()
		require.NoError(t, err)
		require.Equal(t, c.WorkspaceBytes(2, grid*grid, visionDim, textDim, ops.F32), after.Bytes-before.Bytes)
		require.Equal(t, 9, c.Tokens(grid*grid))

		x := golden.Uniform(1, 2*grid*grid*visionDim, 0, 2)
		var squares []float64
		for view := range 2 {
			for r := range grid / scale {
				for col := range grid / scale {
					for dh := range scale {
						for dw := range scale {
							patch := (view*grid+r*scale+dh)*grid + col*scale + dw
							squares = append(squares, wide(x[patch*visionDim:][:visionDim])...)
						}
					}
				}
			}
		}
		want := times(squares, m.Values(t, "modality_projection.proj.weight"), nil, scale*scale*visionDim)
		full := siglip.Grid{Rows: grid, Cols: grid}
		require.LessOrEqual(t, golden.NMSE(run(t, dev, p, x, visionDim, full, full), narrow(want)), 1e-12)
		half := len(x) / 2
		require.Equal(t, run(t, dev, p, x[half:], visionDim, full), run(t, dev, p, x, visionDim, full, full)[9*textDim:])
	})
}

// A resampler whose attention sees one patch: what comes out is that patch's value, whatever the
// query and the positions, so that each step can be checked by itself.
func TestResamplerOfOnePatch(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		const visionDim, dim, queries = 3, 8, 2
		m := golden.NewModel(t, `{}`)
		for name, shape := range map[string][]int{"query": {queries, dim}, "kv_proj.weight": {dim, visionDim}, "attn.in_proj_weight": {3 * dim, dim},
			"attn.in_proj_bias": {3 * dim}, "attn.out_proj.weight": {dim, dim}, "attn.out_proj.bias": {dim}, "proj": {dim, dim}} {
			m.Random(t, 0, 2, name, shape...)
		}
		for _, name := range []string{"ln_q", "ln_kv", "ln_post"} {
			m.Random(t, 1, 1, name+".weight", dim).Random(t, 0, 1, name+".bias", dim)
		}
		m.Random(t, 0, 1, "pos_embed", 4, dim) // some checkpoints carry the sines
		c := ResamplerConfig{Queries: queries, HeadDim: 4, Eps: 1e-6}
		p := loaded(t, dev, m, c, visionDim, dim)
		before, err := dev.Counters()
		require.NoError(t, err)
		require.NoError(t, p.Prepare(dev, 3, 6))
		after, err := dev.Counters()
		require.NoError(t, err)
		require.Equal(t, c.WorkspaceBytes(3, 6, visionDim, dim, ops.F32), after.Bytes-before.Bytes)

		norm := func(x []float64, name string) []float64 {
			w, b := m.Values(t, name+".weight"), m.Values(t, name+".bias")
			mean, variance := 0.0, 0.0
			for _, v := range x {
				mean += v / dim
			}
			for _, v := range x {
				variance += (v - mean) * (v - mean) / dim
			}
			out := make([]float64, dim)
			for i, v := range x {
				out[i] = (v-mean)/math.Sqrt(variance+1e-6)*float64(w[i]) + float64(b[i])
			}
			return out
		}
		x := golden.Uniform(1, visionDim, 0, 4)
		kv := norm(times(wide(x), m.Values(t, "kv_proj.weight"), nil, visionDim), "ln_kv")
		value := times(kv, m.Values(t, "attn.in_proj_weight")[2*dim*dim:], m.Values(t, "attn.in_proj_bias")[2*dim:], dim)
		post := norm(times(value, m.Values(t, "attn.out_proj.weight"), m.Values(t, "attn.out_proj.bias"), dim), "ln_post")
		want := make([]float64, queries*dim)
		for i, v := range post { // from the right: rows of proj are inputs
			for j, w := range m.Values(t, "proj")[i*dim:][:dim] {
				want[j] += v * float64(w)
			}
		}
		copy(want[dim:], want[:dim]) // every query sees the same
		got := run(t, dev, p, x, visionDim, siglip.Grid{Rows: 1, Cols: 1})
		require.LessOrEqual(t, golden.NMSE(got, narrow(want)), 1e-12)

		// Views of several sizes: each alone gives the same bits. Where patches stand counts.
		many := golden.Uniform(2, (6+1+6)*visionDim, 0, 4)
		grids := []siglip.Grid{{Rows: 2, Cols: 3}, {Rows: 1, Cols: 1}, {Rows: 3, Cols: 2}}
		all := run(t, dev, p, many, visionDim, grids...)
		var alone []float32
		at := 0
		for _, g := range grids {
			n := g.Patches() * visionDim
			alone = append(alone, run(t, dev, p, many[at:at+n], visionDim, g)...)
			at += n
		}
		require.Equal(t, alone, all)
		turned := run(t, dev, p, many[:6*visionDim], visionDim, siglip.Grid{Rows: 3, Cols: 2})
		require.NotEqual(t, all[:queries*dim], turned)
		require.Equal(t, queries, c.Tokens(6))

		x2, err := dev.NewTensor(ops.F32, 7*3, visionDim)
		require.NoError(t, err)
		s := dev.Stream()
		p.Forward(s, x2, []siglip.Grid{{Rows: 7, Cols: 3}})
		require.ErrorIs(t, s.Wait(), ops.ErrShape, "more patches than there is room for")
		require.Equal(t, alone, run(t, dev, p, many, visionDim, grids...), "P97")
	})
}

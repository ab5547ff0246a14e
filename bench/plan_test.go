package bench

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/binding"
	"github.com/llama3v/llama3v/internal/testdevice"
	"github.com/llama3v/llama3v/model/llama"
	"github.com/llama3v/llama3v/model/load"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/projector"
	"github.com/llama3v/llama3v/model/siglip"
	"github.com/llama3v/llama3v/model/vlm"
	"github.com/llama3v/llama3v/model/weights"
)

// listed is the ops of a list.
func listed(f func(l *opList)) (n int) {
	l := &opList{weight: weights.F32, kept: f32Bytes}
	f(l)
	for _, o := range l.ops {
		n += o.Times
	}
	return n
}

// A list has as many ops as the library is asked for when the model runs.
func TestListsAreWhatRuns(t *testing.T) {
	if testing.Short() {
		t.Skip("seconds of work")
	}
	for _, name := range Models() {
		if name == "llama-3-8b" || name == "llama-3.2-1b" {
			continue // the same list as smollm2-135m, on gigabytes
		}
		t.Run(name, func(t *testing.T) {
			dev := testdevice.CPU(t, binding.ContextOptions{})
			c, _, err := shape(name, 2)
			require.NoError(t, err)
			if c.Vision != nil { // 16 patches have the same ops as 729
				v := *c.Vision
				v.ImageSize = 4 * v.Patch
				c.Vision = &v
				if s, ok := c.Projector.(*projector.ShuffleConfig); ok {
					c.Projector = &projector.ShuffleConfig{Scale: s.Scale, Grid: 4}
				}
			}
			loader := load.NewRandom(dev, weights.F32)
			model := vlm.Declare(loader, c)
			require.NoError(t, loader.Load(context.Background()))
			ran := func(f func()) int {
				before, err := dev.Counters()
				require.NoError(t, err)
				f()
				after, err := dev.Counters()
				require.NoError(t, err)
				return int(after.Ops - before.Ops)
			}
			if c.Vision == nil {
				r, err := llama.NewRunner(dev, model.Decoder, ops.F32, llama.Sizes{Positions: 64, Context: 64, PrefillRows: 7})
				require.NoError(t, err)
				seq, err := r.Cache.Reserve(context.Background(), 16)
				require.NoError(t, err)
				require.Equal(t, listed(func(l *opList) { l.decode(*c.Text, 7, 0) }), ran(func() {
					_, err := r.Prefill(dev.Stream(), seq, []int32{1, 2, 3, 4, 5, 6, 7}, nil, true)
					require.NoError(t, err)
				}))
				require.Equal(t, listed(func(l *opList) { l.decode(*c.Text, 1, 7) }), ran(func() {
					_, err := r.Decode(seq, 1)
					require.NoError(t, err)
				}))
				return
			}
			side := c.Vision.ImageSize
			features := c.Features
			if c.Projector == nil {
				features = c.Vision.LastHidden()
			}
			for _, views := range []int{1, 3} {
				e, err := siglip.NewViewEncoder(dev, model.Tower, views)
				require.NoError(t, err)
				list := make([]siglip.View, views)
				grids := make([]siglip.Grid, views)
				for i := range list {
					list[i] = siglip.View{Pixels: make([]float32, 3*side*side), Height: side, Width: side}
					grids[i] = c.Vision.ViewGrid(list[i])
				}
				patches := grids[0].Patches()
				s := dev.Stream()
				var x *ops.Tensor
				require.Equal(t, listed(func(l *opList) { l.tower(*c.Vision, views, patches, features) }), ran(func() {
					x = e.ForwardViews(s, list, features)
					require.NoError(t, s.Wait())
				}), "%d views", views)
				if views > 1 || c.Projector == nil {
					continue
				}
				require.NoError(t, model.Projector.Prepare(dev, 1, c.FeatureTokens()))
				require.Equal(t, listed(func(l *opList) { l.project(c, x.Rows()) }), ran(func() {
					model.Projector.Forward(s, x, grids)
					require.NoError(t, s.Wait())
				}), "projector")
			}
		})
	}
}

// Every weight of Llama 3 8B is there once: 8,030,261,248 of them, of the table one row is read.
func TestBytesOfADecodeStep(t *testing.T) {
	text := *shapes["llama-3-8b"].Text
	for w, bits := range map[weights.DType]float64{weights.BF16: 16, weights.Q8_0: 8.5, weights.Q4_0: 4.5} {
		l := &opList{weight: w, kept: 2}
		l.decode(text, 1, 511)
		var products, far, norms int64
		for _, o := range l.ops {
			products += int64(o.Times) * o.N * o.K
			far += int64(o.Times) * o.Far
			if o.Kind == "rms_norm" {
				norms += int64(o.Times) * textDim
			}
		}
		require.NoError(t, l.err)
		require.EqualValues(t, 8_030_261_248, products+norms+vocab*textDim)
		cache := 32 * (512 + 1) * 2 * 1024 * 2.0 // bfloat16, keys and values of 512 positions read, one written
		require.Equal(t, (float64(products)+textDim)*bits/8+float64(norms)*4+cache, float64(far), "%s", w)
	}
	l := &opList{weight: weights.Q8_0, kept: 2}
	l.tower(siglip.SO400M384, 1, patches, siglip.Features{Layer: 1})
	require.ErrorContains(t, l.err, "rows of 588 are no whole blocks")
}

// What the tile rule says of a card is what its data sheet says.
func TestCards(t *testing.T) {
	for name, c := range cards {
		require.InEpsilon(t, c.Tensor, 2*float64(c.tiles.products*c.Multiprocessors)*c.Clock, 0.01, name)
		require.InEpsilon(t, c.Memory, memoryBytes*float64(c.Multiprocessors)*c.Clock, 0.05, name)
		for _, b := range c.tiles.tiles {
			require.LessOrEqual(t, b.stages*(b.rows+b.cols)*b.depth*elementBytes, c.Shared-1024, name)
		}
	}
}

func TestLimits(t *testing.T) {
	c := cards["h100"]
	for _, tc := range []struct {
		name    string
		op      Op
		compute ops.DType
		limit   string
		bound   float64
	}{
		{"weights come from memory", Op{Far: 3.35e9}, ops.BF16, "memory", 1e-3},
		{"what was just written comes from L2", Op{Near: 7.73e6}, ops.BF16, "L2", 1e-6},
		{"what does not fit there comes from memory", Op{Far: 1e9, Near: 2.35e9}, ops.BF16, "memory", 1e-3},
		{"products on the tensor cores", Op{Far: 1, Operations: 989.4e9}, ops.BF16, "products", 1e-3},
		{"and outside", Op{Far: 1, Operations: 66.9e9}, ops.F32, "products", 1e-3},
		{"exponentials", Op{Far: 1, Operations: 1, Exps: 16 * 132 * 1.83e6}, ops.BF16, "exponentials", 1e-3},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := c.row(tc.op, tc.compute)
			require.Equal(t, tc.limit, r.Limit)
			require.InEpsilon(t, tc.bound, r.Bound, 1e-3)
		})
	}
}

func TestPlan(t *testing.T) {
	reached := 0
	for _, name := range Models() {
		for card := range cards {
			for _, w := range []weights.DType{weights.BF16, weights.Q4_0} {
				_, steps, err := NewPlan(card, name, w, ops.BF16, ops.BF16, 0)
				if shapes[name] == nil || shapes[name].Text == nil {
					if w != weights.BF16 {
						continue // some rows are no whole blocks
					}
				}
				require.NoError(t, err, name)
				require.GreaterOrEqual(t, len(steps), 2)
				for _, s := range steps {
					require.Positive(t, s.Bound)
					require.GreaterOrEqual(t, s.Tiled, s.Bound)
					for _, r := range s.Rows {
						require.GreaterOrEqual(t, r.Tiled, r.Bound, "%s %s", s.Name, r.Name)
						require.LessOrEqual(t, r.Used, 1.0)
						require.Equal(t, r.Tile != "", r.M > rowsWithoutTiles)
					}
					if s.Goal != nil {
						reached++
						require.Less(t, s.Goal.Share(s.Goal.Aim, s.Count, s.Bound), 1.0, "%s %s: no kernel can reach the aim", name, s.Name)
						require.Less(t, s.Goal.Share(s.Goal.Least, s.Count, s.Tiled), 1.0, "%s %s: these tiles cannot reach the goal", name, s.Name)
					}
				}
			}
		}
	}
	require.Equal(t, len(goals), reached, "every goal has its step")

	_, f32, err := NewPlan("h100", "siglip-so400m-384", weights.BF16, ops.BF16, ops.F32, 0)
	require.NoError(t, err)
	_, bf16, err := NewPlan("h100", "siglip-so400m-384", weights.BF16, ops.BF16, ops.BF16, 0)
	require.NoError(t, err)
	require.Greater(t, f32[1].Bound, bf16[1].Bound)

	_, _, err = NewPlan("h200", "llama-3-8b", weights.BF16, ops.BF16, ops.BF16, 0)
	require.ErrorContains(t, err, "a100, h100")
	_, _, err = NewPlan("h100", "gpt5", weights.BF16, ops.BF16, ops.BF16, 0)
	require.ErrorContains(t, err, "llama-3-8b")
	_, _, err = NewPlan("h100", "siglip-so400m-384", weights.Q8_0, ops.BF16, ops.BF16, 0)
	require.ErrorContains(t, err, "no whole blocks")
}

// A picture of 729 patches: its narrow products do not fill the card in large tiles, so k is cut or the
// tile made smaller; 32 pictures fill it.
func TestTilesOfOnePicture(t *testing.T) {
	_, steps, err := NewPlan("h100", "siglip-so400m-384", weights.BF16, ops.BF16, ops.BF16, 0)
	require.NoError(t, err)
	tiles := func(s Step) map[string]string {
		list := map[string]string{}
		for _, r := range s.Rows {
			if r.M > 0 {
				list[r.Name] = r.Tile
			}
		}
		return list
	}
	require.Equal(t, map[string]string{"patches": "128x128x64/1", "qkv": "128x256x64/1", "out": "128x128x64/1", "fc1": "128x256x64/1", "fc2": "128x192x64/3"}, tiles(steps[0]))
	require.Equal(t, map[string]string{"patches": "128x128x64/1", "qkv": "128x256x64/1", "out": "128x256x64/1", "fc1": "128x256x64/1", "fc2": "128x256x64/1"}, tiles(steps[1]))
}

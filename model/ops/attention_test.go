package ops_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/binding"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/ops/reference"
)

// scene is the inputs of bidirectional attention.
type scene struct {
	heads, kvHeads, headDim int
	qOffsets, kOffsets      []int32
	q, k, v                 []float32
	mask                    []byte
}

// newScene has sequences of q and k rows, and scores that spread over a few units.
func newScene(heads, kvHeads, headDim int, q, k []int32) *scene {
	c := &scene{heads: heads, kvHeads: kvHeads, headDim: headDim, qOffsets: q, kOffsets: k}
	queries, keys := int(q[len(q)-1]), int(k[len(k)-1])
	c.q = reference.Uniform(1, queries*heads*headDim)
	c.k, c.v = reference.Uniform(2, keys*kvHeads*headDim), reference.Uniform(3, keys*kvHeads*headDim)
	for i := range c.q {
		c.q[i] *= 4
	}
	return c
}

func (c *scene) layout() reference.Heads {
	return reference.Heads{Heads: c.heads, KVHeads: c.kvHeads, HeadDim: c.headDim, Scale: ops.InvSqrt(c.headDim)}
}

func (c *scene) want() []float64 {
	return reference.Attention(c.q, c.k, c.v, c.qOffsets, c.kOffsets, c.mask, c.layout())
}

func (c *scene) queries() int { return len(c.q) / (c.heads * c.headDim) }
func (c *scene) keys() int    { return len(c.k) / (c.kvHeads * c.headDim) }

// params uploads what describes the sequences.
func (c *scene) params(d *device) ops.Attention {
	a := ops.Attention{Heads: c.heads, KVHeads: c.kvHeads, HeadDim: c.headDim, Scale: ops.InvSqrt(c.headDim),
		QOffsets: d.ints(c.qOffsets...), KOffsets: d.ints(c.kOffsets...)}
	if c.mask != nil {
		a.KeyMask = d.mask(c.mask)
	}
	return a
}

// run computes the scene in frames, where a kernel that pads a head by reading on meets NaN.
func (c *scene) run(d *device) []float32 {
	d.t.Helper()
	y := d.framed(make([]float32, len(c.q)), c.queries(), c.heads*c.headDim)
	d.run(func(s *ops.Stream) {
		s.Attention(y.Tensor, d.framed(c.q, c.queries(), c.heads*c.headDim).Tensor, d.framed(c.k, c.keys(), c.kvHeads*c.headDim).Tensor,
			d.framed(c.v, c.keys(), c.kvHeads*c.headDim).Tensor, c.params(d))
	})
	y.intact()
	return d.read(y.Tensor)
}

func TestAttention(t *testing.T) {
	one := func(n int32) []int32 { return []int32{0, n} }
	shapes := []struct {
		name                    string
		heads, kvHeads, headDim int
		q, k                    []int32
		large                   bool
	}{
		{"one element", 1, 1, 1, one(1), one(1), false},
		{"one query over many keys", 2, 2, 72, one(1), one(729), false},
		{"many queries over one key", 2, 2, 72, one(72), one(1), false},
		{"P27: 7 rows", 3, 3, 7, one(7), one(7), false},
		{"P27: 72 rows", 2, 2, 72, one(72), one(72), false},
		{"grouped heads", 6, 2, 24, one(9), one(33), false},
		{"all heads share one", 5, 1, 20, one(9), one(33), false},
		{"ragged on both sides", 2, 2, 18, []int32{0, 3, 4, 20}, []int32{0, 40, 41, 72}, false},
		{"P52: sequences of 5 and 10", 2, 2, 16, []int32{0, 5, 15}, []int32{0, 5, 15}, false},
		{"a sequence without queries", 2, 1, 8, []int32{0, 4, 4, 9}, []int32{0, 9, 20, 21}, false},
		{"a sequence without keys", 2, 1, 8, []int32{0, 4, 6, 9}, []int32{0, 9, 9, 21}, false},
		{"ragged, enough for every worker", 4, 2, 24, []int32{0, 100, 101, 300}, []int32{0, 300, 310, 600}, false},
		{"more keys than any block", 1, 1, 32, one(3), one(4304), false},
		{"siglip patches, 2 heads of 72", 2, 2, 72, one(729), one(729), true},
	}
	each(t, func(t *testing.T, d *device) {
		for _, c := range shapes {
			if c.large && (testing.Short() || d.scalar()) {
				continue
			}
			t.Run(c.name, func(t *testing.T) {
				scene := newScene(c.heads, c.kvHeads, c.headDim, c.q, c.k)
				near(t, scene.want(), scene.run(d.at(t)))
			})
		}
	})
}

// TestAttentionHeadSizes: P24: any head size from 1 to 256 equals the plain reference, scaled by the
// true size. The frames hold NaN next to each head row, so that padding must come from elsewhere.
func TestAttentionHeadSizes(t *testing.T) {
	require.Equal(t, float32(0.11785113), ops.InvSqrt(1152/16))
	each(t, func(t *testing.T, d *device) {
		for _, headDim := range []int{1, 2, 3, 7, 8, 15, 16, 17, 18, 20, 24, 31, 32, 33, 36, 48, 63, 64, 65, 72, 80, 96, 100, 127, 128, 129, 160, 192, 255, 256} {
			t.Run(fmt.Sprint(headDim), func(t *testing.T) {
				c := newScene(2, 2, headDim, []int32{0, 9}, []int32{0, 21})
				got, want := c.run(d.at(t)), c.want()
				near(t, want, got)
				require.LessOrEqual(t, reference.MaxError(got, want), 1e-5)
			})
		}
		require.GreaterOrEqual(t, d.Capabilities().MaxHeadDim, 256)
	})
}

// TestAttentionFused: q, k and v as column ranges of one product, the result over q's columns.
func TestAttentionFused(t *testing.T) {
	const rows, heads, headDim, dim = 17, 2, 18, 36 // the toy of P24
	c := newScene(heads, heads, headDim, []int32{0, 8, rows}, []int32{0, 8, rows})
	var qkv []float32
	for r := range rows {
		qkv = slices.Concat(qkv, rowsOf(c.q, dim, r, 1), rowsOf(c.k, dim, r, 1), rowsOf(c.v, dim, r, 1))
	}
	each(t, func(t *testing.T, d *device) {
		x, y := d.floats(qkv, rows, 3*dim), d.zeros(rows, dim)
		d.run(func(s *ops.Stream) {
			s.Attention(y, x.ColRange(0, dim), x.ColRange(dim, dim), x.ColRange(2*dim, dim), c.params(d))
		})
		near(t, c.want(), d.read(y))
		same(t, qkv, d.read(x), "inputs are only read")
	})
}

// TestAttentionMask: P25: masked keys count for no one, and a padded picture equals the bare one.
func TestAttentionMask(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		t.Run("some keys", func(t *testing.T) {
			c := newScene(2, 1, 20, []int32{0, 5, 12}, []int32{0, 70, 140})
			c.mask = make([]byte, 140)
			for i := range c.mask {
				c.mask[i] = byte(i * i % 3) // 0, 1, 1, ...: any value but zero counts
			}
			near(t, c.want(), c.run(d.at(t)))
		})
		t.Run("NaN behind the mask is not seen", func(t *testing.T) {
			c := newScene(2, 2, 20, []int32{0, 5}, []int32{0, 30})
			c.mask = slices.Repeat([]byte{1}, 30)
			want := func() []float64 {
				c.mask[3], c.mask[29] = 0, 0
				return c.want()
			}()
			for _, key := range []int{3, 29} {
				for i := range 40 {
					c.k[key*40+i], c.v[key*40+i] = float32(math.NaN()), float32(math.Inf(1))
				}
			}
			near(t, want, c.run(d.at(t)))
		})
		t.Run("P53: a query with no key left is zeros", func(t *testing.T) {
			c := newScene(2, 2, 20, []int32{0, 4, 9}, []int32{0, 30, 60})
			c.mask = slices.Concat(make([]byte, 30), slices.Repeat([]byte{255}, 30))
			got := c.run(d.at(t))
			same(t, make([]float32, 4*40), got[:4*40], "masked sequence")
			near(t, c.want(), got)
		})
		t.Run("padding behind a sequence changes nothing", func(t *testing.T) {
			d := d.at(t)
			bare := newScene(2, 2, 20, []int32{0, 7}, []int32{0, 23})
			padded := newScene(2, 2, 20, []int32{0, 7}, []int32{0, 40})
			copy(padded.q, bare.q)
			copy(padded.k, bare.k)
			copy(padded.v, bare.v)
			padded.mask = slices.Concat(slices.Repeat([]byte{1}, 23), make([]byte, 17))
			near(t, reference.Float64(bare.run(d)), padded.run(d))
		})
	})
}

// TestAttentionSeesAll: P25: every patch sees every patch of its picture and none of another.
func TestAttentionSeesAll(t *testing.T) {
	const rows, dim = 40, 36
	each(t, func(t *testing.T, d *device) {
		c := newScene(2, 2, 18, []int32{0, 25, rows}, []int32{0, 25, rows})
		before := c.run(d)
		for i := range dim {
			c.k[24*dim+i] += 1 // the last patch of the first picture
			c.v[24*dim+i] -= 1
		}
		after := c.run(d)
		for r := range 25 {
			require.NotEqual(t, rowsOf(before, dim, r, 1), rowsOf(after, dim, r, 1), "patch %d", r)
		}
		same(t, before[25*dim:], after[25*dim:], "the other picture")
	})
}

// TestAttentionPatchChange: P25, from pixels: a change in the last patch reaches patch 0.
func TestAttentionPatchChange(t *testing.T) {
	const size, patch, dim, in, grid = 12, 4, 36, 3 * 4 * 4, 9
	pixels, w := reference.Uniform(1, 3*size*size), reference.Uniform(2, dim*in)
	each(t, func(t *testing.T, d *device) {
		features := func(pixels []float32) []float32 {
			x, y := d.zeros(grid, dim), d.zeros(grid, dim)
			d.run(func(s *ops.Stream) {
				s.PatchEmbed(x, d.floats(pixels, 3*size, size), ops.PatchEmbed{Linear: ops.Linear{Weight: d.weight(ops.F32, w, dim, in)},
					Images: 1, Channels: 3, Height: size, Width: size, Patch: patch})
				offsets := d.ints(0, grid)
				s.Attention(y, x, x, x, ops.Attention{Heads: 2, KVHeads: 2, HeadDim: 18, Scale: ops.InvSqrt(18), QOffsets: offsets, KOffsets: offsets})
			})
			return d.read(y)
		}
		before := features(pixels)
		changed := slices.Clone(pixels)
		changed[len(changed)-1] += 1 // bottom right, in the last channel
		require.NotEqual(t, before[:dim], features(changed)[:dim])
	})
}

// TestAttentionLargeScores: scores of hundreds do not overflow the exponentials, wherever among the
// keys the largest lies.
func TestAttentionLargeScores(t *testing.T) {
	const keys, dim = 1100, 24 // more keys than one of a kernel's segments
	for name, size := range map[string]func(key int) float32{
		"anywhere":       func(int) float32 { return 300 },
		"rising":         func(key int) float32 { return float32(key) / 2 },
		"falling":        func(key int) float32 { return float32(keys-key) / 2 },
		"far below zero": func(int) float32 { return -300 },
	} {
		c := newScene(1, 1, dim, []int32{0, 9}, []int32{0, keys})
		for i := range c.q {
			c.q[i] = 1 + c.q[i]/100
		}
		for i := range c.k {
			c.k[i] = (1 + c.k[i]/100) * size(i/dim)
		}
		want := c.want()
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, d *device) {
				// Scores up to 2700 carry the rounding of a float32 dot product, 1e-4, into the exponent.
				nmse := reference.NMSE(c.run(d), want)
				require.LessOrEqual(t, nmse, 1e-6)
			})
		})
	}
}

// TestAttentionNotFinite: a NaN in one query stays in its row and head.
func TestAttentionNotFinite(t *testing.T) {
	c := newScene(2, 2, 20, []int32{0, 9}, []int32{0, 30})
	want := c.want()
	c.q[4*40+25] = float32(math.NaN()) // row 4, second head
	each(t, func(t *testing.T, d *device) {
		got := c.run(d)
		for i := range 20 {
			require.True(t, math.IsNaN(float64(got[4*40+20+i])))
			got[4*40+20+i] = float32(want[4*40+20+i])
		}
		near(t, want, got)
	})
}

// TestAttentionLeavesOthers: rows before the first offset and behind the last belong to no sequence.
func TestAttentionLeavesOthers(t *testing.T) {
	const rows, dim = 12, 20
	each(t, func(t *testing.T, d *device) {
		c := newScene(1, 1, dim, []int32{0, rows}, []int32{0, rows})
		c.qOffsets, c.kOffsets = []int32{3, 5, 9}, []int32{2, 6, 11}
		before := reference.Uniform(9, rows*dim)
		y := d.floats(before, rows, dim)
		d.run(func(s *ops.Stream) {
			s.Attention(y, d.floats(c.q, rows, dim), d.floats(c.k, rows, dim), d.floats(c.v, rows, dim), c.params(d))
		})
		got := d.read(y)
		same(t, before[:3*dim], got[:3*dim], "rows before")
		same(t, before[9*dim:], got[9*dim:], "rows behind")
		near(t, c.want()[3*dim:9*dim], got[3*dim:9*dim])
	})
}

// TestAttentionInvariant: a query's bits depend on its own sequence alone: not on the number of
// queries or sequences beside it, and not on the threads.
func TestAttentionInvariant(t *testing.T) {
	// Sizes that fill vectors and that do not, keys of more than one of a kernel's segments, and
	// three query heads to a key head, so that rows of one block belong to different queries.
	for _, headDim := range []int{18, 64, 72} {
		t.Run(fmt.Sprintf("queries of one sequence, heads of %d", headDim), func(t *testing.T) {
			dim := 6 * headDim
			c := newScene(6, 2, headDim, []int32{0, 64}, []int32{0, 1100})
			eachTarget(t, func(t *testing.T, g target) {
				c := *c
				if g.scalar() || testing.Short() {
					c.kOffsets = []int32{0, 150}
				}
				invariant(t, g, func(d *device, first, n int) []float32 {
					part := c
					part.q, part.qOffsets = rowsOf(c.q, dim, first, n), []int32{0, int32(n)}
					return part.run(d)
				})
			})
		})
	}
	t.Run("P52: sequences of 5 and 10 and more", func(t *testing.T) {
		const dim = 40
		lengths := []int32{5, 10, 1, 33, 64, 7}
		offsets := []int32{0}
		for _, n := range lengths {
			offsets = append(offsets, offsets[len(offsets)-1]+n)
		}
		c := newScene(2, 2, 20, offsets, offsets)
		each(t, func(t *testing.T, d *device) {
			all := c.run(d)
			for s, n := range lengths {
				first := int(offsets[s])
				alone := &scene{heads: 2, kvHeads: 2, headDim: 20, qOffsets: []int32{0, n}, kOffsets: []int32{0, n},
					q: rowsOf(c.q, dim, first, int(n)), k: rowsOf(c.k, dim, first, int(n)), v: rowsOf(c.v, dim, first, int(n))}
				same(t, rowsOf(all, dim, first, int(n)), alone.run(d), "sequence of %d alone", n)
			}
		})
	})
}

// TestAttentionOffsets: offsets that fall or leave the view are a fault, and nothing outside is
// touched.
func TestAttentionOffsets(t *testing.T) {
	const rows = 10
	each(t, func(t *testing.T, d *device) {
		for _, c := range []struct {
			name         string
			q, k         []int32
			index, value int64
		}{
			{"q passes the view", []int32{0, 4, 11}, []int32{0, 4, 10}, 1, 11},
			{"k passes the view", []int32{0, 4, 10}, []int32{0, 4, 11}, 1, 11},
			{"q falls", []int32{0, 6, 5}, []int32{0, 6, 10}, 1, 5},
			{"k falls", []int32{0, 6, 7}, []int32{0, 6, 5}, 1, 5},
			{"far away", []int32{0, math.MaxInt32, 10}, []int32{0, 5, 10}, 0, math.MaxInt32},
			{"far below", []int32{0, math.MinInt32, 10}, []int32{0, 5, 10}, 0, math.MinInt32},
		} {
			t.Run(c.name, func(t *testing.T) {
				d := d.at(t)
				x, y, s := d.zeros(rows, 8), d.framed(make([]float32, rows*8), rows, 8), d.Stream()
				s.Attention(y.Tensor, x, x, x, ops.Attention{Heads: 1, KVHeads: 1, HeadDim: 8, Scale: 1, QOffsets: d.ints(c.q...), KOffsets: d.ints(c.k...)})
				fault(t, s, "attention", binding.FaultOffsets, c.index, c.value)
				y.intact()
			})
		}
		t.Run("below zero at the start", func(t *testing.T) {
			d := d.at(t)
			x, y, s := d.zeros(rows, 8), d.zeros(rows, 8), d.Stream()
			s.Attention(y, x, x, x, ops.Attention{Heads: 1, KVHeads: 1, HeadDim: 8, Scale: 1, QOffsets: d.ints(-1, 5), KOffsets: d.ints(0, 5)})
			require.ErrorIs(t, s.Wait(), binding.ErrBadValue)
		})
	})
}

func TestAttentionErrors(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		q, k, v, y, offsets := d.zeros(4, 12), d.zeros(5, 6), d.zeros(5, 6), d.zeros(4, 12), d.ints(0, 4)
		good := ops.Attention{Heads: 4, KVHeads: 2, HeadDim: 3, Scale: 1, QOffsets: offsets, KOffsets: offsets}
		d.run(func(s *ops.Stream) { s.Attention(y, q, k, v, good) })
		with := func(change func(a *ops.Attention)) func(s *ops.Stream) {
			return func(s *ops.Stream) {
				a := good
				change(&a)
				s.Attention(y, q, k, v, a)
			}
		}
		refused(t, d, []refusal{
			{"no q", ops.ErrShape, func(s *ops.Stream) { s.Attention(y, nil, k, v, good) }},
			{"no k", ops.ErrShape, func(s *ops.Stream) { s.Attention(y, q, nil, v, good) }},
			{"no v", ops.ErrShape, func(s *ops.Stream) { s.Attention(y, q, k, nil, good) }},
			{"no out", ops.ErrShape, func(s *ops.Stream) { s.Attention(nil, q, k, v, good) }},
			{"no q offsets", ops.ErrShape, with(func(a *ops.Attention) { a.QOffsets = nil })},
			{"no k offsets", ops.ErrShape, with(func(a *ops.Attention) { a.KOffsets = nil })},
			{"zero heads", ops.ErrShape, with(func(a *ops.Attention) { a.Heads = 0 })},
			{"zero kvHeads", ops.ErrShape, with(func(a *ops.Attention) { a.KVHeads = 0 })},
			{"heads of zero", ops.ErrShape, with(func(a *ops.Attention) { a.HeadDim = 0 })},
			{"heads that kvHeads do not divide", ops.ErrShape, with(func(a *ops.Attention) { a.KVHeads = 3 })},
			{"heads that do not fill q", ops.ErrShape, with(func(a *ops.Attention) { a.Heads = 2 })},
			{"kvHeads that do not fill k", ops.ErrShape, with(func(a *ops.Attention) { a.KVHeads = 4 })},
			{"heads of 2^31", ops.ErrShape, with(func(a *ops.Attention) { a.Heads = 1 << 31 })},
			{"v of another height", ops.ErrShape, func(s *ops.Stream) { s.Attention(y, q, k, v.RowRange(0, 4), good) }},
			{"out of another height", ops.ErrShape, func(s *ops.Stream) { s.Attention(y.RowRange(0, 3), q, k, v, good) }},
			{"offsets of no sequence", ops.ErrShape, with(func(a *ops.Attention) { a.QOffsets, a.KOffsets = offsets.RowRange(0, 1), offsets.RowRange(0, 1) })},
			{"offsets of different counts", ops.ErrShape, with(func(a *ops.Attention) { a.KOffsets = d.ints(0, 1, 2) })},
			{"offsets in float", ops.ErrShape, with(func(a *ops.Attention) { a.QOffsets = d.zeros(2, 1) })},
			{"a mask of another height", ops.ErrShape, with(func(a *ops.Attention) { a.KeyMask = d.tensor(ops.U8, 4, 1) })},
			{"a mask of integers", ops.ErrShape, with(func(a *ops.Attention) { a.KeyMask = d.tensor(ops.I32, 5, 1) })},
			{"zero rows", ops.ErrShape, func(s *ops.Stream) { s.Attention(y.RowRange(0, 0), q.RowRange(0, 0), k, v, good) }},
			{"scale of zero", binding.ErrInvalidArgument, with(func(a *ops.Attention) { a.Scale = 0 })},
			{"scale that is no number", binding.ErrInvalidArgument, with(func(a *ops.Attention) { a.Scale = float32(math.NaN()) })},
			{"out over q", binding.ErrInvalidArgument, func(s *ops.Stream) { s.Attention(q.RowRange(1, 3), q.RowRange(0, 3), k, v, good) }},
			{"out over k", binding.ErrInvalidArgument, func(s *ops.Stream) {
				both := d.zeros(4, 12)
				s.Attention(both, q, both.ColRange(0, 6), both.ColRange(6, 6), good)
			}},
			{"heads past the kernels'", binding.ErrUnsupported, func(s *ops.Stream) {
				n := d.Capabilities().MaxHeadDim + 1
				wide := d.zeros(4, n)
				s.Attention(d.zeros(4, n), wide, wide, wide, ops.Attention{Heads: 1, KVHeads: 1, HeadDim: n, Scale: 1, QOffsets: offsets, KOffsets: offsets})
			}},
		})
	})
}

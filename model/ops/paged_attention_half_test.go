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

// halfText is a text over a cache of bfloat16 at addresses that tensor cores take.
type halfText struct {
	*cache
	h    reference.Heads
	k, v half
	out  map[*sequence][]float32
}

func newHalfText(d *device, pages, pageSize int, h reference.Heads) *halfText {
	c := &cache{d: d, pages: pages, pageSize: pageSize, cols: h.KVHeads * h.HeadDim}
	for i := range pages {
		c.free = append(c.free, int32((i*7+3)%pages)) // 7 and pages share no factor
	}
	nan := slices.Repeat([]float32{framing}, pages*pageSize*c.cols)
	return &halfText{c, h, d.half(ops.BF16, nan, pages*pageSize, c.cols), d.half(ops.BF16, nan, pages*pageSize, c.cols), map[*sequence][]float32{}}
}

func (x *halfText) sequence(seed uint64, positions int) *sequence {
	s := newSequence(seed, positions, x.h.Heads*x.h.HeadDim, x.cols)
	s.q, s.k, s.v = reference.Round(s.q, ops.BF16), reference.Round(s.k, ops.BF16), reference.Round(s.v, ops.BF16)
	x.reserve(s)
	return s
}

// append puts the step's keys and values into the cache, from rows of float32, which bfloat16 has.
func (x *halfText) append(st step) ops.Paged {
	x.d.t.Helper()
	p := x.paged(st)
	k := st.gather(x.cols, func(s *sequence) []float32 { return s.k })
	v := st.gather(x.cols, func(s *sequence) []float32 { return s.v })
	rows := len(k) / x.cols
	x.d.run(func(s *ops.Stream) {
		s.CacheAppend(x.k.Tensor, x.v.Tensor, x.d.half(ops.F32, k, rows, x.cols).Tensor, x.d.half(ops.F32, v, rows, x.cols).Tensor, p)
	})
	x.k.intact()
	x.v.intact()
	return p
}

// step appends and attends. Rows of idle places must come out as zeros.
func (x *halfText) step(sequences []*sequence, take ...int) {
	x.d.t.Helper()
	st := step{sequences, take}
	p := x.append(st)
	cols := x.h.Heads * x.h.HeadDim
	q := st.gather(cols, func(s *sequence) []float32 { return s.q })
	rows := len(q) / cols
	y := x.d.half(ops.BF16, slices.Repeat([]float32{framing}, len(q)), rows, cols)
	x.d.run(func(s *ops.Stream) {
		s.PagedAttention(y.Tensor, x.d.half(ops.BF16, q, rows, cols).Tensor, x.k.Tensor, x.v.Tensor, p,
			ops.PagedHeads{Heads: x.h.Heads, KVHeads: x.h.KVHeads, HeadDim: x.h.HeadDim, Scale: x.h.Scale})
	})
	y.intact()
	got := x.d.read(y.Tensor)
	for i, s := range sequences {
		part := got[:take[i]*cols]
		got = got[take[i]*cols:]
		if s == nil {
			same(x.d.t, make([]float32, len(part)), part, "rows of an idle place")
			continue
		}
		s.done += take[i]
		x.out[s] = append(x.out[s], part...)
	}
}

// fill puts positions that no row is computed of into the cache, all at once.
func (x *halfText) fill(s *sequence, positions int) {
	x.d.t.Helper()
	k, v := slices.Repeat([]float32{framing}, x.pages*x.pageSize*x.cols), slices.Repeat([]float32{framing}, x.pages*x.pageSize*x.cols)
	for ; s.done < positions; s.done++ {
		at := reference.CacheRow(s.pages, x.pageSize, s.done) * x.cols
		copy(k[at:], rowsOf(s.k, x.cols, s.done, 1))
		copy(v[at:], rowsOf(s.v, x.cols, s.done, 1))
	}
	require.NoError(x.d.t, x.k.WriteBytes(0, reference.Encode(k, ops.BF16)))
	require.NoError(x.d.t, x.v.WriteBytes(0, reference.Encode(v, ops.BF16)))
}

// near requires the rows of a sequence that were computed, its last, to be those of the reference.
func (x *halfText) near(s *sequence) {
	x.d.t.Helper()
	cols := x.h.Heads * x.h.HeadDim
	rows := len(x.out[s]) / cols
	nearHalf(x.d.t, reference.Causal(rowsOf(s.q, cols, s.done-rows, rows), s.k, s.v, s.done-rows, x.h), x.out[s])
}

// pagedKernels is how often one call launches each kernel: where rows are many they are a prompt's, and
// where they are few to a sequence its keys are split; a mixture has both.
func pagedKernels(set string, prompt, split bool) map[string]int {
	count := map[bool]int{true: 1}
	want := map[string]int{"paged_attention_kernel": count[set == "plain"], "flash_sm80_kernel": 0, "flash_sm90_kernel": 0,
		"paged_split_kernel": count[set != "plain" && split], "paged_combine_kernel": count[set != "plain" && split]}
	if set != "plain" {
		want["flash_"+set+"_kernel"] = count[prompt]
	}
	return want
}

func TestPagedAttentionHalf(t *testing.T) {
	eachHalf(t, func(t *testing.T, d *device) {
		for _, c := range []struct {
			name                string
			h                   reference.Heads
			pageSize, positions int
		}{
			{"one token", layout(4, 2, 64), 16, 1},
			{"7 positions", layout(2, 1, 64), 16, 7},
			{"72 positions, heads of 72", layout(2, 2, 72), 16, 72},
			{"129 positions, 4 heads share one", layout(4, 1, 64), 16, 129},
			{"heads of 128, as Llama 3", layout(4, 1, 128), 16, 150},
			{"3 heads share one", layout(3, 1, 64), 32, 50},
			{"heads of 80", layout(1, 1, 80), 8, 140},
			{"heads of 96", layout(1, 1, 96), 64, 70},
			{"pages of one position", layout(2, 2, 64), 1, 19},
			{"one page holds all", layout(2, 1, 64), 256, 200},
		} {
			t.Run(c.name, func(t *testing.T) {
				d := d.at(t)
				if d.kernels == "plain" && c.positions > 100 {
					t.Skip("a large shape for a block a row")
				}
				x := newHalfText(d, pagesFor(c.positions, c.pageSize), c.pageSize, c.h)
				s := x.sequence(1, c.positions)
				set, split := d.kernels, c.positions <= 8
				if set == "sm90" && c.pageSize < 8 {
					set = "sm80" // pages smaller than a copy
				}
				d.launches(pagedKernels(set, !split, split), func() { x.step([]*sequence{s}, c.positions) })
				x.near(s)
			})
		}
	})
}

// TestPagedAttentionHalfDecode is few rows over many keys: 1 to 8 of a sequence, of grouped heads that
// fill a tile and that do not.
func TestPagedAttentionHalfDecode(t *testing.T) {
	eachHalf(t, func(t *testing.T, d *device) {
		for _, c := range []struct {
			h               reference.Heads
			positions, rows int
		}{
			{layout(4, 1, 128), 300, 1}, {layout(4, 2, 64), 300, 5}, {layout(3, 1, 72), 260, 8}, {layout(16, 1, 64), 140, 2}, {layout(1, 1, 80), 128, 1},
		} {
			t.Run(fmt.Sprintf("%d of %d", c.rows, c.positions), func(t *testing.T) {
				d := d.at(t)
				x := newHalfText(d, pagesFor(c.positions, 16), 16, c.h)
				s := x.sequence(1, c.positions)
				x.fill(s, c.positions-c.rows)
				d.launches(pagedKernels(d.kernels, false, true), func() { x.step([]*sequence{s}, c.rows) })
				x.near(s)
			})
		}
	})
}

// TestPagedAttentionHalfMixed is prompts, decoding rows and an idle place in one call.
func TestPagedAttentionHalfMixed(t *testing.T) {
	eachHalf(t, func(t *testing.T, d *device) {
		x := newHalfText(d, 64, 16, layout(4, 1, 64))
		a, b, c, e := x.sequence(1, 200), x.sequence(11, 150), x.sequence(21, 60), x.sequence(31, 5)
		x.fill(a, 199)
		x.append(step{[]*sequence{b}, []int{100}})
		b.done = 100
		d.launches(pagedKernels(d.kernels, true, true), func() { x.step([]*sequence{a, b, nil, c, e}, 1, 50, 2, 60, 1) })
		for _, s := range []*sequence{a, b, c, e} {
			x.near(s)
		}
		d.launches(pagedKernels(d.kernels, false, true), func() { x.step([]*sequence{nil, e, nil}, 1, 4, 1) })
		x.near(e)
	})
}

// TestPagedAttentionHalfChunks: a row's result is the same bits however the rows before it were cut
// into steps. The kernels of sm_90 promise it where a context is batch-invariant.
func TestPagedAttentionHalfChunks(t *testing.T) {
	const positions = 300
	cuts := map[string][]int{
		"decoded behind a prompt": append([]int{292}, slices.Repeat([]int{1}, 8)...),
		"in pieces":               {1, 63, 64, 7, 2, 100, 8, 55},
		"one, then all":           {1, 299},
	}
	eachFormTarget(t, func(t *testing.T, g target) {
		if !g.library.Capabilities().ActivationTypes.Has(ops.BF16) {
			t.Skip("the library has no activations of bf16")
		}
		if g.kernels == "plain" {
			t.Skip("the tests of float32 hold it to this")
		}
		for _, h := range []reference.Heads{layout(4, 1, 64), layout(1, 1, 72)} {
			run := func(t *testing.T, pageSize int, cut []int) []float32 {
				x := newHalfText(g.open(t, binding.ContextOptions{BatchInvariant: true}), pagesFor(positions, pageSize), pageSize, h)
				s := x.sequence(1, positions)
				for _, n := range cut {
					x.step([]*sequence{s}, n)
				}
				x.near(s)
				return x.out[s]
			}
			want := run(t, 16, []int{positions})
			for name, cut := range cuts {
				t.Run(fmt.Sprintf("heads of %d, %s", h.HeadDim, name), func(t *testing.T) {
					same(t, want, run(t, 16, cut), "in pieces")
				})
			}
			t.Run(fmt.Sprintf("heads of %d, pages of 4", h.HeadDim), func(t *testing.T) {
				same(t, want, run(t, 4, []int{200, 100}), "in pages of 4")
			})
		}
	})
}

// TestPagedAttentionHalfLong: the same where chunks of keys begin to grow, at 4096 positions.
func TestPagedAttentionHalfLong(t *testing.T) {
	const positions = 4096*2 + 300
	h := layout(1, 1, 64)
	eachFormTarget(t, func(t *testing.T, g target) {
		if !g.library.Capabilities().ActivationTypes.Has(ops.BF16) {
			t.Skip("the library has no activations of bf16")
		}
		if g.kernels == "plain" {
			t.Skip("its chunks are others")
		}
		x := newHalfText(g.open(t, binding.ContextOptions{BatchInvariant: true}), pagesFor(positions, 256), 256, h)
		s := x.sequence(1, positions)
		x.fill(s, positions-9)
		x.d.launches(pagedKernels("sm80", true, false), func() { x.step([]*sequence{s}, 9) })
		x.near(s)
		want := x.out[s]
		s.done, x.out[s] = positions-1, nil
		x.d.launches(pagedKernels("sm80", false, true), func() { x.step([]*sequence{s}, 1) })
		same(t, want[8*64:], x.out[s], "the last row alone")
	})
}

// TestPagedAttentionHalfNotFinite: what is not finite in one sequence is not seen by another, and a NaN
// key is seen by the rows behind it alone.
func TestPagedAttentionHalfNotFinite(t *testing.T) {
	const positions, at = 40, 21
	h := layout(2, 1, 64)
	eachHalf(t, func(t *testing.T, d *device) {
		x := newHalfText(d, 20, 16, h)
		bad, good := x.sequence(1, positions), x.sequence(7, positions)
		want := reference.Causal(bad.q, bad.k, bad.v, 0, h)
		bad.k[at*64+3] = float32(math.NaN())
		x.step([]*sequence{bad, good}, positions, positions)
		nearHalf(t, want[:at*128], x.out[bad][:at*128])
		for _, v := range x.out[bad][at*128:] {
			require.True(t, math.IsNaN(float64(v)))
		}
		x.near(good)
	})
}

func TestPagedAttentionHalfFaults(t *testing.T) {
	eachHalf(t, func(t *testing.T, d *device) {
		heads := ops.PagedHeads{Heads: 4, KVHeads: 2, HeadDim: 64, Scale: 1}
		for _, c := range pagedFaults {
			t.Run(c.name, func(t *testing.T) {
				d := d.at(t)
				q, k, y := d.half(ops.BF16, make([]float32, 5*256), 5, 256), d.half(ops.BF16, make([]float32, 16*128), 16, 128), d.half(ops.BF16, make([]float32, 5*256), 5, 256)
				s := d.Stream()
				s.PagedAttention(y.Tensor, q.Tensor, k.Tensor, k.Tensor, ops.Paged{PageSize: 4, PageTable: d.ints(c.table...).Reshape(2, 2),
					Lengths: d.ints(c.lengths...), QOffsets: d.ints(c.offsets...)}, heads)
				fault(t, s, "paged_attention", c.fault, c.index, c.value)
				y.intact()
			})
		}
		// Every page that a row sees is checked, in a prompt and in decoding, and no answer is left there.
		for _, rows := range []int32{1, 30} {
			for _, page := range []int32{4, -1, math.MaxInt32, math.MinInt32} {
				t.Run(fmt.Sprintf("page %d under %d rows", page, rows), func(t *testing.T) {
					d := d.at(t)
					k := d.half(ops.BF16, make([]float32, 64*128), 64, 128)
					y := d.half(ops.BF16, slices.Repeat([]float32{1}, int(rows)*256), int(rows), 256)
					s := d.Stream()
					s.PagedAttention(y.Tensor, d.half(ops.BF16, make([]float32, int(rows)*256), int(rows), 256).Tensor, k.Tensor, k.Tensor,
						ops.Paged{PageSize: 16, PageTable: d.ints(1, page, 0).Reshape(1, 3), Lengths: d.ints(40), QOffsets: d.ints(0, rows)}, heads)
					fault(t, s, "paged_attention", binding.FaultPage, 0, int64(page))
					same(t, make([]float32, int(rows)*256), d.read(y.Tensor), "no answer")
					y.intact()
				})
			}
		}
	})
}

// TestCacheAppendTypes: rows of either type into caches of either type, at addresses of whole pieces
// of 16 bytes and at others.
func TestCacheAppendTypes(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		if !d.Capabilities().ActivationTypes.Has(ops.BF16) {
			t.Skip("the library has no activations of bf16")
		}
		for _, from := range []ops.DType{ops.F32, ops.BF16} {
			for _, to := range []ops.DType{ops.F32, ops.BF16} {
				for _, cols := range []int{1, 7, 64, 520} {
					t.Run(fmt.Sprintf("%d columns of %s into %s", cols, from, to), func(t *testing.T) {
						d := d.at(t)
						k, v := reference.Uniform(1, 6*cols), reference.Uniform(2, 6*cols)
						nan := slices.Repeat([]float32{framing}, 12*cols)
						kCache, vCache := d.half(to, nan, 12, cols), d.half(to, nan, 12, cols)
						p := ops.Paged{PageSize: 4, PageTable: d.ints(2, 0).Reshape(1, 2), Lengths: d.ints(7), QOffsets: d.ints(0, 6)}
						d.run(func(s *ops.Stream) {
							s.CacheAppend(kCache.Tensor, vCache.Tensor, d.half(from, k, 6, cols).Tensor, d.half(from, v, 6, cols).Tensor, p)
						})
						kCache.intact()
						vCache.intact()
						for i := range 6 {
							row := []int{9, 10, 11, 0, 1, 2}[i] // positions 1 to 6
							for name, pair := range map[string][2][]float32{"keys": {k, d.read(kCache.Tensor)}, "values": {v, d.read(vCache.Tensor)}} {
								want := reference.Round(reference.Round(rowsOf(pair[0], cols, i, 1), from), to)
								same(t, want, rowsOf(pair[1], cols, row, 1), "%s of row %d", name, i)
							}
						}
					})
				}
			}
		}
	})
}

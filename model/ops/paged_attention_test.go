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

// text runs steps of paged attention over a cache, and collects each sequence's rows in order.
type text struct {
	*cache
	h   reference.Heads
	out map[*sequence][]float32
}

func newText(d *device, pages, pageSize int, h reference.Heads) *text {
	return &text{newCache(d, pages, pageSize, h.KVHeads*h.HeadDim), h, map[*sequence][]float32{}}
}

func (x *text) heads() ops.PagedHeads {
	return ops.PagedHeads{Heads: x.h.Heads, KVHeads: x.h.KVHeads, HeadDim: x.h.HeadDim, Scale: x.h.Scale}
}

// step appends and attends, in frames. Rows of idle places must come out as zeros.
func (x *text) step(sequences []*sequence, take ...int) {
	x.d.t.Helper()
	st := step{sequences, take}
	p := x.append(st)
	cols := x.h.Heads * x.h.HeadDim
	q := st.gather(cols, func(s *sequence) []float32 { return s.q })
	rows := len(q) / cols
	y := x.d.framed(slices.Repeat([]float32{framing}, len(q)), rows, cols)
	x.d.run(func(s *ops.Stream) {
		s.PagedAttention(y.Tensor, x.d.framed(q, rows, cols).Tensor, x.k.Tensor, x.v.Tensor, p, x.heads())
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

func (x *text) sequence(seed uint64, positions int) *sequence {
	s := newSequence(seed, positions, x.h.Heads*x.h.HeadDim, x.h.KVHeads*x.h.HeadDim)
	x.reserve(s)
	return s
}

func layout(heads, kvHeads, headDim int) reference.Heads {
	return reference.Heads{Heads: heads, KVHeads: kvHeads, HeadDim: headDim, Scale: ops.InvSqrt(headDim)}
}

// pagesFor is a cache of more pages than one text needs, and no multiple of 7 (newCache).
func pagesFor(positions, pageSize int) int {
	pages := 2*((positions+pageSize-1)/pageSize) + 1
	if pages%7 == 0 {
		pages++
	}
	return pages
}

func TestPagedAttention(t *testing.T) {
	shapes := []struct {
		name                string
		h                   reference.Heads
		pageSize, positions int
		large               bool
	}{
		{"one element", layout(1, 1, 1), 1, 1, false},
		{"one token", layout(4, 2, 20), 16, 1, false},
		{"P27: 7 positions", layout(2, 1, 7), 4, 7, false},
		{"P27: 72 positions, heads of 72", layout(2, 2, 72), 16, 72, false},
		{"a page ends at the last position", layout(2, 1, 24), 16, 48, false},
		{"pages of one position", layout(2, 2, 33), 1, 19, false},
		{"one page holds all", layout(2, 1, 80), 128, 100, false},
		{"grouped heads, as Llama 3", layout(8, 2, 128), 16, 40, false},
		{"the largest head", layout(2, 1, 256), 16, 20, false},
		{"an odd head", layout(3, 1, 255), 8, 20, false},
		{"a long prefill", layout(4, 1, 64), 16, 729, true},
	}
	each(t, func(t *testing.T, d *device) {
		for _, c := range shapes {
			if c.large && (testing.Short() || d.scalar()) {
				continue
			}
			t.Run(c.name, func(t *testing.T) {
				x := newText(d.at(t), pagesFor(c.positions, c.pageSize), c.pageSize, c.h)
				s := x.sequence(1, c.positions)
				x.step([]*sequence{s}, c.positions)
				near(t, reference.Causal(s.q, s.k, s.v, 0, c.h), x.out[s])
				x.holds(s)
			})
		}
	})
}

// TestPagedAttentionDecode is one row over a cache of positions that were never computed here.
func TestPagedAttentionDecode(t *testing.T) {
	const positions = 1000
	h := layout(8, 2, 64)
	each(t, func(t *testing.T, d *device) {
		x := newText(d, 64, 16, h)
		s := x.sequence(1, positions)
		for s.done = 0; s.done < positions-1; s.done += 333 {
			x.append(step{[]*sequence{s}, []int{333}})
		}
		x.step([]*sequence{s}, 1)
		near(t, reference.Causal(rowsOf(s.q, 512, positions-1, 1), s.k, s.v, positions-1, h), x.out[s])
	})
}

// TestPagedAttentionSplit: where rows and heads leave most of a card idle, its keys are split among
// blocks. The bits are those of a row that is not split.
func TestPagedAttentionSplit(t *testing.T) {
	const positions, rows = 700, 40
	h := layout(2, 1, 20)
	eachForm(t, func(t *testing.T, d *device) {
		x := newText(d, pagesFor(positions, 64), 64, h)
		s := x.sequence(1, positions)
		x.append(step{[]*sequence{s}, []int{positions - rows}})
		s.done = positions - rows
		x.step([]*sequence{s}, rows)
		near(t, reference.Causal(rowsOf(s.q, 40, positions-rows, rows), s.k, s.v, positions-rows, h), x.out[s])
		whole := x.out[s]
		s.done, x.out[s] = positions-1, nil
		kernels := map[string]int{}
		if d.Capabilities().Emulated { // a card of few multiprocessors
			kernels = map[string]int{"paged_chunk_kernel": 1, "paged_fold_kernel": 1, "paged_attention_kernel": 0}
			if d.kernels == "plain" {
				kernels = map[string]int{"paged_chunk_kernel": 0, "paged_fold_kernel": 0, "paged_attention_kernel": 1}
			}
		}
		d.launches(kernels, func() { x.step([]*sequence{s}, 1) })
		same(t, whole[(rows-1)*40:], x.out[s], "the last row alone")
	})
}

// TestPagedAttentionChunks: a row's result is the same bits however the rows before it were cut into
// steps: at once, token by token, and in anything between; whatever the page size and threads.
func TestPagedAttentionChunks(t *testing.T) {
	const positions = 150
	cuts := map[string][]int{
		"token by token": slices.Repeat([]int{1}, positions),
		"7 at a time":    {7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 3},
		"64 at a time":   {64, 64, 22},
		"one, then all":  {1, 149},
		"all but one":    {149, 1},
		"odd pieces":     {2, 31, 33, 1, 17, 63, 3},
	}
	for _, h := range []reference.Heads{layout(4, 2, 20), layout(2, 1, 72), layout(2, 2, 64)} {
		t.Run(fmt.Sprintf("heads of %d", h.HeadDim), func(t *testing.T) {
			s := newSequence(1, positions, h.Heads*h.HeadDim, h.KVHeads*h.HeadDim)
			exact := reference.Causal(s.q, s.k, s.v, 0, h)
			eachTarget(t, func(t *testing.T, g target) {
				var want []float32
				run := func(t *testing.T, threads, pageSize int, cut []int) []float32 {
					x := newText(g.open(t, binding.ContextOptions{Threads: threads}), pagesFor(positions, pageSize), pageSize, h)
					s := x.sequence(1, positions)
					for _, n := range cut {
						x.step([]*sequence{s}, n)
					}
					return x.out[s]
				}
				want = run(t, 1, 16, []int{positions})
				near(t, exact, want)
				for name, cut := range cuts {
					t.Run(name, func(t *testing.T) {
						same(t, want, run(t, 2, 16, cut), "in pieces")
					})
				}
				for _, pageSize := range []int{1, 4, 256} {
					t.Run(fmt.Sprintf("pages of %d", pageSize), func(t *testing.T) {
						same(t, want, run(t, 2, pageSize, []int{64, 1, 85}), "pages of %d", pageSize)
					})
				}
			})
		})
	}
}

// TestPagedAttentionLongChunks: the same over positions that a kernel walks in several segments, cut
// at and around where segments end, with decode steps between the chunks.
func TestPagedAttentionLongChunks(t *testing.T) {
	const positions, pageSize = 1100, 16
	for _, h := range []reference.Heads{layout(3, 1, 20), layout(4, 2, 32), layout(2, 2, 72)} {
		t.Run(fmt.Sprintf("heads of %d", h.HeadDim), func(t *testing.T) {
			cols := h.Heads * h.HeadDim
			s := newSequence(1, positions, cols, h.KVHeads*h.HeadDim)
			var exact []float64
			eachTarget(t, func(t *testing.T, g target) {
				if g.scalar() || testing.Short() && h.HeadDim != 32 {
					t.Skip("a large shape; the scalar form has no segments")
				}
				run := func(threads int, cut ...int) []float32 {
					x := newText(g.open(t, binding.ContextOptions{Threads: threads}), pagesFor(positions, pageSize), pageSize, h)
					s := *s
					x.reserve(&s)
					for _, n := range cut {
						x.step([]*sequence{&s}, n)
					}
					require.Equal(t, positions, s.done)
					return x.out[&s]
				}
				want := run(2, positions)
				if exact == nil {
					exact = reference.Causal(s.q[:cols*positions], s.k, s.v, 0, h)
				}
				near(t, exact, want)
				same(t, want, run(1, positions), "one thread")
				same(t, want, run(2, 511, 1, 1, 1, 509, 1, 1, 1, 74), "around segments")
				same(t, want, run(2, 512, 512, 76), "at segments")
				same(t, want, run(1, 1, 300, 2, 7, 300, 30, 64, 395, 1), "odd pieces")
			})
		})
	}
}

// TestPagedAttentionMixture: prefill, decode, idle places and sequences without rows in one call
// give each sequence the bits that it has alone (P52).
func TestPagedAttentionMixture(t *testing.T) {
	h := layout(4, 2, 24)
	lengths := []int{5, 10, 170, 133}
	each(t, func(t *testing.T, d *device) {
		alone := make([][]float32, len(lengths))
		for i, n := range lengths {
			x := newText(d, 64, 8, h)
			s := x.sequence(uint64(10*i), n)
			x.step([]*sequence{s}, n)
			alone[i] = x.out[s]
			near(t, reference.Causal(s.q, s.k, s.v, 0, h), alone[i])
		}

		x := newText(d, 64, 8, h)
		var s []*sequence
		for i, n := range lengths {
			s = append(s, x.sequence(uint64(10*i), n))
		}
		x.step([]*sequence{s[0], s[2]}, 5, 30)                              // two prompts
		x.step([]*sequence{s[2], s[1], nil}, 1, 3, 2)                       // decode, prompt, idle
		x.step([]*sequence{nil, s[1], s[0], s[2], s[3]}, 1, 1, 0, 107, 133) // idle, decode, no row, chunk, prompt
		x.step([]*sequence{s[2], s[1]}, 32, 6)
		x.holds(s...)
		for i := range lengths {
			require.Equal(t, lengths[i], s[i].done)
			same(t, alone[i], x.out[s[i]], "sequence %d", i)
		}
	})
}

// TestPagedAttentionShared: two sequences whose page tables start with the same pages read the same
// prefix, and each its own behind it.
func TestPagedAttentionShared(t *testing.T) {
	h := layout(2, 1, 20)
	each(t, func(t *testing.T, d *device) {
		x := newText(d, 20, 8, h)
		a := x.sequence(1, 24)
		x.append(step{[]*sequence{a}, []int{24}})
		a.done = 23
		b := newSequence(9, 24, 40, 20)
		copy(b.k, a.k[:16*20])
		copy(b.v, a.v[:16*20])
		x.reserve(b)
		copy(b.pages, a.pages[:2])
		b.pages = slices.Clone(b.pages)
		b.done = 16
		x.append(step{[]*sequence{b}, []int{8}})
		b.done = 23
		x.step([]*sequence{a, b}, 1, 1)
		for _, s := range []*sequence{a, b} {
			near(t, reference.Causal(rowsOf(s.q, 40, 23, 1), s.k, s.v, 23, h), x.out[s])
		}
	})
}

// TestPagedAttentionInvariant: 1, 2, 7 or 64 sequences that decode together.
func TestPagedAttentionInvariant(t *testing.T) {
	h := layout(4, 2, 20)
	eachTarget(t, func(t *testing.T, g target) {
		invariant(t, g, func(d *device, first, n int) []float32 {
			x := newText(d, 64*5+1, 16, h)
			var sequences []*sequence
			var take []int
			for i := range n {
				positions := (first+i)%70 + 1
				s := x.sequence(uint64(first+i), positions)
				if positions > 1 {
					x.append(step{[]*sequence{s}, []int{positions - 1}})
					s.done = positions - 1
				}
				sequences, take = append(sequences, s), append(take, 1)
			}
			x.step(sequences, take...)
			var out []float32
			for _, s := range sequences {
				out = append(out, x.out[s]...)
			}
			return out
		})
	})
}

// TestPagedAttentionNotFinite: what is not finite in one sequence is not seen by another, and a NaN
// key is seen by the rows behind it alone.
func TestPagedAttentionNotFinite(t *testing.T) {
	const positions, at = 40, 21
	h := layout(2, 1, 20)
	each(t, func(t *testing.T, d *device) {
		x := newText(d, 20, 8, h)
		bad, good := x.sequence(1, positions), x.sequence(7, positions)
		want := reference.Causal(bad.q, bad.k, bad.v, 0, h)
		bad.k[at*20+3] = float32(math.NaN())
		x.step([]*sequence{bad, good}, positions, positions)
		near(t, want[:at*40], x.out[bad][:at*40])
		for _, v := range x.out[bad][at*40:] {
			require.True(t, math.IsNaN(float64(v)))
		}
		near(t, reference.Causal(good.q, good.k, good.v, 0, h), x.out[good])
	})
}

func TestPagedAttentionFaults(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		for _, c := range pagedFaults {
			t.Run(c.name, func(t *testing.T) {
				d := d.at(t)
				q, k, y, s := d.zeros(5, 12), d.zeros(16, 6), d.framed(make([]float32, 60), 5, 12), d.Stream()
				s.PagedAttention(y.Tensor, q, k, k, ops.Paged{PageSize: 4, PageTable: d.ints(c.table...).Reshape(2, 2),
					Lengths: d.ints(c.lengths...), QOffsets: d.ints(c.offsets...)}, ops.PagedHeads{Heads: 4, KVHeads: 2, HeadDim: 3, Scale: 1})
				fault(t, s, "paged_attention", c.fault, c.index, c.value)
				y.intact()
			})
		}
	})
}

// TestPagedAttentionOldPage: every page that a row sees is checked, not only those of this step.
func TestPagedAttentionOldPage(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		for _, page := range []int32{4, -1, math.MaxInt32, math.MinInt32} {
			k, v, s := d.zeros(16, 6), d.zeros(16, 6), d.Stream()
			p := ops.Paged{PageSize: 4, PageTable: d.ints(page, 1).Reshape(1, 2), Lengths: d.ints(6), QOffsets: d.ints(0, 1)}
			s.CacheAppend(k, v, d.zeros(1, 6), d.zeros(1, 6), p)
			require.NoError(t, s.Wait(), "position 5 lies in the second page")
			y := d.framed(reference.Uniform(1, 12), 1, 12)
			s.PagedAttention(y.Tensor, d.zeros(1, 12), k, v, p, ops.PagedHeads{Heads: 4, KVHeads: 2, HeadDim: 3, Scale: 1})
			fault(t, s, "paged_attention", binding.FaultPage, 0, int64(page))
			require.Equal(t, make([]float32, 12), d.read(y.Tensor), "no answer is left there")
			y.intact()
		}
	})
}

func TestPagedAttentionErrors(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		q, y, k, v := d.zeros(5, 12), d.zeros(5, 12), d.zeros(16, 6), d.zeros(16, 6)
		good := ops.Paged{PageSize: 4, PageTable: d.ints(0, 1, 2, 3).Reshape(2, 2), Lengths: d.ints(3, 2), QOffsets: d.ints(0, 3, 5)}
		heads := ops.PagedHeads{Heads: 4, KVHeads: 2, HeadDim: 3, Scale: 1}
		d.run(func(s *ops.Stream) { s.PagedAttention(y, q, k, v, good, heads) })
		with := func(change func(a *ops.PagedHeads)) func(s *ops.Stream) {
			return func(s *ops.Stream) {
				a := heads
				change(&a)
				s.PagedAttention(y, q, k, v, good, a)
			}
		}
		refused(t, d, append(pagedRefusals(d, good, func(s *ops.Stream, k, v *ops.Tensor, p ops.Paged) { s.PagedAttention(y, q, k, v, p, heads) }),
			refusal{"no q", ops.ErrShape, func(s *ops.Stream) { s.PagedAttention(y, nil, k, v, good, heads) }},
			refusal{"no out", ops.ErrShape, func(s *ops.Stream) { s.PagedAttention(nil, q, k, v, good, heads) }},
			refusal{"out of another height", ops.ErrShape, func(s *ops.Stream) { s.PagedAttention(y.RowRange(0, 4), q, k, v, good, heads) }},
			refusal{"zero rows", ops.ErrShape, func(s *ops.Stream) { s.PagedAttention(y.RowRange(0, 0), q.RowRange(0, 0), k, v, good, heads) }},
			refusal{"zero heads", ops.ErrShape, with(func(a *ops.PagedHeads) { a.Heads = 0 })},
			refusal{"zero kvHeads", ops.ErrShape, with(func(a *ops.PagedHeads) { a.KVHeads = 0 })},
			refusal{"heads of zero", ops.ErrShape, with(func(a *ops.PagedHeads) { a.HeadDim = 0 })},
			refusal{"heads that kvHeads do not divide", ops.ErrShape, with(func(a *ops.PagedHeads) { a.Heads, a.KVHeads = 3, 2 })},
			refusal{"heads that do not fill q", ops.ErrShape, with(func(a *ops.PagedHeads) { a.Heads = 2 })},
			refusal{"scale of zero", binding.ErrInvalidArgument, with(func(a *ops.PagedHeads) { a.Scale = 0 })},
			refusal{"scale infinite", binding.ErrInvalidArgument, with(func(a *ops.PagedHeads) { a.Scale = float32(math.Inf(1)) })},
			refusal{"out over part of q", binding.ErrInvalidArgument, func(s *ops.Stream) {
				both := d.zeros(6, 12)
				s.PagedAttention(both.RowRange(1, 5), both.RowRange(0, 5), k, v, good, heads)
			}},
			refusal{"heads past the kernels'", binding.ErrUnsupported, func(s *ops.Stream) {
				n := d.Capabilities().MaxHeadDim + 1
				s.PagedAttention(d.zeros(5, n), d.zeros(5, n), d.zeros(16, n), d.zeros(16, n), good, ops.PagedHeads{Heads: 1, KVHeads: 1, HeadDim: n, Scale: 1})
			}},
		))
	})
}

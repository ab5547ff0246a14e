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

// cache is one layer's paged cache, full of NaN until rows are appended: an op that reads a place
// no sequence filled gives NaN.
type cache struct {
	d               *device
	k, v            frame
	pages, pageSize int
	cols            int
	free            []int32 // pages in the scrambled order in which they are handed out
}

func newCache(d *device, pages, pageSize, cols int) *cache {
	nan := slices.Repeat([]float32{framing}, pages*pageSize*cols)
	c := &cache{d: d, k: d.framed(nan, pages*pageSize, cols), v: d.framed(nan, pages*pageSize, cols), pages: pages, pageSize: pageSize, cols: cols}
	for i := range pages {
		c.free = append(c.free, int32((i*7+3)%pages)) // 7 and pages share no factor
	}
	return c
}

// sequence is the keys, values and queries of every position of one text, and where it has got to.
type sequence struct {
	k, v, q []float32 // [positions, ...]
	pages   []int32
	done    int
}

// reserve gives a sequence pages for its positions.
func (c *cache) reserve(s *sequence) {
	n := (len(s.k)/c.cols + c.pageSize - 1) / c.pageSize
	require.LessOrEqual(c.d.t, n, len(c.free))
	s.pages, c.free = c.free[:n], c.free[n:]
}

// step is the rows that one call takes: the next take[i] of sequence i. A nil sequence is an idle
// place, which has rows all the same.
type step struct {
	sequences []*sequence
	take      []int
}

// paged describes a step to the device, and counts its rows in.
func (c *cache) paged(st step) ops.Paged {
	c.d.t.Helper()
	most := 1
	for _, s := range st.sequences {
		if s != nil {
			most = max(most, len(s.pages))
		}
	}
	table, lengths, offsets := []int32{}, []int32{}, []int32{0}
	for i, s := range st.sequences {
		row := slices.Repeat([]int32{-1}, most) // a page that no sequence reaches is not looked at
		length := int32(0)
		if s != nil {
			copy(row, s.pages)
			length = int32(s.done + st.take[i])
		}
		table, lengths, offsets = append(table, row...), append(lengths, length), append(offsets, offsets[i]+int32(st.take[i]))
	}
	return ops.Paged{PageSize: c.pageSize, PageTable: c.d.ints(table...).Reshape(len(st.sequences), most),
		Lengths: c.d.ints(lengths...), QOffsets: c.d.ints(offsets...)}
}

// gather is the rows of a step, of what part picks from each sequence; idle rows are NaN.
func (st step) gather(cols int, part func(*sequence) []float32) []float32 {
	var rows []float32
	for i, s := range st.sequences {
		if s == nil {
			rows = append(rows, slices.Repeat([]float32{framing}, st.take[i]*cols)...)
			continue
		}
		rows = append(rows, rowsOf(part(s), cols, s.done, st.take[i])...)
	}
	return rows
}

// append puts a step's keys and values into the cache.
func (c *cache) append(st step) ops.Paged {
	c.d.t.Helper()
	p := c.paged(st)
	k := st.gather(c.cols, func(s *sequence) []float32 { return s.k })
	v := st.gather(c.cols, func(s *sequence) []float32 { return s.v })
	rows := len(k) / c.cols
	c.d.run(func(s *ops.Stream) {
		s.CacheAppend(c.k.Tensor, c.v.Tensor, c.d.framed(k, rows, c.cols).Tensor, c.d.framed(v, rows, c.cols).Tensor, p)
	})
	return p
}

// holds requires the cache to have exactly what the sequences have put into it.
func (c *cache) holds(sequences ...*sequence) {
	c.d.t.Helper()
	wantK := slices.Repeat([]float32{framing}, c.pages*c.pageSize*c.cols)
	wantV := slices.Clone(wantK)
	for _, s := range sequences {
		for t := range s.done {
			at := reference.CacheRow(s.pages, c.pageSize, t) * c.cols
			copy(wantK[at:], rowsOf(s.k, c.cols, t, 1))
			copy(wantV[at:], rowsOf(s.v, c.cols, t, 1))
		}
	}
	same(c.d.t, wantK, c.d.read(c.k.Tensor), "keys")
	same(c.d.t, wantV, c.d.read(c.v.Tensor), "values")
	c.k.intact()
	c.v.intact()
}

func newSequence(seed uint64, positions, qCols, kvCols int) *sequence {
	s := &sequence{q: reference.Uniform(seed, positions*qCols), k: reference.Uniform(seed+1, positions*kvCols), v: reference.Uniform(seed+2, positions*kvCols)}
	for i := range s.q {
		s.q[i] *= 4
	}
	return s
}

func TestCacheAppend(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		for _, c := range []struct{ pageSize, cols int }{{1, 1}, {4, 7}, {16, 72}, {64, 129}} {
			t.Run(fmt.Sprintf("pages of %d, %d columns", c.pageSize, c.cols), func(t *testing.T) {
				cache := newCache(d.at(t), 20, c.pageSize, c.cols)
				long, short, idle := newSequence(1, 9*c.pageSize/2+1, 1, c.cols), newSequence(11, c.pageSize, 1, c.cols), (*sequence)(nil)
				cache.reserve(long)
				cache.reserve(short)
				take := func(seqs []*sequence, take ...int) {
					cache.append(step{seqs, take})
					for i, s := range seqs {
						if s != nil {
							s.done += take[i]
						}
					}
					cache.holds(long, short)
				}
				take([]*sequence{long}, 1)
				take([]*sequence{long, short}, c.pageSize, c.pageSize/2)        // over a page's end
				take([]*sequence{short, idle, long}, 0, 3, 2)                   // no row, and rows of no one
				take([]*sequence{long, short}, len(long.k)/c.cols-long.done, 0) // to the very end
				require.Equal(t, len(long.k)/c.cols, long.done)
			})
		}
	})
}

// pagedFaults are device values that no paged op may act on.
var pagedFaults = []struct {
	name                    string
	table, lengths, offsets []int32
	fault                   binding.Fault
	index, value            int64
}{
	{"a page past the cache", []int32{0, 1, 4, 1}, []int32{3, 2}, []int32{0, 3, 5}, binding.FaultPage, 1, 4},
	{"a page below zero", []int32{0, 1, -1, 1}, []int32{3, 2}, []int32{0, 3, 5}, binding.FaultPage, 1, -1},
	{"a page far away", []int32{math.MaxInt32, 1, 2, 3}, []int32{3, 2}, []int32{0, 3, 5}, binding.FaultPage, 0, math.MaxInt32},
	{"a length past the page table", []int32{0, 1, 2, 3}, []int32{3, 9}, []int32{0, 3, 5}, binding.FaultPosition, 1, 8},
	{"more rows than length", []int32{0, 1, 2, 3}, []int32{3, 1}, []int32{0, 3, 5}, binding.FaultPosition, 1, -1},
	{"a length below zero", []int32{0, 1, 2, 3}, []int32{-5, 2}, []int32{0, 3, 5}, binding.FaultPosition, 0, -8},
	{"offsets that fall", []int32{0, 1, 2, 3}, []int32{3, 2}, []int32{0, 3, 2}, binding.FaultOffsets, 1, 2},
	{"offsets past the rows", []int32{0, 1, 2, 3}, []int32{3, 3}, []int32{0, 3, 6}, binding.FaultOffsets, 1, 6},
	{"offsets far away", []int32{0, 1, 2, 3}, []int32{3, 2}, []int32{0, math.MaxInt32, math.MinInt32}, binding.FaultOffsets, 0, math.MaxInt32},
}

// pagedRefusals are what both paged ops refuse of a cache of 4 pages of 4 rows and 6 columns.
func pagedRefusals(d *device, good ops.Paged, run func(s *ops.Stream, k, v *ops.Tensor, p ops.Paged)) []refusal {
	k, v := d.zeros(16, 6), d.zeros(16, 6)
	with := func(change func(p *ops.Paged)) func(s *ops.Stream) {
		return func(s *ops.Stream) {
			p := good
			change(&p)
			run(s, k, v, p)
		}
	}
	return []refusal{
		{"no key cache", ops.ErrShape, func(s *ops.Stream) { run(s, nil, v, good) }},
		{"no value cache", ops.ErrShape, func(s *ops.Stream) { run(s, k, nil, good) }},
		{"no page table", ops.ErrShape, with(func(p *ops.Paged) { p.PageTable = nil })},
		{"no lengths", ops.ErrShape, with(func(p *ops.Paged) { p.Lengths = nil })},
		{"no offsets", ops.ErrShape, with(func(p *ops.Paged) { p.QOffsets = nil })},
		{"pages of zero", ops.ErrShape, with(func(p *ops.Paged) { p.PageSize = 0 })},
		{"pages of three", ops.ErrShape, with(func(p *ops.Paged) { p.PageSize = 3 })},
		{"pages that do not fill the cache", ops.ErrShape, with(func(p *ops.Paged) { p.PageSize = 32 })},
		{"caches of different heights", ops.ErrShape, func(s *ops.Stream) { run(s, k, v.RowRange(0, 8), good) }},
		{"caches of another width", ops.ErrShape, func(s *ops.Stream) { run(s, d.zeros(16, 5), d.zeros(16, 5), good) }},
		{"lengths of another count", ops.ErrShape, with(func(p *ops.Paged) { p.Lengths = d.ints(1) })},
		{"offsets of another count", ops.ErrShape, with(func(p *ops.Paged) { p.QOffsets = d.ints(0, 1) })},
		{"a page table in float", ops.ErrShape, with(func(p *ops.Paged) { p.PageTable = d.zeros(2, 2) })},
		{"lengths in float", ops.ErrShape, with(func(p *ops.Paged) { p.Lengths = d.zeros(2, 1) })},
	}
}

func TestCacheAppendFaults(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		for _, c := range pagedFaults {
			t.Run(c.name, func(t *testing.T) {
				cache, s := newCache(d.at(t), 4, 4, 6), d.Stream()
				x := cache.d.zeros(5, 6)
				s.CacheAppend(cache.k.Tensor, cache.v.Tensor, x, x, ops.Paged{PageSize: 4, PageTable: cache.d.ints(c.table...).Reshape(2, 2),
					Lengths: cache.d.ints(c.lengths...), QOffsets: cache.d.ints(c.offsets...)})
				fault(t, s, "cache_append", c.fault, c.index, c.value)
				cache.k.intact()
				cache.v.intact()
			})
		}
	})
}

func TestCacheAppendInvariant(t *testing.T) {
	const cols = invariantCols
	keys, values := reference.Uniform(1, 64*cols), reference.Uniform(2, 64*cols)
	eachTarget(t, func(t *testing.T, g target) {
		invariant(t, g, func(d *device, first, n int) []float32 {
			k, v := d.zeros(64, cols), d.zeros(64, cols)
			d.run(func(s *ops.Stream) {
				s.CacheAppend(k, v, d.floats(rowsOf(keys, cols, first, n), n, cols), d.floats(rowsOf(values, cols, first, n), n, cols),
					ops.Paged{PageSize: 64, PageTable: d.ints(0), Lengths: d.ints(int32(n)), QOffsets: d.ints(0, int32(n))})
			})
			return d.read(k.RowRange(0, n))
		})
	})
}

func TestCacheAppendErrors(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		k, v, x := d.zeros(16, 6), d.zeros(16, 6), d.zeros(5, 6)
		good := ops.Paged{PageSize: 4, PageTable: d.ints(0, 1, 2, 3).Reshape(2, 2), Lengths: d.ints(3, 2), QOffsets: d.ints(0, 3, 5)}
		d.run(func(s *ops.Stream) { s.CacheAppend(k, v, x, x, good) })
		refused(t, d, append(pagedRefusals(d, good, func(s *ops.Stream, k, v *ops.Tensor, p ops.Paged) { s.CacheAppend(k, v, x, x, p) }),
			refusal{"no k", ops.ErrShape, func(s *ops.Stream) { s.CacheAppend(k, v, nil, x, good) }},
			refusal{"no v", ops.ErrShape, func(s *ops.Stream) { s.CacheAppend(k, v, x, nil, good) }},
			refusal{"v of another height", ops.ErrShape, func(s *ops.Stream) { s.CacheAppend(k, v, x, x.RowRange(0, 4), good) }},
			refusal{"zero rows", ops.ErrShape, func(s *ops.Stream) { s.CacheAppend(k, v, x.RowRange(0, 0), x.RowRange(0, 0), good) }},
			refusal{"one cache for both", binding.ErrInvalidArgument, func(s *ops.Stream) { s.CacheAppend(k, k, x, x, good) }},
			refusal{"rows from the cache itself", binding.ErrInvalidArgument, func(s *ops.Stream) { s.CacheAppend(k, v, k.RowRange(3, 5), x, good) }},
		))
	})
}

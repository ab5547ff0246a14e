package ops_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/binding"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/ops/reference"
)

// frequencies of base 500000, as Llama 3 has them.
func frequencies(headDim int) []float32 {
	f := make([]float32, headDim/2)
	for j := range f {
		f[j] = float32(math.Pow(500000, -2*float64(j)/float64(headDim)))
	}
	return f
}

func positions(rows int) []int32 {
	p := make([]int32, rows)
	for i := range p {
		p[i] = int32(i * i * 37) // 0, 37, ..., up to where a float's angle needs a long reduction
	}
	return p
}

func TestRoPE(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		for _, c := range []struct{ rows, heads, headDim int }{
			{1, 1, 2}, {3, 1, 6}, {7, 5, 18}, {64, 2, 72}, {5, 3, 80}, {65, 4, 128}, {2, 1, 256},
		} {
			t.Run(fmt.Sprintf("%d rows, %d heads of %d", c.rows, c.heads, c.headDim), func(t *testing.T) {
				d := d.at(t)
				cols := c.heads * c.headDim
				x, p, f := reference.Uniform(1, c.rows*cols), positions(c.rows), frequencies(c.headDim)
				y := d.framed(x, c.rows, cols)
				d.run(func(s *ops.Stream) {
					s.RoPE(y.Tensor, d.ints(p...), d.framed(f, 1, c.headDim/2).Tensor, c.headDim)
				})
				got := d.read(y.Tensor)
				near(t, reference.RoPE(x, p, f, cols, c.headDim), got)
				same(t, x[:cols], got[:cols], "position 0 turns nothing")
				y.intact()
			})
		}
	})
}

// TestRoPEFar: at far positions, for every head size that is asked of the kernels, with queries and
// keys as columns of one row whose values are left alone.
func TestRoPEFar(t *testing.T) {
	const queries, keys, values = 3, 2, 2
	far := []int32{0, 1, 1000, 100000}
	each(t, func(t *testing.T, d *device) {
		for _, headDim := range []int{2, 64, 72, 80, 128, 256} {
			t.Run(fmt.Sprint(headDim), func(t *testing.T) {
				d := d.at(t)
				turned, cols := (queries+keys)*headDim, (queries+keys+values)*headDim
				x, f := reference.Uniform(1, len(far)*cols), frequencies(headDim)
				row, p, fd := d.floats(x, len(far), cols), d.ints(far...), d.floats(f, 1, headDim/2)
				d.run(func(s *ops.Stream) {
					s.RoPE(row.ColRange(0, queries*headDim), p, fd, headDim)
					s.RoPE(row.ColRange(queries*headDim, keys*headDim), p, fd, headDim)
				})
				got := d.read(row)
				for i, position := range far {
					before, after := rowsOf(x, cols, i, 1), rowsOf(got, cols, i, 1)
					near(t, reference.RoPE(before[:turned], []int32{position}, f, turned, headDim), after[:turned])
					same(t, before[turned:], after[turned:], "values at position %d", position)
				}
			})
		}
	})
}

func TestRoPEInvariant(t *testing.T) {
	const headDim, cols = 72, 20 * 72 // shared among workers, as invariantCols is
	x, p, f := reference.Uniform(1, 64*cols), positions(64), frequencies(headDim)
	eachTarget(t, func(t *testing.T, g target) {
		invariant(t, g, func(d *device, first, n int) []float32 {
			y := d.floats(rowsOf(x, cols, first, n), n, cols)
			d.run(func(s *ops.Stream) { s.RoPE(y, d.ints(p[first:first+n]...), d.floats(f, 1, headDim/2), headDim) })
			return d.read(y)
		})
	})
}

// TestRoPEPosition: a position below zero is a fault, its row is left alone, and the others turn.
func TestRoPEPosition(t *testing.T) {
	const headDim = 6
	x, f := reference.Uniform(1, 3*headDim), frequencies(headDim)
	each(t, func(t *testing.T, d *device) {
		y, s := d.floats(x, 3, headDim), d.Stream()
		s.RoPE(y, d.ints(5, -3, 7), d.floats(f, 1, headDim/2), headDim)
		fault(t, s, "rope", binding.FaultPosition, 1, -3)
		got := d.read(y)
		same(t, rowsOf(x, headDim, 1, 1), rowsOf(got, headDim, 1, 1), "the row with the fault")
		near(t, reference.RoPE(rowsOf(x, headDim, 2, 1), []int32{7}, f, headDim, headDim), rowsOf(got, headDim, 2, 1))

		many := make([]int32, 500)
		for i := range many[40:] {
			many[40+i] = math.MinInt32 + int32(i)
		}
		s.RoPE(d.zeros(500, headDim), d.ints(many...), d.floats(f, 1, headDim/2), headDim)
		fault(t, s, "rope", binding.FaultPosition, 40, math.MinInt32) // the first row is the one reported
	})
}

func TestRoPEErrors(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		x, p, f := d.zeros(4, 12), d.ints(0, 1, 2, 3), d.zeros(1, 3)
		refused(t, d, []refusal{
			{"no x", ops.ErrShape, func(s *ops.Stream) { s.RoPE(nil, p, f, 6) }},
			{"no positions", ops.ErrShape, func(s *ops.Stream) { s.RoPE(x, nil, f, 6) }},
			{"no frequencies", ops.ErrShape, func(s *ops.Stream) { s.RoPE(x, p, nil, 6) }},
			{"an odd head size", ops.ErrShape, func(s *ops.Stream) { s.RoPE(x, p, f, 3) }},
			{"a head size of zero", ops.ErrShape, func(s *ops.Stream) { s.RoPE(x, p, f, 0) }},
			{"heads that do not fill the columns", ops.ErrShape, func(s *ops.Stream) { s.RoPE(x, p, d.zeros(1, 4), 8) }},
			{"too few positions", ops.ErrShape, func(s *ops.Stream) { s.RoPE(x, p.RowRange(0, 3), f, 6) }},
			{"positions in float", ops.ErrShape, func(s *ops.Stream) { s.RoPE(x, d.zeros(4, 1), f, 6) }},
			{"too many frequencies", ops.ErrShape, func(s *ops.Stream) { s.RoPE(x, p, d.zeros(1, 4), 6) }},
			{"zero rows", ops.ErrShape, func(s *ops.Stream) { s.RoPE(x.RowRange(0, 0), p.RowRange(0, 0), f, 6) }},
			{"a head size past the kernels'", binding.ErrUnsupported, func(s *ops.Stream) {
				headDim := d.Capabilities().MaxHeadDim + 2
				require.GreaterOrEqual(t, headDim, 258)
				s.RoPE(d.zeros(1, headDim), d.ints(0), d.zeros(1, headDim/2), headDim)
			}},
			{"x over the frequencies", binding.ErrInvalidArgument, func(s *ops.Stream) { s.RoPE(x, p, x.RowRange(2, 1).ColRange(0, 3), 6) }},
			{"integers", binding.ErrInvalidArgument, func(s *ops.Stream) { s.RoPE(d.tensor(ops.I32, 4, 12), p, f, 6) }},
			{"a tensor that was freed", binding.ErrInvalidArgument, func(s *ops.Stream) {
				gone := d.ints(0, 1, 2, 3)
				require.NoError(t, gone.Free())
				s.RoPE(x, gone, f, 6)
			}},
		})
	})
}

// TestRoPEHalf: x of bfloat16, and its keys in a cache of bfloat16 at once: the rotated values, rounded
// to nearest, of the plain reference.
func TestRoPEHalf(t *testing.T) {
	const rows, heads, headDim, pageSize = 5, 3, 18, 4
	const q, all = (heads - 1) * headDim, heads * headDim
	eachHalf(t, func(t *testing.T, d *device) {
		x, v := reference.Round(reference.Uniform(1, rows*all), ops.BF16), reference.Round(reference.Uniform(2, rows*headDim), ops.BF16)
		f := frequencies(headDim)
		y := d.half(ops.BF16, x, rows, all)
		nan := make([]float32, 2*pageSize*headDim)
		kCache, vCache := d.half(ops.BF16, nan, 2*pageSize, headDim), d.half(ops.BF16, nan, 2*pageSize, headDim)
		p := ops.Paged{PageSize: pageSize, PageTable: d.ints(1, 0).Reshape(1, 2), Lengths: d.ints(rows), QOffsets: d.ints(0, rows)}
		values, turns, at := d.half(ops.BF16, v, rows, headDim), d.floats(f, 1, headDim/2), d.ints(positions(rows)...)
		d.run(func(s *ops.Stream) {
			s.RoPE(y.Tensor, at, turns, headDim)
			s.CacheAppend(kCache.Tensor, vCache.Tensor, y.ColRange(q, headDim), values.Tensor, p)
		})
		y.intact()
		got := d.read(y.Tensor)
		nearHalf(t, reference.RoPE(x, positions(rows), f, all, headDim), got)
		same(t, x[:all], got[:all], "position 0 turns nothing")
		keys, stored := d.read(kCache.Tensor), d.read(vCache.Tensor)
		for i := range rows {
			row := []int{4, 5, 6, 7, 0}[i]
			same(t, got[i*all+q:][:headDim], rowsOf(keys, headDim, row, 1), "key %d", i)
			same(t, rowsOf(v, headDim, i, 1), rowsOf(stored, headDim, row, 1), "value %d", i)
		}
		kCache.intact()
		vCache.intact()
	})
}

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

func (d *device) bytes(data []byte, rows, cols int) *ops.Tensor {
	d.t.Helper()
	x := d.tensor(ops.U8, rows, cols)
	require.NoError(d.t, x.WriteBytes(0, data))
	return x
}

func (d *device) penalties(list ...ops.Penalties) *ops.Tensor {
	d.t.Helper()
	return d.floats(ops.PenaltyRows(list...), len(list), ops.PenaltyCols)
}

// TestPenalizeByHand: the definition in numbers that need no reference.
func TestPenalizeByHand(t *testing.T) {
	for _, c := range []struct {
		name   string
		x      []float32
		counts []int32
		prompt []byte
		p      ops.Penalties
		want   []float32
	}{
		{"repetition divides above zero, multiplies below", []float32{4, -4, 0}, []int32{1, 1, 1}, nil, ops.Penalties{Repetition: 2}, []float32{2, -8, 0}},
		{"P59: each id once, as often as it may be there", []float32{1.5, 1.5, 1.5}, []int32{729, 1, 0}, []byte{1, 0, 255}, ops.Penalties{Repetition: 1.5}, []float32{1, 1, 1}},
		{"what the text has not stays", []float32{3, 3, 3}, []int32{0, 1, 0}, []byte{0, 0, 1}, ops.Penalties{Repetition: 3}, []float32{3, 1, 1}},
		{"a repetition below 1 favours", []float32{1, -1, 1}, []int32{1, 1, 0}, nil, ops.Penalties{Repetition: 0.5}, []float32{2, -0.5, 1}},
		{"presence once, for the answer alone", []float32{1, 1, 1}, []int32{1, 5, 0}, []byte{0, 0, 1}, ops.Penalties{Repetition: 1, Presence: 0.5}, []float32{0.5, 0.5, 1}},
		{"frequency for each time", []float32{1, 1, 1}, []int32{1, 5, 0}, []byte{0, 0, 1}, ops.Penalties{Repetition: 1, Frequency: 0.5}, []float32{0.5, -1.5, 1}},
		{"repetition first, then the others", []float32{4, -4, 4}, []int32{2, 2, 0}, []byte{1, 0, 1}, ops.Penalties{Repetition: 2, Presence: 1, Frequency: 0.25}, []float32{0.5, -9.5, 2}},
		{"below zero they favour", []float32{1, 1, 1}, []int32{2, 0, 0}, nil, ops.Penalties{Repetition: 1, Presence: -1, Frequency: -1}, []float32{4, 1, 1}},
		{"a count below zero is none", []float32{1, 1, 1}, []int32{-3, -1, 1}, nil, ops.Penalties{Repetition: 2, Presence: 1}, []float32{1, 1, -0.5}},
		{"masked ids stay masked", []float32{float32(math.Inf(-1)), 1, 1}, []int32{1, 0, 0}, nil, ops.Penalties{Repetition: 1.1, Presence: 1}, []float32{float32(math.Inf(-1)), 1, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			each(t, func(t *testing.T, d *device) {
				x := d.framed(c.x, 1, 3)
				var prompt *ops.Tensor
				if c.prompt != nil {
					prompt = d.bytes(c.prompt, 1, 3)
				}
				d.run(func(s *ops.Stream) { s.Penalize(x.Tensor, d.ints(c.counts...).Reshape(1, 3), prompt, d.penalties(c.p)) })
				same(t, c.want, d.read(x.Tensor), "x")
				x.intact()
			})
		})
	}
}

func TestPenalize(t *testing.T) {
	all := []ops.Penalties{{Repetition: 1.1}, {Repetition: 1, Presence: 0.4}, {Repetition: 1.3, Presence: 0.2, Frequency: 0.1}, {}, {Repetition: 1}}
	for _, c := range []struct{ rows, cols int }{{1, 1}, {5, 31}, {5, 32}, {7, 33}, {3, 257}, {5, 20011}, {2, 128256}} {
		for _, every := range []int{1, 97} { // texts that have all ids, and few
			t.Run(fmt.Sprintf("%d x %d, one in %d", c.rows, c.cols, every), func(t *testing.T) {
				n := c.rows * c.cols
				x, counts, prompt := reference.Uniform(1, n), make([]int32, n), make([]byte, n)
				for i := 0; i < n; i += every {
					counts[i] = int32(i % 4)
					prompt[n-1-i] = byte(i % 2)
				}
				settings := slices.Repeat(all, c.rows)[:c.rows]
				want := reference.Penalize(x, counts, prompt, c.cols, settings)
				each(t, func(t *testing.T, d *device) {
					xd := d.framed(x, c.rows, c.cols)
					d.run(func(s *ops.Stream) {
						s.Penalize(xd.Tensor, d.ints(counts...).Reshape(c.rows, c.cols), d.bytes(prompt, c.rows, c.cols), d.penalties(settings...))
					})
					near(t, want, d.read(xd.Tensor))
					xd.intact()
				})
			})
		}
	}
}

// TestPenalizeNeutral: settings that ask for nothing leave every bit, NaN and minus zero included.
func TestPenalizeNeutral(t *testing.T) {
	x := []float32{float32(math.Copysign(0, -1)), math.Float32frombits(0x7fc0beef), float32(math.Inf(1)), -1e-45, 5}
	each(t, func(t *testing.T, d *device) {
		xd := d.floats(slices.Repeat(x, 2), 2, 5)
		d.run(func(s *ops.Stream) {
			s.Penalize(xd, d.ints(ops.Multiples(10, 1)...).Reshape(2, 5), d.bytes(slices.Repeat([]byte{1}, 10), 2, 5), d.penalties(ops.Penalties{Repetition: 1}, ops.Penalties{}))
		})
		same(t, slices.Repeat(x, 2), d.read(xd), "x")
	})
}

func TestPenalizeBadSettings(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	each(t, func(t *testing.T, d *device) {
		for _, c := range []struct {
			column int64
			p      ops.Penalties
		}{
			{0, ops.Penalties{Repetition: -1}}, {0, ops.Penalties{Repetition: nan}}, {0, ops.Penalties{Repetition: inf}}, {0, ops.Penalties{Presence: 1}},
			{1, ops.Penalties{Repetition: 1, Presence: nan}}, {1, ops.Penalties{Repetition: 1, Presence: inf}},
			{2, ops.Penalties{Repetition: 1, Frequency: nan}}, {2, ops.Penalties{Repetition: 1, Frequency: -inf}},
		} {
			s, x := d.Stream(), d.floats([]float32{2, 2, 2}, 3, 1)
			s.Penalize(x, d.ints(1, 1, 1), nil, d.penalties(ops.Penalties{Repetition: 2}, c.p, ops.Penalties{Repetition: 4}))
			fault(t, s, "penalize", binding.FaultSetting, 1, c.column)
			require.Equal(t, []float32{1, 2, 0.5}, d.read(x), "the row stays")
		}
	})
}

func TestPenalizeInvariant(t *testing.T) {
	const cols, rows = 3001, 64
	x, counts := reference.Uniform(1, rows*cols), ops.Multiples(rows*cols, 1)
	for i := range counts {
		counts[i] = max(0, counts[i]%50-45)
	}
	eachTarget(t, func(t *testing.T, g target) {
		invariant(t, g, func(d *device, first, n int) []float32 {
			xd := d.floats(rowsOf(x, cols, first, n), n, cols)
			p := slices.Repeat([]ops.Penalties{{Repetition: 1.7, Presence: 0.3, Frequency: 0.7}}, n)
			d.run(func(s *ops.Stream) {
				s.Penalize(xd, d.ints(counts[first*cols:][:n*cols]...).Reshape(n, cols), nil, d.penalties(p...))
			})
			return d.read(xd)
		})
	})
}

func TestPenalizeErrors(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		x, counts, prompt, settings := d.zeros(4, 3), d.tensor(ops.I32, 4, 3), d.tensor(ops.U8, 4, 3), d.zeros(4, ops.PenaltyCols)
		refused(t, d, []refusal{
			{"no x", ops.ErrShape, func(s *ops.Stream) { s.Penalize(nil, counts, prompt, settings) }},
			{"no counts", ops.ErrShape, func(s *ops.Stream) { s.Penalize(x, nil, prompt, settings) }},
			{"no settings", ops.ErrShape, func(s *ops.Stream) { s.Penalize(x, counts, prompt, nil) }},
			{"counts in float", ops.ErrShape, func(s *ops.Stream) { s.Penalize(x, d.zeros(4, 3), prompt, settings) }},
			{"prompt in int32", ops.ErrShape, func(s *ops.Stream) { s.Penalize(x, counts, d.tensor(ops.I32, 4, 3), settings) }},
			{"prompt of another width", ops.ErrShape, func(s *ops.Stream) { s.Penalize(x, counts, prompt.ColRange(0, 2), settings) }},
			{"settings of another width", ops.ErrShape, func(s *ops.Stream) { s.Penalize(x, counts, prompt, settings.ColRange(0, 2)) }},
			{"zero rows", ops.ErrShape, func(s *ops.Stream) {
				s.Penalize(x.RowRange(0, 0), counts.RowRange(0, 0), nil, settings.RowRange(0, 0))
			}},
			{"integers", binding.ErrInvalidArgument, func(s *ops.Stream) { s.Penalize(d.tensor(ops.I32, 4, 3), counts, prompt, settings) }},
			{"x over the settings", binding.ErrInvalidArgument, func(s *ops.Stream) { s.Penalize(x, counts, prompt, x) }},
			{"a tensor that was freed", binding.ErrInvalidArgument, func(s *ops.Stream) {
				gone := d.tensor(ops.U8, 4, 3)
				require.NoError(t, gone.Free())
				s.Penalize(x, counts, gone, settings)
			}},
		})
	})
}

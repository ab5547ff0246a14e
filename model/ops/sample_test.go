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

// draws samples row i of x at positions[i] by settings[i], each list of one entry standing for all rows.
func (d *device) draws(x []float32, cols int, settings []ops.Sampling, positions ...int32) []int32 {
	d.t.Helper()
	rows := len(x) / cols
	if len(settings) == 1 {
		settings = slices.Repeat(settings, rows)
	}
	if len(positions) == 1 {
		positions = slices.Repeat(positions, rows)
	}
	ids := d.tensor(ops.I32, rows, 1)
	d.run(func(s *ops.Stream) {
		s.Sample(ids, d.floats(x, rows, cols), d.settings(settings...), d.ints(positions...), nil)
	})
	return d.readInts(ids)
}

func (d *device) settings(list ...ops.Sampling) *ops.Tensor {
	d.t.Helper()
	return d.ints(ops.SamplingRows(list...)...).Reshape(len(list), ops.SamplingCols)
}

// drawn requires an id that the reference draws too, or next to a border that the number drawn is so
// close to that rounding decides.
func drawn(t *testing.T, probabilities []float64, p ops.Sampling, position int, id int32) {
	t.Helper()
	const rounding = 1e-6
	u, below := reference.Uniform01(p.Seed, position), 0.0
	for _, v := range probabilities[:id] {
		below += v
	}
	require.Positive(t, probabilities[id], "%+v at %d: id %d is out", p, position, id)
	require.LessOrEqual(t, below-rounding, u, "%+v at %d: id %d", p, position, id)
	require.GreaterOrEqual(t, below+probabilities[id]+rounding, u, "%+v at %d: id %d", p, position, id)
}

var samplings = []struct {
	name string
	ops.Sampling
}{
	{"plain", ops.Sampling{Temperature: 1, TopP: 1, Seed: 1}},
	{"cooler", ops.Sampling{Temperature: 0.7, TopP: 1, Seed: 2}},
	{"hotter", ops.Sampling{Temperature: 3, TopP: 1, Seed: 3}},
	{"top-k 5", ops.Sampling{Temperature: 1, TopK: 5, TopP: 1, Seed: 4}},
	{"top-p 0.8", ops.Sampling{Temperature: 1, TopP: 0.8, Seed: 5}},
	{"min-p 0.1", ops.Sampling{Temperature: 1, TopP: 1, MinP: 0.1, Seed: 6}},
	{"all of them", ops.Sampling{Temperature: 0.7, TopK: 20, TopP: 0.8, MinP: 0.05, Seed: 1 << 40}},
}

// TestSampleDistribution holds 100,000 draws against the reference's probabilities by Pearson's
// chi-square. Ids expected less than five times count as one. The bound is four standard deviations of
// Wilson and Hilferty's normal form, that a right sampler passes 31,573 times of 31,574; seeds are fixed.
func TestSampleDistribution(t *testing.T) {
	const most, bound = 5000, 4 // rows of a call
	for _, cols := range []int{50, 1000} {
		x := reference.Uniform(7, cols)
		for i := range x {
			x[i] *= 4
		}
		rows := slices.Repeat(x, most)
		for _, c := range samplings {
			t.Run(fmt.Sprintf("%s of %d", c.name, cols), func(t *testing.T) {
				probabilities := reference.Probabilities(x, c.Sampling)
				each(t, func(t *testing.T, d *device) {
					if d.scalar() && cols > 50 {
						t.Skip("100,000 rows take the scalar set half a minute; TestSampleSets holds it to the others' ids")
					}
					draws, batch := 100_000, most
					if d.library.Capabilities().Emulated {
						draws, batch = 1000, 1000 // an emulator takes ten minutes for all
					}
					xd, settings := d.floats(rows[:batch*cols], batch, cols), d.settings(slices.Repeat([]ops.Sampling{c.Sampling}, batch)...)
					ids, positions := d.tensor(ops.I32, batch, 1), d.tensor(ops.I32, batch, 1)
					counts := make([]int, cols)
					for first := int32(0); first < int32(draws); first += int32(batch) {
						at := make([]int32, batch)
						for i := range at {
							at[i] = first + int32(i)
						}
						require.NoError(t, positions.WriteInt32(0, at))
						d.run(func(s *ops.Stream) { s.Sample(ids, xd, settings, positions, nil) })
						for _, id := range d.readInts(ids) {
							counts[id]++
						}
					}
					deviation := chiSquare(t, counts, probabilities, draws)
					require.Less(t, deviation, float64(bound), "standard deviations above a fair draw")
				})
			})
		}
	}
}

// TestSampleSeeds: at one position, seeds draw as independently as positions do; high words count.
func TestSampleSeeds(t *testing.T) {
	const cols = 50
	x := reference.Uniform(7, cols)
	for _, shift := range []int{0, 32} {
		each(t, func(t *testing.T, d *device) {
			draws := 20_000
			if d.library.Capabilities().Emulated {
				draws = 2000
			}
			settings := make([]ops.Sampling, draws)
			for i := range settings {
				settings[i] = ops.Sampling{Temperature: 1, TopP: 1, Seed: uint64(i) << shift}
			}
			counts := make([]int, cols)
			for _, id := range d.draws(slices.Repeat(x, draws), cols, settings, 3) {
				counts[id]++
			}
			require.Less(t, chiSquare(t, counts, reference.Probabilities(x, settings[0]), draws), 4.0)
		})
	}
}

// chiSquare is how many standard deviations the counts lie above what the probabilities lead to expect.
func chiSquare(t *testing.T, counts []int, probabilities []float64, draws int) float64 {
	t.Helper()
	statistic, freedom := 0.0, -1.0
	rareCount, rareExpected := 0.0, 0.0
	add := func(count, expected float64) {
		statistic += (count - expected) * (count - expected) / expected
		freedom++
	}
	for i, p := range probabilities {
		if p == 0 {
			require.Zero(t, counts[i], "id %d is out", i)
			continue
		}
		if expected := p * float64(draws); expected < 5 {
			rareCount, rareExpected = rareCount+float64(counts[i]), rareExpected+expected
		} else {
			add(float64(counts[i]), expected)
		}
	}
	if rareExpected > 0 {
		add(rareCount, max(rareExpected, 1))
	}
	require.Positive(t, freedom)
	k := 2 / (9 * freedom)
	return (math.Cbrt(statistic/freedom) - (1 - k)) / math.Sqrt(k)
}

// TestSampleKeeps: what each filter leaves, ties above all: every id that is left is drawn, no other.
func TestSampleKeeps(t *testing.T) {
	log := func(p ...float64) (x []float32) {
		for _, v := range p {
			x = append(x, float32(math.Log(v)))
		}
		return x
	}
	inf := float32(math.Inf(-1))
	for _, c := range []struct {
		name string
		x    []float32
		p    ops.Sampling
		want []int32
	}{
		{"no filter", log(0.5, 0.2, 0.3), ops.Sampling{TopP: 1}, []int32{0, 1, 2}},
		{"masked ids", []float32{inf, 1, inf, 1}, ops.Sampling{TopP: 1}, []int32{1, 3}},
		{"one column", []float32{5}, ops.Sampling{TopP: 0.5, TopK: 3, MinP: 1}, []int32{0}},
		{"top-k", log(0.1, 0.4, 0.2, 0.3), ops.Sampling{TopP: 1, TopK: 2}, []int32{1, 3}},
		{"top-k keeps what equals the k-th", []float32{1, 3, 1, 1, 0}, ops.Sampling{TopP: 1, TopK: 2}, []int32{0, 1, 2, 3}},
		{"top-k of equals alone", []float32{2, 2, 2}, ops.Sampling{TopP: 1, TopK: 1}, []int32{0, 1, 2}},
		{"both zeros are equal", []float32{0, float32(math.Copysign(0, -1)), -1}, ops.Sampling{TopP: 1, TopK: 1}, []int32{0, 1}},
		{"top-k of as many as there are", log(0.5, 0.2, 0.3), ops.Sampling{TopP: 1, TopK: 3}, []int32{0, 1, 2}},
		{"top-k of more", log(0.5, 0.2, 0.3), ops.Sampling{TopP: 1, TopK: math.MaxInt}, []int32{0, 1, 2}},
		{"top-k with masked ids inside", []float32{inf, 1, inf, 2}, ops.Sampling{TopP: 1, TopK: 3}, []int32{1, 3}},
		{"top-p ends inside a token", log(0.1, 0.45, 0.25, 0.2), ops.Sampling{TopP: 0.6}, []int32{1, 2}},
		{"top-p below the largest keeps it", log(0.1, 0.45, 0.25, 0.2), ops.Sampling{TopP: 0.01}, []int32{1}},
		{"top-p of nearly all", log(0.1, 0.45, 0.25, 0.2), ops.Sampling{TopP: 0.95}, []int32{0, 1, 2, 3}},
		{"top-p takes the lower of equals", []float32{0, 1, 1, 1, 1, 0}, ops.Sampling{TopP: 0.4}, []int32{1, 2}},
		{"top-p of equals alone", []float32{7, 7, 7, 7}, ops.Sampling{TopP: 0.7}, []int32{0, 1, 2}},
		{"min-p", log(0.5, 0.04, 0.06, 0.4), ops.Sampling{TopP: 1, MinP: 0.1}, []int32{0, 2, 3}},
		{"min-p 1 keeps the largest", []float32{1, 2, 1.99, 2}, ops.Sampling{TopP: 1, MinP: 1}, []int32{1, 3}},
		{"top-p counts what top-k left", log(0.4, 0.3, 0.2, 0.1), ops.Sampling{TopK: 3, TopP: 0.75}, []int32{0, 1}},
		{"without top-k it would be three", log(0.4, 0.3, 0.2, 0.1), ops.Sampling{TopP: 0.75}, []int32{0, 1, 2}},
		{"min-p sees the temperature", log(0.8, 0.2), ops.Sampling{Temperature: 0.5, TopP: 1, MinP: 0.1}, []int32{0}},
		{"top-p sees the temperature", log(0.6, 0.4), ops.Sampling{Temperature: 0.2, TopP: 0.85}, []int32{0}},
		{"a temperature that overflows what is not the largest", []float32{3e38, -3e38, 3e38}, ops.Sampling{TopP: 1}, []int32{0, 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.p.Temperature == 0 {
				c.p.Temperature = 1
			}
			var expected []int32
			for i, v := range reference.Probabilities(c.x, c.p) {
				if v > 0 {
					expected = append(expected, int32(i))
				}
			}
			require.Equal(t, c.want, expected, "the reference")
			each(t, func(t *testing.T, d *device) {
				draws := 600
				if d.library.Capabilities().Emulated {
					draws = 300
				}
				got := d.draws(slices.Repeat(c.x, draws), len(c.x), []ops.Sampling{c.p}, ops.Multiples(draws, 1)...)
				slices.Sort(got)
				require.Equal(t, c.want, slices.Compact(got))
			})
		})
	}
}

// TestSampleWide draws from rows as wide as vocabularies, through every way the filters have of
// finding their limit.
func TestSampleWide(t *testing.T) {
	const cols = 128256
	spread := reference.Uniform(1, cols)
	peaked, flat, ties := slices.Clone(spread), slices.Clone(spread), make([]float32, cols)
	for i, v := range spread {
		peaked[i] = 12 * v
		flat[i] = 1e-3 * v
		ties[i] = float32(int(6 * v))
	}
	rows := []struct {
		name string
		x    []float32
	}{{"spread", spread}, {"peaked", peaked}, {"flat", flat}, {"ties", ties}, {"equal", make([]float32, cols)}}
	settings := []ops.Sampling{
		{Temperature: 1, TopP: 1}, {Temperature: 0.7, TopK: 50, TopP: 0.9}, {Temperature: 1, TopK: 256, TopP: 1},
		{Temperature: 1, TopK: 257, TopP: 1}, {Temperature: 1, TopK: 100_000, TopP: 0.5}, {Temperature: 1, TopP: 0.9},
		{Temperature: 1, TopP: 0.01}, {Temperature: 1, TopP: 0.9999}, {Temperature: 1, TopP: 1, MinP: 0.5}, {},
	}
	for _, r := range rows {
		for i, p := range settings {
			t.Run(fmt.Sprintf("%s, %+v", r.name, p), func(t *testing.T) {
				p.Seed = uint64(i)
				probabilities := reference.Probabilities(r.x, p)
				each(t, func(t *testing.T, d *device) {
					drawn(t, probabilities, p, 11, d.draws(r.x, cols, []ops.Sampling{p}, 11)[0])
				})
			})
		}
	}
}

// TestSampleTemperature (P58): zero takes the largest, the lowest among equals, and reads nothing else;
// what is barely above stays finite; below zero is refused.
func TestSampleTemperature(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		x := []float32{1, 2, 2, -5}
		bad := ops.Sampling{TopP: -1, TopK: -1, MinP: 7}
		require.Equal(t, []int32{1}, d.draws(x, 4, []ops.Sampling{bad}, -3), "0")
		for _, temperature := range []float32{1e-9, 1e-38, math.SmallestNonzeroFloat32} {
			for position := range int32(20) {
				id := d.draws(x, 4, []ops.Sampling{{Temperature: temperature, TopP: 1}}, position)[0]
				require.Contains(t, []int32{1, 2}, id, temperature)
			}
		}
		seen := map[int32]bool{}
		for _, id := range d.draws(slices.Repeat(x, 64), 4, []ops.Sampling{{Temperature: math.MaxFloat32, TopP: 1}}, ops.Multiples(64, 1)...) {
			seen[id] = true
		}
		require.Len(t, seen, 4, "hot beyond measure is all alike")
	})
}

func TestSampleBadSettings(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	each(t, func(t *testing.T, d *device) {
		for _, c := range []struct {
			name string
			word int64
			p    ops.Sampling
		}{
			{"temperature below zero", 0, ops.Sampling{Temperature: -1, TopP: 1}},
			{"temperature NaN", 0, ops.Sampling{Temperature: nan, TopP: 1}},
			{"temperature without end", 0, ops.Sampling{Temperature: inf, TopP: 1}},
			{"top-k below zero", 1, ops.Sampling{Temperature: 1, TopK: math.MinInt, TopP: 1}},
			{"top-p 0", 2, ops.Sampling{Temperature: 1}},
			{"top-p below zero", 2, ops.Sampling{Temperature: 1, TopP: -0.5}},
			{"top-p above 1", 2, ops.Sampling{Temperature: 1, TopP: 1.5}},
			{"top-p NaN", 2, ops.Sampling{Temperature: 1, TopP: nan}},
			{"min-p below zero", 3, ops.Sampling{Temperature: 1, TopP: 1, MinP: -0.1}},
			{"min-p above 1", 3, ops.Sampling{Temperature: 1, TopP: 1, MinP: 1.1}},
			{"min-p NaN", 3, ops.Sampling{Temperature: 1, TopP: 1, MinP: nan}},
		} {
			t.Run(c.name, func(t *testing.T) {
				d := d.at(t)
				settings := d.settings(ops.Sampling{}, c.p, ops.Sampling{})
				badSample(d, settings, binding.FaultSetting, c.word)
			})
		}
		for word := 6; word < ops.SamplingCols; word++ {
			t.Run(fmt.Sprintf("word %d is reserved", word), func(t *testing.T) {
				d := d.at(t)
				words := ops.SamplingRows(ops.Sampling{}, ops.Sampling{}, ops.Sampling{})
				words[ops.SamplingCols+word] = 1
				badSample(d, d.ints(words...).Reshape(3, ops.SamplingCols), binding.FaultSetting, int64(word))
			})
		}
	})
}

// badSample requires a fault of row 1 of three, whose id is then none.
func badSample(d *device, settings *ops.Tensor, want binding.Fault, value int64) {
	d.t.Helper()
	s, ids, counts := d.Stream(), d.tensor(ops.I32, 3, 1), d.tensor(ops.I32, 3, 2)
	s.Sample(ids, d.floats([]float32{1, 2, 1, 2, 2, 1}, 3, 2), settings, d.ints(0, 0, 0), counts)
	fault(d.t, s, "sample", want, 1, value)
	require.Equal(d.t, []int32{1, -1, 0}, d.readInts(ids))
	require.Equal(d.t, []int32{0, 1, 0, 0, 1, 0}, d.readInts(counts))
}

func TestSampleBadValues(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	greedy, draw := ops.Sampling{}, ops.Sampling{Temperature: 1, TopK: 2, TopP: 0.9}
	each(t, func(t *testing.T, d *device) {
		for _, c := range []struct {
			name   string
			x      []float32
			p      ops.Sampling
			column int64
		}{
			{"NaN, the largest asked for", []float32{1, 2, nan, 4}, greedy, 2},
			{"NaN, drawn", []float32{1, 2, 3, nan}, draw, 3},
			{"-inf alone, the largest asked for", []float32{-inf, -inf, -inf, -inf}, greedy, 0},
			{"-inf alone, drawn", []float32{-inf, -inf, -inf, -inf}, draw, 0},
			{"+inf, drawn", []float32{1, inf, 3, inf}, draw, 1},
		} {
			t.Run(c.name, func(t *testing.T) {
				d := d.at(t)
				s, ids := d.Stream(), d.tensor(ops.I32, 2, 1)
				s.Sample(ids, d.floats(append([]float32{1, 9, 2, 3}, c.x...), 2, 4), d.settings(greedy, c.p), d.ints(0, 0), nil)
				fault(t, s, "sample", binding.FaultNotFinite, 1, c.column)
				require.Equal(t, []int32{1, -1}, d.readInts(ids))
			})
		}
		require.Equal(t, []int32{1}, d.draws([]float32{1, inf, 3}, 3, []ops.Sampling{greedy}, 0), "+inf is the largest")

		s, ids := d.Stream(), d.tensor(ops.I32, 2, 1)
		s.Sample(ids, d.floats([]float32{1, 2, 3, 4}, 2, 2), d.settings(greedy, draw), d.ints(-1, -7), nil)
		fault(t, s, "sample", binding.FaultPosition, 1, -7)
		require.Equal(t, []int32{1, -1}, d.readInts(ids))
	})
}

// TestSampleCounts: the drawn id's count goes up in a matrix with other things around it.
func TestSampleCounts(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		const rows, cols = 3, 5
		x := d.framed(reference.Uniform(1, rows*cols), rows, cols)
		counts, ids := d.tensor(ops.I32, rows, cols+4), d.tensor(ops.I32, rows, 1)
		settings := d.settings(samplings[0].Sampling, samplings[1].Sampling, ops.Sampling{})
		want := make([]int32, rows*(cols+4))
		for position := range int32(50) {
			d.run(func(s *ops.Stream) {
				s.Sample(ids, x.Tensor, settings, d.ints(position, position, position), counts.ColRange(2, cols))
			})
			for row, id := range d.readInts(ids) {
				want[row*(cols+4)+2+int(id)]++
			}
		}
		require.Equal(t, want, d.readInts(counts))
		x.intact()
	})
}

// mixed is settings that differ from row to row, the largest among them.
func mixed(rows int) []ops.Sampling {
	list := make([]ops.Sampling, rows)
	for i := range list {
		if i%8 != 7 {
			list[i] = samplings[i%8%len(samplings)].Sampling
			list[i].Seed += uint64(i)
		}
	}
	return list
}

func TestSampleInvariant(t *testing.T) {
	const cols, rows = 5003, 64
	x, settings, positions := reference.Uniform(1, rows*cols), mixed(rows), ops.Multiples(rows, 3)
	var probabilities [][]float64
	for row, p := range settings {
		probabilities = append(probabilities, reference.Probabilities(rowsOf(x, cols, row, 1), p))
	}
	eachTarget(t, func(t *testing.T, g target) {
		invariant(t, g, func(d *device, first, n int) []float32 {
			out := make([]float32, n)
			for i, id := range d.draws(rowsOf(x, cols, first, n), cols, settings[first:first+n], positions[first:first+n]...) {
				drawn(t, probabilities[first+i], settings[first+i], int(positions[first+i]), id)
				out[i] = float32(id)
			}
			return out
		})
	})
}

// TestSampleSets: all kernel sets of a library draw the same ids, not just equally likely ones.
func TestSampleSets(t *testing.T) {
	const cols, rows = 20011, 80
	x := reference.Uniform(2, rows*cols)
	for i := range x {
		x[i] *= float32(i / cols) // flat to steep
	}
	var first []int32
	eachTarget(t, func(t *testing.T, g target) {
		if !g.ordered() {
			t.Skip("a library of one form")
		}
		got := g.open(t, binding.ContextOptions{Threads: 2}).draws(x, cols, mixed(rows), ops.Multiples(rows, 5)...)
		if first == nil {
			first = got
		}
		require.Equal(t, first, got)
	})
}

// TestSampleReplay: a captured step that penalises, draws, counts and advances gives, in one call of many
// steps, what the same ops give one by one, for a row of each kind and an idle place.
func TestSampleReplay(t *testing.T) {
	const rows, cols, steps = 4, 77, 40
	logits := reference.Uniform(3, rows*cols)
	type state struct{ ids, positions, lengths, counts *ops.Tensor }
	each(t, func(t *testing.T, d *device) {
		if !d.Capabilities().Capture {
			t.Skip("no capture")
		}
		start := func() (state, func(s *ops.Stream)) {
			st := state{d.tensor(ops.I32, rows, 1), d.ints(4, 9, 0, 0), d.ints(5, 10, 1, 0), d.tensor(ops.I32, rows, cols)}
			x, raw, next := d.zeros(rows, cols), d.floats(logits, rows, cols), d.tensor(ops.I32, rows, 1)
			settings := d.settings(samplings[0].Sampling, samplings[6].Sampling, ops.Sampling{}, ops.Sampling{})
			penalties := d.floats(ops.PenaltyRows(ops.Penalties{Repetition: 1}, ops.Penalties{Repetition: 1.2, Presence: 0.1}, ops.Penalties{Repetition: 1, Frequency: 0.3}, ops.Penalties{}), rows, ops.PenaltyCols)
			return st, func(s *ops.Stream) {
				s.CopyRows(x, raw)
				s.Penalize(x, st.counts, nil, penalties)
				s.Sample(next, x, settings, st.positions, st.counts)
				s.Advance(next, st.ids, st.positions, st.lengths)
			}
		}
		one, step := start()
		var want []int32
		for range steps {
			d.run(step)
			want = append(want, d.readInts(one.ids)...)
		}
		many, step := start()
		s := d.Stream()
		graph, err := s.Capture(nil, many.ids, func() { step(s) })
		until(d, graph, err)
		out := make([]byte, 4*rows*steps)
		done, err := graph.Replay(steps, nil, out)
		require.NoError(t, err)
		require.Equal(t, steps, done)
		require.Equal(t, bytesOf(want...), out)
		require.Equal(t, d.readInts(one.counts), d.readInts(many.counts))
		require.Equal(t, []int32{4 + steps, 9 + steps, steps, 0}, d.readInts(many.positions))
		penalised := map[int32]bool{}
		for i := 2; i < len(want); i += rows {
			penalised[want[i]] = true
		}
		require.Greater(t, len(penalised), 3, "the largest moves on as its count grows")
	})
}

func TestSampleErrors(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		x, ids, positions := d.zeros(4, 3), d.tensor(ops.I32, 4, 1), d.ints(0, 0, 0, 0)
		settings, counts := d.tensor(ops.I32, 4, ops.SamplingCols), d.tensor(ops.I32, 4, 3)
		refused(t, d, []refusal{
			{"no x", ops.ErrShape, func(s *ops.Stream) { s.Sample(ids, nil, settings, positions, nil) }},
			{"no ids", ops.ErrShape, func(s *ops.Stream) { s.Sample(nil, x, settings, positions, nil) }},
			{"no settings", ops.ErrShape, func(s *ops.Stream) { s.Sample(ids, x, nil, positions, nil) }},
			{"no positions", ops.ErrShape, func(s *ops.Stream) { s.Sample(ids, x, settings, nil, nil) }},
			{"ids of two columns", ops.ErrShape, func(s *ops.Stream) { s.Sample(d.tensor(ops.I32, 4, 2), x, settings, positions, nil) }},
			{"settings of another height", ops.ErrShape, func(s *ops.Stream) { s.Sample(ids, x, settings.RowRange(0, 1), positions, nil) }},
			{"settings in float", ops.ErrShape, func(s *ops.Stream) { s.Sample(ids, x, d.zeros(4, ops.SamplingCols), positions, nil) }},
			{"counts of another width", ops.ErrShape, func(s *ops.Stream) { s.Sample(ids, x, settings, positions, d.tensor(ops.I32, 4, 4)) }},
			{"zero rows", ops.ErrShape, func(s *ops.Stream) {
				s.Sample(ids.RowRange(0, 0), x.RowRange(0, 0), settings.RowRange(0, 0), positions.RowRange(0, 0), nil)
			}},
			{"integers", binding.ErrInvalidArgument, func(s *ops.Stream) { s.Sample(ids, counts, settings, positions, nil) }},
			{"ids over positions", binding.ErrInvalidArgument, func(s *ops.Stream) { s.Sample(positions, x, settings, positions, nil) }},
			{"counts over ids", binding.ErrInvalidArgument, func(s *ops.Stream) { s.Sample(counts.ColRange(1, 1), x, settings, positions, counts) }},
			{"a tensor that was freed", binding.ErrInvalidArgument, func(s *ops.Stream) {
				gone := d.tensor(ops.I32, 4, 3)
				require.NoError(t, gone.Free())
				s.Sample(ids, x, settings, positions, gone)
			}},
		})
	})
}

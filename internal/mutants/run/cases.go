//go:build linux

package main

import (
	"math"
	"slices"

	"github.com/llama3v/llama3v/binding"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/ops/reference"
	"github.com/llama3v/llama3v/model/weights"
)

// testCase is one or a few ops on small shapes. Which mutants it can meet is measured.
type testCase struct {
	name string
	run  func(k *kit)
}

const (
	wide = 517 // columns: two threads' turns and a rest
	tall = 19  // rows: more than twice the blocks of a kernel that takes a row a block
)

var (
	inf = float32(math.Inf(1))
	nan = float32(math.NaN())
)

// cases are all; caps says which types there are.
func cases(caps binding.Capabilities) []testCase {
	var list []testCase
	add := func(name string, run func(k *kit)) { list = append(list, testCase{name, run}) }

	for _, act := range []ops.Activation{ops.GELUTanh, ops.GELUErf, ops.GELUQuick, ops.SiLU} {
		add("activation "+act.String(), func(k *kit) {
			x := reference.Uniform(1, 2*wide)
			for i := range x {
				x[i] *= 8
			}
			y := k.floats(x, 2, wide)
			k.stream.Activate(y, y, act)
			k.near(reference.Activate(x, act), y)
		})
	}
	add("activation, tall", func(k *kit) {
		x := reference.Uniform(1, tall)
		y := k.out(tall, 1)
		k.stream.Activate(y, k.floats(x, tall, 1), ops.SiLU)
		k.near(reference.Activate(x, ops.SiLU), y)
	})
	for _, shape := range [][2]int{{3, wide}, {tall, 1}} {
		rows, cols := shape[0], shape[1]
		add("swiglu", func(k *kit) {
			gate, up := reference.Uniform(1, rows*cols), reference.Uniform(2, rows*cols)
			y := k.out(rows, cols)
			k.stream.SwiGLU(y, k.floats(gate, rows, cols), k.floats(up, rows, cols))
			k.near(reference.SwiGLU(gate, up), y)
		})
		add("layer_norm", func(k *kit) {
			x, w, b := reference.Uniform(1, rows*cols), reference.Uniform(2, cols), reference.Uniform(3, cols)
			for i := range x {
				x[i] += 100
			}
			y := k.floats(x, rows, cols)
			k.stream.LayerNorm(y, y, k.floats(w, 1, cols), k.floats(b, 1, cols), 1e-6)
			k.near(reference.LayerNorm(x, w, b, cols, 1e-6), y)
		})
		add("rms_norm", func(k *kit) {
			x, w := reference.Uniform(1, rows*cols), reference.Uniform(2, cols)
			y := k.floats(x, rows, cols)
			k.stream.RMSNorm(y, y, k.floats(w, 1, cols), 0.01)
			k.near(reference.RMSNorm(x, w, cols, 0.01), y)
		})
		add("softmax", func(k *kit) {
			x := reference.Uniform(1, rows*cols)
			y := k.floats(x, rows, cols)
			k.stream.Softmax(y, y, 7.5)
			k.near(reference.Softmax(x, cols, 7.5), y)
		})
		add("copy_rows", func(k *kit) {
			x := reference.Uniform(1, rows*cols)
			y := k.out(rows, cols)
			k.stream.CopyRows(y, k.floats(x, rows, cols))
			k.equal(x, y)
		})
		add("topk", func(k *kit) {
			x := reference.Uniform(1, rows*cols)
			most := min(3, cols)
			ids, values := k.ints(make([]int32, rows*most), rows, most), k.out(rows, most)
			k.stream.TopK(ids, values, k.floats(x, rows, cols))
			want := reference.TopK(x, cols, most)
			k.equalInts(want, ids)
			k.equal(picked(x, want, cols, most), values)
		})
		add("log_prob", func(k *kit) {
			x := reference.Uniform(1, rows*cols)
			ids := make([]int32, 2*rows)
			for i := range ids {
				ids[i] = int32(i * 7919 % cols)
			}
			y := k.out(rows, 2)
			k.stream.LogProb(y, k.floats(x, rows, cols), k.ints(ids, rows, 2))
			if cols > 1 {
				k.near(reference.LogProb(x, ids, cols), y)
			} else {
				k.equal(make([]float32, 2*rows), y)
			}
		})
		add("check_finite", func(k *kit) {
			x := reference.Uniform(1, rows*cols)
			k.stream.CheckFinite(k.floats(x, rows, cols), 1)
			check(k.stream.Wait())
			for _, bad := range []float32{nan, inf, -inf} {
				places := []int{0, min(kThreads, cols-1), rows*cols - 1}
				for row := range rows {
					places = append(places, row*cols)
				}
				for _, at := range places {
					broken := slices.Clone(x)
					broken[at] = bad
					k.stream.CheckFinite(k.floats(broken, rows, cols), 2)
					k.fault(binding.FaultNotFinite, int64(at/cols), int64(at%cols))
				}
			}
		})
		add("penalize", func(k *kit) {
			x, counts, prompt := reference.Uniform(1, rows*cols), make([]int32, rows*cols), make([]byte, rows*cols)
			settings := make([]ops.Penalties, rows)
			for i := range counts {
				counts[i], prompt[i] = int32(i%5-1), byte(i%3/2)
			}
			for i := range settings {
				settings[i] = ops.Penalties{Repetition: 1.5, Presence: 0.25, Frequency: float32(i%7) / 8}
			}
			y := k.floats(x, rows, cols)
			k.stream.Penalize(y, k.ints(counts, rows, cols), k.bytes(prompt, rows, cols), k.floats(ops.PenaltyRows(settings...), rows, ops.PenaltyCols))
			k.near(reference.Penalize(x, counts, prompt, cols, settings), y)
		})
	}
	list = append(list, wholeCases(caps)...)
	list = append(list, rowCases()...)
	list = append(list, sampleCases()...)
	list = append(list, cacheCases(caps)...)
	list = append(list, attentionCases(caps)...)
	list = append(list, productCases(caps)...)
	return list
}

// wholeCases: activations of both types, in rows at any place and at multiples of 16 bytes.
func wholeCases(caps binding.Capabilities) []testCase {
	var list []testCase
	for i := range 4 {
		half, aligned := i%2 == 1, i/2 == 1
		if half && !caps.ActivationTypes.Has(ops.BF16) {
			continue
		}
		add := func(name string, run func(k *kit)) {
			list = append(list, testCase{name + ", in fours", func(k *kit) {
				k.half, k.wide = half, aligned
				run(k)
			}})
		}
		for _, shape := range [][2]int{{3, 1092}, {3, 1039}, {tall, 4}} {
			rows, cols := shape[0], shape[1]
			add("activation", func(k *kit) {
				x := k.uniform(1, rows*cols)
				y := k.result(rows, cols)
				k.stream.Activate(y, k.activations(x, rows, cols), ops.SiLU)
				k.near(reference.Activate(x, ops.SiLU), y)
			})
			add("swiglu", func(k *kit) {
				gate, up := k.uniform(1, rows*cols), k.uniform(2, rows*cols)
				y := k.result(rows, cols)
				k.stream.SwiGLU(y, k.activations(gate, rows, cols), k.activations(up, rows, cols))
				k.near(reference.SwiGLU(gate, up), y)
			})
			add("layer_norm", func(k *kit) {
				x, w, b := reference.Uniform(1, rows*cols), reference.Uniform(2, cols), reference.Uniform(3, cols)
				y := k.result(rows, cols)
				k.stream.LayerNorm(y, k.floats(x, rows, cols), k.floats(w, 1, cols), k.floats(b, 1, cols), 1e-6)
				k.near(reference.LayerNorm(x, w, b, cols, 1e-6), y)
			})
			add("rms_norm", func(k *kit) {
				x, w := reference.Uniform(1, rows*cols), reference.Uniform(2, cols)
				y := k.result(rows, cols)
				k.stream.RMSNorm(y, k.floats(x, rows, cols), k.floats(w, 1, cols), 0.01)
				k.near(reference.RMSNorm(x, w, cols, 0.01), y)
			})
		}
		add("rope", func(k *kit) {
			const rows, dim, cols = tall, 64, 4 * 64
			positions, frequencies := make([]int32, rows), make([]float32, dim/2)
			for i := range positions {
				positions[i] = int32(i * 37)
			}
			for j := range frequencies {
				frequencies[j] = float32(math.Pow(500000, -2*float64(j)/dim))
			}
			x := k.uniform(1, rows*cols)
			y := k.activations(x, rows, cols)
			k.stream.RoPE(y, k.column(positions...), k.floats(frequencies, 1, dim/2), dim)
			k.near(reference.RoPE(x, positions, frequencies, cols, dim), y)
		})
	}
	return list
}

func picked(x []float32, ids []int32, cols, most int) []float32 {
	values := make([]float32, len(ids))
	for i, id := range ids {
		values[i] = x[i/most*cols+int(id)]
	}
	return values
}

// rowCases: edges of the ops that work on rows.
func rowCases() []testCase {
	var list []testCase
	add := func(name string, run func(k *kit)) { list = append(list, testCase{name, run}) }

	add("softmax, masked and far apart", func(k *kit) {
		x := reference.Uniform(1, 4*wide)
		for i := range wide {
			x[i], x[wide+i] = -inf, -inf
			x[2*wide+i] = 3e4 * x[2*wide+i]
		}
		x[wide+300] = -3e38
		x[3*wide+7], x[3*wide+wide-1] = -inf, -inf
		y := k.floats(x, 4, wide)
		k.stream.Softmax(y, y, 1)
		k.near(reference.Softmax(x, wide, 1), y)
		k.equal(make([]float32, wide), y.RowRange(0, 1))
	})
	add("softmax, one far above", func(k *kit) {
		for _, at := range []int{0, kThreads, wide - 1} {
			x := make([]float32, wide)
			x[at] = 200
			y := k.out(1, wide)
			k.stream.Softmax(y, k.floats(x, 1, wide), 1)
			k.near(reference.Softmax(x, wide, 1), y)
		}
	})
	add("softmax, NaN", func(k *kit) {
		for _, bad := range []float32{nan, inf} {
			x := reference.Uniform(1, wide)
			x[400] = bad
			y := k.floats(x, 1, wide)
			k.stream.Softmax(y, y, 1)
			check(k.stream.Wait())
			k.allNaN(y)
		}
	})
	add("topk, equals and edges", func(k *kit) {
		const most = 3
		x := make([]float32, 4*wide)
		for i := range x {
			x[i] = float32(-(i * 7919 % 5))
		}
		x[0], x[1] = 0, float32(math.Copysign(0, -1))
		for i := range wide {
			x[3*wide+i] = -inf
		}
		x[3*wide+2], x[3*wide+5] = -5, 7 // and -inf beside it
		ids, values := k.ints(make([]int32, 4*most), 4, most), k.out(4, most)
		k.stream.TopK(ids, values, k.floats(x, 4, wide))
		want := reference.TopK(x, wide, most)
		k.equalInts(want, ids)
		k.equal(picked(x, want, wide, most), values)
		k.stream.TopK(ids, nil, k.floats(x, 4, wide))
		k.equalInts(want, ids)
	})
	add("topk, at the turns of threads", func(k *kit) {
		for _, at := range []int{0, kThreads, 2 * kThreads} {
			x := reference.Uniform(1, wide)
			x[at] = 9
			ids := k.ints([]int32{0, 0}, 1, 2)
			k.stream.TopK(ids, nil, k.floats(x, 1, wide))
			k.equalInts(reference.TopK(x, wide, 2), ids)
		}
	})
	add("topk, refused", func(k *kit) {
		const most = 3
		for _, bad := range []int{0, kThreads, 300, wide - 1, -1} {
			x := reference.Uniform(1, 3*wide)
			if bad >= 0 {
				x[wide+bad] = nan
				x[wide+min(bad+kThreads, wide-1)] = nan
			} else {
				for i := range wide {
					x[wide+i] = -inf
				}
			}
			ids, values := k.ints(make([]int32, 3*most), 3, most), k.floats(make([]float32, 3*most), 3, most)
			k.stream.TopK(ids, values, k.floats(x, 3, wide))
			k.fault(binding.FaultNotFinite, 1, int64(max(bad, 0)))
			k.equalInts([]int32{-1, -1, -1}, ids.RowRange(1, 1))
			k.allNaN(values.RowRange(1, 1))
			want := reference.TopK(x[2*wide:], wide, most)
			k.equalInts(want, ids.RowRange(2, 1))
			k.stream.TopK(ids, nil, k.floats(x, 3, wide))
			k.fault(binding.FaultNotFinite, 1, int64(max(bad, 0)))
		}
		// More ids than threads.
		x := reference.Uniform(1, 257)
		x[3] = nan
		ids, values := k.ints(make([]int32, 256), 1, 256), k.floats(make([]float32, 256), 1, 256)
		k.stream.TopK(ids, values, k.floats(x, 1, 257))
		k.fault(binding.FaultNotFinite, 0, 3)
		k.equalInts(slices.Repeat([]int32{-1}, 256), ids)
		k.allNaN(values)
	})
	add("log_prob, edges", func(k *kit) {
		x := reference.Uniform(1, 5*wide)
		for i := range wide {
			x[i] = float32(i)
			x[wide+i] = -inf
			x[2*wide+i] *= 200
		}
		x[wide+2] = 1
		x[3*wide+9], x[3*wide+kThreads] = -inf, 900
		ids := []int32{0, wide - 1, 2, 2, 5, 6, 10, 11, 1, 0}
		y := k.out(5, 2)
		k.stream.LogProb(y, k.floats(x, 5, wide), k.ints(ids, 5, 2))
		k.near(reference.LogProb(x, ids, wide), y)
		many := make([]int32, 300)
		for i := range many {
			many[i] = int32(i)
		}
		z := k.out(1, len(many))
		k.stream.LogProb(z, k.floats(x[4*wide:], 1, wide), k.ints(many, 1, len(many)))
		k.near(reference.LogProb(x[4*wide:], many, wide), z)
	})
	add("log_prob, faults", func(k *kit) {
		x := reference.Uniform(1, 3*wide)
		for _, id := range []int32{-2, wide, -5} {
			y := k.out(3, 2)
			k.stream.LogProb(y, k.floats(x, 3, wide), k.ints([]int32{0, 1, id, 2, 3, 4}, 3, 2))
			k.fault(binding.FaultTokenID, 1, int64(id))
			k.allNaN(y.RowRange(1, 1).ColRange(0, 1))
			k.near(reference.LogProb(x[wide:2*wide], []int32{2}, wide), y.RowRange(1, 1).ColRange(1, 1))
		}
		// -1 leaves what is there.
		y := k.floats(make([]float32, 2), 1, 2)
		k.stream.LogProb(y, k.floats(x[:wide], 1, wide), k.ints([]int32{-1, 7}, 1, 2))
		k.near(append([]float64{0}, reference.LogProb(x[:wide], []int32{7}, wide)...), y)
		for _, bad := range []int{0, kThreads, 300, -1, -300} {
			broken := slices.Clone(x)
			if bad < 0 { // masked but for one
				for i := range wide {
					broken[wide+i] = -inf
				}
			}
			switch {
			case bad > 0:
				broken[wide+bad], broken[wide+min(bad+kThreads, wide-1)] = inf, nan
			case bad == 0:
				broken[wide], broken[wide+kThreads] = nan, nan
			case bad == -300:
				bad = 300
				broken[wide+bad] = nan
			}
			y := k.floats(make([]float32, 6), 3, 2)
			k.stream.LogProb(y, k.floats(broken, 3, wide), k.ints([]int32{0, 1, 2, 3, 4, 5}, 3, 2))
			k.fault(binding.FaultNotFinite, 1, int64(max(bad, 0)))
			k.allNaN(y.RowRange(1, 1))
			k.near(reference.LogProb(x[2*wide:], []int32{4, 5}, wide), y.RowRange(2, 1))
		}
	})
	add("copy_rows, indices", func(k *kit) {
		const cols = 261
		x := reference.Uniform(1, 5*cols)
		index := []int32{4, -1, 0, 0}
		y, want := k.floats(make([]float32, 4*cols), 4, cols), make([]float32, 4*cols)
		k.stream.GatherRows(y, k.floats(x, 5, cols), k.column(index...))
		reference.Gather(want, x, index, cols)
		k.equal(want, y)
		to := []int32{5, -1, 0, 3, 1}
		z, scattered := k.floats(make([]float32, 6*cols), 6, cols), make([]float32, 6*cols)
		k.stream.ScatterRows(z, k.floats(x, 5, cols), k.column(to...))
		reference.Scatter(scattered, x, to, cols)
		k.equal(scattered, z)
		for _, bad := range []int32{-2, 5, 700} {
			k.stream.GatherRows(k.out(3, cols), k.floats(x, 5, cols), k.column(0, bad, 1))
			k.fault(binding.FaultRowIndex, 1, int64(bad))
			k.stream.ScatterRows(k.out(5, cols), k.floats(x, 5, cols), k.column(0, 1, bad, 2, 3))
			k.fault(binding.FaultRowIndex, 2, int64(bad))
		}
	})
	add("copy_rows, types", func(k *kit) {
		const cols = 261
		for _, t := range []ops.DType{ops.U8, ops.BF16} {
			data := make([]byte, 2*cols*t.Size())
			for i := range data {
				data[i] = byte(i*31 + 7)
			}
			x, y := k.place(t, 2, cols, badFloat).view, k.place(t, 2, cols, badFloat).view
			check(x.WriteBytes(0, data))
			k.stream.CopyRows(y, x)
			check(k.stream.Wait())
			got, err := y.ReadBytes()
			check(err)
			expect(slices.Equal(got, data), "rows of %s differ", t)
		}
	})
	add("penalize, settings", func(k *kit) {
		const cols = 9
		x, counts := reference.Uniform(1, 4*cols), []int32{1, 2, 0, 0, 5, 1, 0, 1, 1}
		counts = slices.Repeat(counts, 4)
		// The rows that are as they were have scores that any change would show.
		settings := []ops.Penalties{{Repetition: 1}, {}, {Repetition: 1, Frequency: 0.5}, {Repetition: 1, Presence: -0.5}}
		y := k.floats(x, 4, cols)
		k.stream.Penalize(y, k.ints(counts, 4, cols), nil, k.floats(ops.PenaltyRows(settings...), 4, ops.PenaltyCols))
		k.near(reference.Penalize(x, counts, nil, cols, settings), y)
		x[0] = math.Float32frombits(badFloat) // any arithmetic makes it another NaN
		z := k.floats(x, 4, cols)
		k.stream.Penalize(z, k.ints(counts, 4, cols), nil, k.floats(ops.PenaltyRows(slices.Repeat(settings[:2], 2)...), 4, ops.PenaltyCols))
		k.equal(x, z)
		for i, bad := range []struct {
			setting ops.Penalties
			at      int64
		}{
			{ops.Penalties{Repetition: nan}, 0}, {ops.Penalties{Repetition: inf, Presence: 1}, 0}, {ops.Penalties{Repetition: -1}, 0},
			{ops.Penalties{Presence: 1}, 0}, {ops.Penalties{Repetition: 1, Presence: nan}, 1}, {ops.Penalties{Repetition: 1, Presence: inf}, 1},
			{ops.Penalties{Repetition: 1, Frequency: nan}, 2}, {ops.Penalties{Repetition: 1, Presence: 1, Frequency: -inf}, 2},
			{ops.Penalties{Repetition: nan, Presence: nan, Frequency: nan}, 0}, {ops.Penalties{Repetition: 2, Presence: nan, Frequency: nan}, 1},
		} {
			x := reference.Uniform(uint64(i), 2*cols)
			y := k.floats(x, 2, cols)
			k.stream.Penalize(y, k.ints(counts[:2*cols], 2, cols), nil, k.floats(ops.PenaltyRows(settings[2], bad.setting), 2, ops.PenaltyCols))
			k.fault(binding.FaultSetting, 1, bad.at)
			k.equal(x[cols:], y.RowRange(1, 1))
		}
	})
	add("advance", func(k *kit) {
		next, ids := make([]int32, wide), make([]int32, wide)
		positions, lengths := make([]int32, wide), make([]int32, wide)
		wantIDs, wantPositions, wantLengths := make([]int32, wide), make([]int32, wide), make([]int32, wide)
		for i := range next {
			next[i], ids[i], positions[i], lengths[i] = int32(1000+i), int32(i), int32(5*i), int32(i%4-1)
			wantIDs[i], wantPositions[i], wantLengths[i] = ids[i], positions[i], lengths[i]
			if lengths[i] > 0 {
				wantIDs[i], wantPositions[i], wantLengths[i] = next[i], positions[i]+1, lengths[i]+1
			}
		}
		i, p, l := k.column(ids...), k.column(positions...), k.column(lengths...)
		k.stream.Advance(k.column(next...), i, p, l)
		k.equalInts(wantIDs, i)
		k.equalInts(wantPositions, p)
		k.equalInts(wantLengths, l)
		// Without lengths no place is idle; what is not there is left alone.
		j, q := k.column(ids...), k.column(positions...)
		k.stream.Advance(k.column(next...), j, q, nil)
		k.equalInts(next, j)
		m := k.column(lengths...)
		k.stream.Advance(k.column(next...), nil, nil, m)
		k.equalInts(wantLengths, m)
	})
	for _, shape := range [][2]int{{4, 18}, {3, 522}, {tall, 2}} {
		rows, dim := shape[0], shape[1]
		dim = min(dim, 256)
		add("rope", func(k *kit) {
			cols := shape[1] / dim * dim * 3
			positions, frequencies := make([]int32, rows), make([]float32, dim/2)
			for i := range positions {
				positions[i] = int32(i * i % 100003)
			}
			for j := range frequencies {
				frequencies[j] = float32(math.Pow(500000, -2*float64(j)/float64(dim)))
			}
			x := reference.Uniform(1, rows*cols)
			y := k.floats(x, rows, cols)
			k.stream.RoPE(y, k.column(positions...), k.floats(frequencies, 1, dim/2), dim)
			k.near(reference.RoPE(x, positions, frequencies, cols, dim), y)
		})
	}
	add("rope, faults", func(k *kit) {
		x := reference.Uniform(1, 3*18)
		y := k.floats(x, 3, 18)
		k.stream.RoPE(y, k.column(3, -1, 2), k.floats([]float32{1, 2, 3, 4, 5, 6, 7, 8, 9}, 1, 9), 18)
		k.fault(binding.FaultPosition, 1, -1)
		k.equal(x[18:36], y.RowRange(1, 1))
	})
	return list
}

const kThreads = 256 // of a kernel that takes a row

func sampleCases() []testCase {
	var list []testCase
	add := func(name string, run func(k *kit)) { list = append(list, testCase{name, run}) }
	// draw samples rows and holds ids and counts against the reference.
	draw := func(k *kit, x []float32, rows, cols int, settings []ops.Sampling, first int) {
		var positions, want []int32
		counts := make([]int32, rows*cols)
		for row := range rows {
			positions = append(positions, int32(first+row))
			id := reference.Sample(x[row*cols:][:cols], settings[row], first+row)
			want = append(want, id)
			counts[row*cols+int(id)]++
		}
		ids, got := k.column(make([]int32, rows)...), k.ints(make([]int32, rows*cols), rows, cols)
		setting := k.ints(ops.SamplingRows(settings...), rows, ops.SamplingCols)
		k.stream.Sample(ids, k.floats(x, rows, cols), setting, k.column(positions...), got)
		k.equalInts(want, ids)
		k.equalInts(counts, got)
	}
	add("sample", func(k *kit) {
		const rows, cols = 12, wide
		x := reference.Uniform(1, rows*cols)
		var settings []ops.Sampling
		for row := range rows {
			p := ops.Sampling{Temperature: 0.3, TopP: 1, Seed: uint64(row)*0x9E3779B97F4A7C15 + 1}
			switch row % 6 {
			case 0:
				p = ops.Sampling{TopP: 1}
			case 1:
				p.TopK = 40
			case 2:
				p.TopP = 0.7
			case 3:
				p.MinP = 0.3
			case 4:
				p.TopK, p.TopP, p.MinP = 100, 0.9, 0.1
			}
			settings = append(settings, p)
		}
		draw(k, x, rows, cols, settings, 5)
	})
	add("sample, few columns", func(k *kit) {
		for _, cols := range []int{1, 2, 255, 256, 257, 300} {
			x := reference.Uniform(uint64(cols), 2*cols)
			p := ops.Sampling{Temperature: 1, TopP: 1, Seed: 3}
			draw(k, x, 2, cols, []ops.Sampling{p, p}, 0)
		}
	})
	add("sample, equals", func(k *kit) {
		// Scores of three values: borders fall among equals.
		const rows, cols = 14, 300
		x := make([]float32, rows*cols)
		for i := range x {
			x[i] = float32(i*7919%3) / 2
		}
		var settings []ops.Sampling
		for row := range rows {
			p := ops.Sampling{Temperature: 1, TopP: 1, Seed: uint64(row) << 20}
			switch row % 7 {
			case 0:
				p.TopK = 1
			case 1:
				p.TopK = 101
			case 2:
				p.TopP = 0.3
			case 3:
				p.TopP = 0.001
			case 4:
				p.TopP = 0.999
			case 5:
				p.MinP = 1
			case 6:
				p.TopK, p.TopP = 299, 0.5
			}
			settings = append(settings, p)
		}
		draw(k, x, rows, cols, settings, 0)
	})
	add("sample, what top-k counts", func(k *kit) {
		// Three scores are well above the rest: at the first, the last and a middle column.
		const rows, cols = 8, 513
		x := reference.Uniform(1, rows*cols)
		var settings []ops.Sampling
		for row := range rows {
			x[row*cols], x[row*cols+kThreads], x[row*cols+cols-1] = 5, 5.125, 5.25
			settings = append(settings, ops.Sampling{Temperature: 50, TopP: 1, TopK: 3, Seed: uint64(row)})
		}
		draw(k, x, rows, cols, settings, 0)
	})
	add("sample, neighbours", func(k *kit) {
		// Scores one bit apart: the border is between them.
		const rows, cols = 12, 4
		var x []float32
		var settings []ops.Sampling
		for row := range rows {
			one := math.Float32bits(1) + uint32(row%2)
			for i := range uint32(cols) {
				x = append(x, math.Float32frombits(one+i))
			}
			settings = append(settings, ops.Sampling{Temperature: 1, TopP: 1, TopK: 1 + row%3, Seed: uint64(row)})
		}
		draw(k, x, rows, cols, settings, 0)
	})
	add("sample, two equals", func(k *kit) {
		const rows, cols = 8, 300
		x := slices.Repeat([]float32{-inf}, rows*cols)
		var settings []ops.Sampling
		for row := range rows {
			x[row*cols], x[row*cols+cols-1] = 1, 1
			settings = append(settings, ops.Sampling{Temperature: 1, TopP: 0.75, Seed: uint64(row)})
		}
		draw(k, x, rows, cols, settings, 0)
	})
	add("sample, weight at the end", func(k *kit) {
		const rows, cols = 12, 512 // two columns a thread, to the last
		x := make([]float32, rows*cols)
		var settings []ops.Sampling
		for row := range rows {
			x[row*cols+5], x[(row+1)*cols-1], x[(row+1)*cols-2] = 9, 9, 8
			settings = append(settings, ops.Sampling{Temperature: 1, TopP: 1, Seed: uint64(row)})
		}
		draw(k, x, rows, cols, settings, 0)
	})
	add("sample, below min-p", func(k *kit) {
		// Columns that are out stand before ones that are in, and weigh nearly as much.
		const rows, cols = 12, 300
		x := make([]float32, rows*cols)
		var settings []ops.Sampling
		for row := range rows {
			for i := range cols {
				x[row*cols+i] = float32(i%2) / 2
			}
			settings = append(settings, ops.Sampling{Temperature: 1, TopP: 1, MinP: 0.75, Seed: uint64(row)})
		}
		draw(k, x, rows, cols, settings, 0)
	})
	add("sample, the largest at the turns of threads", func(k *kit) {
		const rows, cols = 4, 513
		x := reference.Uniform(1, rows*cols)
		x[kThreads], x[cols], x[2*cols+2*kThreads] = 9, 9, 9
		x[3*cols+3], x[3*cols+3+kThreads] = 9, 9
		draw(k, x, rows, cols, slices.Repeat([]ops.Sampling{{}}, rows), 0)
	})
	add("sample, tall", func(k *kit) {
		x := reference.Uniform(1, tall*2)
		draw(k, x, tall, 2, slices.Repeat([]ops.Sampling{{}}, tall), 0)
	})
	add("sample, far apart", func(k *kit) {
		const cols = 300
		x := make([]float32, 3*cols)
		for i := range x {
			x[i] = -inf
		}
		x[4], x[cols-1] = 1000, 999
		x[cols] = -3e38
		x[2*cols+1], x[2*cols+299] = 0, float32(math.Copysign(0, -1))
		p := ops.Sampling{Temperature: 2, TopP: 0.99, TopK: 5, Seed: 77}
		draw(k, x, 3, cols, []ops.Sampling{p, p, {}}, 1)
		// The largest may be infinite where nothing is drawn.
		x[2*cols+100], x[2*cols+50] = inf, inf
		draw(k, x, 3, cols, []ops.Sampling{p, p, {}}, 1)
	})
	add("sample, faults", func(k *kit) {
		const cols = 300
		good := ops.Sampling{Temperature: 1, TopP: 1}
		one := func(x []float32, setting []int32, position int32, kind binding.Fault, value int64) {
			ids, counts := k.column(7, 7, 7), k.ints(make([]int32, 3*cols), 3, cols)
			k.stream.Sample(ids, k.floats(x, 3, cols), k.ints(slices.Concat(ops.SamplingRows(good), setting, ops.SamplingRows(good)), 3, 8), k.column(4, position, 5), counts)
			k.fault(kind, 1, value)
			k.equalInts([]int32{-1}, ids.RowRange(1, 1))
			k.equalInts(make([]int32, cols), counts.RowRange(1, 1))
			k.equalInts([]int32{reference.Sample(x[2*cols:], good, 5)}, ids.RowRange(2, 1))
		}
		x := reference.Uniform(1, 3*cols)
		for _, bad := range []struct {
			s  ops.Sampling
			at int64
		}{
			{ops.Sampling{Temperature: nan, TopP: 1}, 0}, {ops.Sampling{Temperature: -1, TopP: 1}, 0}, {ops.Sampling{Temperature: inf, TopP: 1}, 0},
			{ops.Sampling{Temperature: 1, TopP: 1, TopK: -1}, 1}, {ops.Sampling{Temperature: 1}, 2}, {ops.Sampling{Temperature: 1, TopP: 1.5}, 2},
			{ops.Sampling{Temperature: 1, TopP: nan}, 2}, {ops.Sampling{Temperature: 1, TopP: 1, MinP: -0.5}, 3},
			{ops.Sampling{Temperature: 1, TopP: 1, MinP: 2}, 3}, {ops.Sampling{Temperature: 1, TopP: 1, MinP: nan}, 3},
		} {
			one(x, ops.SamplingRows(bad.s), 1, binding.FaultSetting, bad.at)
		}
		for _, at := range []int64{6, 7} {
			setting := ops.SamplingRows(good)
			setting[at] = 1
			one(x, setting, 1, binding.FaultSetting, at)
		}
		one(x, ops.SamplingRows(good), -1, binding.FaultPosition, -1)
		for _, bad := range []int{0, kThreads, 280} {
			for _, value := range []float32{nan, inf} {
				broken := slices.Clone(x)
				broken[cols+bad], broken[cols+bad+1] = value, nan
				if bad == 0 {
					broken[cols+kThreads] = value
				}
				one(broken, ops.SamplingRows(good), 0, binding.FaultNotFinite, int64(bad))
			}
		}
		for i := range cols {
			x[cols+i] = -inf
		}
		one(x, ops.SamplingRows(good), 0, binding.FaultNotFinite, 0)
		one(x, ops.SamplingRows(ops.Sampling{}), 0, binding.FaultNotFinite, 0)
		masked := slices.Clone(x)
		masked[cols+280] = nan
		one(masked, ops.SamplingRows(good), 0, binding.FaultNotFinite, 280)
		// No counts; a position below zero is nothing to the largest.
		ids := k.column(0)
		k.stream.Sample(ids, k.floats(x[:cols], 1, cols), k.ints(ops.SamplingRows(ops.Sampling{}), 1, 8), k.column(-3), nil)
		k.equalInts([]int32{reference.Sample(x[:cols], ops.Sampling{}, 0)}, ids)
	})
	return list
}

// paged is a cache with three sequences of a step: one has rows 0 to 2, the second is idle, the third
// has row 3 alone.
type paged struct {
	heads, kvHeads, dim, pageSize, pages int
	table                                []int32 // [3][4]
	offsets, lengths                     []int32
}

func somePages() paged {
	return paged{4, 2, 20, 4, 8, []int32{5, 0, 7, 1, 6, 6, 6, 6, 2, 3, 4, 6}, []int32{0, 3, 3, 4}, []int32{6, 0, 13}}
}

func (p paged) on(k *kit) ops.Paged {
	return ops.Paged{PageSize: p.pageSize, PageTable: k.ints(p.table, len(p.lengths), len(p.table)/len(p.lengths)), Lengths: k.column(p.lengths...), QOffsets: k.column(p.offsets...)}
}

func (p paged) row(sequence, position int) int {
	width := len(p.table) / len(p.lengths)
	return reference.CacheRow(p.table[sequence*width:][:width], p.pageSize, position)
}

// broken are steps with one thing wrong each, what is found, and rows that are still right.
func broken() []struct {
	name         string
	change       func(p *paged)
	kind         binding.Fault
	index, value int64
	rows         []int
} {
	type one = struct {
		name         string
		change       func(p *paged)
		kind         binding.Fault
		index, value int64
		rows         []int
	}
	return []one{
		{"first offset below zero", func(p *paged) { p.offsets[0] = -1 }, binding.FaultOffsets, 0, 3, nil},
		{"offsets fall", func(p *paged) { p.offsets[2] = 2 }, binding.FaultOffsets, 1, 2, []int{0, 1, 2}},
		{"offsets leave the rows", func(p *paged) { p.offsets[3] = 5 }, binding.FaultOffsets, 2, 5, []int{0, 1, 2}},
		{"shorter than its rows", func(p *paged) { p.lengths[0] = 2 }, binding.FaultPosition, 0, -1, []int{3}},
		{"longer than its pages", func(p *paged) { p.lengths[2] = 17 }, binding.FaultPosition, 2, 16, []int{0, 1, 2}},
		{"page below zero", func(p *paged) { p.table[11] = -1 }, binding.FaultPage, 2, -1, []int{0, 1, 2}},
		{"page out of the cache", func(p *paged) { p.table[11] = 8 }, binding.FaultPage, 2, 8, []int{0, 1, 2}},
	}
}

func cacheCases(caps binding.Capabilities) []testCase {
	var list []testCase
	add := func(name string, run func(k *kit)) { list = append(list, testCase{name, run}) }
	// append_ puts the step's rows in and says what both caches are then; rows are those that may go.
	step := func(k *kit, p paged, cols int, rows []int, find func()) {
		count := len(p.lengths) + 1
		keys, values := k.uniform(1, count*cols), k.uniform(2, count*cols)
		kCache, vCache := k.uniform(3, p.pages*p.pageSize*cols), k.uniform(4, p.pages*p.pageSize*cols)
		kc, vc := k.activations(kCache, p.pages*p.pageSize, cols), k.activations(vCache, p.pages*p.pageSize, cols)
		k.stream.CacheAppend(kc, vc, k.activations(keys, count, cols), k.activations(values, count, cols), p.on(k))
		find()
		for _, row := range rows {
			s := 0
			for int32(row) >= p.offsets[s+1] {
				s++
			}
			at := p.row(s, int(p.lengths[s]-p.offsets[s+1])+row)
			copy(kCache[at*cols:], keys[row*cols:][:cols])
			copy(vCache[at*cols:], values[row*cols:][:cols])
		}
		k.equal(kCache, kc)
		k.equal(vCache, vc)
	}
	add("cache_append", func(k *kit) {
		step(k, somePages(), 300, []int{0, 1, 2, 3}, func() {})
		p := somePages() // a full cache, a row that no sequence has, and one before the first
		p.lengths[2], p.offsets = 16, []int32{1, 2, 2, 3}
		step(k, p, 7, []int{1, 2}, func() {})
		p = somePages() // pages of earlier steps are not looked at
		p.table[8], p.table[9] = -1, 99
		p.lengths[2] = 13
		step(k, p, 7, []int{0, 1, 2, 3}, func() {})
	})
	if caps.ActivationTypes.Has(ops.BF16) {
		for _, aligned := range []bool{false, true} {
			add("cache_append, bf16", func(k *kit) {
				k.half, k.wide = true, aligned
				step(k, somePages(), 2104, []int{0, 1, 2, 3}, func() {})
			})
		}
	}
	add("cache_append, whole rows", func(k *kit) {
		k.wide = true
		step(k, somePages(), 1040, []int{0, 1, 2, 3}, func() {})
	})
	// Behind its rope, which turns the keys where they lie beside queries and values.
	add("cache_append behind rope", func(k *kit) {
		p := somePages()
		q, kv := p.heads*p.dim, p.kvHeads*p.dim
		cols := q + 2*kv
		x, frequencies, positions := k.uniform(1, 4*cols), make([]float32, p.dim/2), []int32{3, 4, 5, 12}
		for j := range frequencies {
			frequencies[j] = 1 / float32(j+1)
		}
		all := k.activations(x, 4, cols)
		kc, vc := k.activations(make([]float32, p.pages*p.pageSize*kv), p.pages*p.pageSize, kv), k.activations(make([]float32, p.pages*p.pageSize*kv), p.pages*p.pageSize, kv)
		k.stream.RoPE(all.ColRange(0, q+kv), k.column(positions...), k.floats(frequencies, 1, p.dim/2), p.dim)
		k.stream.CacheAppend(kc, vc, all.ColRange(q, kv), all.ColRange(q+kv, kv), p.on(k))
		var turning, rest []float32
		for row := range 4 {
			turning = append(turning, x[row*cols:][:q+kv]...)
			rest = append(rest, x[row*cols+q+kv:][:kv]...)
		}
		turned := reference.RoPE(turning, positions, frequencies, q+kv, p.dim)
		k.near(turned, all.ColRange(0, q+kv))
		wantK, wantV := make([]float64, p.pages*p.pageSize*kv), make([]float32, p.pages*p.pageSize*kv)
		for row := range 4 {
			at := p.row(max(0, row-1)/2*2, int(positions[row]))
			copy(wantK[at*kv:], turned[row*(q+kv)+q:][:kv])
			copy(wantV[at*kv:], rest[row*kv:][:kv])
		}
		k.near(wantK, kc)
		k.equal(wantV, vc)
	})
	for _, b := range broken() {
		add("cache_append, "+b.name, func(k *kit) {
			p := somePages()
			b.change(&p)
			step(k, p, 20, b.rows, func() { k.fault(b.kind, b.index, b.value) })
		})
	}
	add("cache_append, tall", func(k *kit) {
		p := paged{pageSize: 32, pages: 1, table: []int32{0}, offsets: []int32{0, tall}, lengths: []int32{tall}}
		x, y := k.uniform(1, tall), k.uniform(2, tall)
		kc, vc := k.activations(make([]float32, 32), 32, 1), k.activations(make([]float32, 32), 32, 1)
		k.stream.CacheAppend(kc, vc, k.activations(x, tall, 1), k.activations(y, tall, 1), p.on(k))
		k.equal(append(x, make([]float32, 32-tall)...), kc)
		k.equal(append(y, make([]float32, 32-tall)...), vc)
	})
	return list
}

func attentionCases(caps binding.Capabilities) []testCase {
	var list []testCase
	add := func(name string, run func(k *kit)) { list = append(list, testCase{name, run}) }
	for _, shape := range []struct {
		heads, kvHeads, dim int
		q, k                []int32
		masked              bool
		wide, half          bool
	}{
		{2, 2, 72, []int32{0, 3, 70}, []int32{0, 9, 140}, false, true, true},
		{2, 1, 64, []int32{0, 65}, []int32{0, 130}, true, true, true},
		{1, 1, 128, []int32{0, 0, 66}, []int32{0, 5, 70}, false, true, true},
		{2, 1, 40, []int32{0, 5}, []int32{0, 9}, false, false, true},
		{4, 2, 18, []int32{0, 3, 3, 7}, []int32{0, 20, 24, 29}, false, false, false},
		{2, 2, 72, []int32{0, 3}, []int32{0, 300}, true, false, false},
		{3, 1, 64, []int32{0, 2, 20}, []int32{0, 1, 131}, false, true, false},
		{2, 1, 256, []int32{0, 2}, []int32{0, 3}, true, false, false},
		{1, 1, 72, []int32{0, 65}, []int32{0, 65}, false, true, false},
		{1, 1, 7, []int32{0, 1}, []int32{0, 513}, false, false, false},
	} {
		if shape.half && !caps.ActivationTypes.Has(ops.BF16) {
			continue
		}
		add("attention", func(k *kit) {
			k.wide, k.half = shape.wide, shape.half
			h := reference.Heads{Heads: shape.heads, KVHeads: shape.kvHeads, HeadDim: shape.dim, Scale: 3 * ops.InvSqrt(shape.dim)}
			queries, keys := int(shape.q[len(shape.q)-1]), int(shape.k[len(shape.k)-1])
			qCols, kvCols := h.Heads*h.HeadDim, h.KVHeads*h.HeadDim
			q, key, v := k.uniform(1, queries*qCols), k.uniform(2, keys*kvCols), k.uniform(3, keys*kvCols)
			a := ops.Attention{Heads: h.Heads, KVHeads: h.KVHeads, HeadDim: h.HeadDim, Scale: h.Scale, QOffsets: k.column(shape.q...), KOffsets: k.column(shape.k...)}
			var mask []byte
			if shape.masked {
				mask = make([]byte, keys)
				for i := range mask {
					mask[i] = byte(i * 7919 % 3)
				}
				a.KeyMask = k.bytes(mask, keys, 1)
			}
			y := k.result(queries, qCols)
			k.stream.Attention(y, k.activations(q, queries, qCols), k.activations(key, keys, kvCols), k.activations(v, keys, kvCols), a)
			k.near(reference.Attention(q, key, v, shape.q, shape.k, mask, h), y)
		})
	}
	// Scores that rise or fall by much along the keys: the running top must follow.
	add("attention, far apart", func(k *kit) {
		const dim, keys, queries = 8, 600, 2
		h := reference.Heads{Heads: 1, KVHeads: 1, HeadDim: dim, Scale: 1}
		q, key, v := make([]float32, queries*dim), make([]float32, keys*dim), reference.Uniform(3, keys*dim)
		q[0], q[dim] = 1, -1
		for i := range keys {
			key[i*dim] = float32(i) / 2
		}
		offsets, kOffsets := []int32{0, queries}, []int32{0, keys}
		mask := make([]byte, keys)
		for i := range mask {
			mask[i] = byte(min(1, max(0, i-299))) // the first block has no key that counts
		}
		for _, m := range [][]byte{nil, mask} {
			a := ops.Attention{Heads: 1, KVHeads: 1, HeadDim: dim, Scale: 1, QOffsets: k.column(offsets...), KOffsets: k.column(kOffsets...)}
			if m != nil {
				a.KeyMask = k.bytes(m, keys, 1)
			}
			y := k.out(queries, dim)
			k.stream.Attention(y, k.floats(q, queries, dim), k.floats(key, keys, dim), k.floats(v, keys, dim), a)
			k.near(reference.Attention(q, key, v, offsets, kOffsets, m, h), y)
		}
		// Nothing counts: zeros. A NaN shows.
		none := k.bytes(make([]byte, keys), keys, 1)
		y := k.out(queries, dim)
		a := ops.Attention{Heads: 1, KVHeads: 1, HeadDim: dim, Scale: 1, QOffsets: k.column(offsets...), KOffsets: k.column(kOffsets...), KeyMask: none}
		k.stream.Attention(y, k.floats(q, queries, dim), k.floats(key, keys, dim), k.floats(v, keys, dim), a)
		k.equal(make([]float32, queries*dim), y)
		a.KeyMask = nil
		key[3*dim] = nan
		k.stream.Attention(y, k.floats(q, queries, dim), k.floats(key, keys, dim), k.floats(v, keys, dim), a)
		check(k.stream.Wait())
		k.allNaN(y)
	})
	add("attention, offsets", func(k *kit) {
		const dim = 8
		h := reference.Heads{Heads: 1, KVHeads: 1, HeadDim: dim, Scale: 1}
		q, key := reference.Uniform(1, 6*dim), reference.Uniform(2, 9*dim)
		run := func(qOffsets, kOffsets []int32) *ops.Tensor {
			y := k.floats(make([]float32, 6*dim), 6, dim)
			k.stream.Attention(y, k.floats(q, 6, dim), k.floats(key, 9, dim), k.floats(key, 9, dim),
				ops.Attention{Heads: 1, KVHeads: 1, HeadDim: dim, Scale: 1, QOffsets: k.column(qOffsets...), KOffsets: k.column(kOffsets...)})
			return y
		}
		// Rows of no sequence stay as they are: before the first, and behind the last.
		y := run([]int32{1, 3, 5}, []int32{2, 6, 8})
		k.near(reference.Attention(q, key, key, []int32{1, 3, 5}, []int32{2, 6, 8}, nil, h), y)
		for _, bad := range []struct {
			q, k         []int32
			index, value int64
			good         int
		}{
			{[]int32{-1, 3, 6}, []int32{0, 4, 9}, 0, 3, 0}, {[]int32{0, 3, 2}, []int32{0, 4, 9}, 1, 2, 3}, {[]int32{0, 3, 7}, []int32{0, 4, 9}, 1, 7, 3},
			{[]int32{0, 3, 6}, []int32{-1, 4, 9}, 0, 4, 0}, {[]int32{0, 3, 6}, []int32{0, 4, 3}, 1, 3, 3}, {[]int32{0, 3, 6}, []int32{0, 4, 10}, 1, 10, 3},
			{[]int32{0, 3, 7}, []int32{0, 10, 9}, 0, 10, 0}, {[]int32{0, 7, 6}, []int32{0, 4, 10}, 0, 7, 0},
		} {
			y := run(bad.q, bad.k)
			k.fault(binding.FaultOffsets, bad.index, bad.value)
			if bad.good > 0 {
				k.near(reference.Attention(q[:bad.good*dim], key, key, bad.q[:2], bad.k[:2], nil, h), y.RowRange(0, bad.good))
			}
			k.equal(make([]float32, (6-bad.good)*dim), y.RowRange(bad.good, 6-bad.good))
		}
	})
	add("attention, many rows of no sequence", func(k *kit) {
		const rows = 40
		h := reference.Heads{Heads: 1, KVHeads: 1, HeadDim: 8, Scale: 1}
		q, key := reference.Uniform(1, rows*8), reference.Uniform(2, 3*8)
		y := k.floats(make([]float32, rows*8), rows, 8)
		k.stream.Attention(y, k.floats(q, rows, 8), k.floats(key, 3, 8), k.floats(key, 3, 8),
			ops.Attention{Heads: 1, KVHeads: 1, HeadDim: 8, Scale: 1, QOffsets: k.column(35, 37), KOffsets: k.column(0, 3)})
		k.near(reference.Attention(q, key, key, []int32{35, 37}, []int32{0, 3}, nil, h), y)
	})
	add("attention, tall", func(k *kit) {
		h := reference.Heads{Heads: 1, KVHeads: 1, HeadDim: 1, Scale: 1}
		q, key := reference.Uniform(1, tall), reference.Uniform(2, 2)
		y := k.out(tall, 1)
		k.stream.Attention(y, k.floats(q, tall, 1), k.floats(key, 2, 1), k.floats(key, 2, 1),
			ops.Attention{Heads: 1, KVHeads: 1, HeadDim: 1, Scale: 1, QOffsets: k.column(0, tall), KOffsets: k.column(0, 2)})
		k.near(reference.Attention(q, key, key, []int32{0, tall}, []int32{0, 2}, nil, h), y)
	})

	for _, shape := range []struct {
		p          paged
		wide, half bool
	}{
		{paged{8, 2, 64, 16, 12, []int32{5, 0, 7, 1, 6, 6, 6, 6, 2, 3, 4, 8}, []int32{0, 1, 1, 2}, []int32{50, 0, 64}}, true, true},
		{paged{4, 1, 128, 16, 40, longTable(40), []int32{0, 1}, []int32{600}}, true, true},
		{paged{2, 1, 72, 16, 12, []int32{5, 0, 7, 1, 6, 6, 6, 6, 2, 3, 4, 8}, []int32{0, 40, 40, 41}, []int32{50, 0, 64}}, true, true},
		{paged{4, 4, 64, 16, 12, longTable(12), []int32{0, 70}, []int32{170}}, true, true},
		{somePages(), false, false},
		{paged{8, 1, 64, 16, 9, []int32{5, 0, 7, 1, 6, 6, 6, 6, 2, 3, 4, 8}, []int32{0, 9, 9, 10}, []int32{50, 0, 64}}, true, false},
		{paged{2, 2, 72, 8, 48, longTable(36), []int32{0, 2}, []int32{285}}, false, false},
		{paged{4, 2, 128, 32, 12, longTable(10), []int32{0, 1}, []int32{300}}, true, false},
	} {
		if shape.half && !caps.ActivationTypes.Has(ops.BF16) {
			continue
		}
		add("paged_attention", func(k *kit) {
			k.wide, k.half = shape.wide, shape.half
			k.pagedAttention(shape.p, nil, func() {})
		})
	}
	for _, b := range broken() {
		add("paged_attention, "+b.name, func(k *kit) {
			p := somePages()
			b.change(&p)
			k.pagedAttention(p, b.rows, func() { k.fault(b.kind, b.index, b.value) })
		})
	}
	add("paged_attention, a page of long ago", func(k *kit) {
		p := somePages()
		p.table[8] = -3
		k.pagedAttention(p, []int{0, 1, 2}, func() { k.fault(binding.FaultPage, 2, -3) })
	})
	add("paged_attention, tall", func(k *kit) {
		p := paged{1, 1, 1, 32, 1, []int32{0}, []int32{0, 1}, []int32{1}}
		q := k.floats(make([]float32, tall), tall, 1)
		y := k.floats(make([]float32, tall), tall, 1)
		cache := k.floats(reference.Uniform(3, 32), 32, 1)
		last := p
		last.offsets, last.lengths = []int32{tall - 1, tall}, []int32{1}
		k.stream.PagedAttention(y, q, cache, cache, last.on(k), ops.PagedHeads{Heads: 1, KVHeads: 1, HeadDim: 1, Scale: 1})
		want := make([]float32, tall)
		want[tall-1] = reference.Uniform(3, 1)[0]
		k.equal(want, y)
	})
	return list
}

// longTable is n pages, no two in order.
func longTable(n int) []int32 {
	table := make([]int32, n)
	for i := range table {
		table[i] = int32(i * 5 % n)
		if n%5 == 0 {
			table[i] = int32(i * 3 % n)
		}
	}
	return table
}

// pagedAttention runs a step over a cache of random rows. rows are those that have an answer, all of
// a sequence when nil; the others of sequences that are broken or idle become zeros.
func (k *kit) pagedAttention(p paged, rows []int, find func()) {
	h := reference.Heads{Heads: p.heads, KVHeads: p.kvHeads, HeadDim: p.dim, Scale: 3 * ops.InvSqrt(p.dim)}
	qCols, kvCols := p.heads*p.dim, p.kvHeads*p.dim
	sequences := len(p.lengths)
	count := int(p.offsets[sequences])
	if rows != nil || p.offsets[0] < 0 {
		count = 4 // of the broken steps
	}
	q := k.uniform(1, count*qCols)
	kCache, vCache := k.uniform(3, p.pages*p.pageSize*kvCols), k.uniform(4, p.pages*p.pageSize*kvCols)
	y := k.activations(make([]float32, count*qCols), count, qCols)
	k.stream.PagedAttention(y, k.activations(q, count, qCols), k.activations(kCache, p.pages*p.pageSize, kvCols), k.activations(vCache, p.pages*p.pageSize, kvCols),
		p.on(k), ops.PagedHeads{Heads: p.heads, KVHeads: p.kvHeads, HeadDim: p.dim, Scale: h.Scale})
	find()
	want, answered := make([]float64, count*qCols), make([]bool, count)
	for s := range sequences {
		for row := int(p.offsets[s]); row < int(p.offsets[s+1]); row++ {
			if row < 0 || row >= count || p.offsets[0] < 0 ||
				rows != nil && (!slices.Contains(rows, row) || answered[row]) {
				continue
			}
			answered[row] = true
			position := int(p.lengths[s]-p.offsets[s+1]) + row
			var keys, values []float32
			for t := range position + 1 {
				at := p.row(s, t) * kvCols
				keys, values = append(keys, kCache[at:at+kvCols]...), append(values, vCache[at:at+kvCols]...)
			}
			copy(want[row*qCols:], reference.Causal(q[row*qCols:][:qCols], keys, values, position, h))
		}
	}
	k.near(want, y)
}

func productCases(caps binding.Capabilities) []testCase {
	var list []testCase
	add := func(name string, run func(k *kit)) { list = append(list, testCase{name, run}) }
	product := func(k *kit, t, compute ops.DType, rows, in, out int, act ops.Activation, full bool) {
		w, values := k.weight(t, 2, out, in)
		x, bias, residual := reference.Uniform(1, rows*in), reference.Uniform(3, out), reference.Uniform(4, rows*out)
		rounded := x
		if compute != ops.F32 {
			rounded, k.loose = reference.Round(x, compute), t.Quantized()
		}
		k.stream.Compute = compute
		y := k.out(rows, out)
		l := ops.Linear{Weight: w}
		if !full {
			k.stream.LinearAct(y, k.floats(x, rows, in), l, act)
			k.near(reference.Linear(rounded, values, nil, nil, rows, in, out, act), y)
			return
		}
		l.Bias = k.floats(bias, 1, out)
		k.stream.LinearAdd(y, k.floats(x, rows, in), l, k.floats(residual, rows, out))
		k.near(reference.Linear(rounded, values, bias, residual, rows, in, out, ops.None), y)
	}
	for _, t := range weightTypes {
		if !caps.WeightTypes.Has(t) {
			continue
		}
		for _, compute := range []ops.DType{ops.F32, ops.F16, ops.BF16} {
			if !caps.ComputeTypes.Has(compute) || compute != ops.F32 && compute != t && !t.Quantized() {
				continue
			}
			if compute != ops.F32 && t.Quantized() && !caps.ComputeTypes.Has(ops.F16) {
				continue // block types with narrow products came with float16 ones
			}
			in := 77
			if t.Quantized() {
				elements, _ := t.Block()
				in = 2 * elements
			}
			for _, rows := range []int{1, 3} {
				add("linear "+t.String()+" x "+compute.String(), func(k *kit) { product(k, t, compute, rows, in, 9, ops.None, true) })
			}
		}
	}
	for _, compute := range []ops.DType{ops.F32, ops.BF16} {
		t := ops.F32
		if compute == ops.BF16 {
			t = ops.BF16
		}
		for _, shape := range [][3]int{{67, 33, 66}, {1, 1, 1}, {130, 16, 3}, {2, 200, 130}, {129, 130, 129}} {
			for _, aligned := range []bool{false, true} {
				rows, in, out := shape[0], shape[1], shape[2]
				if aligned {
					in = (in + 15) / 16 * 16
				}
				add("linear, ragged", func(k *kit) {
					k.wide = aligned
					product(k, t, compute, rows, in, out, ops.GELUTanh, false)
				})
			}
		}
	}
	for _, t := range weightTypes {
		if !caps.WeightTypes.Has(t) {
			continue
		}
		add("embedding "+t.String(), func(k *kit) {
			const rows = 5
			cols := wide
			if t.Quantized() {
				elements, _ := t.Block()
				cols = max(288, 2*elements)
			}
			w, values := k.weight(t, 9, rows, cols)
			ids := []int32{4, -1, 0, 2}
			y, want := k.floats(make([]float32, len(ids)*cols), len(ids), cols), make([]float32, len(ids)*cols)
			k.stream.Embedding(y, k.column(ids...), w)
			reference.Gather(want, values, ids, cols)
			k.equal(want, y)
		})
	}
	add("embedding, edges", func(k *kit) {
		// Every float16 that differs in kind: zeros, the least, the largest below one, infinite, NaN.
		half := []uint16{0, 0x8000, 1, 0x83ff, 0x0400, 0x3bff, 0x7bff, 0xfbff, 0x7c00, 0xfc00, 0x7e01, 0x7c01}
		var data []byte
		for _, h := range half {
			data = append(data, byte(h), byte(h>>8))
		}
		w, err := k.device.NewWeight(ops.F16, 1, len(half))
		check(err)
		check(w.WriteRows(0, data))
		want := make([]float32, len(half))
		check(weights.ToFloat32(want, data, weights.F16))
		y := k.out(1, len(half))
		k.stream.Embedding(y, k.column(0), w)
		check(k.stream.Wait())
		got, err := y.ReadFloat32()
		check(err)
		for i := range want {
			expect(math.Float32bits(want[i]) == math.Float32bits(got[i]) || want[i] != want[i] && got[i] != got[i], "f16 %04x is %v", half[i], got[i])
		}
		for _, bad := range []int32{-2, 1, 900} {
			y := k.out(3, len(half))
			k.stream.Embedding(y, k.column(0, bad, 0), w)
			k.fault(binding.FaultTokenID, 1, int64(bad))
			k.equal(make([]float32, len(half)), y.RowRange(1, 1))
		}
	})
	add("embedding, tall", func(k *kit) {
		w, values := k.weight(ops.F32, 1, tall, 1)
		ids := make([]int32, tall)
		for i := range ids {
			ids[i] = int32(tall - 1 - i)
		}
		y, want := k.out(tall, 1), make([]float32, tall)
		k.stream.Embedding(y, k.column(ids...), w)
		reference.Gather(want, values, ids, 1)
		k.equal(want, y)
	})
	for _, compute := range []ops.DType{ops.F32, ops.BF16} {
		add("patch_embed "+compute.String(), func(k *kit) {
			const images, channels, height, width, patch, dim = 2, 3, 11, 13, 4, 19
			const grid = (height / patch) * (width / patch)
			t := ops.F32
			pixels := reference.Uniform(1, images*channels*height*width)
			rounded := pixels
			if compute == ops.BF16 {
				t, rounded = ops.BF16, reference.Round(pixels, ops.BF16)
			}
			w, values := k.weight(t, 2, dim, channels*patch*patch)
			bias, position := reference.Uniform(3, dim), reference.Uniform(4, grid*dim)
			y := k.out(images*grid, dim)
			k.stream.Compute = compute
			k.stream.PatchEmbed(y, k.floats(pixels, images*channels*height, width), ops.PatchEmbed{
				Linear: ops.Linear{Weight: w, Bias: k.floats(bias, 1, dim)}, Position: k.floats(position, grid, dim),
				Images: images, Channels: channels, Height: height, Width: width, Patch: patch,
			})
			k.near(reference.PatchEmbed(rounded, values, bias, position, images, channels, height, width, patch, dim), y)
		})
	}
	return list
}

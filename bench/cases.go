package bench

import "github.com/llama3v/llama3v/model/ops"

// one is a single measurement, made when its turn comes.
func one(f func() measurement, k *maker) func() (measurement, error) {
	return func() (measurement, error) {
		x := f()
		return x, k.err
	}
}

// linears are products: whole pictures and prompts against the multiply-add peak, one row (decode)
// against reading the weight.
func linears(k *maker) (list []func() (measurement, error)) {
	shapes := [][3]int{
		{patches, visionDim, 3 * visionDim}, {patches, visionDim, visionDim}, {patches, visionDim, visionHidden}, {patches, visionHidden, visionDim},
		{prompt, textDim, textDim}, {prompt, textDim, textHidden}, {prompt, textHidden, textDim}, {64, textDim, textDim},
		{1, textDim, textDim}, {1, textDim, textHidden}, {1, textHidden, textDim},
	}
	types := []struct {
		name            string
		weight, compute ops.DType
	}{{"f32", ops.F32, ops.F32}, {"f16xf32", ops.F16, ops.F32}, {"bf16xf32", ops.BF16, ops.F32}, {"bf16", ops.BF16, ops.BF16}}
	for _, t := range types {
		for _, shape := range shapes {
			list = append(list, one(func() measurement {
				rows, in, out := shape[0], shape[1], shape[2]
				w, x, y := k.weight(t.weight, out, in), k.floats(rows, in), k.floats(rows, out)
				m := measurement{dtype: t.name, shape: shape[:], work: 2 * float64(rows) * float64(in) * float64(out),
					bound: bound{compute: t.compute},
					run:   func(s *ops.Stream, _ int) { s.Linear(y, x, ops.Linear{Weight: w}) }}
				if rows == 1 {
					bytes := int64(in) * int64(out) * int64(t.weight.Size())
					m.work, m.bound = float64(bytes), bound{bytes: bytes}
					m.run = func(s *ops.Stream, _ int) {
						s.Compute = t.compute
						s.Linear(y, x, ops.Linear{Weight: w})
					}
				}
				return m
			}, k))
		}
	}
	// Weights of blocks in int8 and in bfloat16: a row against reading them, a prompt against the products
	// of that type; and the prompt in float32 besides.
	for _, t := range []ops.DType{ops.Q4_0, ops.Q8_0, ops.Q4_K} {
		for _, c := range []struct {
			rows    int
			compute ops.DType
		}{{1, ops.I8}, {prompt, ops.I8}, {1, ops.BF16}, {prompt, ops.BF16}, {prompt, ops.F32}} {
			list = append(list, one(func() measurement {
				w, x, y := k.weight(t, textHidden, textDim), k.floats(c.rows, textDim), k.floats(c.rows, textHidden)
				m := measurement{dtype: t.String() + "x" + c.compute.String(), shape: []int{c.rows, textDim, textHidden},
					work: 2 * float64(c.rows) * textDim * textHidden, bound: bound{compute: c.compute}}
				if c.rows == 1 {
					bytes := int64(textHidden * t.RowBytes(textDim))
					m.work, m.bound = float64(bytes), bound{bytes: bytes}
				}
				m.run = func(s *ops.Stream, _ int) {
					s.Compute = c.compute
					s.Linear(y, x, ops.Linear{Weight: w})
				}
				return m
			}, k))
		}
	}
	return list
}

// moving is an op that is bound by the bytes it reads and writes.
func moving(dtype string, shape []int, bytes int, run func(s *ops.Stream)) measurement {
	return measurement{dtype: dtype, shape: shape, work: float64(bytes), bound: bound{bytes: int64(bytes)},
		run: func(s *ops.Stream, _ int) { run(s) }}
}

func embeddings(k *maker) (list []func() (measurement, error)) {
	for _, t := range []ops.DType{ops.F32, ops.F16, ops.BF16} {
		list = append(list, one(func() measurement {
			const rows = 4096 // a table of more only changes where the rows lie
			table, out := k.weight(t, 32768, textDim), k.floats(rows, textDim)
			ids := make([]int32, rows)
			for i := range ids {
				ids[i] = int32(k.random.IntN(32768))
			}
			index := k.ints(ids)
			return moving(t.String()+"xf32", []int{rows, textDim}, rows*textDim*(t.Size()+4), func(s *ops.Stream) { s.Embedding(out, index, table) })
		}, k))
	}
	return list
}

func patchEmbeds(k *maker) (list []func() (measurement, error)) {
	for _, t := range []struct {
		name            string
		weight, compute ops.DType
	}{{"f32", ops.F32, ops.F32}, {"bf16xf32", ops.BF16, ops.F32}, {"bf16", ops.BF16, ops.BF16}} {
		list = append(list, one(func() measurement {
			const size, patch, channels = 384, 14, 3
			in := channels * patch * patch
			p := ops.PatchEmbed{Linear: ops.Linear{Weight: k.weight(t.weight, visionDim, in), Bias: k.floats(1, visionDim)},
				Position: k.floats(patches, visionDim), Images: 1, Channels: channels, Height: size, Width: size, Patch: patch}
			pixels, out := k.floats(channels*size, size), k.floats(patches, visionDim)
			return measurement{dtype: t.name, shape: []int{patches, in, visionDim}, work: 2 * patches * float64(in) * visionDim,
				bound: bound{compute: t.compute}, run: func(s *ops.Stream, _ int) { s.PatchEmbed(out, pixels, p) }}
		}, k))
	}
	return list
}

// attentions is SigLIP's: useful operations only, 72 columns a head and no padding.
func attentions(k *maker) []func() (measurement, error) {
	return []func() (measurement, error){one(func() measurement {
		qkv, out := k.floats(patches, 3*visionDim), k.floats(patches, visionDim)
		offsets := k.ints([]int32{0, patches})
		a := ops.Attention{Heads: visionHeads, KVHeads: visionHeads, HeadDim: visionHeadDim, Scale: ops.InvSqrt(visionHeadDim), QOffsets: offsets, KOffsets: offsets}
		return measurement{dtype: "f32", shape: []int{patches, visionHeads, visionHeadDim}, work: 4 * patches * patches * visionDim,
			bound: bound{compute: ops.F32}, run: func(s *ops.Stream, _ int) {
				s.Attention(out, qkv.ColRange(0, visionDim), qkv.ColRange(visionDim, visionDim), qkv.ColRange(2*visionDim, visionDim), a)
			}}
	}, k)}
}

// cache is one layer's keys and values for positions, and a sequence that has length of them, the
// newest rows among them.
func (k *maker) cache(positions, length, rows int) (keys, values *ops.Tensor, p ops.Paged) {
	pages := positions / page
	table := make([]int32, pages)
	for i := range table {
		table[i] = int32(i)
	}
	return k.floats(positions, textKVHeads*textHeadDim), k.floats(positions, textKVHeads*textHeadDim),
		ops.Paged{PageSize: page, PageTable: k.ints(table).Reshape(1, pages), Lengths: k.ints([]int32{int32(length)}), QOffsets: k.ints([]int32{0, int32(rows)})}
}

func appends(k *maker) []func() (measurement, error) {
	return []func() (measurement, error){one(func() measurement {
		const cols = textKVHeads * textHeadDim
		keys, values, p := k.cache(prompt, prompt, prompt)
		newK, newV := k.floats(prompt, cols), k.floats(prompt, cols)
		return moving("f32", []int{prompt, cols}, 4*prompt*cols*4, func(s *ops.Stream) { s.CacheAppend(keys, values, newK, newV, p) })
	}, k)}
}

// pagedAttentions is a prompt's (bound by multiply-adds, half of the square is causal) and one
// token's over 2048 positions (bound by reading the cache).
func pagedAttentions(k *maker) []func() (measurement, error) {
	heads := ops.PagedHeads{Heads: textHeads, KVHeads: textKVHeads, HeadDim: textHeadDim, Scale: ops.InvSqrt(textHeadDim)}
	return []func() (measurement, error){
		one(func() measurement {
			keys, values, p := k.cache(prompt, prompt, prompt)
			q, out := k.floats(prompt, textDim), k.floats(prompt, textDim)
			return measurement{dtype: "f32", shape: []int{prompt, textHeads, textHeadDim}, work: 4 * prompt * (prompt + 1) / 2 * textDim,
				bound: bound{compute: ops.F32}, run: func(s *ops.Stream, _ int) { s.PagedAttention(out, q, keys, values, p, heads) }}
		}, k),
		one(func() measurement {
			const length = 2048
			keys, values, p := k.cache(length, length, 1)
			q, out := k.floats(1, textDim), k.floats(1, textDim)
			return moving("f32", []int{1, textHeads, textHeadDim, length}, 2*length*textKVHeads*textHeadDim*4,
				func(s *ops.Stream) { s.PagedAttention(out, q, keys, values, p, heads) })
		}, k),
	}
}

func layerNorms(k *maker) []func() (measurement, error) {
	return []func() (measurement, error){one(func() measurement {
		x, out, w, b := k.floats(patches, visionDim), k.floats(patches, visionDim), k.floats(1, visionDim), k.floats(1, visionDim)
		return moving("f32", []int{patches, visionDim}, 2*patches*visionDim*4, func(s *ops.Stream) { s.LayerNorm(out, x, w, b, 1e-6) })
	}, k)}
}

func rmsNorms(k *maker) (list []func() (measurement, error)) {
	for _, rows := range []int{prompt, 1} {
		list = append(list, one(func() measurement {
			x, out, w := k.floats(rows, textDim), k.floats(rows, textDim), k.floats(1, textDim)
			return moving("f32", []int{rows, textDim}, 2*rows*textDim*4, func(s *ops.Stream) { s.RMSNorm(out, x, w, 1e-5) })
		}, k))
	}
	return list
}

func ropes(k *maker) []func() (measurement, error) {
	return []func() (measurement, error){one(func() measurement {
		positions := make([]int32, prompt)
		for i := range positions {
			positions[i] = int32(i)
		}
		const cols = (textHeads + textKVHeads) * textHeadDim
		x, p, f := k.floats(prompt, cols), k.ints(positions), k.floats(1, textHeadDim/2)
		return moving("f32", []int{prompt, cols}, 2*prompt*cols*4, func(s *ops.Stream) { s.RoPE(x, p, f, textHeadDim) })
	}, k)}
}

func swiglus(k *maker) []func() (measurement, error) {
	return []func() (measurement, error){one(func() measurement {
		gate, up, out := k.floats(prompt, textHidden), k.floats(prompt, textHidden), k.floats(prompt, textHidden)
		return moving("f32", []int{prompt, textHidden}, 3*prompt*textHidden*4, func(s *ops.Stream) { s.SwiGLU(out, gate, up) })
	}, k)}
}

func activations(k *maker) (list []func() (measurement, error)) {
	for _, act := range []ops.Activation{ops.GELUTanh, ops.GELUErf, ops.GELUQuick} {
		list = append(list, one(func() measurement {
			x, out := k.floats(patches, visionHidden), k.floats(patches, visionHidden)
			return moving("f32 "+act.String(), []int{patches, visionHidden}, 2*patches*visionHidden*4, func(s *ops.Stream) { s.Activate(out, x, act) })
		}, k))
	}
	return list
}

func copies(k *maker) []func() (measurement, error) {
	return []func() (measurement, error){one(func() measurement {
		index := make([]int32, patches)
		for i := range index {
			index[i] = int32(i)
		}
		x, out, at := k.floats(patches, textDim), k.floats(2*patches, textDim), k.ints(index)
		return moving("f32", []int{patches, textDim}, 2*patches*textDim*4, func(s *ops.Stream) { s.ScatterRows(out, x, at) })
	}, k)}
}

func softmaxes(k *maker) []func() (measurement, error) {
	return []func() (measurement, error){one(func() measurement {
		x, out := k.floats(patches, patches), k.floats(patches, patches)
		return moving("f32", []int{patches, patches}, 2*patches*patches*4, func(s *ops.Stream) { s.Softmax(out, x, 1) })
	}, k)}
}

func topks(k *maker) (list []func() (measurement, error)) {
	for _, n := range []int{1, 50} {
		list = append(list, one(func() measurement {
			x, values := k.floats(1, vocab), k.floats(1, n)
			ids := k.keep(k.device.NewTensor(ops.I32, 1, n))
			return moving("f32", []int{1, vocab, n}, vocab*4, func(s *ops.Stream) { s.TopK(ids, values, x) })
		}, k))
	}
	return list
}

func advances(k *maker) []func() (measurement, error) {
	return []func() (measurement, error){one(func() measurement {
		const sequences = 64
		zeros := make([]int32, sequences)
		next, ids, positions, lengths := k.ints(zeros), k.ints(zeros), k.ints(zeros), k.ints(zeros)
		return moving("i32", []int{sequences}, 7*sequences*4, func(s *ops.Stream) { s.Advance(next, ids, positions, lengths) })
	}, k)}
}

func checks(k *maker) []func() (measurement, error) {
	return []func() (measurement, error){one(func() measurement {
		x := k.floats(patches, textDim)
		return moving("f32", []int{patches, textDim}, patches*textDim*4, func(s *ops.Stream) { s.CheckFinite(x, 1) })
	}, k)}
}

// penalties are those of a row without a token of the text: all that is read.
func penalties(k *maker) []func() (measurement, error) {
	return []func() (measurement, error){one(func() measurement {
		x, counts, prompt := k.floats(1, vocab), k.keep(k.device.NewTensor(ops.I32, 1, vocab)), k.keep(k.device.NewTensor(ops.U8, 1, vocab))
		settings := k.keep(k.device.FromFloat32(ops.PenaltyRows(ops.Penalties{Repetition: 1.1}), 1, ops.PenaltyCols))
		return moving("f32", []int{1, vocab}, vocab*5, func(s *ops.Stream) { s.Penalize(x, counts, prompt, settings) })
	}, k)}
}

// samples draw from nearly equal scores, where a filter has most to sort out. The bound is one read.
func samples(k *maker) (list []func() (measurement, error)) {
	for _, c := range []struct {
		name string
		ops.Sampling
	}{
		{"plain", ops.Sampling{Temperature: 1, TopP: 1}},
		{"k 50 p 0.9", ops.Sampling{Temperature: 0.7, TopK: 50, TopP: 0.9}},
		{"p 0.9", ops.Sampling{Temperature: 0.7, TopP: 0.9}},
	} {
		list = append(list, one(func() measurement {
			x, ids, positions := k.floats(1, vocab), k.ints([]int32{0}), k.ints([]int32{7})
			settings := k.keep(k.device.FromInt32(ops.SamplingRows(c.Sampling), 1, ops.SamplingCols))
			return moving("f32 "+c.name, []int{1, vocab}, vocab*4, func(s *ops.Stream) { s.Sample(ids, x, settings, positions, nil) })
		}, k))
	}
	return list
}

func logProbs(k *maker) []func() (measurement, error) {
	return []func() (measurement, error){one(func() measurement {
		x, out, ids := k.floats(1, vocab), k.floats(1, 20), k.keep(k.device.FromInt32(ops.Multiples(20, 1000), 1, 20))
		return moving("f32", []int{1, vocab, 20}, vocab*4, func(s *ops.Stream) { s.LogProb(out, x, ids) })
	}, k)}
}

package selftest

import (
	"errors"
	"math"
	"slices"

	"github.com/llama3v/llama3v/binding"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/ops/reference"
)

func cases(caps ops.Capabilities) []testCase {
	var list []testCase
	add := func(op string, bound float64, run func(k *kit) ([]float32, []float64)) {
		list = append(list, testCase{op, bound, run})
	}
	types := slices.DeleteFunc([]ops.DType{ops.F32, ops.F16, ops.BF16}, func(t ops.DType) bool { return !caps.WeightTypes.Has(t) })
	for _, t := range types {
		add("linear "+t.String()+" x f32", reference.Bound, linear(t, ops.F32))
	}
	if caps.WeightTypes.Has(ops.BF16) && caps.Computes(ops.BF16) {
		add("linear bf16 x bf16", reference.Bound, linear(ops.BF16, ops.BF16))
	}
	for _, t := range types {
		add("embedding "+t.String(), 0, embedding(t))
	}
	for _, t := range types {
		add("patch_embed "+t.String(), reference.Bound, patchEmbed(t))
	}
	add("layer_norm", reference.Bound, layerNorm)
	add("rms_norm", reference.Bound, rmsNorm)
	add("attention", reference.Bound, attention)
	add("cache_append", 0, cacheAppend)
	add("paged_attention", reference.Bound, pagedAttention)
	add("rope", reference.Bound, rope)
	add("swiglu", reference.Bound, swiglu)
	for _, act := range []ops.Activation{ops.GELUTanh, ops.GELUErf, ops.GELUQuick, ops.SiLU} {
		add("activation "+act.String(), reference.Bound, activation(act))
	}
	add("copy_rows", 0, copyRows)
	add("softmax", reference.Bound, softmax)
	add("topk", 0, topK)
	add("advance", 0, advance)
	add("check_finite", 0, checkFinite)
	add("penalize", reference.Bound, penalize)
	add("sample", 0, sample)
	add("log_prob", reference.Bound, logProb)
	if caps.Capture {
		add("replay", 0, replay)
	}
	return list
}

func linear(t, compute ops.DType) func(k *kit) ([]float32, []float64) {
	return func(k *kit) ([]float32, []float64) {
		const rows, in, out = 5, 77, 70
		x, w := reference.Uniform(1, rows*in), reference.Round(reference.Uniform(2, out*in), t)
		bias, residual := reference.Uniform(3, out), reference.Uniform(4, rows*out)
		if compute != ops.F32 {
			x = reference.Round(x, compute) // which is what the device does to it
		}
		y := k.zeros(rows, out)
		s := k.stream
		s.Compute = compute
		l := ops.Linear{Weight: k.weight(t, w, out, in), Bias: k.floats(bias, 1, out)}
		s.LinearAdd(y, k.floats(x, rows, in), l, k.floats(residual, rows, out))
		return k.read(y), reference.Linear(x, w, bias, residual, rows, in, out, ops.None)
	}
}

func embedding(t ops.DType) func(k *kit) ([]float32, []float64) {
	return func(k *kit) ([]float32, []float64) {
		const rows, cols = 9, 33
		table := reference.Round(reference.Uniform(1, rows*cols), t)
		ids := []int32{8, 0, 3, 3}
		out, want := k.zeros(len(ids), cols), make([]float32, len(ids)*cols)
		k.stream.Embedding(out, k.ints(ids...), k.weight(t, table, rows, cols))
		reference.Gather(want, table, ids, cols)
		return k.read(out), reference.Float64(want)
	}
}

func patchEmbed(t ops.DType) func(k *kit) ([]float32, []float64) {
	return func(k *kit) ([]float32, []float64) {
		const images, channels, height, width, patch, dim = 2, 3, 11, 13, 4, 19
		const grid = (height / patch) * (width / patch)
		pixels := reference.Uniform(1, images*channels*height*width)
		w := reference.Round(reference.Uniform(2, dim*channels*patch*patch), t)
		bias, position := reference.Uniform(3, dim), reference.Uniform(4, grid*dim)
		out := k.zeros(images*grid, dim)
		k.stream.PatchEmbed(out, k.floats(pixels, images*channels*height, width), ops.PatchEmbed{
			Linear:   ops.Linear{Weight: k.weight(t, w, dim, channels*patch*patch), Bias: k.floats(bias, 1, dim)},
			Position: k.floats(position, grid, dim),
			Images:   images, Channels: channels, Height: height, Width: width, Patch: patch,
		})
		return k.read(out), reference.PatchEmbed(pixels, w, bias, position, images, channels, height, width, patch, dim)
	}
}

func layerNorm(k *kit) ([]float32, []float64) {
	const rows, cols = 3, 77
	x, w, b := reference.Uniform(1, rows*cols), reference.Uniform(2, cols), reference.Uniform(3, cols)
	out := k.floats(x, rows, cols)
	k.stream.LayerNorm(out, out, k.floats(w, 1, cols), k.floats(b, 1, cols), 1e-6)
	return k.read(out), reference.LayerNorm(x, w, b, cols, 1e-6)
}

func rmsNorm(k *kit) ([]float32, []float64) {
	const rows, cols = 3, 77
	x, w := reference.Uniform(1, rows*cols), reference.Uniform(2, cols)
	out := k.floats(x, rows, cols)
	k.stream.RMSNorm(out, out, k.floats(w, 1, cols), 1e-5)
	return k.read(out), reference.RMSNorm(x, w, cols, 1e-5)
}

func attention(k *kit) ([]float32, []float64) {
	const heads, kvHeads, headDim, queries, keys = 4, 2, 18, 7, 29
	h := reference.Heads{Heads: heads, KVHeads: kvHeads, HeadDim: headDim, Scale: ops.InvSqrt(headDim)}
	q, key, v := reference.Uniform(1, queries*heads*headDim), reference.Uniform(2, keys*kvHeads*headDim), reference.Uniform(3, keys*kvHeads*headDim)
	qOffsets, kOffsets := []int32{0, 3, 7}, []int32{0, 20, 29}
	out := k.zeros(queries, heads*headDim)
	k.stream.Attention(out, k.floats(q, queries, heads*headDim), k.floats(key, keys, kvHeads*headDim), k.floats(v, keys, kvHeads*headDim),
		ops.Attention{Heads: heads, KVHeads: kvHeads, HeadDim: headDim, Scale: h.Scale, QOffsets: k.ints(qOffsets...), KOffsets: k.ints(kOffsets...)})
	return k.read(out), reference.Attention(q, key, v, qOffsets, kOffsets, nil, h)
}

// cache is a paged cache with one sequence's keys and values appended.
type cache struct {
	k, v       *ops.Tensor
	paged      ops.Paged
	keys, vals []float32
}

const (
	cacheHeads, cacheKVHeads, cacheHeadDim, cacheLen = 4, 2, 20, 11
	cacheCols, cachePages, pageSize                  = cacheKVHeads * cacheHeadDim, 4, 4
)

var cachePageTable = []int32{2, 0, 3}

func appended(k *kit) cache {
	c := cache{
		k: k.zeros(cachePages*pageSize, cacheCols), v: k.zeros(cachePages*pageSize, cacheCols),
		keys: reference.Uniform(1, cacheLen*cacheCols), vals: reference.Uniform(2, cacheLen*cacheCols),
		paged: ops.Paged{PageSize: pageSize, PageTable: k.ints(cachePageTable...).Reshape(1, len(cachePageTable)),
			Lengths: k.ints(cacheLen), QOffsets: k.ints(0, cacheLen)},
	}
	k.stream.CacheAppend(c.k, c.v, k.floats(c.keys, cacheLen, cacheCols), k.floats(c.vals, cacheLen, cacheCols), c.paged)
	return c
}

func cacheAppend(k *kit) ([]float32, []float64) {
	c := appended(k)
	want := make([]float32, 2*cachePages*pageSize*cacheCols)
	vals := want[len(want)/2:]
	for t := range cacheLen {
		row := reference.CacheRow(cachePageTable, pageSize, t) * cacheCols
		copy(want[row:], c.keys[t*cacheCols:][:cacheCols])
		copy(vals[row:], c.vals[t*cacheCols:][:cacheCols])
	}
	return append(k.read(c.k), k.read(c.v)...), reference.Float64(want)
}

func pagedAttention(k *kit) ([]float32, []float64) {
	c := appended(k)
	h := reference.Heads{Heads: cacheHeads, KVHeads: cacheKVHeads, HeadDim: cacheHeadDim, Scale: ops.InvSqrt(cacheHeadDim)}
	q := reference.Uniform(3, cacheLen*cacheHeads*cacheHeadDim)
	out := k.zeros(cacheLen, cacheHeads*cacheHeadDim)
	k.stream.PagedAttention(out, k.floats(q, cacheLen, cacheHeads*cacheHeadDim), c.k, c.v, c.paged,
		ops.PagedHeads{Heads: h.Heads, KVHeads: h.KVHeads, HeadDim: h.HeadDim, Scale: h.Scale})
	return k.read(out), reference.Causal(q, c.keys, c.vals, 0, h)
}

func rope(k *kit) ([]float32, []float64) {
	const headDim, cols = 18, 3 * 18
	positions := []int32{0, 1, 700, 100000}
	frequencies := make([]float32, headDim/2)
	for j := range frequencies {
		frequencies[j] = float32(math.Pow(500000, -2*float64(j)/headDim))
	}
	x := reference.Uniform(1, len(positions)*cols)
	out := k.floats(x, len(positions), cols)
	k.stream.RoPE(out, k.ints(positions...), k.floats(frequencies, 1, headDim/2), headDim)
	return k.read(out), reference.RoPE(x, positions, frequencies, cols, headDim)
}

func swiglu(k *kit) ([]float32, []float64) {
	const rows, cols = 3, 77
	gate, up := reference.Uniform(1, rows*cols), reference.Uniform(2, rows*cols)
	out := k.floats(gate, rows, cols)
	k.stream.SwiGLU(out, out, k.floats(up, rows, cols))
	return k.read(out), reference.SwiGLU(gate, up)
}

func activation(act ops.Activation) func(k *kit) ([]float32, []float64) {
	return func(k *kit) ([]float32, []float64) {
		x := make([]float32, 161) // -8 to 8
		for i := range x {
			x[i] = float32(i)/10 - 8
		}
		out := k.floats(x, 1, len(x))
		k.stream.Activate(out, out, act)
		return k.read(out), reference.Activate(x, act)
	}
}

func copyRows(k *kit) ([]float32, []float64) {
	const cols = 33
	x := reference.Uniform(1, 6*cols)
	index := []int32{5, -1, 0}
	out, want := k.zeros(3, cols), make([]float32, 3*cols)
	k.stream.GatherRows(out, k.floats(x, 6, cols), k.ints(index...))
	reference.Gather(want, x, index, cols)
	return k.read(out), reference.Float64(want)
}

func softmax(k *kit) ([]float32, []float64) {
	const rows, cols = 3, 77
	x := reference.Uniform(1, rows*cols)
	for c := range cols {
		x[cols+c] = float32(math.Inf(-1)) // a row with everything masked is zeros
	}
	out := k.floats(x, rows, cols)
	k.stream.Softmax(out, out, 3)
	return k.read(out), reference.Softmax(x, cols, 3)
}

func topK(k *kit) ([]float32, []float64) {
	const rows, cols, most = 3, 77, 5
	x := reference.Uniform(1, rows*cols)
	x[70], x[3] = 2, 2 // equal: the lower index first
	ids, err := k.device.NewTensor(ops.I32, rows, most)
	ids = keep(k, ids, err)
	k.stream.TopK(ids, nil, k.floats(x, rows, cols))
	want := make([]float64, 0, rows*most)
	for _, id := range reference.TopK(x, cols, most) {
		want = append(want, float64(id))
	}
	return k.readInts(ids), want
}

func advance(k *kit) ([]float32, []float64) {
	ids, positions, lengths := k.ints(7, 8), k.ints(4, 0), k.ints(5, 0) // the second is idle
	k.stream.Advance(k.ints(30, 40), ids, positions, lengths)
	got := slices.Concat(k.readInts(ids), k.readInts(positions), k.readInts(lengths))
	return got, []float64{30, 8, 5, 0, 6, 0}
}

func checkFinite(k *kit) ([]float32, []float64) {
	const stage = 9
	x := reference.Uniform(1, 2*33)
	good := k.floats(x, 2, 33)
	k.stream.CheckFinite(good, stage)
	k.read(good)
	x[40] = float32(math.NaN())
	k.stream.CheckFinite(k.floats(x, 2, 33), stage)
	var fault *binding.FaultError
	found := errors.As(k.stream.Wait(), &fault) && fault.NotFinite() && fault.Stage == stage && fault.Index == 1 && fault.Value == 7
	k.expect(found, "a NaN at row 1, column 7 was not reported")
	return nil, nil
}

func penalize(k *kit) ([]float32, []float64) {
	const rows, cols = 2, 77
	x, counts, prompt := reference.Uniform(1, rows*cols), make([]int32, rows*cols), make([]byte, rows*cols)
	counts[3], counts[70], prompt[3], prompt[76], prompt[cols+5] = 2, 1, 1, 1, 1
	settings := []ops.Penalties{{Repetition: 1.3, Presence: 0.25, Frequency: 0.5}, {Repetition: 1}}
	out := k.floats(x, rows, cols)
	k.stream.Penalize(out, k.ints(counts...).Reshape(rows, cols), k.bytes(prompt, rows, cols), k.floats(ops.PenaltyRows(settings...), rows, ops.PenaltyCols))
	return k.read(out), reference.Penalize(x, counts, prompt, cols, settings)
}

func sample(k *kit) ([]float32, []float64) {
	const rows, cols = 8, 77
	x := reference.Uniform(1, rows*cols)
	var settings []ops.Sampling
	var positions []int32
	var want []float64
	for row := range rows {
		p := ops.Sampling{Temperature: 0.5, TopK: 40, TopP: 0.9, MinP: 0.05, Seed: uint64(row) << 33}
		if row == 0 {
			p = ops.Sampling{} // the largest
		}
		settings, positions = append(settings, p), append(positions, int32(row))
		want = append(want, float64(reference.Sample(x[row*cols:][:cols], p, row)))
	}
	ids, counts := k.ints(make([]int32, rows)...), k.ints(make([]int32, rows*cols)...).Reshape(rows, cols)
	k.stream.Sample(ids, k.floats(x, rows, cols), k.ints(ops.SamplingRows(settings...)...).Reshape(rows, ops.SamplingCols), k.ints(positions...), counts)
	got := k.readInts(ids)
	for i, n := range k.readInts(counts) {
		k.expect((n == 1) == (want[i/cols] == float64(i%cols)), "count %d of row %d is %v", i%cols, i/cols, n)
	}
	return got, want
}

func logProb(k *kit) ([]float32, []float64) {
	const rows, cols = 3, 77
	x, ids := reference.Uniform(1, rows*cols), []int32{0, 76, 5, 6, 7, 8}
	out := k.zeros(rows, 2)
	k.stream.LogProb(out, k.floats(x, rows, cols), k.ints(ids...).Reshape(rows, 2))
	return k.read(out), reference.LogProb(x, ids, cols)
}

// replay runs a captured counter: each step adds one to a position.
func replay(k *kit) ([]float32, []float64) {
	next, positions, lengths := k.ints(1), k.ints(0), k.ints(1)
	graph, err := k.stream.Capture(positions, positions, func() { k.stream.Advance(next, nil, positions, lengths) })
	if err != nil {
		k.fail(err)
		return nil, nil
	}
	out := make([]byte, 3*4)
	done, err := graph.Replay(3, []byte{40, 0, 0, 0}, out)
	if err != nil {
		k.fail(err)
	}
	if err := graph.Free(); err != nil {
		k.fail(err)
	}
	k.expect(done == 3, "%d of 3 steps ran", done)
	return []float32{float32(out[0]), float32(out[4]), float32(out[8])}, []float64{41, 42, 43}
}

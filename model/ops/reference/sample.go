package reference

import (
	"math"
	"math/bits"
	"slices"

	"github.com/llama3v/llama3v/model/ops"
)

// Penalize is x after the penalties of each row, rows of cols values; prompt may be nil.
func Penalize(x []float32, counts []int32, prompt []byte, cols int, settings []ops.Penalties) []float64 {
	out := Float64(x)
	for i := range out {
		p := settings[i/cols]
		if p == (ops.Penalties{}) {
			continue
		}
		if counts[i] > 0 || prompt != nil && prompt[i] != 0 {
			if out[i] < 0 {
				out[i] *= float64(p.Repetition)
			} else {
				out[i] /= float64(p.Repetition)
			}
		}
		if counts[i] > 0 {
			out[i] -= float64(p.Presence) + float64(p.Frequency)*float64(counts[i])
		}
	}
	return out
}

// Philox is Philox4x32-10 (Salmon et al. 2011, doi:10.1145/2063384.2063405).
func Philox(counter [4]uint32, key [2]uint32) [4]uint32 {
	for range 10 {
		high0, low0 := bits.Mul32(0xD2511F53, counter[0])
		high1, low1 := bits.Mul32(0xCD9E8D57, counter[2])
		counter = [4]uint32{high1 ^ counter[1] ^ key[0], low1, high0 ^ counter[3] ^ key[1], low0}
		key[0] += 0x9E3779B9
		key[1] += 0xBB67AE85
	}
	return counter
}

// Uniform01 is the number in [0, 1) behind the draw at a position.
func Uniform01(seed uint64, position int) float64 {
	r := Philox([4]uint32{uint32(position)}, [2]uint32{uint32(seed), uint32(seed >> 32)})
	return float64((uint64(r[0])<<32|uint64(r[1]))>>11) / (1 << 53)
}

// Probabilities is the distribution that a row is drawn from: 0 for what the settings take out.
func Probabilities(x []float32, p ops.Sampling) []float64 {
	out := make([]float64, len(x))
	order := TopK(x, len(x), len(x)) // largest first, the lower index first among equals
	top := float64(x[order[0]])
	if p.Temperature == 0 {
		out[order[0]] = 1
		return out
	}
	for i, v := range x {
		out[i] = math.Exp((float64(v) - top) / float64(p.Temperature))
	}
	if p.TopK > 0 && p.TopK < len(x) {
		for i, v := range x {
			if v < x[order[p.TopK-1]] {
				out[i] = 0
			}
		}
	}
	if p.TopP < 1 {
		// From the smallest up, what sums up to at most 1 - p of all is out; the largest stays.
		sum, all := 0.0, sum(out)
		for _, id := range slices.Backward(order[1:]) {
			if sum += out[id]; sum <= (1-float64(p.TopP))*all {
				out[id] = 0
			}
		}
	}
	for i := range out {
		if out[i] < float64(p.MinP) { // the largest is 1
			out[i] = 0
		}
	}
	all := sum(out)
	for i := range out {
		out[i] /= all
	}
	return out
}

// Sample is the column drawn from a row.
func Sample(x []float32, p ops.Sampling, position int) int32 {
	last, sum, u := 0, 0.0, Uniform01(p.Seed, position)
	for i, v := range Probabilities(x, p) {
		if v == 0 {
			continue
		}
		if last, sum = i, sum+v; sum > u {
			break
		}
	}
	return int32(last)
}

// LogProb is x[ids[j]] - log(sum(exp(x))), rows of cols values and of as many ids each.
func LogProb(x []float32, ids []int32, cols int) []float64 {
	k := len(ids) * cols / len(x)
	out := make([]float64, len(ids))
	for i, id := range ids {
		row := x[i/k*cols:][:cols]
		top := float64(slices.Max(row))
		all := 0.0
		for _, v := range row {
			all += math.Exp(float64(v) - top)
		}
		out[i] = float64(row[id]) - top - math.Log(all)
	}
	return out
}

func sum(list []float64) float64 {
	total := 0.0
	for _, v := range list {
		total += v
	}
	return total
}

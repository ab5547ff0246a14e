package reference

import "math"

// LayerNorm is (x - mean) / sqrt(var + eps) * weight + bias for each row of cols values.
func LayerNorm(x, weight, bias []float32, cols int, eps float32) []float64 {
	out := make([]float64, len(x))
	for at := 0; at < len(x); at += cols {
		row := x[at : at+cols]
		var mean, variance float64
		for _, v := range row {
			mean += float64(v) / float64(cols)
		}
		for _, v := range row {
			variance += (float64(v) - mean) * (float64(v) - mean) / float64(cols)
		}
		for c, v := range row {
			out[at+c] = (float64(v)-mean)/math.Sqrt(variance+float64(eps))*float64(weight[c]) + float64(bias[c])
		}
	}
	return out
}

// RMSNorm is x / sqrt(mean(x²) + eps) * weight for each row of cols values.
func RMSNorm(x, weight []float32, cols int, eps float32) []float64 {
	out := make([]float64, len(x))
	for at := 0; at < len(x); at += cols {
		row := x[at : at+cols]
		scale := 1 / math.Sqrt(dot(row, row)/float64(cols)+float64(eps))
		for c, v := range row {
			out[at+c] = float64(v) * scale * float64(weight[c])
		}
	}
	return out
}

// Softmax is softmax(scale x) for each row of cols values; -inf is masked, and a row of nothing else
// becomes zeros.
func Softmax(x []float32, cols int, scale float32) []float64 {
	out := make([]float64, len(x))
	for at := 0; at < len(x); at += cols {
		scores := Float64(x[at : at+cols])
		for i := range scores {
			scores[i] *= float64(scale)
		}
		copy(out[at:], weigh(scores))
	}
	return out
}

// weigh is the softmax of a row in place, zeros when every score is -inf.
func weigh(scores []float64) []float64 {
	most := math.Inf(-1)
	for _, v := range scores {
		most = math.Max(most, v)
	}
	var sum float64
	for i, v := range scores {
		if math.IsInf(most, -1) {
			scores[i] = 0
			continue
		}
		scores[i] = math.Exp(v - most)
		sum += scores[i]
	}
	for i := range scores {
		if sum > 0 {
			scores[i] /= sum
		}
	}
	return scores
}

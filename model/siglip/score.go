package siglip

import (
	"fmt"
	"math"

	"github.com/llama3v/llama3v/model/ops"
)

// Scores says how well pictures and texts go together.
type Scores struct {
	Logits []float32 // [pictures, texts]
	Probs  []float32 // sigmoids of the logits: every pair by itself, a row does not add up to 1
}

// Compare scores embeddings pictures [n, dim] against texts [m, dim], normalised or not, as SigLIP's
// loss defines it (arXiv:2303.15343, algorithm 1):
//
//	logit = exp(scale) * cos(picture, text) + bias
//
// Errors: ops.ErrShape; an embedding of length 0 has no direction and is ErrNoDirection.
func Compare(pictures, texts []float32, dim int, scale, bias float32) (*Scores, error) {
	if dim < 1 || len(pictures) == 0 || len(texts) == 0 || len(pictures)%dim != 0 || len(texts)%dim != 0 {
		return nil, fmt.Errorf("%w: %d and %d values for embeddings of %d", ops.ErrShape, len(pictures), len(texts), dim)
	}
	p, err := Directions(pictures, dim)
	if err != nil {
		return nil, fmt.Errorf("picture %w", err)
	}
	t, err := Directions(texts, dim)
	if err != nil {
		return nil, fmt.Errorf("text %w", err)
	}
	factor := math.Exp(float64(scale))
	scores := &Scores{}
	for i := 0; i < len(p); i += dim {
		for j := 0; j < len(t); j += dim {
			var cos float64
			for k, v := range p[i:][:dim] {
				cos += float64(v) * float64(t[j+k])
			}
			logit := factor*cos + float64(bias)
			scores.Logits = append(scores.Logits, float32(logit))
			scores.Probs = append(scores.Probs, float32(1/(1+math.Exp(-logit))))
		}
	}
	return scores, nil
}

// ErrNoDirection is for an embedding that cannot be normalised: its length is 0, or not finite.
var ErrNoDirection = fmt.Errorf("%w: an embedding without a direction", ops.ErrShape)

// Directions gives rows [n, dim] divided by their lengths.
func Directions(rows []float32, dim int) ([]float32, error) {
	out := make([]float32, len(rows))
	for at := 0; at < len(rows); at += dim {
		var sum float64
		for _, v := range rows[at:][:dim] {
			sum += float64(v) * float64(v)
		}
		length := math.Sqrt(sum)
		if length == 0 || math.IsInf(length, 0) || math.IsNaN(length) {
			return nil, fmt.Errorf("%d: %w: its length is %v", at/dim+1, ErrNoDirection, length)
		}
		for k, v := range rows[at:][:dim] {
			out[at+k] = float32(float64(v) / length)
		}
	}
	return out, nil
}

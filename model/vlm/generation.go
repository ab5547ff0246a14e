package vlm

import (
	"math"

	"github.com/llama3v/llama3v/model/weights"
)

// Generation is the sampling that a model's generation_config.json asks for.
type Generation struct {
	Temperature float64 // 0: greedy
	TopK        int     // 0: all
	TopP, MinP  float64
	Repetition  float64
}

// readGeneration reads the file with transformers' defaults (4.54.1, generation/configuration_utils.py):
// without do_sample the warpers do nothing; with it an absent temperature is 1 and an absent top_k 50.
func readGeneration(file *weights.Config) *Generation {
	g := &Generation{TopP: 1, Repetition: file.FloatOr("repetition_penalty", 1, 0.01, 100)}
	if file.BoolOr("do_sample", false) {
		g.Temperature = file.FloatOr("temperature", 1, 0, 1000)
		g.TopK = file.IntOr("top_k", 50, 0, math.MaxInt32)
		g.TopP = file.FloatOr("top_p", 1, math.SmallestNonzeroFloat32, 1)
		g.MinP = file.FloatOr("min_p", 0, 0, 1)
	}
	return g
}

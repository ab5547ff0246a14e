package llama

import "math"

// Scaling is the "llama3" rule of long-context checkpoints (Llama 3.1 and later): low frequencies
// are divided by Factor, high ones stay, and a band between them is blended.
type Scaling struct {
	Factor, LowFreq, HighFreq float64
	Original                  int // positions the model was first trained on
}

// Frequencies are the rotary angles per position, [headDim/2] radians, for pairs (j, j+headDim/2):
// theta^(-2j/headDim), scaled where the config says so (transformers' modeling_rope_utils.py,
// _compute_llama3_parameters).
func (c Config) Frequencies() []float32 {
	list := make([]float32, c.HeadDim/2)
	for j := range list {
		f := math.Pow(c.RopeTheta, -2*float64(j)/float64(c.HeadDim))
		if c.Scaling != nil {
			f = c.Scaling.apply(f)
		}
		if c.Factors != nil {
			f /= float64(c.Factors[j])
		}
		list[j] = float32(f)
	}
	return list
}

func (s *Scaling) apply(f float64) float64 {
	wavelength := 2 * math.Pi / f
	switch {
	case wavelength < float64(s.Original)/s.HighFreq:
		return f
	case wavelength > float64(s.Original)/s.LowFreq:
		return f / s.Factor
	}
	blend := (float64(s.Original)/wavelength - s.LowFreq) / (s.HighFreq - s.LowFreq)
	return (1-blend)*f/s.Factor + blend*f
}

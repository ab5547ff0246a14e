package llama3v

import (
	"fmt"
	"math/rand/v2"

	"github.com/llama3v/llama3v/model/llama"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/vlm"
)

// sampling says how the tokens of an answer are chosen.
type sampling struct {
	temperature, topP, minP         float64
	topK                            int
	repetition, presence, frequency float64
	seed                            *uint64 // nil: any
	logProbs                        int     // alternatives; below zero: no log-probabilities at all
}

var greedy = sampling{topP: 1, repetition: 1, logProbs: -1}

// take brings in the settings of generation_config.json, if there is one.
func (s *sampling) take(g *vlm.Generation) {
	if g == nil {
		return
	}
	s.temperature, s.topK, s.topP, s.minP, s.repetition = g.Temperature, g.TopK, g.TopP, g.MinP, g.Repetition
}

// choice is the settings as the runner takes them, and the seed, which is drawn where none was given.
func (s *sampling) choice(prompt []int32) (llama.Choice, uint64) {
	// A number that every JSON reader can hold.
	seed := rand.Uint64N(1 << 53)
	if s.seed != nil {
		seed = *s.seed
	}
	c := llama.Choice{
		Sampling:  ops.Sampling{Temperature: float32(s.temperature), TopK: s.topK, TopP: float32(s.topP), MinP: float32(s.minP), Seed: seed},
		Penalties: ops.Penalties{Repetition: float32(s.repetition), Presence: float32(s.presence), Frequency: float32(s.frequency)},
		LogProbs:  s.logProbs >= 0,
		Prompt:    prompt,
	}
	if c.Sampling.Temperature == 0 {
		seed = 0
	}
	return c, seed
}

// ModelDefaults takes the sampling that the model's generation_config.json asks for: temperature, top-k,
// top-p and min-p where it has do_sample, and the repetition penalty. As in transformers, a file that
// samples and names no top_k means 50. Options behind it change single settings. Without this option an
// answer is greedy whatever the file says.
func ModelDefaults() GenerateOption {
	return func(c *generateConfig) error { c.sampling.take(c.model); return nil }
}

// Temperature divides the scores before a token is drawn: below 1 the likely become likelier, above 1
// the unlikely. 0, the default, is greedy: the likeliest token, the lowest id among equals.
func Temperature(t float64) GenerateOption {
	return within("temperature", t, 0, 1000, func(c *generateConfig) { c.sampling.temperature = t })
}

// TopK draws only from the k likeliest tokens, and what equals the k-th; 0, the default, from all.
func TopK(k int) GenerateOption {
	return func(c *generateConfig) error {
		if k < 0 {
			return fmt.Errorf("%w: top-k %d", ErrOption, k)
		}
		c.sampling.topK = k
		return nil
	}
}

// TopP draws only from the likeliest tokens whose probabilities together reach p, above 0 and at most 1
// (Holtzman et al. 2020, arXiv:1904.09751). 1, the default, is all.
func TopP(p float64) GenerateOption {
	return func(c *generateConfig) error {
		if !(float32(p) > 0 && p <= 1) {
			return fmt.Errorf("%w: top-p %v (above 0, at most 1)", ErrOption, p)
		}
		c.sampling.topP = p
		return nil
	}
}

// MinP draws only from tokens with at least p times the probability of the likeliest, p from 0, the
// default, to 1.
func MinP(p float64) GenerateOption {
	return within("min-p", p, 0, 1, func(c *generateConfig) { c.sampling.minP = p })
}

// RepetitionPenalty divides the positive scores of tokens that the prompt or the answer has already by
// p, and multiplies the negative ones (Keskar et al. 2019, arXiv:1909.05858); p from 0.01 to 100, 1 by
// default. Positions of pictures are no tokens.
func RepetitionPenalty(p float64) GenerateOption {
	return within("repetition penalty", p, 0.01, 100, func(c *generateConfig) { c.sampling.repetition = p })
}

// PresencePenalty takes p off the score of each token that the answer has already; from -100 to 100.
func PresencePenalty(p float64) GenerateOption {
	return within("presence penalty", p, -100, 100, func(c *generateConfig) { c.sampling.presence = p })
}

// FrequencyPenalty takes p off the score of a token for each time that the answer has it; from -100 to
// 100.
func FrequencyPenalty(p float64) GenerateOption {
	return within("frequency penalty", p, -100, 100, func(c *generateConfig) { c.sampling.frequency = p })
}

// Seed makes sampling repeatable: the same seed, prompt and settings give the same answer, alone or
// beside others, with its beginning reused or not. Without it each answer has a new seed, which
// Answer.Seed tells.
func Seed(seed uint64) GenerateOption {
	return func(c *generateConfig) error { c.sampling.seed = &seed; return nil }
}

// LogProbs gives the log-probability of each token of the answer, and of up to n of the likeliest in
// its place, n from 0 to 20: see Token.LogProbs and Answer.LogProbs.
func LogProbs(n int) GenerateOption {
	return func(c *generateConfig) error {
		if n < 0 || n > llama.MaxLogProbs {
			return fmt.Errorf("%w: log-probabilities of %d alternatives (0 to %d)", ErrOption, n, llama.MaxLogProbs)
		}
		c.sampling.logProbs = n
		return nil
	}
}

// within refuses a value outside its range, and NaN.
func within(what string, v, least, most float64, set func(*generateConfig)) GenerateOption {
	return func(c *generateConfig) error {
		if !(v >= least && v <= most) {
			return fmt.Errorf("%w: %s %v (%v to %v)", ErrOption, what, v, least, most)
		}
		set(c)
		return nil
	}
}

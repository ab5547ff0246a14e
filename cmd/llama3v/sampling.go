package main

import (
	"github.com/spf13/cobra"

	"github.com/llama3v/llama3v"
)

// sampling is how an answer's tokens are chosen, as flags and as fields of a batch line; nil is not set.
type sampling struct {
	MaxTokens         *int     `json:"max_tokens"`
	Temperature       *float64 `json:"temperature"`
	TopK              *int     `json:"top_k"`
	TopP              *float64 `json:"top_p"`
	MinP              *float64 `json:"min_p"`
	RepetitionPenalty *float64 `json:"repetition_penalty"`
	PresencePenalty   *float64 `json:"presence_penalty"`
	FrequencyPenalty  *float64 `json:"frequency_penalty"`
	Seed              *uint64  `json:"seed"`
	LogProbs          *int     `json:"logprobs"`
	Stop              []string `json:"stop"`
}

// addSampling declares the flags. What it returns says, once they are parsed, which were set.
func addSampling(cmd *cobra.Command) func() sampling {
	flags := cmd.Flags()
	real := func(name string, value float64, what string) func() *float64 {
		return set(cmd, name, flags.Float64(name, value, what))
	}
	maxTokens := set(cmd, "max-tokens", flags.Int("max-tokens", 256, "most tokens of an answer"))
	temperature := real("temperature", 0, "0: the likeliest token; above: drawn, the flatter the higher")
	topK := set(cmd, "top-k", flags.Int("top-k", 0, "draw from the k likeliest only (0: all)"))
	topP := real("top-p", 1, "draw from the likeliest that reach this probability together")
	minP := real("min-p", 0, "draw from those with at least this part of the likeliest's probability")
	repetition := real("repetition-penalty", 1, "divide the scores of tokens that prompt or answer have")
	presence := real("presence-penalty", 0, "take this off the scores of tokens that the answer has")
	frequency := real("frequency-penalty", 0, "take this off for each time that the answer has a token")
	seed := set(cmd, "seed", flags.Uint64("seed", 0, "repeat the draws of this seed (default: a new one, which --json tells)"))
	logProbs := set(cmd, "logprobs", flags.Int("logprobs", 0, "log-probabilities of the tokens and of so many alternatives, with --json or --batch"))
	stop := flags.StringArray("stop", nil, "end the answer before this text (may be repeated)")
	return func() sampling {
		return sampling{maxTokens(), temperature(), topK(), topP(), minP(), repetition(), presence(), frequency(), seed(), logProbs(), *stop}
	}
}

// set gives a flag's value, or nil where the command line does not have it.
func set[T any](cmd *cobra.Command, name string, value *T) func() *T {
	return func() *T {
		if !cmd.Flags().Changed(name) {
			return nil
		}
		return value
	}
}

func (s sampling) options() []llama3v.GenerateOption {
	var opts []llama3v.GenerateOption
	opts = with(opts, s.MaxTokens, llama3v.MaxTokens)
	opts = with(opts, s.Temperature, llama3v.Temperature)
	opts = with(opts, s.TopK, llama3v.TopK)
	opts = with(opts, s.TopP, llama3v.TopP)
	opts = with(opts, s.MinP, llama3v.MinP)
	opts = with(opts, s.RepetitionPenalty, llama3v.RepetitionPenalty)
	opts = with(opts, s.PresencePenalty, llama3v.PresencePenalty)
	opts = with(opts, s.FrequencyPenalty, llama3v.FrequencyPenalty)
	opts = with(opts, s.Seed, llama3v.Seed)
	opts = with(opts, s.LogProbs, llama3v.LogProbs)
	return append(opts, llama3v.Stop(s.Stop...))
}

func with[T any](opts []llama3v.GenerateOption, value *T, option func(T) llama3v.GenerateOption) []llama3v.GenerateOption {
	if value == nil {
		return opts
	}
	return append(opts, option(*value))
}

// logProbsJSON are the log-probabilities of one token of an answer.
type logProbsJSON struct {
	logProbJSON
	Top []logProbJSON `json:"top"`
}

type logProbJSON struct {
	ID      int32   `json:"id"`
	Text    string  `json:"text"`
	LogProb float64 `json:"logprob"`
}

func newLogProbsJSON(all []llama3v.TokenLogProbs) []logProbsJSON {
	var list []logProbsJSON
	for _, p := range all {
		one := logProbsJSON{logProbJSON(p.Token), []logProbJSON{}}
		for _, top := range p.Top {
			one.Top = append(one.Top, logProbJSON(top))
		}
		list = append(list, one)
	}
	return list
}

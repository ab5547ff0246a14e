package llama

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/internal/testdevice"
	"github.com/llama3v/llama3v/model/ops"
	opsref "github.com/llama3v/llama3v/model/ops/reference"
)

var drawn = ops.Sampling{Temperature: 1.5, TopK: 20, TopP: 0.95, MinP: 0.01, Seed: 11}

// choose runs a prompt of ids and n more tokens as choice says.
func choose(t testing.TB, r *Runner, s *ops.Stream, choice Choice, ids []int32, n int) []int32 {
	t.Helper()
	seq := reserve(t, r, len(ids)+n)
	defer seq.Close()
	seq.Choose(choice)
	return proceed(t, r, s, seq, ids, nil, 7, n).ids
}

// Each token is the one that penalties and draw of the reference give on the greedy run's logits at its
// place: the settings, the counts of the answer, the prompt's ids and the position all arrive.
func TestTokensAreChosenAsTheReferenceChooses(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		r, s := runner(t, dev, toy(t, toyConfig), toySizes), dev.Stream()
		vocab, prompt := r.Decoder.Config.Vocab, []int32{4, 9, 9, 31, 7}
		for _, tc := range []struct {
			name   string
			choice Choice
		}{
			{"greedy", Choice{}},
			{"greedy by temperature 0, whatever else is set", Choice{Sampling: ops.Sampling{TopK: 3, TopP: 0.5, Seed: 4}}},
			{"temperature", Choice{Sampling: ops.Sampling{Temperature: 1, TopP: 1, Seed: 5}}},
			{"a high temperature", Choice{Sampling: ops.Sampling{Temperature: 3, TopP: 1, Seed: 1 << 40}}},
			{"P58: a temperature near 0", Choice{Sampling: ops.Sampling{Temperature: 1e-9, TopP: 1, Seed: 6}}},
			{"all of them", Choice{Sampling: drawn}},
			{"repetition", Choice{Penalties: ops.Penalties{Repetition: 1.8}, Prompt: prompt}},
			{"P59: slots are no ids", Choice{Penalties: ops.Penalties{Repetition: 1.8}, Prompt: append([]int32{Slot, Slot}, prompt...)}},
			{"presence", Choice{Penalties: ops.Penalties{Repetition: 1, Presence: 2}}},
			{"frequency", Choice{Penalties: ops.Penalties{Repetition: 1, Frequency: 0.7}}},
			{"penalties and a draw", Choice{Sampling: drawn, Penalties: ops.Penalties{Repetition: 1.2, Presence: 0.5, Frequency: 0.2}, Prompt: prompt}},
			{"with log-probabilities", Choice{Sampling: drawn, Penalties: ops.Penalties{Repetition: 1.2, Presence: 0.5}, LogProbs: true, Prompt: prompt}},
		} {
			t.Run(tc.name, func(t *testing.T) {
				got := choose(t, r, s, tc.choice, prompt, 30)
				text := append(append([]int32(nil), prompt...), got...)
				logits := score(t, dev, r, text, nil)
				counts, mask := make([]int32, vocab), make([]uint8, vocab)
				for _, id := range tc.choice.Prompt {
					if id >= 0 {
						mask[id] = 1
					}
				}
				for i, id := range got {
					position := len(prompt) - 1 + i
					row := make([]float32, vocab)
					for j, v := range opsref.Penalize(logits[position*vocab:][:vocab], counts, mask, vocab, []ops.Penalties{tc.choice.Penalties}) {
						row[j] = float32(v)
					}
					want := opsref.Sample(row, tc.choice.Sampling, position)
					require.Equal(t, want, id, "token %d of %v", i, got)
					counts[id]++
				}
			})
		}
		require.NotEqual(t, choose(t, r, s, Choice{Sampling: drawn}, prompt, 30),
			choose(t, r, s, Choice{Sampling: ops.Sampling{Temperature: 1.5, TopK: 20, TopP: 0.95, MinP: 0.01, Seed: 12}}, prompt, 30), "the seed matters")
	})
}

// Sequences of every kind that take turns choose what they choose alone.
func TestChoicesThatTakeTurns(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		r, s := runner(t, dev, toy(t, toyConfig), toySizes), dev.Stream()
		choices := []Choice{
			{}, {Sampling: drawn}, {Penalties: ops.Penalties{Repetition: 2}, Prompt: text(5)},
			{Sampling: drawn, Penalties: ops.Penalties{Presence: 1, Repetition: 1}, LogProbs: true}, {Penalties: ops.Penalties{Repetition: 1, Frequency: 1}},
		}
		var want, got [][]int32
		var seqs []*Sequence
		for _, c := range choices {
			want = append(want, choose(t, r, s, c, text(5), 20))
		}
		for _, c := range choices {
			seq := reserve(t, r, 25)
			defer seq.Close()
			seq.Choose(c)
			seqs = append(seqs, seq)
			got = append(got, proceed(t, r, s, seq, text(5), nil, 5, 0).ids)
		}
		for range 20 {
			for i, seq := range seqs {
				next, err := r.Decode(seq, got[i][len(got[i])-1])
				require.NoError(t, err)
				got[i] = append(got[i], next)
			}
		}
		require.Equal(t, want, got)
	})
}

// A step that failed counts no token, also where the device had already chosen one.
func TestChoicesGoOnAfterAFailedStep(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		r, s := runner(t, dev, toy(t, toyConfig), toySizes), dev.Stream()
		choice := Choice{Sampling: drawn, Penalties: ops.Penalties{Repetition: 1, Frequency: 3}}
		want := choose(t, r, s, choice, text(5), 20)
		seq := reserve(t, r, 25)
		defer seq.Close()
		seq.Choose(choice)
		got := proceed(t, r, s, seq, text(5), nil, 5, 10).ids
		_, err := r.Decode(seq, 53)
		require.Error(t, err)
		for range 10 {
			next, err := r.Decode(seq, got[len(got)-1])
			require.NoError(t, err)
			got = append(got, next)
		}
		require.Equal(t, want, got)
	})
}

// Log-probabilities are the model's own, of the greedy run's logits, whatever was done to them to choose.
func TestLogProbs(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		r, s := runner(t, dev, toy(t, toyConfig), toySizes), dev.Stream()
		vocab := r.Decoder.Config.Vocab
		seq := reserve(t, r, 30)
		defer seq.Close()
		seq.Choose(Choice{Sampling: drawn, Penalties: ops.Penalties{Repetition: 5}, LogProbs: true, Prompt: text(5)})
		next, err := r.Prefill(s, seq, text(5), nil, true)
		ids := text(5)
		for i := range 20 {
			require.NoError(t, err)
			chosen, top, err2 := r.LogProbs(i % 8)
			require.NoError(t, err2)
			require.Equal(t, next, chosen.ID)
			require.Len(t, top, i%8)
			logits := score(t, dev, r, ids, nil)
			row := logits[len(logits)-vocab:]
			sum := 0.0
			for _, v := range row {
				sum += math.Exp(float64(v))
			}
			for _, p := range append(top, chosen) {
				require.InDelta(t, float64(row[p.ID])-math.Log(sum), p.LogProb, 1e-5)
			}
			for k, p := range top {
				better := 0
				for id, v := range row {
					if v > row[p.ID] || v == row[p.ID] && id < int(p.ID) {
						better++
					}
				}
				require.Equal(t, k, better, "alternative %d", k)
			}
			ids = append(ids, next)
			next, err = r.Decode(seq, next)
		}
		_, top, err := r.LogProbs(MaxLogProbs + 5)
		require.NoError(t, err)
		require.Len(t, top, MaxLogProbs, "no more than there are")
	})
}

// A drawn token is one call and no allocation, too; one with log-probabilities that are not read as well.
func TestChosenDecodeIsOneReplay(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		r, s := runner(t, dev, toy(t, toyConfig), Sizes{Positions: 512, Context: 512, PrefillRows: 8}), dev.Stream()
		for name, choice := range map[string]Choice{
			"drawn": {Sampling: drawn}, "penalised": {Penalties: ops.Penalties{Repetition: 1.1, Frequency: 0.1}, Prompt: text(5)},
			"log-probabilities": {Sampling: drawn, LogProbs: true},
		} {
			seq := reserve(t, r, 512)
			seq.Choose(choice)
			next, err := r.Prefill(s, seq, text(5), nil, true)
			require.NoError(t, err)
			before, err := dev.Counters()
			require.NoError(t, err)
			require.Zero(t, testing.AllocsPerRun(100, func() {
				if next, err = r.Decode(seq, next); err != nil {
					t.Fatal(err)
				}
			}), "%s: allocations of Go per token", name)
			after, err := dev.Counters()
			require.NoError(t, err)
			require.LessOrEqual(t, after.Entries-before.Entries, int64(2*101), name)
			require.Equal(t, before.Allocations, after.Allocations, name)
			seq.Close()
		}
	})
}

func TestChoiceChangedInTheMiddle(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		r, s := runner(t, dev, toy(t, toyConfig), toySizes), dev.Stream()
		seq := reserve(t, r, 30)
		defer seq.Close()
		seq.Choose(Choice{Sampling: drawn})
		ids := proceed(t, r, s, seq, text(5), nil, 5, 5).ids
		cold := Choice{Sampling: ops.Sampling{Temperature: 1e-9, TopP: 1}}
		seq.Choose(cold)
		next, err := r.Decode(seq, ids[5])
		require.NoError(t, err)
		l, err := r.Logits(true)
		require.NoError(t, err)
		require.EqualValues(t, argMax(l), next)
	})
}

package llama3v_test

import (
	"context"
	"errors"
	"image/color"
	"math"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v"
)

func TestSamplingOptionsAreChecked(t *testing.T) {
	m := openDemo(t)
	for _, tc := range []struct {
		name string
		opt  llama3v.GenerateOption
		ok   bool
	}{
		{"P58: temperature 0", llama3v.Temperature(0), true},
		{"P58: a tiny temperature", llama3v.Temperature(1e-9), true},
		{"P58: one that float32 does not have", llama3v.Temperature(1e-60), true},
		{"P58: a negative temperature", llama3v.Temperature(-1), false},
		{"no number", llama3v.Temperature(math.NaN()), false},
		{"infinity", llama3v.Temperature(math.Inf(1)), false},
		{"top-k 0 is all", llama3v.TopK(0), true},
		{"top-k of more than there are", llama3v.TopK(math.MaxInt), true},
		{"a negative top-k", llama3v.TopK(-1), false},
		{"top-p 1", llama3v.TopP(1), true},
		{"top-p 0", llama3v.TopP(0), false},
		{"top-p above 1", llama3v.TopP(1.01), false},
		{"top-p that is no number", llama3v.TopP(math.NaN()), false},
		{"min-p 0", llama3v.MinP(0), true},
		{"min-p 1", llama3v.MinP(1), true},
		{"min-p below 0", llama3v.MinP(-0.1), false},
		{"min-p above 1", llama3v.MinP(1.1), false},
		{"repetition penalty 0", llama3v.RepetitionPenalty(0), false},
		{"repetition penalty below 0", llama3v.RepetitionPenalty(-1), false},
		{"repetition penalty infinity", llama3v.RepetitionPenalty(math.Inf(1)), false},
		{"presence penalty below 0", llama3v.PresencePenalty(-2), true},
		{"presence penalty no number", llama3v.PresencePenalty(math.NaN()), false},
		{"frequency penalty infinity", llama3v.FrequencyPenalty(math.Inf(-1)), false},
		{"every seed", llama3v.Seed(math.MaxUint64), true},
		{"log-probabilities of the token alone", llama3v.LogProbs(0), true},
		{"as many alternatives as there are", llama3v.LogProbs(20), true},
		{"one more", llama3v.LogProbs(21), false},
		{"less than none", llama3v.LogProbs(-1), false},
		{"an empty stop text", llama3v.Stop("x", ""), false},
		{"no stop texts", llama3v.Stop(), true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := m.Ask(context.Background(), "What is this?", picture("dog.jpg"), tc.opt, llama3v.MaxTokens(2))
			if tc.ok {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, llama3v.ErrOption)
			}
		})
	}
}

// How often a first token is drawn is what its log-probability says, filtered and not.
func TestDrawsFollowTheProbabilities(t *testing.T) {
	m := openDemo(t)
	red := solid(color.NRGBA{R: 200, A: 255}) // nothing to decode
	draw := func(draws int, opts ...llama3v.Input) map[string]float64 {
		seen := map[string]float64{}
		for seed := range draws {
			a := ask(t, m, "What is this?", append(opts, red, llama3v.MaxTokens(1), llama3v.Seed(uint64(seed)))...)
			seen[a.Text] += 1 / float64(draws)
		}
		return seen
	}
	top := ask(t, m, "What is this?", red, llama3v.MaxTokens(1), llama3v.LogProbs(20)).LogProbs[0].Top
	// The model is sure of itself: at temperature 4 its second choice is one in some draws.
	sum := 0.0
	weight := func(p llama3v.LogProb) float64 { return math.Exp((p.LogProb - top[0].LogProb) / 4) }
	for _, p := range top[:3] {
		sum += weight(p)
	}
	const draws = 500
	seen := draw(draws, llama3v.Temperature(4), llama3v.TopK(3))
	require.LessOrEqual(t, len(seen), 3)
	for _, p := range top[:3] {
		want := weight(p) / sum
		require.InDelta(t, want, seen[p.Text], 5*math.Sqrt(want*(1-want)/draws)+1e-9, "%q", p.Text)
	}
	require.Len(t, draw(30, llama3v.Temperature(4), llama3v.TopK(1)), 1)
	require.Len(t, draw(30, llama3v.Temperature(4), llama3v.TopP(1e-6)), 1)
	require.Len(t, draw(30, llama3v.Temperature(4), llama3v.MinP(1)), 1)
	require.Greater(t, len(draw(60, llama3v.Temperature(4))), 3)
}

var wild = []llama3v.Input{llama3v.Temperature(3), llama3v.TopP(0.98), llama3v.RepetitionPenalty(1.1), llama3v.IgnoreEOS(), llama3v.MaxTokens(40)}

// The same seed gives the same answer: again, with its beginning reused or not, and beside others.
func TestSeedRepeatsAnAnswer(t *testing.T) {
	m, fresh := openDemo(t, llama3v.WithCachePositions(4096)), openDemo(t, llama3v.WithPrefixReuse(false))
	sample := func(m *llama3v.Model, opts ...llama3v.Input) (*llama3v.Answer, error) {
		return m.Ask(context.Background(), "Describe the picture.", append(append([]llama3v.Input{picture("dog.jpg")}, wild...), opts...)...)
	}
	want := map[uint64]*llama3v.Answer{}
	texts := map[string]bool{}
	for seed := range uint64(4) {
		a, err := sample(fresh, llama3v.Seed(seed))
		require.NoError(t, err)
		require.True(t, a.Sampled)
		require.Equal(t, seed, a.Seed)
		require.Zero(t, a.ReusedTokens)
		want[seed] = a
		texts[a.Text] = true
	}
	require.Len(t, texts, 4, "seeds differ")
	var group sync.WaitGroup
	for i := range 16 {
		group.Go(func() {
			if i%4 == 3 {
				ask(t, m, "What is this?", picture("frog.png"))
			}
			seed := uint64(i % 4)
			a, err := sample(m, llama3v.Seed(seed))
			if err != nil || !equal(a.TokenIDs, want[seed].TokenIDs) {
				t.Errorf("seed %d: %v, %v", seed, a, err)
			}
		})
	}
	group.Wait()

	own, err := sample(m)
	require.NoError(t, err)
	require.Positive(t, own.ReusedTokens)
	again, err := sample(m, llama3v.Seed(own.Seed))
	require.NoError(t, err)
	require.Equal(t, own.TokenIDs, again.TokenIDs, "the seed that an answer tells repeats it")
	other, err := sample(m)
	require.NoError(t, err)
	require.NotEqual(t, own.Seed, other.Seed)
	require.False(t, ask(t, m, "What is this?", picture("dog.jpg")).Sampled)
}

func TestPenaltiesChangeTheAnswer(t *testing.T) {
	m := openDemo(t)
	longest := func(ids []int32) int {
		count, most := map[int32]int{}, 0
		for _, id := range ids {
			count[id]++
			most = max(most, count[id])
		}
		return most
	}
	plain := ask(t, m, "Describe the picture.", picture("dog.jpg"), llama3v.IgnoreEOS(), llama3v.MaxTokens(60))
	require.Greater(t, longest(plain.TokenIDs), 3, "past its end the model repeats itself")
	for name, opt := range map[string]llama3v.GenerateOption{
		"presence": llama3v.PresencePenalty(100), "frequency": llama3v.FrequencyPenalty(100)} {
		a := ask(t, m, "Describe the picture.", picture("dog.jpg"), llama3v.IgnoreEOS(), llama3v.MaxTokens(60), opt)
		require.Equal(t, 1, longest(a.TokenIDs), "%s: no token twice", name)
		require.False(t, a.Sampled)
	}
	repeated := ask(t, m, "Describe the picture.", picture("dog.jpg"), llama3v.IgnoreEOS(), llama3v.MaxTokens(60), llama3v.RepetitionPenalty(3))
	require.NotEqual(t, plain.TokenIDs, repeated.TokenIDs)
	one := ask(t, m, "Describe the picture.", picture("dog.jpg"), llama3v.RepetitionPenalty(1), llama3v.PresencePenalty(0))
	require.Equal(t, ask(t, m, "Describe the picture.", picture("dog.jpg")).TokenIDs, one.TokenIDs)
}

// P51: no part of a stop text is ever shown; what only might have become one is.
func TestStopTexts(t *testing.T) {
	m := openDemo(t)
	require.Equal(t, "A dog on a green background.", ask(t, m, "Describe the picture.", picture("dog.jpg")).Text)
	for _, tc := range []struct {
		name  string
		stops []string
		text  string
		found string
	}{
		{"a whole token", []string{" green"}, "A dog on a", " green"},
		{"across tokens", []string{"g on a gr"}, "A do", "g on a gr"},
		{"inside a token", []string{"ree"}, "A dog on a g", "ree"},
		{"at the beginning", []string{"A dog"}, "", "A dog"},
		{"at the end", []string{"."}, "A dog on a green background", "."},
		{"the first of two", []string{"background", " on"}, "A dog", " on"},
		{"one that begins but does not come", []string{"background. And"}, "A dog on a green background.", ""},
		{"one that never begins", []string{"cat"}, "A dog on a green background.", ""},
		{"the text of the end token is no text", []string{"<|eot_id|>"}, "A dog on a green background.", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var shown strings.Builder
			var a *llama3v.Answer
			for token, err := range m.Generate(context.Background(), llama3v.Chat{llama3v.User("Describe the picture.", picture("dog.jpg"))}, llama3v.Stop(tc.stops...)) {
				require.NoError(t, err)
				shown.WriteString(token.Text)
				require.True(t, strings.HasPrefix(tc.text, shown.String()), "shown: %q", shown.String())
				a = token.Answer
			}
			require.Equal(t, tc.text, a.Text)
			require.Equal(t, tc.text, shown.String())
			require.Equal(t, tc.found, a.StopText)
			if tc.found != "" {
				require.Equal(t, llama3v.FinishStopText, a.FinishReason)
				require.Zero(t, a.StopID)
			} else {
				require.Equal(t, llama3v.FinishStop, a.FinishReason)
				require.EqualValues(t, 1586, a.StopID)
			}
		})
	}
	short := ask(t, m, "Describe the picture.", picture("dog.jpg"), llama3v.MaxTokens(2), llama3v.Stop(" dog on a"))
	require.Equal(t, "A dog", short.Text, "what was held back comes out at the end")
	require.Equal(t, llama3v.FinishLength, short.FinishReason)
}

func TestLogProbs(t *testing.T) {
	m := openDemo(t)
	want := ask(t, m, "Describe the picture.", picture("dog.jpg"))
	require.Nil(t, want.LogProbs)
	var tokens []llama3v.Token
	for token, err := range m.Generate(context.Background(), llama3v.Chat{llama3v.User("Describe the picture.", picture("dog.jpg"))}, llama3v.LogProbs(3)) {
		require.NoError(t, err)
		tokens = append(tokens, token)
	}
	a := tokens[len(tokens)-1].Answer
	require.Equal(t, want.TokenIDs, a.TokenIDs, "asking changes nothing")
	require.Len(t, a.LogProbs, len(a.TokenIDs))
	var text strings.Builder
	for i, p := range a.LogProbs {
		require.Equal(t, p, *tokens[i].LogProbs)
		require.Equal(t, a.TokenIDs[i], p.Token.ID)
		require.Len(t, p.Top, 3)
		require.Equal(t, p.Token, p.Top[0], "greedy takes the likeliest")
		require.LessOrEqual(t, p.Token.LogProb, 0.0)
		sum := 0.0
		for k, top := range p.Top {
			sum += math.Exp(top.LogProb)
			if k > 0 {
				require.LessOrEqual(t, top.LogProb, p.Top[k-1].LogProb)
			}
		}
		require.LessOrEqual(t, sum, 1+1e-6)
		text.WriteString(p.Token.Text)
	}
	require.Equal(t, a.Text+"<|eot_id|>", text.String())

	last := logits(t, m, llama3v.Chat{llama3v.User("Describe the picture.", picture("dog.jpg"))})
	sum := 0.0
	for _, v := range last {
		sum += math.Exp(float64(v))
	}
	require.InDelta(t, float64(last[a.TokenIDs[0]])-math.Log(sum), a.LogProbs[0].Token.LogProb, 1e-5)

	hot := ask(t, m, "Describe the picture.", picture("dog.jpg"), llama3v.LogProbs(3), llama3v.Temperature(3), llama3v.RepetitionPenalty(1.5), llama3v.MaxTokens(1))
	require.Equal(t, a.LogProbs[0].Top, hot.LogProbs[0].Top, "of the model itself, whatever is drawn")
}

// generation_config.json counts where it is asked for, and options behind it change single settings.
func TestModelDefaults(t *testing.T) {
	file := `{"eos_token_id": [1586, 1583], "do_sample": true, "temperature": 3.0, "top_p": 0.98, "repetition_penalty": 1.1}`
	m := openFS(t, demoWith(t, "generation_config.json", func([]byte) []byte { return []byte(file) }))
	more := []llama3v.Input{picture("dog.jpg"), llama3v.Seed(9), llama3v.MaxTokens(40), llama3v.IgnoreEOS()}
	sample := func(opts ...llama3v.Input) *llama3v.Answer {
		return ask(t, m, "Describe the picture.", append(opts, more...)...)
	}
	greedy := sample()
	require.False(t, greedy.Sampled)
	a := sample(llama3v.ModelDefaults())
	require.True(t, a.Sampled)
	require.NotEqual(t, greedy.TokenIDs, a.TokenIDs)
	named := []llama3v.Input{llama3v.Temperature(3), llama3v.TopP(0.98), llama3v.RepetitionPenalty(1.1), llama3v.TopK(50)}
	require.Equal(t, sample(named...).TokenIDs, a.TokenIDs, "a top_k that the file lacks is 50")
	changed := sample(llama3v.ModelDefaults(), llama3v.Temperature(0))
	require.False(t, changed.Sampled)
	require.Equal(t, sample(llama3v.RepetitionPenalty(1.1)).TokenIDs, changed.TokenIDs)

	plain := openDemo(t) // do_sample is false
	require.False(t, ask(t, plain, "What is this?", picture("dog.jpg"), llama3v.ModelDefaults()).Sampled)
	for _, bad := range []string{`{"do_sample": true, "temperature": -1}`, `{"do_sample": true, "top_p": 2}`, `{"do_sample": true, "top_k": -5}`, `{"repetition_penalty": 0}`} {
		_, err := llama3v.OpenFS(context.Background(), demoWith(t, "generation_config.json", func([]byte) []byte { return []byte(bad) }))
		require.ErrorContains(t, err, "generation_config.json", bad)
	}
}

// P56, P57: a prompt's beginning is computed once, per picture; the answer is the one of a cold run.
func TestPrefixReuse(t *testing.T) {
	m, cold := openDemo(t), openDemo(t, llama3v.WithPrefixReuse(false))
	system := llama3v.System("You are a helper who looks at pictures with care and answers in one short sentence, please.")
	question := func(p llama3v.Picture, text string) llama3v.Chat { return llama3v.Chat{system, llama3v.User(text, p)} }
	red, blue := solid(color.NRGBA{R: 200, A: 255}), solid(color.NRGBA{B: 200, A: 255})
	generate := func(m *llama3v.Model, chat llama3v.Chat) *llama3v.Answer {
		var answer *llama3v.Answer
		for token, err := range m.Generate(context.Background(), chat, llama3v.LogProbs(5)) {
			require.NoError(t, err)
			answer = token.Answer
		}
		return answer
	}
	compare := func(chat llama3v.Chat, least, below int, why string) *llama3v.Answer {
		t.Helper()
		got, want := generate(m, chat), generate(cold, chat)
		require.Equal(t, want.TokenIDs, got.TokenIDs, why)
		require.Equal(t, want.LogProbs, got.LogProbs, "%s: bit for bit", why)
		require.Zero(t, want.ReusedTokens)
		require.GreaterOrEqual(t, got.ReusedTokens, least, why)
		require.Less(t, got.ReusedTokens, below, why)
		return got
	}
	first := compare(question(red, "What is this?"), 0, 1, "nothing is known")
	n := first.PromptTokens
	compare(question(red, "What is this?"), n-16, n, "the same again, but for its last page")
	compare(question(red, "What colour is it?"), 36, n, "system text and picture")
	beginning := n - first.ImageTokens
	compare(question(blue, "What is this?"), 0, beginning, "P57: the same text with another picture")
	compare(question(blue, "What is this?"), n-16, n, "and again")
	compare(question(red, "What is this?"), n-16, n, "the first is still there")

	answer := generate(m, question(picture("dog.jpg"), "Describe the picture."))
	next := append(question(picture("dog.jpg"), "Describe the picture."), llama3v.Assistant(answer.Text), llama3v.User("What is this?"))
	compare(next, answer.PromptTokens-16, math.MaxInt, "the next turn begins with the one before")
}

// Beginnings are reused, dropped and computed again under many goroutines; each answer is its own.
func TestPrefixReuseUnderPressure(t *testing.T) {
	names := []string{"dog.jpg", "frog.png", "pizza.png", "robot.png"}
	cold := openDemo(t, llama3v.WithPrefixReuse(false))
	want := map[string][]int32{}
	for _, name := range names {
		want[name] = ask(t, cold, "Describe the picture.", picture(name)).TokenIDs
	}
	m := openDemo(t, llama3v.WithContext(96), llama3v.WithCachePositions(192)) // room for two, and not for four beginnings
	reused := make([]int, 32)
	var group sync.WaitGroup
	for i := range reused {
		group.Go(func() {
			name := names[i%len(names)]
			if i%8 == 5 { // one that goes away in the middle
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				for _, err := range m.Generate(ctx, llama3v.Chat{llama3v.User("Describe the picture.", picture(name))}, llama3v.IgnoreEOS(), llama3v.MaxTokens(20)) {
					if err != nil && !errors.Is(err, context.Canceled) {
						t.Error(err)
					}
					cancel()
				}
				return
			}
			a, err := m.Ask(context.Background(), "Describe the picture.", picture(name), llama3v.MaxTokens(30))
			if err != nil || !equal(a.TokenIDs, want[name]) {
				t.Errorf("%s: %v, %v", name, a, err)
				return
			}
			reused[i] = a.ReusedTokens
		})
	}
	group.Wait()
	ask(t, m, "Describe the picture.", picture("dog.jpg"), llama3v.MaxTokens(30))
	require.Positive(t, ask(t, m, "Describe the picture.", picture("dog.jpg"), llama3v.MaxTokens(30)).ReusedTokens)
}

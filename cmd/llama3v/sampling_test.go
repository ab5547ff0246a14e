package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func ask(t *testing.T, args ...string) answerJSON {
	t.Helper()
	code, out, errText := runLine(t, append([]string{"run", demo, picture("dog.jpg"), "-p", "Describe the picture.", "--json"}, args...)...)
	require.Zero(t, code, errText)
	var a answerJSON
	require.NoError(t, json.Unmarshal([]byte(out), &a))
	return a
}

func TestRunSamples(t *testing.T) {
	needBackend(t)
	plain := ask(t)
	require.Nil(t, plain.Seed)
	require.Nil(t, plain.LogProbs)
	require.EqualValues(t, 1586, *plain.StopID)
	hot := []string{"--temperature", "3", "--top-k", "200", "--top-p", "0.99", "--min-p", "0.0001", "--max-tokens", "30", "--ignore-eos"}
	first := ask(t, append(hot, "--seed", "5")...)
	require.EqualValues(t, 5, *first.Seed)
	require.NotEqual(t, plain.TokenIDs, first.TokenIDs)
	require.Equal(t, first.TokenIDs, ask(t, append(hot, "--seed", "5")...).TokenIDs)
	require.NotEqual(t, first.TokenIDs, ask(t, append(hot, "--seed", "6")...).TokenIDs)
	require.NotNil(t, ask(t, hot...).Seed, "a seed that nobody gave is told")
	for _, penalty := range []string{"--presence-penalty", "--frequency-penalty", "--repetition-penalty"} {
		require.NotEqual(t, ask(t, "--ignore-eos", "--max-tokens", "40").TokenIDs, ask(t, "--ignore-eos", "--max-tokens", "40", penalty, "50").TokenIDs, penalty)
	}
	require.Equal(t, plain.TokenIDs, ask(t, "--model-defaults").TokenIDs, "the demo's own file does not sample")

	stopped := ask(t, "--stop", "no such text", "--stop", " green")
	require.Equal(t, "A dog on a", stopped.Answer)
	require.Equal(t, "stop_text", stopped.FinishReason)
	require.Equal(t, " green", stopped.StopText)
	require.Nil(t, stopped.StopID)

	told := ask(t, "--logprobs", "2")
	require.Len(t, told.LogProbs, len(told.TokenIDs))
	require.Len(t, told.LogProbs[0].Top, 2)
	require.Equal(t, told.TokenIDs[0], told.LogProbs[0].ID)
	require.Equal(t, "A", told.LogProbs[0].Text)
}

func TestSamplingFlagsThatMakeNoSense(t *testing.T) {
	needBackend(t)
	for _, args := range [][]string{
		{"--temperature", "-1"}, {"--temperature", "NaN"}, {"--top-p", "0"}, {"--top-k", "-3"}, {"--min-p", "2"}, {"--repetition-penalty", "0"},
		{"--seed", "-1"}, {"--stop", ""}, {"--logprobs", "21", "--json"}, {"--logprobs", "3"},
	} {
		code, out, errText := runLine(t, append([]string{"run", demo, "-p", "x"}, args...)...)
		require.Equal(t, 2, code, "%v: %s", args, errText)
		require.Empty(t, out)
	}
}

// A batch line's own settings win over the flags'; the beginning that lines share is computed once.
func TestBatchLinesHaveTheirOwnSampling(t *testing.T) {
	needBackend(t)
	path, err := filepath.Abs(picture("dog.jpg"))
	require.NoError(t, err)
	lines := []string{
		`{"pictures":["` + path + `"],"prompt":"Describe the picture."}`,
		`{"pictures":["` + path + `"],"prompt":"Describe the picture.","temperature":3,"seed":5,"max_tokens":7,"stop":["zzz"],"logprobs":1}`,
		`{"pictures":["` + path + `"],"prompt":"Describe the picture.","top_p":7}`,
	}
	file := filepath.Join(t.TempDir(), "batch.jsonl")
	require.NoError(t, os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o600))
	code, out, _ := runLine(t, "run", demo, "--batch", file, "--max-tokens", "3", "--ignore-eos")
	require.Equal(t, 1, code)
	got := strings.Split(strings.TrimSpace(out), "\n")
	require.Len(t, got, 3)
	var a, b answerJSON
	require.NoError(t, json.Unmarshal([]byte(got[0]), &a))
	require.NoError(t, json.Unmarshal([]byte(got[1]), &b))
	require.Len(t, a.TokenIDs, 3)
	require.Zero(t, a.ReusedTokens)
	require.Nil(t, a.Seed)
	require.Len(t, b.TokenIDs, 7)
	require.GreaterOrEqual(t, b.ReusedTokens, 32)
	require.EqualValues(t, 5, *b.Seed)
	require.Len(t, b.LogProbs, 7)
	require.Contains(t, got[2], "top-p")
}

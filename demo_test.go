package llama3v_test

import (
	"archive/zip"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v"
)

// demoIndex is testdata/demo/pictures/index.json: questions about the sample pictures and the
// reference run's greedy answers.
type demoIndex struct {
	Pictures []struct {
		File    string
		Answers []struct {
			Question, Answer string
			IDs              []int32
			Exact            bool // false: two logits lie too close together to compare
		}
	}
}

// The reference dropped alpha, so the demo's tests do too. On the emulator a few answers stand for all.
func TestDemoAnswersEqualTheReferenceTokenByToken(t *testing.T) {
	m := openDemo(t, llama3v.WithAlpha(llama3v.AlphaDrop))
	var index demoIndex
	readJSON(t, filepath.Join(demo, "pictures", "index.json"), &index)
	compared, least := 0, 181 // most answers are exact
	if m.Backend().Emulated {
		least = 3
	}
	for _, picture := range index.Pictures {
		for _, want := range picture.Answers {
			if m.Backend().Emulated && compared == least {
				t.Logf("left out on the emulator: all but the first %d answers", compared)
				return
			}
			got, err := m.Ask(context.Background(), want.Question, llama3v.File(filepath.Join(demo, "pictures", picture.File)))
			require.NoError(t, err, picture.File)
			if !want.Exact {
				continue
			}
			compared++
			require.Equal(t, want.IDs, got.TokenIDs, "%s: %s: %q, want %q", picture.File, want.Question, got.Text, want.Answer)
			require.Equal(t, want.Answer, got.Text)
			require.Equal(t, 36, got.ImageTokens)
			require.Equal(t, llama3v.FinishStop, got.FinishReason)
		}
	}
	require.GreaterOrEqual(t, compared, least)
}

// evalManifest is testdata/demo/eval/manifest.json: right answers, what the reference answered where
// that differs, and how often the reference was right.
type evalManifest struct {
	Accuracy map[string]map[string]struct{ Right, Of int }
	Pictures []struct {
		File, Set string
		Questions []struct {
			Task, Question string
			Right          string  `json:"right_answer"`
			Reference      *string `json:"reference_answer"`
			Margin         float64 // smallest gap between the two best logits over the answer
		}
	}
}

func TestDemoAccuracyEqualsTheReference(t *testing.T) {
	if testing.Short() {
		t.Skip("asks 1,500 questions: not in short mode")
	}
	m := openDemo(t, llama3v.WithAlpha(llama3v.AlphaDrop))
	if m.Backend().Emulated {
		t.Skip("left out on the emulator: 1,500 questions")
	}
	var manifest evalManifest
	readJSON(t, filepath.Join(demo, "eval", "manifest.json"), &manifest)
	files := openZip(t, filepath.Join(demo, "eval", "pictures.zip"))
	right, of, wantRight := 0, 0, 0
	for _, tasks := range manifest.Accuracy {
		for _, score := range tasks {
			wantRight += score.Right
		}
	}
	for _, picture := range manifest.Pictures {
		for _, q := range picture.Questions {
			got, err := m.Ask(context.Background(), q.Question, llama3v.Bytes(files[picture.File]))
			require.NoError(t, err, picture.File)
			of++
			if got.Text == q.Right {
				right++
			}
			reference := q.Right
			if q.Reference != nil {
				reference = *q.Reference
			}
			if q.Margin >= 0.05 {
				require.Equal(t, reference, got.Text, "%s: %s", picture.File, q.Question)
			}
		}
	}
	t.Logf("%d of %d right, the reference %d", right, of, wantRight)
	require.InDelta(t, wantRight, right, 1)
}

func openZip(t *testing.T, path string) map[string][]byte {
	t.Helper()
	r, err := zip.OpenReader(path)
	require.NoError(t, err)
	defer r.Close()
	files := map[string][]byte{}
	for _, f := range r.File {
		rc, err := f.Open()
		require.NoError(t, err)
		data, err := io.ReadAll(rc)
		require.NoError(t, err)
		require.NoError(t, rc.Close())
		files[f.Name] = data
	}
	return files
}

func readJSON(t *testing.T, path string, into any) {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, into))
}

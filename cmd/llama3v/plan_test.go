package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A plan needs no library: the folder to look in does not exist.
func TestPlanNeedsNoLibrary(t *testing.T) {
	t.Setenv("LLAMA3V_LIB_DIR", t.TempDir()+"/none")
	code, out, errText := runLine(t, "bench", "model", "siglip-so400m-384", "--plan", "h100")
	require.Zero(t, code, errText)
	for _, text := range []string{"H100 SXM", "On paper", "729x1152x4304", "128x192x64/3", "goal 600 to 750 images/s"} {
		require.Contains(t, out, text)
	}

	code, out, errText = runLine(t, "bench", "model", "llama-3-8b", "--plan", "h100", "--json")
	require.Zero(t, code, errText)
	var steps []struct {
		Step, Weights, Kept string
		Bound               float64 `json:"bound_s"`
		Ops                 []map[string]any
		Goal                *struct{ Least, Aim float64 }
	}
	require.NoError(t, json.Unmarshal([]byte(out), &steps))
	require.Len(t, steps, 12, "two steps, three types of weights, two of what is kept")
	require.Equal(t, "decode", steps[0].Step)
	require.Equal(t, "bf16", steps[0].Weights)
	require.Equal(t, 185.0, steps[0].Goal.Aim)
	require.Len(t, steps[0].Ops, 15)
	require.Equal(t, "f32", steps[11].Kept)

	code, out, errText = runLine(t, "bench", "model", "llama-3-8b", "--plan", "a100", "--weights", "q4_k", "--activations", "f32")
	require.Zero(t, code, errText)
	require.Contains(t, out, "A100")
	require.Contains(t, out, "weights q4_k, products f32, kept f32")
	require.NotContains(t, out, "goal")
}

func TestPlanRefuses(t *testing.T) {
	for _, tc := range []struct {
		name string
		args []string
		code int
		text string
	}{
		{"an unknown card", []string{"--plan", "h300"}, 1, "a100, h100"},
		{"int8, which no card's products are planned in", []string{"--plan", "h100", "--activations", "int8"}, 2, "int8"},
		{"an unknown type", []string{"--plan", "h100", "--weights", "q9"}, 2, "q9"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code, out, errText := runLine(t, append([]string{"bench", "model", "llama-3-8b"}, tc.args...)...)
			require.Equal(t, tc.code, code)
			require.Empty(t, out)
			require.Contains(t, errText, tc.text)
		})
	}
}

// The page about it shows what is printed.
func TestPlanIsAsDocumented(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "roofline.md"))
	require.NoError(t, err)
	for _, name := range []string{"siglip-so400m-384", "llama-3-8b", "llava-siglip-eye"} {
		code, out, errText := runLine(t, "bench", "model", name, "--plan", "h100")
		require.Zero(t, code, errText)
		_, sums, found := strings.Cut(out, "\nmodel ")
		require.True(t, found)
		lines := 0
		for line := range strings.Lines(sums) {
			if strings.HasPrefix(line, name) && !strings.Contains(line, " f32 ") {
				require.Contains(t, string(page), line)
				lines++
			}
		}
		require.Positive(t, lines)
	}
}

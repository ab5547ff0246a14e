package llama3v_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v"
	"github.com/llama3v/llama3v/internal/golden"
	"github.com/llama3v/llama3v/internal/testdevice"
	"github.com/llama3v/llama3v/model/ops"
)

// A model of each family is described, with what is missing beside it said and not in the way.
func TestInspectFamilies(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		for name, want := range map[string]struct {
			tokens           int
			projector, fault string
		}{
			"llava_siglip": {9, "mlp: 2 linear layers, gelu_erf", "tokenizer.json"},
			"llava_clip":   {16, "mlp: 2 linear layers, gelu_erf", "tokenizer.json"},
			"idefics3":     {4, "pixel shuffle: squares of 3 x 3 patches, one linear layer", ""},
			"minicpmv25":   {7, "resampler: 7 queries, heads of 128", ""},
			"llama3v_sa2":  {25, "llama3v_sa2: width 80, 2 blocks, 2 heads of 40, mlp 215", "tokenizer.json"},
		} {
			t.Run(name, func(t *testing.T) {
				d, err := llama3v.Inspect(context.Background(), filepath.Join(golden.Root(), "golden", "models", name))
				require.NoError(t, err)
				require.Equal(t, want.tokens, d.Config.ViewTokens())
				require.Equal(t, want.projector, d.Config.Projector.String())
				require.Empty(t, d.Unused)
				require.NotEmpty(t, d.Problems, "a case has no tokenizer")
				require.Contains(t, d.Problems[0], want.fault)
				require.NotNil(t, d.Plan)
				require.Positive(t, d.Plan.Vision)
			})
		}
	})
}

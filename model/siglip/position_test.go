package siglip

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/internal/golden"
	"github.com/llama3v/llama3v/model/weights"
)

// The resized tables of the reference, for pictures that are not square and sides that shrink.
func TestGoldenPositionTable(t *testing.T) {
	t.Run("siglip_vision_16", func(t *testing.T) {
		c := golden.Open(t, "siglip_vision_16")
		cp, err := weights.Open(c.FS)
		require.NoError(t, err)
		defer cp.Close()
		table, err := weights.ReadFloat32(cp, "vision_model.embeddings.position_embedding.weight")
		require.NoError(t, err)
		c.Near(t, "other.0.position_table", resizePositions(table, 4, 128, 4, 6), 1e-12)
		c.Near(t, "other.1.position_table", resizePositions(table, 4, 128, 3, 5), 1e-12)
	})
}

func TestResizePositions(t *testing.T) {
	ramp := make([]float32, 5*5)
	for i := range ramp {
		ramp[i] = float32(10*(i/5) + i%5) // 10*row + column
	}
	for _, tc := range []struct {
		name       string
		grid, h, w int
		table      []float32
		want       []float32
	}{
		{"P23: the same grid gives the same bits", 5, 5, 5, ramp, ramp},
		{"one position fills any grid", 1, 2, 3, []float32{7}, []float32{7, 7, 7, 7, 7, 7}},
		{"a constant table stays constant, edges included", 2, 3, 3, []float32{3, 3, 3, 3}, []float32{3, 3, 3, 3, 3, 3, 3, 3, 3}},
		{"an odd shrink to one position takes the middle", 5, 1, 1, ramp, []float32{22}},
		// Keys' kernel with a = -0.75 half way between two positions: -3/32, 19/32, 19/32, -3/32. The
		// edge column counts for what lies outside too.
		{"halves of a row", 4, 4, 2, []float32{0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0},
			[]float32{0, 0, 19. / 32, -3. / 32, 16. / 32, 0, 0, 0}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := resizePositions(tc.table, tc.grid, 1, tc.h, tc.w)
			require.Len(t, got, len(tc.want))
			for i := range got {
				require.InDelta(t, tc.want[i], got[i], 1e-6, "position %d", i)
			}
		})
	}
	require.Equal(t, ramp, resizePositions(ramp, 5, 1, 5, 5), "P23")
}

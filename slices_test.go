package llama3v

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/model/siglip"
	"github.com/llama3v/llama3v/model/vlm"
)

func TestSlicePositions(t *testing.T) {
	for _, tc := range []struct {
		name       string
		opts       []Option
		have, want siglip.Positions
	}{
		{"the authors' rule without the option", nil, siglip.RowPositions, siglip.RowPositions},
		{"the authors' rule by name", []Option{WithSlicePositions(SliceRow)}, siglip.RowPositions, siglip.RowPositions},
		{"the other rule", []Option{WithSlicePositions(Slice2D)}, siglip.RowPositions, siglip.BucketPositions},
		{"tiles are no slices", []Option{WithSlicePositions(SliceRow)}, siglip.BucketPositions, siglip.BucketPositions},
		{"whole pictures are no slices", []Option{WithSlicePositions(Slice2D)}, siglip.TablePositions, siglip.TablePositions},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := newConfig(tc.opts)
			require.NoError(t, err)
			mc := &vlm.Config{Vision: &siglip.Config{Positions: tc.have}}
			c.place(mc)
			require.Equal(t, tc.want, mc.Vision.Positions)
			c.place(&vlm.Config{}) // a model without a tower
		})
	}
	_, err := newConfig([]Option{WithSlicePositions("3d")})
	require.ErrorIs(t, err, ErrOption)
	require.ErrorContains(t, err, `"3d"`)
}

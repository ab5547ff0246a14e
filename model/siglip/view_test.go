package siglip

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/internal/golden"
	"github.com/llama3v/llama3v/internal/testdevice"
	"github.com/llama3v/llama3v/model/ops"
)

// The position of every patch of full and part-filled tiles, a row of patches cut inside among them.
func TestGoldenPositionIDs(t *testing.T) {
	t.Run("idefics3", func(t *testing.T) {
		c := golden.Open(t, "idefics3")
		data := c.WantBytes("position_ids")
		cfg := Config{ImageSize: 84, Patch: 14}
		full := View{Height: 84, Width: 84}
		part := View{Height: 84, Width: 84, ValidHeight: 51, ValidWidth: 70}
		require.Equal(t, Grid{4, 5}, cfg.valid(part), "a patch with any valid pixel counts")
		for i, v := range []View{full, full, full, part} {
			for patch, got := range BucketPositions.indices(6, cfg.ViewGrid(v), cfg.valid(v)) {
				want := binary.LittleEndian.Uint64(data[8*(i*36+patch):])
				require.EqualValues(t, want, got, "tile %d, patch %d", i, patch)
			}
		}
	})
}

func TestPositionRules(t *testing.T) {
	for _, tc := range []struct {
		name        string
		rule        Positions
		side        int
		grid, valid Grid
		want        []int32
	}{
		{"a full grid is the table as it is", BucketPositions, 3, Grid{3, 3}, Grid{3, 3}, []int32{0, 1, 2, 3, 4, 5, 6, 7, 8}},
		{"fewer patches spread over the table", BucketPositions, 4, Grid{2, 2}, Grid{2, 2}, []int32{0, 2, 8, 10}},
		{"each axis by itself", BucketPositions, 4, Grid{1, 4}, Grid{1, 4}, []int32{0, 1, 2, 3}},
		{"padding has row 0 and does not count", BucketPositions, 4, Grid{2, 3}, Grid{2, 2}, []int32{0, 2, 0, 8, 10, 0}},
		{"one row: all patches along the table's first row", RowPositions, 4, Grid{2, 2}, Grid{2, 2}, []int32{0, 1, 2, 3}},
		{"one row: more patches than places", RowPositions, 3, Grid{2, 3}, Grid{2, 3}, []int32{0, 0, 1, 1, 2, 2}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			require.Equal(t, tc.want, tc.rule.indices(tc.side, tc.grid, tc.valid))
		})
	}
	// Where fractions in float32 land one too low.
	for _, i := range []int32{5, 10, 15, 20} {
		require.EqualValues(t, 70*i/25, BucketPositions.indices(70, Grid{1, 25}, Grid{1, 25})[i])
	}
	for side := 1; side <= 70; side++ {
		all := BucketPositions.indices(side, Grid{side, side}, Grid{side, side})
		for i, at := range all {
			require.EqualValues(t, i, at, "side %d", side)
		}
	}
}

// bucketed is a toy whose views have sizes of their own.
func bucketed(t *testing.T, dev *ops.Device, rule Positions) *Tower {
	t.Helper()
	tw := tower(t, dev, toy(t, toyConfig))
	tw.Config.Positions, tw.Config.MostPatches = rule, 12
	return tw
}

// A full view of the native grid is the same picture under every rule that leaves it the table.
func TestFullViewsHaveTheTable(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		m := toy(t, toyConfig)
		want := features(t, dev, encoder(t, dev, m, 1), picture(0), Features{Layer: 3})
		e, err := NewViewEncoder(dev, bucketed(t, dev, BucketPositions), 2)
		require.NoError(t, err)
		s := dev.Stream()
		got, err := e.ForwardViews(s, []View{{Pixels: picture(0), Height: 10, Width: 10}}, Features{Layer: 3}).ReadFloat32()
		require.NoError(t, err)
		require.Equal(t, want, got)
	})
}

// Views of several sizes in one call have the rows that each has alone, padded or not, and the
// pooling head looks at each by itself.
func TestViewsOfSeveralSizes(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		for _, rule := range []Positions{BucketPositions, RowPositions} {
			for _, f := range []Features{{Layer: 0}, {Layer: 3}, {Layer: 3, Post: true}, {Layer: 3, Post: true, Pooled: true}} {
				t.Run(fmt.Sprint(rule, f), func(t *testing.T) {
					e, err := NewViewEncoder(dev, bucketed(t, dev, rule), 4)
					require.NoError(t, err)
					view := func(h, w, validH, validW int) View {
						return View{Pixels: golden.Uniform(uint64(h*w), 3*h*w, 0, 2), Height: h, Width: w, ValidHeight: validH, ValidWidth: validW}
					}
					views := []View{view(8, 12, 0, 0), view(4, 4, 0, 0), view(13, 9, 0, 0), view(12, 12, 5, 9)}
					run := func(views ...View) []float32 {
						s := dev.Stream()
						got, err := e.ForwardViews(s, views, f).ReadFloat32()
						require.NoError(t, err)
						require.NoError(t, s.Err())
						return got
					}
					var want []float32
					for _, v := range views {
						want = append(want, run(v)...)
					}
					require.Equal(t, want, run(views...))
				})
			}
		}
	})
}

// CLIP: the class token stands before each view's patches, and leaves no trace where it is dropped.
func TestClassToken(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		m := toy(t, toyConfig)
		m.Remove(t, append(headNames, "embeddings.patch_embedding.bias")...)
		m.Random(t, 0, 1, "embeddings.class_embedding", 36).Random(t, 0, 1, "embeddings.position_embedding.weight", 5, 36)
		m.Random(t, 1, 1, "pre_layrnorm.weight", 36).Random(t, 0, 1, "pre_layrnorm.bias", 36)
		tw := towerOf(t, dev, m, func(c *Config) { c.Class = true })
		e, err := NewEncoder(dev, tw, 2, 10, 10)
		require.NoError(t, err)
		all := features(t, dev, e, pictures(0, 1), Features{Layer: 2})
		bare := features(t, dev, e, pictures(0, 1), Features{Layer: 2, Patches: true})
		require.Len(t, all, 2*5*36)
		require.Equal(t, append(append([]float32(nil), all[36:5*36]...), all[6*36:]...), bare)
		first := features(t, dev, e, pictures(0, 1), Features{Layer: 0})
		require.Equal(t, first[:36], first[5*36:6*36], "the class token is the same before every picture")
		require.Equal(t, Features{Layer: 3}, tw.Config.LastHidden(), "the post norm is the class token's alone")

		// Another size: the class token's position is not part of the grid that is resized.
		wide, err := NewEncoder(dev, tw, 1, 8, 16)
		require.NoError(t, err)
		require.Len(t, features(t, dev, wide, golden.Uniform(1, 3*8*16, 0, 2), Features{Layer: 1, Patches: true}), 8*36)
		table, err := wide.position.ReadFloat32()
		require.NoError(t, err)
		own := m.Values(t, "embeddings.position_embedding.weight")
		require.Equal(t, resizePositions(own[36:], 2, 36, 2, 4), table)
	})
}

// The plan is what an encoder of views allocates.
func TestViewEncoderBytes(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		for _, rule := range []Positions{TablePositions, BucketPositions, RowPositions} {
			for _, n := range []int{1, 3} {
				tw := bucketed(t, dev, rule)
				before, err := dev.Counters()
				require.NoError(t, err)
				_, err = NewViewEncoder(dev, tw, n)
				require.NoError(t, err)
				after, err := dev.Counters()
				require.NoError(t, err)
				require.Equal(t, EncoderBytes(tw.Config, n, true, ops.F32), after.Bytes-before.Bytes)
			}
		}
	})
}

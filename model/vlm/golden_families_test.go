package vlm_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/internal/golden"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/siglip"
	"github.com/llama3v/llama3v/model/vlm"
)

func TestGoldenLLaVA(t *testing.T) {
	eachCase(t, []string{"llava_siglip", "llava_clip"}, func(t *testing.T, dev *ops.Device, c *golden.Case) {
		m, s, taps := openCase(t, dev, c)
		pixels, shape := c.Input("pixel_values")
		e := eye(t, dev, m, shape[0])
		last, err := m.Config.Vision.State(-1)
		require.NoError(t, err)
		_, err = e.Features(s, pixels, last)
		require.NoError(t, err)
		for k := range m.Config.Vision.Layers + 1 {
			name := fmt.Sprintf("vision.hidden.%d", k)
			c.Near(t, name, taps[name], bound)
		}
		projected, err := e.Project(s, pixels)
		require.NoError(t, err)
		c.Near(t, "projected", projected.Data, bound)
		_, want := c.Want("projected")
		require.Equal(t, want[1], m.PictureTokens())
		require.Equal(t, want[1], projected.Tokens)
		checkPrompts(t, dev, c, m, s, taps, projected, m.Config.ImageToken, bound)
	})
}

func TestGoldenIdefics3(t *testing.T) {
	eachCase(t, []string{"idefics3"}, func(t *testing.T, dev *ops.Device, c *golden.Case) {
		m, s, taps := openCase(t, dev, c)
		views := tiles(t, c)
		e := eye(t, dev, m, len(views))
		projected, err := e.ProjectViews(s, views)
		require.NoError(t, err)
		for _, name := range []string{"vision.hidden.0", "vision.hidden.1", "vision.hidden.2", "vision.last_hidden_state"} {
			c.Near(t, name, taps[name], bound)
		}
		c.Near(t, "connector", projected.Data, bound)
		require.Equal(t, 4, m.PictureTokens())
		require.Equal(t, []int{4, 4, 4, 4}, projected.Rows)
		checkPrompts(t, dev, c, m, s, taps, projected, m.Config.ImageToken, bound)

		// Tiles of a full size alone take the way without a mask, and have the same bits.
		full, err := e.ProjectViews(s, views[:3])
		require.NoError(t, err)
		require.Equal(t, projected.Data[:len(full.Data)], full.Data)
	})
}

// tiles are the case's pictures with the valid part of each, which its mask shows to be a rectangle at
// the top left.
func tiles(t *testing.T, c *golden.Case) []siglip.View {
	t.Helper()
	pixels, shape := c.Input("pixel_values")
	mask := c.InputBytes("pixel_attention_mask")
	views := make([]siglip.View, shape[0])
	h, w := shape[2], shape[3]
	for i := range views {
		v := siglip.View{Pixels: pixels[i*3*h*w:][:3*h*w], Height: h, Width: w}
		valid := mask[i*h*w:][:h*w]
		for v.ValidWidth < w && valid[v.ValidWidth] != 0 {
			v.ValidWidth++
		}
		for v.ValidHeight < h && valid[v.ValidHeight*w] != 0 {
			v.ValidHeight++
		}
		for at, bit := range valid {
			require.Equal(t, at/w < v.ValidHeight && at%w < v.ValidWidth, bit != 0)
		}
		views[i] = v
	}
	return views
}

func TestGoldenMiniCPM(t *testing.T) {
	eachCaseInBatches(t, []string{"minicpmv25"}, func(t *testing.T, dev *ops.Device, c *golden.Case) {
		views := slicesOf(c)
		for _, rule := range []struct {
			positions        siglip.Positions
			features, output string
		}{
			{siglip.RowPositions, "features_one_row", "projected_one_row"}, // the authors', and the default
			{siglip.BucketPositions, "features", "projected"},
		} {
			emulated := dev.Capabilities().Emulated
			if emulated && rule.positions != siglip.RowPositions {
				t.Log("left out on the emulator: the other rule of positions, and slices but the first by themselves")
				return
			}
			config, err := vlm.ReadConfig(c.FS)
			require.NoError(t, err)
			require.Equal(t, siglip.RowPositions, config.Vision.Positions)
			config.Vision.Positions = rule.positions
			m, s, taps := openConfig(t, dev, c, config)
			e := eye(t, dev, m, len(views))
			projected, err := e.ProjectViews(s, views)
			require.NoError(t, err)
			c.Near(t, rule.output, projected.Data, bound)
			require.Equal(t, []int{7, 7, 7}, projected.Rows)

			all := taps["vision.last_hidden_state"]
			var kv []float32
			for k := range views {
				want, _ := c.Want(fmt.Sprintf("slice.%d.%s", k, rule.features))
				c.Near(t, fmt.Sprintf("slice.%d.%s", k, rule.features), all[:len(want)], bound)
				all = all[len(want):]
				if emulated && k > 0 {
					continue
				}
				one, err := e.ProjectViews(s, views[k:k+1])
				require.NoError(t, err)
				require.Equal(t, projected.Data[k*7*256:][:7*256], one.Data, "P25: a slice sees neither its neighbours nor their padding")
				kv = append(kv, taps["resampler.kv"]...)
			}
			if rule.positions == siglip.RowPositions {
				continue // the case has its inner steps and its prompts in the other form
			}
			// The case pads every slice to the longest; what stands in the padding is no one's.
			want, shape := c.Want("resampler.kv")
			at, row := 0, shape[2]
			for k, v := range views {
				own := m.Config.Vision.ViewGrid(v).Patches() * row
				require.LessOrEqual(t, golden.NMSE(kv[at:at+own], want[k*shape[1]*row:][:own]), bound)
				at += own
			}
			require.Len(t, kv, at)
			_, err = e.ProjectViews(s, views)
			require.NoError(t, err)
			c.Near(t, "resampler.attn", taps["resampler.attn"], bound)
			c.Near(t, "resampler.ln_post", taps["resampler.ln_post"], bound)
			_, err = e.ProjectViews(s, views[2:])
			require.NoError(t, err)
			c.Near(t, "sincos", taps["resampler.position"], bound)
			var inputs struct{ Special struct{ Unk int32 } }
			c.JSON("inputs.json", &inputs)
			checkPrompts(t, dev, c, m, s, taps, projected, inputs.Special.Unk, bound)
		}
	})
}

// slicesOf are the case's slices, each of its own size.
func slicesOf(c *golden.Case) []siglip.View {
	views := make([]siglip.View, 3)
	for k := range views {
		pixels, shape := c.Input(fmt.Sprintf("slice.%d", k))
		views[k] = siglip.View{Pixels: pixels, Height: shape[2], Width: shape[3]}
	}
	return views
}

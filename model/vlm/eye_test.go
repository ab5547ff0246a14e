package vlm_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/binding"
	"github.com/llama3v/llama3v/internal/golden"
	"github.com/llama3v/llama3v/internal/testdevice"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/siglip"
	"github.com/llama3v/llama3v/model/vlm"
	"github.com/llama3v/llama3v/model/weights"
)

func eye(t testing.TB, dev *ops.Device, m *vlm.Model, pictures int) *vlm.Eye {
	t.Helper()
	e, err := vlm.NewEye(dev, m, pictures)
	require.NoError(t, err)
	require.Equal(t, pictures, e.Pictures())
	return e
}

// P15, P95: a picture's features and rows are the same bits alone and in any batch, in the order in
// which the pictures came.
func TestEyeKeepsPicturesApart(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		c := golden.Open(t, "llama3v_sa2")
		m, s := open(t, dev, c.FS), dev.Stream()
		pixels, _ := c.Input("pixel_values")
		half := len(pixels) / 2
		swapped := append(append([]float32(nil), pixels[half:]...), pixels[:half]...)
		e := eye(t, dev, m, 3)
		for name, see := range map[string]func(p []float32) (*vlm.Seen, error){
			"projected": func(p []float32) (*vlm.Seen, error) { return e.Project(s, p) },
			"features":  func(p []float32) (*vlm.Seen, error) { return e.Features(s, p, m.Config.Features) },
			"last":      func(p []float32) (*vlm.Seen, error) { return e.Features(s, p, m.Config.Vision.LastHidden()) },
		} {
			t.Run(name, func(t *testing.T) {
				both, err := see(pixels)
				require.NoError(t, err)
				require.Equal(t, 25, both.Tokens)
				require.Len(t, both.Data, 2*both.Tokens*both.Dim)
				require.Positive(t, both.Encode)
				first, err := see(pixels[:half])
				require.NoError(t, err)
				second, err := see(pixels[half:])
				require.NoError(t, err)
				require.Equal(t, both.Data, append(append([]float32(nil), first.Data...), second.Data...))
				turned, err := see(swapped)
				require.NoError(t, err)
				require.Equal(t, turned.Data, append(append([]float32(nil), second.Data...), first.Data...))
				require.NotEqual(t, first.Data, second.Data, "the pixels matter")
			})
		}
		require.Equal(t, 25, m.PictureTokens())
	})
}

// Pixels and outputs that do not fit are refused; P97: the next pictures are not hit.
func TestEyeRefuses(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		c := golden.Open(t, "llama3v_sa2")
		m, s := open(t, dev, c.FS), dev.Stream()
		pixels, _ := c.Input("pixel_values")
		one := pixels[:len(pixels)/2]
		e := eye(t, dev, m, 1)
		want, err := e.Project(s, one)
		require.NoError(t, err)
		for _, tc := range []struct {
			name string
			do   func() (*vlm.Seen, error)
			want error
		}{
			{"two pictures where one has room", func() (*vlm.Seen, error) { return e.Project(s, pixels) }, ops.ErrShape},
			{"no picture", func() (*vlm.Seen, error) { return e.Project(s, nil) }, ops.ErrShape},
			{"half a picture", func() (*vlm.Seen, error) { return e.Project(s, one[:100]) }, ops.ErrShape},
			{"a layer that is not there", func() (*vlm.Seen, error) { return e.Features(s, one, siglip.Features{Layer: 9}) }, ops.ErrShape},
			{"P26: pooling without a head", func() (*vlm.Seen, error) { return e.Features(s, one, m.Config.Vision.Pooled()) }, ops.ErrUnsupported},
		} {
			t.Run(tc.name, func(t *testing.T) {
				seen, err := tc.do()
				require.ErrorIs(t, err, tc.want)
				require.Nil(t, seen)
				again, err := e.Project(s, one)
				require.NoError(t, err)
				require.Equal(t, want.Data, again.Data, "P97")
			})
		}
	})
}

// A tower alone has no rows for a decoder, and a decoder alone no pictures.
func TestModelsOfOnePart(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		c := golden.Open(t, "siglip_full")
		m := open(t, dev, c.FS)
		require.Nil(t, m.Decoder)
		require.Nil(t, m.Projector)
		require.Zero(t, m.PictureTokens())
		pixels, _ := c.Input("pixel_values")
		e := eye(t, dev, m, 3)
		_, err := e.Project(dev.Stream(), pixels)
		require.ErrorIs(t, err, ops.ErrUnsupported)
		seen, err := e.Features(dev.Stream(), pixels, m.Config.Vision.Pooled())
		require.NoError(t, err)
		require.Equal(t, 1, seen.Tokens)
		require.Equal(t, 144, seen.Dim)
		c.Near(t, "vision.pooler_output", seen.Data, bound)

		text := open(t, dev, golden.Open(t, "llama3_gqa").FS)
		require.Nil(t, text.Tower)
		require.Zero(t, text.PictureTokens())
	})
}

// P18: NaN or infinity is an error that names the stage it came from, and the model works on.
func TestNotFiniteNamesItsStage(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		for _, tc := range []struct {
			name, tensor string
			value        float64
			stage        int32
		}{
			{"NaN in the tower", "vision_tower.vision_model.encoder.layers.0.mlp.fc1.bias", math.NaN(), vlm.StageVision},
			{"infinity in the tower", "vision_tower.vision_model.embeddings.position_embedding.weight", math.Inf(1), vlm.StageVision},
			{"NaN in the projector", "projector.norm.bias", math.NaN(), vlm.StageProjector},
			{"infinity out of the projector", "projector.out_proj.bias", math.Inf(-1), vlm.StageProjector},
		} {
			t.Run(tc.name, func(t *testing.T) {
				c := golden.Open(t, "llama3v_sa2")
				changed := c.Model()
				values := changed.Values(t, tc.tensor)
				values[5] = float32(tc.value)
				changed.Put(t, tc.tensor, weights.F32, values, changed.Tensors[tc.tensor].Shape...)
				m, s := open(t, dev, changed.FS(t)), dev.Stream()
				pixels, _ := c.Input("pixel_values")
				e := eye(t, dev, m, 2)
				for range 2 {
					_, err := e.Project(s, pixels)
					var fault *binding.FaultError
					require.ErrorAs(t, err, &fault)
					require.True(t, fault.NotFinite())
					require.Equal(t, tc.stage, fault.Stage)
				}
				embeddings, err := e.Features(s, pixels, siglip.Features{Layer: 0})
				if tc.tensor == "vision_tower.vision_model.embeddings.position_embedding.weight" {
					require.ErrorIs(t, err, binding.ErrBadValue)
				} else {
					require.NoError(t, err, "what lies before the fault is sound")
					require.Len(t, embeddings.Data, 2*25*144)
				}
			})
		}
	})
}

// P96: a cancelled encode stops, and the next one equals a clean run.
func TestCancelledEncode(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		c := golden.Open(t, "llama3v_sa2")
		m, s := open(t, dev, c.FS), dev.Stream()
		pixels, _ := c.Input("pixel_values")
		e := eye(t, dev, m, 2)
		want, err := e.Project(s, pixels)
		require.NoError(t, err)
		for _, at := range []string{"vision.hidden.1", "projector.in_proj"} {
			s.SetTap(func(name string, _, _ int, _ []float32) {
				if name == at {
					dev.Cancel()
				}
			})
			_, err = e.Project(s, pixels)
			s.SetTap(nil)
			require.ErrorIs(t, err, binding.ErrCancelled, at)
			got, err := e.Project(s, pixels)
			require.NoError(t, err)
			require.Equal(t, want.Data, got.Data, at)
		}
	})
}

// The plan is what an eye allocates.
func TestEyeBytes(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		for _, name := range []string{"llama3v_sa2", "llama3v_sa2_attn", "siglip_full"} {
			for _, n := range []int{1, 4} {
				m := open(t, dev, golden.Open(t, name).FS)
				before, err := dev.Counters()
				require.NoError(t, err)
				eye(t, dev, m, n)
				after, err := dev.Counters()
				require.NoError(t, err)
				require.Equal(t, m.Config.EyeBytes(n, m.Tower.Head != nil, ops.F32), after.Bytes-before.Bytes, "%s, %d pictures", name, n)
			}
		}
	})
}

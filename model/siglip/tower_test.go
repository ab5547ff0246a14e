package siglip

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/binding"
	"github.com/llama3v/llama3v/internal/golden"
	"github.com/llama3v/llama3v/internal/testdevice"
	"github.com/llama3v/llama3v/model/load"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/weights"
)

const pictureSize = 3 * 10 * 10

// picture k of the toy's size.
func picture(k uint64) []float32 { return golden.Uniform(100+k, pictureSize, 0, 2) }

func pictures(ks ...uint64) (pixels []float32) {
	for _, k := range ks {
		pixels = append(pixels, picture(k)...)
	}
	return pixels
}

func encoder(t testing.TB, dev *ops.Device, m *golden.Model, n int) *Encoder {
	t.Helper()
	e, err := NewEncoder(dev, tower(t, dev, m), n, 10, 10)
	require.NoError(t, err)
	return e
}

// features runs an encoder and reads what comes out.
func features(t testing.TB, dev *ops.Device, e *Encoder, pixels []float32, f Features) []float32 {
	t.Helper()
	s := dev.Stream()
	out := e.Forward(s, pixels, f)
	require.NoError(t, s.Wait())
	got, err := out.ReadFloat32()
	require.NoError(t, err)
	return got
}

// P14, P19, P20, P21, P22, P24: every output of the tower against plain float64 loops.
func TestFeaturesEqualThePlainReference(t *testing.T) {
	for _, tc := range []struct{ name, config string }{
		{"P24: heads of 18, and P14: rest pixels", toyConfig},
		{"P19: the erf form", strings.Replace(toyConfig, "{", `{"hidden_act":"gelu",`, 1)},
		{"P19: the quick form", strings.Replace(toyConfig, "{", `{"hidden_act":"quick_gelu",`, 1)},
		{"P19: the sigmoid form", strings.Replace(toyConfig, "{", `{"hidden_act":"silu",`, 1)},
		{"an epsilon that counts", strings.Replace(toyConfig, "{", `{"layer_norm_eps":0.1,`, 1)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
				m := toy(t, tc.config)
				e := encoder(t, dev, m, 2)
				require.Equal(t, 4, e.Patches())
				c := e.tower.Config
				near := func(name string, f Features, want ...[]float32) {
					got := features(t, dev, e, pictures(0, 1), f)
					all := append(append([]float32(nil), want[0]...), want[1]...)
					require.Len(t, got, len(all))
					require.LessOrEqual(t, golden.NMSE(got, all), 1e-11, name)
				}
				a, b := reference(t, m, picture(0)), reference(t, m, picture(1))
				for k := range 4 {
					f, err := c.State(k)
					require.NoError(t, err)
					near(fmt.Sprintf("hidden state %d", k), f, a.hidden[k], b.hidden[k])
					f, err = c.State(k - 4)
					require.NoError(t, err)
					near(fmt.Sprintf("hidden state %d from the end", k-4), f, a.hidden[k], b.hidden[k])
				}
				near("behind the post norm", c.LastHidden(), a.last, b.last)
				near("pooled", c.Pooled(), a.pooled, b.pooled)
				require.Greater(t, golden.NMSE(a.hidden[3], a.last), 0.1, "P20: the two settings differ")
			})
		})
	}
}

// P20: with a norm weight of 3, bias 0, what comes out behind the norm has three times unit variance.
func TestPostNorm(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		m := toy(t, toyConfig)
		three := make([]float32, 36)
		for i := range three {
			three[i] = 3
		}
		m.Put(t, "post_layernorm.weight", weights.F32, three, 36).Put(t, "post_layernorm.bias", weights.F32, make([]float32, 36), 36)
		e := encoder(t, dev, m, 1)
		got := features(t, dev, e, picture(0), e.tower.Config.LastHidden())
		for p := range 4 {
			require.InDelta(t, 3*6, golden.Norm(got[p*36:][:36]), 1e-3, "patch %d: sqrt(36) times 3", p)
		}
	})
}

// P25, P22: every patch sees every patch of its own picture, the first and the last among them, and
// none of another picture.
func TestPatchesSeeTheirOwnPicture(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		e := encoder(t, dev, toy(t, toyConfig), 2)
		f, err := e.tower.Config.State(1)
		require.NoError(t, err)
		base := features(t, dev, e, pictures(0, 1), f)
		changed := pictures(0, 1)
		changed[7*10+7]++ // red, inside the last patch of the first picture
		got := features(t, dev, e, changed, f)
		for p := range 8 {
			same := p >= 4
			require.Equal(t, same, equal(base[p*36:][:36], got[p*36:][:36]), "patch %d", p)
		}
		unused := pictures(0, 1)
		for y := range 10 {
			unused[y*10+8]++ // P14: the two columns and rows at the edges are in no patch
			unused[8*10+y]++
		}
		require.Equal(t, base, features(t, dev, e, unused, f))
	})
}

func equal(a, b []float32) bool {
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return len(a) == len(b)
}

// P15: row k of the result is picture k, and a picture's bits do not depend on its neighbours, their
// number, or the threads.
func TestBatchDoesNotChangeABit(t *testing.T) {
	testdevice.EachInvariant(t, func(t *testing.T, dev *ops.Device) {
		m := toy(t, toyConfig)
		one, many := encoder(t, dev, m, 1), encoder(t, dev, m, 7)
		for name, f := range map[string]Features{"last hidden": one.tower.Config.LastHidden(), "pooled": one.tower.Config.Pooled()} {
			t.Run(name, func(t *testing.T) {
				var want []float32
				for k := range uint64(7) {
					want = append(want, features(t, dev, one, picture(k), f)...)
				}
				require.Equal(t, want, features(t, dev, many, pictures(0, 1, 2, 3, 4, 5, 6), f))
				row := len(want) / 7
				swapped := features(t, dev, many, pictures(3, 0), f)
				require.Equal(t, want[3*row:4*row], swapped[:row])
				require.Equal(t, want[:row], swapped[row:])
			})
		}
	})
	m := toy(t, toyConfig)
	var want []float32
	for _, threads := range []int{1, 2, 3} {
		dev := testdevice.CPU(t, binding.ContextOptions{Threads: threads})
		e := encoder(t, dev, m, 3)
		got := features(t, dev, e, pictures(0, 1, 2), e.tower.Config.Pooled())
		if threads == 1 {
			want = got
		}
		require.Equal(t, want, got, "%d threads", threads)
	}
}

// P26: a checkpoint without a pooling head gives the same patch features, and pooling fails cleanly.
func TestPoolingHead(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		whole := encoder(t, dev, toy(t, toyConfig), 2)
		c := whole.tower.Config
		require.NotNil(t, whole.tower.Head)
		want := features(t, dev, whole, pictures(0, 1), c.LastHidden())

		for _, tc := range []struct {
			name  string
			model *golden.Model
		}{
			{"the checkpoint has no head", toy(t, toyConfig).Remove(t, headNames...)},
			{"the config says that there is none", toy(t, toyConfig).Set(false, "vision_use_head").Remove(t, headNames...)},
		} {
			t.Run(tc.name, func(t *testing.T) {
				e := encoder(t, dev, tc.model, 2)
				require.Nil(t, e.tower.Head)
				require.Equal(t, want, features(t, dev, e, pictures(0, 1), c.LastHidden()))
				s := dev.Stream()
				e.Forward(s, pictures(0, 1), c.Pooled())
				err := s.Wait()
				require.ErrorIs(t, err, ops.ErrUnsupported)
				require.ErrorContains(t, err, "no pooling head")
				require.Equal(t, want, features(t, dev, e, pictures(0, 1), c.LastHidden()), "P97")
			})
		}
	})
}

// P26, P30: a head that lacks a part is no head that can be left out.
func TestHalfAPoolingHeadIsAnError(t *testing.T) {
	dev := testdevice.CPU(t, binding.ContextOptions{Threads: 1})
	m := toy(t, toyConfig).Remove(t, "head.mlp.fc2.bias", "head.attention.in_proj_bias")
	_, check := tryTower(t, dev, m)
	require.Equal(t, []string{"head.attention.in_proj_bias", "head.mlp.fc2.bias"}, check.Missing)
}

// tryTower declares a toy and gives what Check says of it.
func tryTower(t *testing.T, dev *ops.Device, m *golden.Model) (unknown []string, fault *weights.CheckError) {
	t.Helper()
	cp, err := weights.Open(m.FS(t))
	require.NoError(t, err)
	defer cp.Close()
	l := load.New(dev, cp)
	Load(l, readToy(t, m))
	unknown, err = l.Check()
	if err != nil {
		require.ErrorAs(t, err, &fault)
	}
	return unknown, fault
}

// A head that the config rules out is reported, not used.
func TestHeadThatTheConfigRulesOut(t *testing.T) {
	dev := testdevice.CPU(t, binding.ContextOptions{Threads: 1})
	unknown, check := tryTower(t, dev, toy(t, toyConfig).Set(false, "vision_use_head"))
	require.Nil(t, check)
	require.ElementsMatch(t, headNames, unknown)
}

// P26: position numbers that old files store are ignored by name; other strangers are reported.
func TestLeftoversInTheFile(t *testing.T) {
	dev := testdevice.CPU(t, binding.ContextOptions{Threads: 1})
	m := toy(t, toyConfig).Random(t, 0, 1, "stranger", 1)
	m.Tensors["embeddings.position_ids"] = weights.Tensor{Name: "embeddings.position_ids", DType: weights.I64, Shape: []int{1, 4}, Data: make([]byte, 32)}
	unknown, check := tryTower(t, dev, m)
	require.Nil(t, check)
	require.Equal(t, []string{"stranger"}, unknown)
}

// P23: at the native size the position table is used untouched; another size has a table of its own.
func TestPositionTable(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		m := toy(t, toyConfig)
		tw := tower(t, dev, m)
		for _, tc := range []struct {
			name          string
			height, width int
			patches       int
			own           bool
		}{
			{"native", 10, 10, 4, false},
			{"other pixels, the same grid", 8, 11, 4, false},
			{"a wide picture", 8, 20, 10, true},
			{"a tall picture of one column", 30, 4, 7, true},
			{"one patch", 4, 4, 1, true},
		} {
			t.Run(tc.name, func(t *testing.T) {
				e, err := NewEncoder(dev, tw, 2, tc.height, tc.width)
				require.NoError(t, err)
				require.Equal(t, tc.patches, e.Patches())
				require.Equal(t, tc.own, e.position != tw.Position)
				table, err := e.position.ReadFloat32()
				require.NoError(t, err)
				require.Len(t, table, tc.patches*36)
				if !tc.own {
					require.Equal(t, m.Values(t, "embeddings.position_embedding.weight"), table)
				}
				pixels := golden.Uniform(1, 2*3*tc.height*tc.width, 0, 2)
				require.Len(t, features(t, dev, e, pixels, tw.Config.Pooled()), 2*36)
				require.Len(t, features(t, dev, e, pixels, tw.Config.LastHidden()), 2*tc.patches*36)
			})
		}
		for _, size := range [][3]int{{1, 3, 10}, {1, 10, 3}, {0, 10, 10}, {1, 0, 0}, {-1, 10, 10}} {
			_, err := NewEncoder(dev, tw, size[0], size[1], size[2])
			require.ErrorIs(t, err, ops.ErrShape)
		}
	})
}

// Pixels that do not fit are refused before anything runs, and the next pictures are not hit.
func TestPixelsThatDoNotFit(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		e := encoder(t, dev, toy(t, toyConfig), 2)
		c := e.tower.Config
		want := features(t, dev, e, pictures(0), c.LastHidden())
		for _, tc := range []struct {
			name   string
			pixels []float32
			f      Features
		}{
			{"none", nil, c.LastHidden()},
			{"one value too few", picture(0)[1:], c.LastHidden()},
			{"one value too many", append(picture(0), 0), c.LastHidden()},
			{"more pictures than there is room for", pictures(0, 1, 2), c.LastHidden()},
			{"a layer that is not there", picture(0), Features{Layer: 4}},
			{"a layer below the first", picture(0), Features{Layer: -1}},
		} {
			t.Run(tc.name, func(t *testing.T) {
				s := dev.Stream()
				e.Forward(s, tc.pixels, tc.f)
				require.ErrorIs(t, s.Wait(), ops.ErrShape)
				require.Equal(t, want, features(t, dev, e, pictures(0), c.LastHidden()), "P97")
			})
		}
	})
}

// Layers above the one asked for do not run.
func TestLayersAboveDoNotRun(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		e := encoder(t, dev, toy(t, toyConfig), 1)
		ran := func(f Features) int64 {
			before, err := dev.Counters()
			require.NoError(t, err)
			features(t, dev, e, picture(0), f)
			after, err := dev.Counters()
			require.NoError(t, err)
			return after.Ops - before.Ops
		}
		var counts []int64
		for k := range 4 {
			counts = append(counts, ran(Features{Layer: k}))
		}
		perLayer := counts[1] - counts[0]
		require.EqualValues(t, 7, perLayer, "two norms, four products, one attention")
		require.Equal(t, []int64{counts[0], counts[0] + perLayer, counts[0] + 2*perLayer, counts[0] + 3*perLayer}, counts)
	})
}

// P17: values beyond what 16 bits hold stay finite, also with weights of 16 bits.
func TestLargeActivationsStayFinite(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		for _, d := range []weights.DType{weights.F16, weights.BF16} {
			t.Run(d.String(), func(t *testing.T) {
				m := toy(t, toyConfig)
				for name := range m.Tensors {
					m.Convert(t, name, d)
				}
				big := m.Values(t, "encoder.layers.0.mlp.fc2.weight")
				for i := range big {
					big[i] *= 150000 // below 65504
				}
				m.Put(t, "encoder.layers.0.mlp.fc2.weight", d, big, 36, 21)
				e := encoder(t, dev, m, 1)
				f, err := e.tower.Config.State(1)
				require.NoError(t, err)
				got, want := features(t, dev, e, picture(0), f), reference(t, m, picture(0))
				largest := float32(0)
				for _, v := range got {
					largest = max(largest, v, -v)
				}
				require.Greater(t, largest, float32(70000))
				require.LessOrEqual(t, golden.NMSE(got, want.hidden[1]), 1e-10)
				require.LessOrEqual(t, golden.NMSE(features(t, dev, e, picture(0), e.tower.Config.LastHidden()), want.last), 1e-10)
			})
		}
	})
}

// The plan is what an encoder allocates at the native size.
func TestEncoderBytes(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		for _, head := range []bool{true, false} {
			for _, n := range []int{1, 5} {
				t.Run(fmt.Sprintf("head %t, %d pictures", head, n), func(t *testing.T) {
					m := toy(t, toyConfig)
					if !head {
						m.Remove(t, headNames...)
					}
					tw := tower(t, dev, m)
					before, err := dev.Counters()
					require.NoError(t, err)
					_, err = NewEncoder(dev, tw, n, 10, 10)
					require.NoError(t, err)
					after, err := dev.Counters()
					require.NoError(t, err)
					require.Equal(t, EncoderBytes(tw.Config, n, head, ops.F32), after.Bytes-before.Bytes)
				})
			}
		}
	})
}

// Taps show the states under their names, in order, and their absence changes no bit.
// A pass is captured once for each number of pictures and each output, and gives the bits that it gives
// op by op, which is how it runs while somebody looks at the layers.
func TestPassesAreCaptured(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		if !dev.Capabilities().Capture {
			t.Skip("the library cannot capture")
		}
		e := encoder(t, dev, toy(t, toyConfig), 2)
		c := e.tower.Config
		counters := func() binding.Counters {
			n, err := dev.Counters()
			require.NoError(t, err)
			return n
		}
		for _, f := range []Features{c.LastHidden(), c.Pooled()} {
			for _, ks := range [][]uint64{{3}, {4, 5}} {
				s := dev.Stream()
				s.SetTap(func(string, int, int, []float32) {})
				eager := counters()
				out := e.Forward(s, pictures(ks...), f)
				require.NoError(t, s.Wait())
				want, err := out.ReadFloat32()
				require.NoError(t, err)
				before := counters()
				require.Equal(t, eager.Captures, before.Captures)

				other := make([]uint64, len(ks))
				require.NotEqual(t, want, features(t, dev, e, pictures(other...), f))
				require.Equal(t, want, features(t, dev, e, pictures(ks...), f))
				after := counters()
				require.EqualValues(t, 1, after.Captures-before.Captures)
				require.EqualValues(t, 2, after.Replays-before.Replays)
			}
		}
	})
}

func TestTaps(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		e := encoder(t, dev, toy(t, toyConfig), 1)
		want := features(t, dev, e, picture(0), e.tower.Config.Pooled())
		var names []string
		taps := map[string][]float32{}
		s := dev.Stream()
		s.SetTap(func(name string, rows, cols int, data []float32) {
			require.Len(t, data, rows*cols)
			names = append(names, name)
			taps[name] = data
		})
		e.Forward(s, picture(0), e.tower.Config.Pooled())
		require.NoError(t, s.Wait())
		require.Equal(t, []string{"vision.hidden.0", "vision.hidden.1", "vision.hidden.2", "vision.hidden.3",
			"vision.last_hidden_state", "vision.pooler_output"}, names)
		require.Equal(t, want, taps["vision.pooler_output"])
	})
}

package siglip_test

import (
	"context"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/internal/golden"
	"github.com/llama3v/llama3v/internal/testdevice"
	"github.com/llama3v/llama3v/model/load"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/siglip"
	"github.com/llama3v/llama3v/model/weights"
)

var smallText = siglip.TextConfig{Dim: 36, Hidden: 50, Layers: 2, Heads: 2, Vocab: 20, Length: 6, Out: 24, Eps: 1e-6, Act: ops.GELUTanh}

// randomText is a text tower of smallText's sizes, its tensors at the root.
func randomText(t *testing.T) *golden.Model {
	c := smallText
	m := golden.NewModel(t, `{}`)
	pair := func(name string, scale float32, rows, cols int) {
		m.Random(t, 0, scale, name+".weight", rows, cols)
		m.Random(t, 0, scale, name+".bias", rows)
	}
	norm := func(name string) {
		m.Random(t, 1, 0.5, name+".weight", c.Dim)
		m.Random(t, 0, 0.5, name+".bias", c.Dim)
	}
	m.Random(t, 0, 2, "embeddings.token_embedding.weight", c.Vocab, c.Dim)
	m.Random(t, 0, 2, "embeddings.position_embedding.weight", c.Length, c.Dim)
	m.Random(t, 0, 2, "embeddings.position_ids", 1, c.Length)
	for i := range c.Layers {
		layer := "encoder.layers." + string(rune('0'+i)) + "."
		norm(layer + "layer_norm1")
		norm(layer + "layer_norm2")
		for _, name := range []string{"q_proj", "k_proj", "v_proj", "out_proj"} {
			pair(layer+"self_attn."+name, 0.5, c.Dim, c.Dim)
		}
		pair(layer+"mlp.fc1", 0.5, c.Hidden, c.Dim)
		pair(layer+"mlp.fc2", 0.5, c.Dim, c.Hidden)
	}
	norm("final_layer_norm")
	pair("head", 0.5, c.Out, c.Dim)
	return m
}

func loadText(t *testing.T, dev *ops.Device, m *golden.Model, c siglip.TextConfig) (*siglip.TextTower, error) {
	t.Helper()
	cp, err := weights.Open(m.FS(t))
	require.NoError(t, err)
	defer cp.Close()
	loader := load.New(dev, cp)
	require.True(t, siglip.HasText(loader))
	tower := siglip.LoadText(loader, c)
	unknown, err := loader.Check()
	if err != nil {
		return nil, err
	}
	require.Empty(t, unknown)
	return tower, loader.Load(context.Background())
}

func embedText(t *testing.T, dev *ops.Device, m *golden.Model, ids []int32) []float32 {
	t.Helper()
	tower, err := loadText(t, dev, m, smallText)
	require.NoError(t, err)
	e, err := siglip.NewTextEncoder(dev, tower, len(ids)/smallText.Length)
	require.NoError(t, err)
	s := dev.Stream()
	out := e.Forward(s, ids)
	require.NoError(t, s.Wait())
	values, err := out.ReadFloat32()
	require.NoError(t, err)
	return values
}

func TestTextTower(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		m := randomText(t)
		ids := []int32{5, 6, 7, 1, 1, 1}
		base := embedText(t, dev, m, ids)
		require.Len(t, base, smallText.Out)

		t.Run("P25: every position is seen, the padding too", func(t *testing.T) {
			for i := range ids {
				changed := append([]int32{}, ids...)
				changed[i] = 12
				require.NotEqual(t, base, embedText(t, dev, m, changed), "position %d", i)
			}
			require.NotEqual(t, base, embedText(t, dev, m, []int32{6, 5, 7, 1, 1, 1}), "order matters")
		})
		t.Run("each position has its own row of the table", func(t *testing.T) {
			table := m.Values(t, "embeddings.position_embedding.weight")
			for row := range smallText.Length {
				changed := append([]float32{}, table...)
				changed[row*smallText.Dim] += 3
				other := randomText(t).Put(t, "embeddings.position_embedding.weight", weights.F32, changed, smallText.Length, smallText.Dim)
				require.NotEqual(t, base, embedText(t, dev, other, ids), "row %d", row)
			}
		})
		t.Run("half precision weights keep the positions", func(t *testing.T) {
			for _, d := range []weights.DType{weights.F16, weights.BF16} {
				half := randomText(t)
				for name := range half.Tensors {
					if name != "embeddings.position_ids" {
						half.Convert(t, name, d)
					}
				}
				rounded := golden.NewModel(t, `{}`)
				for name, tensor := range half.Tensors {
					rounded.Put(t, name, weights.F32, half.Values(t, name), tensor.Shape...)
				}
				require.Less(t, golden.NMSE(embedText(t, dev, half, ids), embedText(t, dev, rounded, ids)), 1e-10, d.String())
			}
		})
		t.Run("several texts are several", func(t *testing.T) {
			other := []int32{9, 8, 7, 6, 5, 1}
			both := embedText(t, dev, m, append(append([]int32{}, ids...), other...))
			require.Equal(t, base, both[:smallText.Out])
			require.Equal(t, embedText(t, dev, m, other), both[smallText.Out:])
		})
		t.Run("ids that do not fit", func(t *testing.T) {
			tower, err := loadText(t, dev, m, smallText)
			require.NoError(t, err)
			e, err := siglip.NewTextEncoder(dev, tower, 2)
			require.NoError(t, err)
			require.Equal(t, 2, e.Texts())
			for name, ids := range map[string][]int32{
				"none": nil, "part of a text": {1, 2}, "a text too many": make([]int32, 18), "an id below 0": {0, 0, -1, 0, 0, 0}, "an id too large": {0, 0, 0, 0, 0, 20},
			} {
				s := dev.Stream()
				e.Forward(s, ids)
				require.ErrorIs(t, s.Wait(), ops.ErrShape, name)
			}
			s := dev.Stream()
			e.Forward(s, []int32{0, 0, 0, 0, 0, 20})
			require.ErrorContains(t, s.Wait(), "id 20 at position 5 of text 1")
			_, err = siglip.NewTextEncoder(dev, tower, 0)
			require.ErrorIs(t, err, ops.ErrShape)
		})
		t.Run("P30: what is missing is listed, and what does not fit", func(t *testing.T) {
			broken := randomText(t).Remove(t, "head.bias", "encoder.layers.1.mlp.fc1.weight")
			_, err := loadText(t, dev, broken, smallText)
			require.ErrorIs(t, err, weights.ErrMissingTensor)
			for _, name := range []string{"head.bias", "encoder.layers.1.mlp.fc1.weight"} {
				require.ErrorContains(t, err, name)
			}
			longer := smallText
			longer.Length = 7
			_, err = loadText(t, dev, randomText(t), longer)
			require.ErrorIs(t, err, ops.ErrShape)
			require.ErrorContains(t, err, "position_embedding")
		})
	})
}

func TestCompare(t *testing.T) {
	scores, err := siglip.Compare([]float32{3, 0, 0, 5}, []float32{2, 0, 1, 1, 0, -4}, 2, float32(math.Log(10)), -1)
	require.NoError(t, err)
	half := 10/math.Sqrt2 - 1
	want := []float64{9, half, -1, -1, half, -11}
	for i, logit := range want {
		require.InDelta(t, logit, scores.Logits[i], 1e-5)
		require.InDelta(t, 1/(1+math.Exp(-logit)), scores.Probs[i], 1e-6)
	}
	far, err := siglip.Compare([]float32{1, 0}, []float32{1, 0, -1, 0}, 2, 20, 0)
	require.NoError(t, err)
	require.Equal(t, []float32{1, 0}, far.Probs, "no NaN far out")

	for name, rows := range map[string][]float32{"zero": {0, 0}, "NaN": {1, float32(math.NaN())}, "infinity": {float32(math.Inf(-1)), 1}} {
		_, err := siglip.Compare([]float32{1, 1}, append([]float32{1, 1}, rows...), 2, 1, 1)
		require.ErrorIs(t, err, siglip.ErrNoDirection, name)
		require.True(t, strings.HasPrefix(err.Error(), "text 2: "), err.Error())
		_, err = siglip.Compare(rows, []float32{1, 1}, 2, 1, 1)
		require.ErrorContains(t, err, "picture 1: ", name)
	}
	for _, dim := range []int{0, 3} {
		_, err := siglip.Compare([]float32{1, 1}, []float32{1, 1}, dim, 1, 1)
		require.ErrorIs(t, err, ops.ErrShape)
	}
	_, err = siglip.Compare(nil, []float32{1}, 1, 1, 1)
	require.ErrorIs(t, err, ops.ErrShape)
}

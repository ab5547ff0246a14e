package siglip

import (
	"context"
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/internal/golden"
	"github.com/llama3v/llama3v/model/load"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/weights"
)

// toyConfig has awkward sizes: two heads of 18, and pictures of 10 pixels in patches of 4, so that
// two pixels at the right and bottom are unused (P14).
const toyConfig = `{"hidden_size":36,"num_attention_heads":2,"num_hidden_layers":3,"intermediate_size":21,"image_size":10,"patch_size":4}`

func readToy(t testing.TB, m *golden.Model) Config {
	t.Helper()
	file, err := weights.ReadConfig(m.FS(t), "config.json")
	require.NoError(t, err)
	c := ReadConfig(file)
	require.NoError(t, file.Err())
	return c
}

// toy is a small random tower with a pooling head.
func toy(t testing.TB, config string) *golden.Model {
	t.Helper()
	m := golden.NewModel(t, config)
	c := readToy(t, m)
	linear := func(name string, out, in int) {
		m.Random(t, 0, 0.7, name+".weight", out, in).Random(t, 0, 0.5, name+".bias", out)
	}
	norm := func(name string) { m.Random(t, 1, 1, name+".weight", c.Dim).Random(t, 0, 1, name+".bias", c.Dim) }
	m.Random(t, 0, 0.3, "embeddings.patch_embedding.weight", c.Dim, c.Channels, c.Patch, c.Patch)
	m.Random(t, 0, 1, "embeddings.patch_embedding.bias", c.Dim)
	m.Random(t, 0, 1, "embeddings.position_embedding.weight", c.Patches(), c.Dim)
	for i := range c.Layers {
		layer := fmt.Sprintf("encoder.layers.%d.", i)
		norm(layer + "layer_norm1")
		for _, part := range []string{"q_proj", "k_proj", "v_proj", "out_proj"} {
			linear(layer+"self_attn."+part, c.Dim, c.Dim)
		}
		norm(layer + "layer_norm2")
		linear(layer+"mlp.fc1", c.Hidden, c.Dim)
		linear(layer+"mlp.fc2", c.Dim, c.Hidden)
	}
	norm("post_layernorm")
	m.Random(t, 0, 2, "head.probe", 1, 1, c.Dim)
	m.Random(t, 0, 0.7, "head.attention.in_proj_weight", 3*c.Dim, c.Dim).Random(t, 0, 0.5, "head.attention.in_proj_bias", 3*c.Dim)
	linear("head.attention.out_proj", c.Dim, c.Dim)
	norm("head.layernorm")
	linear("head.mlp.fc1", c.Hidden, c.Dim)
	linear("head.mlp.fc2", c.Dim, c.Hidden)
	return m
}

var headNames = []string{"head.probe", "head.attention.in_proj_weight", "head.attention.in_proj_bias",
	"head.attention.out_proj.weight", "head.attention.out_proj.bias", "head.layernorm.weight", "head.layernorm.bias",
	"head.mlp.fc1.weight", "head.mlp.fc1.bias", "head.mlp.fc2.weight", "head.mlp.fc2.bias"}

// tower loads a toy.
func tower(t testing.TB, dev *ops.Device, m *golden.Model) *Tower {
	t.Helper()
	return towerOf(t, dev, m, func(*Config) {})
}

// towerOf loads a toy under a changed config.
func towerOf(t testing.TB, dev *ops.Device, m *golden.Model, change func(*Config)) *Tower {
	t.Helper()
	cp, err := weights.Open(m.FS(t))
	require.NoError(t, err)
	defer cp.Close()
	l := load.New(dev, cp)
	c := readToy(t, m)
	change(&c)
	tw := Load(l, c)
	unknown, err := l.Check()
	require.NoError(t, err)
	require.Empty(t, unknown)
	require.NoError(t, l.Load(context.Background()))
	return tw
}

// seen is what a plain computation gives for one picture.
type seen struct {
	hidden       [][]float32 // per layer, [patches, dim]
	last, pooled []float32
}

// reference computes a picture's features in float64 with plain loops, from the model's description
// alone.
func reference(t testing.TB, m *golden.Model, pixels []float32) seen {
	t.Helper()
	c := readToy(t, m)
	linear := func(x [][]float64, w, b []float32) [][]float64 {
		out := make([][]float64, len(x))
		for r, row := range x {
			out[r] = make([]float64, len(b))
			for i := range b {
				out[r][i] = float64(b[i])
				for j, v := range row {
					out[r][i] += float64(w[i*len(row)+j]) * v
				}
			}
		}
		return out
	}
	apply := func(x [][]float64, name string) [][]float64 {
		return linear(x, m.Values(t, name+".weight"), m.Values(t, name+".bias"))
	}
	norm := func(x [][]float64, name string) [][]float64 {
		w, b := m.Values(t, name+".weight"), m.Values(t, name+".bias")
		out := make([][]float64, len(x))
		for r, row := range x {
			mean, variance := 0.0, 0.0
			for _, v := range row {
				mean += v / float64(len(row))
			}
			for _, v := range row {
				variance += (v - mean) * (v - mean) / float64(len(row))
			}
			out[r] = make([]float64, len(row))
			for i, v := range row {
				out[r][i] = (v-mean)/math.Sqrt(variance+float64(c.Eps))*float64(w[i]) + float64(b[i])
			}
		}
		return out
	}
	act := func(x [][]float64) [][]float64 {
		for _, row := range x {
			for i, v := range row {
				switch m.Config["hidden_act"] {
				case "gelu":
					row[i] = 0.5 * v * (1 + math.Erf(v/math.Sqrt2))
				case "quick_gelu":
					row[i] = v / (1 + math.Exp(-1.702*v))
				case "silu":
					row[i] = v / (1 + math.Exp(-v))
				default:
					row[i] = 0.5 * v * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(v+0.044715*v*v*v)))
				}
			}
		}
		return x
	}
	attend := func(q, k, v [][]float64) [][]float64 {
		width := c.Dim / c.Heads
		out := make([][]float64, len(q))
		for r := range q {
			out[r] = make([]float64, c.Dim)
			for h := range c.Heads {
				scores, sum := make([]float64, len(k)), 0.0
				for p := range k {
					for j := h * width; j < (h+1)*width; j++ {
						scores[p] += q[r][j] * k[p][j]
					}
					scores[p] = math.Exp(scores[p] / math.Sqrt(float64(width)))
					sum += scores[p]
				}
				for p := range k {
					for j := h * width; j < (h+1)*width; j++ {
						out[r][j] += scores[p] / sum * v[p][j]
					}
				}
			}
		}
		return out
	}
	add := func(x, y [][]float64) [][]float64 {
		out := make([][]float64, len(x))
		for r := range x {
			out[r] = make([]float64, len(x[r]))
			for i := range x[r] {
				out[r][i] = x[r][i] + y[r][i]
			}
		}
		return out
	}
	flat := func(x [][]float64) []float32 {
		var list []float32
		for _, row := range x {
			for _, v := range row {
				list = append(list, float32(v))
			}
		}
		return list
	}

	var squares [][]float64
	for row := range c.Grid() {
		for col := range c.Grid() {
			var square []float64
			for channel := range 3 {
				for y := range c.Patch {
					for x := range c.Patch {
						square = append(square, float64(pixels[(channel*c.ImageSize+row*c.Patch+y)*c.ImageSize+col*c.Patch+x]))
					}
				}
			}
			squares = append(squares, square)
		}
	}
	x := apply(squares, "embeddings.patch_embedding")
	table := m.Values(t, "embeddings.position_embedding.weight")
	for p := range x {
		for i := range x[p] {
			x[p][i] += float64(table[p*c.Dim+i])
		}
	}
	s := seen{hidden: [][]float32{flat(x)}}
	for i := range c.Layers {
		layer := fmt.Sprintf("encoder.layers.%d.", i)
		n := norm(x, layer+"layer_norm1")
		a := attend(apply(n, layer+"self_attn.q_proj"), apply(n, layer+"self_attn.k_proj"), apply(n, layer+"self_attn.v_proj"))
		x = add(x, apply(a, layer+"self_attn.out_proj"))
		x = add(x, apply(act(apply(norm(x, layer+"layer_norm2"), layer+"mlp.fc1")), layer+"mlp.fc2"))
		s.hidden = append(s.hidden, flat(x))
	}
	x = norm(x, "post_layernorm")
	s.last = flat(x)

	probe := make([]float64, c.Dim)
	for i, v := range m.Values(t, "head.probe") {
		probe[i] = float64(v)
	}
	w, b := m.Values(t, "head.attention.in_proj_weight"), m.Values(t, "head.attention.in_proj_bias")
	third := func(k int, x [][]float64) [][]float64 {
		return linear(x, w[k*c.Dim*c.Dim:(k+1)*c.Dim*c.Dim], b[k*c.Dim:(k+1)*c.Dim])
	}
	a := apply(attend(third(0, [][]float64{probe}), third(1, x), third(2, x)), "head.attention.out_proj")
	s.pooled = flat(add(a, apply(act(apply(norm(a, "head.layernorm"), "head.mlp.fc1")), "head.mlp.fc2")))
	return s
}

package llama

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

// toyConfig has awkward sizes: hidden 20 with four heads of 8 (P38), two of them for keys.
const toyConfig = `{"vocab_size":53,"hidden_size":20,"intermediate_size":13,"num_hidden_layers":2,"num_attention_heads":4,
	"num_key_value_heads":2,"head_dim":8,"rms_norm_eps":1e-5,"rope_theta":10000,"max_position_embeddings":256}`

func readToy(t testing.TB, m *golden.Model) Config {
	t.Helper()
	file, err := weights.ReadConfig(m.FS(t), "config.json")
	require.NoError(t, err)
	c := ReadConfig(file)
	require.NoError(t, file.Err())
	return c
}

// toy is a small random model. Its text means nothing.
func toy(t testing.TB, config string) *golden.Model {
	t.Helper()
	m := golden.NewModel(t, config)
	c := readToy(t, m)
	q, kv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	m.Random(t, 0, 2, "model.embed_tokens.weight", c.Vocab, c.Dim)
	for i := range c.Layers {
		name := func(part string) string { return fmt.Sprintf("model.layers.%d.%s.weight", i, part) }
		m.Random(t, 1, 1, name("input_layernorm"), c.Dim)
		m.Random(t, 0, 1, name("self_attn.q_proj"), q, c.Dim).Random(t, 0, 1, name("self_attn.k_proj"), kv, c.Dim)
		m.Random(t, 0, 1, name("self_attn.v_proj"), kv, c.Dim).Random(t, 0, 1, name("self_attn.o_proj"), c.Dim, q)
		m.Random(t, 1, 1, name("post_attention_layernorm"), c.Dim)
		m.Random(t, 0, 1, name("mlp.gate_proj"), c.Hidden, c.Dim).Random(t, 0, 1, name("mlp.up_proj"), c.Hidden, c.Dim)
		m.Random(t, 0, 1, name("mlp.down_proj"), c.Dim, c.Hidden)
	}
	m.Random(t, 1, 1, "model.norm.weight", c.Dim)
	if !c.Tied {
		m.Random(t, 0, 1, "lm_head.weight", c.Vocab, c.Dim)
	}
	return m
}

// decoder loads a toy.
func decoder(t testing.TB, dev *ops.Device, m *golden.Model) *Decoder {
	t.Helper()
	cp, err := weights.Open(m.FS(t))
	require.NoError(t, err)
	defer cp.Close()
	l := load.New(dev, cp)
	d := Load(l.Sub("model"), l, readToy(t, m))
	unknown, err := l.Check()
	require.NoError(t, err)
	require.Empty(t, unknown)
	require.NoError(t, l.Load(context.Background()))
	return d
}

// reference computes the logits of every position in float64 with plain loops, from the model's
// description alone. rows are the picture rows that stand where ids has Slot.
func reference(t testing.TB, m *golden.Model, ids []int32, rows []float32) []float32 {
	t.Helper()
	c := readToy(t, m)
	matrix := func(name string) func(x []float64) []float64 {
		w := m.Values(t, name)
		out := m.Tensors[name].Shape[0]
		return func(x []float64) []float64 {
			y := make([]float64, out)
			for i := range y {
				for j, v := range x {
					y[i] += float64(w[i*len(x)+j]) * v
				}
			}
			return y
		}
	}
	norm := func(x []float64, name string) []float64 {
		w, sum := m.Values(t, name), 0.0
		for _, v := range x {
			sum += v * v
		}
		scale := 1 / math.Sqrt(sum/float64(len(x))+float64(c.NormEps))
		y := make([]float64, len(x))
		for i, v := range x {
			y[i] = v * scale * float64(w[i])
		}
		return y
	}
	rope := func(head []float64, position int) {
		half := c.HeadDim / 2
		for j := range half {
			sin, cos := math.Sincos(float64(position) * math.Pow(c.RopeTheta, -2*float64(j)/float64(c.HeadDim)))
			a, b := head[j], head[j+half]
			head[j], head[j+half] = a*cos-b*sin, b*cos+a*sin
		}
	}
	add := func(x, y []float64) {
		for i, v := range y {
			x[i] += v
		}
	}

	table := m.Values(t, "model.embed_tokens.weight")
	var xs [][]float64
	for _, id := range ids {
		source := rows
		if id == Slot {
			rows = rows[c.Dim:]
		} else {
			source = table[int(id)*c.Dim:]
		}
		x := make([]float64, c.Dim)
		for i := range x {
			x[i] = float64(source[i])
		}
		xs = append(xs, x)
	}
	for layer := range c.Layers {
		name := func(part string) string { return fmt.Sprintf("model.layers.%d.%s.weight", layer, part) }
		wq, wk, wv, wo := matrix(name("self_attn.q_proj")), matrix(name("self_attn.k_proj")), matrix(name("self_attn.v_proj")), matrix(name("self_attn.o_proj"))
		gate, up, down := matrix(name("mlp.gate_proj")), matrix(name("mlp.up_proj")), matrix(name("mlp.down_proj"))
		var ks, vs [][]float64
		for position, x := range xs {
			n := norm(x, name("input_layernorm"))
			q, k := wq(n), wk(n)
			for h := range c.Heads {
				rope(q[h*c.HeadDim:][:c.HeadDim], position)
			}
			for h := range c.KVHeads {
				rope(k[h*c.HeadDim:][:c.HeadDim], position)
			}
			ks, vs = append(ks, k), append(vs, wv(n))
			attended := make([]float64, c.Heads*c.HeadDim)
			for h := range c.Heads {
				at := h / (c.Heads / c.KVHeads) * c.HeadDim
				scores, sum := make([]float64, position+1), 0.0
				for p := range scores {
					for j := range c.HeadDim {
						scores[p] += q[h*c.HeadDim+j] * ks[p][at+j]
					}
					scores[p] = math.Exp(scores[p] / math.Sqrt(float64(c.HeadDim)))
					sum += scores[p]
				}
				for p, s := range scores {
					for j := range c.HeadDim {
						attended[h*c.HeadDim+j] += s / sum * vs[p][at+j]
					}
				}
			}
			add(x, wo(attended))
			n = norm(x, name("post_attention_layernorm"))
			g, u := gate(n), up(n)
			for i := range g {
				g[i] = g[i] / (1 + math.Exp(-g[i])) * u[i]
			}
			add(x, down(g))
		}
	}
	head := matrix("model.embed_tokens.weight")
	if !c.Tied {
		head = matrix("lm_head.weight")
	}
	var logits []float32
	for _, x := range xs {
		for _, v := range head(norm(x, "model.norm.weight")) {
			logits = append(logits, float32(v))
		}
	}
	return logits
}

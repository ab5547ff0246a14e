package siglip_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/internal/golden"
	"github.com/llama3v/llama3v/internal/testdevice"
	"github.com/llama3v/llama3v/model/load"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/siglip"
	"github.com/llama3v/llama3v/model/weights"
)

// formula describes a tensor of the so400m_layer case, whose values are computed and not stored.
type formula struct {
	Shape         []int
	Offset, Scale float32
	Seed          uint32
	First         []float32
}

// values follows the case's description: element i is offset + scale * (h/2^24 - 0.5) with h the
// upper 24 bits of a 32-bit hash of i, in float32, each operation rounded by itself.
func (f formula) values() []float32 {
	n := 1
	for _, d := range f.Shape {
		n *= d
	}
	list := make([]float32, n)
	for i := range list {
		x := uint32(i) + f.Seed*0x9E3779B9
		x ^= x >> 16
		x *= 0x7FEB352D
		x ^= x >> 15
		x *= 0x846CA68B
		x ^= x >> 16
		unit := float32(x>>8)/(1<<24) - 0.5
		product := float32(f.Scale * unit) // the conversion keeps the compiler from fusing
		list[i] = f.Offset + product
	}
	return list
}

// One layer of so400m-384 at its real width: 729 tokens of 1152, 16 heads of 72 columns.
func TestGoldenLayer(t *testing.T) {
	t.Run("so400m_layer", func(t *testing.T) {
		testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
			const bound = 1e-10
			c := golden.Open(t, "so400m_layer")
			var in struct {
				Hidden       int     `json:"hidden_size"`
				Intermediate int     `json:"intermediate_size"`
				Heads        int     `json:"num_attention_heads"`
				Eps          float32 `json:"layer_norm_eps"`
				Rows         []int
				Tensors      map[string]formula
			}
			c.JSON("inputs.json", &in)
			var expected struct {
				Norm float64 `json:"output_norm"`
			}
			c.JSON("expected.json", &expected)

			m := golden.NewModel(t, `{}`)
			for name, f := range in.Tensors {
				values := f.values()
				require.Equal(t, f.First, values[:len(f.First)], name)
				m.Put(t, name, weights.F32, values, f.Shape...)
			}
			input := m.Values(t, "input")
			tokens := len(input) / in.Hidden
			m.Remove(t, "input")
			cp, err := weights.Open(m.FS(t))
			require.NoError(t, err)
			defer cp.Close()

			// run gives the chosen rows of the layer's output, and all of it.
			run := func(hidden int, ignore ...string) (chosen, all []float32) {
				shape := siglip.LayerShape{Dim: in.Hidden, Heads: in.Heads, Hidden: hidden, Eps: in.Eps, Act: ops.GELUTanh}
				var layer siglip.Layer
				loader := load.New(dev, cp)
				layer.Load(loader, siglip.LayerNames{Norm1: "layer_norm1", Attention: "self_attn", Norm2: "layer_norm2", MLP: "mlp"}, shape)
				loader.Ignore(ignore...)
				unknown, err := loader.Check()
				require.NoError(t, err)
				require.Empty(t, unknown)
				require.NoError(t, loader.Load(context.Background()))

				x, err := dev.FromFloat32(input, tokens, in.Hidden)
				require.NoError(t, err)
				offsets, err := dev.FromInt32([]int32{0, int32(tokens)}, 2, 1)
				require.NoError(t, err)
				work, err := siglip.NewWorkspace(dev, tokens, shape)
				require.NoError(t, err)
				s := dev.Stream()
				layer.Forward(s, x, offsets, work)
				require.NoError(t, s.Wait())
				all, err = x.ReadFloat32()
				require.NoError(t, err)
				for _, row := range in.Rows {
					chosen = append(chosen, all[row*in.Hidden:][:in.Hidden]...)
				}
				return chosen, all
			}

			output, all := run(in.Intermediate)
			c.Near(t, "output", output, bound)
			require.InEpsilon(t, expected.Norm, golden.Norm(all), 1e-6)

			// A layer without an MLP ends behind the attention's residual.
			attention, _ := run(0, "layer_norm2.*", "mlp.*")
			for i, row := range in.Rows {
				for j := range in.Hidden {
					attention[i*in.Hidden+j] -= input[row*in.Hidden+j]
				}
			}
			c.Near(t, "attention", attention, bound)
		})
	})
}

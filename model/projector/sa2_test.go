package projector

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/internal/golden"
	"github.com/llama3v/llama3v/internal/testdevice"
	"github.com/llama3v/llama3v/model/load"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/siglip"
	"github.com/llama3v/llama3v/model/weights"
)

const visionDim, textDim = 10, 14

// toy is a small random projector of width 12, whose layers have an MLP of hidden columns or none.
func toy(t testing.TB, hidden int) (*golden.Model, SA2Config) {
	t.Helper()
	m := golden.NewModel(t, fmt.Sprintf(`{"width":12,"num_heads":3,"intermediate_size":%d}`, hidden))
	file, err := weights.ReadConfig(m.FS(t), "config.json")
	require.NoError(t, err)
	c := ReadSA2Config(file)
	require.NoError(t, file.Err())
	linear := func(name string, out, in int) {
		m.Random(t, 0, 1, "projector."+name+".weight", out, in).Random(t, 0, 1, "projector."+name+".bias", out)
	}
	norm := func(name string) {
		m.Random(t, 1, 1, "projector."+name+".weight", 12).Random(t, 0, 1, "projector."+name+".bias", 12)
	}
	linear("in_proj", 12, visionDim)
	for i := range c.Blocks {
		block := fmt.Sprintf("blocks.%d.", i)
		norm(block + "norm1")
		for _, part := range []string{"q_proj", "k_proj", "v_proj", "out_proj"} {
			linear(block+"attn."+part, 12, 12)
		}
		if hidden > 0 {
			norm(block + "norm2")
			linear(block+"mlp.fc1", hidden, 12)
			linear(block+"mlp.fc2", 12, hidden)
		}
	}
	norm("norm")
	linear("out_proj", textDim, 12)
	return m, c
}

func prepared(t testing.TB, dev *ops.Device, hidden, pictures, patches int) (*SA2, SA2Config) {
	t.Helper()
	m, c := toy(t, hidden)
	cp, err := weights.Open(m.FS(t))
	require.NoError(t, err)
	defer cp.Close()
	l := load.New(dev, cp)
	p := c.Load(l.Sub("projector"), visionDim, textDim).(*SA2)
	unknown, err := l.Check()
	require.NoError(t, err)
	require.Empty(t, unknown)
	require.NoError(t, l.Load(context.Background()))
	require.NoError(t, p.Prepare(dev, pictures, patches))
	return p, c
}

func project(t testing.TB, dev *ops.Device, p *SA2, features []float32, pictures int) []float32 {
	t.Helper()
	x, err := dev.FromFloat32(features, len(features)/visionDim, visionDim)
	require.NoError(t, err)
	s := dev.Stream()
	y := p.Forward(s, x, make([]siglip.Grid, pictures))
	require.NoError(t, s.Wait())
	got, err := y.ReadFloat32()
	require.NoError(t, err)
	return got
}

func features(pictures ...uint64) (list []float32) {
	for _, k := range pictures {
		list = append(list, golden.Uniform(k, 5*visionDim, 0, 2)...)
	}
	return list
}

var _ Projector = (*SA2)(nil)

// P15: a picture's rows are its own, bit for bit, whatever stands beside it; P25: within it every
// patch counts for every row.
func TestPicturesDoNotSeeEachOther(t *testing.T) {
	for name, hidden := range map[string]int{"with an MLP": 9, "attention only": 0} {
		t.Run(name, func(t *testing.T) {
			testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
				p, c := prepared(t, dev, hidden, 3, 5)
				require.Equal(t, 5, c.Tokens(5), "no patch is dropped")
				var want []float32
				for k := range uint64(3) {
					want = append(want, project(t, dev, p, features(k), 1)...)
				}
				require.Len(t, want, 3*5*textDim)
				require.Equal(t, want, project(t, dev, p, features(0, 1, 2), 3))
				row := 5 * textDim
				require.Equal(t, want[2*row:], project(t, dev, p, features(2, 0), 2)[:row])

				changed := features(0, 1)
				changed[4*visionDim]++ // the last patch of the first picture
				got := project(t, dev, p, changed, 2)
				for r := range 10 {
					if r < 5 {
						require.NotEqual(t, want[r*textDim:][:textDim], got[r*textDim:][:textDim], "row %d", r)
					} else {
						require.Equal(t, want[r*textDim:][:textDim], got[r*textDim:][:textDim], "row %d", r)
					}
				}
			})
		})
	}
}

func TestWorkspaceBytes(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		for _, hidden := range []int{0, 9, 100} {
			p, c := prepared(t, dev, hidden, 1, 1)
			before, err := dev.Counters()
			require.NoError(t, err)
			require.NoError(t, p.Prepare(dev, 3, 5))
			after, err := dev.Counters()
			require.NoError(t, err)
			require.Equal(t, c.WorkspaceBytes(3, 5, visionDim, textDim, ops.F32), after.Bytes-before.Bytes, "MLP of %d", hidden)
		}
	})
}

// Features of another tower, or of more pictures than there is room for, are refused.
func TestFeaturesThatDoNotFit(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		p, _ := prepared(t, dev, 9, 2, 5)
		want := project(t, dev, p, features(0), 1)
		for _, tc := range []struct {
			name             string
			rows, cols, pics int
		}{
			{"P29: another width", 5, visionDim + 1, 1},
			{"three pictures where two have room", 15, visionDim, 3},
			{"rows for two, counted as three", 10, visionDim, 3},
			{"no pictures", 5, visionDim, 0},
		} {
			t.Run(tc.name, func(t *testing.T) {
				x, err := dev.NewTensor(ops.F32, tc.rows, tc.cols)
				require.NoError(t, err)
				s := dev.Stream()
				p.Forward(s, x, make([]siglip.Grid, tc.pics))
				require.ErrorIs(t, s.Wait(), ops.ErrShape)
				require.Equal(t, want, project(t, dev, p, features(0), 1), "P97")
			})
		}
	})
}

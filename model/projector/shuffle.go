package projector

import (
	"fmt"

	"github.com/llama3v/llama3v/model/load"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/siglip"
)

// ShuffleConfig holds the sizes of Idefics3's connector. Every view has Grid x Grid patches.
type ShuffleConfig struct {
	Scale int // patches along each side that become one position; divides Grid
	Grid  int
}

// Shuffle is Idefics3's connector (Laurençon et al. 2024, arXiv:2408.12637, section 2.2): squares of
// Scale x Scale patches become one position each, their features one behind the other, row by row,
// and one linear layer without a bias follows.
type Shuffle struct {
	Out ops.Linear // [textDim, scale*scale*visionDim]

	config   ShuffleConfig
	order    *ops.Tensor // [views*grid*grid, 1] int32: which patch comes where
	shuffled *ops.Tensor // [views*grid*grid, visionDim]
	y        *ops.Tensor // [views*positions, textDim]
}

// Load implements Config.
func (c ShuffleConfig) Load(l *load.Loader, visionDim, textDim int) Projector {
	p := &Shuffle{config: c}
	l.Linear(&p.Out, c.Scale*c.Scale*visionDim, load.NoBias, load.Rows("modality_projection.proj", textDim))
	return p
}

func (c ShuffleConfig) String() string {
	return fmt.Sprintf("pixel shuffle: squares of %d x %d patches, one linear layer", c.Scale, c.Scale)
}

// Tokens implements Config.
func (c ShuffleConfig) Tokens(tokens int) int { return tokens / (c.Scale * c.Scale) }

// WorkspaceBytes implements Config.
func (c ShuffleConfig) WorkspaceBytes(views, tokens, visionDim, textDim int, _ ops.DType) int64 {
	return int64(views*tokens)*int64(1+visionDim)*4 + int64(views*c.Tokens(tokens))*int64(textDim)*4
}

// Prepare implements Projector.
func (p *Shuffle) Prepare(d *ops.Device, views, tokens int) (err error) {
	area := p.config.Scale * p.config.Scale
	if p.order, err = d.FromInt32(p.config.order(views), views*tokens, 1); err != nil {
		return err
	}
	if p.shuffled, err = d.NewTensor(ops.F32, views*tokens, p.Out.Weight.Cols()/area); err != nil {
		return err
	}
	p.y, err = d.NewTensor(ops.F32, views*tokens/area, p.Out.Weight.Rows())
	return err
}

// order gives the patch at each place: squares row by row, and within a square its rows.
func (c ShuffleConfig) order(views int) []int32 {
	list := make([]int32, 0, views*c.Grid*c.Grid)
	for view := range views {
		for row := range c.Grid / c.Scale {
			for col := range c.Grid / c.Scale {
				for dh := range c.Scale {
					for dw := range c.Scale {
						list = append(list, int32((view*c.Grid+row*c.Scale+dh)*c.Grid+col*c.Scale+dw))
					}
				}
			}
		}
	}
	return list
}

// Forward implements Projector. Tap: "projected".
func (p *Shuffle) Forward(s *ops.Stream, features *ops.Tensor, _ []siglip.Grid) *ops.Tensor {
	rows, area := features.Rows(), p.config.Scale*p.config.Scale
	shuffled, y := p.shuffled.RowRange(0, rows), p.y.RowRange(0, rows/area)
	s.GatherRows(shuffled, features, p.order.RowRange(0, rows))
	s.Linear(y, shuffled.Reshape(rows/area, area*features.Cols()), p.Out)
	s.Tap("projected", y)
	return y
}

package bench

import (
	"github.com/llama3v/llama3v/model/llama"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/projector"
	"github.com/llama3v/llama3v/model/siglip"
	"github.com/llama3v/llama3v/model/vlm"
)

// eyes are what published families put before their decoder, by name: tower and projector. A decoder
// of no layers gives the projector its width.
var eyes = map[string]*vlm.Config{
	"llava-clip-eye":   eye(siglip.CLIPL336, &projector.MLPConfig{Layers: 2, Act: ops.GELUErf}, textDim, siglip.Features{Layer: 23, Patches: true}),
	"llava-siglip-eye": eye(siglip.SO400M384, &projector.MLPConfig{Layers: 2, Act: ops.GELUErf}, textDim, siglip.Features{Layer: 26}),
	"llama3v-eye": eye(siglip.SO400M384, &projector.SA2Config{Width: visionDim, Blocks: 2, Heads: visionHeads, Hidden: visionHidden, Eps: 1e-6, Act: ops.GELUTanh},
		textDim, siglip.Features{Layer: 26}),
	"smolvlm-256m-eye": eye(siglip.Config{Dim: 768, Hidden: 3072, Layers: 12, Heads: 12, Channels: 3, ImageSize: 512, Patch: 16, Eps: 1e-6, Act: ops.GELUTanh,
		NoHead: true, Positions: siglip.BucketPositions}, &projector.ShuffleConfig{Scale: 4, Grid: 32}, 576, siglip.Features{Layer: 12, Post: true}),
	"minicpm-v-2.5-eye": eye(siglip.Config{Dim: visionDim, Hidden: visionHidden, Layers: 27, Heads: visionHeads, Channels: 3, ImageSize: 980, Patch: 14, Eps: 1e-6,
		Act: ops.GELUTanh, NoHead: true, Positions: siglip.RowPositions, MostPatches: 1024},
		&projector.ResamplerConfig{Queries: 96, HeadDim: 128, Eps: 1e-6}, textDim, siglip.Features{Layer: 27, Post: true}),
}

func eye(v siglip.Config, p projector.Config, textDim int, f siglip.Features) *vlm.Config {
	return &vlm.Config{Vision: &v, Projector: p, Features: f,
		Text: &llama.Config{Vocab: 1, Dim: textDim, Hidden: 1, Heads: 1, KVHeads: 1, HeadDim: 2, NormEps: 1e-5, RopeTheta: 1e4, MaxPositions: 1}}
}

// eye measures both stages of one view: a whole picture, a tile, a slice of the most usual size.
func (m *Meter) eye(name, dtype string, compute ops.DType, model *vlm.Model) ([]Row, error) {
	c := model.Config
	side := c.Vision.ImageSize
	if c.Vision.MostPatches > 0 {
		side = 448
	}
	e, err := siglip.NewViewEncoder(m.device, model.Tower, 1)
	if err != nil {
		return nil, err
	}
	view := siglip.View{Pixels: make([]float32, c.Vision.Channels*side*side), Height: side, Width: side}
	for i := range view.Pixels {
		view.Pixels[i] = float32(i%255)/127.5 - 1
	}
	grid := c.Vision.ViewGrid(view)
	if err := model.Projector.Prepare(m.device, 1, c.FeatureTokens()); err != nil {
		return nil, err
	}
	var features *ops.Tensor
	shape := []int{1, c.Vision.Channels, side, side}
	encode, err := m.measure(measurement{op: name + " encode", dtype: dtype, shape: shape, bound: bound{compute: compute},
		work: towerWork(*c.Vision, grid.Patches(), c.Features.Layer),
		run:  func(s *ops.Stream, _ int) { features = e.ForwardViews(s, []siglip.View{view}, c.Features) }})
	if err != nil {
		return nil, err
	}
	project, err := m.measure(measurement{op: name + " project", dtype: dtype, shape: shape, bound: bound{compute: compute},
		work: projectorWork(c, grid.Patches()),
		run:  func(s *ops.Stream, _ int) { model.Projector.Forward(s, features, []siglip.Grid{grid}) }})
	if err != nil {
		return nil, err
	}
	return []Row{encode, project}, nil
}

// projectorWork is the multiply-adds of a projector on n patches, two operations each.
func projectorWork(c *vlm.Config, n int) float64 {
	return operations(func(l *opList) { l.project(c, n) })
}

// Package vlm puts the parts of a model together: it picks the family from config.json, declares
// the weights of tower, projector and decoder under that family's names, says how many bytes all
// of it takes, and runs pictures through tower and projector.
//
// A family is one file here; it reads like its paper.
package vlm

import (
	"fmt"

	"github.com/llama3v/llama3v/model/llama"
	"github.com/llama3v/llama3v/model/load"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/projector"
	"github.com/llama3v/llama3v/model/siglip"
)

// Stage numbers of the checks for NaN and infinity, see ops.Stream.CheckFinite.
const (
	StageVision    = 1
	StageProjector = 2
	StageLogits    = llama.StageLogits
	StageText      = StageLogits + 1
)

// StageName is a stage in words.
func StageName(stage int) string {
	switch stage {
	case StageVision:
		return "vision tower"
	case StageProjector:
		return "projector"
	case StageLogits:
		return "logits"
	case StageText:
		return "text tower"
	}
	return fmt.Sprintf("stage %d", stage)
}

// Model is a model's weights; Tower and Projector are nil for a text model, Decoder and Projector
// for a tower alone. Words is there where a checkpoint has SigLIP's text tower, too.
type Model struct {
	Config    *Config
	Tower     *siglip.Tower
	Projector projector.Projector
	Decoder   *llama.Decoder
	Words     *Words
}

// Declare declares every tensor of the model in l.
func Declare(l *load.Loader, c *Config) *Model {
	m := &Model{Config: c}
	if c.Vision != nil {
		m.Tower = siglip.Load(l.Sub(orRoot(c.names.vision)...), *c.Vision)
	}
	if c.Projector != nil {
		m.Projector = c.Projector.Load(l.Sub(orRoot(c.names.projector)...), c.Vision.Dim, c.Text.Dim)
	}
	if c.Text != nil {
		m.Decoder = llama.Load(l.Sub(orRoot(c.names.decoder)...), l.Sub(orRoot(c.names.head)...), *c.Text)
	}
	if c.Words != nil {
		m.Words = declareWords(l, *c.Words)
	}
	l.Ignore(c.names.ignore...)
	return m
}

// orRoot is the names, the checkpoint's root without any.
func orRoot(names []string) []string {
	if len(names) == 0 {
		return []string{""}
	}
	return names
}

// FeatureTokens is the most rows that the tower gives the projector for one view; ViewTokens is how
// many decoder positions a view fills, 0 without a projector.
func (c *Config) FeatureTokens() int {
	tokens := c.Vision.ViewPatches()
	if c.Vision.Class && !c.Features.Patches {
		tokens++
	}
	return tokens
}

func (c *Config) ViewTokens() int {
	if c.Projector == nil {
		return 0
	}
	return c.Projector.Tokens(c.FeatureTokens())
}

// PictureTokens is how many decoder positions one view of a picture fills; 0 without a projector. In
// families that cut pictures into tiles or slices, a picture has several views.
func (m *Model) PictureTokens() int { return m.Config.ViewTokens() }

// Eye runs views (pictures, or their tiles and slices) through the tower, and through the projector
// when there is one, whose memory is the newest Eye's. It is not safe for concurrent use.
type Eye struct {
	model   *Model
	encoder *siglip.Encoder
	events  [3]*ops.Event // before the tower, between, after the projector
}

// EyeBytes is what NewEye allocates on a device that keeps such a type.
func (c *Config) EyeBytes(views int, head bool, kept ops.DType) int64 {
	bytes := siglip.EncoderBytes(*c.Vision, views, head, kept)
	if c.Projector != nil {
		bytes += c.Projector.WorkspaceBytes(views, c.FeatureTokens(), c.Vision.Dim, c.Text.Dim, kept)
	}
	return bytes
}

// NewEye allocates for up to so many views at once: of the tower's native size, or each of its own up
// to siglip.Config's MostPatches.
func NewEye(d *ops.Device, m *Model, views int) (*Eye, error) {
	e := &Eye{model: m}
	var err error
	if e.encoder, err = siglip.NewViewEncoder(d, m.Tower, views); err != nil {
		return nil, err
	}
	if m.Projector != nil {
		if err = m.Projector.Prepare(d, views, m.Config.FeatureTokens()); err != nil {
			return nil, err
		}
	}
	for i := range e.events {
		if e.events[i], err = d.NewEvent(); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// Pictures is the most views of one call.
func (e *Eye) Pictures() int { return e.encoder.Pictures() }

// Seen is the outcome of one call: float32 rows, those of one view after another, and the device time
// of each stage in seconds.
type Seen struct {
	Data            []float32 // [all rows, Dim]
	Rows            []int     // of each view
	Tokens, Dim     int       // Tokens: rows of each view, 0 where views differ
	Encode, Project float64
}

// Features computes the tower's output that f asks for on pixels, [n][3][size][size] normalised
// float32. It waits.
func (e *Eye) Features(s *ops.Stream, pixels []float32, f siglip.Features) (*Seen, error) {
	views, err := e.whole(pixels)
	if err != nil {
		return nil, err
	}
	return e.ViewFeatures(s, views, f)
}

// Project computes the rows that the decoder reads in the pictures' slots. It waits.
func (e *Eye) Project(s *ops.Stream, pixels []float32) (*Seen, error) {
	views, err := e.whole(pixels)
	if err != nil {
		return nil, err
	}
	return e.ProjectViews(s, views)
}

// ViewFeatures is Features of views.
func (e *Eye) ViewFeatures(s *ops.Stream, views []siglip.View, f siglip.Features) (*Seen, error) {
	return e.see(s, views, f, false)
}

// ProjectViews is Project of views: ViewTokens rows of each, in order.
func (e *Eye) ProjectViews(s *ops.Stream, views []siglip.View) (*Seen, error) {
	return e.see(s, views, e.model.Config.Features, true)
}

// whole cuts pixels into pictures of the native size.
func (e *Eye) whole(pixels []float32) ([]siglip.View, error) {
	c := e.model.Config.Vision
	size := c.Channels * c.ImageSize * c.ImageSize
	if len(pixels) == 0 || len(pixels)%size != 0 {
		return nil, fmt.Errorf("%w: %d pixel values for pictures of %d", ops.ErrShape, len(pixels), size)
	}
	views := make([]siglip.View, len(pixels)/size)
	for i := range views {
		views[i] = siglip.View{Pixels: pixels[i*size:][:size], Height: c.ImageSize, Width: c.ImageSize}
	}
	return views, nil
}

func (e *Eye) see(s *ops.Stream, views []siglip.View, f siglip.Features, project bool) (*Seen, error) {
	if project && e.model.Projector == nil {
		return nil, fmt.Errorf("%w: rows for a decoder: the model has no projector", ops.ErrUnsupported)
	}
	s.Record(e.events[0])
	out := e.encoder.ForwardViews(s, views, f)
	s.CheckFinite(out, StageVision)
	s.Record(e.events[1])
	if project && s.Err() == nil { // else views may have sizes that nothing has room for
		out = e.model.Projector.Forward(s, out, e.model.Config.Vision.Grids(views))
		s.CheckFinite(out, StageProjector)
	}
	s.Record(e.events[2])
	if err := s.Wait(); err != nil {
		return nil, err
	}
	seen := &Seen{Rows: e.rows(views, f, project), Dim: out.Cols()}
	seen.Tokens = seen.Rows[0]
	for _, n := range seen.Rows {
		if n != seen.Tokens {
			seen.Tokens = 0
		}
	}
	var err error
	if seen.Data, err = out.ReadFloat32(); err != nil {
		return nil, err
	}
	if seen.Encode, err = s.Elapsed(e.events[0], e.events[1]); err != nil {
		return nil, err
	}
	seen.Project, err = s.Elapsed(e.events[1], e.events[2])
	return seen, err
}

// rows is how many rows each view has in the output.
func (e *Eye) rows(views []siglip.View, f siglip.Features, project bool) []int {
	c := e.model.Config
	list := make([]int, len(views))
	for i, grid := range c.Vision.Grids(views) {
		tokens := grid.Patches()
		if c.Vision.Class && !f.Patches {
			tokens++
		}
		switch {
		case project:
			list[i] = c.Projector.Tokens(tokens)
		case f.Pooled:
			list[i] = 1
		default:
			list[i] = tokens
		}
	}
	return list
}

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
	}
	return fmt.Sprintf("stage %d", stage)
}

// Model is a model's weights; Tower and Projector are nil for a text model, Decoder and Projector
// for a tower alone.
type Model struct {
	Config    *Config
	Tower     *siglip.Tower
	Projector *projector.SA2
	Decoder   *llama.Decoder
}

// Declare declares every tensor of the model in l.
func Declare(l *load.Loader, c *Config) *Model {
	m := &Model{Config: c}
	if c.Vision != nil {
		m.Tower = siglip.Load(l.Sub(c.names.vision), *c.Vision)
	}
	if c.Projector != nil {
		m.Projector = projector.LoadSA2(l.Sub(c.names.projector), *c.Projector, c.Vision.Dim, c.Text.Dim)
	}
	if c.Text != nil {
		m.Decoder = llama.Load(l.Sub(c.names.decoder), l.Sub(c.names.head), *c.Text)
	}
	l.Ignore(c.names.ignore...)
	return m
}

// PictureTokens is how many decoder positions one picture fills; 0 without a projector.
func (m *Model) PictureTokens() int {
	if m.Projector == nil {
		return 0
	}
	return m.Projector.Tokens(m.Config.Vision.Patches())
}

// Eye runs pictures through the tower, and through the projector when there is one, whose memory is
// the newest Eye's. It is not safe for concurrent use.
type Eye struct {
	model   *Model
	encoder *siglip.Encoder
	events  [3]*ops.Event // before the tower, between, after the projector
}

// EyeBytes is what NewEye allocates.
func (c *Config) EyeBytes(pictures int, head bool) int64 {
	bytes := siglip.EncoderBytes(*c.Vision, pictures, head)
	if c.Projector != nil {
		bytes += c.Projector.WorkspaceBytes(pictures, c.Vision.Patches(), c.Text.Dim)
	}
	return bytes
}

// NewEye allocates for up to pictures at once, at the tower's native size.
func NewEye(d *ops.Device, m *Model, pictures int) (*Eye, error) {
	e := &Eye{model: m}
	c := m.Config.Vision
	var err error
	if e.encoder, err = siglip.NewEncoder(d, m.Tower, pictures, c.ImageSize, c.ImageSize); err != nil {
		return nil, err
	}
	if m.Projector != nil {
		if err = m.Projector.Prepare(d, pictures, c.Patches()); err != nil {
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

// Pictures is the most pictures of one call.
func (e *Eye) Pictures() int { return e.encoder.Pictures() }

// Seen is the outcome of one call: Rows float32 rows [pictures*Tokens, Dim], and the device time
// of each stage in seconds.
type Seen struct {
	Data            []float32
	Tokens, Dim     int // per picture
	Encode, Project float64
}

// Features computes the tower's output that f asks for on pixels, [n][3][size][size] normalised
// float32. It waits.
func (e *Eye) Features(s *ops.Stream, pixels []float32, f siglip.Features) (*Seen, error) {
	return e.see(s, pixels, f, false)
}

// Project computes the rows that the decoder reads in the pictures' slots. It waits.
func (e *Eye) Project(s *ops.Stream, pixels []float32) (*Seen, error) {
	return e.see(s, pixels, e.model.Config.Features, true)
}

func (e *Eye) see(s *ops.Stream, pixels []float32, f siglip.Features, project bool) (*Seen, error) {
	size := e.model.Config.Vision.Channels * e.model.Config.Vision.ImageSize * e.model.Config.Vision.ImageSize
	n := max(len(pixels)/size, 1)
	if project && e.model.Projector == nil {
		return nil, fmt.Errorf("%w: rows for a decoder: the model has no projector", ops.ErrUnsupported)
	}
	s.Record(e.events[0])
	out := e.encoder.Forward(s, pixels, f)
	s.CheckFinite(out, StageVision)
	s.Record(e.events[1])
	if project {
		out = e.model.Projector.Forward(s, out, n)
		s.CheckFinite(out, StageProjector)
	}
	s.Record(e.events[2])
	if err := s.Wait(); err != nil {
		return nil, err
	}
	seen := &Seen{Tokens: out.Rows() / n, Dim: out.Cols()}
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

package vlm

import (
	"fmt"

	"github.com/llama3v/llama3v/model/load"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/siglip"
)

// Words is SigLIP's text side: the tower, and the two numbers that make scores of pictures and texts.
type Words struct {
	Tower       *siglip.TextTower
	Scale, Bias *ops.Tensor // [1, 1] each: logit_scale, a logarithm, and logit_bias
}

// declareWords declares the text side, nil in a checkpoint that has none of the text tower.
func declareWords(l *load.Loader, c siglip.TextConfig) *Words {
	text := l.Sub("text_model")
	if !siglip.HasText(text) {
		return nil
	}
	w := &Words{Tower: siglip.LoadText(text, c)}
	l.Vector(&w.Scale, "logit_scale", 1)
	l.Vector(&w.Bias, "logit_bias", 1)
	return w
}

// Reader runs texts through the text tower. It is not safe for concurrent use.
type Reader struct {
	encoder     *siglip.TextEncoder
	scale, bias float32
}

// NewReader allocates for up to so many texts at once.
func NewReader(d *ops.Device, w *Words, texts int) (*Reader, error) {
	encoder, err := siglip.NewTextEncoder(d, w.Tower, texts)
	if err != nil {
		return nil, err
	}
	scale, err := w.Scale.ReadFloat32()
	if err != nil {
		return nil, err
	}
	bias, err := w.Bias.ReadFloat32()
	if err != nil {
		return nil, err
	}
	return &Reader{encoder, scale[0], bias[0]}, nil
}

// Texts is the most texts of one call.
func (r *Reader) Texts() int { return r.encoder.Texts() }

// Score is logit_scale and logit_bias: a pair's logit is exp(scale) times the cosine, plus bias.
func (r *Reader) Score() (scale, bias float32) { return r.scale, r.bias }

// Embed computes the embeddings [texts, dim] of ids [texts][length]. It waits.
func (r *Reader) Embed(s *ops.Stream, ids []int32) ([]float32, error) {
	out := r.encoder.Forward(s, ids)
	s.CheckFinite(out, StageText)
	if err := s.Wait(); err != nil {
		return nil, fmt.Errorf("text tower: %w", err)
	}
	return out.ReadFloat32()
}

package llama3v

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"

	"gorgonia.org/tensor"

	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/siglip"
	"github.com/llama3v/llama3v/model/tokenizer/sentencepiece"
	"github.com/llama3v/llama3v/model/vlm"
)

// ErrEmptyText is for a text of which the tokenizer's rules leave nothing, as SigLIP's do of
// punctuation alone.
var ErrEmptyText = siglip.ErrEmptyText

// readWords reads what turns a text into the text tower's ids. A folder without a tokenizer is a model
// for pictures.
func (m *Model) readWords(fsys fs.FS, c siglip.TextConfig) error {
	if m.tokenizer = m.config.tokenizer; m.tokenizer == nil {
		read, err := sentencepiece.Load(fsys)
		if errors.Is(err, fs.ErrNotExist) {
			m.config.logger.Info("the model has no tokenizer; texts cannot be encoded", "looked for", sentencepiece.Names)
			return nil
		}
		if err != nil {
			return err
		}
		m.tokenizer = read
	}
	if n := m.tokenizer.VocabSize(); n > c.Vocab {
		return fmt.Errorf("%w: the tokenizer has ids up to %d, text_config's table has %d rows", ErrShape, n-1, c.Vocab)
	}
	var err error
	m.writing, err = siglip.NewWriting(m.tokenizer, c.Length)
	return err
}

// EncodeTexts gives the text tower's embeddings of texts, float32 [texts, dim], as wide as
// EncodeImages gives with Pooled, and like those not normalised. A text's row does not depend on the
// others; embeddings of texts seen before come from the cache.
//
// Texts are put into lower case and, for SigLIP's own vocabulary, lose their ASCII punctuation, as in
// the reference. One of more tokens than the tower has positions is cut off, as there.
//
// Errors: ErrUnsupported (no text tower, no tokenizer), ErrEmptyText, ErrShape (no texts),
// ErrNotFinite, ErrClosed, ctx's error.
func (m *Model) EncodeTexts(ctx context.Context, texts []string) (*tensor.Dense, error) {
	rows, err := m.readTexts(ctx, texts)
	if err != nil {
		return nil, fmt.Errorf("encode texts: %w", ended(ctx, err))
	}
	dim := m.model.Config.Words.Out
	data := make([]float32, 0, len(rows)*dim)
	for _, row := range rows {
		data = append(data, row.data...)
	}
	return tensor.New(tensor.WithShape(len(rows), dim), tensor.WithBacking(data)), nil
}

// hasWords says why there is no text side.
func (m *Model) hasWords() error {
	if m.model.Words == nil {
		return fmt.Errorf("%w: the model has no text tower", ErrUnsupported)
	}
	return nil
}

func (m *Model) readTexts(ctx context.Context, texts []string) ([]*features, error) {
	if err := m.hasWords(); err != nil {
		return nil, err
	}
	if m.tokenizer == nil {
		return nil, fmt.Errorf("%w: the model's folder has none of the tokenizer files %v", ErrUnsupported, sentencepiece.Names)
	}
	if len(texts) == 0 {
		return nil, fmt.Errorf("%w: no texts", ErrShape)
	}
	ids, keys := make([][]int32, len(texts)), make([]string, len(texts))
	err := parallel(ctx, len(texts), func(i int) (err error) {
		if ids[i], err = m.writing.IDs(m.tokenizer, texts[i]); err != nil {
			return fmt.Errorf("text %d (%.40q): %w", i+1, texts[i], err)
		}
		key := []byte("text|")
		for _, id := range ids[i] {
			key = binary.AppendVarint(key, int64(id))
		}
		keys[i] = string(key)
		return nil
	})
	if err != nil {
		return nil, err
	}
	found, _, err := m.features.get(ctx, keys, func(indices []int) ([]*features, error) {
		return m.embed(ctx, ids, indices)
	})
	return found, err
}

// embed runs the texts of these indices through the tower, as many at once as the workspaces hold.
func (m *Model) embed(ctx context.Context, ids [][]int32, indices []int) ([]*features, error) {
	all, dim := make([]*features, 0, len(indices)), m.model.Config.Words.Out
	for len(indices) > 0 {
		n := min(len(indices), m.reader.Texts())
		var batch []int32
		for _, i := range indices[:n] {
			batch = append(batch, ids[i]...)
		}
		indices = indices[n:]
		var rows []float32
		err := m.step(ctx, func(s *ops.Stream) (err error) {
			rows, err = m.reader.Embed(s, batch)
			return err
		})
		if err != nil {
			return nil, err
		}
		for i := range n {
			all = append(all, &features{data: rows[i*dim : (i+1)*dim : (i+1)*dim], tokens: 1, dim: dim})
		}
	}
	return all, nil
}

// textsAtOnce is how many texts go through the tower together. Results do not depend on it.
func textsAtOnce(c siglip.TextConfig) int { return min(max(1024/c.Length, 1), 16) }

// newReader allocates the text side's workspaces, where there is one.
func (m *Model) newReader() (err error) {
	if m.model.Words != nil {
		m.reader, err = vlm.NewReader(m.device, m.model.Words, textsAtOnce(*m.model.Config.Words))
	}
	return err
}

// Scores says how well pictures and texts go together, both [pictures, texts] float32.
type Scores struct {
	// Logits are exp(scale) * cos(picture, text) + bias, with the two numbers that the model learnt.
	Logits *tensor.Dense
	// Probabilities are the sigmoids of the logits. SigLIP judges every pair by itself: a picture's
	// row does not add up to 1, and all of it may be near 0.
	Probabilities *tensor.Dense
}

// Similarity scores pictures [pictures, dim], from EncodeImages with Pooled, against texts [texts, dim],
// from EncodeTexts. Rows need not be normalised. It computes on the host and waits for nothing.
//
// Errors: ErrUnsupported (no text tower), ErrShape (not float32 matrices of the model's width; a row
// that is zero or not finite).
func (m *Model) Similarity(pictures, texts *tensor.Dense) (*Scores, error) {
	if err := m.hasWords(); err != nil {
		return nil, fmt.Errorf("similarity: %w", err)
	}
	dim := m.model.Config.Words.Out
	p, err := rowsOf(pictures, dim)
	if err != nil {
		return nil, fmt.Errorf("similarity: pictures: %w", err)
	}
	t, err := rowsOf(texts, dim)
	if err != nil {
		return nil, fmt.Errorf("similarity: texts: %w", err)
	}
	scale, bias := m.reader.Score()
	scores, err := siglip.Compare(p, t, dim, scale, bias)
	if err != nil {
		return nil, fmt.Errorf("similarity: %w", err)
	}
	shape := tensor.WithShape(len(p)/dim, len(t)/dim)
	return &Scores{
		Logits:        tensor.New(shape, tensor.WithBacking(scores.Logits)),
		Probabilities: tensor.New(shape, tensor.WithBacking(scores.Probs)),
	}, nil
}

// rowsOf gives the values of a matrix with dim columns, row by row.
func rowsOf(t *tensor.Dense, dim int) ([]float32, error) {
	if t == nil {
		return nil, fmt.Errorf("%w: no tensor", ErrShape)
	}
	if t.Dtype() != tensor.Float32 || t.Dims() != 2 || t.Shape()[1] != dim || t.Shape()[0] < 1 {
		return nil, fmt.Errorf("%w: %v %v, want float32 [rows, %d]", ErrShape, t.Dtype(), t.Shape(), dim)
	}
	if t.IsMaterializable() { // a view of a larger tensor, or a transposed one
		t = t.Materialize().(*tensor.Dense)
	}
	values, ok := t.Data().([]float32)
	if !ok || len(values) != t.Shape().TotalSize() || t.DataOrder().IsColMajor() {
		return nil, fmt.Errorf("%w: values that do not lie row by row", ErrShape)
	}
	return values, nil
}

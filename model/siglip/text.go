package siglip

import (
	"fmt"

	"github.com/llama3v/llama3v/model/load"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/weights"
)

// TextConfig holds the sizes of a text tower.
type TextConfig struct {
	Dim, Hidden, Layers, Heads int
	Vocab                      int // rows of the token table
	Length                     int // positions; every text has all of them
	Out                        int // columns of the text embedding
	Eps                        float32
	Act                        ops.Activation
}

func (c TextConfig) layerShape() LayerShape {
	return LayerShape{Dim: c.Dim, Heads: c.Heads, Hidden: c.Hidden, Eps: c.Eps, Act: c.Act}
}

// ReadTextConfig reads text_config. Absent keys have the values of transformers' SiglipTextConfig; its
// bos_token_id and eos_token_id are CLIP's and belong to no tokenizer of SigLIP, so they are not read.
// Faults stay in c.
func ReadTextConfig(c *weights.Config) TextConfig {
	cfg := TextConfig{
		Dim:    c.IntOr("hidden_size", 768, 1, 1<<16),
		Hidden: c.IntOr("intermediate_size", 3072, 1, 1<<20),
		Layers: c.IntOr("num_hidden_layers", 12, 1, 1<<10),
		Heads:  c.IntOr("num_attention_heads", 12, 1, 1<<10),
		Vocab:  c.IntOr("vocab_size", 32000, 1, 1<<24),
		Length: c.IntOr("max_position_embeddings", 64, 1, 1<<16),
		Eps:    float32(c.FloatOr("layer_norm_eps", 1e-6, 1e-20, 1)),
		Act:    ReadActivation(c, "hidden_act"),
	}
	cfg.Out = c.IntOr("projection_size", cfg.Dim, 1, 1<<16)
	if c.Err() == nil && cfg.Dim%cfg.Heads != 0 {
		c.Fail("hidden_size", "is %d, no multiple of num_attention_heads %d", cfg.Dim, cfg.Heads)
	}
	return cfg
}

// TextTower is the text model (Zhai et al. 2023, arXiv:2303.15343; transformers' SiglipTextModel): the
// vision tower's layer over tokens. Nothing is masked, neither what comes later nor padding, and the
// embedding is made of the last position, which is padding in all but the longest texts.
type TextTower struct {
	Token    *ops.Weight // [vocab, dim]
	Position ops.Linear  // [dim, length]: the position table, transposed; see TextEncoder
	Layers   []Layer
	Norm     Norm
	Head     ops.Linear // [out, dim]

	Config TextConfig
}

// LoadText declares the text tower's tensors under l, the name of the text model ("text_model").
func LoadText(l *load.Loader, cfg TextConfig) *TextTower {
	t := &TextTower{Config: cfg, Layers: make([]Layer, cfg.Layers)}
	embeddings := l.Sub("embeddings")
	embeddings.Table(&t.Token, "token_embedding.weight", cfg.Vocab, cfg.Dim)
	embeddings.Transposed(&t.Position, "position_embedding.weight", cfg.Dim, cfg.Length)
	for i := range t.Layers {
		t.Layers[i].Load(l.Sub(fmt.Sprintf("encoder.layers.%d", i)), towerNames, cfg.layerShape())
	}
	t.Norm.Load(l.Sub("final_layer_norm"), cfg.Dim, cfg.Eps)
	l.Linear(&t.Head, cfg.Dim, load.WithBias, load.Rows("head", cfg.Out))
	l.Ignore("embeddings.position_ids") // 0, 1, 2, ..., in some old files
	return t
}

// HasText says whether a checkpoint has a text tower under l.
func HasText(l *load.Loader) bool { return l.Has("embeddings.token_embedding.weight") }

// TextEncoder runs a TextTower: its workspaces, for up to a number of texts at a time.
type TextEncoder struct {
	tower *TextTower
	texts int // most at once

	ids     *ops.Tensor // [texts*length, 1] int32
	places  *ops.Tensor // [texts*length, length]: row i is 1 in column i%length
	x       *ops.Tensor // [texts*length, dim]
	offsets *ops.Tensor // [texts+1, 1] int32
	index   *ops.Tensor // [texts, 1] int32: the last row of each text
	last    *ops.Tensor // [texts, dim]
	out     *ops.Tensor // [texts, out]
	work    *Workspace
}

// NewTextEncoder allocates for up to so many texts at once.
func NewTextEncoder(d *ops.Device, t *TextTower, texts int) (*TextEncoder, error) {
	if texts < 1 {
		return nil, fmt.Errorf("%w: %d texts", ops.ErrShape, texts)
	}
	c, rows := t.Config, texts*t.Config.Length
	e := &TextEncoder{tower: t, texts: texts}
	places := make([]float32, rows*c.Length)
	index := ops.Multiples(texts, c.Length)
	for i := range rows {
		places[i*c.Length+i%c.Length] = 1
	}
	for i := range index {
		index[i] += int32(c.Length - 1)
	}
	err := d.NewTensors(ops.F32, rows, ops.Want{Tensor: &e.x, Cols: c.Dim})
	if err == nil {
		err = d.NewTensors(ops.F32, texts, ops.Want{Tensor: &e.last, Cols: c.Dim}, ops.Want{Tensor: &e.out, Cols: c.Out})
	}
	if err == nil {
		e.ids, err = d.NewTensor(ops.I32, rows, 1)
	}
	if err == nil {
		e.places, err = d.FromFloat32(places, rows, c.Length)
	}
	if err == nil {
		e.offsets, err = d.FromInt32(ops.Multiples(texts+1, c.Length), texts+1, 1)
	}
	if err == nil {
		e.index, err = d.FromInt32(index, texts, 1)
	}
	if err == nil {
		e.work, err = NewWorkspace(d, rows, c.layerShape())
	}
	return e, err
}

// TextEncoderBytes is what NewTextEncoder allocates on a device that keeps such a type.
func TextEncoderBytes(c TextConfig, texts int, kept ops.DType) int64 {
	rows := int64(texts) * int64(c.Length)
	return rows*int64(1+c.Length+c.Dim)*4 + int64(texts)*int64(c.Dim+c.Out+1)*4 + int64(texts+1)*4 +
		WorkspaceBytes(int(rows), c.layerShape(), kept)
}

// Texts is the most texts of one Forward.
func (e *TextEncoder) Texts() int { return e.texts }

// Forward queues the tower on ids [n][length], each text padded to the tower's length, and returns
// the embeddings [n, out], not normalised; they stay valid until the next call. Errors stay in s;
// an id that the table does not have is ops.ErrShape.
//
// Taps: "text.hidden.k", "text.last_hidden_state", "text.pooler_output".
func (e *TextEncoder) Forward(s *ops.Stream, ids []int32) *ops.Tensor {
	t, c := e.tower, e.tower.Config
	n := len(ids) / c.Length
	if err := e.write(ids); err != nil {
		s.Fail(err)
		return e.out
	}
	rows := n * c.Length
	x, offsets := e.x.RowRange(0, rows), e.offsets.RowRange(0, n+1)
	s.Embedding(x, e.ids.RowRange(0, rows), t.Token)
	// A row of the position table for every token: a product with ones and zeros, which is exact.
	s.LinearAdd(x, e.places.RowRange(0, rows), t.Position, x)
	s.Tap("text.hidden.0", x)
	for i := range t.Layers {
		t.Layers[i].Forward(s, x, offsets, e.work)
		s.Tap(fmt.Sprintf("text.hidden.%d", i+1), x)
	}
	t.Norm.Forward(s, x, x)
	s.Tap("text.last_hidden_state", x)
	last, out := e.last.RowRange(0, n), e.out.RowRange(0, n)
	s.GatherRows(last, x, e.index.RowRange(0, n))
	s.Linear(out, last, t.Head)
	s.Tap("text.pooler_output", out)
	return out
}

// write checks ids and brings them to the device.
func (e *TextEncoder) write(ids []int32) error {
	c := e.tower.Config
	if n := len(ids) / c.Length; n < 1 || n > e.texts || len(ids)%c.Length != 0 {
		return fmt.Errorf("%w: %d ids for 1 to %d texts of %d", ops.ErrShape, len(ids), e.texts, c.Length)
	}
	for i, id := range ids {
		if id < 0 || int(id) >= c.Vocab {
			return fmt.Errorf("%w: id %d at position %d of text %d, the table has %d rows",
				ops.ErrShape, id, i%c.Length, i/c.Length+1, c.Vocab)
		}
	}
	return e.ids.WriteInt32(0, ids)
}

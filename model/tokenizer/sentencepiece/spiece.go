package sentencepiece

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/llama3v/llama3v/model/tokenizer"
)

var sprintf = fmt.Sprintf

// maxPiece bounds a piece's bytes, and with them the work at each place of a text.
const maxPiece = 1 << 10

// spec is what a spiece.model says (sentencepiece_model.proto: ModelProto with its TrainerSpec and
// NormalizerSpec), with the format's own defaults.
type spec struct {
	pieces       []piece
	model        uint64 // 1 unigram, 2 BPE
	byteFallback bool
	suffix       bool // spaces belong to the piece before them
	normalizer   normalizer
	charsmap     []byte
}

// Parse reads the contents of a spiece.model (tokenizer.model in Gemma's folders). Errors:
// tokenizer.FormatError, tokenizer.UnsupportedError; file names the file in them.
func Parse(file string, data []byte) (*Tokenizer, error) {
	r := &reader{file}
	s := spec{model: 1, normalizer: normalizer{prefix: true, squeeze: true, escape: true}}
	err := r.fields("model", data, func(f protoField) error {
		switch f.number {
		case 1:
			p, err := r.piece(len(s.pieces), f)
			s.pieces = append(s.pieces, p)
			return err
		case 2:
			return r.trainer(f, &s)
		case 3:
			return r.normalizer(f, &s)
		}
		return nil // tests of its own, a rule for output
	})
	if err != nil {
		return nil, err
	}
	if s.suffix {
		return nil, r.unsupported("trainer_spec", "treat_whitespace_as_suffix")
	}
	t := &Tokenizer{pieces: s.pieces, prefix: s.normalizer.prefix}
	if err := r.index(t, s.byteFallback); err != nil {
		return nil, err
	}
	n := &s.normalizer
	if n.chars, err = parseCharsmap(s.charsmap); err != nil {
		return nil, r.malformed("normalizer_spec.precompiled_charsmap", "%v", err)
	}
	n.defined, n.lengths = definedPieces(t.pieces)
	t.cut = n.whole
	switch s.model {
	case 1:
		t.model = newUnigram(t.pieces)
	case 2:
		t.model, err = r.bpe(t.pieces, n)
	default:
		err = r.unsupported("trainer_spec.model_type", "%d; 1 (unigram) and 2 (BPE) are known", s.model)
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

func (r *reader) piece(index int, f protoField) (piece, error) {
	where := sprintf("pieces[%d]", index)
	p := piece{kind: normal}
	if err := r.want(where, f, 2); err != nil {
		return p, err
	}
	err := r.fields(where, f.data, func(f protoField) error {
		switch f.number {
		case 1:
			p.text = string(f.data)
			return r.want(where, f, 2)
		case 2:
			p.score = f.float()
			return r.want(where, f, 5)
		case 3:
			if f.n < 1 || f.n > 6 {
				return r.malformed(where, "type %d", f.n)
			}
			p.kind = kind(f.n)
			return r.want(where, f, 0)
		}
		return nil
	})
	return p, err
}

func (r *reader) trainer(f protoField, s *spec) error {
	const where = "trainer_spec"
	if err := r.want(where, f, 2); err != nil {
		return err
	}
	return r.fields(where, f.data, func(f protoField) error {
		switch f.number {
		case 3:
			s.model = f.n
		case 24:
			s.suffix = f.n != 0
		case 35:
			s.byteFallback = f.n != 0
		default:
			return nil
		}
		return r.want(where, f, 0)
	})
}

func (r *reader) normalizer(f protoField, s *spec) error {
	const where = "normalizer_spec"
	if err := r.want(where, f, 2); err != nil {
		return err
	}
	return r.fields(where, f.data, func(f protoField) error {
		switch f.number {
		case 2:
			s.charsmap = f.data
			return r.want(where, f, 2)
		case 3:
			s.normalizer.prefix = f.n != 0
		case 4:
			s.normalizer.squeeze = f.n != 0
		case 5:
			s.normalizer.escape = f.n != 0
		default:
			return nil
		}
		return r.want(where, f, 0)
	})
}

// index checks the pieces and fills the tables that lead to them.
func (r *reader) index(t *Tokenizer, byteFallback bool) error {
	if len(t.pieces) == 0 {
		return r.malformed("pieces", "none")
	}
	t.ids, t.unknown = make(map[string]int32, len(t.pieces)), -1
	bytes, found := slices.Repeat([]int32{-1}, 256), 0
	for i, p := range t.pieces {
		where := sprintf("pieces[%d]", i)
		_, twice := t.ids[p.text]
		switch {
		case p.text == "":
			return r.malformed(where, "empty")
		case len(p.text) > maxPiece:
			return r.malformed(where, "longer than %d bytes", maxPiece)
		case !utf8.ValidString(p.text):
			return r.malformed(where, "not UTF-8")
		case twice:
			return r.malformed(where, "%.40q is there twice", p.text)
		case math.IsNaN(float64(p.score)) || math.IsInf(float64(p.score), 0):
			return r.malformed(where, "score %v", p.score)
		}
		t.ids[p.text] = int32(i)
		switch p.kind {
		case unknown:
			if t.unknown >= 0 {
				return r.malformed(where, "a second unknown token")
			}
			t.unknown = int32(i)
		case byteValue:
			b, ok := byteOf(p.text)
			if !ok {
				return r.malformed(where, "%.40q is no byte's spelling", p.text)
			}
			bytes[b] = int32(i)
			found++
		}
	}
	if byteFallback {
		t.byteID = bytes
	}
	// No text stands twice, so each byte that is there has a piece of its own. Gemma's tokenizer.json has
	// 255, with a tab in the place of the tab's byte.
	if t.unknown < 0 && found < 256 {
		return r.malformed("pieces", "no unknown token, and %d of 256 bytes to fall back on", found)
	}
	return nil
}

// byteOf reads the spelling of a byte's piece: "<0x0A>".
func byteOf(text string) (byte, bool) {
	if len(text) != 6 || text[:3] != "<0x" || text[5] != '>' {
		return 0, false
	}
	n, err := strconv.ParseUint(text[3:5], 16, 8)
	return byte(n), err == nil && text == sprintf("<0x%02X>", n)
}

// definedPieces is a matcher of the pieces that are taken wherever they stand; nil without any.
func definedPieces(pieces []piece) (*tokenizer.Matcher, []int) {
	var texts []string
	var lengths []int
	for _, p := range pieces {
		if p.kind == userDefined {
			texts, lengths = append(texts, p.text), append(lengths, len(p.text))
		}
	}
	if texts == nil {
		return nil, nil
	}
	return tokenizer.NewMatcher(texts), lengths
}

// bpe makes the model of pieces whose scores say which pair is merged first: the higher, and of equal
// ones the leftmost.
func (r *reader) bpe(pieces []piece, n *normalizer) (*bpe, error) {
	m := &bpe{ids: map[string]int32{}, rank: make([]int32, len(pieces)), defined: n.defined, lengths: n.lengths}
	var scores []float32
	for id, p := range pieces {
		switch p.kind {
		case unused:
			return nil, r.unsupported(sprintf("pieces[%d]", id), "an unused piece in a BPE model")
		case normal, userDefined:
			m.ids[p.text] = int32(id)
			scores = append(scores, p.score)
		}
	}
	slices.SortFunc(scores, func(a, b float32) int { return cmp.Compare(b, a) })
	scores = slices.Compact(scores)
	for id, p := range pieces {
		at, _ := slices.BinarySearchFunc(scores, p.score, func(a, b float32) int { return cmp.Compare(b, a) })
		m.rank[id] = int32(at)
	}
	return m, nil
}

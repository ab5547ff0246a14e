// Package sentencepiece is the tokenizer of SigLIP and Gemma in pure Go: SentencePiece (Kudo and
// Richardson 2018, arXiv:1808.06226) with a unigram model, or with BPE over characters, from
// spiece.model or tokenizer.json.
//
// A text is normalised (a table in the file rewrites characters, runs of spaces become one), spaces
// become U+2581, and the model cuts what comes out into pieces: [unigram] takes the most likely cut,
// [bpe] merges neighbours. What no piece covers becomes bytes where the vocabulary has them, else
// the unknown token.
//
// Control tokens such as "</s>" are never found in text. The ids that a model wants around a text are
// the model's business, see package siglip.
package sentencepiece

import (
	"math"
	"strings"

	"github.com/llama3v/llama3v/model/tokenizer"
)

// mark stands for a space inside the vocabulary.
const mark = "\u2581"

// kind is the type of a piece, by SentencePiece's own numbers.
type kind int32

const (
	normal      kind = 1
	unknown     kind = 2
	control     kind = 3
	userDefined kind = 4
	unused      kind = 5
	byteValue   kind = 6
)

// piece is one token of a vocabulary.
type piece struct {
	text  string // with U+2581 for spaces, "<0x0A>" for a byte
	score float32
	kind  kind
}

// bytes is what the piece stands for in a text.
func (p piece) bytes() []byte {
	switch p.kind {
	case byteValue:
		b, _ := byteOf(p.text)
		return []byte{b}
	case control, unknown:
		return []byte(p.text)
	}
	return []byte(strings.ReplaceAll(p.text, mark, " "))
}

// Tokenizer is a SentencePiece vocabulary with its rules. It is safe for many goroutines.
type Tokenizer struct {
	pieces  []piece
	ids     map[string]int32 // of all pieces
	unknown int32            // -1: there is none
	byteID  []int32          // of every byte value, -1 without; nil without byte fallback
	prefix  bool             // a text gets a space in front, which Decode takes off

	literals *tokenizer.Matcher // found in a text before anything else is done to it; nil without
	literal  []int32            // their ids
	cut      func(text string, yield func(part string))
	model    model
}

// model cuts normalised text into pieces; -1 stands for a run of characters that no piece covers.
type model interface {
	encode(text string, yield func(id int32, text string))
}

// The interface of all tokenizers.
var _ tokenizer.Tokenizer = (*Tokenizer)(nil)

// Encode gives the ids of text: no start or end token, control tokens not parsed. Bytes that are not
// UTF-8 are read as U+FFFD. The time is proportional to the text's length (for BPE with a logarithm).
// Errors: tokenizer.ErrTooLong.
func (t *Tokenizer) Encode(text string) ([]int32, error) {
	text = tokenizer.ToValidUTF8(text)
	if len(text) > math.MaxInt32/64 { // what a normalised text's positions must fit, see maxReplacement
		return nil, tokenizer.ErrTooLong
	}
	out := make([]int32, 0, len(text)/4+1)
	for t.literals != nil {
		at, index := t.literals.Find(text)
		if at < 0 {
			break
		}
		out = t.encodePlain(text[:at], out)
		id := t.literal[index]
		out = append(out, id)
		text = text[at+len(t.pieces[id].text):]
	}
	return t.encodePlain(text, out), nil
}

func (t *Tokenizer) encodePlain(text string, out []int32) []int32 {
	if text == "" {
		return out
	}
	t.cut(text, func(part string) {
		wasUnknown := false
		t.model.encode(part, func(id int32, text string) {
			if id >= 0 {
				out, wasUnknown = append(out, id), false
				return
			}
			if t.spells(text) {
				for i := range len(text) {
					out = append(out, t.byteID[text[i]])
				}
			} else if !wasUnknown && t.unknown >= 0 { // a run of unknown characters is one token
				out = append(out, t.unknown)
			}
			wasUnknown = true
		})
	})
	return out
}

// spells says whether every byte of text has a token.
func (t *Tokenizer) spells(text string) bool {
	if t.byteID == nil {
		return false
	}
	for i := range len(text) {
		if t.byteID[text[i]] < 0 {
			return false
		}
	}
	return true
}

// VocabSize is one more than the largest id.
func (t *Tokenizer) VocabSize() int { return len(t.pieces) }

// Specials lists the control tokens and the unknown token by rising id.
func (t *Tokenizer) Specials() []tokenizer.Special {
	var list []tokenizer.Special
	for id, p := range t.pieces {
		if p.kind == control || p.kind == unknown {
			list = append(list, tokenizer.Special{ID: int32(id), Text: p.text})
		}
	}
	return list
}

// TokenBytes gives the bytes that id stands for, U+2581 as the space that it is.
func (t *Tokenizer) TokenBytes(id int32) ([]byte, error) {
	if id < 0 || int(id) >= len(t.pieces) {
		return nil, &tokenizer.UnknownIDError{ID: id, VocabSize: len(t.pieces)}
	}
	return t.pieces[id].bytes(), nil
}

// Decode gives the text of ids, without the space that Encode puts in front.
func (t *Tokenizer) Decode(ids []int32, skipSpecial bool) (string, error) {
	var b strings.Builder
	for _, id := range ids {
		bytes, err := t.TokenBytes(id)
		if err != nil {
			return "", err
		}
		if kind := t.pieces[id].kind; skipSpecial && (kind == control || kind == unknown) {
			continue
		}
		b.Write(bytes)
	}
	text := b.String()
	if t.prefix {
		text = strings.TrimPrefix(text, " ")
	}
	return tokenizer.ToValidUTF8(text), nil
}

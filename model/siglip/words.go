package siglip

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/llama3v/llama3v/model/tokenizer/sentencepiece"
)

// ErrEmptyText is for a text of which nothing is left to encode. The reference encodes it as padding
// alone, which is an embedding of nothing and hardly what a caller wants.
var ErrEmptyText = errors.New("empty text")

// Writing is how a text becomes the ids that a text tower takes.
type Writing struct {
	// Canonical takes ASCII punctuation out and makes one space of every run of whitespace, none at the
	// ends: SigLIP, as transformers' SiglipTokenizer does it. (The authors' own code keeps punctuation.)
	Canonical bool
	End, Pad  int32 // the id behind the text, and the one that fills the rest
	Length    int   // of all ids
}

// NewWriting finds the rule of a vocabulary: SigLIP's with a unigram model, padded with the end token;
// SigLIP 2's with Gemma's BPE and its own padding.
func NewWriting(t *sentencepiece.Tokenizer, length int) (Writing, error) {
	w := Writing{Canonical: t.Unigram(), Length: length}
	var err error
	find := func(text string) int32 {
		id, ok := t.ID(text)
		if !ok && err == nil {
			err = fmt.Errorf("%w: the tokenizer of a text tower has no %s", sentencepiece.ErrUnsupported, text)
		}
		return id
	}
	if w.Canonical {
		w.End = find("</s>")
		w.Pad = w.End
		return w, err
	}
	w.End, w.Pad = find("<eos>"), find("<pad>")
	return w, err
}

// IDs gives the ids of text: lower case, canonical where the rule says so, cut off to leave room for the
// end token, padded. Errors: ErrEmptyText, those of the tokenizer.
func (w Writing) IDs(t *sentencepiece.Tokenizer, text string) ([]int32, error) {
	text = sentencepiece.Lower(text)
	if w.Canonical {
		text = canonical(text)
	}
	ids, err := t.Encode(text)
	if err != nil {
		return nil, err
	}
	if len(ids) == 0 {
		return nil, ErrEmptyText
	}
	out := make([]int32, w.Length)
	n := copy(out[:w.Length-1], ids)
	out[n] = w.End
	for i := n + 1; i < len(out); i++ {
		out[i] = w.Pad
	}
	return out, nil
}

const punctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"

func canonical(text string) string {
	text = strings.Map(func(c rune) rune {
		if strings.ContainsRune(punctuation, c) {
			return -1
		}
		return c
	}, text)
	return strings.Join(strings.FieldsFunc(text, space), " ")
}

// space is Python's whitespace: Unicode's, and the four separators among the control characters.
func space(c rune) bool { return unicode.IsSpace(c) || c >= 0x1c && c <= 0x1f }

package siglip

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/llama3v/llama3v/model/tokenizer"
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

// NewWriting finds the rule of a vocabulary by its end token: "</s>" is SigLIP's, which pads as well;
// "<eos>" is Gemma's and SigLIP 2's, which pads with "<pad>". Errors: tokenizer.ErrUnsupported.
func NewWriting(t tokenizer.Tokenizer, length int) (Writing, error) {
	ids := map[string]int32{}
	for _, s := range t.Specials() {
		ids[s.Text] = s.ID
	}
	if end, ok := ids["</s>"]; ok {
		return Writing{Canonical: true, End: end, Pad: end, Length: length}, nil
	}
	end, hasEnd := ids["<eos>"]
	pad, hasPad := ids["<pad>"]
	if !hasEnd || !hasPad {
		return Writing{}, fmt.Errorf("%w: a text tower's has the special token </s>, or <eos> and <pad>", tokenizer.ErrUnsupported)
	}
	return Writing{End: end, Pad: pad, Length: length}, nil
}

// IDs gives the ids of text: lower case, canonical where the rule says so, cut off to leave room for the
// end token, padded. Errors: ErrEmptyText, those of the tokenizer.
func (w Writing) IDs(t tokenizer.Tokenizer, text string) ([]int32, error) {
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

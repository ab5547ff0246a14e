package sentencepiece

import (
	"strings"

	"github.com/llama3v/llama3v/model/tokenizer"
)

// normalizer holds the rules of a spiece.model, in SentencePiece's own order.
type normalizer struct {
	chars   *charsmap
	defined *tokenizer.Matcher // pieces that are taken as they stand; nil without
	lengths []int              // of those, by the matcher's index
	prefix  bool               // a space in front of the text
	squeeze bool               // runs of spaces become one, spaces at both ends go
	escape  bool               // a space becomes U+2581
}

// next is what the start of text becomes, and how many bytes of it that is.
func (n *normalizer) next(text string) (length int, replacement string) {
	if n.defined != nil {
		if i := n.defined.Longest(text); i >= 0 {
			return n.lengths[i], text[:n.lengths[i]]
		}
	}
	return n.chars.prefix(text)
}

func (n *normalizer) apply(text string) string {
	space := " "
	if n.escape {
		space = mark
	}
	for n.squeeze && text != "" {
		length, replacement := n.next(text)
		if replacement != " " {
			break
		}
		text = text[length:]
	}
	if text == "" {
		return ""
	}
	var b strings.Builder
	b.Grow(len(text) + len(text)/4)
	if n.prefix {
		b.WriteString(space)
	}
	afterSpace := n.squeeze
	for text != "" {
		length, part := n.next(text)
		text = text[length:]
		if afterSpace {
			part = strings.TrimLeft(part, " ")
		}
		if part != "" {
			afterSpace = n.squeeze && strings.HasSuffix(part, " ")
			b.WriteString(strings.ReplaceAll(part, " ", space))
		}
	}
	out := b.String()
	for n.squeeze && strings.HasSuffix(out, space) {
		out = strings.TrimSuffix(out, space)
	}
	return out
}

// whole gives a normalised text to the model in one piece.
func (n *normalizer) whole(text string, yield func(part string)) {
	if part := n.apply(text); part != "" {
		yield(part)
	}
}

package chat

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/llama3v/llama3v/model/tokenizer"
)

// ImageSlot stands in encoded ids where the rows of a picture go. It is no id of any vocabulary.
const ImageSlot int32 = math.MinInt32

// Kind says what a piece of a prompt is.
type Kind int

const (
	PieceText    Kind = iota // text to encode with special parsing off
	PieceSpecial             // a special token
	PieceImage               // the place of a picture
)

// Piece is one piece of a prompt.
type Piece struct {
	Kind  Kind
	Text  string // the text; of a special token or a picture's place its spelling
	ID    int32  // of a special token
	Image int    // which picture, from 0, in the order of the messages
}

// Prompt is a rendered conversation.
type Prompt struct {
	Pieces []Piece

	template *Template
}

// String is the prompt as the template rendered it.
func (p Prompt) String() string {
	var b strings.Builder
	for _, piece := range p.Pieces {
		b.WriteString(piece.Text)
	}
	return b.String()
}

// Encode gives the prompt's ids, with [ImageSlot] where a picture goes. There is at most one start
// token, at the front: it is put there when the model wants one and the template wrote none.
func (p Prompt) Encode(t tokenizer.Tokenizer) ([]int32, error) {
	if p.template == nil {
		return nil, fmt.Errorf("%w: a prompt that no template rendered", ErrConfig)
	}
	e, err := newEncoder(t, p.template)
	if err != nil {
		return nil, err
	}
	var ids []int32
	for _, piece := range p.Pieces {
		switch piece.Kind {
		case PieceText:
			text, err := e.text(piece.Text)
			if err != nil {
				return nil, err
			}
			ids = append(ids, text...)
		case PieceSpecial:
			ids = append(ids, piece.ID)
		case PieceImage:
			ids = append(ids, ImageSlot)
		}
	}
	return e.startOnce(ids), nil
}

// encoder turns pieces into ids of one tokenizer.
type encoder struct {
	tokenizer  tokenizer.Tokenizer
	structural map[int32]string // ids that text must not give, with their spelling
	bos        int32            // -1 without one
	addBOS     bool
}

func newEncoder(t tokenizer.Tokenizer, template *Template) (*encoder, error) {
	e := &encoder{tokenizer: t, structural: map[int32]string{}, bos: -1}
	byText := map[string]int32{}
	for _, s := range t.Specials() {
		e.structural[s.ID], byText[s.Text] = s.Text, s.ID
	}
	for _, s := range template.config.Specials {
		if id, ok := byText[s.Text]; !ok || id != s.ID {
			return nil, fmt.Errorf("%w: %q is %d in the configuration, not in the tokenizer", ErrMismatch, s.Text, s.ID)
		}
	}
	if image := template.config.ImageToken; image != "" {
		// An image token that is added but not special is found in any text.
		ids, err := t.Encode(image)
		if err != nil {
			return nil, err
		}
		if len(ids) == 1 {
			e.structural[ids[0]] = image
		}
	}
	if bos := template.config.BOS; bos != "" {
		if id, ok := byText[bos]; ok {
			e.bos = id
		}
	}
	switch add := template.config.AddBOS; {
	case add != nil:
		e.addBOS = *add
	default: // the tokenizer file's own post-processor decides
		if p, ok := t.(interface{ PostProcessorPrefix() []int32 }); ok {
			e.addBOS = slices.Contains(p.PostProcessorPrefix(), e.bos)
		}
	}
	if e.addBOS && e.bos < 0 {
		return nil, fmt.Errorf("%w: the model wants a start token, but %q is not a special token", ErrMismatch, template.config.BOS)
	}
	return e, nil
}

// text encodes a text. Should the tokenizer still give the id of a structural token for it, the text
// is cut inside that token's spelling and its parts are encoded by themselves.
func (e *encoder) text(text string) ([]int32, error) {
	ids, err := e.tokenizer.Encode(text)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		spelling, ok := e.structural[id]
		if !ok {
			continue
		}
		_, n := utf8.DecodeRuneInString(spelling)
		at := strings.Index(text, spelling)
		if at < 0 || n == len(spelling) {
			return nil, fmt.Errorf("%w: the text %.40q encodes to the special token %q", ErrMismatch, text, spelling)
		}
		var whole []int32
		for _, part := range cutInside(text, spelling, n) {
			ids, err := e.text(part)
			if err != nil {
				return nil, err
			}
			whole = append(whole, ids...)
		}
		return whole, nil
	}
	return ids, nil
}

// cutInside cuts text n bytes into each occurrence of spelling.
func cutInside(text, spelling string, n int) []string {
	var parts []string
	from := 0
	for {
		at := strings.Index(text[from:], spelling)
		if at < 0 {
			return append(parts, text[from:])
		}
		parts = append(parts, text[from:from+at+n])
		from += at + n
	}
}

// startOnce leaves one start token of several at the front, and puts one there where it is wanted.
func (e *encoder) startOnce(ids []int32) []int32 {
	n := 0
	for n < len(ids) && e.bos >= 0 && ids[n] == e.bos {
		n++
	}
	if n > 1 {
		return ids[n-1:]
	}
	if n == 0 && e.addBOS {
		return append([]int32{e.bos}, ids...)
	}
	return ids
}

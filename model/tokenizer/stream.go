package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// Stream turns ids into text as they come. It hands out whole characters only: a character that is
// spread over several tokens appears with the last of them, and bytes that can no longer form one
// become U+FFFD at once. All that Push and Flush return, joined, is what Decode gives for all ids.
type Stream struct {
	// SkipSpecial leaves special tokens out; otherwise they appear as their text.
	SkipSpecial bool

	tokenizer Tokenizer
	special   map[int32]bool
	pending   string // at most three bytes: the start of a character
	// What was handed out. Push returns cuts of it, so that a token of whole characters allocates
	// nothing but this buffer's growth.
	text strings.Builder
	err  error
}

// NewStream starts a stream that shows special tokens as their text.
func NewStream(t Tokenizer) *Stream {
	s := &Stream{tokenizer: t, special: map[int32]bool{}}
	for _, token := range t.Specials() {
		s.special[token.ID] = true
	}
	return s
}

// Push takes the next id and returns the text that is whole now, often none. An id outside the
// vocabulary adds nothing and is reported by [Stream.Err].
func (s *Stream) Push(id int32) string {
	bytes, err := s.tokenizer.TokenBytes(id)
	if err != nil {
		if s.err == nil {
			s.err = err
		}
		return ""
	}
	if s.SkipSpecial && s.special[id] {
		return ""
	}
	start := s.text.Len()
	if s.pending == "" && utf8.Valid(bytes) {
		s.text.Write(bytes)
	} else {
		s.pending = appendValid(&s.text, s.pending+string(bytes))
	}
	return s.text.String()[start:]
}

// Flush ends the text: bytes that still wait for the rest of a character come out as one U+FFFD.
// The stream is then ready for a new text.
func (s *Stream) Flush() string {
	if s.pending == "" {
		return ""
	}
	s.pending = ""
	return replacement
}

// Err is the first error that Push met.
func (s *Stream) Err() error { return s.err }

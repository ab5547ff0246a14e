package tokenizer

import (
	"errors"
	"strings"
)

// ErrEmptyStop is given for a stop text without characters, which would stop everything at once.
var ErrEmptyStop = errors.New("a stop text is empty")

// Stop looks for stop texts in text that comes in pieces. What could be the start of a stop text is
// held back until more text decides, so no part of a stop text is ever handed out.
type Stop struct {
	texts []string
	held  string
	found string
}

// NewStop looks for any of the texts. Without texts everything passes.
func NewStop(texts ...string) (*Stop, error) {
	for _, text := range texts {
		if text == "" {
			return nil, ErrEmptyStop
		}
	}
	return &Stop{texts: texts}, nil
}

// Push takes the next piece and returns the text that may be shown. With a stop text found, stopped
// is true, what came before the text is returned, and all later text is swallowed.
func (s *Stop) Push(piece string) (text string, stopped bool) {
	if s.found != "" {
		return "", true
	}
	text = s.held + piece
	s.held = ""
	end := len(text)
	for _, stop := range s.texts {
		if at := strings.Index(text, stop); at >= 0 && (at < end || s.found == "") {
			end, s.found = at, stop
		}
	}
	if s.found != "" {
		return text[:end], true
	}
	for _, stop := range s.texts {
		for n := min(len(stop)-1, len(text)); n > len(text)-end; n-- {
			if text[len(text)-n:] == stop[:n] {
				end = len(text) - n
			}
		}
	}
	s.held = text[end:]
	return text[:end], false
}

// Flush ends the text and returns what was held back. It is none after a stop text.
func (s *Stop) Flush() string {
	text := s.held
	s.held = ""
	return text
}

// Found is the stop text that was met, or "".
func (s *Stop) Found() string { return s.found }

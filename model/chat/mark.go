package chat

import (
	"strings"
	"unicode/utf8"

	"github.com/llama3v/llama3v/model/tokenizer"
)

// A marker keeps text that comes from messages apart from what the template writes. It puts a mark
// after each character of a message that could start the spelling of a structural token, so such a
// spelling is broken up whether it stands whole in one part or only comes together from several, and
// whatever the template cuts off the ends. The rendered text is then searched for structural tokens,
// and the mark is taken out of the pieces between them. A template sees the content with the marks,
// which change nothing for trim and the like; a template that looks for "<" and something after it
// in the content will not find it.
type marker struct {
	mark   string
	starts string // first characters of the structural tokens
}

// markRune is a private-use character. Where texts contain it, the mark is a longer run of it.
const markRune = '\uE0FE'

// newMarker makes a marker whose mark does not occur in any of the texts.
func newMarker(starts string, texts func(yield func(string))) marker {
	longest := 0
	texts(func(text string) {
		if !strings.ContainsRune(text, markRune) {
			return
		}
		run := 0
		for _, r := range text {
			if r != markRune {
				run = 0
				continue
			}
			run++
			longest = max(longest, run)
		}
	})
	// One more than the longest run: a mark is recognised even where the text around it runs on.
	return marker{mark: strings.Repeat(string(markRune), longest+1), starts: starts}
}

// protect gives text with its marks.
func (m marker) protect(text string) string {
	text = tokenizer.ToValidUTF8(text)
	if !strings.ContainsAny(text, m.starts) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		b.WriteRune(r)
		if strings.ContainsRune(m.starts, r) {
			b.WriteString(m.mark)
		}
	}
	return b.String()
}

// clean takes the marks out.
func (m marker) clean(text string) string { return strings.ReplaceAll(text, m.mark, "") }

// firstRunes are the first characters of the texts, each once.
func firstRunes(texts []string) string {
	var b strings.Builder
	for _, text := range texts {
		r, _ := utf8.DecodeRuneInString(text)
		if !strings.ContainsRune(b.String(), r) {
			b.WriteRune(r)
		}
	}
	return b.String()
}

package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// replacement is U+FFFD, which stands for bytes that form no character.
const replacement = "\uFFFD"

// ToValidUTF8 puts one U+FFFD in the place of each maximal cut-off sequence and of each byte that
// can start none (The Unicode Standard, section 3.9, "U+FFFD substitution of maximal subparts"). The
// reference tokenizers do the same, where Go's own conversions count every byte.
func ToValidUTF8(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + len(s)/2)
	rest := appendValid(&b, s)
	if rest != "" {
		b.WriteString(replacement)
	}
	return b.String()
}

// appendValid writes s with what is not UTF-8 replaced. It gives back the bytes at the end, at most
// three, that could still begin a character.
func appendValid(b *strings.Builder, s string) (rest string) {
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		if r != utf8.RuneError || size > 1 {
			b.WriteString(s[:size])
			s = s[size:]
			continue
		}
		n := cutOff(s)
		if n == len(s) && couldGrow(s) {
			return s
		}
		b.WriteString(replacement)
		s = s[n:]
	}
	return ""
}

// cutOff is the length of the maximal subpart at the start of s, which is not a whole character: the
// longest start of a well-formed sequence, or one byte.
func cutOff(s string) int {
	n := 1
	for n < len(s) && n < utf8.UTFMax && couldGrow(s[:n+1]) {
		n++
	}
	return n
}

// couldGrow says whether s is the start of a well-formed sequence and shorter than it. utf8.FullRune
// says just that: it is false only while more bytes could make s a character.
func couldGrow(s string) bool { return !utf8.FullRuneInString(s) }

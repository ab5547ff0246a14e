package sentencepiece

import (
	"strings"
	"unicode"
)

// Lower gives text in lower case, each character by itself, as the reference tokenizers do it: no
// character looks at its neighbours (a final sigma stays the usual one), and U+0130 becomes an i and a
// dot, the one character that becomes two.
func Lower(text string) string {
	if strings.ContainsRune(text, '\u0130') {
		text = strings.ReplaceAll(text, "\u0130", "i\u0307")
	}
	return strings.Map(unicode.ToLower, text)
}

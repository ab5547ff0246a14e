package tokenizer

import (
	"unicode"
	"unicode/utf8"
)

// A splitter cuts a text into pieces that no merge crosses. It calls emit for each piece in order;
// together they are the text.
type splitter func(text string, emit func(piece string))

// The two splitting rules that are known, as tokenizer.json spells them. They look ahead, which Go's
// regexp cannot, so each is scanned by hand.
const (
	llama3Pattern = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	gpt2Pattern   = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
)

// patterns maps a Split rule's regular expression to its scanner.
var patterns = map[string]splitter{
	llama3Pattern: scan(nextLlama3),
	gpt2Pattern:   scan(nextGPT2),
}

// scan makes a splitter of a function that gives the length of the first piece of a non-empty text.
func scan(next func(text string) int) splitter {
	return func(text string, emit func(string)) {
		for len(text) > 0 {
			n := next(text)
			emit(text[:n])
			text = text[n:]
		}
	}
}

// class is what the rules tell characters apart by. Letters, numbers and spaces are those of the
// Unicode version that Go has (15.0 in Go 1.26); a test compares each of its characters with the
// reference.
type class uint8

const (
	other   class = iota
	letter        // \p{L}
	number        // \p{N}
	space         // \s without the two below
	newline       // \r and \n
)

var asciiClass = func() (table [utf8.RuneSelf]class) {
	for b := range table {
		table[b] = runeClass(rune(b))
	}
	return table
}()

func runeClass(r rune) class {
	switch {
	case r == '\r' || r == '\n':
		return newline
	case unicode.IsLetter(r):
		return letter
	case unicode.IsNumber(r):
		return number
	case unicode.IsSpace(r):
		return space
	}
	return other
}

// first gives the class and the length of the first character; other and 0 for an empty text.
func first(text string) (class, int) {
	if text == "" {
		return other, 0
	}
	if b := text[0]; b < utf8.RuneSelf {
		return asciiClass[b], 1
	}
	r, n := utf8.DecodeRuneInString(text)
	return runeClass(r), n
}

// run is the length of the characters of one class at the start of text, at most limit of them.
func run(text string, c class, limit int) int {
	end := 0
	for ; limit > 0; limit-- {
		got, n := first(text[end:])
		if n == 0 || got != c {
			break
		}
		end += n
	}
	return end
}

const noLimit = int(^uint(0) >> 1)

// nextLlama3 is the length of the first piece by the Llama 3 rule. The cases stand in the order of
// the pattern's alternatives.
func nextLlama3(text string) int {
	if n := contraction(text, true); n > 0 {
		return n
	}
	c, n := first(text)
	if c == letter {
		return run(text, letter, noLimit)
	}
	if c == space || c == other { // [^\r\n\p{L}\p{N}]?\p{L}+ with the leading character
		if letters := run(text[n:], letter, noLimit); letters > 0 {
			return n + letters
		}
	}
	if c == number {
		return run(text, number, 3)
	}
	if n := symbols(text); n > 0 { // " ?[^\s\p{L}\p{N}]+[\r\n]*"
		return n + run(text[n:], newline, noLimit)
	}
	end, last := spaces(text)
	if last > 0 { // \s*[\r\n]+ gives back what follows the last line end
		return last
	}
	return beforeWord(text, end)
}

// nextGPT2 is the length of the first piece by the GPT-2 rule.
func nextGPT2(text string) int {
	if n := contraction(text, false); n > 0 {
		return n
	}
	lead := 0
	if text[0] == ' ' {
		lead = 1
	}
	switch c, _ := first(text[lead:]); c {
	case letter, number:
		return lead + run(text[lead:], c, noLimit)
	}
	if n := symbols(text); n > 0 {
		return n
	}
	end, _ := spaces(text)
	return beforeWord(text, end)
}

// symbols is the length of " ?[^\s\p{L}\p{N}]+" at the start of text, 0 without a match.
func symbols(text string) int {
	lead := 0
	if text[0] == ' ' {
		lead = 1
	}
	if n := run(text[lead:], other, noLimit); n > 0 {
		return lead + n
	}
	return 0
}

// spaces is the length of \s* at the start of text, and the end of the last \r or \n in it, 0 if
// there is none.
func spaces(text string) (end, lastNewline int) {
	for {
		c, n := first(text[end:])
		if n == 0 || c != space && c != newline {
			return end, lastNewline
		}
		end += n
		if c == newline {
			lastNewline = end
		}
	}
}

// beforeWord is the length of "\s+(?!\S)|\s+" where the white space at the start of text has length
// end: all of it at the end of the text; before a word all but the last character, which belongs to
// the word; that character alone where there is no other.
func beforeWord(text string, end int) int {
	if end == len(text) {
		return end
	}
	_, last := utf8.DecodeLastRuneInString(text[:end])
	if end > last {
		return end - last
	}
	return end
}

// contraction is the length of 's, 't, 're, 've, 'm, 'll or 'd at the start of text, else 0. Ignoring
// case means Unicode's simple folding, so the long s (U+017F) counts as s.
func contraction(text string, ignoreCase bool) int {
	if text[0] != '\'' {
		return 0
	}
	a, n := suffixLetter(text[1:], ignoreCase)
	switch a {
	case 's', 't', 'm', 'd':
		return 1 + n
	case 'r', 'v', 'l':
		b, m := suffixLetter(text[1+n:], ignoreCase)
		if b == 'e' && a != 'l' || b == 'l' && a == 'l' {
			return 1 + n + m
		}
	}
	return 0
}

func suffixLetter(text string, ignoreCase bool) (rune, int) {
	r, n := utf8.DecodeRuneInString(text)
	if ignoreCase {
		if r == '\u017F' {
			r = 's'
		}
		r = unicode.ToLower(r)
	}
	return r, n
}

// splitDigits isolates numbers (any character of Unicode's category N): each digit by itself, or
// each run of them.
func splitDigits(individual bool) splitter {
	limit := noLimit
	if individual {
		limit = 1
	}
	return scan(func(text string) int {
		if n := run(text, number, limit); n > 0 {
			return n
		}
		end := 0
		for end < len(text) {
			c, n := first(text[end:])
			if c == number {
				break
			}
			end += n
		}
		return end
	})
}

// whole leaves the text in one piece.
func whole(text string, emit func(string)) {
	if text != "" {
		emit(text)
	}
}

// then cuts the pieces of one splitter by the next.
func then(a, b splitter) splitter {
	return func(text string, emit func(string)) {
		a(text, func(piece string) { b(piece, emit) })
	}
}

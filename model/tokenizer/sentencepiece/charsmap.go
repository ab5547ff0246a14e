package sentencepiece

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"unicode/utf8"
)

// charsmap rewrites characters: a table of texts and what each becomes, as SentencePiece stores it in
// precompiled_charsmap (NFKC with a few additions, mostly). The file holds the size of a double-array
// trie in bytes, the trie (Yata et al. 2007, in the layout of darts-clone), then all replacements, each
// with a zero byte behind it; the trie's values are places among those.
type charsmap struct {
	units        []uint32
	replacements string
}

const (
	// maxRule bounds the characters that one rule replaces, in bytes, and maxReplacement what they
	// become. Unicode's own need 18 and 33; the bounds keep a strange table from taking long.
	maxRule        = 256
	maxReplacement = 1 << 10
)

// parseCharsmap reads a table; an empty one rewrites nothing and is nil.
func parseCharsmap(data []byte) (*charsmap, error) {
	if len(data) == 0 {
		return nil, nil
	}
	if len(data) < 4 {
		return nil, errors.New("shorter than its own size field")
	}
	size, rest := binary.LittleEndian.Uint32(data), data[4:]
	if size == 0 || size%4 != 0 || uint64(size) > uint64(len(rest)) {
		return nil, errors.New("the trie's size does not fit the table")
	}
	c := &charsmap{units: make([]uint32, size/4), replacements: string(rest[size:])}
	for i := range c.units {
		c.units[i] = binary.LittleEndian.Uint32(rest[4*i:])
	}
	if !strings.HasSuffix(c.replacements, "\x00") {
		return nil, errors.New("the last replacement has no end")
	}
	if !utf8.ValidString(c.replacements) {
		return nil, errors.New("a replacement is not UTF-8")
	}
	for one := range bytes.SplitSeq(rest[size:], []byte{0}) {
		if len(one) > maxReplacement {
			return nil, errors.New("a replacement longer than any text's")
		}
	}
	return c, nil
}

// A unit of the double array.
func label(u uint32) uint32  { return u & (1<<31 | 0xFF) } // no byte's, for a unit that holds a value
func hasLeaf(u uint32) bool  { return u>>8&1 == 1 }
func value(u uint32) uint32  { return u &^ (1 << 31) }
func offset(u uint32) uint32 { return u >> 10 << (u & (1 << 9) >> 6) }

// longest gives the longest rule that text starts with: how many bytes it replaces, and by what.
// length 0: there is none.
func (c *charsmap) longest(text string) (length int, replacement string) {
	if c == nil {
		return 0, ""
	}
	at := uint32(0) ^ offset(c.units[0])
	for i := range min(len(text), maxRule) {
		at ^= uint32(text[i])
		if uint64(at) >= uint64(len(c.units)) || label(c.units[at]) != uint32(text[i]) {
			break
		}
		unit := c.units[at]
		at ^= offset(unit)
		if !hasLeaf(unit) || uint64(at) >= uint64(len(c.units)) {
			continue
		}
		if from := value(c.units[at]); uint64(from) < uint64(len(c.replacements)) {
			length = i + 1
			replacement = c.replacements[from : int(from)+strings.IndexByte(c.replacements[from:], 0)]
		}
	}
	return length, replacement
}

// prefix is what the first rule or character of text becomes, and how many bytes it takes.
func (c *charsmap) prefix(text string) (length int, replacement string) {
	if length, replacement = c.longest(text); length > 0 {
		return length, replacement
	}
	_, length = utf8.DecodeRuneInString(text)
	return length, text[:length]
}

// apply rewrites a whole text.
func (c *charsmap) apply(text string) string {
	if c == nil {
		return text
	}
	var b strings.Builder
	b.Grow(len(text))
	for text != "" {
		length, replacement := c.prefix(text)
		b.WriteString(replacement)
		text = text[length:]
	}
	return b.String()
}

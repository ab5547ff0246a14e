package tokenizer

import "unicode/utf8"

// In tokenizer.json a token is written with one printable character for each byte (GPT-2,
// src/encoder.py, bytes_to_unicode): a byte that prints in Latin-1 is its own character, the others
// are U+0100, U+0101 and so on in rising order.

// byteOf maps those characters back; -1 where a character stands for no byte.
var byteOf = func() (table [0x144]int16) {
	for i := range table {
		table[i] = -1
	}
	next := 0x100
	for b := range 256 {
		if b >= 0x21 && b <= 0x7E || b >= 0xA1 && b <= 0xAC || b >= 0xAE {
			table[b] = int16(b)
		} else {
			table[next] = int16(b)
			next++
		}
	}
	return table
}()

// tokenBytes are the bytes that a token's spelling in tokenizer.json stands for. It is false when
// some character stands for no byte: such a token is literal text and BPE never makes it.
func tokenBytes(spelling string) (bytes string, ok bool) {
	out := make([]byte, 0, len(spelling))
	for _, r := range spelling {
		if r == utf8.RuneError || int(r) >= len(byteOf) || byteOf[r] < 0 {
			return "", false
		}
		out = append(out, byte(byteOf[r]))
	}
	return string(out), true
}

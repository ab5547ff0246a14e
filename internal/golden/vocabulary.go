package golden

import (
	"encoding/binary"
	"math"
	"strings"
)

// Vocabulary makes a spiece.model of n pieces: <pad> 0, </s> 1, <unk> 2 as SigLIP's own has them, and for
// every id behind those one word, which Words spells.
func Vocabulary(n int) []byte {
	var file []byte
	for id := range int32(n) {
		text, kind := "\u2581"+word(id), byte(1)
		switch id {
		case 0, 1:
			text, kind = []string{"<pad>", "</s>"}[id], 3
		case 2:
			text, kind = "<unk>", 2
		}
		piece := append([]byte{1<<3 | 2, byte(len(text))}, text...)
		piece = append(piece, 2<<3|5)
		piece = binary.LittleEndian.AppendUint32(piece, math.Float32bits(-1))
		piece = append(piece, 3<<3, kind)
		file = append(append(file, 1<<3|2, byte(len(piece))), piece...)
	}
	return file
}

// Words is the text that Vocabulary's tokenizer makes ids of.
func Words(ids ...int32) string {
	words := make([]string, len(ids))
	for i, id := range ids {
		words[i] = word(id)
	}
	return strings.Join(words, " ")
}

// word spells an id with three letters.
func word(id int32) string {
	return string([]byte{'a' + byte(id/676%26), 'a' + byte(id/26%26), 'a' + byte(id%26)})
}

package sentencepiece

import "unicode/utf8"

// unigram cuts a text where the sum of its pieces' scores (logarithms of probabilities) is largest
// (Kudo 2018, arXiv:1804.10959), by one pass from left to right and one back: time and memory are
// proportional to the text's length. Sums are float32 in the order of the reference, so that cuts of
// nearly equal score fall as they do there.
type unigram struct {
	pieces  *trie
	score   []float32 // by id
	defined []bool    // by id: pieces that are taken wherever they stand
	highest float32   // score of a normal piece
	unknown float32   // score of a character that no piece is
}

// unknownPenalty is how much worse than the worst piece an unknown character is.
const unknownPenalty = 10

func newUnigram(list []piece) *unigram {
	m := &unigram{score: make([]float32, len(list)), defined: make([]bool, len(list))}
	texts, ids := make([]string, 0, len(list)), make([]int32, 0, len(list))
	first, lowest := true, float32(0)
	for id, p := range list {
		m.score[id], m.defined[id] = p.score, p.kind == userDefined
		if p.kind == normal || p.kind == userDefined {
			texts, ids = append(texts, p.text), append(ids, int32(id))
		}
		if p.kind == normal {
			if first {
				lowest, m.highest, first = p.score, p.score, false
			}
			lowest, m.highest = min(lowest, p.score), max(m.highest, p.score)
		}
	}
	m.pieces, m.unknown = newTrie(texts, ids), lowest-unknownPenalty
	return m
}

// node is the best cut of the text up to one place.
type node struct {
	id    int32 // of the last piece, -1: an unknown character
	start int32 // where that piece begins; -1: no cut ends here
	sum   float32
}

func (m *unigram) encode(text string, yield func(id int32, text string)) {
	nodes := make([]node, len(text)+1)
	for i := range nodes {
		nodes[i].start = -1
	}
	for at := 0; at < len(text); {
		_, char := utf8.DecodeRuneInString(text[at:])
		sum, whole := nodes[at].sum, false
		offer := func(end int, id int32, score float32) {
			if n := &nodes[end]; n.start < 0 || score > n.sum {
				*n = node{id, int32(at), score}
			}
		}
		m.pieces.prefixes(text[at:], func(length int, id int32) {
			score := sum + m.score[id]
			if m.defined[id] { // better than any other cut of the same characters
				score = float32(float64(float32(length)*m.highest) - 0.1 + float64(sum))
			}
			offer(at+length, id, score)
			whole = whole || length == char
		})
		if !whole {
			offer(at+char, -1, sum+m.unknown)
		}
		at += char
	}
	// Back from the end, reversing the links, then forward.
	next := int32(len(text))
	for at := next; at > 0; {
		start := nodes[at].start
		nodes[at].start, next = next, at
		at = start
	}
	// nodes[i].start is now the end of the piece behind the one that ends at i.
	for begin, end := int32(0), next; begin < int32(len(text)); {
		yield(nodes[end].id, text[begin:end])
		begin, end = end, nodes[end].start
	}
}

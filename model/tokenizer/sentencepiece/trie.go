package sentencepiece

import (
	"cmp"
	"slices"
	"strings"
)

// trie finds all pieces that a text starts with. Edge i leads to node i+1; the edges of node n are
// first[n] to first[n+1]-1, by rising byte.
type trie struct {
	first []int32
	label []byte
	value []int32 // of each node: an id, or -1
}

// newTrie makes a trie of distinct texts.
func newTrie(texts []string, ids []int32) *trie {
	order := make([]int32, len(texts))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int { return cmp.Or(strings.Compare(texts[a], texts[b]), cmp.Compare(a, b)) })
	// Breadth first: a node is a run of the sorted texts that share their first bytes.
	type run struct{ from, to, depth int }
	t := &trie{value: []int32{-1}}
	queue := []run{{0, len(order), 0}}
	for node := 0; node < len(queue); node++ {
		r := queue[node]
		t.first = append(t.first, int32(len(t.label)))
		for r.from < r.to && len(texts[order[r.from]]) == r.depth { // at most one, and it sorts first
			t.value[node] = ids[order[r.from]]
			r.from++
		}
		for from := r.from; from < r.to; {
			b, to := texts[order[from]][r.depth], from+1
			for to < r.to && texts[order[to]][r.depth] == b {
				to++
			}
			t.label, t.value = append(t.label, b), append(t.value, -1)
			queue = append(queue, run{from, to, r.depth + 1})
			from = to
		}
	}
	t.first = append(t.first, int32(len(t.label)))
	return t
}

// prefixes shows every piece that text starts with, the shortest first.
func (t *trie) prefixes(text string, yield func(length int, id int32)) {
	node := int32(0)
	for i := range len(text) {
		from, to := t.first[node], t.first[node+1]
		at, found := slices.BinarySearch(t.label[from:to], text[i])
		if !found {
			return
		}
		node = from + int32(at) + 1
		if id := t.value[node]; id >= 0 {
			yield(i+1, id)
		}
	}
}

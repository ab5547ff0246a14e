package sentencepiece

import (
	"unicode/utf8"

	"github.com/llama3v/llama3v/model/tokenizer"
)

// bpe merges neighbouring pieces, the best pair of the text first and of equals the leftmost (Sennrich
// et al. 2016, arXiv:1508.07909), beginning with characters. n characters take O(n log n).
type bpe struct {
	ids     map[string]int32   // of pieces that text may become
	rank    []int32            // by id, of pieces that are made by merging any two that spell it; 0 is best
	merges  map[[2]int32]int32 // or by pair of ids, from a list of merges; then rank is nil
	defined *tokenizer.Matcher // pieces that are taken as they stand and not merged; nil without
	lengths []int              // of those, by the matcher's index
}

// span is a piece of the text that is being merged.
type span struct {
	from, to   int32 // to 0: it was merged into the one before it
	id         int32 // -1: no piece
	prev, next int32 // -1 at the ends
	frozen     bool
}

// candidate is a pair that may be merged. One whose spans have changed meanwhile is passed over.
type candidate struct {
	order uint64 // rank, then the index of the left span: the smallest is merged next
	to    int32  // end of the right span
}

// heap is a binary heap of candidates, the smallest on top.
type heap []candidate

func (h *heap) push(c candidate) {
	list := append(*h, c)
	i := len(list) - 1
	for parent := (i - 1) / 2; i > 0 && list[parent].order > c.order; parent = (i - 1) / 2 {
		list[i], i = list[parent], parent
	}
	list[i], *h = c, list
}

func (h *heap) pop() candidate {
	list := *h
	top, last := list[0], list[len(list)-1]
	list = list[:len(list)-1]
	i := 0
	for child := 1; child < len(list); child = 2*i + 1 {
		if child+1 < len(list) && list[child+1].order < list[child].order {
			child++
		}
		if list[child].order >= last.order {
			break
		}
		list[i], i = list[child], child
	}
	if len(list) > 0 {
		list[i] = last
	}
	*h = list
	return top
}

func (m *bpe) encode(text string, yield func(id int32, text string)) {
	spans := m.spans(text)
	var work heap
	offer := func(left int32) {
		l := &spans[left]
		if l.next < 0 || l.frozen || spans[l.next].frozen {
			return
		}
		if rank, ok := m.merged(text, l, &spans[l.next]); ok {
			work.push(candidate{uint64(uint32(rank))<<32 | uint64(uint32(left)), spans[l.next].to})
		}
	}
	for i := range spans {
		offer(int32(i))
	}
	for len(work) > 0 {
		c := work.pop()
		left := int32(uint32(c.order))
		l := &spans[left]
		if l.to == 0 || l.next < 0 || spans[l.next].to != c.to {
			continue
		}
		r := &spans[l.next]
		if rank, ok := m.merged(text, l, r); !ok || rank != int32(c.order>>32) {
			continue // the left one has grown
		}
		l.to, l.next, l.id = r.to, r.next, m.ids[text[l.from:r.to]]
		r.to = 0
		if l.next >= 0 {
			spans[l.next].prev = left
		}
		offer(left)
		if l.prev >= 0 {
			offer(l.prev)
		}
	}
	for i := int32(0); i >= 0; i = spans[i].next {
		yield(spans[i].id, text[spans[i].from:spans[i].to])
	}
}

// merged gives the rank of the piece that l and r make, if they make one.
func (m *bpe) merged(text string, l, r *span) (rank int32, ok bool) {
	if m.merges != nil {
		if l.id < 0 || r.id < 0 {
			return 0, false
		}
		rank, ok = m.merges[[2]int32{l.id, r.id}]
		return rank, ok
	}
	id, ok := m.ids[text[l.from:r.to]]
	if !ok {
		return 0, false
	}
	return m.rank[id], true
}

// spans cuts a text, which is not empty, into characters and pieces that stand for themselves.
func (m *bpe) spans(text string) []span {
	spans := make([]span, 0, len(text))
	for at := 0; at < len(text); {
		_, length := utf8.DecodeRuneInString(text[at:])
		frozen := false
		if m.defined != nil {
			if i := m.defined.Longest(text[at:]); i >= 0 {
				length, frozen = m.lengths[i], true
			}
		}
		id, known := m.ids[text[at:at+length]]
		if !known {
			id = -1
		}
		i := int32(len(spans))
		spans = append(spans, span{from: int32(at), to: int32(at + length), id: id, prev: i - 1, next: i + 1, frozen: frozen})
		at += length
	}
	spans[len(spans)-1].next = -1
	return spans
}

package tokenizer

// merges holds the merge rules of a BPE vocabulary (Sennrich et al. 2016, arXiv:1508.07909).
type merges struct {
	rank map[uint64]int32 // pair of ids -> rank; the lowest is merged first
	made []int32          // rank -> id of the merged token
}

func pair(left, right int32) uint64 { return uint64(uint32(left))<<32 | uint64(uint32(right)) }

// symbol is one token of a piece that is being merged, in a doubly linked list.
type symbol struct {
	id         int32
	prev, next int32 // indices, -1 at the ends
}

const gone = -1 // id of a symbol that was merged into the one before it

// word is the work space for one piece. It is reused from piece to piece.
type word struct {
	symbols []symbol
	queue   []uint64 // a binary heap of rank<<32 | index of the left symbol
}

// start empties the list for a new piece.
func (w *word) start() { w.symbols, w.queue = w.symbols[:0], w.queue[:0] }

func (w *word) add(id int32) {
	i := int32(len(w.symbols))
	w.symbols = append(w.symbols, symbol{id: id, prev: i - 1, next: i + 1})
}

// merge applies the rules until none applies, always the one of lowest rank and of those the leftmost,
// and appends the ids that are left. A pair is queued when it comes up and skipped later if one of
// its sides has changed, so n symbols cost O(n log n).
func (w *word) merge(rules *merges, out []int32) []int32 {
	if len(w.symbols) == 0 {
		return out
	}
	w.symbols[len(w.symbols)-1].next = -1
	for i := range w.symbols[:len(w.symbols)-1] {
		w.offer(rules, int32(i))
	}
	for len(w.queue) > 0 {
		top := w.pop()
		i, rank := int32(uint32(top)), int32(top>>32)
		left := &w.symbols[i]
		if left.id == gone || left.next < 0 {
			continue
		}
		right := &w.symbols[left.next]
		if now, ok := rules.rank[pair(left.id, right.id)]; !ok || now != rank {
			continue
		}
		left.id, right.id = rules.made[rank], gone
		left.next = right.next
		if left.next >= 0 {
			w.symbols[left.next].prev = i
			w.offer(rules, i)
		}
		if left.prev >= 0 {
			w.offer(rules, left.prev)
		}
	}
	for i := int32(0); i >= 0; i = w.symbols[i].next {
		out = append(out, w.symbols[i].id)
	}
	return out
}

// offer queues the pair that starts at symbol i, if a rule merges it.
func (w *word) offer(rules *merges, i int32) {
	left := w.symbols[i]
	if rank, ok := rules.rank[pair(left.id, w.symbols[left.next].id)]; ok {
		w.push(uint64(uint32(rank))<<32 | uint64(uint32(i)))
	}
}

func (w *word) push(item uint64) {
	w.queue = append(w.queue, item)
	i := len(w.queue) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if w.queue[parent] <= item {
			break
		}
		w.queue[i] = w.queue[parent]
		i = parent
	}
	w.queue[i] = item
}

func (w *word) pop() uint64 {
	top := w.queue[0]
	n := len(w.queue) - 1
	item := w.queue[n]
	w.queue = w.queue[:n]
	i := 0
	for {
		child := 2*i + 1
		if child >= n {
			break
		}
		if child+1 < n && w.queue[child+1] < w.queue[child] {
			child++
		}
		if item <= w.queue[child] {
			break
		}
		w.queue[i] = w.queue[child]
		i = child
	}
	if n > 0 {
		w.queue[i] = item
	}
	return top
}

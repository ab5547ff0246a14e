package tokenizer

// Matcher finds which of a set of texts stands at a place, the longest where several do. One look
// costs at most the length of the longest text.
type Matcher struct {
	first [256]int32       // the node after one byte, 0 where no text starts with it
	next  map[uint64]int32 // node<<8 | byte -> the node after it
	end   map[int32]int    // node -> index of the text that ends there
}

// NewMatcher makes a matcher. Empty texts are never found; of equal texts the first is.
func NewMatcher(texts []string) *Matcher {
	m := &Matcher{next: map[uint64]int32{}, end: map[int32]int{}}
	nodes := int32(0)
	for i, text := range texts {
		if text == "" {
			continue
		}
		node := m.first[text[0]]
		if node == 0 {
			nodes++
			node = nodes
			m.first[text[0]] = node
		}
		for _, b := range []byte(text[1:]) {
			edge := uint64(node)<<8 | uint64(b)
			if node = m.next[edge]; node == 0 {
				nodes++
				node = nodes
				m.next[edge] = node
			}
		}
		if _, taken := m.end[node]; !taken {
			m.end[node] = i
		}
	}
	return m
}

// Longest gives the index of the longest text that s starts with, or -1.
func (m *Matcher) Longest(s string) int {
	found := -1
	if s == "" {
		return found
	}
	node := m.first[s[0]]
	for i := 1; node != 0; i++ {
		if index, ok := m.end[node]; ok {
			found = index
		}
		if i == len(s) {
			break
		}
		node = m.next[uint64(node)<<8|uint64(s[i])]
	}
	return found
}

// Find gives the first place in s where a text stands, and the index of the longest there; -1 and -1
// without one.
func (m *Matcher) Find(s string) (at, index int) {
	for at := range len(s) {
		if m.first[s[at]] == 0 {
			continue
		}
		if index := m.Longest(s[at:]); index >= 0 {
			return at, index
		}
	}
	return -1, -1
}

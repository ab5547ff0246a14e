package llama

import (
	"container/list"
	"encoding/binary"
)

// Text names what a sequence holds, so that one that begins the same way can share its pages: the
// keys and values of a position depend on everything up to it, and on nothing behind it or beside.
type Text struct {
	IDs      []int32 // Slot where a picture's row goes
	Pictures []Rows  // fill the slots, in order
}

// Rows are rows of one picture, for consecutive slots.
type Rows struct {
	// Identity covers all that the rows depend on within one model: the picture's content, its
	// preprocessing, and which part of it the rows are of. Equal identities mean equal rows.
	Identity string
	Count    int
}

// keys names each of the first pages of the text by all that is in it: the ids, and for each run of
// rows their identity and which of them. Equal keys are equal pages; a hash would be only likely to.
// It ends early where Pictures has too few rows for the slots, so that such a page is never shared.
func (t *Text) keys(pages int) []string {
	keys := make([]string, 0, max(pages, 0))
	picture, row := 0, 0 // the next row
	var key []byte
	for page := range pages {
		key = key[:0]
		ids := t.IDs[page*PageSize : (page+1)*PageSize]
		for _, id := range ids {
			key = binary.LittleEndian.AppendUint32(key, uint32(id))
		}
		for at := 0; at < len(ids); {
			if ids[at] != Slot {
				at++
				continue
			}
			for picture < len(t.Pictures) && row == t.Pictures[picture].Count {
				picture, row = picture+1, 0
			}
			if picture == len(t.Pictures) {
				return keys
			}
			rows := t.Pictures[picture]
			first := row
			for at < len(ids) && ids[at] == Slot && row < rows.Count {
				at, row = at+1, row+1
			}
			key = binary.AppendUvarint(key, uint64(len(rows.Identity))) // so that no identity runs into the next
			key = append(key, rows.Identity...)
			key = binary.AppendUvarint(key, uint64(first))
			key = binary.AppendUvarint(key, uint64(row-first))
		}
		keys = append(keys, string(key))
	}
	return keys
}

// prefix is a page whose content is known: that of key, behind what parent and its parents hold.
type prefix struct {
	parent *prefix // nil for the first page of a text
	key    string
	page   int32
	next   map[string]*prefix
	uses   int           // sequences that hold it; each also holds its parents
	idle   *list.Element // in prefixes.idle while uses is 0
}

// prefixes are all known pages, as a tree whose paths are texts. The cache's lock is held for all
// of its methods.
type prefixes struct {
	root map[string]*prefix
	// The pages that no sequence uses, in the order in which they are given up: what was used longest
	// ago first, and of one text its end before its beginning. A page's followers are always before
	// it, as whoever uses one of them uses it too; so the first has none, and no path is ever broken.
	idle *list.List
}

func newPrefixes() prefixes { return prefixes{root: map[string]*prefix{}, idle: list.New()} }

func (t *prefixes) followers(p *prefix) map[string]*prefix {
	if p == nil {
		return t.root
	}
	return p.next
}

// find gives the known pages that the keys begin with.
func (t *prefixes) find(keys []string) []*prefix {
	var path []*prefix
	next := t.root
	for _, key := range keys {
		p := next[key]
		if p == nil {
			break
		}
		path = append(path, p)
		next = p.next
	}
	return path
}

// add makes a page known that holds key behind parent. Where there is one already, it gives that
// one, and mine is false. The caller uses what it gets before it lets go of the lock.
func (t *prefixes) add(parent *prefix, key string, page int32) (p *prefix, mine bool) {
	next := t.followers(parent)
	if p := next[key]; p != nil {
		return p, false
	}
	p = &prefix{parent: parent, key: key, page: page, next: map[string]*prefix{}}
	p.idle = t.idle.PushBack(p)
	next[key] = p
	return p, true
}

// use counts one more sequence that holds p.
func (t *prefixes) use(p *prefix) {
	if p.uses == 0 {
		t.idle.Remove(p.idle)
		p.idle = nil
	}
	p.uses++
}

// release takes back one use. A path is released from its end.
func (t *prefixes) release(p *prefix) {
	if p.uses--; p.uses == 0 {
		p.idle = t.idle.PushBack(p)
	}
}

// evict forgets the idle page that was used longest ago, and gives its number. There must be one.
func (t *prefixes) evict() int32 {
	p := t.idle.Remove(t.idle.Front()).(*prefix)
	delete(t.followers(p.parent), p.key)
	return p.page
}

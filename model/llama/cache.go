package llama

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/llama3v/llama3v/model/ops"
)

// PageSize is the positions of one cache page. A page is the unit of sharing and of waste: 16
// positions of one 8B layer are 128 KiB of float32, and half a page is lost per sequence.
const PageSize = 16

// ErrContextFull: a sequence needs more positions than the model or its cache has.
var ErrContextFull = errors.New("context full")

// cacheLayer is the keys and values of one layer, each [pages*PageSize, kvHeads*headDim].
type cacheLayer struct{ k, v *ops.Tensor }

// Cache is the paged cache of a decoder (Kwon et al. 2023, arXiv:2309.06180, section 4): all
// sequences share one pool of pages, and a sequence's page table says which are its own. Pages of
// texts that begin alike are computed once and shared, see [Text].
// Reserve and Close are safe for many goroutines.
type Cache struct {
	layers []cacheLayer
	pages  int

	mu      sync.Mutex
	free    []int32
	known   prefixes
	waiting []*request // in the order in which they came
}

// NewCache allocates a pool for positions, rounded up to pages.
func NewCache(d *ops.Device, c Config, positions int) (*Cache, error) {
	cache := newPool((positions + PageSize - 1) / PageSize)
	cache.layers = make([]cacheLayer, c.Layers)
	for i := range cache.layers {
		err := d.NewTensors(d.Kept(), cache.pages*PageSize,
			ops.Want{Tensor: &cache.layers[i].k, Cols: c.KVHeads * c.HeadDim},
			ops.Want{Tensor: &cache.layers[i].v, Cols: c.KVHeads * c.HeadDim})
		if err != nil {
			return nil, err
		}
	}
	return cache, nil
}

// newPool is a cache of pages that are all free, without their memory.
func newPool(pages int) *Cache {
	c := &Cache{pages: pages, known: newPrefixes()}
	for page := pages - 1; page >= 0; page-- {
		c.free = append(c.free, int32(page))
	}
	return c
}

// CacheBytes is what NewCache allocates on a device that keeps such a type.
func CacheBytes(c Config, positions int, kept ops.DType) int64 {
	pages := (positions + PageSize - 1) / PageSize
	return int64(c.Layers) * 2 * int64(pages) * PageSize * int64(c.KVHeads*c.HeadDim) * int64(kept.Size())
}

// Positions is the size of the pool.
func (c *Cache) Positions() int { return c.pages * PageSize }

// Sequence is the pages of one running text. Close gives them back.
type Sequence struct {
	// Length is the positions that are in the cache.
	Length int
	// Reused is the positions that were there when the sequence began: Length starts there.
	Reused int

	cache *Cache
	pages []int32
	// The first pages are known ones, and may be read by other sequences: nothing writes below
	// their end, as a step appends from Length on.
	shared []*prefix
	text   *Text   // nil: nothing of it is shared
	ids    []int32 // what was computed, Length of them; kept only where there is a text

	chosen *chosen // nil: greedy
}

// request is a Reserve that may have to wait.
type request struct {
	pages   int
	text    *Text
	keys    []string       // of the text's whole pages that may be reused
	granted chan *Sequence // buffered
}

// Reserve takes pages for a sequence of at most positions. It waits while other sequences hold
// too many of them; who came first is served first, however much it wants. ErrShape: less than one
// position; ErrContextFull: more than the pool has; ctx's error when it ends first.
func (c *Cache) Reserve(ctx context.Context, positions int) (*Sequence, error) {
	return c.ReserveText(ctx, positions, nil)
}

// ReserveText is Reserve for a text of which whole pages may be in the cache already: the sequence
// begins behind them, at its Length. At least the text's last position is left to compute, as the
// logits behind it are what a prompt is run for. What the sequence computes is known from then on.
// Text nil neither takes nor leaves anything.
func (c *Cache) ReserveText(ctx context.Context, positions int, text *Text) (*Sequence, error) {
	if positions < 1 {
		return nil, fmt.Errorf("%w: a sequence of %d positions", ops.ErrShape, positions)
	}
	if positions > c.Positions() {
		return nil, fmt.Errorf("%w: %d positions needed, the cache has %d", ErrContextFull, positions, c.Positions())
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	r := &request{pages: (positions + PageSize - 1) / PageSize, text: text, granted: make(chan *Sequence, 1)}
	if text != nil {
		if len(text.IDs) > positions {
			return nil, fmt.Errorf("%w: a text of %d positions, %d asked for", ErrContextFull, len(text.IDs), positions)
		}
		r.keys = text.keys((len(text.IDs) - 1) / PageSize)
	}
	c.mu.Lock()
	c.waiting = append(c.waiting, r)
	c.serve()
	c.mu.Unlock()
	select {
	case s := <-r.granted:
		return s, nil
	case <-ctx.Done():
	}
	c.mu.Lock()
	if at := slices.Index(c.waiting, r); at >= 0 {
		c.waiting = slices.Delete(c.waiting, at, at+1)
		c.serve() // who stood behind may want less
	}
	c.mu.Unlock()
	select {
	case s := <-r.granted: // in the same moment
		s.Close()
	default:
	}
	return nil, context.Cause(ctx)
}

// serve grants waiting requests in order, as far as there are pages. The lock is held.
func (c *Cache) serve() {
	for len(c.waiting) > 0 {
		r := c.waiting[0]
		s := c.grant(r)
		if s == nil {
			return
		}
		c.waiting = slices.Delete(c.waiting, 0, 1)
		r.granted <- s
	}
}

// grant takes the pages of a request, or returns nil and takes none: the known pages that its text
// begins with, then free ones, then known ones that no sequence uses.
func (c *Cache) grant(r *request) *Sequence {
	shared := c.known.find(r.keys)
	idle := c.known.idle.Len()
	for _, p := range shared {
		if p.uses == 0 {
			idle-- // about to be used: not to be had for something else
		}
	}
	need := r.pages - len(shared)
	if need > len(c.free)+idle {
		return nil
	}
	s := &Sequence{cache: c, pages: make([]int32, 0, r.pages), shared: shared, text: r.text}
	for _, p := range shared {
		c.known.use(p)
		s.pages = append(s.pages, p.page)
	}
	for range need {
		if len(c.free) == 0 {
			c.free = append(c.free, c.known.evict())
		}
		last := len(c.free) - 1
		s.pages = append(s.pages, c.free[last])
		c.free = c.free[:last]
	}
	s.Reused = len(shared) * PageSize
	s.Length = s.Reused
	if r.text != nil {
		s.ids = append(make([]int32, 0, r.pages*PageSize), r.text.IDs[:s.Length]...)
	}
	return s
}

// advance counts ids that a step has computed, all of it. It allocates nothing.
func (s *Sequence) advance(ids []int32) {
	s.Length += len(ids)
	if s.text != nil {
		s.ids = append(s.ids, ids...)
	}
}

// share makes the sequence's whole pages known, so that others find them. Where another sequence
// was first with a page of the same text, that page takes the place of this one.
func (s *Sequence) share() {
	c := s.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	s.publish()
	c.serve()
}

func (s *Sequence) publish() {
	c := s.cache
	if s.text == nil || len(s.pages) == 0 {
		return
	}
	whole := len(s.ids) / PageSize
	if whole <= len(s.shared) {
		return
	}
	text := Text{IDs: s.ids, Pictures: s.text.Pictures}
	keys := text.keys(whole)
	for at := len(s.shared); at < len(keys); at++ {
		var parent *prefix
		if at > 0 {
			parent = s.shared[at-1]
		}
		p, mine := c.known.add(parent, keys[at], s.pages[at])
		if !mine {
			c.free = append(c.free, s.pages[at])
			s.pages[at] = p.page
		}
		c.known.use(p)
		s.shared = append(s.shared, p)
	}
}

// Close gives the pages back; a second call does nothing. Whole pages stay known, and free, until
// their memory is wanted.
func (s *Sequence) Close() {
	c := s.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.pages == nil {
		return
	}
	s.publish()
	for _, p := range slices.Backward(s.shared) { // the end goes before its beginning, see prefixes.idle
		c.known.release(p)
	}
	c.free = append(c.free, s.pages[len(s.shared):]...)
	s.pages, s.shared = nil, nil
	c.serve()
}

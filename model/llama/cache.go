package llama

import (
	"context"
	"errors"
	"fmt"
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
// sequences share one pool of pages, and a sequence's page table says which are its own.
// Reserve and release are safe for many goroutines.
type Cache struct {
	layers []cacheLayer
	pages  int

	mu    sync.Mutex
	free  []int32
	freed chan struct{} // closed, and replaced, when pages come back
}

// NewCache allocates a pool for positions, rounded up to pages.
func NewCache(d *ops.Device, c Config, positions int) (*Cache, error) {
	pages := (positions + PageSize - 1) / PageSize
	cache := &Cache{layers: make([]cacheLayer, c.Layers), pages: pages, freed: make(chan struct{})}
	for i := range cache.layers {
		err := d.NewTensors(ops.F32, pages*PageSize,
			ops.Want{Tensor: &cache.layers[i].k, Cols: c.KVHeads * c.HeadDim},
			ops.Want{Tensor: &cache.layers[i].v, Cols: c.KVHeads * c.HeadDim})
		if err != nil {
			return nil, err
		}
	}
	for page := pages - 1; page >= 0; page-- {
		cache.free = append(cache.free, int32(page))
	}
	return cache, nil
}

// CacheBytes is what NewCache allocates.
func CacheBytes(c Config, positions int) int64 {
	pages := (positions + PageSize - 1) / PageSize
	return int64(c.Layers) * 2 * int64(pages) * PageSize * int64(c.KVHeads*c.HeadDim) * 4
}

// Positions is the size of the pool.
func (c *Cache) Positions() int { return c.pages * PageSize }

// Sequence is the pages of one running text. Close gives them back.
type Sequence struct {
	cache *Cache
	pages []int32
	// Length is the positions that are in the cache.
	Length int
}

// Reserve takes pages for a sequence of at most positions. It waits while other sequences hold
// too many of them. ErrShape: less than one position; ErrContextFull: more than the pool has; ctx's
// error when it ends first.
func (c *Cache) Reserve(ctx context.Context, positions int) (*Sequence, error) {
	if positions < 1 {
		return nil, fmt.Errorf("%w: a sequence of %d positions", ops.ErrShape, positions)
	}
	if positions > c.Positions() {
		return nil, fmt.Errorf("%w: %d positions needed, the cache has %d", ErrContextFull, positions, c.Positions())
	}
	need := (positions + PageSize - 1) / PageSize
	for {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		c.mu.Lock()
		if len(c.free) >= need {
			rest := len(c.free) - need
			s := &Sequence{cache: c, pages: append([]int32(nil), c.free[rest:]...)}
			c.free = c.free[:rest]
			c.mu.Unlock()
			return s, nil
		}
		freed := c.freed
		c.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-freed:
		}
	}
}

// Close gives the pages back; a second call does nothing.
func (s *Sequence) Close() {
	c := s.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	c.free = append(c.free, s.pages...)
	s.pages = nil
	close(c.freed)
	c.freed = make(chan struct{})
}

package llama3v

import (
	"container/list"
	"context"
	"sync"
)

// features are the rows [tokens, dim] that a picture became, those of one view after another.
type features struct {
	data        []float32
	tokens, dim int
	views       []int // rows of each; nil for what is no picture
}

// add appends the rows of a view.
func (f *features) add(data []float32, rows, dim int) {
	f.data = append(f.data, data...)
	f.tokens, f.dim, f.views = f.tokens+rows, dim, append(f.views, rows)
}

func (f *features) bytes() int64 { return int64(len(f.data))*4 + 128 }

// featureCache keeps the features of pictures already seen, by content: the key covers the pixels,
// the preprocessing and the output that was asked for. The least recently used go first when the
// byte limit is reached. One computation runs per key, however many ask for it at once.
type featureCache struct {
	limit int64

	mu      sync.Mutex
	bytes   int64
	recent  *list.List // of *cached, newest first
	entries map[string]*list.Element
	flights map[string]chan struct{} // closed when the computation of a key ended
}

type cached struct {
	key   string
	value *features
}

func newFeatureCache(limit int64) *featureCache {
	return &featureCache{limit: limit, recent: list.New(),
		entries: map[string]*list.Element{}, flights: map[string]chan struct{}{}}
}

// claim looks up each key. A key that nobody has and nobody computes is claimed: the caller must
// compute it, then deliver it (nil when that failed). A key in flight elsewhere is neither; wait
// for it and claim again.
func (c *featureCache) claim(keys []string) (found []*features, claimed []bool, flight chan struct{}) {
	found, claimed = make([]*features, len(keys)), make([]bool, len(keys))
	c.mu.Lock()
	defer c.mu.Unlock()
	mine := map[string]bool{}
	for i, key := range keys {
		if element, ok := c.entries[key]; ok {
			c.recent.MoveToFront(element)
			found[i] = element.Value.(*cached).value
			continue
		}
		if mine[key] {
			continue // the same picture twice in one request: its first place computes it
		}
		if other, ok := c.flights[key]; ok {
			flight = other
			continue
		}
		c.flights[key] = make(chan struct{})
		claimed[i], mine[key] = true, true
	}
	return found, claimed, flight
}

// deliver ends a claim. value nil: nothing is kept, and who waits claims anew.
func (c *featureCache) deliver(key string, value *features) {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.flights[key])
	delete(c.flights, key)
	if value == nil || value.bytes() > c.limit {
		return
	}
	c.entries[key] = c.recent.PushFront(&cached{key, value})
	c.bytes += value.bytes()
	for c.bytes > c.limit {
		oldest := c.recent.Remove(c.recent.Back()).(*cached)
		delete(c.entries, oldest.key)
		c.bytes -= oldest.value.bytes()
	}
}

// get returns the features of each key, and whether they were there already. compute makes those
// of the given indices, in order; it is called at most once per round, and fails as a whole.
func (c *featureCache) get(ctx context.Context, keys []string, compute func(indices []int) ([]*features, error)) ([]*features, []bool, error) {
	result, hit := make([]*features, len(keys)), make([]bool, len(keys))
	for {
		if err := ctx.Err(); err != nil {
			return nil, nil, context.Cause(ctx)
		}
		var open []string
		var at []int
		for i := range keys {
			if result[i] == nil {
				open, at = append(open, keys[i]), append(at, i)
			}
		}
		if len(open) == 0 {
			return result, hit, nil
		}
		found, claimed, flight := c.claim(open)
		var absent []int
		for i, value := range found {
			if value != nil {
				result[at[i]], hit[at[i]] = value, true
			} else if claimed[i] {
				absent = append(absent, at[i])
			}
		}
		if len(absent) > 0 {
			if err := c.fill(keys, absent, result, compute); err != nil {
				return nil, nil, err
			}
			// The same picture further on in this request.
			for _, i := range absent {
				for j := range keys {
					if result[j] == nil && keys[j] == keys[i] {
						result[j], hit[j] = result[i], true
					}
				}
			}
			continue
		}
		if flight != nil {
			select {
			case <-flight:
			case <-ctx.Done():
			}
		}
	}
}

// fill computes the claimed indices and delivers every claim, also when compute fails or panics.
func (c *featureCache) fill(keys []string, absent []int, result []*features, compute func([]int) ([]*features, error)) error {
	var values []*features
	defer func() {
		for k, i := range absent {
			if k < len(values) {
				c.deliver(keys[i], values[k])
			} else {
				c.deliver(keys[i], nil)
			}
		}
	}()
	values, err := compute(absent)
	if err != nil {
		values = nil
		return err
	}
	for k, i := range absent {
		result[i] = values[k]
	}
	return nil
}

package llama

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/model/ops"
)

// pool is a cache of pages without device memory: what Reserve and Close know.
func pool(pages int) *Cache { return newPool(pages) }

// requireAllFree says that every page is there again, once: free, or known and used by nobody.
func requireAllFree(t *testing.T, c *Cache) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	free := slices.Clone(c.free)
	for e := c.known.idle.Front(); e != nil; e = e.Next() {
		free = append(free, e.Value.(*prefix).page)
	}
	slices.Sort(free)
	require.Len(t, free, c.pages)
	for i, page := range free {
		require.EqualValues(t, i, page)
	}
	require.Empty(t, c.waiting)
	require.Equal(t, c.known.idle.Len(), count(c.known.root), "every known page is idle")
}

func count(next map[string]*prefix) int {
	n := len(next)
	for _, p := range next {
		n += count(p.next)
	}
	return n
}

func TestReserve(t *testing.T) {
	for _, tc := range []struct {
		name      string
		positions int
		pages     int // -1: an error
		err       error
	}{
		{"one position takes a page", 1, 1, nil},
		{"a whole page", PageSize, 1, nil},
		{"one position more takes another", PageSize + 1, 2, nil},
		{"all there is", 4 * PageSize, 4, nil},
		{"one more than there is", 4*PageSize + 1, -1, ErrContextFull},
		{"more than can be counted in pages", math.MaxInt, -1, ErrContextFull},
		{"nothing", 0, -1, ops.ErrShape},
		{"less than nothing", -100, -1, ops.ErrShape},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := pool(4)
			s, err := c.Reserve(context.Background(), tc.positions)
			if tc.pages < 0 {
				require.ErrorIs(t, err, tc.err)
				require.Nil(t, s)
				requireAllFree(t, c)
				return
			}
			require.NoError(t, err)
			require.Len(t, s.pages, tc.pages)
			s.Close()
			requireAllFree(t, c)
			s.Close()
			requireAllFree(t, c) // a second Close gives nothing back twice
		})
	}
	_, err := pool(4).Reserve(context.Background(), 65)
	require.ErrorContains(t, err, "65 positions needed, the cache has 64", "P35: both numbers")
}

func TestReserveWaitsForPagesThatOthersHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := pool(4)
		first, err := c.Reserve(context.Background(), 3*PageSize)
		require.NoError(t, err)
		small, err := c.Reserve(context.Background(), PageSize)
		require.NoError(t, err)

		got := make(chan *Sequence, 1)
		go func() {
			s, err := c.Reserve(context.Background(), 2*PageSize)
			if err != nil {
				t.Error(err)
			}
			got <- s
		}()
		synctest.Wait()
		require.Empty(t, got, "no page is free")
		small.Close()
		synctest.Wait()
		require.Empty(t, got, "one page is not enough")
		first.Close()
		(<-got).Close()
		requireAllFree(t, c)
	})
}

// A large request is not starved by small ones that keep coming.
func TestReserveServesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := pool(4)
		held, err := c.Reserve(context.Background(), 2*PageSize)
		require.NoError(t, err)
		var order []string
		var group sync.WaitGroup
		wait := func(ctx context.Context, name string, pages int) {
			group.Go(func() {
				s, err := c.Reserve(ctx, pages*PageSize)
				if err != nil {
					order = append(order, name+" gave up")
					return
				}
				order = append(order, name)
				s.Close()
			})
			synctest.Wait()
		}
		impatient, cancel := context.WithCancel(context.Background())
		wait(impatient, "the largest", 4)
		wait(context.Background(), "large", 3)
		wait(context.Background(), "small", 2)
		require.Empty(t, order, "two pages are free, but others came before")
		cancel()
		synctest.Wait()
		require.Equal(t, []string{"the largest gave up"}, order)
		held.Close()
		group.Wait()
		require.Equal(t, "large", order[1])
		require.Equal(t, "small", order[2])
		requireAllFree(t, c)
	})
}

// One who gives up lets those behind it go at once.
func TestReserveOfAWaiterThatGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := pool(4)
		held, err := c.Reserve(context.Background(), 2*PageSize)
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(context.Background())
		failed := make(chan error, 1)
		go func() {
			_, err := c.Reserve(ctx, 4*PageSize)
			failed <- err
		}()
		synctest.Wait()
		got := make(chan *Sequence, 1)
		go func() {
			s, _ := c.Reserve(context.Background(), 2*PageSize)
			got <- s
		}()
		synctest.Wait()
		require.Empty(t, got)
		cancel()
		require.Error(t, <-failed)
		(<-got).Close()
		held.Close()
		requireAllFree(t, c)
	})
}

func TestReserveStopsWithItsContext(t *testing.T) {
	cause := errors.New("the caller went away")
	t.Run("ended before", func(t *testing.T) {
		c := pool(1)
		ctx, cancel := context.WithCancelCause(context.Background())
		cancel(cause)
		_, err := c.Reserve(ctx, 1)
		require.ErrorIs(t, err, cause)
		requireAllFree(t, c)
	})
	t.Run("while waiting", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := pool(1)
			held, err := c.Reserve(context.Background(), 1)
			require.NoError(t, err)
			ctx, cancel := context.WithCancelCause(context.Background())
			failed := make(chan error, 1)
			go func() {
				_, err := c.Reserve(ctx, 1)
				failed <- err
			}()
			synctest.Wait()
			require.Empty(t, failed)
			cancel(cause)
			require.ErrorIs(t, <-failed, cause)
			held.Close()
			requireAllFree(t, c)
		})
	})
}

// Many goroutines take turns; no page is ever in two sequences.
func TestReserveByManyGoroutines(t *testing.T) {
	c := pool(7)
	var mu sync.Mutex
	owner := map[int32]*Sequence{}
	var group sync.WaitGroup
	for g := range 16 {
		group.Go(func() {
			for round := range 50 {
				s, err := c.Reserve(context.Background(), 1+(g*31+round*17)%(7*PageSize))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for _, page := range s.pages {
					if owner[page] != nil {
						t.Errorf("page %d has two owners", page)
					}
					owner[page] = s
				}
				mu.Unlock()
				mu.Lock()
				for _, page := range s.pages {
					delete(owner, page)
				}
				mu.Unlock()
				s.Close()
			}
		})
	}
	group.Wait()
	requireAllFree(t, c)
}

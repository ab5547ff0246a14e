package ops_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/binding"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/ops/reference"
)

// TestCancelQueued: P96: work that is queued stops before it begins, and the next call that waits
// says so, once.
func TestCancelQueued(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		x, s := d.floats(reference.Uniform(1, 9), 3, 3), d.Stream()
		before := d.read(x)
		counters, err := d.Counters()
		require.NoError(t, err)
		d.Cancel()
		for range 1000 {
			s.Activate(x, x, ops.SiLU)
		}
		require.ErrorIs(t, s.Wait(), binding.ErrCancelled)
		after, err := d.Counters()
		require.NoError(t, err)
		require.Less(t, after.Ops-counters.Ops, int64(1000))
		if after.Ops == counters.Ops {
			same(t, before, d.read(x), "nothing ran")
		}

		require.NoError(t, s.Wait(), "reported once")
		d.run(func(s *ops.Stream) { s.Activate(x, x, ops.SiLU) })

		d.Cancel()
		require.ErrorIs(t, s.Wait(), binding.ErrCancelled, "also when nothing was there to stop")
		d.Cancel()
		d.Cancel()
		_, err = x.ReadFloat32()
		require.ErrorIs(t, err, binding.ErrCancelled, "at any call that waits")
		require.NoError(t, s.Wait(), "two requests before a wait are one")
	})
}

// TestCancelRunning: a replay of more steps than would ever end stops in the middle of them, the
// steps done are whole, and the graph runs on from the start afterwards.
func TestCancelRunning(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		next, position, length, s := d.ints(0), d.ints(0), d.ints(1), d.Stream()
		graph, err := s.Capture(position, nil, func() { s.Advance(next, nil, position, length) })
		until(d, graph, err)
		const endless = 1 << 30
		done := 0
		// A request that comes before the first step stops all of them, so wait longer each time
		// until it met a running step.
		for pause := time.Millisecond; done == 0; pause *= 2 {
			var cancelled sync.WaitGroup
			cancelled.Go(func() {
				time.Sleep(pause)
				d.Cancel()
			})
			done, err = graph.Replay(endless, bytesOf(0), nil)
			cancelled.Wait()
			require.ErrorIs(t, err, binding.ErrCancelled)
			require.Less(t, done, endless)
		}
		// The step that the request met may have run its op; its block did not come out.
		require.Contains(t, []int32{int32(done), int32(done) + 1}, d.readInts(position)[0])
		again, err := graph.Replay(3, bytesOf(0), nil)
		require.NoError(t, err)
		require.Equal(t, 3, again)
		require.Equal(t, []int32{3}, d.readInts(position))
	})
}

// TestCancelLongList: a long list of products stops between two of them.
func TestCancelLongList(t *testing.T) {
	if testing.Short() {
		t.Skip("long products")
	}
	const n = 256
	each(t, func(t *testing.T, d *device) {
		x, y := d.floats(reference.Uniform(1, n*n), n, n), d.zeros(n, n)
		l := ops.Linear{Weight: d.weight(ops.F32, reference.Uniform(2, n*n), n, n)}
		s := d.Stream()
		total := int64(4000) // fewer than the stream takes before it runs some
		before, err := d.Counters()
		require.NoError(t, err)
		for range total {
			s.Linear(y, x, l)
		}
		var cancelled sync.WaitGroup
		cancelled.Go(func() {
			time.Sleep(5 * time.Millisecond)
			d.Cancel()
		})
		require.ErrorIs(t, s.Wait(), binding.ErrCancelled)
		cancelled.Wait()
		after, err := d.Counters()
		require.NoError(t, err)
		require.Less(t, after.Ops-before.Ops, total)
		d.run(func(s *ops.Stream) { s.Linear(y, x, l) })
	})
}

func TestCancelOn(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		x := d.zeros(1, 1)
		work := func(s *ops.Stream) error {
			s.CopyRows(x, d.zeros(1, 1))
			return s.Wait()
		}
		t.Run("a context that ended stops the work", func(t *testing.T) {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			stop := d.CancelOn(ctx)
			var err error
			for err == nil { // the request comes from another goroutine
				err = work(d.Stream())
			}
			require.ErrorIs(t, err, binding.ErrCancelled)
			stop()
			stop()
			require.NoError(t, work(d.Stream()))
		})
		t.Run("a request that no work met does not hit the next", func(t *testing.T) {
			for range 50 {
				ctx, cancel := context.WithCancel(context.Background())
				stop := d.CancelOn(ctx)
				cancel()
				stop()
				require.NoError(t, work(d.Stream()))
			}
		})
		t.Run("a context that ends behind stop does nothing", func(t *testing.T) {
			ctx, cancel := context.WithCancel(context.Background())
			d.CancelOn(ctx)()
			cancel()
			require.NoError(t, work(d.Stream()))
		})
		t.Run("a context that cannot end", func(t *testing.T) {
			stop := d.CancelOn(context.Background())
			require.NoError(t, work(d.Stream()))
			stop()
		})
		t.Run("a deadline in the middle of a replay", func(t *testing.T) {
			next, position, length, s := d.ints(0), d.ints(0), d.ints(1), d.Stream()
			graph, err := s.Capture(position, nil, func() { s.Advance(next, nil, position, length) })
			until(d, graph, err)
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
			defer cancel()
			stop := d.CancelOn(ctx)
			_, err = graph.Replay(1<<30, bytesOf(0), nil)
			require.ErrorIs(t, err, binding.ErrCancelled)
			stop()
			require.NoError(t, work(s))
		})
	})
}

// TestCancelClosed: Cancel may be late, and must not fail then.
func TestCancelClosed(t *testing.T) {
	eachTarget(t, func(t *testing.T, g target) {
		d := g.open(t, binding.ContextOptions{Threads: 1})
		var busy sync.WaitGroup
		for range 4 {
			busy.Go(func() {
				for range 1000 {
					d.Cancel()
				}
			})
		}
		require.NoError(t, d.Close())
		busy.Wait()
		d.Cancel()
	})
}

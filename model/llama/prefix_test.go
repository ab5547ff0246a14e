package llama

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/internal/golden"
	"github.com/llama3v/llama3v/internal/testdevice"
	"github.com/llama3v/llama3v/model/ops"
)

// pictured is ids 0, 1, 2, ... with slots from first on, filled by pictures.
func pictured(n, first int, pictures ...Rows) *Text {
	t := &Text{IDs: make([]int32, n), Pictures: pictures}
	for i := range t.IDs {
		t.IDs[i] = int32(i)
	}
	for _, p := range pictures {
		for range p.Count {
			t.IDs[first] = Slot
			first++
		}
	}
	return t
}

// held reserves a text, as if n of its positions were computed.
func held(t testing.TB, c *Cache, text *Text, positions, n int) *Sequence {
	t.Helper()
	s, err := c.ReserveText(context.Background(), positions, text)
	require.NoError(t, err)
	if n > s.Length {
		s.advance(text.IDs[s.Length:n])
	}
	return s
}

// P57: equal ids are not enough; P56: the last position is never taken from the cache.
func TestWhatIsReused(t *testing.T) {
	plain := func(n int) *Text { return pictured(n, 0) }
	changed := func(n, at int) *Text {
		text := plain(n)
		text.IDs[at] = 999
		return text
	}
	for _, tc := range []struct {
		name          string
		before, after *Text
		reused        int
	}{
		{"the same text", plain(40), plain(40), 32},
		{"P56: the same text of whole pages leaves the last page", plain(32), plain(32), 16},
		{"P56: a longer text takes it", plain(32), plain(33), 32},
		{"a page that was not full", plain(31), plain(40), 16},
		{"less than a page", plain(15), plain(40), 0},
		{"a shorter text", plain(64), plain(20), 16},
		{"one id", plain(64), plain(1), 0},
		{"another first id", plain(40), changed(40, 0), 0},
		{"another id in the second page", plain(64), changed(64, 17), 16},
		{"another id at a page's end", plain(64), changed(64, 31), 16},
		{"another id in the page that is computed anyway", plain(40), changed(40, 35), 32},
		{"P57: the same picture", pictured(64, 3, Rows{"red", 20}), pictured(64, 3, Rows{"red", 20}), 48},
		{"P57: another picture", pictured(64, 3, Rows{"red", 20}), pictured(64, 3, Rows{"blue", 20}), 0},
		{"P57: another picture in the second page", pictured(64, 20, Rows{"red", 20}), pictured(64, 20, Rows{"blue", 20}), 16},
		{"P57: two pictures in the other order", pictured(64, 0, Rows{"red", 16}, Rows{"blue", 16}), pictured(64, 0, Rows{"blue", 16}, Rows{"red", 16}), 0},
		{"P57: the second of two changed", pictured(64, 0, Rows{"red", 20}, Rows{"blue", 20}), pictured(64, 0, Rows{"red", 20}, Rows{"grey", 20}), 16},
		{"P57: identities that run together", pictured(64, 0, Rows{"a\x00\x08b", 8}, Rows{"c", 8}), pictured(64, 0, Rows{"a", 8}, Rows{"b\x00\x08c", 8}), 0},
		{"one row more of the first of two", pictured(64, 0, Rows{"red", 8}, Rows{"blue", 8}), pictured(64, 0, Rows{"red", 9}, Rows{"blue", 7}), 0},
		{"a picture's later rows are not its first", pictured(64, 0, Rows{"red", 32}), pictured(64, 0, Rows{"red", 16}, Rows{"red", 16}), 16},
		{"the same rows in two halves of the text", pictured(64, 4, Rows{"red", 6}, Rows{"red", 6}), pictured(64, 4, Rows{"red", 6}, Rows{"red", 6}), 48},
		{"a picture where text was", plain(40), pictured(40, 2, Rows{"red", 3}), 0},
		{"slots without rows are never shared", &Text{IDs: []int32{Slot, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17}},
			&Text{IDs: []int32{Slot, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17}}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := pool(16)
			held(t, c, tc.before, 64, len(tc.before.IDs)).Close()
			requireAllFree(t, c)
			s := held(t, c, tc.after, 64, 0)
			require.Equal(t, tc.reused, s.Reused)
			require.Equal(t, tc.reused, s.Length)
			require.Len(t, s.pages, 4)
			s.Close()
			requireAllFree(t, c)
		})
	}
}

// Only what was computed is known: of a prefill that was cut off, whole pages below Length.
func TestOnlyWhatWasComputedIsKnown(t *testing.T) {
	for computed, reused := range map[int]int{0: 0, 15: 0, 16: 16, 47: 32, 48: 48} {
		c := pool(8)
		held(t, c, pictured(100, 0), 100, computed).Close()
		s := held(t, c, pictured(100, 0), 100, 0)
		require.Equal(t, reused, s.Reused, "%d computed", computed)
		s.Close()
	}
}

// What a sequence generates is known, too: the next turn of a conversation begins with it.
func TestGeneratedTextIsKnown(t *testing.T) {
	c := pool(8)
	s := held(t, c, pictured(20, 0), 64, 20)
	for i := int32(20); i < 50; i++ {
		s.advance([]int32{i})
	}
	s.Close()
	next := held(t, c, pictured(60, 0), 64, 0)
	require.Equal(t, 48, next.Reused)
	next.Close()
	other := held(t, c, &Text{IDs: append(pictured(20, 0).IDs, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7)}, 64, 0)
	require.Equal(t, 16, other.Reused)
	other.Close()
	requireAllFree(t, c)
}

// Sequences hold one page for what they share; a page that two computed at once is kept once.
func TestPagesAreShared(t *testing.T) {
	c := pool(8)
	text := pictured(40, 0)
	a := held(t, c, text, 48, 0)
	b := held(t, c, text, 48, 0)
	require.Zero(t, b.Reused, "nothing was computed yet")
	a.advance(text.IDs)
	a.share()
	b.advance(text.IDs)
	require.NotEqual(t, a.pages[:2], b.pages[:2])
	b.share()
	require.Equal(t, a.pages[:2], b.pages[:2], "the first one's pages serve both")
	require.NotEqual(t, a.pages[2], b.pages[2], "a page that is not full has one writer")
	require.Len(t, c.free, 4)
	d := held(t, c, text, 48, 0)
	require.Equal(t, 32, d.Reused)
	require.Equal(t, a.pages[:2], d.pages[:2])
	a.Close()
	b.Close()
	require.Len(t, c.free, 5)
	require.Zero(t, c.known.idle.Len(), "still in use")
	d.Close()
	requireAllFree(t, c)
	require.Equal(t, 2, c.known.idle.Len())
}

// Known pages are as good as free ones: they go when a sequence needs them, those used longest ago
// first, and of one text its end first.
func TestEviction(t *testing.T) {
	c := pool(6)
	text := func(first int32) *Text {
		text := pictured(33, 0)
		text.IDs[0] = first
		return text
	}
	reused := func(first int32) int {
		path := c.known.find(text(first).keys(2))
		return len(path) * PageSize
	}
	held(t, c, text(100), 33, 33).Close() // two known pages
	held(t, c, text(200), 33, 33).Close() // two more
	require.Equal(t, []int{32, 32}, []int{reused(100), reused(200)})
	held(t, c, text(100), 33, 0).Close() // 100 is used again
	s := held(t, c, nil, 3*PageSize, 0)  // two are free, one must go
	require.Equal(t, []int{32, 16}, []int{reused(100), reused(200)}, "the end of what was used longest ago")
	s.Close()
	s = held(t, c, nil, 5*PageSize, 0)
	require.Equal(t, []int{16, 0}, []int{reused(100), reused(200)})
	s.Close()
	s = held(t, c, text(100), 6*PageSize, 0)
	require.Equal(t, 16, s.Reused, "all pages of the pool, one of them known")
	s.Close()
	requireAllFree(t, c)
	s = held(t, c, nil, 6*PageSize, 0)
	require.Empty(t, c.known.root)
	s.Close()
	requireAllFree(t, c)
}

// A page in use is never given up, and what a waiter could reuse is not promised to it while it waits.
func TestEvictionLeavesWhatIsInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := pool(4)
		text := pictured(33, 0)
		a := held(t, c, text, 48, 33)
		a.share()
		got := make(chan *Sequence, 1)
		go func() {
			s, err := c.ReserveText(context.Background(), 64, text)
			if err != nil {
				t.Error(err)
			}
			got <- s
		}()
		synctest.Wait()
		require.Empty(t, got, "two known pages and one free: one is missing")
		require.Equal(t, 1, len(c.free))
		a.Close()
		s := <-got
		require.Equal(t, 32, s.Reused)
		s.Close()
		requireAllFree(t, c)
	})
}

// Known pages that a request is to reuse cannot make room for the rest of it, too.
func TestWhatIsReusedMakesNoRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := pool(4)
		text := pictured(33, 0)
		held(t, c, text, 33, 32).Close()
		other := held(t, c, nil, 2*PageSize, 0)
		require.Equal(t, []int{0, 2}, []int{len(c.free), c.known.idle.Len()})
		got := make(chan *Sequence, 1)
		go func() {
			s, err := c.ReserveText(context.Background(), 33, text)
			if err != nil {
				t.Error(err)
			}
			got <- s
		}()
		synctest.Wait()
		require.Empty(t, got)
		other.Close()
		s := <-got
		require.Equal(t, 32, s.Reused)
		s.Close()
		requireAllFree(t, c)
	})
}

// A tree of texts under many goroutines: no page has two writers, and none is lost.
func TestSharingByManyGoroutines(t *testing.T) {
	c := pool(24)
	var mu sync.Mutex
	holders := map[int32]string{} // page -> what is in it, while somebody holds it
	uses := map[int32]int{}
	var group sync.WaitGroup
	for g := range 8 {
		group.Go(func() {
			for round := range 100 {
				text := pictured(17+(g*7+round*5)%60, 3, Rows{fmt.Sprint("picture ", (g+round)%3), 10})
				text.IDs[16] = int32((g + round) % 2)
				s, err := c.ReserveText(context.Background(), len(text.IDs)+5, text)
				if err != nil {
					t.Error(err)
					return
				}
				s.advance(text.IDs[s.Length:])
				s.share()
				keys := text.keys(len(s.shared))
				mu.Lock()
				for i := range s.shared {
					content := strings.Join(keys[:i+1], "")
					if uses[s.pages[i]] > 0 && holders[s.pages[i]] != content {
						t.Errorf("page %d holds two texts", s.pages[i])
					}
					holders[s.pages[i]] = content
					uses[s.pages[i]]++
				}
				mu.Unlock()
				mu.Lock()
				for i := range s.shared {
					uses[s.pages[i]]--
				}
				mu.Unlock()
				s.Close()
			}
		})
	}
	group.Wait()
	requireAllFree(t, c)
}

func TestReserveTextLongerThanItsSequence(t *testing.T) {
	_, err := pool(4).ReserveText(context.Background(), 16, pictured(17, 0))
	require.ErrorIs(t, err, ErrContextFull)
}

// warm is run for a text that may be known.
func warm(t testing.TB, r *Runner, s *ops.Stream, text *Text, rows []float32, piece, n int) (outcome, int) {
	t.Helper()
	seq, err := r.Cache.ReserveText(context.Background(), len(text.IDs)+n, text)
	require.NoError(t, err)
	defer seq.Close()
	skip := 0
	for _, id := range text.IDs[:seq.Length] {
		if id == Slot {
			skip += r.Decoder.Config.Dim
		}
	}
	return proceed(t, r, s, seq, text.IDs[seq.Length:], rows[skip:], piece, n), seq.Reused
}

// The bits of an answer do not depend on what was reused for it: pictures, a part of them, generated
// text, whatever the pieces.
func TestReuseChangesNoBit(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		z := toySizes
		z.Positions = 12 * PageSize
		r, s := runner(t, dev, toy(t, toyConfig), z), dev.Stream()
		cold := runner(t, dev, toy(t, toyConfig), toySizes)
		dim := r.Decoder.Config.Dim
		red, blue := golden.Uniform(7, 20*dim, 0, 2), golden.Uniform(8, 20*dim, 0, 2)
		ask := func(picture string, n int) (*Text, []float32) {
			text := pictured(n, 5, Rows{picture, 20})
			for i, id := range text.IDs {
				if id != Slot {
					text.IDs[i] = id * 7 % 53
				}
			}
			rows := red
			if picture == "blue" {
				rows = blue
			}
			return text, rows
		}
		total := 0
		for round, request := range []struct {
			picture  string
			n, piece int
			reused   int
		}{
			{"red", 50, 64, 0}, {"red", 50, 64, 48}, {"red", 50, 7, 48}, {"blue", 50, 64, 0}, {"blue", 50, 64, 48},
			{"red", 50, 64, 48}, {"red", 30, 64, 16}, {"red", 70, 16, 48}, {"blue", 33, 5, 32}, {"red", 70, 3, 64}, {"blue", 70, 64, 48},
		} {
			text, rows := ask(request.picture, request.n)
			want := run(t, cold, s, text.IDs, rows, 64, 6)
			got, reused := warm(t, r, s, text, rows, request.piece, 6)
			require.Equal(t, want, got, "request %d: %s, %d ids", round, request.picture, request.n)
			require.Equal(t, request.reused, reused, "request %d", round)
			total += reused
			requireAllFree(t, r.Cache)
		}
		require.Positive(t, total)

		// The next turn: the prompt, what was answered, and more.
		text, rows := ask("red", 40)
		first, _ := warm(t, r, s, text, rows, 64, 30)
		next := &Text{IDs: append(append(append([]int32(nil), text.IDs...), first.ids...), 4, 5, 6), Pictures: text.Pictures}
		got, reused := warm(t, r, s, next, rows, 64, 6)
		require.Equal(t, 64, reused, "prompt and answer")
		require.Equal(t, run(t, cold, s, next.IDs, rows, 64, 6), got)
	})
}

// What failed or was cancelled leaves nothing that others would take for computed.
func TestFailedStepsLeaveNothing(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		r, s := runner(t, dev, toy(t, toyConfig), toySizes), dev.Stream()
		full := &Text{IDs: text(50)}
		want := run(t, runner(t, dev, toy(t, toyConfig), toySizes), s, full.IDs, nil, 64, 4)
		try := func(name string, spoil func(seq *Sequence) error) {
			t.Run(name, func(t *testing.T) {
				seq, err := r.Cache.ReserveText(context.Background(), 60, full)
				require.NoError(t, err)
				require.Error(t, spoil(seq))
				seq.Close()
				requireAllFree(t, r.Cache)
				require.Empty(t, r.Cache.known.root)
			})
		}
		try("cancelled", func(seq *Sequence) error {
			s.SetTap(func(name string, _, _ int, _ []float32) {
				if name == "hidden.1" {
					dev.Cancel()
				}
			})
			defer s.SetTap(nil)
			_, err := r.Prefill(s, seq, full.IDs, nil, true)
			return err
		})
		try("an id outside the table", func(seq *Sequence) error {
			_, err := r.Prefill(s, seq, append(text(40), 99), nil, true)
			return err
		})
		got, reused := warm(t, r, s, full, nil, 64, 4)
		require.Zero(t, reused)
		require.Equal(t, want, got)

		// A failure behind pages that were computed leaves those, whole and right.
		longer := &Text{IDs: append(text(50), 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17)}
		seq, err := r.Cache.ReserveText(context.Background(), 80, longer)
		require.NoError(t, err)
		require.Equal(t, 48, seq.Reused)
		_, err = r.Prefill(s, seq, []int32{longer.IDs[48], 99}, nil, true)
		require.Error(t, err)
		seq.Close()
		got, reused = warm(t, r, s, full, nil, 64, 4)
		require.Equal(t, 48, reused)
		require.Equal(t, want, got)
	})
}

// Sequences that take turns on shared pages do not write into them.
func TestNothingWritesIntoSharedPages(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		r, s := runner(t, dev, toy(t, toyConfig), toySizes), dev.Stream()
		full := &Text{IDs: text(40)}
		warm(t, r, s, full, nil, 64, 0)
		var seqs []*Sequence
		for i := range 3 {
			own := &Text{IDs: append(text(32), int32(i), 7, int32(i))}
			seq, err := r.Cache.ReserveText(context.Background(), 48, own)
			require.NoError(t, err)
			require.Equal(t, 32, seq.Reused)
			seqs = append(seqs, seq)
			defer seq.Close()
		}
		shared := func() (bits [][]byte) {
			for _, page := range seqs[0].pages[:2] {
				for _, layer := range r.Cache.layers {
					for _, x := range []*ops.Tensor{layer.k, layer.v} {
						data, err := x.RowRange(int(page)*PageSize, PageSize).ReadBytes()
						require.NoError(t, err)
						bits = append(bits, data)
					}
				}
			}
			return bits
		}
		before := shared()
		got := make([]outcome, 3)
		for i, seq := range seqs {
			got[i] = proceed(t, r, s, seq, []int32{int32(i), 7, int32(i)}, nil, 64, 0)
		}
		for range 10 {
			for i, seq := range seqs {
				next, err := r.Decode(seq, got[i].ids[len(got[i].ids)-1])
				require.NoError(t, err)
				got[i].ids = append(got[i].ids, next)
			}
		}
		require.Equal(t, before, shared())
		for i := range seqs {
			want := run(t, runner(t, dev, toy(t, toyConfig), toySizes), s, append(text(32), int32(i), 7, int32(i)), nil, 64, 10)
			require.Equal(t, want.ids, got[i].ids)
		}
	})
}

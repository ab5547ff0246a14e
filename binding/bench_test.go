package binding

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCallsAllocateNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool, which a call goes through, drops entries at random under the race detector")
	}
	c := fakeContext(t, ContextOptions{})
	b, err := c.NewBuffer(64)
	require.NoError(t, err)
	g, err := c.EndCapture(GraphIO{In: b, InBytes: 16, Out: b, OutBytes: 8})
	require.NoError(t, err)
	in, out := make([]byte, 16), make([]byte, 32)
	for name, f := range map[string]func() error{
		"op":           func() error { return c.Linear(&LinearParams{X: b.View(0, 0, F32), Out: b.View(32, 0, F32), Rows: 1}) },
		"replay":       func() error { _, err := g.Replay(4, in, out); return err },
		"buffer write": func() error { return b.Write(0, in) },
		"buffer read":  func() error { return b.Read(0, out) },
		"synchronize":  c.Synchronize,
		"counters":     func() error { _, err := c.Counters(); return err },
	} {
		require.NoError(t, f())
		require.Zero(t, testing.AllocsPerRun(200, func() {
			if f() != nil {
				panic(name)
			}
		}), name)
	}
}

// BenchmarkCall is the cost of crossing into a library and back, on a fake that does nothing.
func BenchmarkCall(b *testing.B) {
	c := fakeContext(b, ContextOptions{})
	buffer, err := c.NewBuffer(64)
	require.NoError(b, err)
	g, err := c.EndCapture(GraphIO{In: buffer, InBytes: 16, Out: buffer, OutBytes: 8})
	require.NoError(b, err)
	in, out := make([]byte, 16), make([]byte, 8)
	p := &LinearParams{X: buffer.View(0, 0, F32), Out: buffer.View(32, 0, F32), Rows: 1}

	for _, bc := range []struct {
		name string
		call func() error
	}{
		{"call=bare/args=0", func() error { call(c.lib.functions[symABIVersion], nil); return nil }}, // no lock, no context
		{"call=synchronize/args=1", c.Synchronize},
		{"call=linear/args=2", func() error { return c.Linear(p) }},
		{"call=replay/args=8", func() error { _, err := g.Replay(1, in, out); return err }},
	} {
		b.Run(bc.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := bc.call(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkCachePath is the digest of the sources, which each search takes once a backend.
func BenchmarkCachePath(b *testing.B) {
	for b.Loop() {
		if _, err := CachePath("cpu"); err != nil {
			b.Fatal(err)
		}
	}
}

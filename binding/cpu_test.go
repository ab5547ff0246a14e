package binding

import (
	"encoding/binary"
	"fmt"
	"math"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// The contract of this package held against the real CPU library. What its ops compute is tested
// above, in model/ops.

func cpuContext(t testing.TB, o ContextOptions) *Context {
	t.Helper()
	c, err := realCPU(t).NewContext(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

func bytesOf[T float32 | int32](values ...T) []byte {
	b, err := binary.Append(nil, binary.LittleEndian, values)
	if err != nil {
		panic(err)
	}
	return b
}

func upload(t testing.TB, c *Context, data []byte) *Buffer {
	t.Helper()
	b, err := c.NewBuffer(int64(len(data)))
	require.NoError(t, err)
	require.NoError(t, b.Write(0, data))
	return b
}

func download(t testing.TB, b *Buffer) []byte {
	t.Helper()
	data := make([]byte, b.Bytes())
	require.NoError(t, b.Read(0, data))
	return data
}

func TestCPUSaysWhatItIs(t *testing.T) {
	l := realCPU(t)
	c := l.Capabilities()
	require.Equal(t, "cpu", c.Name)
	require.NotEmpty(t, c.Device)
	require.True(t, c.Capture)
	require.True(t, c.BatchInvariant)
	require.False(t, c.Emulated)
	for _, d := range []DType{F32, F16, BF16} {
		require.True(t, c.WeightTypes.Has(d), d)
	}
	require.True(t, c.ActivationTypes.Has(F32))
	require.GreaterOrEqual(t, c.MaxHeadDim, 256)
	require.Positive(t, c.MaxTopK)
	require.Positive(t, c.Cores)
	require.Positive(t, c.MemoryFree)
	require.GreaterOrEqual(t, c.MemoryTotal, c.MemoryFree)
	if runtime.GOOS == "linux" {
		requireExports(t, l.Path())
	}
}

func TestCPUBuffers(t *testing.T) {
	c := cpuContext(t, ContextOptions{})
	b, err := c.NewBuffer(100)
	require.NoError(t, err)
	require.Equal(t, make([]byte, 100), download(t, b), "filled with zeros")
	require.NoError(t, b.Write(3, []byte{1, 2, 3}))
	got := make([]byte, 5)
	require.NoError(t, b.Read(2, got))
	require.Equal(t, []byte{0, 1, 2, 3, 0}, got)
	require.NoError(t, c.Copy(b, 50, b, 3, 3))
	require.NoError(t, b.Read(49, got))
	require.Equal(t, []byte{0, 1, 2, 3, 0}, got)

	for name, err := range map[string]error{
		"past the end":     b.Write(98, []byte{1, 2, 3}),
		"before the start": b.Read(-1, got),
		"offset overflow":  b.Read(math.MaxInt64, got),
		"overlapping copy": c.Copy(b, 4, b, 3, 3),
		"no bytes":         second(c.NewBuffer(0)),
		"negative bytes":   second(c.NewBuffer(-8)),
	} {
		require.ErrorIs(t, err, ErrInvalidArgument, name)
		var e *Error
		require.ErrorAs(t, err, &e)
		require.NotEmpty(t, e.Text, "%s: the text says which", name)
	}
	stale := b.View(0, 0, F32)
	require.NoError(t, b.Close())
	require.ErrorIs(t, c.Activation(&ActivationParams{Activation: ActSiLU, X: stale, Out: stale, Rows: 1, Cols: 1}), ErrInvalidArgument,
		"a view of a freed buffer")
}

func second[T any](_ T, err error) error { return err }

func TestCPUWeightsComeBackBitForBit(t *testing.T) {
	c := cpuContext(t, ContextOptions{})
	for _, dtype := range []DType{F32, F16, BF16} {
		const rows, cols = 37, 51
		w, err := c.NewWeight(dtype, rows, cols)
		require.NoError(t, err)
		planned, err := c.PlanWeight(dtype, rows, cols)
		require.NoError(t, err)
		require.GreaterOrEqual(t, planned, int64(rows*cols*dtype.Size()))
		data := make([]byte, 1+rows*cols*dtype.Size())
		for i := range data {
			data[i] = byte(i * 13)
		}
		data = data[1:] // any alignment
		half := 20 * cols * dtype.Size()
		require.NoError(t, w.WriteRows(20, rows-20, data[half:]))
		x := upload(t, c, bytesOf(make([]float32, cols)...))
		out := upload(t, c, bytesOf(make([]float32, rows)...))
		linear := &LinearParams{Weight: w.ID(), X: x.View(0, 0, F32), Out: out.View(0, 0, F32), Rows: 1, Compute: F32}
		require.ErrorIs(t, c.Linear(linear), ErrInvalidArgument, "rows still to be written")
		require.NoError(t, w.WriteRows(0, 20, data[:half]))
		require.NoError(t, c.Linear(linear))
		got := make([]byte, len(data))
		require.NoError(t, w.ReadRows(0, rows, got))
		require.Equal(t, data, got)
		require.ErrorIs(t, w.WriteRows(0, 1, data[:3]), ErrInvalidArgument, "bytes that are not a row")
		require.NoError(t, w.Close())
	}
}

// linear sets out = x Wᵀ with W [2, 3] = 1 2 3 / 4 5 6.
func smallLinear(t testing.TB, c *Context, x ...float32) (params *LinearParams, in, out *Buffer) {
	t.Helper()
	w, err := c.NewWeight(F32, 2, 3)
	require.NoError(t, err)
	require.NoError(t, w.WriteRows(0, 2, bytesOf[float32](1, 2, 3, 4, 5, 6)))
	in = upload(t, c, bytesOf(x...))
	out = upload(t, c, bytesOf(make([]float32, len(x)/3*2)...))
	return &LinearParams{Weight: w.ID(), X: in.View(0, 0, F32), Out: out.View(0, 0, F32), Rows: int64(len(x) / 3), Compute: F32}, in, out
}

func TestCPUGraphs(t *testing.T) {
	c := cpuContext(t, ContextOptions{})
	p, in, out := smallLinear(t, c, 0, 0, 0)
	require.NoError(t, c.BeginCapture())
	require.ErrorIs(t, in.Write(0, bytesOf[float32](7)), ErrBusy, "not under capture")
	require.NoError(t, c.Linear(p))
	g, err := c.EndCapture(GraphIO{In: in, InBytes: 12, Out: out, OutBytes: 8})
	require.NoError(t, err)
	require.Equal(t, bytesOf[float32](0, 0), download(t, out), "recorded, not run")

	got := make([]byte, 16)
	done, err := g.Replay(2, bytesOf[float32](1, 1, 1), got)
	require.NoError(t, err)
	require.Equal(t, 2, done)
	require.Equal(t, bytesOf[float32](6, 15, 6, 15), got)
	_, err = g.Replay(2, bytesOf[float32](1, 1, 1), got[:8])
	require.ErrorIs(t, err, ErrInvalidArgument, "an out block for one step")
	_, err = g.Replay(0, bytesOf[float32](1, 1, 1), nil)
	require.ErrorIs(t, err, ErrInvalidArgument, "no step")

	require.ErrorIs(t, out.Close(), ErrBusy)
	done, err = g.Replay(1, bytesOf[float32](1, 0, 0), got[:8])
	require.NoError(t, err, "what was busy is still open")
	require.Equal(t, 1, done)
	require.NoError(t, g.Close())
	require.NoError(t, out.Close())

	require.NoError(t, c.BeginCapture())
	require.Error(t, c.Linear(p), "out is gone")
	_, err = c.EndCapture(GraphIO{})
	require.ErrorIs(t, err, ErrInvalidArgument, "a failed op makes no graph")
	require.NoError(t, c.BeginCapture())
	require.NoError(t, c.AbortCapture())
	require.NoError(t, c.AbortCapture(), "none is open")
	require.NoError(t, c.Synchronize())
}

func TestCPUFaultsAndCancelLeaveItUsable(t *testing.T) {
	c := cpuContext(t, ContextOptions{})
	p, _, out := smallLinear(t, c, 1, 1, 1)
	ids := upload(t, c, bytesOf[int32](1, 5))
	table := upload(t, c, bytesOf(make([]float32, 6)...))
	require.NoError(t, c.Embedding(&EmbeddingParams{Weight: p.Weight, IDs: ids.View(0, 0, I32), Out: table.View(0, 0, F32), Rows: 2}))
	err := c.Synchronize()
	var fault *FaultError
	require.ErrorAs(t, err, &fault)
	require.ErrorIs(t, err, ErrBadValue)
	require.Equal(t, DeviceStatus{Fault: FaultTokenID, Op: 9, Index: 1, Value: 5}, fault.DeviceStatus)
	require.Equal(t, "embedding", fault.OpName())
	require.Equal(t, bytesOf[float32](4, 5, 6, 0, 0, 0), download(t, table))

	require.NoError(t, c.Cancel())
	require.ErrorIs(t, c.Synchronize(), ErrCancelled)
	require.NoError(t, c.Linear(p))
	require.Equal(t, bytesOf[float32](6, 15), download(t, out), "P97: the next request equals a clean run")
}

func TestCPUMemoryLimit(t *testing.T) {
	c := cpuContext(t, ContextOptions{MemoryLimit: 1 << 20})
	_, err := c.NewBuffer(1 << 19)
	require.NoError(t, err)
	before, err := c.Counters()
	require.NoError(t, err)
	_, err = c.NewBuffer(1 << 20)
	require.ErrorIs(t, err, ErrOutOfMemory)
	require.ErrorContains(t, err, "1048576", "the text has the bytes needed")
	_, err = c.NewWeight(F32, 1<<40, 1<<40)
	require.Error(t, err, "a size beyond 64 bits is an error, not a small allocation")
	after, err := c.Counters()
	require.NoError(t, err)
	require.Equal(t, before.Bytes, after.Bytes)
	require.Equal(t, before.Objects, after.Objects)
}

func TestCPUContextsAreIndependent(t *testing.T) {
	l := realCPU(t)
	again, err := Open(l.Path())
	require.NoError(t, err)
	run := func(c *Context, i int) error {
		in, err := c.NewBuffer(12)
		if err != nil {
			return err
		}
		defer in.Close()
		v := float32(i)
		if err := in.Write(0, bytesOf(v, v+1, v+2)); err != nil {
			return err
		}
		if err := c.Activation(&ActivationParams{Activation: ActNone, X: in.View(0, 0, F32), Out: in.View(0, 0, F32), Rows: 1, Cols: 3}); err != nil {
			return err
		}
		got := make([]byte, 12)
		if err := in.Read(0, got); err != nil {
			return err
		}
		if string(got) != string(bytesOf(v, v+1, v+2)) {
			return fmt.Errorf("goroutine %d read % x", i, got)
		}
		return nil
	}
	shared := cpuContext(t, ContextOptions{Threads: 2})
	var group sync.WaitGroup
	errs := make(chan error, 16)
	for i := range 16 { // P95: half of them share a context, half have one each
		group.Go(func() {
			c := shared
			if i%2 == 0 {
				own, err := again.NewContext(ContextOptions{Threads: 1})
				if err != nil {
					errs <- err
					return
				}
				defer own.Close()
				c = own
			}
			for range 20 {
				if err := run(c, i); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	group.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	counters, err := shared.Counters()
	require.NoError(t, err)
	require.Zero(t, counters.Objects)
}

func TestCPUCallsAllocateNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool, which a call goes through, drops entries at random under the race detector")
	}
	c := cpuContext(t, ContextOptions{})
	p, in, out := smallLinear(t, c, 0, 0, 0)
	require.NoError(t, c.BeginCapture())
	require.NoError(t, c.Linear(p))
	g, err := c.EndCapture(GraphIO{In: in, InBytes: 12, Out: out, OutBytes: 8})
	require.NoError(t, err)
	x, y := bytesOf[float32](1, 1, 1), make([]byte, 8)
	before, err := c.Counters()
	require.NoError(t, err)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if _, err := g.Replay(1, x, y); err != nil {
			panic(err)
		}
	}))
	after, err := c.Counters()
	require.NoError(t, err)
	require.Equal(t, before.Allocations, after.Allocations, "nor does the library")
	require.EqualValues(t, 101, after.Replays-before.Replays)
	require.EqualValues(t, 101, after.Entries-before.Entries, "one entry a replay; reading the counters is none")
}

func TestCPUEventsAndPeak(t *testing.T) {
	c := cpuContext(t, ContextOptions{})
	start, err := c.NewEvent()
	require.NoError(t, err)
	end, err := c.NewEvent()
	require.NoError(t, err)
	_, err = end.Since(start)
	require.ErrorIs(t, err, ErrInvalidArgument, "never recorded")
	require.NoError(t, start.Record())
	require.NoError(t, end.Record())
	elapsed, err := end.Since(start)
	require.NoError(t, err)
	require.GreaterOrEqual(t, elapsed.Nanoseconds(), int64(0))
	perSecond, perCycle, err := c.MeasurePeak(PeakRead, 0, 1<<20, 0.01)
	require.NoError(t, err)
	require.Positive(t, perSecond)
	require.Positive(t, perCycle)
	_, _, err = c.MeasurePeak(99, F32, 0, 0.01)
	require.Error(t, err)
}

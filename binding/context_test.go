package binding

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
)

func TestEachStatusIsItsError(t *testing.T) {
	c := fakeContext(t, ContextOptions{})
	require.NoError(t, c.Advance(&AdvanceParams{Sequences: int64(StatusOK)}))
	for status, sentinel := range map[Status]error{
		StatusInvalidArgument: ErrInvalidArgument, StatusUnsupported: ErrUnsupported,
		StatusOutOfMemory: ErrOutOfMemory, StatusBusy: ErrBusy, StatusCancelled: ErrCancelled,
		StatusBadValue: ErrBadValue, StatusDeviceLost: ErrDeviceLost, StatusInternal: ErrInternal,
		77: ErrInternal, -1: ErrInternal, // a status of the future is reported as it is
	} {
		err := c.Advance(&AdvanceParams{Sequences: int64(status)})
		require.ErrorIs(t, err, sentinel)
		var e *Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, Error{Op: "advance", Status: status, Text: fmt.Sprintf("told to return %d", status)}, *e)
		for _, other := range statusErrors {
			require.Equal(t, other == sentinel, other != nil && errors.Is(err, other), "%v as %v", err, other)
		}
	}
}

func TestBadValueSaysWhatTheDeviceFound(t *testing.T) {
	c := fakeContext(t, ContextOptions{})
	err := c.Advance(&AdvanceParams{Sequences: int64(StatusBadValue)})
	var fault *FaultError
	require.ErrorAs(t, err, &fault)
	want := DeviceStatus{Fault: FaultNotFinite, Op: 23, Stage: 7, Index: 1 << 40, Value: -3}
	require.Equal(t, want, fault.DeviceStatus)
	require.True(t, fault.NotFinite())
	require.EqualError(t, err, "advance: bad value on device: told to return 6 "+
		"(check_finite found NaN or infinity: index 1099511627776, value -3, stage 7)")
	status, err := c.DeviceStatus()
	require.NoError(t, err)
	require.Equal(t, want, status)
}

// text is the arguments that a fake in echo mode received.
func text(t *testing.T, err error) string {
	t.Helper()
	var e *Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, StatusInvalidArgument, e.Status, "%v", err)
	return e.Text
}

func TestP83EachSignatureCrossesWhole(t *testing.T) {
	real := fakeContext(t, ContextOptions{})
	const big, low = math.MaxInt64, math.MinInt64
	c := fakeContext(t, ContextOptions{Kernels: "echo"})
	object := object{c: c, id: math.MaxUint64 - 1} // echo mode makes no objects
	b, w, g, e := &Buffer{object: object}, &Weight{object: object}, &Graph{object}, &Event{object}
	data := []byte{1, 2, 255}
	const digest = "4fe" // (1 * 31 + 2) * 31 + 255, in hexadecimal
	const id = "18446744073709551614"

	_, err := c.NewBuffer(low)
	require.Equal(t, fmt.Sprint(low), text(t, err))
	require.Equal(t, fmt.Sprint(id, " ", big, " ", digest, " 3"), text(t, b.Write(big, data)))
	require.Equal(t, fmt.Sprint(id, " -1 dst 3"), text(t, b.Read(-1, data)))
	require.Equal(t, fmt.Sprint(id, " 0 null 0"), text(t, b.Read(0, nil)))
	require.Equal(t, fmt.Sprint(id, " ", low, " ", id, " ", big, " -7"), text(t, c.Copy(b, low, b, big, -7)))
	require.Equal(t, fmt.Sprint(id, " ", big, " -2 ", echoSum(data), " 3"), text(t, w.WriteRows(big, -2, data)))
	require.Equal(t, fmt.Sprint(id, " -3 ", low, " dst 3"), text(t, w.ReadRows(-3, low, data)))
	require.Equal(t, fmt.Sprint(id, " ", big, " ", echoSum(data), " 3"), text(t, w.WritePacked(big, data)))
	require.Equal(t, fmt.Sprint(id, " ", low, " dst 3"), text(t, w.ReadPacked(low, data)))
	_, err = g.Replay(math.MinInt32, data, data[:2])
	require.Equal(t, fmt.Sprint(id, " -2147483648 ", echoSum(data), " 3 out 2"), text(t, err))
	_, err = g.Replay(math.MaxInt32+1, nil, nil)
	require.ErrorIs(t, err, ErrInvalidArgument)
	require.Equal(t, id, text(t, e.Record()))
	_, err = e.Since(&Event{object})
	require.Equal(t, id+" "+id, text(t, err))
	for _, close := range []func() error{b.Close, w.Close, g.Close} {
		require.Equal(t, id, text(t, close()))
	}
	require.Equal(t, id, text(t, e.Close()))
	_, _, err = c.MeasurePeak(-5, BF16, low, -0.125)
	require.Equal(t, fmt.Sprint("-5 3 ", low, " -0.125"), text(t, err))
	require.Equal(t, "synchronize", text(t, c.Synchronize()))
	require.Equal(t, "capture_begin", text(t, c.BeginCapture()))
	require.Equal(t, "capture_abort", text(t, c.AbortCapture()))
	_, err = c.NewEvent()
	require.Equal(t, "event_create", text(t, err))

	// Results: an id, an int64, an int32, a float64.
	buffer, err := real.NewBuffer(8)
	require.NoError(t, err)
	require.EqualValues(t, 1, buffer.ID())
	bytes, err := real.PlanWeight(F32, 1<<30, -(1 << 28))
	require.NoError(t, err)
	require.EqualValues(t, -(1 << 60), bytes)
	start, err := real.NewEvent()
	require.NoError(t, err)
	elapsed, err := start.Since(start)
	require.NoError(t, err)
	require.Equal(t, -1500*time.Millisecond, elapsed)
	perSecond, perCycle, err := real.MeasurePeak(PeakCompute, F32, 0, 0.5)
	require.NoError(t, err)
	require.Equal(t, [2]float64{2, -0.25}, [2]float64{perSecond, perCycle})
	require.NoError(t, real.BeginCapture())
	graph, err := real.EndCapture(GraphIO{In: buffer, InBytes: 4, Out: buffer, OutOffset: 4, OutBytes: 2})
	require.NoError(t, err)
	out := make([]byte, 6)
	done, err := graph.Replay(3, []byte{1, 2, 3, 4}, out)
	require.NoError(t, err)
	require.Equal(t, 3, done)
	require.Equal(t, []byte{3, 3, 3, 3, 3, 3}, out)
}

// echoSum is the fake's checksum of host bytes.
func echoSum(data []byte) string {
	var s uint32
	for _, b := range data {
		s = s*31 + uint32(b)
	}
	return fmt.Sprintf("%x", s)
}

// params fills every byte of a params struct with another value and returns what C must see of
// it: the same bytes behind the size.
func params[P any]() (*P, string) {
	p := new(P)
	size := unsafe.Sizeof(*p)
	bytes := unsafe.Slice((*byte)(unsafe.Pointer(p)), size)
	for i := range bytes {
		bytes[i] = byte(i*7 + 1)
	}
	want := append([]byte(nil), bytes...)
	*(*uint32)(unsafe.Pointer(&want[0])) = uint32(size)
	return p, fmt.Sprintf("%x", want)
}

func crosses[P any](t *testing.T, op func(*P) error) {
	t.Helper()
	p, want := params[P]()
	require.Equal(t, want, text(t, op(p)))
	require.ErrorIs(t, op(nil), ErrInvalidArgument, "nil params")
}

func TestP83ParamsOfEachOpCrossWhole(t *testing.T) {
	c := fakeContext(t, ContextOptions{Kernels: "echo"})
	crosses(t, c.Linear)
	crosses(t, c.Embedding)
	crosses(t, c.LayerNorm)
	crosses(t, c.RMSNorm)
	crosses(t, c.PatchEmbed)
	crosses(t, c.Attention)
	crosses(t, c.CacheAppend)
	crosses(t, c.PagedAttention)
	crosses(t, c.Rope)
	crosses(t, c.SwiGLU)
	crosses(t, c.Activation)
	crosses(t, c.CopyRows)
	crosses(t, c.Softmax)
	crosses(t, c.TopK)
	crosses(t, c.Advance)
	crosses(t, c.CheckFinite)
	crosses(t, c.Penalize)
	crosses(t, c.Sample)
	crosses(t, c.LogProb)

	_, err := c.NewWeight(BF16, 5, 7)
	require.Equal(t, "1800000003000000"+"0500000000000000"+"0700000000000000", text(t, err))
	b := &Buffer{object: object{c: c, id: 9}}
	_, err = c.EndCapture(GraphIO{In: b, InOffset: 1, InBytes: 2, Out: b, OutOffset: 3, OutBytes: 4})
	require.Equal(t, "3800000000000000"+"0900000000000000"+"0100000000000000"+"0200000000000000"+
		"0900000000000000"+"0300000000000000"+"0400000000000000", text(t, err))
}

func TestP86OutValuesSurviveStackGrowth(t *testing.T) {
	c := fakeContext(t, ContextOptions{})
	b, err := c.NewBuffer(64)
	require.NoError(t, err)
	// Each goroutine starts with a small stack and reads into an array that looks like a local
	// one, each at another depth, so that some stacks grow and move inside the call.
	for depth := range 200 {
		done := make(chan error)
		go func() { done <- readAtDepth(b, depth) }()
		require.NoError(t, <-done, "depth %d", depth)
	}
}

func readAtDepth(b *Buffer, depth int) error {
	if depth > 0 {
		var frame [48]byte
		frame[depth%48] = 1
		err := readAtDepth(b, depth-1)
		runtime.KeepAlive(&frame)
		return err
	}
	var local [64]byte
	if err := b.Read(0x5a, local[:]); err != nil {
		return err
	}
	for _, v := range local {
		if v != 0x5a {
			return fmt.Errorf("read %x", local)
		}
	}
	return nil
}

func TestP87ErrorTextBelongsToTheContext(t *testing.T) {
	contexts := []*Context{fakeContext(t, ContextOptions{}), fakeContext(t, ContextOptions{})}
	var group sync.WaitGroup
	errs := make(chan error, 8)
	for i := range 8 {
		group.Go(func() {
			for range 200 {
				status := Status(1 + i%2*6) // each context has one status
				err := contexts[i%2].Advance(&AdvanceParams{Sequences: int64(status)})
				want := fmt.Sprintf("advance: %s: told to return %d", status, status)
				if err == nil || err.Error() != want {
					errs <- fmt.Errorf("%v instead of %s", err, want)
					return
				}
			}
		})
	}
	group.Wait()
	close(errs)
	require.NoError(t, <-errs)
}

func TestP88Close(t *testing.T) {
	l := fake(t)
	c, err := l.NewContext(ContextOptions{})
	require.NoError(t, err)
	b, err := c.NewBuffer(8)
	require.NoError(t, err)
	w, err := c.NewWeight(F32, 1, 1)
	require.NoError(t, err)
	e, err := c.NewEvent()
	require.NoError(t, err)
	require.NoError(t, c.BeginCapture())
	g, err := c.EndCapture(GraphIO{})
	require.NoError(t, err)
	freed, err := c.NewBuffer(8)
	require.NoError(t, err)

	require.NoError(t, freed.Close())
	require.NoError(t, freed.Close(), "a second close of a handle")
	require.ErrorIs(t, freed.Read(0, make([]byte, 1)), ErrClosed)
	counters, err := c.Counters()
	require.NoError(t, err)
	require.EqualValues(t, 4, counters.Objects, "the second close did not reach the library")

	// Calls and cancels from other goroutines while the context closes: each ends in nil or in
	// ErrClosed.
	var group sync.WaitGroup
	errs := make(chan error, 8)
	for i := range 8 {
		group.Go(func() {
			for {
				var err error
				if i%2 == 0 {
					err = c.Cancel()
				} else {
					err = b.Write(0, []byte{1, 2, 3})
				}
				if err != nil {
					errs <- err
					return
				}
				runtime.Gosched()
			}
		})
	}
	require.NoError(t, c.Close())
	group.Wait()
	close(errs)
	for err := range errs {
		require.ErrorIs(t, err, ErrClosed)
	}

	require.NoError(t, c.Close(), "a second close")
	data := make([]byte, 8)
	calls := map[string]func() error{
		"buffer write": func() error { return b.Write(0, data) },
		"buffer read":  func() error { return b.Read(0, data) },
		"weight write": func() error { return w.WriteRows(0, 1, data) },
		"weight read":  func() error { return w.ReadRows(0, 1, data) },
		"packed write": func() error { return w.WritePacked(0, data) },
		"packed read":  func() error { return w.ReadPacked(0, data) },
		"replay":       func() error { _, err := g.Replay(1, nil, nil); return err },
		"record":       e.Record,
		"elapsed":      func() error { _, err := e.Since(e); return err },
		"op":           func() error { return c.Linear(&LinearParams{}) },
		"copy":         func() error { return c.Copy(b, 0, b, 4, 4) },
		"synchronize":  c.Synchronize,
		"cancel":       c.Cancel,
		"counters":     func() error { _, err := c.Counters(); return err },
		"peak":         func() error { _, _, err := c.MeasurePeak(PeakCompute, F32, 0, 1); return err },
		"status":       func() error { _, err := c.DeviceStatus(); return err },
		"new buffer":   func() error { _, err := c.NewBuffer(1); return err },
		"new weight":   func() error { _, err := c.NewWeight(F32, 1, 1); return err },
		"plan weight":  func() error { _, err := c.PlanWeight(F32, 1, 1); return err },
		"new event":    func() error { _, err := c.NewEvent(); return err },
		"begin":        c.BeginCapture,
		"end":          func() error { _, err := c.EndCapture(GraphIO{}); return err },
		"abort":        c.AbortCapture,
	}
	for name, f := range calls {
		require.ErrorIs(t, f(), ErrClosed, name)
	}
	for _, close := range []func() error{b.Close, w.Close, g.Close, e.Close, b.Close} {
		require.NoError(t, close(), "a handle of a closed context is closed")
	}
	require.NoError(t, (*Context)(nil).Close())
	require.NoError(t, (*Buffer)(nil).Close())
}

func TestCancelReachesACallInFlight(t *testing.T) {
	c := fakeContext(t, ContextOptions{})
	require.NoError(t, c.Cancel())
	require.ErrorIs(t, c.Synchronize(), ErrCancelled)
	require.NoError(t, c.Synchronize(), "P97: usable again")

	c.mu.Lock() // a call is running
	require.NoError(t, c.Cancel())
	c.mu.Unlock()
	require.NoError(t, c.BeginCapture())
	g, err := c.EndCapture(GraphIO{})
	require.NoError(t, err)
	done, err := g.Replay(5, nil, nil)
	require.ErrorIs(t, err, ErrCancelled)
	require.Equal(t, 4, done, "the whole steps are counted beside the error")
}

func TestObjectsOfAnotherContextAreRefused(t *testing.T) {
	c, other := fakeContext(t, ContextOptions{}), fakeContext(t, ContextOptions{})
	b, err := c.NewBuffer(8)
	require.NoError(t, err)
	foreign, err := other.NewBuffer(8)
	require.NoError(t, err)
	require.ErrorIs(t, c.Copy(b, 0, foreign, 0, 8), ErrInvalidArgument)
	require.ErrorIs(t, c.Copy(foreign, 0, b, 0, 8), ErrInvalidArgument)
	_, err = c.EndCapture(GraphIO{In: foreign})
	require.ErrorIs(t, err, ErrInvalidArgument)
	_, err = c.EndCapture(GraphIO{Out: foreign})
	require.ErrorIs(t, err, ErrInvalidArgument)
	e, err := c.NewEvent()
	require.NoError(t, err)
	foreignEvent, err := other.NewEvent()
	require.NoError(t, err)
	_, err = e.Since(foreignEvent)
	require.ErrorIs(t, err, ErrInvalidArgument)
}

func TestP89HostBytesOutliveTheirLastUse(t *testing.T) {
	c := fakeContext(t, ContextOptions{})
	b, err := c.NewBuffer(64)
	require.NoError(t, err)
	w, err := c.NewWeight(F32, 4, 4)
	require.NoError(t, err)
	stop := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() { // collects, and writes over what was collected
		for {
			select {
			case <-stop:
				return
			default:
				runtime.GC()
				for range 64 {
					junk := make([]byte, 4096)
					for i := range junk {
						junk[i] = 0xff
					}
					runtime.KeepAlive(junk)
				}
			}
		}
	})
	for i := range 50 {
		require.NoError(t, b.Write(0, filled(4096, byte(i)))) // last use: inside the call
		require.NoError(t, w.WriteRows(0, 1, filled(4096, byte(i))))
	}
	close(stop)
	group.Wait()
}

func filled(n int, v byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = v
	}
	return b
}

func TestP93AllocatorFailsAtCallK(t *testing.T) {
	// makeAll makes one of each object and frees what it made when one fails.
	makeAll := func(c *Context) (err error) {
		var made []interface{ Close() error }
		defer func() {
			for _, m := range made {
				err = errors.Join(err, m.Close())
			}
		}()
		b, err := c.NewBuffer(8)
		if err != nil {
			return err
		}
		made = append(made, b)
		w, err := c.NewWeight(F32, 2, 2)
		if err != nil {
			return err
		}
		made = append(made, w)
		e, err := c.NewEvent()
		if err != nil {
			return err
		}
		made = append(made, e)
		g, err := c.EndCapture(GraphIO{In: b, InBytes: 8})
		if err != nil {
			return err
		}
		made = append(made, g)
		return nil
	}
	for k := range int64(5) {
		c := fakeContext(t, ContextOptions{MemoryLimit: k + 1})
		err := makeAll(c)
		if k < 4 {
			require.ErrorIs(t, err, ErrOutOfMemory, "allocation %d", k+1)
			require.ErrorContains(t, err, fmt.Sprintf("allocation %d fails", k+1))
		} else {
			require.NoError(t, err)
		}
		counters, err := c.Counters()
		require.NoError(t, err)
		require.Zero(t, counters.Objects, "allocation %d: everything made before is freed", k+1)
		if k < 4 {
			require.NoError(t, makeAll(c), "P97: the next try works")
		}
	}
}

func TestLeaksAreReported(t *testing.T) {
	heard := make(chan string, 16)
	defer OnLeak(OnLeak(func(kind, where string) { heard <- kind + " " + where }))
	before := Leaks()
	c := fakeContext(t, ContextOptions{})

	func() {
		closed, err := c.NewBuffer(8)
		require.NoError(t, err)
		require.NoError(t, closed.Close())
		_, err = c.NewBuffer(8)
		require.NoError(t, err)
	}()
	require.Contains(t, collect(t, heard), "buffer context_test.go:")
	require.Equal(t, before+1, Leaks())

	func() {
		closing, err := c.Library().NewContext(ContextOptions{})
		require.NoError(t, err)
		_, err = closing.NewWeight(F32, 1, 1)
		require.NoError(t, err)
		require.NoError(t, closing.Close()) // frees the weight with it
		_, err = c.Library().NewContext(ContextOptions{})
		require.NoError(t, err)
	}()
	require.Contains(t, collect(t, heard), "context context_test.go:")
	runtime.GC()
	require.Empty(t, heard)
	require.Equal(t, before+2, Leaks())
}

// collect runs the collector until something is heard.
func collect(t *testing.T, heard chan string) string {
	t.Helper()
	for range 1000 {
		runtime.GC()
		select {
		case s := <-heard:
			return s
		case <-time.After(time.Millisecond):
		}
	}
	t.Fatal("nothing was reported")
	return ""
}

package binding

import (
	"errors"
	"fmt"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/internal/need"
)

// What a card and its driver do wrong, on the emulated CUDA library, whose runtime fails where a test
// says so: each failure reaches Go as a typed error in the driver's words, and nothing leaks.

// cudaError_t of the CUDA runtime.
const (
	cudaInvalidValue  = 1
	cudaOutOfMemory   = 2
	cudaOldDriver     = 35
	cudaNoDevice      = 100
	cudaLaunchFailure = 719 // sticky: the device is lost
	cudaNotSupported  = 801
)

// emulator drives the emulated runtime. One test at a time.
type emulator struct {
	library *Library
	handle  uintptr
}

func emulatedCUDA(t testing.TB) emulator {
	t.Helper()
	l, _, err := Find("cuda", "")
	if err == nil && !l.Capabilities().Emulated {
		t.Skip("a real card does not fail on demand")
	}
	if err != nil {
		need.Missing(t, "cuda", "the emulated CUDA library; make emu builds it: "+err.Error())
	}
	handle, err := dlopen(l.Path())
	require.NoError(t, err)
	e := emulator{l, handle}
	t.Cleanup(e.reset)
	e.reset()
	return e
}

func (e emulator) reset() { call(dlsym(e.handle, "l3v_emu_reset"), nil) }

// calls are those since the reset that could have failed.
func (e emulator) calls() int { return int(call(dlsym(e.handle, "l3v_emu_calls"), nil)) }

// fail has the nth next call of a name fail, "*" for any.
func (e emulator) fail(t testing.TB, name string, nth, code int) {
	b, err := newBlock()
	require.NoError(t, err)
	copy(b.mem, append([]byte(name), 0))
	call(dlsym(e.handle, "l3v_emu_fail"), []uintptr{b.address(0), uintptr(nth), uintptr(code)})
	require.NoError(t, b.free())
}

// alive is what the runtime still holds: bytes of device memory, and streams, pools, graphs, events and
// pinned blocks.
func (e emulator) alive(t testing.TB) (bytes, objects int64) {
	b, err := newBlock()
	require.NoError(t, err)
	call(dlsym(e.handle, "l3v_emu_alive"), []uintptr{b.address(0), b.address(8)})
	bytes, objects = *(*int64)(unsafe.Pointer(&b.mem[0])), *(*int64)(unsafe.Pointer(&b.mem[8]))
	require.NoError(t, b.free())
	return bytes, objects
}

// session does a bit of everything on a context: buffers, a weight, ops that can find faults, events, a
// graph of several steps. It closes what it made, whatever fails, and returns the first failure.
func session(c *Context) (err error) {
	var closers []func() error
	defer func() {
		for i := len(closers) - 1; i >= 0; i-- {
			if e := closers[i](); err == nil {
				err = e
			}
		}
	}()
	closes := func(f func() error) { closers = append(closers, f) }

	const rows, cols, steps = 3, 32, 3
	table, err := c.NewWeight(F32, rows, cols)
	if err != nil {
		return err
	}
	closes(table.Close)
	values := make([]float32, rows*cols)
	for i := range values {
		values[i] = float32(i)
	}
	if err := table.WriteRows(0, rows, bytesOf(values...)); err != nil {
		return err
	}
	ids, err := c.NewBuffer(4)
	if err != nil {
		return err
	}
	closes(ids.Close)
	x, err := c.NewBuffer(4 * cols)
	if err != nil {
		return err
	}
	closes(x.Close)
	y, err := c.NewBuffer(4 * rows)
	if err != nil {
		return err
	}
	closes(y.Close)
	if err := ids.Write(0, bytesOf[int32](1)); err != nil {
		return err
	}
	step := func() error {
		return errors.Join(
			c.Embedding(&EmbeddingParams{Weight: table.ID(), IDs: ids.View(0, 0, I32), Out: x.View(0, 0, F32), Rows: 1}),
			c.Linear(&LinearParams{Weight: table.ID(), X: x.View(0, 0, F32), Out: y.View(0, 0, F32), Rows: 1, Compute: F32}),
			c.CheckFinite(&CheckFiniteParams{X: y.View(0, 0, F32), Rows: 1, Cols: rows}))
	}
	var want [rows]float32
	for r := range want {
		for i := range cols {
			want[r] += float32(cols+i) * float32(r*cols+i)
		}
	}
	begin, err := c.NewEvent()
	if err != nil {
		return err
	}
	closes(begin.Close)
	end, err := c.NewEvent()
	if err != nil {
		return err
	}
	closes(end.Close)
	if err := errors.Join(begin.Record(), step(), end.Record()); err != nil {
		return err
	}
	if _, err := end.Since(begin); err != nil {
		return err
	}
	got := make([]byte, 4*rows)
	if err := y.Read(0, got); err != nil {
		return err
	}
	if string(got) != string(bytesOf(want[:]...)) {
		return fmt.Errorf("read %v, not %v", got, want)
	}

	if err := c.BeginCapture(); err != nil {
		return err
	}
	if err := step(); err != nil {
		return errors.Join(err, c.AbortCapture())
	}
	graph, err := c.EndCapture(GraphIO{In: ids, InBytes: 4, Out: y, OutBytes: 4 * rows})
	if err != nil {
		return err
	}
	closes(graph.Close)
	out := make([]byte, steps*4*rows)
	if done, err := graph.Replay(steps, bytesOf[int32](1), out); err != nil {
		return err
	} else if done != steps {
		return fmt.Errorf("%d steps done, not %d", done, steps)
	}
	for i := range steps {
		if string(out[i*4*rows:][:4*rows]) != string(bytesOf(want[:]...)) {
			return fmt.Errorf("step %d gives %v", i, out)
		}
	}
	return c.Synchronize()
}

// Every call of the CUDA runtime that a session makes fails once, in three ways.
func TestEveryCUDACallMayFail(t *testing.T) {
	e := emulatedCUDA(t)
	c, err := e.library.NewContext(ContextOptions{})
	require.NoError(t, err)
	require.NoError(t, session(c))
	require.NoError(t, c.Close())
	calls := e.calls()
	require.Greater(t, calls, 60)
	bytes, objects := e.alive(t)
	require.Equal(t, []int64{0, 0}, []int64{bytes, objects}, "a session without failures leaks")

	for _, failure := range []struct {
		code   int
		name   string
		want   error
		sticky bool
	}{
		{cudaOutOfMemory, "cudaErrorMemoryAllocation", ErrOutOfMemory, false},
		{cudaInvalidValue, "cudaErrorInvalidValue", ErrInternal, false},
		{cudaLaunchFailure, "cudaErrorLaunchFailure", ErrDeviceLost, true},
	} {
		t.Run(failure.name, func(t *testing.T) {
			refused, unseen := 0, 0
			for nth := 1; nth <= calls; nth++ {
				e.reset()
				e.fail(t, "*", nth, failure.code)
				c, err := e.library.NewContext(ContextOptions{})
				if err == nil {
					if err = session(c); err == nil {
						unseen++ // at the close, or where memory was given back in another way
					} else if failure.sticky {
						require.ErrorIs(t, c.Synchronize(), ErrDeviceLost, "call %d", nth)
						_, again := c.NewBuffer(4)
						require.ErrorIs(t, again, ErrDeviceLost, "call %d", nth)
						require.ErrorContains(t, again, failure.name, "call %d: not in the driver's words", nth)
					} else {
						require.NoError(t, session(c), "call %d: the context is of no use after %v", nth, err)
					}
					require.NoError(t, c.Close(), "call %d", nth)
				}
				if err != nil {
					refused++
					require.ErrorIs(t, err, failure.want, "call %d", nth)
					require.ErrorContains(t, err, failure.name, "call %d", nth)
				}
				bytes, objects := e.alive(t)
				require.Equal(t, []int64{0, 0}, []int64{bytes, objects}, "call %d leaks after %v", nth, err)
			}
			t.Logf("%d calls: %d refused, %d without effect", calls, refused, unseen)
			require.Greater(t, refused, calls/2)
		})
	}
}

// What the machine lacks is said before there is a context.
func TestWhatACUDAMachineLacks(t *testing.T) {
	e := emulatedCUDA(t)
	for _, tc := range []struct {
		call string
		code int
		text string
	}{
		{"cudaGetDeviceCount", cudaNoDevice, "cudaErrorNoDevice"},
		{"cudaGetDeviceCount", cudaOldDriver, "cudaErrorInsufficientDriver"},
		{"cudaMemPoolCreate", cudaNotSupported, "cudaErrorNotSupported"},
	} {
		t.Run(tc.text, func(t *testing.T) {
			e.reset()
			e.fail(t, tc.call, 1, tc.code)
			_, err := e.library.NewContext(ContextOptions{})
			require.ErrorIs(t, err, ErrUnsupported)
			require.ErrorContains(t, err, tc.text)
			bytes, objects := e.alive(t)
			require.Equal(t, []int64{0, 0}, []int64{bytes, objects})
		})
	}
	_, err := e.library.NewContext(ContextOptions{Device: 1})
	require.ErrorIs(t, err, ErrUnsupported)
	require.ErrorContains(t, err, "no cuda device 1")
	_, err = e.library.NewContext(ContextOptions{Kernels: "sm70"})
	require.ErrorIs(t, err, ErrUnsupported)
	require.ErrorContains(t, err, `"sm70"`)
}

// More than the card has is out of memory with both numbers, and the context goes on.
func TestCUDAOutOfMemoryNamesBytes(t *testing.T) {
	e := emulatedCUDA(t)
	c, err := e.library.NewContext(ContextOptions{})
	require.NoError(t, err)
	_, err = c.NewBuffer(1 << 40)
	require.ErrorIs(t, err, ErrOutOfMemory)
	require.ErrorContains(t, err, "1099511627776 bytes")
	require.ErrorContains(t, err, fmt.Sprint(e.library.Capabilities().MemoryTotal))
	require.NoError(t, session(c))
	require.NoError(t, c.Close())
}

// A lost device ends every context on it, and later ones wait for a new process; closing them is safe in
// any order.
func TestALostCardEndsAllContexts(t *testing.T) {
	e := emulatedCUDA(t)
	var contexts [3]*Context
	for i := range contexts {
		var err error
		contexts[i], err = e.library.NewContext(ContextOptions{})
		require.NoError(t, err)
		require.NoError(t, session(contexts[i]))
	}
	e.fail(t, "launch", 1, cudaLaunchFailure)
	require.ErrorIs(t, session(contexts[1]), ErrDeviceLost)
	require.ErrorIs(t, session(contexts[0]), ErrDeviceLost)
	_, err := e.library.NewContext(ContextOptions{})
	require.ErrorIs(t, err, ErrDeviceLost)
	for _, i := range []int{2, 0, 1} {
		require.NoError(t, contexts[i].Close())
	}
	bytes, objects := e.alive(t)
	require.Equal(t, []int64{0, 0}, []int64{bytes, objects})
}

package ops_test

import (
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/binding"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/ops/reference"
)

func TestStreamFail(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		s, mine := d.Stream(), errors.New("mine")
		s.Fail(nil)
		require.NoError(t, s.Wait())
		s.Fail(mine)
		s.Fail(errors.New("later"))
		require.Equal(t, mine, s.Err())
		require.Equal(t, mine, s.Wait())
		require.NoError(t, s.Err())
		require.NoError(t, s.Wait())
	})
}

// TestStreamBothFail: an op that is refused does not hide what the device found in the ops before it.
func TestStreamBothFail(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		s, y := d.Stream(), d.zeros(1, 1)
		s.CheckFinite(d.floats([]float32{float32(math.NaN())}, 1, 1), 5)
		s.CopyRows(y, d.zeros(2, 1))
		err := s.Wait()
		require.ErrorIs(t, err, ops.ErrShape)
		var f *binding.FaultError
		require.ErrorAs(t, err, &f)
		require.EqualValues(t, 5, f.Stage)
		require.NoError(t, s.Wait())
	})
}

// TestStreamAfterFaults: P97: whatever went wrong, the next good work equals a clean run.
func TestStreamAfterFaults(t *testing.T) {
	x, w := reference.Uniform(1, 5*33), reference.Uniform(2, 7*33)
	each(t, func(t *testing.T, d *device) {
		good := func() []float32 {
			y := d.zeros(5, 7)
			d.run(func(s *ops.Stream) { s.Linear(y, d.floats(x, 5, 33), ops.Linear{Weight: d.weight(ops.F32, w, 7, 33)}) })
			return d.read(y)
		}
		want := good()
		nan, table := d.floats([]float32{float32(math.NaN())}, 1, 1), d.weight(ops.F32, []float32{1}, 1, 1)
		for name, bad := range map[string]struct {
			want  error
			queue func(s *ops.Stream)
		}{
			"not finite":         {binding.ErrBadValue, func(s *ops.Stream) { s.CheckFinite(nan, 1) }},
			"an id outside":      {binding.ErrBadValue, func(s *ops.Stream) { s.Embedding(d.zeros(1, 1), d.ints(9), table) }},
			"an index outside":   {binding.ErrBadValue, func(s *ops.Stream) { s.GatherRows(d.zeros(1, 1), nan, d.ints(9)) }},
			"shapes":             {ops.ErrShape, func(s *ops.Stream) { s.CopyRows(nan, d.zeros(2, 1)) }},
			"an argument":        {binding.ErrInvalidArgument, func(s *ops.Stream) { s.Softmax(nan, nan, -1) }},
			"cancelled":          {binding.ErrCancelled, func(s *ops.Stream) { s.CopyRows(d.zeros(1, 1), nan); d.Cancel() }},
			"no memory":          {binding.ErrOutOfMemory, func(s *ops.Stream) { _, err := d.NewTensor(ops.F32, 1<<30, 1<<20); s.Fail(err) }},
			"a caller's failure": {errMine, func(s *ops.Stream) { s.Fail(errMine) }},
		} {
			t.Run(name, func(t *testing.T) {
				d := d.at(t)
				s := d.Stream()
				bad.queue(s)
				require.ErrorIs(t, s.Wait(), bad.want)
				require.NoError(t, s.Wait(), "reported once")
				same(t, want, good(), "the next run")
			})
		}
	})
}

var errMine = errors.New("mine")

// TestFaultAtRead: a fault comes back at the call that waits, whichever it is.
func TestFaultAtRead(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		nan, s := d.floats([]float32{float32(math.NaN())}, 1, 1), d.Stream()
		s.CheckFinite(nan, 8)
		_, err := nan.ReadFloat32()
		var f *binding.FaultError
		require.ErrorAs(t, err, &f)
		require.EqualValues(t, 8, f.Stage)
		require.NoError(t, s.Wait(), "reported once")
	})
}

func TestTap(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		x, y, s := d.floats(reference.Uniform(1, 6), 2, 3), d.zeros(2, 3), d.Stream()
		type tapped struct {
			name       string
			rows, cols int
			data       []float32
		}
		var seen []tapped
		tap := func(name string, rows, cols int, data []float32) { seen = append(seen, tapped{name, rows, cols, data}) }

		before, err := d.Counters()
		require.NoError(t, err)
		s.Tap("nobody listens", x)
		after, err := d.Counters()
		require.NoError(t, err)
		require.Equal(t, before.Entries, after.Entries, "no call crosses")

		s.SetTap(tap)
		s.Activate(y, x, ops.SiLU)
		s.Tap("silu", y.ColRange(1, 2))
		s.Activate(y, y, ops.SiLU)
		got := d.read(y.ColRange(1, 2))
		require.Len(t, seen, 1)
		require.Equal(t, []any{"silu", 2, 2}, []any{seen[0].name, seen[0].rows, seen[0].cols})
		require.NotEqual(t, got, seen[0].data, "as it was when the tap was passed")

		graph, err := s.Capture(nil, nil, func() {
			s.Activate(y, x, ops.SiLU)
			s.Tap("under capture", y)
		})
		until(d, graph, err)
		require.Len(t, seen, 1)

		s.Tap("broken", x.RowRange(7, 1))
		require.ErrorIs(t, s.Wait(), ops.ErrShape)
		s.Fail(errMine)
		s.Tap("failed", x)
		require.Equal(t, errMine, s.Wait())
		s.SetTap(nil)
		s.Tap("ended", x)
		require.NoError(t, s.Wait())
		require.Len(t, seen, 1)
	})
}

func TestEvents(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		s := d.Stream()
		var events []*ops.Event
		for range 3 {
			e, err := d.NewEvent()
			events = append(events, until(d, e, err))
		}
		_, err := s.Elapsed(events[0], events[1])
		require.ErrorIs(t, err, binding.ErrInvalidArgument, "never recorded")
		x := d.floats(reference.Uniform(1, 300*300), 300, 300)
		w := d.weight(ops.F32, reference.Uniform(1, 300*300), 300, 300)
		s.Record(events[0])
		s.Linear(d.zeros(300, 300), x, ops.Linear{Weight: w})
		s.Record(events[1])
		s.Record(events[2])
		seconds, err := s.Elapsed(events[0], events[1])
		require.NoError(t, err)
		require.Positive(t, seconds, "the product takes time")
		none, err := s.Elapsed(events[1], events[2])
		require.NoError(t, err)
		require.GreaterOrEqual(t, none, 0.0)
		require.NoError(t, s.Wait())
		_, err = s.Capture(nil, nil, func() { s.Record(events[0]) })
		require.ErrorIs(t, err, binding.ErrBusy, "not under capture")
		require.NoError(t, (*ops.Event)(nil).Free())
	})
}

// TestCounters: ops are counted as they run, calls as they cross.
func TestCounters(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		x := d.zeros(2, 2)
		before, err := d.Counters()
		require.NoError(t, err)
		s := d.Stream()
		for range 5 {
			s.Activate(x, x, ops.SiLU)
		}
		require.NoError(t, s.Wait())
		after, err := d.Counters()
		require.NoError(t, err)
		require.EqualValues(t, 5, after.Ops-before.Ops)
		require.EqualValues(t, 6, after.Entries-before.Entries, "five ops and a wait")
		require.Equal(t, before.Allocations, after.Allocations)
	})
}

func TestMultiples(t *testing.T) {
	require.Equal(t, []int32{0, 729, 1458}, ops.Multiples(3, 729))
	require.Empty(t, ops.Multiples(0, 5))
	require.True(t, slices.IsSorted(ops.Multiples(9, 1)))
}

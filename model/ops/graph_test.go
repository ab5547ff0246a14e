package ops_test

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/binding"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/ops/reference"
)

// toy is a decode step with all that a real one has: embedding, norm, products, rotary positions, a
// paged cache, arg-max and the advance of its own state on the device.
type toy struct {
	d                               *device
	state, ids, positions, lengths  *ops.Tensor // ids, positions and lengths are views of state
	offsets, pages, next, logits    *ops.Tensor
	x, norm, qkv, attn, hidden      *ops.Tensor
	normWeight, frequencies         *ops.Tensor
	table, toQKV, fromAttn, up, out *ops.Weight
	k, v                            *ops.Tensor
}

const (
	toyVocab, toyDim, toyHeadDim, toySequences, toyPages, toyPage = 61, 40, 20, 2, 8, 4
)

func newToy(d *device, dtype ops.DType) *toy {
	weight := func(seed uint64, rows, cols int) *ops.Weight {
		return d.weight(dtype, reference.Round(reference.Uniform(seed, rows*cols), dtype), rows, cols)
	}
	m := &toy{
		d: d, state: d.ints(make([]int32, 3*toySequences)...), offsets: d.ints(0, 1, 2), pages: d.ints(3, 1, 6, 0, 2, 7, 4, 5).Reshape(toySequences, 4),
		next: d.tensor(ops.I32, toySequences, 1), logits: d.zeros(toySequences, toyVocab),
		x: d.zeros(toySequences, toyDim), norm: d.zeros(toySequences, toyDim), qkv: d.zeros(toySequences, 3*toyDim),
		attn: d.zeros(toySequences, toyDim), hidden: d.zeros(toySequences, 2*toyDim),
		normWeight: d.floats(reference.Uniform(1, toyDim), 1, toyDim), frequencies: d.floats(frequencies(toyHeadDim), 1, toyHeadDim/2),
		table: weight(2, toyVocab, toyDim), toQKV: weight(3, 3*toyDim, toyDim), fromAttn: weight(4, toyDim, toyDim),
		up: weight(5, 2*toyDim, toyDim), out: weight(6, toyVocab, toyDim),
		k: d.zeros(toyPages*toyPage, toyDim), v: d.zeros(toyPages*toyPage, toyDim),
	}
	view := func(i int) *ops.Tensor { return m.state.RowRange(i*toySequences, toySequences) }
	m.ids, m.positions, m.lengths = view(0), view(1), view(2)
	return m
}

// start is the host block of a first step: two sequences at position 0.
func (m *toy) start() []byte { return bytesOf(5, 17, 0, 0, 1, 1) }

func (m *toy) step(s *ops.Stream) {
	paged := ops.Paged{PageSize: toyPage, PageTable: m.pages, Lengths: m.lengths, QOffsets: m.offsets}
	s.Embedding(m.x, m.ids, m.table)
	s.RMSNorm(m.norm, m.x, m.normWeight, 1e-5)
	s.Linear(m.qkv, m.norm, ops.Linear{Weight: m.toQKV})
	s.RoPE(m.qkv.ColRange(0, 2*toyDim), m.positions, m.frequencies, toyHeadDim)
	s.CacheAppend(m.k, m.v, m.qkv.ColRange(toyDim, toyDim), m.qkv.ColRange(2*toyDim, toyDim), paged)
	s.PagedAttention(m.attn, m.qkv.ColRange(0, toyDim), m.k, m.v, paged,
		ops.PagedHeads{Heads: 2, KVHeads: 2, HeadDim: toyHeadDim, Scale: ops.InvSqrt(toyHeadDim)})
	s.LinearAdd(m.x, m.attn, ops.Linear{Weight: m.fromAttn}, m.x)
	s.LinearAct(m.hidden, m.x, ops.Linear{Weight: m.up}, ops.SiLU)
	s.SwiGLU(m.attn, m.hidden.ColRange(0, toyDim), m.hidden.ColRange(toyDim, toyDim))
	s.Linear(m.logits, m.attn, ops.Linear{Weight: m.out})
	s.CheckFinite(m.logits, 7)
	s.ArgMax(m.next, m.logits)
	s.Advance(m.next, m.ids, m.positions, m.lengths)
}

// eager runs steps one op at a time, and returns the ids of each.
func (m *toy) eager(steps int) (ids []int32, logits []float32) {
	require.NoError(m.d.t, m.state.WriteBytes(0, m.start()))
	for range steps {
		m.d.run(m.step)
		ids = append(ids, m.d.readInts(m.next)...)
	}
	return ids, m.d.read(m.logits)
}

func (m *toy) capture() *ops.Graph {
	s := m.d.Stream()
	graph, err := s.Capture(m.state, m.next, func() { m.step(s) })
	return until(m.d, graph, err)
}

// TestReplay: a captured step replayed, many at once or one by one, gives what its ops give when
// they run one by one, bit for bit.
func TestReplay(t *testing.T) {
	const steps = 12
	each(t, func(t *testing.T, d *device) {
		for _, dtype := range []ops.DType{ops.F32, ops.BF16} {
			t.Run(dtype.String(), func(t *testing.T) {
				d := d.at(t)
				want, wantLogits := newToy(d, dtype).eager(steps)

				m := newToy(d, dtype)
				before, err := d.Counters()
				require.NoError(t, err)
				graph := m.capture()
				captured, err := d.Counters()
				require.NoError(t, err)
				require.EqualValues(t, 1, captured.Captures-before.Captures)
				require.Equal(t, before.Ops, captured.Ops, "a capture runs nothing")

				out := make([]byte, steps*4*toySequences)
				done, err := graph.Replay(steps, m.start(), out)
				require.NoError(t, err)
				require.Equal(t, steps, done)
				require.Equal(t, bytesOf(want...), out)
				same(t, wantLogits, d.read(m.logits), "logits")
				after, err := d.Counters()
				require.NoError(t, err)
				require.EqualValues(t, steps, after.Replays-captured.Replays)
				require.EqualValues(t, 13*steps, after.Ops-captured.Ops)
				require.Equal(t, captured.Allocations, after.Allocations, "no allocation in a replay")
				require.EqualValues(t, 2, after.Entries-captured.Entries, "one call for all steps, and the read")

				// One by one, the state coming from the host each time.
				state := m.start()
				for i := range steps {
					out := make([]byte, 4*toySequences)
					_, err := graph.Replay(1, state, out)
					require.NoError(t, err)
					require.Equal(t, bytesOf(want[2*i:2*i+2]...), out, "step %d", i)
					copy(state, out)
					for word := 2; word < 6; word++ {
						binary.LittleEndian.PutUint32(state[4*word:], binary.LittleEndian.Uint32(state[4*word:])+1)
					}
				}
			})
		}
	})
}

func TestReplayAllocatesNothing(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		m := newToy(d, ops.F32)
		graph, in, out := m.capture(), m.start(), make([]byte, 4*toySequences)
		allocations := testing.AllocsPerRun(20, func() {
			if _, err := graph.Replay(1, in, out); err != nil {
				t.Fatal(err)
			}
		})
		require.Zero(t, allocations)
	})
}

// TestReplayFault: a fault in a step ends the replay there; the steps before it are whole.
func TestReplayFault(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		m := newToy(d, ops.F32)
		graph := m.capture()
		const most = 4 * toyPage // positions that a sequence's pages hold
		out := make([]byte, (most+3)*4*toySequences)
		done, err := graph.Replay(most+3, m.start(), out)
		require.ErrorIs(t, err, binding.ErrBadValue)
		var f *binding.FaultError
		require.ErrorAs(t, err, &f)
		require.Equal(t, binding.FaultPosition, f.Fault)
		require.EqualValues(t, most, f.Value)
		require.LessOrEqual(t, done, most)
		want, _ := newToy(d, ops.F32).eager(most)
		require.Equal(t, bytesOf(want[:2*done]...), out[:8*done])

		done, err = graph.Replay(2, m.start(), out[:16])
		require.NoError(t, err, "usable again")
		require.Equal(t, 2, done)
		require.Equal(t, bytesOf(want[:4]...), out[:16])
	})
}

// TestGraphHolds: what a graph uses cannot be freed before it.
func TestGraphHolds(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		s := d.Stream()
		new := func(rows, cols int) *ops.Tensor {
			x, err := d.NewTensor(ops.F32, rows, cols)
			require.NoError(t, err)
			return x
		}
		x, y, in, out := new(1, 3), new(1, 2), new(1, 1), new(1, 1)
		w, err := d.NewWeight(ops.F32, 2, 3)
		require.NoError(t, err)
		require.NoError(t, w.WriteRows(0, make([]byte, 24)))
		graph, err := s.Capture(in, out, func() { s.Linear(y, x, ops.Linear{Weight: w}) })
		require.NoError(t, err)
		frees := map[string]func() error{"x": x.Free, "y": y.Free, "in": in.Free, "out": out.Free, "weight": w.Free}
		for name, free := range frees {
			require.ErrorIs(t, free(), binding.ErrBusy, name)
		}
		_, err = graph.Replay(1, make([]byte, 4), make([]byte, 4))
		require.NoError(t, err, "still whole")
		require.NoError(t, graph.Free())
		require.NoError(t, graph.Free(), "twice")
		for name, free := range frees {
			require.NoError(t, free(), name)
		}
		require.NoError(t, (*ops.Graph)(nil).Free())
	})
}

// TestCaptureErrors: a capture that fails leaves no graph and a stream that works.
func TestCaptureErrors(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		x, y, wide := d.floats([]float32{3}, 1, 1), d.zeros(1, 1), d.zeros(2, 2)
		before, err := d.Counters()
		require.NoError(t, err)
		works := func(t *testing.T, s *ops.Stream) {
			require.NoError(t, s.Err())
			s.CopyRows(y, x)
			require.NoError(t, s.Wait())
			require.Equal(t, []float32{3}, d.read(y))
			require.NoError(t, y.WriteFloat32(0, []float32{0}))
			after, err := d.Counters()
			require.NoError(t, err)
			require.Equal(t, []int64{before.Captures, before.Objects}, []int64{after.Captures, after.Objects})
		}
		for _, c := range []struct {
			name    string
			want    error
			in, out *ops.Tensor
			record  func(s *ops.Stream)
		}{
			{"an op that does not fit", ops.ErrShape, x, y, func(s *ops.Stream) { s.CopyRows(y, nil) }},
			{"an op that the library refuses", binding.ErrInvalidArgument, x, y, func(s *ops.Stream) { s.Softmax(y, x, 0) }},
			{"a failure of the caller's", errMine, x, y, func(s *ops.Stream) { s.Fail(errMine) }},
			{"a wait", binding.ErrBusy, x, y, func(s *ops.Stream) { s.Fail(s.Wait()) }},
			{"a write", binding.ErrBusy, x, y, func(s *ops.Stream) { s.Fail(x.WriteFloat32(0, []float32{1})) }},
			{"a read", binding.ErrBusy, x, y, func(s *ops.Stream) { s.Fail(second(x.ReadFloat32())) }},
			{"an allocation", binding.ErrBusy, x, y, func(s *ops.Stream) { s.Fail(second(d.NewTensor(ops.F32, 1, 1))) }},
			{"a capture inside", binding.ErrBusy, x, y, func(s *ops.Stream) { s.Fail(second(s.Capture(nil, nil, func() {}))) }},
			{"in with gaps", ops.ErrShape, wide.ColRange(0, 1), y, func(*ops.Stream) {}},
			{"out outside", ops.ErrShape, x, wide.RowRange(2, 1), func(*ops.Stream) {}},
			{"an empty in", ops.ErrShape, &ops.Tensor{}, y, func(*ops.Stream) {}},
		} {
			t.Run(c.name, func(t *testing.T) {
				s := d.Stream()
				graph, err := s.Capture(c.in, c.out, func() { c.record(s) })
				require.ErrorIs(t, err, c.want)
				require.Nil(t, graph)
				works(t, s)
			})
		}
		t.Run("a stream that had failed before", func(t *testing.T) {
			s := d.Stream()
			s.Fail(errMine)
			_, err := s.Capture(nil, nil, func() { t.Error("not recorded") })
			require.Equal(t, errMine, err)
			require.Equal(t, errMine, s.Wait())
			works(t, s)
		})
		t.Run("a panic ends the capture", func(t *testing.T) {
			s := d.Stream()
			require.Panics(t, func() { _, _ = s.Capture(nil, nil, func() { panic(errors.New("in a layer")) }) })
			works(t, s)
		})
		t.Run("replay with blocks of another size", func(t *testing.T) {
			s := d.Stream()
			graph, err := s.Capture(x, y, func() { s.CopyRows(y, x) })
			require.NoError(t, err)
			for _, c := range []struct{ steps, in, out int }{{0, 4, 0}, {-1, 4, 4}, {1, 3, 4}, {1, 0, 4}, {2, 4, 4}, {1, 4, 8}} {
				_, err := graph.Replay(c.steps, make([]byte, c.in), make([]byte, c.out))
				require.ErrorIs(t, err, binding.ErrInvalidArgument, "%v", c)
			}
			require.NoError(t, graph.Free())
			_, err = graph.Replay(1, make([]byte, 4), make([]byte, 4))
			require.ErrorIs(t, err, binding.ErrClosed)
		})
	})
}

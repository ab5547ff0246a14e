package ops_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/binding"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/ops/reference"
)

func TestDeviceClose(t *testing.T) {
	eachTarget(t, func(t *testing.T, g target) {
		d := g.open(t, binding.ContextOptions{Threads: 1})
		x, err := d.NewTensor(ops.F32, 2, 2)
		require.NoError(t, err)
		w, err := d.NewWeight(ops.F32, 2, 2)
		require.NoError(t, err)
		e, err := d.NewEvent()
		require.NoError(t, err)
		s := d.Stream()
		graph, err := s.Capture(nil, nil, func() { s.Activate(x, x, ops.SiLU) })
		require.NoError(t, err)
		s.Activate(x, x, ops.SiLU) // work in the queue
		require.NoError(t, d.Close())
		require.NoError(t, d.Close(), "twice")

		for name, err := range map[string]error{
			"tensor": x.Free(), "weight": w.Free(), "event": e.Free(), "graph": graph.Free(),
		} {
			require.NoError(t, err, "%s went with the device", name)
		}
		s.Activate(x, x, ops.SiLU)
		require.ErrorIs(t, s.Wait(), binding.ErrClosed)
		for name, err := range map[string]error{
			"new": second(d.NewTensor(ops.F32, 1, 1)), "read": second(x.ReadFloat32()), "write": x.WriteFloat32(0, make([]float32, 4)),
			"counters": second(d.Counters()), "replay": second(graph.Replay(1, nil, nil)), "weight": second(d.NewWeight(ops.F32, 1, 1)),
		} {
			require.ErrorIs(t, err, binding.ErrClosed, name)
		}
	})
}

// TestOutOfMemory: P93: wherever the limit falls in a run, the failure is typed and says the bytes,
// nothing it allocated stays, what was there before still works, and giving memory back is enough
// for the next load.
func TestOutOfMemory(t *testing.T) {
	// One run: tensors, weights, ops with workspaces, a graph.
	run := func(d *device) (y []float32, err error) {
		var frees []func() error
		keep := func(f func() error, e error) {
			if err = e; e == nil {
				frees = append(frees, f)
			}
		}
		defer func() {
			for i := len(frees) - 1; i >= 0; i-- {
				err = errors.Join(err, frees[i]())
			}
		}()
		var x, out *ops.Tensor
		var w *ops.Weight
		if x, err = d.FromFloat32(reference.Uniform(1, 64*300), 64, 300); err != nil {
			return nil, err
		}
		keep(x.Free, nil)
		if err = d.NewTensors(ops.F32, 64, ops.Want{Tensor: &out, Cols: 200}); err != nil {
			return nil, err
		}
		keep(out.Free, nil)
		if w, err = d.NewWeight(ops.F32, 200, 300); err != nil {
			return nil, err
		}
		keep(w.Free, nil)
		if err = w.WriteRows(0, reference.Encode(reference.Uniform(2, 200*300), ops.F32)); err != nil {
			return nil, err
		}
		s := d.Stream()
		graph, err := s.Capture(nil, nil, func() { s.Linear(out, x, ops.Linear{Weight: w}) })
		if err != nil {
			return nil, err
		}
		keep(graph.Free, nil)
		if _, err = graph.Replay(1, nil, nil); err != nil {
			return nil, err
		}
		return out.ReadFloat32()
	}
	eachTarget(t, func(t *testing.T, g target) {
		free := g.open(t, binding.ContextOptions{Threads: 2})
		want, err := run(free)
		require.NoError(t, err)
		counters, err := free.Counters()
		require.NoError(t, err)
		need := counters.BytesPeak

		failures, steps := 0, int64(24)
		for i := int64(1); i <= steps; i++ {
			limit := max(need*i/steps, 1)
			d := g.open(t, binding.ContextOptions{Threads: 2, MemoryLimit: limit})
			small, err := d.NewTensor(ops.F32, 1, 1)
			if err == nil {
				require.NoError(t, small.WriteFloat32(0, []float32{2.2}))
			}
			before, err := d.Counters()
			require.NoError(t, err)
			got, err := run(d)
			after, countErr := d.Counters()
			require.NoError(t, countErr)
			require.LessOrEqual(t, after.BytesPeak, limit)
			require.Equal(t, before.Objects, after.Objects, "limit %d", limit)
			require.Equal(t, before.Bytes-before.Workspace, after.Bytes-after.Workspace, "limit %d", limit)
			if err != nil {
				failures++
				require.ErrorIs(t, err, binding.ErrOutOfMemory, "limit %d", limit)
				require.Regexp(t, `\d+ bytes`, err.Error())
			} else {
				same(t, want, got, "limit %d", limit)
			}
			if small != nil { // the context is usable
				d.run(func(s *ops.Stream) { s.Activate(small, small, ops.None) })
				require.Equal(t, []float32{2.2}, d.read(small))
				require.NoError(t, small.Free())
			}
		}
		require.Greater(t, failures, 5, "limits below the need were met")
	})
	t.Run("none of several tensors stays", func(t *testing.T) {
		eachTarget(t, func(t *testing.T, g target) {
			d := g.open(t, binding.ContextOptions{Threads: 1, MemoryLimit: 1 << 20})
			before, err := d.Counters()
			require.NoError(t, err)
			var a, b, c *ops.Tensor
			err = d.NewTensors(ops.F32, 100, ops.Want{Tensor: &a, Cols: 100}, ops.Want{Tensor: &b, Cols: 100}, ops.Want{Tensor: &c, Cols: 10000})
			require.ErrorIs(t, err, binding.ErrOutOfMemory)
			require.Equal(t, []*ops.Tensor{nil, nil, nil}, []*ops.Tensor{a, b, c})
			after, err := d.Counters()
			require.NoError(t, err)
			require.Equal(t, before.Bytes, after.Bytes)
			require.NoError(t, d.NewTensors(ops.F32, 100, ops.Want{Tensor: &a, Cols: 100}, ops.Want{Tensor: &b, Cols: 100}))
			require.Equal(t, 100, b.Cols())
		})
	})
}

// TestParallelDevices: P95: 16 goroutines with a device each get what one gets alone.
func TestParallelDevices(t *testing.T) {
	const goroutines, steps = 16, 6
	eachTarget(t, func(t *testing.T, g target) {
		want, wantLogits := newToy(g.open(t, binding.ContextOptions{Threads: 1}), ops.F32).eager(steps)
		models := make([]*toy, goroutines)
		for i := range models {
			models[i] = newToy(g.open(t, binding.ContextOptions{Threads: 1 + i%2}), ops.F32)
		}
		errs := make([]error, goroutines)
		var running sync.WaitGroup
		for i, m := range models {
			running.Go(func() {
				errs[i] = func() error {
					s := m.d.Stream()
					graph, err := s.Capture(m.state, m.next, func() { m.step(s) })
					if err != nil {
						return err
					}
					out := make([]byte, steps*4*toySequences)
					if _, err := graph.Replay(steps, m.start(), out); err != nil {
						return err
					}
					logits, err := m.logits.ReadFloat32()
					if err != nil {
						return err
					}
					for j := range logits {
						if logits[j] != wantLogits[j] {
							return fmt.Errorf("logit %d is %v, not %v", j, logits[j], wantLogits[j])
						}
					}
					if string(out) != string(bytesOf(want...)) {
						return fmt.Errorf("ids %v", out)
					}
					return graph.Free()
				}()
			})
		}
		running.Wait()
		require.NoError(t, errors.Join(errs...))
	})
}

func TestMeasurePeak(t *testing.T) {
	const about = 10 * time.Millisecond
	eachForm(t, func(t *testing.T, d *device) {
		perSecond, _, err := d.MeasurePeak(binding.PeakRead, 0, 1<<20, about)
		if errors.Is(err, binding.ErrUnsupported) {
			t.Skip("no such loop in this set")
		}
		require.NoError(t, err)
		require.Positive(t, perSecond)
		before, err := d.Counters()
		require.NoError(t, err)
		for _, c := range []ops.DType{ops.F32, ops.BF16, ops.F16} {
			if d.Capabilities().Name != "cuda" || !d.Capabilities().Computes(c) {
				continue
			}
			perSecond, perCycle, err := d.MeasurePeak(binding.PeakCompute, c, 0, about)
			require.NoError(t, err, c)
			require.Positive(t, perSecond, c)
			require.Positive(t, perCycle, c)
		}
		after, err := d.Counters()
		require.NoError(t, err)
		require.Equal(t, before.Bytes, after.Bytes)
	})
}

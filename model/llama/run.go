package llama

import (
	"encoding/binary"
	"fmt"

	"github.com/llama3v/llama3v/model/ops"
)

// Runner runs a Decoder: prefill in chunks, then one captured decode step replayed per token.
// It is not safe for concurrent use; its caller holds a lock per call. Any number of sequences may
// take turns: all that a step knows of a sequence comes in with it.
type Runner struct {
	Decoder *Decoder
	Cache   *Cache

	context         int
	prefill, decode *Step
	graph           *ops.Graph
	out             [4]byte
}

// Sizes are a runner's limits.
type Sizes struct {
	Positions   int // of the cache, shared by all sequences
	Context     int // most positions of one sequence
	PrefillRows int // rows of one prefill step
}

func (z Sizes) maxPages() int { return (z.Context + PageSize - 1) / PageSize }

// NewRunner allocates the cache and both steps, and captures the decode step.
func NewRunner(dev *ops.Device, d *Decoder, compute ops.DType, z Sizes) (*Runner, error) {
	r := &Runner{Decoder: d, context: z.Context}
	var err error
	if r.Cache, err = NewCache(dev, d.Config, z.Positions); err != nil {
		return nil, err
	}
	if r.prefill, err = NewStep(dev, d.Config, z.PrefillRows, z.maxPages()); err != nil {
		return nil, err
	}
	if r.decode, err = NewStep(dev, d.Config, 1, z.maxPages()); err != nil {
		return nil, err
	}
	s := dev.Stream()
	s.Compute = compute
	step := r.decode
	r.graph, err = s.Capture(step.state, step.next, func() {
		x := d.embed(s, step, 1)
		d.forward(s, x, r.Cache, step)
		d.logits(s, step.logits, x, step.lastNorm)
		s.ArgMax(step.next, step.logits)
		s.Advance(step.next, step.ids, step.positions, step.lengths)
	})
	return r, err
}

// RunnerBytes is what NewRunner allocates, the graph aside.
func RunnerBytes(c Config, z Sizes) int64 {
	return CacheBytes(c, z.Positions) + StepBytes(c, z.PrefillRows, z.maxPages()) + StepBytes(c, 1, z.maxPages())
}

// PrefillRows is the most ids of one Prefill.
func (r *Runner) PrefillRows() int { return r.prefill.rows }

// Context is the most positions of one sequence.
func (r *Runner) Context() int { return r.context }

// Prefill runs ids (at most PrefillRows) behind what seq holds, and advances seq. rows has one row
// [dim] for each Slot among ids, in order. With last set it returns the arg-max id that follows the
// last one. It waits.
func (r *Runner) Prefill(s *ops.Stream, seq *Sequence, ids []int32, rows []float32, last bool) (next int32, err error) {
	x, err := r.fill(s, seq, ids, rows)
	if err != nil {
		return 0, err
	}
	step, d := r.prefill, r.Decoder
	d.forward(s, x, r.Cache, step)
	if last {
		s.CopyRows(step.last, x.RowRange(len(ids)-1, 1))
		d.logits(s, step.logits, step.last, step.lastNorm)
		s.ArgMax(step.next, step.logits)
	}
	if err := s.Wait(); err != nil {
		return 0, err
	}
	seq.advance(ids)
	seq.share()
	if !last {
		return 0, nil
	}
	ids, err = step.next.ReadInt32()
	if err != nil {
		return 0, err
	}
	return ids[0], nil
}

// Score is Prefill with the logits of every row, [len(ids), vocab]: for perplexity and tests. It
// allocates them on the device for the call.
func (r *Runner) Score(dev *ops.Device, s *ops.Stream, seq *Sequence, ids []int32, rows []float32) ([]float32, error) {
	x, err := r.fill(s, seq, ids, rows)
	if err != nil {
		return nil, err
	}
	r.Decoder.forward(s, x, r.Cache, r.prefill)
	logits, err := dev.NewTensor(ops.F32, len(ids), r.Decoder.Config.Vocab)
	if err != nil {
		return nil, err
	}
	defer logits.Free()
	r.Decoder.logits(s, logits, x, r.prefill.norm.RowRange(0, len(ids)))
	if err := s.Wait(); err != nil {
		return nil, err
	}
	seq.advance(ids)
	return logits.ReadFloat32()
}

// fill brings a step's integers and picture rows to the device and queues its embedding rows.
func (r *Runner) fill(s *ops.Stream, seq *Sequence, ids []int32, rows []float32) (*ops.Tensor, error) {
	step, dim := r.prefill, r.Decoder.Config.Dim
	slots := 0
	for _, id := range ids {
		if id == Slot {
			slots++
		}
	}
	if len(rows) != slots*dim {
		return nil, fmt.Errorf("%w: %d picture values for %d slots of %d", ops.ErrShape, len(rows), slots, dim)
	}
	if err := step.fill(seq, ids); err != nil {
		return nil, err
	}
	if err := step.state.WriteBytes(0, step.block); err != nil {
		return nil, err
	}
	// A picture's slots lie together, so this is one write a picture.
	for at := 0; at < len(ids); {
		if ids[at] != Slot {
			at++
			continue
		}
		end := at
		for end < len(ids) && ids[end] == Slot {
			end++
		}
		if err := step.x.WriteFloat32(at, rows[:(end-at)*dim]); err != nil {
			return nil, err
		}
		rows = rows[(end-at)*dim:]
		at = end
	}
	return r.Decoder.embed(s, step, len(ids)), nil
}

// Decode appends id to seq and returns the arg-max id that follows: one replay of the captured
// step, one boundary call, no allocation.
func (r *Runner) Decode(seq *Sequence, id int32) (int32, error) {
	if id == Slot {
		return 0, fmt.Errorf("%w: a picture's slot in a decode step, which has no row for it", ops.ErrShape)
	}
	ids := [1]int32{id}
	if err := r.decode.fill(seq, ids[:]); err != nil {
		return 0, err
	}
	if _, err := r.graph.Replay(1, r.decode.block, r.out[:]); err != nil {
		return 0, err
	}
	seq.advance(ids[:])
	return int32(binary.LittleEndian.Uint32(r.out[:])), nil
}

// Logits reads the logits [vocab] behind the newest Decode, or Prefill with last set.
func (r *Runner) Logits(decoded bool) ([]float32, error) {
	if decoded {
		return r.decode.logits.ReadFloat32()
	}
	return r.prefill.logits.ReadFloat32()
}

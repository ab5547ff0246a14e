package llama

import (
	"encoding/binary"
	"fmt"

	"github.com/llama3v/llama3v/model/ops"
)

// Runner runs a Decoder: prefill in chunks, then one captured decode step replayed per token. The
// choice of the token is part of the step; no logits leave the device.
// It is not safe for concurrent use; its caller holds a lock per call. Any number of sequences may
// take turns: all that a step knows of a sequence comes in with it.
type Runner struct {
	Decoder *Decoder
	Cache   *Cache

	context         int
	prefill, decode *Step
	chooser         *chooser
	graphs          [3]*ops.Graph // decode by how the token is chosen
	out             []byte        // ids of the newest step: the chosen, then the likeliest where asked for
}

// The decode steps.
const (
	greedy   = iota // arg-max
	sampled         // penalties, then a draw
	logProbs        // as sampled, with log-probabilities
)

// Sizes are a runner's limits.
type Sizes struct {
	Positions   int // of the cache, shared by all sequences
	Context     int // most positions of one sequence
	PrefillRows int // rows of one prefill step
}

func (z Sizes) maxPages() int { return (z.Context + PageSize - 1) / PageSize }

// NewRunner allocates the cache, both steps and what choices take, and captures the decode step once
// for each way of choosing.
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
	if r.chooser, err = newChooser(dev, d.Config.Vocab); err != nil {
		return nil, err
	}
	r.out = make([]byte, 4*r.chooser.ids.Cols())
	s := dev.Stream()
	s.Compute = compute
	step := r.decode
	for how, out := range []*ops.Tensor{greedy: step.next, sampled: r.chooser.first, logProbs: r.chooser.ids} {
		r.graphs[how], err = s.Capture(step.state, out, func() {
			x := d.embed(s, step, 1)
			d.forward(s, x, r.Cache, step)
			d.logits(s, step.logits, x, step.lastNorm)
			if how == greedy {
				s.ArgMax(step.next, step.logits)
			} else {
				r.chooser.queue(s, step.logits, step.positions, how == logProbs)
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return r, nil
}

// RunnerBytes is what NewRunner allocates on a device that keeps such a type, the graphs aside.
func RunnerBytes(c Config, z Sizes, kept ops.DType) int64 {
	return CacheBytes(c, z.Positions, kept) + StepBytes(c, z.PrefillRows, z.maxPages(), kept) + StepBytes(c, 1, z.maxPages(), kept) +
		chooserBytes(c.Vocab)
}

// PrefillRows is the most ids of one Prefill.
func (r *Runner) PrefillRows() int { return r.prefill.rows }

// Context is the most positions of one sequence.
func (r *Runner) Context() int { return r.context }

// Prefill runs ids (at most PrefillRows) behind what seq holds, and advances seq. rows has one row
// [dim] for each Slot among ids, in order. With last set it returns the id that follows the last
// one, as the sequence chooses. It waits.
func (r *Runner) Prefill(s *ops.Stream, seq *Sequence, ids []int32, rows []float32, last bool) (next int32, err error) {
	how := seq.how()
	if last && how != greedy {
		if err := r.chooser.bring(seq.chosen); err != nil {
			return 0, err
		}
	}
	x, err := r.fill(s, seq, ids, rows)
	if err != nil {
		return 0, err
	}
	step, d := r.prefill, r.Decoder
	d.forward(s, x, r.Cache, step)
	chosen := step.next
	if last {
		s.CopyRows(step.last, x.RowRange(len(ids)-1, 1))
		d.logits(s, step.logits, step.last, step.lastNorm)
		if how == greedy {
			s.ArgMax(step.next, step.logits)
		} else {
			r.chooser.queue(s, step.logits, step.positions.RowRange(len(ids)-1, 1), how == logProbs)
			chosen = r.chooser.ids
		}
	}
	if err := s.Wait(); err != nil {
		r.chooser.owner = nil // it may have counted a token that never was
		return 0, err
	}
	seq.advance(ids)
	seq.share()
	if !last {
		return 0, nil
	}
	data, err := chosen.ReadBytes()
	if err != nil {
		r.chooser.owner = nil
		return 0, err
	}
	copy(r.out, data)
	return r.newest(seq), nil
}

// newest is the id in out. The sequence's counts follow those on the device.
func (r *Runner) newest(seq *Sequence) int32 {
	id := int32(binary.LittleEndian.Uint32(r.out))
	if seq.chosen != nil && seq.chosen.penalizes() {
		seq.chosen.ids = append(seq.chosen.ids, id)
	}
	return id
}

// LogProbs gives the log-probabilities behind the newest step, of a sequence that has asked for them:
// of the chosen token, and of up to n of the likeliest, largest first. They are the model's own, before
// penalties and temperature.
func (r *Runner) LogProbs(n int) (chosen LogProb, top []LogProb, err error) {
	values, err := r.chooser.logProbs.ReadFloat32()
	if err != nil {
		return LogProb{}, nil, err
	}
	all := make([]LogProb, min(1+n, len(values)))
	for i := range all {
		all[i] = LogProb{int32(binary.LittleEndian.Uint32(r.out[4*i:])), values[i]}
	}
	return all[0], all[1:], nil
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

// Decode appends id to seq and returns the id that follows, as seq chooses: one replay of the captured
// step, one boundary call, no allocation. A sequence that is not greedy brings its settings along when
// another one of its kind ran in between, and its counts if it penalises.
func (r *Runner) Decode(seq *Sequence, id int32) (int32, error) {
	if id == Slot {
		return 0, fmt.Errorf("%w: a picture's slot in a decode step, which has no row for it", ops.ErrShape)
	}
	ids := [1]int32{id}
	if err := r.decode.fill(seq, ids[:]); err != nil {
		return 0, err
	}
	how, out := seq.how(), r.out[:4]
	if how == logProbs {
		out = r.out
	}
	if how != greedy {
		if err := r.chooser.bring(seq.chosen); err != nil {
			return 0, err
		}
	}
	if _, err := r.graphs[how].Replay(1, r.decode.block, out); err != nil {
		r.chooser.owner = nil // it may have counted a token that never was
		return 0, err
	}
	seq.advance(ids[:])
	return r.newest(seq), nil
}

// Logits reads the logits [vocab] behind the newest Decode, or Prefill with last set; penalties are
// taken off.
func (r *Runner) Logits(decoded bool) ([]float32, error) {
	if decoded {
		return r.decode.logits.ReadFloat32()
	}
	return r.prefill.logits.ReadFloat32()
}

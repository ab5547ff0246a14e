package llama

import (
	"encoding/binary"

	"github.com/llama3v/llama3v/model/ops"
)

// MaxLogProbs is the most alternatives that log-probabilities name beside the chosen token.
const MaxLogProbs = 20

// Choice says how a sequence's tokens are chosen from the logits. The zero value is greedy: the
// largest, the lowest id among equals.
type Choice struct {
	Sampling  ops.Sampling
	Penalties ops.Penalties
	LogProbs  bool // have Runner.LogProbs after each step
	// Prompt is the ids that the repetition penalty counts beside those generated; Slot is none.
	Prompt []int32
}

func (c Choice) penalizes() bool {
	return c.Penalties != ops.Penalties{} && c.Penalties != ops.Penalties{Repetition: 1}
}

// LogProb is a token with the natural logarithm of its probability.
type LogProb struct {
	ID      int32
	LogProb float32
}

// chooser is the device memory of choices that are not greedy: the settings of the sequence whose
// turn it is, and what its text has already. It is brought in when a sequence takes over from another;
// while one sequence runs, the device keeps it up to date by itself.
type chooser struct {
	settings  *ops.Tensor // [1, SamplingCols] int32
	penalties *ops.Tensor // [1, PenaltyCols]
	counts    *ops.Tensor // [1, vocab] int32: how often each id was generated
	prompt    *ops.Tensor // [1, vocab] uint8: 1 for an id of the prompt
	logits    *ops.Tensor // [1, vocab]: before penalties
	ids       *ops.Tensor // [1, 1+top] int32: the chosen, then the likeliest
	first     *ops.Tensor // the chosen: a view of ids
	logProbs  *ops.Tensor // [1, 1+top]

	owner *chosen // nil: nobody's
	block []byte  // host form of counts, then of prompt; zeros between uses
}

// topLogProbs is the alternatives that a vocabulary has, as far as a device can give them.
func topLogProbs(vocab, maxTopK int) int { return min(MaxLogProbs, vocab, maxTopK) }

func newChooser(d *ops.Device, vocab int) (*chooser, error) {
	width := 1 + topLogProbs(vocab, d.Capabilities().MaxTopK)
	c := &chooser{block: make([]byte, 5*vocab)}
	if err := d.NewTensors(ops.F32, 1, ops.Want{Tensor: &c.penalties, Cols: ops.PenaltyCols},
		ops.Want{Tensor: &c.logits, Cols: vocab}, ops.Want{Tensor: &c.logProbs, Cols: width}); err != nil {
		return nil, err
	}
	if err := d.NewTensors(ops.I32, 1, ops.Want{Tensor: &c.settings, Cols: ops.SamplingCols},
		ops.Want{Tensor: &c.counts, Cols: vocab}, ops.Want{Tensor: &c.ids, Cols: width}); err != nil {
		return nil, err
	}
	c.first = c.ids.ColRange(0, 1)
	var err error
	c.prompt, err = d.NewTensor(ops.U8, 1, vocab)
	return c, err
}

// chooserBytes is what newChooser allocates on a device that gives MaxLogProbs alternatives.
func chooserBytes(vocab int) int64 {
	return 4*int64(ops.PenaltyCols+ops.SamplingCols+2*(1+min(MaxLogProbs, vocab))) + 9*int64(vocab)
}

// queue queues the choice among logits [1, vocab], which it changes, into first. position [1, 1] is
// that of the token whose logits they are. With logProbs it also finds the likeliest and their
// probabilities, those of the model itself: before penalties and temperature.
func (c *chooser) queue(s *ops.Stream, logits, position *ops.Tensor, logProbs bool) {
	if logProbs {
		s.CopyRows(c.logits, logits)
	}
	s.Penalize(logits, c.counts, c.prompt, c.penalties)
	s.Sample(c.first, logits, c.settings, position, c.counts)
	if logProbs {
		s.TopK(c.ids.ColRange(1, c.ids.Cols()-1), nil, c.logits)
		s.LogProb(c.logProbs, c.logits, c.ids)
	}
}

// bring makes next the owner.
func (c *chooser) bring(next *chosen) error {
	if c.owner == next {
		return nil
	}
	c.owner = nil
	if err := c.settings.WriteInt32(0, ops.SamplingRows(next.Sampling)); err != nil {
		return err
	}
	if err := c.penalties.WriteFloat32(0, ops.PenaltyRows(next.Penalties)); err != nil {
		return err
	}
	if next.penalizes() { // else nobody reads them
		if err := c.bringCounts(next); err != nil {
			return err
		}
	}
	c.owner = next
	return nil
}

func (c *chooser) bringCounts(next *chosen) error {
	vocab := c.counts.Cols()
	counts, prompt := c.block[:4*vocab], c.block[4*vocab:]
	defer clear(c.block)
	for _, id := range next.ids {
		at := counts[4*id:]
		binary.LittleEndian.PutUint32(at, binary.LittleEndian.Uint32(at)+1)
	}
	for _, id := range next.Prompt {
		if id >= 0 && int(id) < vocab {
			prompt[id] = 1
		}
	}
	if err := c.counts.WriteBytes(0, counts); err != nil {
		return err
	}
	return c.prompt.WriteBytes(0, prompt)
}

// Choose sets how the sequence's tokens are chosen from now on; without it they are greedy. What was
// drawn so far no longer counts for penalties.
func (s *Sequence) Choose(choice Choice) {
	s.chosen = &chosen{Choice: choice}
	if choice.penalizes() {
		s.chosen.ids = make([]int32, 0, len(s.pages)*PageSize+1) // a step allocates nothing
	}
}

// chosen is a choice and what it led to.
type chosen struct {
	Choice
	ids []int32 // so far, where penalties count them
}

// how is the decode step that the sequence's choice takes.
func (s *Sequence) how() int {
	switch {
	case s.chosen == nil:
		return greedy
	case s.chosen.LogProbs:
		return logProbs
	case s.chosen.Sampling.Temperature != 0 || s.chosen.penalizes():
		return sampled
	}
	return greedy
}

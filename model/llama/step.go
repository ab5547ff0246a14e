package llama

import (
	"encoding/binary"
	"fmt"

	"github.com/llama3v/llama3v/model/ops"
)

// Slot in place of an id marks a position that a picture's row fills. It is never looked up.
const Slot = -1

// StageLogits is the stage number of the check on logits (ops.CheckFinite).
const StageLogits = 3

// Step is the memory of one forward pass: what goes in per row and per sequence, and the
// intermediate results, for up to rows rows. Prefill has one of many rows; decode one of a single
// row, captured once.
//
// The integers that change from step to step lie together in one buffer, state, so that a replay
// brings them in as one host block:
//
//	ids [rows] | positions [rows] | lengths [1] | offsets [2] | page table [maxPages]
type Step struct {
	rows, maxPages int

	state                                   *ops.Tensor // [words, 1] int32
	ids, positions, lengths, offsets, pages *ops.Tensor // views of state
	x, norm, qkv, attn, gateUp              *ops.Tensor
	last, lastNorm                          *ops.Tensor // [1, dim]
	logits                                  *ops.Tensor // [1, vocab]
	next                                    *ops.Tensor // [1, 1] int32: the arg-max
	block                                   []byte      // host form of state
}

func stepWords(rows, maxPages int) int { return 2*rows + 3 + maxPages }

// NewStep allocates for up to rows rows of one sequence whose page table has maxPages entries.
func NewStep(d *ops.Device, c Config, rows, maxPages int) (*Step, error) {
	t := &Step{rows: rows, maxPages: maxPages, block: make([]byte, 4*stepWords(rows, maxPages))}
	var err error
	if t.state, err = d.NewTensor(ops.I32, stepWords(rows, maxPages), 1); err != nil {
		return nil, err
	}
	at := 0
	view := func(n int) *ops.Tensor { at += n; return t.state.RowRange(at-n, n) }
	t.ids, t.positions, t.lengths, t.offsets = view(rows), view(rows), view(1), view(2)
	t.pages = view(maxPages).Reshape(1, maxPages)

	if t.x, err = d.NewTensor(ops.F32, rows, c.Dim); err != nil {
		return nil, err
	}
	err = d.NewTensors(d.Kept(), rows, ops.Want{Tensor: &t.norm, Cols: c.Dim},
		ops.Want{Tensor: &t.qkv, Cols: (c.Heads + 2*c.KVHeads) * c.HeadDim},
		ops.Want{Tensor: &t.attn, Cols: c.Heads * c.HeadDim},
		ops.Want{Tensor: &t.gateUp, Cols: 2 * c.Hidden})
	if err != nil {
		return nil, err
	}
	if t.lastNorm, err = d.NewTensor(d.Kept(), 1, c.Dim); err != nil {
		return nil, err
	}
	if err = d.NewTensors(ops.F32, 1, ops.Want{Tensor: &t.last, Cols: c.Dim}, ops.Want{Tensor: &t.logits, Cols: c.Vocab}); err != nil {
		return nil, err
	}
	t.next, err = d.NewTensor(ops.I32, 1, 1)
	return t, err
}

// StepBytes is what NewStep allocates on a device that keeps such a type.
func StepBytes(c Config, rows, maxPages int, kept ops.DType) int64 {
	between := int64(rows)*int64(c.Dim+(2*c.Heads+2*c.KVHeads)*c.HeadDim+2*c.Hidden) + int64(c.Dim)
	return between*int64(kept.Size()) + 4*(int64(rows)*int64(c.Dim)+int64(c.Dim+c.Vocab+1)+int64(stepWords(rows, maxPages)))
}

func (t *Step) paged() ops.Paged {
	return ops.Paged{PageSize: PageSize, PageTable: t.pages, Lengths: t.lengths, QOffsets: t.offsets}
}

// fill puts a step of ids behind what seq holds into the host block: row i has position
// seq.Length+i. It does not advance seq.
func (t *Step) fill(seq *Sequence, ids []int32) error {
	if len(ids) < 1 || len(ids) > t.rows || len(seq.pages) > t.maxPages {
		return fmt.Errorf("%w: step of %d rows and %d pages, made for %d and %d", ops.ErrShape, len(ids), len(seq.pages), t.rows, t.maxPages)
	}
	if need := seq.Length + len(ids); need > len(seq.pages)*PageSize {
		return fmt.Errorf("%w: %d positions, %d reserved", ErrContextFull, need, len(seq.pages)*PageSize)
	}
	put := func(word int, v int32) { binary.LittleEndian.PutUint32(t.block[4*word:], uint32(v)) }
	for i, id := range ids {
		put(i, id)
		put(t.rows+i, int32(seq.Length+i))
	}
	put(2*t.rows, int32(seq.Length+len(ids)))
	put(2*t.rows+1, 0)
	put(2*t.rows+2, int32(len(ids)))
	for i := range t.maxPages {
		page := int32(0) // behind the sequence's own pages; no position reaches it
		if i < len(seq.pages) {
			page = seq.pages[i]
		}
		put(2*t.rows+3+i, page)
	}
	return nil
}

package llama

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/model/ops"
)

// words are the host block of a step.
func words(t *Step) []int32 {
	list := make([]int32, len(t.block)/4)
	for i := range list {
		list[i] = int32(binary.LittleEndian.Uint32(t.block[4*i:]))
	}
	return list
}

func hostStep(rows, maxPages int) *Step {
	return &Step{rows: rows, maxPages: maxPages, block: make([]byte, 4*stepWords(rows, maxPages))}
}

// The block is ids | positions | length | offsets | page table. Rotary angles show no shift of all
// positions, so the positions are looked at here.
func TestStepBlock(t *testing.T) {
	step := hostStep(4, 3)
	seq := &Sequence{pages: []int32{7, 2}}
	require.NoError(t, step.fill(seq, []int32{11, 12, 13, 14}))
	require.Equal(t, []int32{11, 12, 13, 14, 0, 1, 2, 3, 4, 0, 4, 7, 2, 0}, words(step), "the first step begins at position 0")
	require.Zero(t, seq.Length, "a step that has not run does not count")

	seq.Length = 17
	require.NoError(t, step.fill(seq, []int32{21, Slot}))
	require.Equal(t, []int32{21, Slot, 13, 14, 17, 18, 2, 3, 19, 0, 2, 7, 2, 0}, words(step), "rows behind a shorter step stay and are not read")
	require.NoError(t, step.fill(&Sequence{pages: []int32{5, 4, 3}, Length: 47}, []int32{1}))
	require.Equal(t, []int32{5, 4, 3}, words(step)[11:])
}

func TestStepsThatDoNotFit(t *testing.T) {
	for _, tc := range []struct {
		name   string
		pages  int
		length int
		ids    int
		want   error
	}{
		{"no ids", 1, 0, 0, ops.ErrShape},
		{"more ids than rows", 3, 0, 5, ops.ErrShape},
		{"more pages than the table", 4, 0, 1, ops.ErrShape},
		{"the last position", 3, 47, 1, nil},
		{"P54: one position too many", 3, 47, 2, ErrContextFull},
		{"P54: nothing left", 3, 48, 1, ErrContextFull},
		{"no pages", 0, 0, 1, ErrContextFull},
	} {
		t.Run(tc.name, func(t *testing.T) {
			step := hostStep(4, 3)
			err := step.fill(&Sequence{pages: make([]int32, tc.pages), Length: tc.length}, make([]int32, tc.ids))
			if tc.want == nil {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, tc.want)
			require.Equal(t, make([]int32, 14), words(step), "nothing is written")
		})
	}
}

package bench

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/binding"
	"github.com/llama3v/llama3v/internal/testdevice"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/weights"
)

// Speed is not tested; that every case runs, and says what it did, is. The dearest shapes are left to
// make bench.
func TestEveryOpHasCasesThatRun(t *testing.T) {
	m := NewMeter(testdevice.CPU(t, binding.ContextOptions{}), time.Millisecond)
	for _, g := range groups {
		if g.op == "linear" {
			continue
		}
		t.Run(g.op, func(t *testing.T) {
			maker := &maker{device: m.device, random: rand.New(rand.NewPCG(1, 2))}
			cases := g.make(maker)
			require.NotEmpty(t, cases)
			x, err := cases[0]()
			require.NoError(t, err)
			x.op = g.op
			row, err := m.measure(x)
			require.NoError(t, err)
			require.NoError(t, maker.free())
			require.Equal(t, g.op, row.Op)
			require.Positive(t, row.Seconds)
			require.Positive(t, row.Rate)
			require.Positive(t, row.Bound)
			require.NotEmpty(t, row.Shape)
		})
	}
}

func TestAnOpFasterThanItsBoundIsAnError(t *testing.T) {
	m := NewMeter(testdevice.CPU(t, binding.ContextOptions{}), time.Millisecond)
	x := measurement{op: "magic", work: 1e15, bound: bound{bytes: 1 << 20}, run: func(*ops.Stream, int) {}}
	_, err := m.measure(x)
	require.ErrorIs(t, err, ErrBound)
	require.ErrorContains(t, err, "magic")

	x.work = 1
	row, err := m.measure(x)
	require.NoError(t, err)
	require.InEpsilon(t, row.Rate/row.Bound, row.Share, 1e-9)
	require.Len(t, m.Bounds(), 1)
}

func TestUnknownNamesListWhatThereIs(t *testing.T) {
	m := NewMeter(testdevice.CPU(t, binding.ContextOptions{}), time.Millisecond)
	_, err := m.Ops([]string{"fft"}, nil)
	require.ErrorContains(t, err, "paged_attention")
	_, err = m.Model(context.Background(), "gpt5", weights.BF16, ops.F32, 0)
	require.ErrorContains(t, err, "siglip-so400m-384")
}

// The sums that rates stand on, against published figures: 670.8 - 4.5 (head and patches apart)
// GFLOP of so400m-384's encoder, and 13.96 GFLOP a token of the 8B decoder's layers.
func TestWorkOfRealShapes(t *testing.T) {
	so400m := *shapes["siglip-so400m-384"].Vision
	require.InEpsilon(t, 666.4e9, encoderWork(so400m), 0.001)
	require.Equal(t, 26*(encoderWork(so400m)-towerWork(so400m, 729, 0))/27, towerWork(so400m, 729, 26)-towerWork(so400m, 729, 0))
	layers := prefillWork(*shapes["llama-3-8b"].Text) - 2*textDim*vocab
	attention := 32 * 4 * float64(prompt*(prompt+1)/2) * textDim
	require.InEpsilon(t, 13.96e9*prompt, layers-attention, 0.001)
}

// A family's tower and projector run at their real widths, and the work of each is known.
func TestEyes(t *testing.T) {
	if testing.Short() {
		t.Skip("seconds of work")
	}
	for name, c := range eyes {
		require.Positive(t, projectorWork(c, 64), name)
		require.Contains(t, Models(), name)
	}
	m := NewMeter(testdevice.CPU(t, binding.ContextOptions{}), time.Millisecond)
	rows, err := m.Model(context.Background(), "smolvlm-256m-eye", weights.F16, ops.F32, 1)
	require.NoError(t, err)
	require.Len(t, rows, 2)
	require.Equal(t, "smolvlm-256m-eye, 1 layers project", rows[1].Op)
	require.Equal(t, []int{1, 3, 512, 512}, rows[0].Shape)
}

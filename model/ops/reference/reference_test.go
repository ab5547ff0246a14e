package reference_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/ops/reference"
)

// The loops against values worked out by hand or from the literature: a mistake here would pass in
// every kernel.

func TestActivation(t *testing.T) {
	for act, want := range map[ops.Activation]float64{ // P19
		ops.None: 2.2, ops.GELUTanh: 2.169679, ops.GELUErf: 2.169412, ops.GELUQuick: 2.149172, ops.SiLU: 1.980549,
	} {
		require.InDelta(t, want, reference.Activation(2.2, act), 1e-6, act.String())
	}
	require.InDelta(t, -0.158655, reference.Activation(-1, ops.GELUErf), 1e-6) // -Phi(-1)
}

func TestLinear(t *testing.T) {
	x, w := []float32{1, 2, 3, 4}, []float32{1, 0, 0, 1, 1, 1}
	got := reference.Linear(x, w, []float32{10, 20, 30}, []float32{1, 1, 1, 2, 2, 2}, 2, 2, 3, ops.None)
	require.Equal(t, []float64{12, 23, 34, 15, 26, 39}, got)
}

func TestPatchEmbed(t *testing.T) {
	// Two channels of 3 x 5, patches of 2: a grid of 1 x 2, the last row and column unused.
	pixels := make([]float32, 30)
	for i := range pixels {
		pixels[i] = float32(i)
	}
	pick := make([]float32, 16)
	pick[0], pick[8+7] = 1, 1 // output 0: first pixel of channel 0; output 1: last of channel 1
	got := reference.PatchEmbed(pixels, pick, []float32{0, 100}, []float32{0, 0, 1000, 1000}, 1, 2, 3, 5, 2, 2)
	require.Equal(t, []float64{0, 121, 1002, 1123}, got)
}

func TestNorms(t *testing.T) {
	x, one, zero := []float32{1, 3}, []float32{1, 1}, []float32{0, 0}
	require.InDeltaSlice(t, []float64{-1, 1}, reference.LayerNorm(x, one, zero, 2, 1e-12), 1e-9)
	require.InDeltaSlice(t, []float64{-2 + 5, 3 + 7}, reference.LayerNorm(x, []float32{2, 3}, []float32{5, 7}, 2, 1e-12), 1e-9)
	require.InDeltaSlice(t, []float64{1 / math.Sqrt(5), 3 / math.Sqrt(5)}, reference.RMSNorm(x, one, 2, 0), 1e-12)
	inf := float32(math.Inf(-1))
	require.InDeltaSlice(t, []float64{0.25, 0.75, 0, 0}, reference.Softmax([]float32{0, float32(math.Log(3)), inf, inf}, 2, 1), 1e-7)
}

func TestRoPE(t *testing.T) {
	// A quarter turn of the pair (0, 2), none of (1, 3).
	got := reference.RoPE([]float32{1, 5, 0, 7}, []int32{1}, []float32{math.Pi / 2, 0}, 4, 4)
	require.InDeltaSlice(t, []float64{0, 5, 1, 7}, got, 1e-7)
}

func TestAttention(t *testing.T) {
	// Two heads of one column share one kv head. Scores 0 and log 3 weigh 1/4 and 3/4.
	h := reference.Heads{Heads: 2, KVHeads: 1, HeadDim: 1, Scale: 1}
	log3 := float32(math.Log(3))
	q, k, v := []float32{1, 0}, []float32{0, log3}, []float32{4, 8}
	require.InDeltaSlice(t, []float64{7, 6}, reference.Attention(q, k, v, []int32{0, 1}, []int32{0, 2}, nil, h), 1e-6)
	require.InDeltaSlice(t, []float64{8, 8}, reference.Attention(q, k, v, []int32{0, 1}, []int32{0, 2}, []byte{0, 1}, h), 1e-6)
	require.Equal(t, []float64{0, 0}, reference.Attention(q, k, v, []int32{0, 1}, []int32{0, 2}, []byte{0, 0}, h))
	require.InDeltaSlice(t, []float64{4, 4, 7, 6}, reference.Causal([]float32{1, 0, 1, 0}, k, v, 0, h), 1e-6)
}

func TestTopK(t *testing.T) {
	require.Equal(t, []int32{1, 2, 0, 3, 0, 1}, reference.TopK([]float32{1, 5, 5, 0, 0, 0, -1, 7}, 4, 3), "the lower index first among equals")
}

func TestRound(t *testing.T) {
	for x, want := range map[uint32]uint32{0x3F818000: 0x3F820000, 0x3F808000: 0x3F800000, 0x3E89CCD5: 0x3E8A0000} { // P41
		got := reference.Round([]float32{math.Float32frombits(x)}, ops.BF16)
		require.Equal(t, want, math.Float32bits(got[0]))
	}
	require.Equal(t, []byte{0x01, 0x00, 0x00, 0x00, 0xF7, 0x01, 0xFF, 0x7B, 0x00, 0x7C}, // P42
		reference.Encode([]float32{0x1p-24, 0x1p-25, 3e-5, 65519.99, 65520}, ops.F16))
}

func TestNMSE(t *testing.T) {
	require.InDelta(t, 0.01, reference.NMSE([]float32{1.1}, []float64{1}), 1e-6)
	require.Zero(t, reference.NMSE([]float32{0}, []float64{0}))
	require.True(t, math.IsInf(reference.NMSE([]float32{1}, []float64{0}), 1))
	require.True(t, math.IsNaN(reference.NMSE([]float32{float32(math.NaN())}, []float64{1})))
	require.True(t, math.IsNaN(reference.NMSE([]float32{1}, []float64{1, 2})))
	require.True(t, math.IsNaN(reference.MaxError([]float32{float32(math.NaN()), 1}, []float64{1, 1})))
}

func TestRows(t *testing.T) {
	out := []float32{9, 9, 9}
	reference.Gather(out, []float32{1, 2}, []int32{1, -1, 0}, 1)
	require.Equal(t, []float32{2, 9, 1}, out)
	reference.Scatter(out, []float32{5, 6}, []int32{-1, 1}, 1)
	require.Equal(t, []float32{2, 6, 1}, out)
	require.Equal(t, 13, reference.CacheRow([]int32{7, 3}, 4, 5))
}

// TestPhilox has the known answers of Random123's distribution for philox4x32-10.
func TestPhilox(t *testing.T) {
	const all = 0xffffffff
	for _, c := range []struct {
		counter [4]uint32
		key     [2]uint32
		want    [4]uint32
	}{
		{[4]uint32{}, [2]uint32{}, [4]uint32{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
		{[4]uint32{all, all, all, all}, [2]uint32{all, all}, [4]uint32{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
		{[4]uint32{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, [2]uint32{0xa4093822, 0x299f31d0}, [4]uint32{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
	} {
		require.Equal(t, c.want, reference.Philox(c.counter, c.key))
	}
	require.Equal(t, float64(0x6627e8d5e169c58d>>11)/(1<<53), reference.Uniform01(0, 0))
}

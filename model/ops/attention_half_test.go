package ops_test

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/binding"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/ops/reference"
)

// halfBound is for results of products of bfloat16: the reference takes the rounded inputs, so what is
// left is the rounding of the probabilities and of the result.
const halfBound = 2e-5

// half is a matrix of any float type at a multiple of 16 bytes, as kernels for tensor cores take it,
// inside a larger one that is full of NaN.
type half struct {
	d     *device
	whole *ops.Tensor
	*ops.Tensor
}

const halfTop, halfSide = 2, 8

func (d *device) half(t ops.DType, data []float32, rows, cols int) half {
	d.t.Helper()
	width := 2*halfSide + cols
	h := half{d: d, whole: d.tensor(t, halfTop+rows+1, width)}
	require.NoError(d.t, h.whole.WriteBytes(0, reference.Encode(slices.Repeat([]float32{framing}, h.whole.Rows()*width), t)))
	h.Tensor = h.whole.RowRange(halfTop, rows).ColRange(halfSide, cols)
	require.NoError(d.t, h.WriteBytes(0, reference.Encode(data, t)))
	return h
}

// intact requires that nothing around the matrix was written.
func (h half) intact() {
	h.d.t.Helper()
	got, err := h.whole.ReadBytes()
	require.NoError(h.d.t, err)
	size := h.DType().Size()
	mark := reference.Encode([]float32{framing}, h.DType())
	for i := range len(got) / size {
		row, col := i/h.whole.Cols()-halfTop, i%h.whole.Cols()-halfSide
		if row >= 0 && row < h.Rows() && col >= 0 && col < h.Cols() {
			continue
		}
		if !bytes.Equal(mark, got[i*size:][:size]) {
			h.d.t.Fatalf("row %d, column %d, outside the result [%d, %d], was overwritten", row, col, h.Rows(), h.Cols())
		}
	}
}

// eachHalf is eachForm where the library has activations of bfloat16.
func eachHalf(t *testing.T, body func(t *testing.T, d *device)) {
	t.Helper()
	eachForm(t, func(t *testing.T, d *device) {
		if !d.Capabilities().ActivationTypes.Has(ops.BF16) {
			t.Skip("the library has no activations of bf16")
		}
		body(t, d)
	})
}

func nearHalf(t *testing.T, want []float64, got []float32) {
	t.Helper()
	nmse := reference.NMSE(got, want)
	if !(nmse <= halfBound) {
		for i, w := range want {
			if diff := math.Abs(float64(got[i]) - w); !(diff <= 2e-2*math.Abs(w)+1e-2) {
				t.Fatalf("normalised squared error %.3g, bound %.0e; value %d is %v, not %v", nmse, halfBound, i, got[i], w)
			}
		}
		t.Fatalf("normalised squared error %.3g, bound %.0e", nmse, halfBound)
	}
}

// rounded is the scene with inputs that bfloat16 has.
func (c *scene) rounded() *scene {
	c.q, c.k, c.v = reference.Round(c.q, ops.BF16), reference.Round(c.k, ops.BF16), reference.Round(c.v, ops.BF16)
	return c
}

func (c *scene) runHalf(d *device, out ops.DType) []float32 {
	d.t.Helper()
	cols, kvCols := c.heads*c.headDim, c.kvHeads*c.headDim
	y := d.half(out, slices.Repeat([]float32{framing}, len(c.q)), c.queries(), cols)
	d.run(func(s *ops.Stream) {
		s.Attention(y.Tensor, d.half(ops.BF16, c.q, c.queries(), cols).Tensor, d.half(ops.BF16, c.k, c.keys(), kvCols).Tensor,
			d.half(ops.BF16, c.v, c.keys(), kvCols).Tensor, c.params(d))
	})
	y.intact()
	return d.read(y.Tensor)
}

// attentionKernels is how often one call launches each kernel on a kernel set.
func attentionKernels(set string) map[string]int {
	want := map[string]int{"attention_kernel": 0, "flash_sm80_kernel": 0, "flash_sm90_kernel": 0}
	switch set {
	case "plain":
		want["attention_kernel"] = 1
	case "sm80":
		want["flash_sm80_kernel"] = 1
	case "sm90":
		want["flash_sm90_kernel"] = 1
	}
	return want
}

func TestAttentionHalf(t *testing.T) {
	one := func(n int32) []int32 { return []int32{0, n} }
	eachHalf(t, func(t *testing.T, d *device) {
		for _, c := range []struct {
			name                    string
			heads, kvHeads, headDim int
			q, k                    []int32
		}{
			{"one query, one key", 1, 1, 64, one(1), one(1)},
			{"7 rows of 72", 2, 2, 72, one(7), one(7)},
			{"72 rows of 72", 1, 1, 72, one(72), one(72)},
			{"129 queries, 130 keys", 1, 1, 72, one(129), one(130)},
			{"heads of 64", 1, 1, 64, one(20), one(129)},
			{"heads of 80", 1, 1, 80, one(20), one(129)},
			{"heads of 96", 1, 1, 96, one(20), one(129)},
			{"heads of 128", 1, 1, 128, one(20), one(129)},
			{"4 heads share one", 8, 2, 64, one(37), one(70)},
			{"3 heads share one, of 128", 3, 1, 128, one(45), one(20)},
			{"ragged on both sides", 2, 1, 72, []int32{0, 3, 4, 20}, []int32{0, 40, 41, 120}},
			{"rows before and behind", 1, 1, 64, []int32{2, 5, 9}, []int32{3, 10, 30}},
			{"a sequence without queries", 2, 1, 64, []int32{0, 4, 4, 9}, []int32{0, 9, 20, 21}},
			{"a sequence without keys", 2, 1, 80, []int32{0, 4, 6, 9}, []int32{0, 9, 9, 21}},
		} {
			t.Run(c.name, func(t *testing.T) {
				d := d.at(t)
				scene := newScene(c.heads, c.kvHeads, c.headDim, c.q, c.k).rounded()
				cols, begin := c.heads*c.headDim, int(c.q[0])
				var got []float32
				d.launches(attentionKernels(d.kernels), func() { got = scene.runHalf(d, ops.BF16) })
				for _, v := range got[:begin*cols] {
					require.True(t, math.IsNaN(float64(v)), "rows of no sequence are left alone")
				}
				nearHalf(t, scene.want()[begin*cols:], got[begin*cols:])
			})
		}
	})
}

// TestAttentionHalfOut: q, k and v of bfloat16, the result of float32: without its rounding it is
// nearer.
func TestAttentionHalfOut(t *testing.T) {
	eachHalf(t, func(t *testing.T, d *device) {
		c := newScene(2, 1, 72, []int32{0, 9}, []int32{0, 140}).rounded()
		wide := c.runHalf(d, ops.F32)
		nearHalf(t, c.want(), wide)
		same(t, reference.Round(wide, ops.BF16), c.runHalf(d, ops.BF16), "the same, rounded to nearest")
	})
}

// TestAttentionHalfPlain: head sizes, and rows at addresses, that the tensor cores do not take.
func TestAttentionHalfPlain(t *testing.T) {
	eachHalf(t, func(t *testing.T, d *device) {
		for _, headDim := range []int{1, 7, 33, 48, 100, 160, 256} {
			t.Run(fmt.Sprint(headDim), func(t *testing.T) {
				d := d.at(t)
				c := newScene(2, 2, headDim, []int32{0, 5}, []int32{0, 21}).rounded()
				d.launches(attentionKernels("plain"), func() { nearHalf(t, c.want(), c.runHalf(d, ops.BF16)) })
			})
		}
		t.Run("rows at odd addresses", func(t *testing.T) {
			d := d.at(t)
			c := newScene(1, 1, 64, []int32{0, 5}, []int32{0, 21}).rounded()
			x := d.tensor(ops.BF16, 31, 65)
			q, k, v := x.RowRange(0, 5).ColRange(1, 64), x.RowRange(5, 21).ColRange(1, 64), d.half(ops.BF16, c.v, 21, 64)
			require.NoError(t, q.WriteBytes(0, reference.Encode(c.q, ops.BF16)))
			require.NoError(t, k.WriteBytes(0, reference.Encode(c.k, ops.BF16)))
			y := d.half(ops.BF16, make([]float32, 5*64), 5, 64)
			d.launches(attentionKernels("plain"), func() { d.run(func(s *ops.Stream) { s.Attention(y.Tensor, q, k, v.Tensor, c.params(d)) }) })
			nearHalf(t, c.want(), d.read(y.Tensor))
		})
	})
}

func TestAttentionHalfMask(t *testing.T) {
	eachHalf(t, func(t *testing.T, d *device) {
		t.Run("some keys, and NaN behind the mask", func(t *testing.T) {
			c := newScene(2, 1, 72, []int32{0, 5, 12}, []int32{0, 70, 300}).rounded()
			c.mask = make([]byte, 300)
			for i := range c.mask {
				c.mask[i] = byte(i * i % 3)
			}
			want := c.want()
			for i, m := range c.mask {
				if m == 0 {
					c.k[i*72+i%72], c.v[i*72+i%71] = float32(math.NaN()), float32(math.Inf(1))
				}
			}
			nearHalf(t, want, c.runHalf(d.at(t), ops.BF16))
		})
		t.Run("a query with no key left is zeros", func(t *testing.T) {
			c := newScene(2, 2, 64, []int32{0, 4, 9}, []int32{0, 30, 60}).rounded()
			c.mask = slices.Concat(make([]byte, 30), slices.Repeat([]byte{255}, 30))
			got := c.runHalf(d.at(t), ops.BF16)
			same(t, make([]float32, 4*128), got[:4*128], "masked sequence")
			nearHalf(t, c.want(), got)
		})
		t.Run("a first block of keys that is masked", func(t *testing.T) {
			c := newScene(1, 1, 64, []int32{0, 3}, []int32{0, 150}).rounded()
			c.mask = slices.Concat(make([]byte, 140), slices.Repeat([]byte{1}, 10))
			nearHalf(t, c.want(), c.runHalf(d.at(t), ops.BF16))
		})
		t.Run("what is not finite in one sequence is not seen by another", func(t *testing.T) {
			c := newScene(1, 1, 72, []int32{0, 3, 6, 9}, []int32{0, 20, 25, 50}).rounded()
			want := c.want()
			for i := 20 * 72; i < 25*72; i++ {
				c.k[i], c.v[i] = float32(math.NaN()), float32(math.Inf(-1))
			}
			for i := 3 * 72; i < 6*72; i++ {
				c.q[i] = float32(math.NaN())
			}
			got := c.runHalf(d.at(t), ops.BF16)
			nearHalf(t, want[:3*72], got[:3*72])
			nearHalf(t, want[6*72:], got[6*72:])
			for _, v := range got[3*72 : 6*72] {
				require.True(t, math.IsNaN(float64(v)))
			}
		})
	})
}

func TestAttentionHalfFaults(t *testing.T) {
	eachHalf(t, func(t *testing.T, d *device) {
		for _, c := range []struct {
			name         string
			q, k         []int32
			index, value int64
		}{
			{"queries past the view", []int32{0, 3, 6}, []int32{0, 2, 4}, 1, 6},
			{"keys that fall", []int32{0, 3, 5}, []int32{0, 3, 2}, 1, 2},
			{"both, the queries first", []int32{0, 6, 5}, []int32{0, 3, 2}, 0, 6},
			{"both in one sequence", []int32{0, 6, 6}, []int32{0, 9, 9}, 0, 6},
			{"below zero", []int32{-1, 3, 5}, []int32{0, 3, 4}, 0, 3},
		} {
			t.Run(c.name, func(t *testing.T) {
				d := d.at(t)
				q, k, y := d.half(ops.BF16, make([]float32, 5*64), 5, 64), d.half(ops.BF16, make([]float32, 4*64), 4, 64), d.half(ops.BF16, make([]float32, 5*64), 5, 64)
				s := d.Stream()
				s.Attention(y.Tensor, q.Tensor, k.Tensor, k.Tensor, ops.Attention{Heads: 1, KVHeads: 1, HeadDim: 64, Scale: 1,
					QOffsets: d.ints(c.q...), KOffsets: d.ints(c.k...)})
				fault(t, s, "attention", binding.FaultOffsets, c.index, c.value)
				y.intact()
			})
		}
	})
}

// TestAttentionHalfInvariant: a row's bits do not depend on the other rows, sequences or padding.
func TestAttentionHalfInvariant(t *testing.T) {
	c := newScene(2, 1, 72, []int32{0, 64}, []int32{0, 200}).rounded()
	eachFormTarget(t, func(t *testing.T, g target) {
		if !g.library.Capabilities().ActivationTypes.Has(ops.BF16) {
			t.Skip("the library has no activations of bf16")
		}
		if g.kernels == "plain" {
			t.Skip("the tests of float32 hold it to this")
		}
		invariant(t, g, func(d *device, first, n int) []float32 {
			part := *c
			part.q, part.qOffsets = rowsOf(c.q, 144, first, n), []int32{0, int32(n)}
			return part.runHalf(d, ops.BF16)
		})
	})
}

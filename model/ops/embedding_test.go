package ops_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/binding"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/ops/reference"
)

// TestEmbedding: rows come out exactly as they went in, in any order and as often as asked.
func TestEmbedding(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		for _, dtype := range []ops.DType{ops.F32, ops.F16, ops.BF16} {
			for _, c := range []struct{ vocab, cols int }{{1, 1}, {7, 72}, {729, 7}, {130, 1025}, {65, 64}} {
				t.Run(fmt.Sprintf("%s [%d, %d]", dtype, c.vocab, c.cols), func(t *testing.T) {
					d := d.at(t)
					table := reference.Round(reference.Uniform(1, c.vocab*c.cols), dtype)
					ids := []int32{int32(c.vocab - 1), 0, 0, int32(c.vocab / 2), int32(c.vocab - 1)}
					want := make([]float32, len(ids)*c.cols)
					reference.Gather(want, table, ids, c.cols)
					y := d.framed(make([]float32, len(want)), len(ids), c.cols)
					d.run(func(s *ops.Stream) { s.Embedding(y.Tensor, d.ints(ids...), d.weight(dtype, table, c.vocab, c.cols)) })
					same(t, want, d.read(y.Tensor), "rows of the table")
					y.intact()
				})
			}
		}
	})
}

// TestEmbeddingCodes: P41, P42: every one of the 65536 codes of a 16-bit type is widened exactly.
func TestEmbeddingCodes(t *testing.T) {
	data := make([]byte, 2<<16)
	for code := range 1 << 16 {
		data[2*code], data[2*code+1] = byte(code), byte(code>>8)
	}
	each(t, func(t *testing.T, d *device) {
		for _, dtype := range []ops.DType{ops.F16, ops.BF16} {
			t.Run(dtype.String(), func(t *testing.T) {
				d := d.at(t)
				table, err := d.NewWeight(dtype, 256, 256)
				until(d, table, err)
				require.NoError(t, table.WriteRows(0, data))
				y := d.zeros(256, 256)
				d.run(func(s *ops.Stream) { s.Embedding(y, d.ints(ops.Multiples(256, 1)...), table) })
				for code, v := range d.read(y) {
					want := widened(uint16(code), dtype)
					if math.IsNaN(want) {
						require.True(t, math.IsNaN(float64(v)), "%04x", code)
						continue
					}
					require.Equal(t, want, float64(v), "%04x", code)
					require.Equal(t, math.Signbit(want), math.Signbit(float64(v)), "%04x", code)
				}
			})
		}
	})
}

// widened is the value of a 16-bit code by the definition of its type.
func widened(code uint16, dtype ops.DType) float64 {
	mantissaBits, bias := 10, 15
	if dtype == ops.BF16 {
		mantissaBits, bias = 7, 127
	}
	sign := 1 - 2*float64(code>>15)
	mantissa, exponent := float64(code&(1<<mantissaBits-1)), int(code&0x7fff)>>mantissaBits
	switch {
	case exponent == 2*bias+1 && mantissa != 0:
		return math.NaN()
	case exponent == 2*bias+1:
		return math.Inf(int(sign))
	case exponent == 0:
		return math.Copysign(math.Ldexp(mantissa, 1-bias-mantissaBits), sign)
	}
	return sign * math.Ldexp(mantissa+float64(int(1)<<mantissaBits), exponent-bias-mantissaBits)
}

// TestEmbeddingIDs: P33: an id is never an index beyond the table. -1 is a slot that keeps what is
// there; any other id outside is a fault with its row and value, and its row becomes zeros.
func TestEmbeddingIDs(t *testing.T) {
	const vocab, cols = 9, 33
	table, before := reference.Uniform(1, vocab*cols), reference.Uniform(2, 4*cols)
	each(t, func(t *testing.T, d *device) {
		w := d.weight(ops.F32, table, vocab, cols)
		t.Run("a slot is left as it is", func(t *testing.T) {
			d := d.at(t)
			y := d.floats(before, 4, cols)
			d.run(func(s *ops.Stream) { s.Embedding(y, d.ints(3, -1, -1, 0), w) })
			got := d.read(y)
			same(t, rowsOf(before, cols, 1, 2), rowsOf(got, cols, 1, 2), "slots")
			same(t, rowsOf(table, cols, 3, 1), rowsOf(got, cols, 0, 1), "row of id 3")
			same(t, rowsOf(table, cols, 0, 1), rowsOf(got, cols, 3, 1), "row of id 0")
		})
		for _, id := range []int32{vocab, 128256, -2, -200, math.MaxInt32, math.MinInt32} { // 2^31 as int32 is the last
			t.Run(fmt.Sprintf("id %d", id), func(t *testing.T) {
				d := d.at(t)
				y, s := d.floats(before, 4, cols), d.Stream()
				s.Embedding(y, d.ints(3, -1, id, 5), w)
				fault(t, s, "embedding", binding.FaultTokenID, 2, int64(id))
				got := d.read(y)
				same(t, make([]float32, cols), rowsOf(got, cols, 2, 1), "row of the fault")
				same(t, rowsOf(table, cols, 5, 1), rowsOf(got, cols, 3, 1), "row behind it")
				require.NoError(t, s.Wait(), "reported once")
			})
		}
		t.Run("the first row is the one reported", func(t *testing.T) {
			d := d.at(t)
			ids := ops.Multiples(500, 1)
			s := d.Stream()
			s.Embedding(d.zeros(len(ids), cols), d.ints(ids...), w)
			fault(t, s, "embedding", binding.FaultTokenID, vocab, vocab)
		})
	})
}

func TestEmbeddingInvariant(t *testing.T) {
	const vocab, cols = 70, invariantCols
	table := reference.Round(reference.Uniform(1, vocab*cols), ops.BF16)
	eachTarget(t, func(t *testing.T, g target) {
		invariant(t, g, func(d *device, first, n int) []float32 {
			y := d.zeros(n, cols)
			d.run(func(s *ops.Stream) {
				s.Embedding(y, d.ints(ops.Multiples(64, 1)[first:first+n]...), d.weight(ops.BF16, table, vocab, cols))
			})
			return d.read(y)
		})
	})
}

func TestEmbeddingErrors(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		w, ids, y := d.weight(ops.F32, make([]float32, 12), 3, 4), d.ints(0, 1), d.zeros(2, 4)
		refused(t, d, []refusal{
			{"no table", ops.ErrShape, func(s *ops.Stream) { s.Embedding(y, ids, nil) }},
			{"no ids", ops.ErrShape, func(s *ops.Stream) { s.Embedding(y, nil, w) }},
			{"no out", ops.ErrShape, func(s *ops.Stream) { s.Embedding(nil, ids, w) }},
			{"ids in float", ops.ErrShape, func(s *ops.Stream) { s.Embedding(y, d.zeros(2, 1), w) }},
			{"ids as a row", ops.ErrShape, func(s *ops.Stream) { s.Embedding(y, ids.Reshape(1, 2), w) }},
			{"out of another width", ops.ErrShape, func(s *ops.Stream) { s.Embedding(d.zeros(2, 3), ids, w) }},
			{"out of another height", ops.ErrShape, func(s *ops.Stream) { s.Embedding(d.zeros(3, 4), ids, w) }},
			{"zero rows", ops.ErrShape, func(s *ops.Stream) { s.Embedding(y.RowRange(0, 0), ids.RowRange(0, 0), w) }},
			{"out of integers", binding.ErrInvalidArgument, func(s *ops.Stream) { s.Embedding(d.tensor(ops.I32, 2, 4), ids, w) }},
			{"a table whose rows are not all written", binding.ErrInvalidArgument, func(s *ops.Stream) {
				half, err := d.NewWeight(ops.F32, 3, 4)
				until(d, half, err)
				require.NoError(t, half.WriteRows(1, make([]byte, 2*4*4)))
				s.Embedding(y, ids, half)
			}},
			{"a table that was freed", binding.ErrInvalidArgument, func(s *ops.Stream) {
				gone := d.weight(ops.F32, make([]float32, 12), 3, 4)
				require.NoError(t, gone.Free())
				s.Embedding(y, ids, gone)
			}},
			{"a tensor that was freed", binding.ErrInvalidArgument, func(s *ops.Stream) {
				gone := d.ints(0, 1)
				require.NoError(t, gone.Free())
				s.Embedding(y, gone, w)
			}},
		})
	})
}

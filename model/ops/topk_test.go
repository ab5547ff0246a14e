package ops_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/binding"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/ops/reference"
)

func TestTopK(t *testing.T) {
	shapes := []struct{ rows, cols, k int }{
		{1, 1, 1}, {3, 7, 7}, {7, 72, 5}, {729, 9, 1}, {2, 729, 50}, {1, 4304, 256}, {5, 257, 40}, {1, 128256, 1}, {1, 128256, 50}, {3, 20000, 17},
		{2, 128256, 50}, {1, 300000, 40}, // rows that several workers share
	}
	for _, c := range shapes {
		for _, kind := range []string{"spread", "ties"} {
			t.Run(fmt.Sprintf("%d of %d x %d, %s", c.k, c.rows, c.cols, kind), func(t *testing.T) {
				x := reference.Uniform(1, c.rows*c.cols)
				if kind == "ties" {
					for i := range x {
						x[i] = float32(int(x[i] * 4)) // -3 to 3, and both zeros: the lower index first
					}
				}
				want, wantBest := reference.TopK(x, c.cols, c.k), reference.TopK(x, c.cols, 1)
				wantValues := make([]float32, len(want))
				for i, id := range want {
					wantValues[i] = x[i/c.k*c.cols+int(id)]
				}
				each(t, func(t *testing.T, d *device) {
					ids, values := d.tensor(ops.I32, c.rows, c.k), d.framed(make([]float32, c.rows*c.k), c.rows, c.k)
					d.run(func(s *ops.Stream) { s.TopK(ids, values.Tensor, d.framed(x, c.rows, c.cols).Tensor) })
					require.Equal(t, want, d.readInts(ids))
					same(t, wantValues, d.read(values.Tensor), "values")
					values.intact()

					best := d.tensor(ops.I32, c.rows, 1)
					d.run(func(s *ops.Stream) { s.ArgMax(best, d.floats(x, c.rows, c.cols)) })
					require.Equal(t, wantBest, d.readInts(best))
				})
			})
		}
	}
	each(t, func(t *testing.T, d *device) { require.GreaterOrEqual(t, d.Capabilities().MaxTopK, 256) })
}

// TestTopKPlaces puts the largest value at every place near the ends of vectors and of the parts
// that workers take.
func TestTopKPlaces(t *testing.T) {
	const cols = 220001 // shared among workers
	x := slices.Repeat([]float32{-1}, cols)
	each(t, func(t *testing.T, d *device) {
		xd, ids := d.floats(x, 1, cols), d.tensor(ops.I32, 1, 2)
		var places []int
		for _, around := range []int{0, 8, 16, 64, 8192, cols / 8, cols / 4, cols / 2, 3 * cols / 4, cols - 1} {
			for at := max(0, around-2); at <= min(cols-1, around+2); at++ {
				places = append(places, at)
			}
		}
		for _, at := range places {
			one := xd.Reshape(cols, 1)
			require.NoError(t, one.WriteFloat32(at, []float32{1}))
			d.run(func(s *ops.Stream) { s.TopK(ids, nil, xd) })
			second := int32(0)
			if at == 0 {
				second = 1
			}
			require.Equal(t, []int32{int32(at), second}, d.readInts(ids))
			require.NoError(t, one.WriteFloat32(at, []float32{-1}))
		}
	})
}

// TestTopKNotFinite: a NaN, or a row of -inf alone, is a fault, never an answer; infinities among
// numbers sort as they are.
func TestTopKNotFinite(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	each(t, func(t *testing.T, d *device) {
		t.Run("infinities sort", func(t *testing.T) {
			d := d.at(t)
			ids := d.tensor(ops.I32, 1, 4)
			d.run(func(s *ops.Stream) { s.TopK(ids, nil, d.floats([]float32{-inf, 3, inf, -5}, 1, 4)) })
			require.Equal(t, []int32{2, 1, 3, 0}, d.readInts(ids))
		})
		t.Run("a row of -inf", func(t *testing.T) {
			d := d.at(t)
			x := []float32{1, 2, 3, -inf, -inf, -inf, 4, 5, 6}
			s, ids := d.Stream(), d.tensor(ops.I32, 3, 1)
			s.ArgMax(ids, d.floats(x, 3, 3))
			fault(t, s, "topk", binding.FaultNotFinite, 1, 0)
			require.Equal(t, []int32{2, -1, 2}, d.readInts(ids))
		})
		t.Run("NaN in a row that several workers share", func(t *testing.T) {
			const cols = 220001
			x := reference.Uniform(1, cols)
			xd := d.floats(x, 1, cols)
			for _, at := range []int{0, 1, cols / 4, cols/2 - 1, cols / 2, cols - 1} {
				require.NoError(t, xd.Reshape(cols, 1).WriteFloat32(at, []float32{nan}))
				s := d.Stream()
				s.ArgMax(d.tensor(ops.I32, 1, 1), xd)
				fault(t, s, "topk", binding.FaultNotFinite, 0, int64(at))
				require.NoError(t, xd.Reshape(cols, 1).WriteFloat32(at, x[at:at+1]))
			}
		})
		for _, cols := range []int{3, 77, 40000} {
			for _, at := range []int{0, cols / 2, cols - 1} {
				t.Run(fmt.Sprintf("NaN at %d of %d", at, cols), func(t *testing.T) {
					d := d.at(t)
					x := reference.Uniform(1, 3*cols)
					x[cols+at] = nan
					s, ids, values := d.Stream(), d.tensor(ops.I32, 3, 2), d.zeros(3, 2)
					s.TopK(ids, values, d.floats(x, 3, cols))
					fault(t, s, "topk", binding.FaultNotFinite, 1, int64(at))
					want := reference.TopK(x[:cols], cols, 2)
					got := d.readInts(ids)
					require.Equal(t, append(want, -1, -1), got[:4], "no id of the row can be taken for one")
					require.Equal(t, reference.TopK(x[2*cols:], cols, 2), got[4:])
				})
			}
		}
	})
}

// TestTopKThreads: two or three rows of the vocabulary of Llama 3 are cut into parts, as many as there
// are threads for, and the answer is that of one thread: of equals the lowest index, wherever the
// parts end, the one value of a row of -inf, and the first NaN of a row.
func TestTopKThreads(t *testing.T) {
	const vocab, k = 128256, 20
	spread := reference.Uniform(1, vocab)
	places := [][]int{{128255}, {128254, 128255}, {64128, 128255}, {64127, 64128}, {40, 60000, 128000}, {0, 1, 128255}}
	with := func(row []float32, at []int, v float64) []float32 {
		row = slices.Clone(row)
		for _, c := range at {
			row[c] = float32(v)
		}
		return row
	}
	var want [][]int32
	for _, ties := range places {
		want = append(want, reference.TopK(with(spread, ties, 2), vocab, k))
	}
	masked := slices.Repeat([]float32{float32(math.Inf(-1))}, vocab)
	eachTarget(t, func(t *testing.T, g target) {
		for _, c := range []struct{ rows, threads int }{{2, 1}, {2, 2}, {2, 3}, {3, 2}, {3, 8}} {
			d := g.open(t, binding.ContextOptions{Threads: c.threads})
			x, best, ids := d.zeros(c.rows, vocab), d.tensor(ops.I32, c.rows, 1), d.tensor(ops.I32, c.rows, k)
			last := c.rows - 1
			for i, ties := range places {
				require.NoError(t, x.WriteFloat32(0, with(masked, ties, 2)))
				require.NoError(t, x.WriteFloat32(last, with(spread, ties, 2)))
				d.run(func(s *ops.Stream) {
					s.ArgMax(best, x)
					s.TopK(ids, nil, x)
				})
				got := d.readInts(best)
				require.EqualValues(t, ties[0], got[0], "%+v, alone at %v", c, ties)
				require.EqualValues(t, ties[0], got[last], "%+v, largest at %v", c, ties)
				require.Equal(t, want[i], d.readInts(ids)[last*k:], "%+v, largest at %v", c, ties)

				require.NoError(t, x.WriteFloat32(last, with(spread, ties, math.NaN())))
				s := d.Stream()
				s.ArgMax(best, x)
				fault(t, s, "topk", binding.FaultNotFinite, int64(last), int64(ties[0]))
			}
		}
	})
}

// TestTopKMost: as many as the library takes, of as many columns and of one more.
func TestTopKMost(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		k := d.Capabilities().MaxTopK
		for _, cols := range []int{k, k + 1} {
			x, ids, values := reference.Uniform(1, 2*cols), d.tensor(ops.I32, 2, k), d.zeros(2, k)
			d.run(func(s *ops.Stream) { s.TopK(ids, values, d.floats(x, 2, cols)) })
			require.Equal(t, reference.TopK(x, cols, k), d.readInts(ids))
		}
	})
}

// TestTopKFirstFault: of many rows with a fault the first is the one reported.
func TestTopKFirstFault(t *testing.T) {
	const rows, cols, first = 300, 5, 7
	x := slices.Repeat([]float32{float32(math.Inf(-1))}, rows*cols)
	for i := range first * cols {
		x[i] = 1
	}
	each(t, func(t *testing.T, d *device) {
		s := d.Stream()
		s.ArgMax(d.tensor(ops.I32, rows, 1), d.floats(x, rows, cols))
		fault(t, s, "topk", binding.FaultNotFinite, first, 0)
	})
}

func TestTopKInvariant(t *testing.T) {
	const cols, k = 9000, 11 // rows whole: TestTopKThreads has rows in parts
	x := reference.Uniform(1, 64*cols)
	eachTarget(t, func(t *testing.T, g target) {
		invariant(t, g, func(d *device, first, n int) []float32 {
			ids, values := d.tensor(ops.I32, n, k), d.zeros(n, k)
			d.run(func(s *ops.Stream) { s.TopK(ids, values, d.floats(rowsOf(x, cols, first, n), n, cols)) })
			out, list := d.read(values), d.readInts(ids)
			for i, id := range list {
				require.Equal(t, x[(first+i/k)*cols+int(id)], out[i], "the value of its id")
			}
			return out
		})
	})
}

func TestTopKErrors(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		x, ids := d.zeros(4, 3), d.tensor(ops.I32, 4, 2)
		refused(t, d, []refusal{
			{"no x", ops.ErrShape, func(s *ops.Stream) { s.TopK(ids, nil, nil) }},
			{"no ids", ops.ErrShape, func(s *ops.Stream) { s.TopK(nil, nil, x) }},
			{"ids in float", ops.ErrShape, func(s *ops.Stream) { s.TopK(d.zeros(4, 2), nil, x) }},
			{"ids of another height", ops.ErrShape, func(s *ops.Stream) { s.TopK(d.tensor(ops.I32, 3, 2), nil, x) }},
			{"values of another width", ops.ErrShape, func(s *ops.Stream) { s.TopK(ids, d.zeros(4, 3), x) }},
			{"more than a row has", ops.ErrShape, func(s *ops.Stream) { s.TopK(d.tensor(ops.I32, 4, 4), nil, x) }},
			{"the largest in two columns", ops.ErrShape, func(s *ops.Stream) { s.ArgMax(ids, x) }},
			{"zero rows", ops.ErrShape, func(s *ops.Stream) { s.TopK(ids.RowRange(0, 0), nil, x.RowRange(0, 0)) }},
			{"more than the library takes", binding.ErrUnsupported, func(s *ops.Stream) {
				k := d.Capabilities().MaxTopK + 1
				s.TopK(d.tensor(ops.I32, 1, k), nil, d.zeros(1, k))
			}},
			{"values over x", binding.ErrInvalidArgument, func(s *ops.Stream) { s.TopK(ids, x.ColRange(0, 2), x) }},
			{"integers", binding.ErrInvalidArgument, func(s *ops.Stream) { s.TopK(ids, nil, d.tensor(ops.I32, 4, 3)) }},
			{"a tensor that was freed", binding.ErrInvalidArgument, func(s *ops.Stream) {
				gone := d.tensor(ops.I32, 4, 2)
				require.NoError(t, gone.Free())
				s.TopK(gone, nil, x)
			}},
		})
	})
}

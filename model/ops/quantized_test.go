package ops_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/binding"
	"github.com/llama3v/llama3v/internal/golden"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/ops/reference"
)

// blockTypes are the block types, each with where a block has its float16 scales.
var blockTypes = []struct {
	ops.DType
	scales []int
}{
	{ops.Q4_0, []int{0}}, {ops.Q4_1, []int{0, 2}}, {ops.Q5_0, []int{0}}, {ops.Q5_1, []int{0, 2}}, {ops.Q8_0, []int{0}},
	{ops.Q2_K, []int{80, 82}}, {ops.Q3_K, []int{108}}, {ops.Q4_K, []int{0, 2}}, {ops.Q5_K, []int{0, 2}}, {ops.Q6_K, []int{208}},
	{ops.IQ4_NL, []int{0}}, {ops.IQ4_XS, []int{0}},
}

// eachBlockType runs a body for every block type that a device takes. The CPU takes all.
func eachBlockType(t *testing.T, d *device, body func(d *device, dtype ops.DType)) {
	for _, b := range blockTypes {
		t.Run(b.String(), func(t *testing.T) {
			if caps := d.Capabilities(); !caps.WeightTypes.Has(b.DType) {
				require.NotEqual(t, "cpu", caps.Name)
				t.Skipf("%s has no weights of %s", caps.Name, b)
			}
			body(d.at(t), b.DType)
		})
	}
}

// blocks makes a weight of blocks of random bytes: every pattern of quants and sub-scales, with scales
// of 2^-7 to 2^-5 and either sign.
func (d *device) blocks(dtype ops.DType, seed uint64, rows, cols int) *ops.Weight {
	d.t.Helper()
	w, err := d.NewWeight(dtype, rows, cols)
	until(d, w, err)
	require.NoError(d.t, w.WriteRows(0, randomBlocks(dtype, seed, rows, cols)))
	return w
}

func randomBlocks(dtype ops.DType, seed uint64, rows, cols int) []byte {
	random := rand.New(rand.NewPCG(seed, 5))
	data := make([]byte, rows*dtype.RowBytes(cols))
	for i := range data {
		data[i] = byte(random.Uint32())
	}
	_, size := dtype.Block()
	for _, b := range blockTypes {
		if b.DType != dtype {
			continue
		}
		for at := 0; at < len(data); at += size {
			for _, scale := range b.scales {
				binary.LittleEndian.PutUint16(data[at+scale:], uint16(0x2000+random.IntN(0x800)|random.IntN(2)<<15))
			}
		}
	}
	return data
}

// values are a weight's rows as the device widens them, which TestBlockValues holds against ggml.
func (d *device) values(w *ops.Weight) []float32 {
	d.t.Helper()
	ids := make([]int32, w.Rows())
	for i := range ids {
		ids[i] = int32(i)
	}
	out := d.zeros(w.Rows(), w.Cols())
	d.run(func(s *ops.Stream) { s.Embedding(out, d.ints(ids...), w) })
	return d.read(out)
}

// TestBlockValues: rows of ggml's blocks, quantised ones and ones of random bytes, widen to the bits
// that ggml gives, and come back as they were written.
func TestBlockValues(t *testing.T) {
	const cols = 512
	file := func(t *testing.T, name string) []byte {
		data, err := os.ReadFile(filepath.Join(golden.Root(), "golden", "gguf", "blocks", name))
		require.NoError(t, err)
		return data
	}
	each(t, func(t *testing.T, d *device) {
		eachBlockType(t, d, func(d *device, dtype ops.DType) {
			name := strings.ToUpper(dtype.String())
			for _, set := range [][2]string{{name + ".bin", name + ".deq.f32"}, {name + ".rand.bin", name + ".rand.f32"}} {
				blocks, values := file(d.t, set[0]), file(d.t, set[1])
				want := make([]float32, len(values)/4)
				for i := range want {
					want[i] = math.Float32frombits(binary.LittleEndian.Uint32(values[4*i:]))
				}
				rows := len(want) / cols
				require.Len(d.t, blocks, rows*dtype.RowBytes(cols))
				w, err := d.NewWeight(dtype, rows, cols)
				until(d, w, err)
				require.NoError(d.t, w.WriteRows(0, blocks))
				same(d.t, want, d.values(w), "%s", set[0])

				// As floats, by way of products with the unit vectors: each sum has one value and zeros.
				unit := make([]float32, cols*cols)
				for i := range cols {
					unit[i*cols+i] = 1
				}
				y := d.zeros(cols, rows)
				d.run(func(s *ops.Stream) {
					s.Compute = ops.F32
					s.Linear(y, d.floats(unit, cols, cols), ops.Linear{Weight: w})
				})
				for i, v := range d.read(y) {
					require.Equal(d.t, want[i%rows*cols+i/rows], v, "product with unit vector %d, row %d of %s", i/rows, i%rows, set[0])
				}
			}
		})
	})
}

func TestBlockRows(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		eachBlockType(t, d, func(d *device, dtype ops.DType) {
			elements, _ := dtype.Block()
			for _, rows := range []int{1, 63, 64, 65, 192} {
				for _, cols := range []int{elements, 3 * elements} {
					size := dtype.RowBytes(cols)
					data := make([]byte, rows*size)
					random := rand.New(rand.NewPCG(uint64(rows), uint64(cols)))
					for i := range data {
						data[i] = byte(random.Uint32()) // NaN scales too
					}
					plan, err := d.WeightBytes(dtype, rows, cols)
					require.NoError(d.t, err)
					// Of a GPU's rows, each of up to four planes is rounded up to 16 bytes.
					require.LessOrEqual(d.t, plan, int64(max((rows+63)/64*64*size, rows*(size+4*15))), "no more than the file has, in whole panels")
					w, err := d.NewWeight(dtype, rows, cols)
					until(d, w, err)
					half := rows / 2
					odd := append([]byte{0}, data...)[1:] // rows at an odd address
					require.NoError(d.t, w.WriteRows(half, odd[half*size:]))
					if half > 0 {
						require.NoError(d.t, w.WriteRows(0, data[:half*size]))
					}
					got, err := w.ReadRows(0, rows)
					require.NoError(d.t, err)
					require.Equal(d.t, data, got)
					got, err = w.ReadRows(rows-1, 1)
					require.NoError(d.t, err)
					require.Equal(d.t, data[len(data)-size:], got)
				}
			}
		})
	})
}

// blockShapes: rows of x, columns and rows of the weight. Columns are made whole blocks of the type.
var blockShapes = []struct {
	name          string
	rows, in, out int
	large         bool
}{
	{"one block, one output", 1, 32, 1, false},
	{"decode: one row", 1, 512, 65, false},
	{"decode: one row of a real width", 1, 4096, 192, true},
	{"two rows", 2, 64, 63, false},
	{"three rows", 3, 96, 65, false},
	{"four rows", 4, 256, 64, false},
	{"part of a tile", 5, 64, 63, false},
	{"a tile", 6, 96, 65, false},
	{"a tile and a row", 7, 1056, 130, false},
	{"several tiles of a real width", 64, 4096, 192, true},
	{"several blocks of tiles", 301, 512, 129, true},
}

func eachBlockProduct(t *testing.T, d *device, body func(d *device, dtype ops.DType, rows, in, out int)) {
	eachBlockType(t, d, func(d *device, dtype ops.DType) {
		elements, _ := dtype.Block()
		for _, c := range blockShapes {
			if c.large && (testing.Short() || d.scalar()) {
				continue
			}
			d.t.Run(c.name, func(t *testing.T) {
				body(d.at(t), dtype, c.rows, (c.in+elements-1)/elements*elements, c.out)
			})
		}
	})
}

// TestLinearBlocks: compute F32 on blocks is, bit for bit, compute F32 on the floats that they stand for.
func TestLinearBlocks(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		eachBlockProduct(t, d, func(d *device, dtype ops.DType, rows, in, out int) {
			w := d.blocks(dtype, 7, out, in)
			values := d.weight(ops.F32, d.values(w), out, in)
			x, bias, residual := d.framed(reference.Uniform(1, rows*in), rows, in), d.floats(reference.Uniform(3, out), 1, out), reference.Uniform(4, rows*out)
			want, got := d.floats(residual, rows, out), d.framed(residual, rows, out)
			d.run(func(s *ops.Stream) {
				s.Compute = ops.F32
				s.LinearAdd(want, x.Tensor, ops.Linear{Weight: values, Bias: bias}, want)
				s.LinearAdd(got.Tensor, x.Tensor, ops.Linear{Weight: w, Bias: bias}, got.Tensor)
			})
			if d.ordered() {
				same(d.t, d.read(want), d.read(got.Tensor), "blocks against their values")
			}
			near(d.t, reference.Linear(reference.Uniform(1, rows*in), d.values(w), reference.Uniform(3, out), residual, rows, in, out, ops.None), d.read(got.Tensor))
			got.intact()
		})
	})
}

// quantized is x as compute I8 sees it: each 32 values of a row as int8 times max |x| / 127, the factor
// 127 / max |x| and the product with it in float32.
func quantized(x []float32) []float32 {
	out := make([]float32, len(x))
	for at := 0; at < len(x); at += 32 {
		var most float32
		for _, v := range x[at : at+32] {
			most = max(most, float32(math.Abs(float64(v))))
		}
		if most == 0 {
			continue
		}
		inverse := 127 / most
		for i, v := range x[at : at+32] {
			q := math.RoundToEven(float64(float32(v * inverse)))
			out[at+i] = float32(q * float64(most) / 127)
		}
	}
	return out
}

// i8 computes in int8, or skips where a library does not.
func (d *device) i8(y, x *ops.Tensor, l ops.Linear) {
	d.t.Helper()
	if !d.Capabilities().Computes(ops.I8) {
		require.NotEqual(d.t, "cpu", d.Capabilities().Name)
		d.t.Skip("no products in int8")
	}
	d.run(func(s *ops.Stream) {
		s.Compute = ops.I8
		s.Linear(y, x, l)
	})
}

// TestLinearI8: products in int8 are those of the rounded activations with the dequantised weights, to
// float32's own errors: their squares are below 1e-12 of the result's.
func TestLinearI8(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		eachBlockProduct(t, d, func(d *device, dtype ops.DType, rows, in, out int) {
			w, x := d.blocks(dtype, 8, out, in), reference.Uniform(1, rows*in)
			y, bias := d.framed(make([]float32, rows*out), rows, out), reference.Uniform(3, out)
			d.i8(y.Tensor, d.framed(x, rows, in).Tensor, ops.Linear{Weight: w, Bias: d.floats(bias, 1, out)})
			want := reference.Linear(quantized(x), d.values(w), bias, nil, rows, in, out, ops.None)
			nmse := reference.NMSE(d.read(y.Tensor), want)
			require.LessOrEqual(d.t, nmse, 1e-12)
			y.intact()
		})
	})
}

func TestLinearI8Invariant(t *testing.T) {
	eachTarget(t, func(t *testing.T, g target) {
		in, out := 1024, 333
		if g.scalar() || testing.Short() {
			in, out = 256, 70
		}
		for _, b := range blockTypes {
			t.Run(b.String(), func(t *testing.T) {
				x := reference.Uniform(1, 64*in)
				invariant(t, g, func(d *device, first, n int) []float32 {
					d = d.at(t)
					if !d.Capabilities().WeightTypes.Has(b.DType) {
						t.Skip("no such weights")
					}
					y := d.zeros(n, out)
					d.i8(y, d.floats(rowsOf(x, in, first, n), n, in), ops.Linear{Weight: d.blocks(b.DType, 9, out, in)})
					return d.read(y)
				})
			})
		}
	})
}

// TestLinearI8SameOnEveryKernelSet: integers are exact, and the float sums have one order.
func TestLinearI8SameOnEveryKernelSet(t *testing.T) {
	for _, b := range blockTypes {
		for _, shape := range [][3]int{{1, 512, 65}, {4, 256, 64}, {13, 768, 130}} {
			rows, in, out := shape[0], shape[1], shape[2]
			x := reference.Uniform(1, rows*in)
			var want []float32
			t.Run(fmt.Sprintf("%s %v", b, shape), func(t *testing.T) {
				each(t, func(t *testing.T, d *device) {
					if !d.ordered() {
						t.Skip("the order is promised for the CPU's sets")
					}
					y := d.zeros(rows, out)
					d.i8(y, d.floats(x, rows, in), ops.Linear{Weight: d.blocks(b.DType, 10, out, in)})
					if want == nil {
						want = d.read(y)
					}
					same(t, want, d.read(y), "%s against the first set", d.kernels)
				})
			})
		}
	}
}

// TestLinearI8Values: P17 and its kin: rows of zeros, of large and small values, and ones that are not
// finite, which must not turn into integers and vanish.
func TestLinearI8Values(t *testing.T) {
	const in, out = 256, 67
	except := func(at int, v float64, rest func(i int) float32) func(i int) float32 {
		return func(i int) float32 {
			if i == at {
				return float32(v)
			}
			return rest(i)
		}
	}
	rows := []struct {
		name   string
		x      func(i int) float32
		finite bool
	}{
		{"zeros", func(int) float32 { return 0 }, true},
		{"plain", func(i int) float32 { return float32(i%17) - 8 }, true},
		{"above half precision", func(i int) float32 { return 70000 * (float32(i%13) - 6) }, true},
		{"1e30", func(i int) float32 { return 1e30 * (float32(i%13) - 6) }, true},
		{"1e-30", func(i int) float32 { return 1e-30 * (float32(i%13) - 6) }, true},
		{"one value among zeros", except(199, 7, func(int) float32 { return 0 }), true},
		{"a NaN among zeros", except(0, math.NaN(), func(int) float32 { return 0 }), false},
		{"a NaN among numbers", except(77, math.NaN(), func(i int) float32 { return float32(i) }), false},
		{"an infinity", except(255, math.Inf(-1), func(i int) float32 { return float32(i) }), false},
		{"beyond 1e38", func(i int) float32 { return 3e38 }, false},
	}
	each(t, func(t *testing.T, d *device) {
		eachBlockType(t, d, func(d *device, dtype ops.DType) {
			w := d.blocks(dtype, 11, out, in)
			values := d.values(w)
			var all []float32
			for _, r := range rows {
				for i := range in {
					all = append(all, r.x(i))
				}
			}
			y := d.zeros(len(rows), out)
			d.i8(y, d.floats(all, len(rows), in), ops.Linear{Weight: w})
			for r, c := range rows {
				x, got := rowsOf(all, in, r, 1), rowsOf(d.read(y), out, r, 1)
				alone := d.zeros(1, out)
				d.i8(alone, d.floats(x, 1, in), ops.Linear{Weight: w})
				same(d.t, got, d.read(alone), "%s, alone", c.name)
				for i, v := range got {
					finite := !math.IsNaN(float64(v)) && !math.IsInf(float64(v), 0)
					require.Equal(d.t, c.finite, finite, "%s: output %d is %v", c.name, i, v)
				}
				if c.name == "zeros" {
					require.Equal(d.t, make([]float32, out), got)
				} else if c.finite {
					want := reference.Linear(quantized(x), values, nil, nil, 1, in, out, ops.None)
					require.LessOrEqual(d.t, reference.NMSE(got, want), 1e-12, c.name)
				}
			}
		})
	})
}

// closer is an object of the binding with the name that until calls.
type closer struct{ io.Closer }

func (c closer) Free() error { return c.Close() }

// TestLinearI8PlainWeights: a model has both kinds; weights of plain types are multiplied in float32.
func TestLinearI8PlainWeights(t *testing.T) {
	const rows, in, out = 3, 70, 65
	each(t, func(t *testing.T, d *device) {
		l := ops.Linear{Weight: d.weight(ops.BF16, reference.Uniform(2, out*in), out, in)}
		x, want, got := d.floats(reference.Uniform(1, rows*in), rows, in), d.zeros(rows, out), d.zeros(rows, out)
		d.run(func(s *ops.Stream) {
			s.Linear(want, x, l)
			s.Compute = ops.I8
			s.Linear(got, x, l)
		})
		same(t, d.read(want), d.read(got), "int8 beside float32")
	})
}

func TestBlockErrors(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		if !d.Capabilities().WeightTypes.Has(ops.Q8_0) {
			require.NotEqual(t, "cpu", d.Capabilities().Name)
			t.Skip("no block types")
		}
		_, err := d.NewWeight(ops.Q4_K, 3, 128)
		require.ErrorIs(t, err, ops.ErrShape, "half a block")
		_, err = d.context.NewWeight(ops.Q4_K, 3, 128)
		require.ErrorIs(t, err, binding.ErrInvalidArgument, "the library sees that too")
		require.ErrorContains(t, err, "blocks")
		_, err = d.context.PlanWeight(ops.Q8_0, 3, 33)
		require.ErrorIs(t, err, binding.ErrInvalidArgument)
		_, err = d.context.PlanWeight(ops.Q8_0, math.MaxInt64/16, 64)
		require.ErrorIs(t, err, binding.ErrInvalidArgument, "bytes beyond 64 bits")

		w := d.blocks(ops.Q8_0, 1, 3, 64)
		x, y := d.zeros(2, 64), d.zeros(2, 3)
		refused(t, d, []refusal{
			{"products in a block type", binding.ErrInvalidArgument, func(s *ops.Stream) {
				s.Compute = ops.Q8_0
				s.Linear(y, x, ops.Linear{Weight: w})
			}},
			{"patches by blocks", binding.ErrUnsupported, func(s *ops.Stream) {
				p := ops.PatchEmbed{Linear: ops.Linear{Weight: d.blocks(ops.Q8_0, 1, 3, 64)}, Images: 1, Channels: 1, Height: 8, Width: 8, Patch: 8}
				s.Compute = ops.F32
				s.PatchEmbed(d.zeros(1, 3), d.zeros(8, 8), p)
			}},
			{"a part of a block weight not written", binding.ErrInvalidArgument, func(s *ops.Stream) {
				half, err := d.NewWeight(ops.Q8_0, 3, 64)
				until(d, half, err)
				require.NoError(t, half.WriteRows(0, make([]byte, 2*2*34)))
				s.Compute = ops.I8
				s.Linear(y, x, ops.Linear{Weight: half})
			}},
		})
		if !d.Capabilities().BlocksInHalf {
			refused(t, d, []refusal{{"bf16 products of blocks", binding.ErrUnsupported, func(s *ops.Stream) {
				s.Compute = ops.BF16
				s.Linear(y, x, ops.Linear{Weight: w})
			}}})
		}
		_, err = d.NewTensor(ops.Q8_0, 2, 64)
		require.Error(t, err, "activations have no blocks")

		if !d.Capabilities().Computes(ops.I8) {
			return
		}
		// The library itself has int8 products of block types alone.
		f, err := d.context.NewWeight(ops.F32, 3, 64)
		until(d, closer{f}, err)
		require.NoError(t, f.WriteRows(0, 3, make([]byte, 3*64*4)))
		buffer, err := d.context.NewBuffer(4096)
		until(d, closer{buffer}, err)
		view := binding.View{Buffer: buffer.ID(), DType: ops.F32}
		out := view
		out.Offset = 2048
		err = d.context.Linear(&binding.LinearParams{Weight: f.ID(), X: view, Out: out, Rows: 2, Compute: ops.I8})
		require.ErrorIs(t, err, binding.ErrUnsupported)
		require.ErrorContains(t, err, "block type")
	})
}

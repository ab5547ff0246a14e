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

// product is a type of weights and a type of products.
type product struct{ weight, compute ops.DType }

func (p product) String() string { return fmt.Sprintf("%s x %s", p.weight, p.compute) }

var products = []product{{ops.F32, ops.F32}, {ops.F16, ops.F32}, {ops.BF16, ops.F32}, {ops.BF16, ops.BF16}, {ops.F16, ops.F16}}

// data is x and w as the products see them: rounded to the types they are taken in.
func (p product) data(rows, in, out int) (x, w []float32) {
	x, w = reference.Uniform(1, rows*in), reference.Round(reference.Uniform(2, out*in), p.weight)
	return x, w
}

func (p product) seen(x []float32) []float32 { return reference.Round(x, p.compute) }

// eachProduct runs a body for every type of products that a device takes. The CPU takes all but float16's.
func eachProduct(t *testing.T, d *device, body func(d *device, p product)) {
	for _, p := range products {
		t.Run(p.String(), func(t *testing.T) {
			caps := d.Capabilities()
			if !caps.WeightTypes.Has(p.weight) || !caps.Computes(p.compute) {
				require.True(t, caps.Name != "cpu" || p.compute == ops.F16)
				t.Skipf("%s has no %s", caps.Name, p)
			}
			body(d.at(t), p)
		})
	}
}

func TestLinear(t *testing.T) {
	shapes := []struct {
		name          string
		rows, in, out int
		large         bool
	}{
		{"one element", 1, 1, 1, false},
		{"P27: 1, 7 and 72", 1, 7, 72, false},
		{"P27: 7, 72 and 7", 7, 72, 7, false},
		{"P27: 72, 7 and 729", 72, 7, 729, false},
		{"P27: 4304 inputs, as the SigLIP MLP has", 7, 4304, 72, false},
		{"P27: 4304 outputs of one row", 1, 72, 4304, false},
		{"odd widths leave part of a vector, panel and tile", 65, 257, 129, false},
		{"one output", 5, 72, 1, false},
		{"one input", 3, 1, 70, false},
		{"decode: one row, several blocks of inputs", 1, 1025, 257, false},
		{"siglip patches", 729, 1152, 72, true},
		{"llama prefill, all blocks whole", 128, 2048, 256, true},
	}
	each(t, func(t *testing.T, d *device) {
		eachProduct(t, d, func(d *device, p product) {
			for _, c := range shapes {
				if c.large && (testing.Short() || d.scalar()) {
					continue
				}
				d.t.Run(c.name, func(t *testing.T) {
					d := d.at(t)
					x, w := p.data(c.rows, c.in, c.out)
					bias, residual := reference.Uniform(3, c.out), reference.Uniform(4, c.rows*c.out)
					// In place over the residual, and in frames: the harder case.
					y := d.framed(residual, c.rows, c.out)
					l := ops.Linear{Weight: d.weight(p.weight, w, c.out, c.in), Bias: d.framed(bias, 1, c.out).Tensor}
					d.run(func(s *ops.Stream) {
						s.Compute = p.compute
						s.LinearAdd(y.Tensor, d.framed(x, c.rows, c.in).Tensor, l, y.Tensor)
					})
					near(t, reference.Linear(p.seen(x), w, bias, residual, c.rows, c.in, c.out, ops.None), d.read(y.Tensor))
					y.intact()
				})
			}
		})
	})
}

// TestLinearSigLIP is the real width on both sides; the reference computes a few rows of it, since
// no row depends on another.
func TestLinearSigLIP(t *testing.T) {
	if testing.Short() {
		t.Skip("a large shape")
	}
	const rows, in, out, sample = 729, 1152, 1152, 8
	each(t, func(t *testing.T, d *device) {
		if d.scalar() {
			t.Skip("a large shape")
		}
		eachProduct(t, d, func(d *device, p product) {
			x, w := p.data(rows, in, out)
			y := d.zeros(rows, out)
			l := ops.Linear{Weight: d.weight(p.weight, w, out, in)}
			d.run(func(s *ops.Stream) {
				s.Compute = p.compute
				s.Linear(y, d.floats(x, rows, in), l)
			})
			got := d.read(y)
			for _, first := range []int{0, 361, rows - sample} {
				want := reference.Linear(p.seen(rowsOf(x, in, first, sample)), w, nil, nil, sample, in, out, ops.None)
				near(d.t, want, rowsOf(got, out, first, sample))
			}
			// More rows than any kernel's block give each row what it has alone.
			for _, part := range [][2]int{{0, 1}, {95, 2}, {400, 7}, {rows - 150, 150}} {
				few := d.zeros(part[1], out)
				d.run(func(s *ops.Stream) {
					s.Compute = p.compute
					s.Linear(few, d.floats(rowsOf(x, in, part[0], part[1]), part[1], in), l)
				})
				same(d.t, rowsOf(got, out, part[0], part[1]), d.read(few), "rows %v alone", part)
			}
		})
	})
}

func TestLinearAct(t *testing.T) {
	const rows, in, out = 9, 72, 70
	each(t, func(t *testing.T, d *device) {
		for _, act := range append([]ops.Activation{ops.None}, activations...) {
			for _, bias := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, bias %v", act, bias), func(t *testing.T) {
					d := d.at(t)
					x, w := product{ops.F32, ops.F32}.data(rows, in, out)
					l := ops.Linear{Weight: d.weight(ops.F32, w, out, in)}
					var b []float32
					if bias {
						b = reference.Uniform(3, out)
						l.Bias = d.floats(b, 1, out)
					}
					y := d.zeros(rows, out)
					d.run(func(s *ops.Stream) { s.LinearAct(y, d.floats(x, rows, in), l, act) })
					near(t, reference.Linear(x, w, b, nil, rows, in, out, act), d.read(y))
				})
			}
		}
	})
}

func TestLinearInvariant(t *testing.T) {
	eachFormTarget(t, func(t *testing.T, g target) {
		in, out := 1100, 333
		if g.scalar() || testing.Short() {
			in, out = 257, 70
		}
		for _, p := range products {
			t.Run(p.String(), func(t *testing.T) {
				x, w := p.data(64, in, out)
				bias := reference.Uniform(3, out)
				invariant(t, g, func(d *device, first, n int) []float32 {
					if !d.Capabilities().Computes(p.compute) {
						t.Skip("no such products")
					}
					if p.compute == ops.F32 && (g.kernels == "sm80" || g.kernels == "sm90") {
						t.Skip("the plain form, in a context that is batch-invariant")
					}
					y := d.zeros(n, out)
					l := ops.Linear{Weight: d.weight(p.weight, w, out, in), Bias: d.floats(bias, 1, out)}
					d.run(func(s *ops.Stream) {
						s.Compute = p.compute
						s.LinearAct(y, d.floats(rowsOf(x, in, first, n), n, in), l, ops.GELUTanh)
					})
					return d.read(y)
				})
			})
		}
	})
}

// TestLinearSameOnEveryKernelSet: compute F32 is one chain of fused multiply-adds over the inputs in
// every set, so the bits before an activation are equal.
func TestLinearSameOnEveryKernelSet(t *testing.T) {
	for _, p := range products {
		if p.compute != ops.F32 {
			continue
		}
		for _, shape := range [][3]int{{1, 4304, 72}, {7, 729, 130}, {65, 300, 65}} {
			rows, in, out := shape[0], shape[1], shape[2]
			x, w := p.data(rows, in, out)
			bias, residual := reference.Uniform(3, out), reference.Uniform(4, rows*out)
			var want []float32
			t.Run(fmt.Sprintf("%s %v", p, shape), func(t *testing.T) {
				each(t, func(t *testing.T, d *device) {
					if !d.ordered() {
						t.Skip("the order is promised for the CPU's sets")
					}
					y := d.floats(residual, rows, out)
					d.run(func(s *ops.Stream) {
						s.LinearAdd(y, d.floats(x, rows, in), ops.Linear{Weight: d.weight(p.weight, w, out, in), Bias: d.floats(bias, 1, out)}, y)
					})
					if want == nil {
						want = d.read(y)
					}
					same(t, want, d.read(y), "%s against the first set", d.kernels)
				})
			})
		}
	}
}

// TestLinearRounds: P41, P42: weights keep every code, and x becomes bfloat16 to nearest even.
func TestLinearRounds(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		one := func(t *testing.T, compute ops.DType, w *ops.Weight, x float32) float32 {
			y := d.zeros(1, 1)
			d.run(func(s *ops.Stream) {
				s.Compute = compute
				s.Linear(y, d.floats([]float32{x}, 1, 1), ops.Linear{Weight: w})
			})
			return d.read(y)[0]
		}
		t.Run("x to bf16, nearest even", func(t *testing.T) {
			w := d.weight(ops.BF16, []float32{1}, 1, 1)
			for x, want := range map[uint32]uint32{
				0x3F818000: 0x3F820000, // a tie goes to even: up
				0x3F808000: 0x3F800000, // a tie goes to even: down
				0x3E89CCD5: 0x3E8A0000, // above half: up; cut off it would be 0x3E89
			} {
				require.Equal(t, want, math.Float32bits(one(t, ops.BF16, w, math.Float32frombits(x))), "%08x", x)
			}
		})
		t.Run("every f16 magnitude class", func(t *testing.T) {
			for code, want := range map[uint16]float32{
				0x0001: 0x1p-24, 0x01F7: 503 * 0x1p-24, 0x0400: 0x1p-14, 0x3C00: 1, 0x7BFF: 65504, 0x83FF: -1023 * 0x1p-24,
			} {
				w, err := d.NewWeight(ops.F16, 1, 1)
				until(d, w, err)
				require.NoError(t, w.WriteRows(0, []byte{byte(code), byte(code >> 8)}))
				require.Equal(t, want, one(t, ops.F32, w, 1), "%04x", code)
			}
		})
		t.Run("subnormal bf16 weights", func(t *testing.T) {
			const tiny = 0x1p-130
			require.Equal(t, float32(0x1p-120), one(t, ops.F32, d.weight(ops.BF16, []float32{tiny}, 1, 1), 1024))
		})
	})
}

// TestLinearNotFinite: infinity and NaN stay in their row, and nothing finite turns into them
// (P17: products above 65504, where half precision ends).
func TestLinearNotFinite(t *testing.T) {
	const rows, in, out = 5, 33, 67
	each(t, func(t *testing.T, d *device) {
		eachProduct(t, d, func(d *device, p product) {
			x, w := p.data(rows, in, out)
			x[1*in+7], x[3*in+32] = float32(math.NaN()), float32(math.Inf(1))
			large := float32(70000)
			if p.compute == ops.F16 {
				large = 65000 // beyond 65504 it is infinite
			}
			for i := range in {
				x[4*in+i] *= large
			}
			y := d.zeros(rows, out)
			d.run(func(s *ops.Stream) {
				s.Compute = p.compute
				s.Linear(y, d.floats(x, rows, in), ops.Linear{Weight: d.weight(p.weight, w, out, in)})
			})
			got := d.read(y)
			for _, row := range []int{0, 2, 4} {
				near(d.t, reference.Linear(p.seen(rowsOf(x, in, row, 1)), w, nil, nil, 1, in, out, ops.None), rowsOf(got, out, row, 1))
			}
			for i := range out {
				require.True(d.t, math.IsNaN(float64(got[out+i])), "row 1 has a NaN")
				require.True(d.t, math.IsInf(float64(got[3*out+i]), 0), "row 3 has an infinity")
			}
		})
	})
}

func TestLinearErrors(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		w, x, y := d.weight(ops.F32, make([]float32, 12), 3, 4), d.zeros(2, 4), d.zeros(2, 3)
		l := ops.Linear{Weight: w}
		refused(t, d, []refusal{
			{"no weight", ops.ErrShape, func(s *ops.Stream) { s.Linear(y, x, ops.Linear{}) }},
			{"no x", ops.ErrShape, func(s *ops.Stream) { s.Linear(y, nil, l) }},
			{"no out", ops.ErrShape, func(s *ops.Stream) { s.Linear(nil, x, l) }},
			{"no residual", ops.ErrShape, func(s *ops.Stream) { s.LinearAdd(y, x, l, nil) }},
			{"x of another width", ops.ErrShape, func(s *ops.Stream) { s.Linear(y, d.zeros(2, 5), l) }},
			{"out of another width", ops.ErrShape, func(s *ops.Stream) { s.Linear(d.zeros(2, 4), x, l) }},
			{"out of another height", ops.ErrShape, func(s *ops.Stream) { s.Linear(d.zeros(3, 3), x, l) }},
			{"bias of another width", ops.ErrShape, func(s *ops.Stream) { s.Linear(y, x, ops.Linear{Weight: w, Bias: d.zeros(1, 4)}) }},
			{"bias as a column", ops.ErrShape, func(s *ops.Stream) { s.Linear(y, x, ops.Linear{Weight: w, Bias: d.zeros(3, 1)}) }},
			{"residual of another height", ops.ErrShape, func(s *ops.Stream) { s.LinearAdd(y, x, l, d.zeros(1, 3)) }},
			{"rows outside x", ops.ErrShape, func(s *ops.Stream) { s.Linear(y, x.RowRange(1, 2), l) }},
			{"zero rows", ops.ErrShape, func(s *ops.Stream) { s.Linear(y.RowRange(0, 0), x.RowRange(0, 0), l) }},
			{"x of integers", binding.ErrInvalidArgument, func(s *ops.Stream) { s.Linear(y, d.tensor(ops.I32, 2, 4), l) }},
			{"an activation that is none", binding.ErrInvalidArgument, func(s *ops.Stream) { s.LinearAct(y, x, l, 77) }},
			{"out over x", binding.ErrInvalidArgument, func(s *ops.Stream) {
				square := d.weight(ops.F32, make([]float32, 16), 4, 4)
				s.Linear(x, x, ops.Linear{Weight: square})
			}},
			{"out over part of the residual", binding.ErrInvalidArgument, func(s *ops.Stream) {
				both := d.zeros(3, 3)
				s.LinearAdd(both.RowRange(0, 2), x, l, both.RowRange(1, 2))
			}},
			{"out over the bias", binding.ErrInvalidArgument, func(s *ops.Stream) {
				s.Linear(y, x, ops.Linear{Weight: w, Bias: y.RowRange(1, 1)})
			}},
			{"products in a type that is none", binding.ErrUnsupported, func(s *ops.Stream) {
				s.Compute = ops.U8
				s.Linear(y, x, l)
			}},
			{"bf16 products of f32 weights", binding.ErrUnsupported, func(s *ops.Stream) {
				s.Compute = ops.BF16
				s.Linear(y, x, l)
			}},
			{"a weight whose rows are not all written", binding.ErrInvalidArgument, func(s *ops.Stream) {
				half, err := d.NewWeight(ops.F32, 3, 4)
				until(d, half, err)
				require.NoError(t, half.WriteRows(0, make([]byte, 2*4*4)))
				s.Linear(y, x, ops.Linear{Weight: half})
			}},
			{"a weight that was freed", binding.ErrInvalidArgument, func(s *ops.Stream) {
				gone := d.weight(ops.F32, make([]float32, 12), 3, 4)
				require.NoError(t, gone.Free())
				s.Linear(y, x, ops.Linear{Weight: gone})
			}},
			{"a tensor that was freed", binding.ErrInvalidArgument, func(s *ops.Stream) {
				gone := d.zeros(2, 4)
				require.NoError(t, gone.Free())
				s.Linear(y, gone, l)
			}},
		})
	})
}

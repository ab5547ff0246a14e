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

var activations = []ops.Activation{ops.GELUTanh, ops.GELUErf, ops.GELUQuick, ops.SiLU}

// sizes are P27's, and what an elementwise op sees of the real shapes.
var sizes = []struct {
	name       string
	rows, cols int
	large      bool
}{
	{"one element", 1, 1, false},
	{"7 columns, less than a vector", 3, 7, false},
	{"72 columns", 7, 72, false},
	{"729 rows of one", 729, 1, false},
	{"odd width leaves part of a vector", 5, 257, false},
	{"4304 columns in one row", 1, 4304, false},
	{"enough for every worker", 129, 1607, false},
	{"siglip width", 729, 1152, true},
}

// eachSize runs a body on every size that is not too much for the target.
func eachSize(t *testing.T, d *device, body func(d *device, rows, cols int)) {
	for _, c := range sizes {
		if c.large && testing.Short() {
			continue
		}
		t.Run(c.name, func(t *testing.T) { body(d.at(t), c.rows, c.cols) })
	}
}

func TestActivate(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		for _, act := range append([]ops.Activation{ops.None}, activations...) {
			t.Run(act.String(), func(t *testing.T) {
				eachSize(t, d.at(t), func(d *device, rows, cols int) {
					x := reference.Uniform(1, rows*cols)
					for i := range x {
						x[i] *= 9 // from where the forms are 0 to where they are x
					}
					want := reference.Activate(x, act)
					y := d.framed(x, rows, cols) // in place
					d.run(func(s *ops.Stream) { s.Activate(y.Tensor, y.Tensor, act) })
					near(d.t, want, d.read(y.Tensor))
					y.intact()

					apart := d.zeros(rows, cols)
					d.run(func(s *ops.Stream) { s.Activate(apart, d.floats(x, rows, cols), act) })
					same(d.t, d.read(y.Tensor), d.read(apart), "packed against in place in a frame")
				})
			})
		}
	})
}

// TestActivateEveryMagnitude bounds each value's own error, which the sum of squares hides for small
// ones: a few units in the last place of x, or of the value where it is larger.
func TestActivateEveryMagnitude(t *testing.T) {
	var x []float32
	for v := float32(1e-30); v < 1e30; v *= 1.7 {
		x = append(x, v, -v)
	}
	x = append(x, 0, float32(math.Copysign(0, -1)))
	for i := range 4001 {
		x = append(x, float32(i-2000)/100)
	}
	each(t, func(t *testing.T, d *device) {
		for _, act := range activations {
			t.Run(act.String(), func(t *testing.T) {
				y := d.floats(x, 1, len(x))
				d.run(func(s *ops.Stream) { s.Activate(y, y, act) })
				got := d.read(y)
				for i, want := range reference.Activate(x, act) {
					tolerance := 8 * 0x1p-24 * math.Max(math.Abs(want), math.Min(math.Abs(float64(x[i])), 1))
					require.InDelta(t, want, float64(got[i]), tolerance, "x = %v", x[i])
				}
			})
		}
	})
}

// TestActivationForms: P19: tanh, erf and sigmoid GELU are three functions.
func TestActivationForms(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		for act, want := range map[ops.Activation]float64{ops.GELUTanh: 2.169679, ops.GELUErf: 2.169412, ops.GELUQuick: 2.149172} {
			y := d.floats([]float32{2.2}, 1, 1)
			d.run(func(s *ops.Stream) { s.Activate(y, y, act) })
			require.InDelta(t, want, float64(d.read(y)[0]), 1e-6, act.String())
		}
	})
}

// TestActivateNotFinite: P17: 70000 is nothing special, and only what is not finite gives NaN or
// infinity.
func TestActivateNotFinite(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	each(t, func(t *testing.T, d *device) {
		for _, act := range activations {
			y := d.floats([]float32{70000, -70000, inf, nan, 1e38, -1e38}, 1, 6)
			d.run(func(s *ops.Stream) { s.Activate(y, y, act) })
			got := d.read(y)
			require.Equal(t, []float32{70000, 0}, []float32{got[0], got[1] + 0}, act.String())
			require.Equal(t, inf, got[2], act.String())
			require.True(t, math.IsNaN(float64(got[3])), act.String())
			require.Equal(t, []float32{1e38, 0}, []float32{got[4], got[5] + 0}, act.String())
		}
	})
}

// invariantCols is an odd width at which 64 rows of any op are shared among workers: a library may
// leave less to one of them.
const invariantCols = 1777

func TestActivateInvariant(t *testing.T) {
	const cols = invariantCols
	x := reference.Uniform(1, 64*cols)
	eachTarget(t, func(t *testing.T, g target) {
		for _, act := range activations {
			t.Run(act.String(), func(t *testing.T) {
				invariant(t, g, func(d *device, first, n int) []float32 {
					y := d.floats(rowsOf(x, cols, first, n), n, cols)
					d.run(func(s *ops.Stream) { s.Activate(y, y, act) })
					return d.read(y)
				})
			})
		}
	})
}

func TestActivateErrors(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		x := d.zeros(4, 3)
		refused(t, d, []refusal{
			{"no x", ops.ErrShape, func(s *ops.Stream) { s.Activate(x, nil, ops.SiLU) }},
			{"no out", ops.ErrShape, func(s *ops.Stream) { s.Activate(nil, x, ops.SiLU) }},
			{"another width", ops.ErrShape, func(s *ops.Stream) { s.Activate(d.zeros(4, 2), x, ops.SiLU) }},
			{"another height", ops.ErrShape, func(s *ops.Stream) { s.Activate(d.zeros(3, 3), x, ops.SiLU) }},
			{"zero rows", ops.ErrShape, func(s *ops.Stream) { s.Activate(x.RowRange(0, 0), x.RowRange(0, 0), ops.SiLU) }},
			{"an activation that is none", binding.ErrInvalidArgument, func(s *ops.Stream) { s.Activate(x, x, 99) }},
			{"out over part of x", binding.ErrInvalidArgument, func(s *ops.Stream) { s.Activate(x.RowRange(0, 3), x.RowRange(1, 3), ops.SiLU) }},
			{"integers", binding.ErrInvalidArgument, func(s *ops.Stream) { s.Activate(x, d.tensor(ops.I32, 4, 3), ops.SiLU) }},
			{"activations of a type the library has none of", binding.ErrUnsupported, func(s *ops.Stream) {
				for _, t16 := range []ops.DType{ops.F16, ops.BF16} {
					if !d.Capabilities().ActivationTypes.Has(t16) {
						s.Activate(d.tensor(t16, 4, 3), d.tensor(t16, 4, 3), ops.SiLU)
						return
					}
				}
				t.Skip("it has all")
			}},
		})
		require.Equal(t, "activation(99)", fmt.Sprint(ops.Activation(99)))
	})
}

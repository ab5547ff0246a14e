package ops_test

import (
	"testing"

	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/ops/reference"
)

// halfProducts are those that tensor cores take.
var halfProducts = []product{{ops.BF16, ops.BF16}, {ops.F16, ops.F16}}

func eachHalfProduct(t *testing.T, d *device, body func(d *device, p product)) {
	for _, p := range halfProducts {
		t.Run(p.String(), func(t *testing.T) {
			if !d.Capabilities().Computes(p.compute) {
				t.Skipf("%s has no %s", d.Capabilities().Name, p)
			}
			body(d.at(t), p)
		})
	}
}

// productLaunches are the kernels of one product on tensor cores, with x in 16 bits or not, and with
// splits of k on sm80 and sm90 or not.
func (d *device) productLaunches(x ops.DType, splits bool) map[string]int {
	want := map[string]int{"matmul_kernel<X>": 0, "gemm_sm80_kernel<Form>": 0, "gemm_sm90_kernel<Form>": 0,
		"round_rows_kernel": 0, "add_splits_kernel": 0}
	if d.kernels == "plain" {
		want["matmul_kernel<X>"] = 1
		return want
	}
	want["gemm_"+d.kernels+"_kernel<Form>"] = 1
	if x == ops.F32 {
		want["round_rows_kernel"] = 1
	}
	if splits {
		want["add_splits_kernel"] = 1
	}
	return want
}

// TestLinearForms: every tile that tiles.h has, and what lies around one: more tiles than a card has
// multiprocessors, splits of k, and edges that fill no tile. The sizes are those that choose each on the
// emulator's card of six multiprocessors; elsewhere they are shapes like others.
func TestLinearForms(t *testing.T) {
	shapes := []struct {
		name          string
		rows, in, out int
		splits, large bool
	}{
		{"64 x 64", 9, 72, 72, false, false},
		{"128 x 64, and a width of x that is no multiple of 8", 65, 257, 129, false, false},
		{"128 x 128", 200, 64, 200, false, true},
		{"sm90: 128 x 192", 384, 64, 384, false, true},
		{"sm90: 128 x 256, and half a step of k", 300, 40, 512, false, true},
		{"more tiles than multiprocessors", 129, 16, 1153, false, true},
		{"more than a band of 8 tiles down", 1100, 8, 130, false, true},
		{"729 patches", 729, 24, 30, false, false},
		{"588 inputs, as a patch of 14 x 14 in three channels", 72, 588, 40, false, false},
		{"six splits", 9, 1500, 8, true, false},
		{"six splits, the last shorter, of a ragged tile", 9, 1603, 7, true, false},
	}
	eachForm(t, func(t *testing.T, d *device) {
		eachHalfProduct(t, d, func(d *device, p product) {
			for _, c := range shapes {
				// The plain form has one tile, and float16 what bfloat16 has.
				if c.large && (d.kernels == "plain" || p.compute == ops.F16 && testing.Short()) {
					continue
				}
				d.t.Run(c.name, func(t *testing.T) {
					d := d.at(t)
					x, w := p.data(c.rows, c.in, c.out)
					bias, residual := reference.Uniform(3, c.out), reference.Uniform(4, c.rows*c.out)
					weight := d.weight(p.weight, w, c.out, c.in)
					want := reference.Linear(p.seen(x), w, bias, residual, c.rows, c.in, c.out, ops.None)

					// Rows that begin anywhere, in place over the residual.
					odd := d.framed(residual, c.rows, c.out)
					l := ops.Linear{Weight: weight, Bias: d.framed(bias, 1, c.out).Tensor}
					d.launches(d.productLaunches(ops.F32, c.splits), func() {
						d.run(func(s *ops.Stream) {
							s.Compute = p.compute
							s.LinearAdd(odd.Tensor, d.framed(x, c.rows, c.in).Tensor, l, odd.Tensor)
						})
					})
					near(t, want, d.read(odd.Tensor))
					odd.intact()

					// Rows at multiples of 16 bytes, where out has them too, are the same bits.
					if c.out%4 != 0 {
						return
					}
					even := d.half(ops.F32, residual, c.rows, c.out)
					l.Bias = d.half(ops.F32, bias, 1, c.out).Tensor
					d.run(func(s *ops.Stream) {
						s.Compute = p.compute
						s.LinearAdd(even.Tensor, d.half(ops.F32, x, c.rows, c.in).Tensor, l, even.Tensor)
					})
					same(t, d.read(odd.Tensor), d.read(even.Tensor), "rows at multiples of 16 bytes")
					even.intact()
				})
			}
		})
	})
}

// TestLinearFormsActivations: what stands behind the sums, in a product of one kernel and of splits.
func TestLinearFormsActivations(t *testing.T) {
	eachForm(t, func(t *testing.T, d *device) {
		eachHalfProduct(t, d, func(d *device, p product) {
			for _, shape := range [][3]int{{10, 40, 70}, {9, 1500, 8}} {
				rows, in, out := shape[0], shape[1], shape[2]
				x, w := p.data(rows, in, out)
				bias := reference.Uniform(3, out)
				weight := d.weight(p.weight, w, out, in)
				acts := append([]ops.Activation{ops.None}, activations...)
				if in > 1000 {
					acts = []ops.Activation{ops.GELUTanh} // one place in the text for all
				}
				for _, act := range acts {
					y := d.zeros(rows, out)
					d.run(func(s *ops.Stream) {
						s.Compute = p.compute
						s.LinearAct(y, d.floats(x, rows, in), ops.Linear{Weight: weight, Bias: d.floats(bias, 1, out)}, act)
					})
					near(d.t, reference.Linear(p.seen(x), w, bias, nil, rows, in, out, act), d.read(y))
				}
			}
		})
	})
}

// TestLinearHalfActivations: x and out of bfloat16. x goes into the product as it is where its rows begin
// at multiples of 16 bytes and are whole ones, and through scratch elsewhere; out is rounded once.
func TestLinearHalfActivations(t *testing.T) {
	shapes := []struct {
		name          string
		rows, in, out int
		splits        bool
		x             ops.DType // what x counts as: bfloat16 where it is taken as it is
	}{
		{"as it is", 70, 72, 136, false, ops.BF16},
		{"a width that is no multiple of 8", 70, 67, 100, false, ops.F32},
		{"splits", 9, 1504, 8, true, ops.BF16},
		{"an odd width of out", 17, 40, 67, false, ops.BF16},
	}
	eachHalf(t, func(t *testing.T, d *device) {
		eachHalfProduct(t, d, func(d *device, p product) {
			for _, c := range shapes {
				d.t.Run(c.name, func(t *testing.T) {
					d := d.at(t)
					x, w := p.data(c.rows, c.in, c.out)
					x = reference.Round(x, ops.BF16)
					bias, residual := reference.Uniform(3, c.out), reference.Uniform(4, c.rows*c.out)
					want := reference.Linear(p.seen(x), w, bias, residual, c.rows, c.in, c.out, ops.None)
					l := ops.Linear{Weight: d.weight(p.weight, w, c.out, c.in), Bias: d.floats(bias, 1, c.out)}
					counts := c.x
					if p.compute != ops.BF16 {
						counts = ops.F32 // rounded to another type
					}
					y := d.half(ops.BF16, make([]float32, c.rows*c.out), c.rows, c.out)
					d.launches(d.productLaunches(counts, c.splits), func() {
						d.run(func(s *ops.Stream) {
							s.Compute = p.compute
							s.LinearAdd(y.Tensor, d.half(ops.BF16, x, c.rows, c.in).Tensor, l, d.floats(residual, c.rows, c.out))
						})
					})
					got := d.read(y.Tensor)
					nearHalf(t, want, got)
					y.intact()

					// The same sums in float32, rounded to nearest.
					exact := d.zeros(c.rows, c.out)
					d.run(func(s *ops.Stream) {
						s.Compute = p.compute
						s.LinearAdd(exact, d.half(ops.BF16, x, c.rows, c.in).Tensor, l, d.floats(residual, c.rows, c.out))
					})
					same(t, reference.Round(d.read(exact), ops.BF16), got, "out of bfloat16")
				})
			}
		})
	})
}

// TestPatchEmbedForms: patches are gathered by the kernel's own loads, whatever the card.
func TestPatchEmbedForms(t *testing.T) {
	shapes := []struct {
		name                                        string
		images, channels, height, width, patch, dim int
		splits                                      bool
	}{
		{"patches of 14 with a rest at the right and bottom", 2, 3, 3*14 + 5, 2*14 + 9, 14, 72, false},
		{"positions that come again for each of many pictures", 40, 1, 9, 9, 3, 130, false},
		{"splits", 1, 3, 32, 32 * 10, 32, 8, true},
	}
	eachForm(t, func(t *testing.T, d *device) {
		eachHalfProduct(t, d, func(d *device, p product) {
			for _, c := range shapes {
				d.t.Run(c.name, func(t *testing.T) {
					d := d.at(t)
					in, grid := c.channels*c.patch*c.patch, (c.height/c.patch)*(c.width/c.patch)
					rows := c.images * c.channels * c.height
					pixels, w := reference.Uniform(1, rows*c.width), reference.Round(reference.Uniform(2, c.dim*in), p.weight)
					bias, position := reference.Uniform(3, c.dim), reference.Uniform(4, grid*c.dim)
					want := d.productLaunches(p.compute, c.splits)
					if d.kernels == "sm90" {
						want["gemm_sm80_kernel<Form>"], want["gemm_sm90_kernel<Form>"] = 1, 0
					}
					y := d.framed(make([]float32, c.images*grid*c.dim), c.images*grid, c.dim)
					d.launches(want, func() {
						d.run(func(s *ops.Stream) {
							s.Compute = p.compute
							s.PatchEmbed(y.Tensor, d.framed(pixels, rows, c.width).Tensor, ops.PatchEmbed{
								Linear: ops.Linear{Weight: d.weight(p.weight, w, c.dim, in), Bias: d.floats(bias, 1, c.dim)}, Position: d.floats(position, grid, c.dim),
								Images: c.images, Channels: c.channels, Height: c.height, Width: c.width, Patch: c.patch})
						})
					})
					near(t, reference.PatchEmbed(p.seen(pixels), w, bias, position, c.images, c.channels, c.height, c.width, c.patch, c.dim), d.read(y.Tensor))
					y.intact()
				})
			}
		})
	})
}

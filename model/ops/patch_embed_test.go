package ops_test

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/binding"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/ops/reference"
)

func TestPatchEmbed(t *testing.T) {
	shapes := []struct {
		name                                        string
		images, channels, height, width, patch, dim int
		large                                       bool
	}{
		{"one pixel", 1, 1, 1, 1, 1, 1, false},
		{"pixels at the right and bottom that fill no patch", 2, 3, 11, 13, 4, 19, false},
		{"one patch is the picture", 3, 3, 14, 14, 14, 72, false},
		{"patches of one pixel", 1, 2, 5, 7, 1, 7, false},
		{"wide picture", 1, 3, 16, 80, 16, 65, false},
		{"siglip grid of 27 x 27, a few columns", 1, 3, 384, 384, 14, 24, true},
	}
	each(t, func(t *testing.T, d *device) {
		eachProduct(t, d, func(d *device, p product) {
			for _, c := range shapes {
				if c.large && (testing.Short() || d.scalar()) {
					continue
				}
				d.t.Run(c.name, func(t *testing.T) {
					d := d.at(t)
					in, grid := c.channels*c.patch*c.patch, (c.height/c.patch)*(c.width/c.patch)
					rows := c.images * c.channels * c.height
					pixels, w := reference.Uniform(1, rows*c.width), reference.Round(reference.Uniform(2, c.dim*in), p.weight)
					bias, position := reference.Uniform(3, c.dim), reference.Uniform(4, grid*c.dim)
					e := ops.PatchEmbed{Linear: ops.Linear{Weight: d.weight(p.weight, w, c.dim, in)},
						Images: c.images, Channels: c.channels, Height: c.height, Width: c.width, Patch: c.patch}
					require.Equal(t, grid, e.Grid())
					run := func(e ops.PatchEmbed, bias, position []float32) {
						y := d.framed(make([]float32, c.images*grid*c.dim), c.images*grid, c.dim)
						d.run(func(s *ops.Stream) {
							s.Compute = p.compute
							s.PatchEmbed(y.Tensor, d.framed(pixels, rows, c.width).Tensor, e)
						})
						near(t, reference.PatchEmbed(p.seen(pixels), w, bias, position, c.images, c.channels, c.height, c.width, c.patch, c.dim), d.read(y.Tensor))
						y.intact()
					}
					run(e, nil, nil)
					e.Linear.Bias, e.Position = d.framed(bias, 1, c.dim).Tensor, d.framed(position, grid, c.dim).Tensor
					run(e, bias, position)
				})
			}
		})
	})
}

// TestPatchEmbedRest: P14: 10 pixels in patches of 4 are a grid of 2 x 2, and what is left over at the
// right and bottom is not looked at, NaN or not. Weights that pick one pixel each show the order
// (channel, row, column), without the reference's own idea of it.
func TestPatchEmbedRest(t *testing.T) {
	const channels, size, patch, grid = 3, 10, 4, 4
	const in = channels * patch * patch
	pixels := make([]float32, channels*size*size)
	for i := range pixels {
		pixels[i] = float32(i)
		if i%size >= 2*patch || i/size%size >= 2*patch {
			pixels[i] = float32(math.NaN())
		}
	}
	pick := make([]float32, in*in)
	for i := range in {
		pick[i*in+i] = 1
	}
	each(t, func(t *testing.T, d *device) {
		e := ops.PatchEmbed{Linear: ops.Linear{Weight: d.weight(ops.F32, pick, in, in)}, Images: 1, Channels: channels, Height: size, Width: size, Patch: patch}
		require.Equal(t, grid, e.Grid())
		y := d.zeros(grid, in)
		d.run(func(s *ops.Stream) { s.PatchEmbed(y, d.floats(pixels, channels*size, size), e) })
		got := d.read(y)
		for p := range grid {
			for i := range in {
				channel, row, col := i/(patch*patch), p/2*patch+i/patch%patch, p%2*patch+i%patch
				require.Equal(t, float32(channel*size*size+row*size+col), got[p*in+i], "patch %d, channel %d, row %d, column %d", p, channel, row, col)
			}
		}
	})
}

// TestPatchEmbedNotFinite: a NaN stays in its patch of its picture.
func TestPatchEmbedNotFinite(t *testing.T) {
	const images, size, patch, dim, grid = 3, 12, 4, 9, 9
	clean := reference.Uniform(1, images*size*size)
	pixels := slices.Clone(clean)
	pixels[size*size+5*size+6] = float32(math.NaN()) // picture 1, patch (1, 1)
	each(t, func(t *testing.T, d *device) {
		eachProduct(t, d, func(d *device, p product) {
			w := reference.Round(reference.Uniform(2, dim*patch*patch), p.weight)
			e := ops.PatchEmbed{Linear: ops.Linear{Weight: d.weight(p.weight, w, dim, patch*patch)}, Images: images, Channels: 1, Height: size, Width: size, Patch: patch}
			run := func(pixels []float32) []float32 {
				y := d.zeros(images*grid, dim)
				d.run(func(s *ops.Stream) {
					s.Compute = p.compute
					s.PatchEmbed(y, d.floats(pixels, images*size, size), e)
				})
				return d.read(y)
			}
			want, got := run(clean), run(pixels)
			const bad = grid + 4
			for _, v := range rowsOf(got, dim, bad, 1) {
				require.True(d.t, math.IsNaN(float64(v)))
			}
			same(d.t, want[:bad*dim], got[:bad*dim], "patches before")
			same(d.t, want[(bad+1)*dim:], got[(bad+1)*dim:], "patches behind")
		})
	})
}

// TestPatchEmbedInvariant: the patches of a picture are the same bits alone and among others.
func TestPatchEmbedInvariant(t *testing.T) {
	const channels, size, patch, dim, in = 3, 15, 5, 70, 3 * 5 * 5
	pixels := reference.Uniform(1, 64*channels*size*size)
	eachTarget(t, func(t *testing.T, g target) {
		for _, p := range products {
			t.Run(p.String(), func(t *testing.T) {
				w := reference.Round(reference.Uniform(2, dim*in), p.weight)
				invariant(t, g, func(d *device, first, n int) []float32 {
					if !d.Capabilities().Computes(p.compute) {
						t.Skip("no such products")
					}
					y := d.zeros(n*9, dim)
					d.run(func(s *ops.Stream) {
						s.Compute = p.compute
						s.PatchEmbed(y, d.floats(rowsOf(pixels, channels*size*size, first, n), n*channels*size, size), ops.PatchEmbed{
							Linear: ops.Linear{Weight: d.weight(p.weight, w, dim, in)},
							Images: n, Channels: channels, Height: size, Width: size, Patch: patch})
					})
					return d.read(y)
				})
			})
		}
	})
}

func TestPatchEmbedErrors(t *testing.T) {
	each(t, func(t *testing.T, d *device) {
		w, pixels, y := d.weight(ops.F32, make([]float32, 5*12), 5, 12), d.zeros(2*3*4, 6), d.zeros(2*6, 5)
		good := ops.PatchEmbed{Linear: ops.Linear{Weight: w}, Images: 2, Channels: 3, Height: 4, Width: 6, Patch: 2}
		d.run(func(s *ops.Stream) { s.PatchEmbed(y, pixels, good) })
		with := func(change func(p *ops.PatchEmbed)) func(s *ops.Stream) {
			return func(s *ops.Stream) {
				p := good
				change(&p)
				s.PatchEmbed(y, pixels, p)
			}
		}
		refused(t, d, []refusal{
			{"no weight", ops.ErrShape, with(func(p *ops.PatchEmbed) { p.Linear.Weight = nil })},
			{"no pixels", ops.ErrShape, func(s *ops.Stream) { s.PatchEmbed(y, nil, good) }},
			{"no out", ops.ErrShape, func(s *ops.Stream) { s.PatchEmbed(nil, pixels, good) }},
			{"zero pictures", ops.ErrShape, with(func(p *ops.PatchEmbed) { p.Images = 0 })},
			{"zero channels", ops.ErrShape, with(func(p *ops.PatchEmbed) { p.Channels = 0 })},
			{"zero rows", ops.ErrShape, with(func(p *ops.PatchEmbed) { p.Height = 0 })},
			{"patches of zero", ops.ErrShape, with(func(p *ops.PatchEmbed) { p.Patch = 0 })},
			{"a patch larger than the picture", ops.ErrShape, with(func(p *ops.PatchEmbed) { p.Patch = 5 })},
			{"a patch that is not the weight's", ops.ErrShape, with(func(p *ops.PatchEmbed) { p.Patch = 3 })},
			{"channels that are not the weight's", ops.ErrShape, with(func(p *ops.PatchEmbed) { p.Channels = 1 })},
			{"more pictures than pixels", ops.ErrShape, with(func(p *ops.PatchEmbed) { p.Images = 3 })},
			{"counts whose product overflows", ops.ErrShape, with(func(p *ops.PatchEmbed) { p.Images, p.Channels = math.MaxInt32, math.MaxInt32 })},
			{"a patch whose square overflows", ops.ErrShape, with(func(p *ops.PatchEmbed) { p.Patch, p.Height, p.Width = math.MaxInt32, math.MaxInt32, math.MaxInt32 })},
			{"bias of another width", ops.ErrShape, with(func(p *ops.PatchEmbed) { p.Linear.Bias = d.zeros(1, 6) })},
			{"positions of another grid", ops.ErrShape, with(func(p *ops.PatchEmbed) { p.Position = d.zeros(12, 5) })},
			{"out of another height", ops.ErrShape, func(s *ops.Stream) { s.PatchEmbed(y.RowRange(0, 6), pixels, good) }},
			{"out over the positions", binding.ErrInvalidArgument, with(func(p *ops.PatchEmbed) { p.Position = y.RowRange(0, 6) })},
			{"bf16 products of f32 weights", binding.ErrUnsupported, func(s *ops.Stream) {
				s.Compute = ops.BF16
				s.PatchEmbed(y, pixels, good)
			}},
			{"out over the pixels", binding.ErrInvalidArgument, func(s *ops.Stream) { s.PatchEmbed(pixels.RowRange(0, 12).ColRange(0, 5), pixels, good) }},
			{"integers", binding.ErrInvalidArgument, func(s *ops.Stream) { s.PatchEmbed(y, d.tensor(ops.I32, 2*3*4, 6), good) }},
			{"a weight whose rows are not all written", binding.ErrInvalidArgument, with(func(p *ops.PatchEmbed) {
				half, err := d.NewWeight(ops.F32, 5, 12)
				p.Linear.Weight = until(d, half, err)
				require.NoError(t, half.WriteRows(0, make([]byte, 4*12*4)))
			})},
			{"a tensor that was freed", binding.ErrInvalidArgument, func(s *ops.Stream) {
				gone := d.zeros(2*3*4, 6)
				require.NoError(t, gone.Free())
				s.PatchEmbed(y, gone, good)
			}},
		})
	})
}

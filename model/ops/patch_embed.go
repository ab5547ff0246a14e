package ops

import "github.com/llama3v/llama3v/binding"

// PatchEmbed is a picture's way into a vision model (Dosovitskiy et al. 2021, arXiv:2010.11929,
// section 3.1): each patch x patch square is flattened in (channel, row, column) order, projected,
// and its position added.
type PatchEmbed struct {
	Linear   Linear  // weight [dim, channels*patch*patch]
	Position *Tensor // [grid, dim], one row per patch of a picture, or nil

	Images, Channels, Height, Width, Patch int // pixels; pictures of one size
}

// Grid is the patches of one picture. Pixels at the right and bottom that fill no patch are unused.
func (p *PatchEmbed) Grid() int {
	if p.Patch < 1 {
		return 0
	}
	return (p.Height / p.Patch) * (p.Width / p.Patch)
}

// PatchEmbed queues the projection of every patch, row-major from the top left.
//
//	pixels  [images*channels*height, width], planar
//	out     [images*grid, dim]
func (s *Stream) PatchEmbed(out, pixels *Tensor, p PatchEmbed) {
	const op = "patch_embed"
	if !s.counts(op, count{"images", p.Images}, count{"channels", p.Channels}, count{"height", p.Height},
		count{"width", p.Width}, count{"patch", p.Patch}) {
		return
	}
	w, planes := p.Linear.Weight, p.Images*p.Channels
	if !s.counts(op, count{"images * channels", planes}, count{"patches of a picture", p.Grid()}) {
		return
	}
	if w != nil && w.cols/p.Patch/p.Patch != p.Channels || w.Cols()%(p.Patch*p.Patch) != 0 {
		s.refuse(op, "weight %s for %d channels of %d x %d pixels", w, p.Channels, p.Patch, p.Patch)
		return
	}
	if !s.fits(op, packed("weight", w), value("pixels", pixels, planes*p.Height, p.Width), maybe("bias", p.Linear.Bias, 1, w.Rows()),
		maybe("position", p.Position, p.Grid(), w.Rows()), value("out", out, p.Images*p.Grid(), w.Rows())) {
		return
	}
	compute := s.Compute
	if compute == I8 {
		compute = F32
	}
	s.queue(s.context().PatchEmbed(&binding.PatchEmbedParams{
		Compute: compute, Weight: w.packed.ID(),
		Pixels: pixels.abi(), Bias: p.Linear.Bias.abi(), Position: p.Position.abi(), Out: out.abi(),
		Images: int64(p.Images), Channels: int64(p.Channels), Height: int64(p.Height), Width: int64(p.Width), Patch: int64(p.Patch),
	}))
}

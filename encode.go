package llama3v

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"
	"gorgonia.org/tensor"

	"github.com/llama3v/llama3v/model/imageprep"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/siglip"
	"github.com/llama3v/llama3v/model/vlm"
)

// EncodeOption says which output of the tower EncodeImages gives.
type EncodeOption func(siglip.Config) (siglip.Features, string, error)

// Layer is hidden state k: 0 is the embedding output, k the output of layer k before the post
// norm, negative counts from the end, so that -1 is the last layer. Layers above it do not run.
// ErrShape: no such layer.
func Layer(k int) EncodeOption {
	return func(c siglip.Config) (siglip.Features, string, error) {
		f, err := c.State(k)
		return f, fmt.Sprintf("layer %d", f.Layer), err
	}
}

// LastHidden is the last layer behind the post norm. It is the default.
func LastHidden() EncodeOption {
	return func(c siglip.Config) (siglip.Features, string, error) { return c.LastHidden(), "last hidden", nil }
}

// Pooled is the pooling head's output, one row per picture. ErrUnsupported: the checkpoint has no
// head.
func Pooled() EncodeOption {
	return func(c siglip.Config) (siglip.Features, string, error) { return c.Pooled(), "pooled", nil }
}

// EncodeImages gives the tower's features of pictures: float32 [pictures, patches, dim], or
// [pictures, dim] with Pooled. The rows of a picture do not depend on the others. Features of
// pictures seen before come from the cache. In families that cut pictures, the first dimension counts
// tiles or slices, those of one picture after another, in prompt order; where slices differ in their
// number of patches, the error is ErrShape.
//
// Errors: ErrUnsupported (no vision tower, no head), ErrShape (layer), the ErrPicture kinds,
// ErrNotFinite, ErrClosed, ctx's error.
func (m *Model) EncodeImages(ctx context.Context, pictures []Picture, opts ...EncodeOption) (*tensor.Dense, error) {
	if m.model.Tower == nil {
		return nil, fmt.Errorf("encode images: %w: the model has no vision tower", ErrUnsupported)
	}
	if len(pictures) == 0 {
		return nil, fmt.Errorf("encode images: %w: no pictures", ErrShape)
	}
	want := LastHidden()
	if len(opts) > 1 {
		return nil, fmt.Errorf("encode images: %w: %d outputs asked for, one is given", ErrOption, len(opts))
	} else if len(opts) == 1 {
		want = opts[0]
	}
	f, name, err := want(*m.model.Config.Vision)
	if err != nil {
		return nil, fmt.Errorf("encode images: %w", err)
	}
	if f.Pooled && m.model.Tower.Head == nil {
		return nil, fmt.Errorf("encode images: %w: pooled output: the checkpoint has no pooling head", ErrUnsupported)
	}
	var times Timings
	sights, err := m.decode(ctx, pictures, name, &times)
	if err != nil {
		return nil, fmt.Errorf("encode images: %w", ended(ctx, err))
	}
	seen, err := m.look(ctx, m.features, sights, &times, func(s *ops.Stream, views []siglip.View) (*vlm.Seen, error) {
		return m.eye.ViewFeatures(s, views, f)
	})
	if err != nil {
		return nil, fmt.Errorf("encode images: %w", ended(ctx, err))
	}
	first, views := seen[0].features, 0
	data := make([]float32, 0, len(seen)*len(first.data))
	for i, one := range seen {
		for _, rows := range one.features.views {
			if rows != first.views[0] {
				return nil, fmt.Errorf("encode images: %w: picture %d has a view of %d patches, the first has %d; ask for pictures of one shape",
					ErrShape, i+1, rows, first.views[0])
			}
			views++
		}
		data = append(data, one.features.data...)
	}
	shape := tensor.Shape{views, first.views[0], first.dim}
	if f.Pooled {
		shape = tensor.Shape{views, first.dim}
	}
	return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(data)), nil
}

// sight is a decoded picture.
type sight struct {
	picture *imageprep.Picture
	key     string // everything that the features depend on within this model
}

// seenPicture is a picture with what the tower (and projector) made of it.
type seenPicture struct {
	key      string // that of its sight
	features *features
	use      PictureUse
}

// eyeFunc runs views through the tower and what comes behind it.
type eyeFunc func(s *ops.Stream, views []siglip.View) (*vlm.Seen, error)

// decode turns pictures into upright pixels, on all cores. output names what is to be made of them, as
// part of the key.
func (m *Model) decode(ctx context.Context, pictures []Picture, output string, times *Timings) ([]sight, error) {
	start := time.Now()
	opts := imageprep.DecodeOptions{Alpha: m.config.alpha, MaxPixels: m.config.maxPixels, MaxBytes: m.config.maxBytes}
	sights := make([]sight, len(pictures))
	err := parallel(ctx, len(pictures), func(i int) error {
		p, err := pictures[i].decode(i, opts)
		if err == nil {
			sights[i] = sight{p, fmt.Sprintf("%x|%s|%s", p.Digest(), m.prep.Key(), output)}
		}
		return err
	})
	times.Preprocess += time.Since(start)
	return sights, err
}

// look takes the features of each picture from cache, or computes them in batches with run.
func (m *Model) look(ctx context.Context, cache *featureCache, sights []sight, times *Timings, run eyeFunc) ([]seenPicture, error) {
	keys := make([]string, len(sights))
	for i, s := range sights {
		keys[i] = s.key
	}
	found, hit, err := cache.get(ctx, keys, func(indices []int) (all []*features, err error) {
		for len(indices) > 0 {
			n := m.together(sights, indices)
			batch, err := m.encode(ctx, sights, indices[:n], times, run)
			if err != nil {
				return nil, err
			}
			all, indices = append(all, batch...), indices[n:]
		}
		return all, nil
	})
	if err != nil {
		return nil, err
	}
	seen := make([]seenPicture, len(sights))
	for i, f := range found {
		use := PictureUse{Width: sights[i].picture.Width, Height: sights[i].picture.Height, Views: len(f.views), Tokens: f.tokens, Cached: hit[i]}
		seen[i] = seenPicture{keys[i], f, use}
	}
	return seen, nil
}

// together is how many of the pictures fill the workspaces, one at least: pixels of more would only lie
// around.
func (m *Model) together(sights []sight, indices []int) int {
	n, views := 0, 0
	for _, i := range indices {
		views += m.prep.Grid(sights[i].picture.Width, sights[i].picture.Height).Views()
		if n > 0 && views > m.eye.Pictures() {
			break
		}
		n++
	}
	return n
}

// encode makes the views of pictures and runs them through the device, as many at once as the workspaces
// hold.
func (m *Model) encode(ctx context.Context, sights []sight, indices []int, times *Timings, run eyeFunc) ([]*features, error) {
	start := time.Now()
	made := make([]*imageprep.Views, len(indices))
	err := parallel(ctx, len(indices), func(i int) (err error) {
		made[i], err = m.prep.Views(sights[indices[i]].picture)
		return err
	})
	if err != nil {
		return nil, err
	}
	times.Preprocess += time.Since(start)

	all := make([]*features, len(indices))
	var views []siglip.View
	var owner []int // of each view: the picture's place in all
	for i, v := range made {
		all[i] = &features{}
		for _, view := range v.Views {
			views = append(views, siglip.View{Pixels: view.Pixels, Height: view.Height, Width: view.Width})
			owner = append(owner, i)
		}
	}
	for len(views) > 0 {
		n := min(len(views), m.eye.Pictures())
		var seen *vlm.Seen
		err := m.step(ctx, func(s *ops.Stream) (err error) {
			seen, err = run(s, views[:n])
			return err
		})
		if err != nil {
			return nil, err
		}
		times.Encode += seconds(seen.Encode)
		times.Project += seconds(seen.Project)
		data := seen.Data
		for i, rows := range seen.Rows {
			size := rows * seen.Dim
			all[owner[i]].add(data[:size], rows, seen.Dim)
			data = data[size:]
		}
		views, owner = views[n:], owner[n:]
	}
	return all, nil
}

// parallel runs f for 0..n-1 on the machine's cores. The first error wins; ctx stops what has not
// begun.
func parallel(ctx context.Context, n int, f func(i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i := range n {
		group.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return f(i)
		})
	}
	return group.Wait()
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

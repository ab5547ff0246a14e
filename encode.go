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
// pictures seen before come from the cache.
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
	seen, _, err := m.look(ctx, m.features, pictures, name, func(s *ops.Stream, pixels []float32) (*vlm.Seen, error) {
		return m.eye.Features(s, pixels, f)
	})
	if err != nil {
		return nil, fmt.Errorf("encode images: %w", ended(ctx, err))
	}
	first := seen[0].features
	data := make([]float32, 0, len(seen)*len(first.data))
	for _, one := range seen {
		data = append(data, one.features.data...)
	}
	shape := tensor.Shape{len(seen), first.tokens, first.dim}
	if f.Pooled {
		shape = tensor.Shape{len(seen), first.dim}
	}
	return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(data)), nil
}

// seenPicture is a picture with what the tower (and projector) made of it.
type seenPicture struct {
	key      string // everything that the features depend on within this model
	features *features
	use      PictureUse
}

// look decodes pictures on all cores, then takes the features of each from cache or computes
// them in batches with run. output names what run computes, as part of the key.
func (m *Model) look(ctx context.Context, cache *featureCache, pictures []Picture, output string,
	run func(s *ops.Stream, pixels []float32) (*vlm.Seen, error)) ([]seenPicture, Timings, error) {
	var times Timings
	start := time.Now()
	decoded, keys, err := m.decode(ctx, pictures, output)
	if err != nil {
		return nil, times, err
	}
	times.Preprocess = time.Since(start)

	compute := func(indices []int) ([]*features, error) {
		start := time.Now()
		pixels := make([][]float32, len(indices))
		err := parallel(ctx, len(indices), func(i int) (err error) {
			pixels[i], _, err = m.prep.Tensor(decoded[indices[i]])
			return err
		})
		if err != nil {
			return nil, err
		}
		times.Preprocess += time.Since(start)
		return m.encode(ctx, pixels, &times, run)
	}
	found, hit, err := cache.get(ctx, keys, compute)
	if err != nil {
		return nil, times, err
	}
	seen := make([]seenPicture, len(pictures))
	for i, f := range found {
		seen[i] = seenPicture{keys[i], f, PictureUse{Width: decoded[i].Width, Height: decoded[i].Height, Tokens: f.tokens, Cached: hit[i]}}
	}
	return seen, times, nil
}

// decode turns pictures into upright pixels, and gives the cache key of each: everything that the
// features depend on within this model.
func (m *Model) decode(ctx context.Context, pictures []Picture, output string) ([]*imageprep.Picture, []string, error) {
	opts := imageprep.DecodeOptions{Alpha: m.config.alpha, MaxPixels: m.config.maxPixels, MaxBytes: m.config.maxBytes}
	decoded, keys := make([]*imageprep.Picture, len(pictures)), make([]string, len(pictures))
	err := parallel(ctx, len(pictures), func(i int) (err error) {
		if decoded[i], err = pictures[i].decode(i, opts); err == nil {
			keys[i] = fmt.Sprintf("%x|%s|%s", decoded[i].Digest(), m.prep.Key(), output)
		}
		return err
	})
	return decoded, keys, err
}

// encode runs pixels through the device, as many pictures at once as the workspaces hold.
func (m *Model) encode(ctx context.Context, pixels [][]float32, times *Timings,
	run func(s *ops.Stream, pixels []float32) (*vlm.Seen, error)) ([]*features, error) {
	var all []*features
	for len(pixels) > 0 {
		n := min(len(pixels), m.eye.Pictures())
		var batch []float32
		for _, p := range pixels[:n] {
			batch = append(batch, p...)
		}
		pixels = pixels[n:]
		var seen *vlm.Seen
		err := m.step(ctx, func(s *ops.Stream) (err error) {
			seen, err = run(s, batch)
			return err
		})
		if err != nil {
			return nil, err
		}
		times.Encode += seconds(seen.Encode)
		times.Project += seconds(seen.Project)
		size := len(seen.Data) / n
		for i := range n {
			all = append(all, &features{data: seen.Data[i*size : (i+1)*size : (i+1)*size], tokens: seen.Tokens, dim: seen.Dim})
		}
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

package load

import (
	"context"
	"math"
	"math/rand/v2"

	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/weights"
)

// random makes up tensors of one type.
type random struct {
	dtype  weights.DType
	source *rand.Rand
}

// NewRandom is a loader without a checkpoint: every tensor declared gets random values of a plain
// size, weights of type t (F32, F16, BF16 or a block type that divides their rows). It is for measuring speed at real shapes; the model
// says nothing.
func NewRandom(d *ops.Device, t weights.DType) *Loader {
	return &Loader{declarations: &declarations{device: d, random: &random{t, rand.New(rand.NewPCG(1, 2))}}}
}

func (r *random) values(shape []int) []float32 {
	n := 1
	for _, d := range shape {
		n *= d
	}
	list := make([]float32, n)
	for i := range list {
		list[i] = r.source.Float32() - 0.5
	}
	return list
}

// pack fills rows of w. One block of random rows comes again and again, scaled so that products keep
// the size of their input: speed does not depend on the values, as long as they are no denormals.
func (r *random) pack(ctx context.Context, w *ops.Weight, first, rows int) error {
	const most = 64
	n := min(most, rows)
	values := make([]float32, n*w.Cols())
	scale := float32(math.Sqrt(12 / float64(w.Cols())))
	for i := range values {
		values[i] = (r.source.Float32() - 0.5) * scale
	}
	size, _ := r.dtype.Bytes(n, w.Cols())
	block := make([]byte, size)
	if err := weights.FromFloat32(block, values, r.dtype); err != nil {
		return err
	}
	rowBytes := len(block) / n
	for at := 0; at < rows; at += n {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n := min(n, rows-at)
		if err := w.WriteRows(first+at, block[:n*rowBytes]); err != nil {
			return err
		}
	}
	return nil
}

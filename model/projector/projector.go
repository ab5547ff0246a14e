// Package projector turns vision features into rows that the decoder reads beside text embeddings.
//
// One kind of projection block is one file: SA2, the llama3v family's self-attention blocks; MLP,
// LLaVA's; Shuffle, Idefics3's; Resampler, MiniCPM-V's.
package projector

import (
	"github.com/llama3v/llama3v/model/load"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/siglip"
)

// Config holds the sizes of one kind of block.
type Config interface {
	// Load declares the block's tensors under l.
	Load(l *load.Loader, visionDim, textDim int) Projector
	// Tokens is how many decoder positions a view of so many tokens becomes.
	Tokens(tokens int) int
	// String is the kind with its sizes.
	String() string
	// WorkspaceBytes is what Prepare allocates on a device that keeps such a type.
	WorkspaceBytes(views, tokens, visionDim, textDim int, kept ops.DType) int64
}

// Projector is a block's weights with its workspace.
type Projector interface {
	// Prepare allocates the workspace for views at once, of up to so many tokens each. Only the
	// newest counts. Errors: binding.ErrOutOfMemory.
	Prepare(d *ops.Device, views, tokens int) error
	// Forward queues the projection of features [tokens of all views, visionDim], the views' grids
	// in order, and returns [views*Tokens, textDim], valid until the next Forward. Errors stay in s.
	Forward(s *ops.Stream, features *ops.Tensor, grids []siglip.Grid) *ops.Tensor
}

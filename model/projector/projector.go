// Package projector turns vision features into rows that the decoder reads beside text embeddings.
package projector

import "github.com/llama3v/llama3v/model/ops"

// Projector is one kind of projection block with its workspace.
type Projector interface {
	// Forward queues the projection of features [pictures*patches, visionDim] and returns
	// [pictures*Tokens(patches), textDim], valid until the next Forward. Errors stay in s.
	Forward(s *ops.Stream, features *ops.Tensor, pictures int) *ops.Tensor
	// Tokens is how many decoder positions the patches of one picture become.
	Tokens(patches int) int
}

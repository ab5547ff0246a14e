//go:build !(cgo && daulet)

package daulet

import (
	"io/fs"

	"github.com/llama3v/llama3v/model/tokenizer"
)

// Tokenizer is a [tokenizer.Tokenizer] over the Rust library.
type Tokenizer struct{ *tokenizer.BPE }

// Load returns [ErrNotBuilt]: this program was built without the Rust library.
func Load(fs.FS) (*Tokenizer, error) { return nil, ErrNotBuilt }

// Parse returns [ErrNotBuilt].
func Parse([]byte) (*Tokenizer, error) { return nil, ErrNotBuilt }

// Close does nothing.
func (*Tokenizer) Close() error { return nil }

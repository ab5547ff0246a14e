//go:build !(cgo && daulet)

package daulet_test

import (
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/internal/need"
	"github.com/llama3v/llama3v/model/tokenizer/daulet"
)

// P90: without the Rust library the package builds and says what is missing.
func TestP90NotBuiltIn(t *testing.T) {
	_, err := daulet.Load(fstest.MapFS{})
	require.ErrorIs(t, err, daulet.ErrNotBuilt)
	_, err = daulet.Parse(nil)
	require.ErrorIs(t, err, daulet.ErrNotBuilt)
}

// The comparison with the Rust library is in daulet_test.go.
func TestEqualIDs(t *testing.T) {
	need.Missing(t, "rust", "run tools/build-tokenizers.sh and test with CGO_LDFLAGS=-L<repository>/build/tokenizers -tags daulet")
}

//go:build unix

package weights

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// Opening a pipe waits for someone to write to it.
func TestPipeIsRefused(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, singleFile), 0o666))
	_, err := Open(os.DirFS(dir))
	require.ErrorIs(t, err, ErrFormat)
	require.ErrorContains(t, err, "not a regular file")
}

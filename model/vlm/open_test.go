package vlm_test

import (
	"context"
	"io/fs"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/model/load"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/vlm"
	"github.com/llama3v/llama3v/model/weights"
)

// tryOpen loads a model folder and says which tensors nothing asked for.
func tryOpen(t testing.TB, dev *ops.Device, fsys fs.FS) (m *vlm.Model, unknown []string, err error) {
	t.Helper()
	config, err := vlm.ReadConfig(fsys)
	if err != nil {
		return nil, nil, err
	}
	return tryOpenConfig(t, dev, fsys, config)
}

func tryOpenConfig(t testing.TB, dev *ops.Device, fsys fs.FS, config *vlm.Config) (m *vlm.Model, unknown []string, err error) {
	t.Helper()
	checkpoint, err := weights.Open(fsys)
	if err != nil {
		return nil, nil, err
	}
	defer func() { require.NoError(t, checkpoint.Close()) }()
	loader := load.New(dev, checkpoint)
	m = vlm.Declare(loader, config)
	if unknown, err = loader.Check(); err != nil {
		return nil, unknown, err
	}
	return m, unknown, loader.Load(context.Background())
}

// open loads a model folder that has all that is needed and nothing else.
func open(t testing.TB, dev *ops.Device, fsys fs.FS) *vlm.Model {
	t.Helper()
	m, unknown, err := tryOpen(t, dev, fsys)
	require.NoError(t, err)
	require.Empty(t, unknown)
	return m
}

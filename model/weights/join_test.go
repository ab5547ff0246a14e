package weights

import (
	"io/fs"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestJoin(t *testing.T) {
	a := toy(t, map[string][]int{"x.weight": {2, 3}, "tower.norm": {4}})
	b := toy(t, map[string][]int{"norm": {5}, "probe": {1, 7}})
	j := Join(Part{Checkpoint: a}, Part{Prefix: "tower.", Checkpoint: b})
	require.Equal(t, []string{"tower.norm", "tower.probe", "x.weight"}, j.Names())
	require.Len(t, j.Files(), 2)
	for name, shape := range map[string][]int{"x.weight": {2, 3}, "tower.probe": {1, 7}, "tower.norm": {4}} {
		require.True(t, j.Has(name))
		info, err := j.Tensor(name)
		require.NoError(t, err)
		require.Equal(t, name, info.Name)
		require.Equal(t, shape, info.Shape, "the first one's, where two have the name")
		rows, err := j.Rows(name)
		require.NoError(t, err)
		require.Equal(t, shape, rows.Info().Shape)
		values, err := ReadFloat32(j, name)
		require.NoError(t, err)
		require.Len(t, values, int(info.Bytes/4))
	}
	for _, name := range []string{"probe", "tower.x.weight", "tower.", ""} {
		require.False(t, j.Has(name))
		_, err := j.Tensor(name)
		require.ErrorIs(t, err, ErrMissingTensor)
		_, err = j.Rows(name)
		require.ErrorIs(t, err, ErrMissingTensor)
	}
	require.NoError(t, j.Close())
	require.NoError(t, j.Close())
	_, err := ReadFloat32(j, "tower.probe")
	require.ErrorIs(t, err, fs.ErrClosed)
}

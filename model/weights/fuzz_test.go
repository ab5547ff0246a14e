package weights

import (
	"io/fs"
	"os"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// FuzzSafetensors: no file panics, and what opens holds what it says.
func FuzzSafetensors(f *testing.F) {
	require.NoError(f, fs.WalkDir(os.DirFS("testdata/malformed"), ".", func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			data, err := os.ReadFile("testdata/malformed/" + p)
			f.Add(data)
			return err
		}
		return err
	}))
	f.Add(sample())
	f.Fuzz(func(t *testing.T, file []byte) {
		s, err := one(file)
		if err != nil {
			require.True(t, isAny(err, ErrFormat, ErrTruncated), "%v", err)
			return
		}
		requireSane(t, s)
		total := int64(0)
		for _, name := range s.Names() {
			info, err := s.Tensor(name)
			require.NoError(t, err)
			total += info.Bytes
		}
		require.LessOrEqual(t, total, int64(len(file)))
		require.NoError(t, s.Close())
	})
}

// FuzzIndex: no index panics or reaches a file outside its folder.
func FuzzIndex(f *testing.F) {
	for _, index := range []string{
		`{"metadata":{"total_size":2},"weight_map":{"a":"1","b":"2"}}`, `{"weight_map":{"a":"../1"}}`, `{"weight_map":{"a":"1","a":"2"}}`,
		`{"weight_map":{"c":"3"}}`, `{"weight_map":[]}`, `{`, `{"weight_map":{"a":"model.safetensors.index.json"}}`,
	} {
		f.Add([]byte(index))
	}
	f.Fuzz(func(t *testing.T, index []byte) {
		inside := fstest.MapFS{"1": tiny("a"), "2": tiny("b"), indexFile: {Data: index}}
		cp, err := Open(watchedFS{inside, t})
		if err != nil {
			require.True(t, isAny(err, ErrFormat, ErrTruncated, ErrMissingFile), "%v", err)
			return
		}
		requireSane(t, cp)
	})
}

// watchedFS fails the test when a name with a path is asked for.
type watchedFS struct {
	fs.FS
	t *testing.T
}

func (w watchedFS) Open(name string) (fs.File, error) {
	if name != singleFile && name != indexFile && !plainName(name) {
		w.t.Fatalf("opened %q", name)
	}
	return w.FS.Open(name)
}

package weights

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMalformed reads files and folders that are broken in one way each, and some that are odd but
// legal. malformed.json says which, and what the format's reference reader does.
func TestMalformed(t *testing.T) {
	text, err := os.ReadFile("testdata/malformed.json")
	require.NoError(t, err)
	var cases []struct {
		File, Folder, Want, Kind string
		Tensor                   struct {
			Name  string
			First float32
		}
	}
	require.NoError(t, json.Unmarshal(text, &cases))
	require.Len(t, cases, 136)

	root := os.DirFS("testdata")
	for _, c := range cases {
		t.Run(path.Base(c.File+c.Folder)+": "+c.Kind, func(t *testing.T) {
			var s Checkpoint
			var err error
			switch {
			case c.Folder != "":
				s, err = OpenSafetensors(must(fs.Sub(root, c.Folder)))
			case path.Ext(c.File) == ".gguf":
				s, err = OpenGGUFFile(root, c.File)
			default:
				s, err = OpenSafetensorsFile(root, c.File)
			}
			if c.Want == "error" {
				require.Nil(t, s)
				require.Error(t, err)
				t.Log(err)
				if !isAny(err, ErrFormat, ErrTruncated, ErrMissingFile, ErrUnsupportedDType) {
					t.Fatalf("not a typed error: %v", err)
				}
				return
			}
			// What is wrong with a model is no fault of the container.
			require.Contains(t, []string{"ok", "error at model load"}, c.Want)
			require.NoError(t, err)
			requireSane(t, s)
			if c.Tensor.Name != "" {
				values, err := ReadFloat32(s, c.Tensor.Name)
				require.NoError(t, err)
				require.Equal(t, c.Tensor.First, values[0])
			}
			require.NoError(t, s.Close())
		})
	}
}

func isAny(err error, targets ...error) bool {
	for _, target := range targets {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

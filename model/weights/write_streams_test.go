package weights

import (
	"bytes"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestWriteStreams: the same bytes as whole tensors give, and no file of another size than its header says.
func TestWriteStreams(t *testing.T) {
	data := map[string][]byte{"a": {1, 2}, "b": {3, 4, 5, 6, 7, 8, 9, 10}}
	tensors := []Tensor{{"a", F16, []int{1}, data["a"]}, {"b", F32, []int{2, 1}, data["b"]}}
	var whole, pieces bytes.Buffer
	require.NoError(t, Write(&whole, tensors, map[string]string{"format": "pt"}))
	byteByByte := func(name string) func(io.Writer) error {
		return func(w io.Writer) error {
			for i := range data[name] {
				if _, err := w.Write(data[name][i : i+1]); err != nil {
					return err
				}
			}
			return nil
		}
	}
	streams := []GGUFTensor{{"a", F16, []int{1}, byteByByte("a")}, {"b", F32, []int{2, 1}, byteByByte("b")}}
	require.NoError(t, WriteStreams(&pieces, streams, map[string]string{"format": "pt"}))
	require.Equal(t, whole.Bytes(), pieces.Bytes())
	for name, tensor := range map[string]GGUFTensor{
		"too few bytes":              {"a", F16, []int{2}, byteByByte("a")},
		"too many bytes":             {"b", F32, []int{1}, byteByByte("b")},
		"a type that GGUF alone has": {"a", Q8_0, []int{32}, byteByByte("a")},
	} {
		require.ErrorIs(t, WriteStreams(io.Discard, []GGUFTensor{tensor}, nil), ErrFormat, name)
	}
}

// TestHeadOrderBothWays: undoing GGUF's order of rows and making it are each other's inverse.
func TestHeadOrderBothWays(t *testing.T) {
	rows := []byte{0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15} // two heads of six
	made, undone := make([]byte, len(rows)), make([]byte, len(rows))
	_, err := (&headOrder{data: bytes.NewReader(rows), rowBytes: 1, rows: 6}).ReadAt(made, 0)
	require.NoError(t, err)
	require.Equal(t, []byte{0, 3, 1, 4, 2, 5, 10, 13, 11, 14, 12, 15}, made)
	_, err = (&headOrder{data: bytes.NewReader(made), rowBytes: 1, rows: 6, undo: true}).ReadAt(undone, 0)
	require.NoError(t, err)
	require.Equal(t, rows, undone)
}

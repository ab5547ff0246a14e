package weights

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWriteRoundTrip(t *testing.T) {
	tensors := []Tensor{
		{"b.bytes", U8, []int{3}, []byte{1, 2, 3}},
		{"a.half", F16, []int{1, 2}, []byte{0, 0x3C, 0, 0xC0}},
		{"z.float", F32, []int{2}, []byte{0, 0, 0x80, 0x3F, 0, 0, 0, 0xC0}},
		{"a.float", F32, nil, []byte{0, 0, 0x80, 0x3F}},
		{"long", I64, []int{1}, []byte{1, 0, 0, 0, 0, 0, 0, 0}},
		{"empty", F64, []int{0, 5}, nil},
		{"<image>\n\"ü", Bool, []int{}, []byte{1}},
	}
	metadata := map[string]string{"format": "pt", "a": "<&>\u2028"}
	var b bytes.Buffer
	require.NoError(t, Write(&b, tensors, metadata))

	s, err := one(b.Bytes())
	require.NoError(t, err)
	require.Equal(t, metadata, s.Metadata("m.safetensors"))
	require.Len(t, s.Names(), len(tensors))
	for _, want := range tensors {
		info, err := s.Tensor(want.Name)
		require.NoError(t, err)
		require.Equal(t, want.DType, info.DType)
		require.True(t, slices.Equal(want.Shape, info.Shape))
		data, err := readAll(s, want.Name, 1)
		require.NoError(t, err)
		require.True(t, bytes.Equal(want.Data, data), want.Name)
		at := s.tensors[want.Name]
		require.Zero(t, at.offset%int64(max(want.DType.Bits()/8, 1)), "%s is aligned to its type", want.Name)
	}
	t.Run("the data begins at a multiple of 8", func(t *testing.T) {
		require.Zero(t, s.tensors["long"].offset%8)
	})
	t.Run("the bytes do not depend on the order given", func(t *testing.T) {
		slices.Reverse(tensors)
		var again bytes.Buffer
		require.NoError(t, Write(&again, tensors, metadata))
		require.Equal(t, b.Bytes(), again.Bytes())
	})
	t.Run("nothing at all is a file too", func(t *testing.T) {
		var none bytes.Buffer
		require.NoError(t, Write(&none, nil, nil))
		require.Equal(t, raw("{}      "), none.Bytes())
		_, err := one(none.Bytes())
		require.NoError(t, err)
	})
}

func TestWriteRefuses(t *testing.T) {
	good := Tensor{"a", U8, []int{1}, []byte{1}}
	for _, c := range []struct {
		name    string
		tensors []Tensor
		meta    map[string]string
	}{
		{"a name twice", []Tensor{good, good}, nil},
		{"a name twice, in two types", []Tensor{good, {"a", U16, []int{1}, []byte{1, 2}}}, nil},
		{"no name", []Tensor{{"", U8, []int{1}, []byte{1}}}, nil},
		{"the name of the metadata", []Tensor{{"__metadata__", U8, []int{1}, []byte{1}}}, nil},
		{"a name that is not UTF-8", []Tensor{{"\xff", U8, []int{1}, []byte{1}}}, nil},
		{"no type", []Tensor{{Name: "a", Shape: []int{0}}}, nil},
		{"too few bytes", []Tensor{{"a", F32, []int{1}, []byte{1}}}, nil},
		{"too many bytes", []Tensor{{"a", F32, []int{0}, []byte{1}}}, nil},
		{"a negative dimension", []Tensor{{"a", U8, []int{-1}, nil}}, nil},
		{"nine dimensions", []Tensor{{"a", U8, make([]int, 9), nil}}, nil},
		{"metadata that is not UTF-8", nil, map[string]string{"a": "\xff"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b bytes.Buffer
			require.ErrorIs(t, Write(&b, c.tensors, c.meta), ErrFormat)
			require.Zero(t, b.Len(), "nothing is written")
		})
	}
}

// failing accepts some bytes and then fails.
type failing int

func (f *failing) Write(p []byte) (int, error) {
	if *f -= failing(len(p)); *f < 0 {
		return 0, errDisk
	}
	return len(p), nil
}

func TestWritePassesErrorsOn(t *testing.T) {
	for room := failing(0); room < 70; room += 8 {
		left := room
		require.ErrorIs(t, Write(&left, []Tensor{{"a", U8, []int{8}, make([]byte, 8)}}, nil), errDisk)
	}
}

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.safetensors")
	require.NoError(t, os.WriteFile(path, []byte("what was there"), 0o666))
	tensors := []Tensor{{"a", U8, []int{1}, []byte{9}}}

	t.Run("a fault leaves what was there, and nothing else", func(t *testing.T) {
		require.ErrorIs(t, WriteFile(path, append(tensors, tensors...), nil), ErrFormat)
		have, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, "what was there", string(have))
	})
	t.Run("a whole file replaces it", func(t *testing.T) {
		require.NoError(t, WriteFile(path, tensors, nil))
		s, err := OpenSafetensorsFile(os.DirFS(dir), "x.safetensors")
		require.NoError(t, err)
		data, err := readAll(s, "a", 1)
		require.NoError(t, err)
		require.Equal(t, []byte{9}, data)
		require.NoError(t, s.Close())
	})
	t.Run("a folder that is not there", func(t *testing.T) {
		require.True(t, errors.Is(WriteFile(filepath.Join(dir, "no", "x"), tensors, nil), os.ErrNotExist))
	})
	t.Run("a folder in the way", func(t *testing.T) {
		require.NoError(t, os.Mkdir(filepath.Join(dir, "d"), 0o777))
		require.Error(t, WriteFile(filepath.Join(dir, "d"), tensors, nil))
	})
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 2, "no temporary file is left")
}

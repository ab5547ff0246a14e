package weights

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// copyOf is a tensor of a checkpoint, to be written.
func copyOf(t *testing.T, cp Checkpoint, name string) GGUFTensor {
	t.Helper()
	info, err := cp.Tensor(name)
	require.NoError(t, err)
	return GGUFTensor{name, info.DType, info.Shape, func(w io.Writer) error {
		data, err := readAll(cp, name, 1<<12)
		if err != nil {
			return err
		}
		_, err = w.Write(data)
		return err
	}}
}

// The files of llama.cpp's own converter and quantiser, read and written again, are the same bytes.
func TestWriteGGUFGolden(t *testing.T) {
	files, err := filepath.Glob(testdata + "/golden/gguf/models/*.gguf")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(files), 12)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			g, err := OpenGGUF(os.DirFS(filepath.Dir(file)), filepath.Base(file))
			require.NoError(t, err)
			defer g.Close()
			names := g.Names()
			slices.SortFunc(names, func(a, b string) int { return int(g.tensors[a].offset - g.tensors[b].offset) })
			var tensors []GGUFTensor
			for _, name := range names {
				tensors = append(tensors, copyOf(t, g, name))
			}
			var again bytes.Buffer
			require.NoError(t, WriteGGUF(&again, g.Metadata().List(), tensors))
			original, err := os.ReadFile(file)
			require.NoError(t, err)
			require.True(t, bytes.Equal(original, again.Bytes()), "written again, the bytes differ")
		})
	}
}

func some(name string, d DType, data []byte, shape ...int) GGUFTensor {
	return GGUFTensor{name, d, shape, func(w io.Writer) error { _, err := w.Write(data); return err }}
}

func TestWriteGGUFValues(t *testing.T) {
	keys := []Key{
		{"u8", uint8(1)}, {"i8", int8(-1)}, {"u16", uint16(2)}, {"i16", int16(-2)}, {"u32", uint32(3)}, {"i32", int32(-3)},
		{"f32", float32(1.5)}, {"bool", true}, {"string", "ä"}, {"u64", uint64(4)}, {"i64", int64(-4)}, {"f64", 0.1},
		{"strings", []string{"", "a"}}, {"bools", []bool{true, false}}, {"u8s", []uint8{200}}, {"i8s", []int8{-1}},
		{"u16s", []uint16{60000}}, {"i16s", []int16{-7}}, {"u32s", []uint32{4e9}}, {"i32s", []int32{-5}}, {"u64s", []uint64{1 << 62}},
		{"i64s", []int64{-1 << 62}}, {"f32s", []float32{0.1}}, {"f64s", []float64{0.1}}, {"none", []string{}}, {"general.alignment", uint32(64)},
	}
	var b bytes.Buffer
	require.NoError(t, WriteGGUF(&b, keys, []GGUFTensor{
		some("z", I8, []byte{1, 2, 3}, 3), some("a", F32, []byte{0, 0, 128, 63}), some("empty", F32, nil, 0, 4), some("q", Q4_0, make([]byte, 36), 2, 32),
	}))
	require.Zero(t, b.Len()%64, "the last tensor is padded too")
	g, err := OpenGGUF(fstest.MapFS{"m": {Data: b.Bytes()}}, "m")
	require.NoError(t, err)
	defer g.Close()
	require.Equal(t, keys, g.Metadata().List())
	require.Equal(t, []string{"a", "empty", "q", "z"}, g.Names())
	data, err := readAll(g, "z", 3)
	require.NoError(t, err)
	require.Equal(t, []byte{1, 2, 3}, data)
	info, err := g.Tensor("q")
	require.NoError(t, err)
	require.Equal(t, []int{2, 32}, info.Shape)
	require.Zero(t, g.tensors["q"].offset%64)
}

func TestWriteGGUFRefuses(t *testing.T) {
	good := some("a", I8, []byte{1}, 1)
	for _, c := range []struct {
		name    string
		keys    []Key
		tensors []GGUFTensor
	}{
		{"a tensor twice", nil, []GGUFTensor{good, good}},
		{"a key twice", []Key{{"a", true}, {"a", true}}, nil},
		{"an empty key", []Key{{"", true}}, nil},
		{"a value that the format has no type for", []Key{{"a", 1}}, nil},
		{"a list of lists", []Key{{"a", [][]int32{}}}, nil},
		{"an alignment that is no power of two", []Key{{"general.alignment", uint32(12)}}, nil},
		{"an alignment of another type", []Key{{"general.alignment", "32"}}, nil},
		{"a name of 64 bytes", nil, []GGUFTensor{some(string(make([]byte, 64)), I8, []byte{1}, 1)}},
		{"five dimensions", nil, []GGUFTensor{some("a", I8, []byte{1}, 1, 1, 1, 1, 1)}},
		{"a type that the format lacks", nil, []GGUFTensor{some("a", U8, []byte{1}, 1)}},
		{"rows of half a block", nil, []GGUFTensor{some("a", Q4_0, make([]byte, 18), 2, 16)}},
		{"a negative dimension", nil, []GGUFTensor{some("a", I8, nil, -1)}},
		{"sizes beyond 63 bits", nil, []GGUFTensor{some("a", I8, nil, 1<<62), some("b", I8, nil, 1<<62)}},
		{"data that is short", nil, []GGUFTensor{some("a", I8, []byte{1}, 2)}},
		{"data that is long", nil, []GGUFTensor{some("a", I8, []byte{1, 2, 3}, 2)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.ErrorIs(t, WriteGGUF(io.Discard, c.keys, c.tensors), ErrFormat)
		})
	}
	t.Run("a file that could not be completed leaves what was there", func(t *testing.T) {
		dir := t.TempDir()
		path := filepath.Join(dir, "m.gguf")
		require.NoError(t, WriteGGUFFile(path, nil, []GGUFTensor{good}))
		before, err := os.ReadFile(path)
		require.NoError(t, err)
		stopped := good
		stopped.Data = func(io.Writer) error { return context.Canceled }
		require.True(t, errors.Is(WriteGGUFFile(path, nil, []GGUFTensor{stopped}), context.Canceled))
		after, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, before, after)
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Len(t, entries, 1)
	})
}

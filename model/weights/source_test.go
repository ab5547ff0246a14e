package weights

import (
	"archive/zip"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"
)

// sample has three tensors; the last in the alphabet lies first in the file.
func sample() []byte {
	data := make([]byte, 4000+200+6)
	for i := range data {
		data[i] = byte(i*7 + i>>8)
	}
	return raw(`{"z":{"dtype":"F32","shape":[100,10],"data_offsets":[0,4000]},"m":{"dtype":"BF16","shape":[100],"data_offsets":[4000,4200]},`+
		`"a":{"dtype":"F16","shape":[3,1],"data_offsets":[4200,4206]}}`, data...)
}

// Every kind of file system gives the same bytes, in any order of reading.
func TestFileSystems(t *testing.T) {
	file := sample()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, singleFile), file, 0o666))
	var packed bytes.Buffer
	w := zip.NewWriter(&packed)
	f, err := w.Create(singleFile)
	require.NoError(t, err)
	_, err = f.Write(file)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	archive, err := zip.NewReader(bytes.NewReader(packed.Bytes()), int64(packed.Len()))
	require.NoError(t, err)
	memory := fstest.MapFS{singleFile: {Data: file}}

	data := file[len(file)-4206:]
	want := map[string][]byte{"z": data[:4000], "m": data[4000:4200], "a": data[4200:]}
	for name, fsys := range map[string]fs.FS{
		"memory":                     memory,
		"folder":                     os.DirFS(dir),
		"zip archive":                archive,
		"files that read and seek":   sequentialFS{FS: memory, seek: true},
		"files that read":            sequentialFS{FS: memory},
		"a folder's files that read": sequentialFS{FS: os.DirFS(dir)},
	} {
		t.Run(name, func(t *testing.T) {
			cp, err := Open(fsys)
			require.NoError(t, err)
			for _, tensor := range []string{"a", "z", "m", "z", "a"} {
				for _, limit := range []int{1, 40, 41, 79, 1000, 3999, 4000, DefaultBlock} {
					have, err := readAll(cp, tensor, limit)
					require.NoError(t, err)
					require.Equal(t, want[tensor], have, "%s in blocks of %d", tensor, limit)
				}
			}
			// Two readers at once must not disturb each other.
			one, two := must(cp.Rows("z")), must(cp.Rows("z"))
			a, b := make([]byte, 400), make([]byte, 1200)
			for i := 0; i < 3; i++ {
				n, err := one.Next(a)
				require.NoError(t, err)
				require.Equal(t, 10, n)
				n, err = two.Next(b)
				require.NoError(t, err)
				require.Equal(t, 30, n)
				require.Equal(t, data[400*i:400*i+400], a)
				require.Equal(t, data[1200*i:1200*i+1200], b)
			}
			require.NoError(t, cp.Close())
		})
	}
}

// Reading forward in a file without seek must not open it again and again.
func TestSequentialOpens(t *testing.T) {
	opens := 0
	cp, err := Open(sequentialFS{FS: fstest.MapFS{singleFile: {Data: sample()}}, opens: &opens})
	require.NoError(t, err)
	opened := opens
	for _, tensor := range []string{"z", "m", "a"} {
		_, err := readAll(cp, tensor, 100)
		require.NoError(t, err)
	}
	require.Equal(t, opened, opens)
	_, err = readAll(cp, "z", 100)
	require.NoError(t, err)
	require.Equal(t, opened+1, opens)
}

func TestRows(t *testing.T) {
	cp, err := one(sample())
	require.NoError(t, err)
	rows, err := cp.Rows("z")
	require.NoError(t, err)
	require.Equal(t, 40, rows.RowBytes())
	require.Equal(t, []int{100, 10}, []int{rows.Info().Rows(), rows.Info().Cols()})
	require.Equal(t, 40, rows.BlockBytes(1), "at least one row")
	require.Equal(t, 80, rows.BlockBytes(119), "whole rows")
	require.Equal(t, 4000, rows.BlockBytes(1<<20), "not more than the tensor")

	_, err = rows.Next(make([]byte, 39))
	require.ErrorIs(t, err, io.ErrShortBuffer)
	block := bytes.Repeat([]byte{0xEE}, 119)
	n, err := rows.Next(block)
	require.NoError(t, err)
	require.Equal(t, 2, n)
	require.Equal(t, bytes.Repeat([]byte{0xEE}, 39), block[80:], "the rest of the block is left alone")
	n, err = rows.Next(make([]byte, 4000))
	require.NoError(t, err)
	require.Equal(t, 98, n)
	n, err = rows.Next(block)
	require.Equal(t, 0, n)
	require.Equal(t, io.EOF, err)

	for _, c := range []struct {
		name       string
		shape      []int
		rows, cols int
	}{
		{"scalar", nil, 1, 1},
		{"vector", []int{7}, 1, 7},
		{"matrix", []int{3, 5}, 3, 5},
		{"patch embedding", []int{8, 3, 2, 2}, 8, 12},
		{"probe", []int{1, 1, 9}, 1, 9},
	} {
		size, _ := F32.Bytes(c.shape...)
		info := Info{DType: F32, Shape: c.shape, Bytes: size}
		require.Equal(t, []int{c.rows, c.cols}, []int{info.Rows(), info.Cols()}, c.name)
	}
	huge := Info{DType: F32, Shape: []int{0, 1 << 62, 1 << 62}}
	require.Equal(t, 0, huge.Cols(), "no overflow in an empty tensor")
}

// A file that is cut, grows, is touched or fails while it is read gives an error that names the
// file and the tensor, not zeros.
func TestFileChanges(t *testing.T) {
	old := time.Now().Add(-time.Hour)
	for _, c := range []struct {
		name   string
		change func(path string) error
		wrap   func(fs.FS) fs.FS
	}{
		{"cut within the tensor", func(p string) error { return os.Truncate(p, 2000) }, nil},
		{"cut to nothing", func(p string) error { return os.Truncate(p, 0) }, nil},
		{"cut by one byte of another tensor", func(p string) error { return os.Truncate(p, int64(len(sample())-1)) }, nil},
		{"grown", func(p string) error { return os.Truncate(p, 1<<20) }, nil},
		{"written again in place", func(p string) error { return os.Chtimes(p, time.Now(), time.Now().Add(time.Hour)) }, nil},
		{"cut, read in sequence", func(p string) error { return os.Truncate(p, 2000) }, func(f fs.FS) fs.FS { return sequentialFS{FS: f} }},
		{"cut, read with seek", func(p string) error { return os.Truncate(p, 2000) }, func(f fs.FS) fs.FS { return sequentialFS{FS: f, seek: true} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), singleFile)
			require.NoError(t, os.WriteFile(path, sample(), 0o666))
			require.NoError(t, os.Chtimes(path, old, old))
			fsys := os.DirFS(filepath.Dir(path))
			if c.wrap != nil {
				fsys = c.wrap(fsys)
			}
			cp, err := Open(fsys)
			require.NoError(t, err)
			defer cp.Close()
			rows, err := cp.Rows("z")
			require.NoError(t, err)
			block := make([]byte, 400)
			_, err = rows.Next(block)
			require.NoError(t, err)

			require.NoError(t, c.change(path))
			for err == nil {
				_, err = rows.Next(block)
			}
			require.ErrorIs(t, err, ErrTruncated)
			var read *ReadError
			require.ErrorAs(t, err, &read)
			require.Equal(t, []string{singleFile, "z"}, []string{read.File, read.Tensor})
			_, err = ReadFloat32(cp, "z")
			require.ErrorIs(t, err, ErrTruncated)
		})
	}
}

func TestFileEndsEarly(t *testing.T) {
	file := sample()
	for _, c := range []struct {
		name string
		fsys lyingFS
		want error
	}{
		{"read at offsets", lyingFS{offset: true}, ErrTruncated},
		{"read in sequence", lyingFS{}, ErrTruncated},
		{"a reader that gives nothing and no error", lyingFS{stall: true}, io.ErrNoProgress},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.fsys.data, c.fsys.claimed = file[:len(file)-1000], int64(len(file))
			cp, err := Open(c.fsys)
			require.NoError(t, err, "the header is whole")
			_, err = ReadFloat32(cp, "z")
			require.ErrorIs(t, err, c.want)
			require.ErrorContains(t, err, `model.safetensors: reading tensor "z": `)
			_, err = readAll(cp, "a", 100)
			require.ErrorIs(t, err, c.want)
		})
	}
}

// brokenFS fails every read at or after a number of bytes.
type brokenFS struct {
	fs.FS
	after int64
}

var errDisk = errors.New("input/output error")

func (b brokenFS) Open(name string) (fs.File, error) {
	f, err := b.FS.Open(name)
	return brokenFile{f, f.(io.ReaderAt), b.after}, err
}

type brokenFile struct {
	fs.File
	at    io.ReaderAt
	after int64
}

func (b brokenFile) ReadAt(p []byte, offset int64) (int, error) {
	if offset+int64(len(p)) > b.after {
		return 0, errDisk
	}
	return b.at.ReadAt(p, offset)
}

func TestReadFails(t *testing.T) {
	memory := fstest.MapFS{singleFile: {Data: sample()}}
	for _, after := range []int64{0, 8, 100} {
		_, err := Open(brokenFS{memory, after})
		require.ErrorIs(t, err, errDisk)
		require.ErrorContains(t, err, "model.safetensors: reading the header: input/output error")
		require.NotErrorIs(t, err, ErrTruncated)
	}
	cp, err := Open(brokenFS{memory, 1000})
	require.NoError(t, err)
	_, err = ReadFloat32(cp, "z")
	require.ErrorIs(t, err, errDisk)
	require.EqualError(t, err, `model.safetensors: reading tensor "z": input/output error`)
}

func TestOpenPassesOtherErrorsOn(t *testing.T) {
	_, err := OpenSafetensorsFile(fstest.MapFS{}, "no.safetensors")
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = OpenSafetensorsFile(os.DirFS(t.TempDir()), "../no.safetensors")
	require.ErrorIs(t, err, fs.ErrInvalid)
}

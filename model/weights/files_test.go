package weights

import (
	"bytes"
	"encoding/binary"
	"io"
	"io/fs"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// raw makes a safetensors file of a header as it stands and its data.
func raw(header string, data ...byte) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), data...)
}

// one opens a file's bytes as a checkpoint of one file.
func one(file []byte) (*Safetensors, error) {
	return OpenSafetensorsFile(fstest.MapFS{"m.safetensors": {Data: file}}, "m.safetensors")
}

// readAll reads a tensor's bytes in blocks of about limit bytes.
func readAll(cp Checkpoint, name string, limit int) ([]byte, error) {
	rows, err := cp.Rows(name)
	if err != nil {
		return nil, err
	}
	var out []byte
	block := make([]byte, rows.BlockBytes(limit))
	for {
		n, err := rows.Next(block)
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		out = append(out, block[:n*rows.RowBytes()]...)
	}
}

// requireSane holds what must be true of every checkpoint that opens: each tensor can be read to
// its end and has the bytes its shape says.
func requireSane(t require.TestingT, cp Checkpoint) {
	for _, name := range cp.Names() {
		require.True(t, cp.Has(name))
		info, err := cp.Tensor(name)
		require.NoError(t, err)
		require.Equal(t, name, info.Name)
		size, ok := info.DType.Bytes(info.Shape...)
		require.True(t, ok)
		require.Equal(t, size, info.Bytes)
		data, err := readAll(cp, name, 1000)
		if _, whole := info.DType.Bytes(info.Cols()); !whole {
			require.ErrorIs(t, err, ErrUnsupportedDType, "rows of %s %v are no whole bytes", info.DType, info.Shape)
			continue
		}
		require.NoError(t, err)
		require.Len(t, data, int(info.Bytes))
	}
}

// sequentialFS hides all that its files can do beyond fs.File, and seeking too unless seek is set.
type sequentialFS struct {
	fs.FS
	seek  bool
	opens *int
}

func (s sequentialFS) Open(name string) (fs.File, error) {
	f, err := s.FS.Open(name)
	if err != nil {
		return nil, err
	}
	if s.opens != nil {
		*s.opens++
	}
	if s.seek {
		return struct {
			fs.File
			io.Seeker
		}{f, f.(io.Seeker)}, nil
	}
	return struct{ fs.File }{f}, nil
}

// lyingFS has one file that ends after its real bytes and claims to have more.
type lyingFS struct {
	data    []byte
	claimed int64
	offset  bool // files have ReadAt
	stall   bool // at the end, Read gives nothing and no error
}

func (l lyingFS) Open(name string) (fs.File, error) {
	f, err := fstest.MapFS{name: {Data: l.data}}.Open(name)
	if err != nil {
		return nil, err
	}
	lying := lyingFile{f, l.claimed, l.stall}
	if l.offset {
		return struct {
			lyingFile
			io.ReaderAt
		}{lying, bytes.NewReader(l.data)}, nil
	}
	return lying, nil
}

type lyingFile struct {
	fs.File
	claimed int64
	stall   bool
}

type lyingInfo struct {
	fs.FileInfo
	claimed int64
}

func (i lyingInfo) Size() int64 { return i.claimed }

func (f lyingFile) Stat() (fs.FileInfo, error) {
	info, err := f.File.Stat()
	return lyingInfo{info, f.claimed}, err
}

func (f lyingFile) Read(p []byte) (int, error) {
	n, err := f.File.Read(p)
	if err == io.EOF && f.stall {
		err = nil
	}
	return n, err
}

// must panics on an error: for what the test itself makes.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

package weights

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
)

// The files that a model folder may have, in the order they are looked for.
const (
	singleFile = "model.safetensors"
	indexFile  = "model.safetensors.index.json"
)

// Safetensors is a [Checkpoint] in one or more files of the safetensors format:
//
//	uint64, little-endian: n | n bytes of JSON | the tensors' data
//
// The JSON names each tensor with its type, shape and byte range; data is row-major and
// little-endian, at any alignment. The format's reference reader is the crate safetensors 0.8.0;
// this one refuses the same files, and a name that comes twice, an empty name or more than 8
// dimensions besides.
type Safetensors struct{ container }

// OpenSafetensors opens the model in the root of fsys: model.safetensors, else all files that
// model.safetensors.index.json lists. Tensors that a shard holds and the index does not list are
// there too.
//
// Errors: ErrNoCheckpoint, ErrFormat, ErrTruncated, ErrMissingFile, or what fsys gave.
func OpenSafetensors(fsys fs.FS) (*Safetensors, error) {
	single, err := OpenSafetensorsFile(fsys, singleFile)
	if !errors.Is(err, fs.ErrNotExist) {
		return single, err
	}
	index, err := readIndex(fsys, indexFile)
	if errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrMissingFile) {
		return nil, fmt.Errorf("%w: there is neither %s nor %s", ErrNoCheckpoint, singleFile, indexFile)
	}
	if err != nil {
		return nil, err
	}
	s, err := openFiles(fsys, index.files)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(index.fileOf)) {
		file := index.fileOf[name]
		if at, ok := s.tensors[name]; !ok {
			err = &FormatError{File: indexFile, Tensor: name, Reason: fmt.Sprintf("listed in %s, which does not hold it", file)}
		} else if at.info.File != file {
			err = &FormatError{File: indexFile, Tensor: name, Reason: fmt.Sprintf("listed in %s, but it is in %s", file, at.info.File)}
		}
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	return s, nil
}

// OpenSafetensorsFile opens a single file. Errors: ErrFormat, ErrTruncated, or what fsys gave.
func OpenSafetensorsFile(fsys fs.FS, name string) (*Safetensors, error) {
	return openFiles(fsys, []string{name})
}

func openFiles(fsys fs.FS, files []string) (_ *Safetensors, err error) {
	s := &Safetensors{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	for _, name := range files {
		src, err := openSource(fsys, name)
		if err != nil {
			return nil, err
		}
		sh := &shard{source: src}
		s.shards = append(s.shards, sh)
		if err := s.add(sh); err != nil {
			return nil, err
		}
	}
	s.sort()
	return s, nil
}

// add reads a file's header, checks it as a whole and takes its tensors in.
func (s *Safetensors) add(sh *shard) error {
	src := sh.source
	text, err := readHeader(src)
	if err != nil {
		return err
	}
	entries, metadata, err := parseHeader(src.name, text)
	if err != nil {
		return err
	}
	dataStart := 8 + int64(len(text))
	if err := checkLayout(src.name, entries, src.size-dataStart); err != nil {
		return err
	}
	sh.metadata = metadata
	for _, e := range entries {
		info := Info{Name: e.name, DType: e.dtype, Shape: e.shape, Bytes: e.end - e.begin, File: src.name}
		if err := s.take(info, dataStart+e.begin, sh); err != nil {
			return err
		}
	}
	return nil
}

// readHeader reads the JSON part, after its length is known to fit the cap and the file.
func readHeader(src *source) ([]byte, error) {
	fail := func(truncated bool, format string, args ...any) ([]byte, error) {
		return nil, &FormatError{File: src.name, Truncated: truncated, Reason: fmt.Sprintf(format, args...)}
	}
	if src.size < 8 {
		return fail(true, "%d bytes are too few for the length of a header", src.size)
	}
	var length [8]byte
	if _, err := src.ReadAt(length[:], 0); err != nil {
		return nil, &ReadError{File: src.name, Err: err}
	}
	n := binary.LittleEndian.Uint64(length[:])
	if n > maxHeader {
		return fail(false, "a header of %d bytes is over the limit of %d", n, maxHeader)
	}
	if int64(n) > src.size-8 {
		return fail(true, "cut short: a header of %d bytes does not fit a file of %d", n, src.size)
	}
	text, err := src.head(8, 8+int64(n))
	if err != nil {
		return nil, &ReadError{File: src.name, Err: err}
	}
	return text, nil
}

// Metadata is the __metadata__ of a file, as Files names it; nil where it has none.
func (s *Safetensors) Metadata(file string) map[string]string {
	for _, sh := range s.shards {
		if sh.source.name == file {
			return maps.Clone(sh.metadata)
		}
	}
	return nil
}

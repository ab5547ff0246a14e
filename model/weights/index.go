package weights

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// shardIndex is model.safetensors.index.json: which file holds which tensor. Its total_size is not
// looked at: the files' own headers say what is there, and published indexes have it wrong.
type shardIndex struct {
	fileOf map[string]string
	files  []string // sorted
}

// parseIndex reads an index. Errors: *FormatError.
func parseIndex(file string, text []byte) (*shardIndex, error) {
	fail := func(format string, args ...any) (*shardIndex, error) {
		return nil, &FormatError{File: file, Reason: fmt.Sprintf(format, args...)}
	}
	if !utf8.Valid(text) {
		return fail("not UTF-8")
	}
	var index shardIndex
	s := scanner{text: text}
	err := s.object(func(key string) (err error) {
		if key != "weight_map" {
			return s.skip()
		}
		if s.peek() != '{' {
			return s.fail("weight_map is not an object")
		}
		index.fileOf, err = s.stringMap()
		return err
	})
	if err == nil {
		err = s.end()
	}
	if err != nil {
		return fail("bad index: %v", err)
	}
	if len(index.fileOf) == 0 {
		return fail("no weight_map, or an empty one")
	}
	seen := map[string]bool{}
	for tensor, name := range index.fileOf {
		if tensor == "" {
			return fail("bad index: a tensor without a name")
		}
		if !plainName(name) {
			return fail("tensor %q: %q is not a plain file name", tensor, name)
		}
		if !seen[name] {
			seen[name] = true
			index.files = append(index.files, name)
		}
	}
	slices.Sort(index.files)
	return &index, nil
}

// plainName says whether name is a file beside the index and nothing else: a stranger's index must
// not reach out of the model's folder, on any system.
func plainName(name string) bool {
	return fs.ValidPath(name) && name != "." && !strings.ContainsAny(name, `/\:`) &&
		!strings.ContainsFunc(name, unicode.IsControl)
}

// readIndex reads the index and makes sure that all its files are there.
// Errors: *FormatError, *MissingFilesError, fs.ErrNotExist where there is no index.
func readIndex(fsys fs.FS, file string) (*shardIndex, error) {
	text, err := readSmall(fsys, file, maxHeader)
	if err != nil {
		return nil, err
	}
	index, err := parseIndex(file, text)
	if err != nil {
		return nil, err
	}
	var missing []string
	for _, name := range index.files {
		if _, err := fs.Stat(fsys, name); errors.Is(err, fs.ErrNotExist) {
			missing = append(missing, name)
		} else if err != nil {
			return nil, err
		}
	}
	if missing != nil {
		return nil, &MissingFilesError{Index: file, Files: missing}
	}
	return index, nil
}

// readSmall reads a whole file of at most limit bytes.
func readSmall(fsys fs.FS, name string, limit int64) (text []byte, err error) {
	file, _, err := openRegular(fsys, name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	text, err = io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(text)) > limit {
		return nil, &FormatError{File: name, Reason: fmt.Sprintf("larger than %d bytes", limit)}
	}
	return text, nil
}

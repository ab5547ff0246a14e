package weights

import (
	"errors"
	"io"
	"maps"
	"slices"
	"sync/atomic"
)

// container is the tensors of one or more open files: what every format's [Checkpoint] is once its
// headers are read.
type container struct {
	shards  []*shard
	tensors map[string]location
	names   []string // sorted
	closed  atomic.Bool
}

type shard struct {
	source   *source
	metadata map[string]string // of a safetensors file
}

type location struct {
	info   Info
	offset int64 // in the file
	shard  *shard
}

// take adds a tensor whose data begins at offset of a file.
func (c *container) take(info Info, offset int64, sh *shard) error {
	if other, ok := c.tensors[info.Name]; ok {
		return &FormatError{File: info.File, Tensor: info.Name, Reason: "it is in " + other.info.File + " too"}
	}
	if c.tensors == nil {
		c.tensors = map[string]location{}
	}
	c.tensors[info.Name] = location{info, offset, sh}
	return nil
}

// sort ends the taking of tensors.
func (c *container) sort() { c.names = slices.Sorted(maps.Keys(c.tensors)) }

// Names implements [Checkpoint].
func (c *container) Names() []string { return slices.Clone(c.names) }

// Has implements [Checkpoint].
func (c *container) Has(name string) bool {
	_, ok := c.tensors[name]
	return ok
}

// Tensor implements [Checkpoint].
func (c *container) Tensor(name string) (Info, error) {
	at, ok := c.tensors[name]
	if !ok {
		return Info{}, missing(name, c.Files())
	}
	return at.info, nil
}

// Rows implements [Checkpoint]. A file of fsys that can neither seek nor be read at an offset (in a
// zip archive, for instance) is read again from its start whenever a tensor lies before the one
// read last.
func (c *container) Rows(name string) (*Rows, error) {
	at, ok := c.tensors[name]
	if !ok {
		return nil, missing(name, c.Files())
	}
	return NewRows(at.info, tensorData{at.shard.source, at.offset})
}

// tensorData is a source seen from a tensor's first byte.
type tensorData struct {
	source *source
	offset int64
}

func (d tensorData) ReadAt(p []byte, offset int64) (int, error) {
	return d.source.ReadAt(p, d.offset+offset)
}

var _ io.ReaderAt = tensorData{}

// Files implements [Checkpoint].
func (c *container) Files() []string {
	files := make([]string, len(c.shards))
	for i, sh := range c.shards {
		files[i] = sh.source.name
	}
	return files
}

// Close implements [Checkpoint].
func (c *container) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	var faults []error
	for _, sh := range c.shards {
		faults = append(faults, sh.source.Close())
	}
	return errors.Join(faults...)
}

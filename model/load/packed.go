package load

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/llama3v/llama3v/model/ops"
)

// packedCache keeps weights in the packed form of one library, a file each, so that packing them (and
// quantising them, which takes longest) is done once:
//
//	FOLDER/SHA256.packed     packed bytes | their CRC-32C, 4 bytes little-endian
//
// The name is the digest of all that the bytes follow from: the library's own hash, the weight's type
// and sizes, and the rows as they are stored, which are read for it each time. A file is written beside
// its place and renamed. One whose size or checksum is wrong counts as absent and is written anew.
type packedCache struct {
	folder  string
	library string // what the packed form means something to
}

// CachePacked keeps packed weights in folder, for the library of that hash. It comes before Load.
func (l *Loader) CachePacked(folder, library string) {
	l.declarations.cache = &packedCache{folder, library}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// key reads the rows of a group and names what they become.
func (c *packedCache) key(ctx context.Context, g group, cols int, block []byte) (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "%s %s %d %d\n", c.library, g.dtype, g.rows(), cols)
	for _, p := range g.pieces {
		fmt.Fprintf(h, "%s %d %d\n", p.weight.DType, p.First, p.Rows)
		err := p.each(ctx, block, func(data []byte, _ int) error {
			h.Write(data)
			return nil
		})
		if err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func (c *packedCache) path(key string) string { return filepath.Join(c.folder, key+".packed") }

// load fills w from the cache. found is false where there is no good file.
func (c *packedCache) load(ctx context.Context, key string, w *ops.Weight, block []byte) (found bool, err error) {
	f, err := os.Open(c.path(key))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	size, err := w.PackedBytes()
	if err != nil {
		return false, err
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() != size+4 {
		return false, err
	}
	sum := uint32(0)
	for at := int64(0); at < size; {
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		n := min(int64(len(block)), size-at)
		if _, err := io.ReadFull(f, block[:n]); err != nil {
			return false, err
		}
		sum = crc32.Update(sum, castagnoli, block[:n])
		if err := w.WritePacked(at, block[:n]); err != nil {
			return false, err
		}
		at += n
	}
	var stored [4]byte
	if _, err := io.ReadFull(f, stored[:]); err != nil {
		return false, err
	}
	return binary.LittleEndian.Uint32(stored[:]) == sum, nil
}

// save writes w to the cache.
func (c *packedCache) save(key string, w *ops.Weight, block []byte) (err error) {
	if err := os.MkdirAll(c.folder, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(c.folder, ".packed-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	size, err := w.PackedBytes()
	sum := uint32(0)
	for at := int64(0); at < size && err == nil; {
		n := min(int64(len(block)), size-at)
		if err = w.ReadPacked(at, block[:n]); err == nil {
			sum = crc32.Update(sum, castagnoli, block[:n])
			_, err = f.Write(block[:n])
		}
		at += n
	}
	if err == nil {
		_, err = f.Write(binary.LittleEndian.AppendUint32(nil, sum))
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), c.path(key))
}

package weights

import (
	"errors"
	"fmt"
	"io"
)

// DefaultBlock is a good size in bytes for the blocks that [Rows] fills: large enough that a read
// costs little beside the copy, small enough to stay in a processor's outer cache.
const DefaultBlock = 4 << 20

// Rows reads one tensor from its first row to its last, whole rows at a time, into the caller's
// memory. It belongs to one goroutine; any number of them may read from one checkpoint at once.
type Rows struct {
	info     Info
	data     io.ReaderAt // of the tensor's own bytes
	rowBytes int64
	done     int64 // bytes
}

// NewRows reads the tensor that info describes from data, whose byte 0 is the tensor's first. It is
// for implementations of [Checkpoint]. Errors: ErrUnsupportedDType where a row is not a whole
// number of bytes.
func NewRows(info Info, data io.ReaderAt) (*Rows, error) {
	r := &Rows{info: info, data: data}
	if info.Bytes == 0 {
		return r, nil
	}
	var ok bool
	if r.rowBytes, ok = info.DType.Bytes(info.Cols()); !ok {
		return nil, &DTypeError{Tensor: info.Name, File: info.File, DType: info.DType}
	}
	return r, nil
}

// Info describes the tensor.
func (r *Rows) Info() Info { return r.info }

// RowBytes is the size of one row, 0 for an empty tensor.
func (r *Rows) RowBytes() int { return int(r.rowBytes) }

// BlockBytes is the size of the largest block that holds whole rows, is at most limit bytes and no
// more than the tensor, but at least one row.
func (r *Rows) BlockBytes(limit int) int {
	if r.rowBytes == 0 {
		return 0
	}
	rows := max(int64(limit)/r.rowBytes, 1)
	return int(min(rows*r.rowBytes, r.info.Bytes))
}

// Next fills block with as many of the following rows as fit whole and returns their number: the
// tensor's bytes as they are stored, little-endian, rows packed. After the last row it returns 0
// and io.EOF; an empty tensor has no rows.
//
// Errors: io.ErrShortBuffer where block has no room for a row; otherwise a *ReadError: ErrTruncated,
// fs.ErrClosed, or what the file system gave. After an error the same rows are read again.
func (r *Rows) Next(block []byte) (int, error) {
	if r.done == r.info.Bytes {
		return 0, io.EOF
	}
	if int64(len(block)) < r.rowBytes {
		return 0, fmt.Errorf("%w: a row of tensor %q has %d bytes, the block %d",
			io.ErrShortBuffer, r.info.Name, r.rowBytes, len(block))
	}
	rows := min(int64(len(block)), r.info.Bytes-r.done) / r.rowBytes
	size := rows * r.rowBytes
	if err := r.readAt(block[:size], r.done); err != nil {
		return 0, err
	}
	r.done += size
	return int(rows), nil
}

// readAt fills p from the tensor's bytes at offset.
func (r *Rows) readAt(p []byte, offset int64) error {
	n, err := r.data.ReadAt(p, offset)
	if n == len(p) && errors.Is(err, io.EOF) {
		err = nil // an io.ReaderAt may say so at the very end
	}
	if n < len(p) && (err == nil || errors.Is(err, io.EOF)) {
		err = ErrTruncated
	}
	if err != nil {
		return &ReadError{File: r.info.File, Tensor: r.info.Name, Err: err}
	}
	return nil
}

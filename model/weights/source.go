package weights

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"
)

// source reads one open file of an fs.FS at any offset, and notices when the file is not any more
// what it was when it was opened. It is safe for concurrent use.
//
// Files that offer io.ReaderAt are read by it. Others are read in sequence, with Seek where there
// is one; without, going backwards opens the file again, so read such files in the order of their
// data.
type source struct {
	fsys    fs.FS
	name    string
	size    int64
	modTime time.Time
	closed  atomic.Bool

	at io.ReaderAt // nil: read in sequence

	mu   sync.Mutex // guards what follows, while reading in sequence
	file fs.File
	pos  int64
}

// openSource opens a file. Errors: what fsys gave, ErrFormat for something that is not a file.
func openSource(fsys fs.FS, name string) (*source, error) {
	file, info, err := openRegular(fsys, name)
	if err != nil {
		return nil, err
	}
	s := &source{fsys: fsys, name: name, size: info.Size(), modTime: info.ModTime(), file: file}
	s.at, _ = file.(io.ReaderAt)
	return s, nil
}

// openRegular opens a file that is nothing but a file: a pipe would block, a device never end.
func openRegular(fsys fs.FS, name string) (fs.File, fs.FileInfo, error) {
	info, err := fs.Stat(fsys, name) // before opening: opening a pipe waits for its writer
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, &FormatError{File: name, Reason: "not a regular file"}
	}
	file, err := fsys.Open(name)
	if err != nil {
		return nil, nil, err
	}
	if info, err = file.Stat(); err != nil {
		return nil, nil, errors.Join(err, file.Close())
	}
	return file, info, nil
}

// ReadAt fills p from the file's bytes at offset, or fails: ErrTruncated where the file ends before
// or has changed, fs.ErrClosed, or what the file gave.
func (s *source) ReadAt(p []byte, offset int64) (int, error) {
	if s.closed.Load() {
		return 0, fs.ErrClosed
	}
	n, err := s.readAt(p, offset)
	if n < len(p) && (err == nil || err == io.EOF || err == io.ErrUnexpectedEOF) {
		return n, fmt.Errorf("%w: it ends at byte %d of %d", ErrTruncated, offset+int64(n), s.size)
	}
	if n < len(p) {
		return n, err
	}
	// Looked at after the read, so that what was read came from the file as it was checked.
	return n, s.unchanged()
}

func (s *source) readAt(p []byte, offset int64) (int, error) {
	if s.at != nil {
		return s.at.ReadAt(p, offset)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.moveTo(offset); err != nil {
		return 0, err
	}
	n, err := readFull(s.file, p)
	s.pos += int64(n)
	return n, err
}

// moveTo makes offset the next byte that is read.
func (s *source) moveTo(offset int64) error {
	if offset == s.pos {
		return nil
	}
	if seeker, ok := s.file.(io.Seeker); ok {
		s.pos = -1 // nowhere known, should Seek fail
		_, err := seeker.Seek(offset, io.SeekStart)
		if err == nil {
			s.pos = offset
		}
		return err
	}
	if offset < s.pos {
		file, err := s.fsys.Open(s.name)
		if err != nil {
			return err
		}
		old := s.file
		s.file, s.pos = file, 0
		if err := old.Close(); err != nil {
			return err
		}
	}
	var discard [4096]byte
	for s.pos < offset {
		n, err := readFull(s.file, discard[:min(int64(len(discard)), offset-s.pos)])
		s.pos += int64(n)
		if err != nil {
			return err
		}
	}
	return nil
}

// unchanged compares the file's size and time with what they were.
func (s *source) unchanged() error {
	s.mu.Lock()
	info, err := s.file.Stat()
	s.mu.Unlock()
	if err != nil {
		return err
	}
	if info.Size() != s.size {
		return fmt.Errorf("%w or changed while it was read: it had %d bytes and has %d", ErrTruncated, s.size, info.Size())
	}
	if !info.ModTime().Equal(s.modTime) {
		return fmt.Errorf("%w or changed while it was read: its modification time moved", ErrTruncated)
	}
	return nil
}

// head reads the file's bytes from begin to end. The buffer grows with what really comes, not with
// what the file system says is there.
func (s *source) head(begin, end int64) ([]byte, error) {
	var b bytes.Buffer
	_, err := b.ReadFrom(io.NewSectionReader(s, begin, end-begin))
	return b.Bytes(), err
}

// Close closes the file, once.
func (s *source) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.file.Close()
}

// readFull fills p from r as io.ReadFull does, but a reader that keeps returning nothing at all
// gives io.ErrNoProgress instead of an endless loop.
func readFull(r io.Reader, p []byte) (int, error) {
	const patience = 100
	n := 0
	for idle := 0; n < len(p); {
		got, err := r.Read(p[n:])
		n += got
		if err != nil && n < len(p) {
			return n, err
		}
		if got > 0 {
			idle = 0
		} else if idle++; idle == patience {
			return n, io.ErrNoProgress
		}
	}
	return n, nil
}

package hub

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

// store is one repository's part of the cache.
type store struct{ root, repo string }

func (s store) name() string { return "models--" + strings.ReplaceAll(s.repo, "/", "--") }
func (s store) folder(parts ...string) string {
	return filepath.Join(append([]string{s.root, s.name()}, parts...)...)
}
func (s store) snapshot(commit string) string { return s.folder("snapshots", commit) }

// offline finds what an earlier pull left. Whether the snapshot is whole, opening it will say.
func (s store) offline(ref Ref) (string, error) {
	commit := ref.Revision
	if data, err := os.ReadFile(s.folder("refs", filepath.FromSlash(ref.Revision))); err == nil {
		commit = strings.TrimSpace(string(data))
	}
	if !commitID.MatchString(commit) {
		return "", fmt.Errorf("%w: revision %s", ErrOffline, ref.Revision)
	}
	path := filepath.Join(s.snapshot(commit), filepath.FromSlash(ref.File))
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%w: %w", ErrOffline, err)
	}
	return path, nil
}

// setRef remembers the commit that a branch or tag stands for now.
func (s store) setRef(revision, commit string) error {
	if revision == commit {
		return nil
	}
	return writeWhole(s.folder("refs", filepath.FromSlash(revision)), []byte(commit))
}

func writeWhole(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".ref-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	return err
}

var digestForm = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

// fetch makes sure that the file is a blob of the cache with a link from the snapshot, and returns
// the link's path.
func (c *Client) fetch(ctx context.Context, s store, repo, commit string, f File) (string, error) {
	if !digestForm.MatchString(f.Digest) || f.Size < 0 {
		return "", fmt.Errorf("%w: the list of files gives it the digest %q and %d bytes", ErrProtocol, f.Digest, f.Size)
	}
	link := filepath.Join(s.snapshot(commit), filepath.FromSlash(f.Name))
	blob := s.folder("blobs", f.Digest)
	if info, err := os.Stat(blob); err != nil || info.Size() != f.Size {
		if err := c.download(ctx, s, repo, commit, f, blob); err != nil {
			return "", err
		}
	}
	return link, makeLink(link, blob)
}

// download fetches a blob while holding its lock, which huggingface_hub holds as well.
func (c *Client) download(ctx context.Context, s store, repo, commit string, f File, blob string) (err error) {
	lockPath := filepath.Join(s.root, ".locks", s.name(), f.Digest+".lock")
	for _, dir := range []string{filepath.Dir(lockPath), filepath.Dir(blob)} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	lock := flock.New(lockPath)
	if _, err := lock.TryLockContext(ctx, 100*time.Millisecond); err != nil {
		return fmt.Errorf("lock %s: %w", lockPath, err)
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	if info, err := os.Stat(blob); err == nil && info.Size() == f.Size {
		return nil // another program was faster
	}
	part, err := openPart(blob+".incomplete", f)
	if err != nil {
		return err
	}
	address := fmt.Sprintf("%s/%s/resolve/%s/%s", c.endpoint(), repo, commit, escapePath(f.Name))
	err = c.retry(ctx, func() (bool, error) {
		before := part.size
		err := c.receive(ctx, address, part)
		return part.size > before, err
	})
	if err != nil {
		return errors.Join(err, part.file.Close()) // what came stays for the next time
	}
	if err := errors.Join(part.file.Sync(), part.file.Close()); err != nil {
		return err
	}
	if got := part.digest(); got != f.Digest {
		return errors.Join(fmt.Errorf("%w: digest %s, the list of files says %s", ErrDigest, got, f.Digest), os.Remove(part.file.Name()))
	}
	return os.Rename(part.file.Name(), blob)
}

// receive appends to part what is missing.
func (c *Client) receive(ctx context.Context, address string, part *part) error {
	if part.size == part.want.Size {
		return nil
	}
	response, err := c.get(ctx, address, part.size)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if part.size > 0 {
		start := fmt.Sprintf("bytes %d-", part.size)
		if response.StatusCode == http.StatusOK {
			err = part.restart() // a server without ranges begins again
		} else if got := response.Header.Get("Content-Range"); !strings.HasPrefix(got, start) {
			err = fmt.Errorf("%w: asked for the bytes from %d on, it sends %q", ErrProtocol, part.size, got)
		}
		if err != nil {
			return err
		}
	}
	if n := response.ContentLength; n >= 0 && n != part.want.Size-part.size {
		return fmt.Errorf("%w: %d announced, %d are missing", ErrSize, n, part.want.Size-part.size)
	}
	return part.append(response.Body, c.Progress)
}

// part is a file that grows, with the digest of what it has.
type part struct {
	want File
	file *os.File
	size int64
	sum  hash.Hash
}

// openPart opens what an earlier attempt left, or begins.
func openPart(path string, f File) (*part, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	p := &part{want: f, file: file}
	p.begin()
	p.size, err = io.Copy(p.sum, file)
	if err == nil && p.size > f.Size {
		err = p.restart()
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return p, nil
}

func (p *part) begin() {
	p.size, p.sum = 0, sha256.New()
	if len(p.want.Digest) == 2*sha1.Size {
		p.sum = sha1.New()
		fmt.Fprintf(p.sum, "blob %d\x00", p.want.Size) // git's name of a file's content
	}
}

func (p *part) restart() error {
	p.begin()
	_, err := p.file.Seek(0, io.SeekStart)
	return local(errors.Join(err, p.file.Truncate(0)))
}

// append copies body behind what is there, and no byte more than is missing.
func (p *part) append(body io.Reader, progress func(Progress)) error {
	block := make([]byte, 1<<20)
	for {
		n, err := body.Read(block)
		if int64(n) > p.want.Size-p.size {
			return fmt.Errorf("%w: more than %d", ErrSize, p.want.Size)
		}
		if n > 0 {
			if _, err := p.file.Write(block[:n]); err != nil {
				return local(err)
			}
			p.sum.Write(block[:n])
			p.size += int64(n)
			if progress != nil {
				progress(Progress{File: p.want.Name, Done: p.size, Size: p.want.Size})
			}
		}
		switch {
		case err == io.EOF && p.size == p.want.Size:
			return nil
		case err == io.EOF:
			return fmt.Errorf("%w: %d of %d", io.ErrUnexpectedEOF, p.size, p.want.Size)
		case err != nil:
			return err
		}
	}
}

func (p *part) digest() string { return hex.EncodeToString(p.sum.Sum(nil)) }

func local(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", errLocal, err)
}

func escapePath(name string) string {
	parts := strings.Split(name, "/")
	for i, part := range parts {
		parts[i] = url.PathEscape(part)
	}
	return strings.Join(parts, "/")
}

// makeLink links path to blob, relatively, so that the cache can be moved.
func makeLink(path, blob string) error {
	target, err := filepath.Rel(filepath.Dir(path), blob)
	if err != nil {
		return err
	}
	if old, err := os.Readlink(path); err == nil && old == target {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	temporary := path + ".new"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(target, temporary); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}

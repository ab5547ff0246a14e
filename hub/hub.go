// Package hub brings a model's files from the Hugging Face hub, or a mirror of it, into the cache
// that the Hugging Face tools share.
//
// [Client.Pull] asks for the list of a repository's files, takes those that a model needs, and
// returns the folder that holds them. What is there already is not fetched again; what was cut off
// is resumed; nothing counts as there before its size and digest are right.
//
// The layout is the one of huggingface_hub (docs, "Understand caching"):
//
//	models--ORG--NAME/refs/REVISION               the commit that a branch or tag stood for
//	models--ORG--NAME/blobs/DIGEST                content: SHA-256, or git's SHA-1 for small files
//	models--ORG--NAME/snapshots/COMMIT/FILE       links into blobs
//	.locks/models--ORG--NAME/DIGEST.lock          held while a blob is written
package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// DefaultEndpoint is where models are, unless HF_ENDPOINT says otherwise.
const DefaultEndpoint = "https://huggingface.co"

// Client fetches models. The zero value asks DefaultEndpoint without a token and keeps files in the
// default cache; [FromEnvironment] takes the usual settings. It is safe for many goroutines.
type Client struct {
	Endpoint string       // base address, without a slash at its end
	Token    string       // sent to the endpoint alone, never to where it redirects
	Cache    string       // the hub's cache folder
	Offline  bool         // only what is in the cache
	HTTP     *http.Client // nil: http.DefaultClient
	// Progress, where it is set, hears of every file as it grows. It is called from one goroutine.
	Progress func(Progress)
	// Pause is waited before a failed request is tried again; 0 means one second, and twice that
	// each time. A server's own Retry-After goes first.
	Pause time.Duration
}

// Progress is how far a file is.
type Progress struct {
	File       string
	Done, Size int64 // bytes
}

// FromEnvironment is a client with the settings that the Hugging Face tools read: HF_ENDPOINT;
// HF_TOKEN, HUGGING_FACE_HUB_TOKEN or the file HF_TOKEN_PATH, by default $HF_HOME/token;
// HF_HUB_CACHE, by default $HF_HOME/hub; HF_HUB_OFFLINE. HF_HOME is $XDG_CACHE_HOME/huggingface, or
// ~/.cache/huggingface.
func FromEnvironment() *Client {
	c := &Client{
		Endpoint: strings.TrimRight(os.Getenv("HF_ENDPOINT"), "/"),
		Token:    first(os.Getenv("HF_TOKEN"), os.Getenv("HUGGING_FACE_HUB_TOKEN")),
		Cache:    cacheFolder(),
	}
	switch strings.ToLower(os.Getenv("HF_HUB_OFFLINE")) {
	case "1", "true", "yes", "on":
		c.Offline = true
	}
	if c.Token == "" {
		path := os.Getenv("HF_TOKEN_PATH")
		if path == "" {
			path = filepath.Join(home(), "token")
		}
		if data, err := os.ReadFile(path); err == nil { // no file: no token
			c.Token = strings.TrimSpace(string(data))
		}
	}
	return c
}

func home() string {
	if dir := os.Getenv("HF_HOME"); dir != "" {
		return dir
	}
	base := os.Getenv("XDG_CACHE_HOME")
	if base == "" {
		user, _ := os.UserHomeDir() // without one: a path that cannot be made, said then
		base = filepath.Join(user, ".cache")
	}
	return filepath.Join(base, "huggingface")
}

func cacheFolder() string {
	if dir := os.Getenv("HF_HUB_CACHE"); dir != "" {
		return dir
	}
	return filepath.Join(home(), "hub")
}

func first(list ...string) string {
	for _, s := range list {
		if s != "" {
			return s
		}
	}
	return ""
}

// Ref names a model: hf:ORG/NAME[@REVISION][:FILE].
type Ref struct {
	Repo     string // ORG/NAME
	Revision string // branch, tag or commit; "main" by default
	File     string // one file to open, such as one of several GGUF files; "" by default
}

// Prefix marks a name as one of the hub.
const Prefix = "hf:"

var (
	repoName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}$`)
	commitID = regexp.MustCompile(`^[0-9a-f]{40}$`)
	revision = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]{0,199}$`)
)

// IsRef says whether a path is a name of the hub and not of the file system.
func IsRef(name string) bool { return strings.HasPrefix(name, Prefix) }

// Parse reads hf:ORG/NAME[@REVISION][:FILE]. Errors: ErrRef.
func Parse(name string) (Ref, error) {
	rest, ok := strings.CutPrefix(name, Prefix)
	if !ok {
		return Ref{}, fmt.Errorf("%w: %q does not begin with %s", ErrRef, name, Prefix)
	}
	r := Ref{Revision: "main"}
	rest, file, hasFile := strings.Cut(rest, ":")
	repo, rev, hasRevision := strings.Cut(rest, "@")
	r.Repo = repo
	if hasRevision {
		r.Revision = rev
	}
	r.File = file
	switch {
	case !repoName.MatchString(repo) || strings.Contains(repo, "..") || strings.Contains(repo, "--"):
		return Ref{}, fmt.Errorf("%w: %q: %q is no ORG/NAME", ErrRef, name, repo)
	case !revision.MatchString(r.Revision) || strings.Contains(r.Revision, ".."):
		return Ref{}, fmt.Errorf("%w: %q: %q is no revision", ErrRef, name, r.Revision)
	case hasFile && !plainPath(file):
		return Ref{}, fmt.Errorf("%w: %q: %q is no file of a repository", ErrRef, name, file)
	}
	return r, nil
}

func (r Ref) String() string {
	text := Prefix + r.Repo
	if r.Revision != "main" && r.Revision != "" {
		text += "@" + r.Revision
	}
	if r.File != "" {
		text += ":" + r.File
	}
	return text
}

// plainPath: a path inside a folder, as every system understands it.
func plainPath(name string) bool {
	return name != "." && fs.ValidPath(name) && !strings.ContainsAny(name, "\\:\x00")
}

// Pull makes sure that the model's files are in the cache and returns the path to open: the
// snapshot's folder, or the file that ref names in it.
//
// Errors: ErrRef, ErrOffline, ErrNotFound, ErrUnauthorized, ErrForbidden, ErrRateLimited,
// *StatusError for these and every other answer that is none; ErrDigest, ErrSize, ErrProtocol for a
// server that says one thing and sends another; ErrFiles where a repository has no model or several;
// ctx's error.
func (c *Client) Pull(ctx context.Context, ref Ref) (string, error) {
	path, err := c.pull(ctx, ref)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return "", fmt.Errorf("pull %s: %w", ref, err)
	}
	return path, nil
}

func (c *Client) pull(ctx context.Context, ref Ref) (string, error) {
	ref, err := Parse(ref.String()) // it may be made by hand, and is part of paths and addresses below
	if err != nil {
		return "", err
	}
	store := store{root: c.cache(), repo: ref.Repo}
	if c.Offline {
		return store.offline(ref)
	}
	listing, err := c.list(ctx, ref)
	if err != nil {
		return "", err
	}
	files, err := listing.needed(ref.File, func(f File) ([]byte, error) {
		path, err := c.fetch(ctx, store, ref.Repo, listing.Commit, f)
		if err != nil {
			return nil, err
		}
		return os.ReadFile(path)
	})
	if err != nil {
		return "", err
	}
	for _, f := range files {
		if _, err := c.fetch(ctx, store, ref.Repo, listing.Commit, f); err != nil {
			return "", fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	if err := store.setRef(ref.Revision, listing.Commit); err != nil {
		return "", err
	}
	return filepath.Join(store.snapshot(listing.Commit), filepath.FromSlash(ref.File)), nil
}

func (c *Client) cache() string {
	if c.Cache == "" {
		return cacheFolder()
	}
	return c.Cache
}

func (c *Client) endpoint() string { return first(c.Endpoint, DefaultEndpoint) }

// maxListing bounds the answer that lists a repository's files.
const maxListing = 32 << 20

// list asks which files the revision has: GET /api/models/REPO/revision/REVISION?blobs=true.
func (c *Client) list(ctx context.Context, ref Ref) (*listing, error) {
	address := fmt.Sprintf("%s/api/models/%s/revision/%s?blobs=true", c.endpoint(), ref.Repo, url.PathEscape(ref.Revision))
	var l *listing
	err := c.retry(ctx, func() (bool, error) {
		response, err := c.get(ctx, address, 0)
		if err != nil {
			return false, err
		}
		defer response.Body.Close()
		data, err := io.ReadAll(io.LimitReader(response.Body, maxListing+1))
		if err != nil {
			return false, err
		}
		if len(data) > maxListing {
			return false, fmt.Errorf("%w: a list of files of more than %d bytes", ErrProtocol, maxListing)
		}
		l, err = parseListing(data)
		return false, err
	})
	return l, err
}

// get sends one request and gives an answer of status 200, or 206 where from is above zero and the
// server continues there.
func (c *Client) get(ctx context.Context, address string, from int64) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("User-Agent", "llama3v")
	if c.Token != "" {
		request.Header.Set("Authorization", "Bearer "+c.Token) // net/http drops it on the way to another host
	}
	if from > 0 {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-", from))
	}
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode == http.StatusOK || from > 0 && response.StatusCode == http.StatusPartialContent {
		return response, nil
	}
	defer response.Body.Close()
	return nil, newStatusError(address, response)
}

// attempts is how often a request may fail in a row before it is given up.
const attempts = 5

// retry runs f until it succeeds or fails for good: on an answer that will not change, or after
// attempts failures without progress.
func (c *Client) retry(ctx context.Context, f func() (progress bool, err error)) error {
	pause := c.Pause
	if pause == 0 {
		pause = time.Second
	}
	wait := pause
	for failed := 0; ; {
		progress, err := f()
		if err == nil || ctx.Err() != nil || !temporary(err) {
			return err
		}
		if progress {
			failed, wait = 0, pause
		}
		if failed++; failed == attempts {
			return err
		}
		sleep := wait
		var status *StatusError
		if errors.As(err, &status) && status.RetryAfter > 0 {
			sleep = status.RetryAfter
		}
		wait *= 2
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(sleep):
		}
	}
}

// listing is a revision's files.
type listing struct {
	Commit string
	Files  []File
}

// File is a file of a repository.
type File struct {
	Name   string
	Size   int64
	Digest string // SHA-256 (64 hex digits), or git's SHA-1 of a blob (40)
}

func parseListing(data []byte) (*listing, error) {
	var body struct {
		SHA      string `json:"sha"`
		Siblings []struct {
			Name   string `json:"rfilename"`
			Size   *int64 `json:"size"`
			BlobID string `json:"blobId"`
			LFS    *struct {
				SHA256 string `json:"sha256"`
				Size   int64  `json:"size"`
			} `json:"lfs"`
		} `json:"siblings"`
	}
	if err := json.Unmarshal(data, &body); err != nil {
		return nil, fmt.Errorf("%w: the list of files: %w", ErrProtocol, err)
	}
	if !commitID.MatchString(body.SHA) {
		return nil, fmt.Errorf("%w: the list of files names the commit %q", ErrProtocol, body.SHA)
	}
	l := &listing{Commit: body.SHA}
	for _, s := range body.Siblings {
		f := File{Name: s.Name, Digest: s.BlobID, Size: -1}
		if s.Size != nil {
			f.Size = *s.Size
		}
		if s.LFS != nil {
			f.Digest, f.Size = s.LFS.SHA256, s.LFS.Size
		}
		if !plainPath(f.Name) {
			return nil, fmt.Errorf("%w: the list of files has the name %q", ErrProtocol, f.Name)
		}
		l.Files = append(l.Files, f)
	}
	return l, nil
}

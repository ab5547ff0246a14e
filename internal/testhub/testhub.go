// Package testhub is a hub of one repository for tests, with faults on demand.
package testhub

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// Commit is the repository's only commit.
const Commit = "0123456789abcdef0123456789abcdef01234567"

// Server is a hub with one repository, org/model, and faults on demand.
type Server struct {
	*httptest.Server
	Files map[string][]byte
	large map[string]bool // kept as LFS: named by SHA-256

	mu       sync.Mutex
	requests []string // "GET /path [Range]"
	// Fault may answer a request itself; it counts requests for that path from 0.
	Fault func(w http.ResponseWriter, r *http.Request, nth int) bool
	seen  map[string]int
}

// New serves files as org/model; large ones are LFS. It stops with the test.
func New(t *testing.T, files map[string][]byte, large ...string) *Server {
	s := &Server{Files: files, large: map[string]bool{}, seen: map[string]int{}}
	for _, name := range large {
		s.large[name] = true
	}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

// Digest names a file's blob.
func (s *Server) Digest(name string) string {
	data := s.Files[name]
	if s.large[name] {
		sum := sha256.Sum256(data)
		return hex.EncodeToString(sum[:])
	}
	sum := sha1.Sum(append(fmt.Appendf(nil, "blob %d\x00", len(data)), data...))
	return hex.EncodeToString(sum[:])
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	nth := s.seen[r.URL.Path]
	s.seen[r.URL.Path]++
	s.requests = append(s.requests, strings.TrimSpace(r.Method+" "+r.URL.Path+" "+r.Header.Get("Range")))
	s.mu.Unlock()
	if s.Fault != nil && s.Fault(w, r, nth) {
		return
	}
	if strings.HasPrefix(r.URL.Path, "/api/models/org/model/revision/") {
		type lfs struct {
			SHA256 string `json:"sha256"`
			Size   int    `json:"size"`
		}
		type sibling struct {
			Name   string `json:"rfilename"`
			Size   int    `json:"size"`
			BlobID string `json:"blobId"`
			LFS    *lfs   `json:"lfs,omitempty"`
		}
		var list []sibling
		for name, data := range s.Files {
			one := sibling{Name: name, Size: len(data), BlobID: s.Digest(name)}
			if s.large[name] {
				one.LFS = &lfs{s.Digest(name), len(data)}
				one.BlobID, one.Size = strings.Repeat("f", 40), 130 // of the pointer file
			}
			list = append(list, one)
		}
		json.NewEncoder(w).Encode(map[string]any{"sha": Commit, "siblings": list})
		return
	}
	data, ok := s.Files[strings.TrimPrefix(r.URL.Path, "/org/model/resolve/"+Commit+"/")]
	if !ok {
		http.Error(w, "Entry not found", http.StatusNotFound)
		return
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}

// Count is the requests so far that begin with prefix: "GET /path bytes=...".
func (s *Server) Count(prefix string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, r := range s.requests {
		if strings.HasPrefix(r, prefix) {
			n++
		}
	}
	return n
}

package hub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/internal/testhub"
)

func client(t *testing.T, s *testhub.Server) *Client {
	return &Client{Endpoint: s.URL, Cache: t.TempDir(), Pause: time.Millisecond}
}

func pattern(n int) []byte {
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(i * i >> 3)
	}
	return data
}

func model() map[string][]byte {
	return map[string][]byte{
		"config.json": []byte(`{"model_type":"llama"}`), "tokenizer.json": []byte("{}"),
		"model.safetensors": pattern(3 << 20), "README.md": []byte("not needed"), "pytorch_model.bin": pattern(100),
	}
}

func pull(t *testing.T, c *Client, name string) (string, error) {
	t.Helper()
	ref, err := Parse(name)
	require.NoError(t, err)
	return c.Pull(context.Background(), ref)
}

func TestPullTakesWhatAModelNeeds(t *testing.T) {
	s := testhub.New(t, model(), "model.safetensors")
	c := client(t, s)
	var last Progress
	c.Progress = func(p Progress) { last = p }
	dir, err := pull(t, c, "hf:org/model")
	require.NoError(t, err)
	require.Equal(t, filepath.Join(c.Cache, "models--org--model", "snapshots", testhub.Commit), dir)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		require.NoError(t, err)
		require.Equal(t, s.Files[e.Name()], data, e.Name())
	}
	require.Equal(t, []string{"config.json", "model.safetensors", "tokenizer.json"}, names)
	require.Equal(t, Progress{"model.safetensors", 3 << 20, 3 << 20}, last)

	target, err := os.Readlink(filepath.Join(dir, "model.safetensors"))
	require.NoError(t, err)
	require.Equal(t, filepath.Join("..", "..", "blobs", s.Digest("model.safetensors")), target, "the layout of the Hugging Face tools")
	head, err := os.ReadFile(filepath.Join(c.Cache, "models--org--model", "refs", "main"))
	require.NoError(t, err)
	require.Equal(t, testhub.Commit, string(head))

	before := s.Count("GET /org")
	again, err := pull(t, c, "hf:org/model")
	require.NoError(t, err)
	require.Equal(t, dir, again)
	require.Equal(t, before, s.Count("GET /org"), "nothing is fetched twice")

	s.Close()
	c.Offline = true
	offline, err := pull(t, c, "hf:org/model")
	require.NoError(t, err)
	require.Equal(t, dir, offline)
	_, err = pull(t, c, "hf:org/other")
	require.ErrorIs(t, err, ErrOffline)
}

func TestPullChoosesFiles(t *testing.T) {
	index := []byte(`{"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors","c":"model-00001-of-00002.safetensors"}}`)
	for _, tc := range []struct {
		name, ref string
		files     []string
		want      []string
		is        error
	}{
		{"shards of the index and no other", "hf:org/model", []string{"config.json", "model.safetensors.index.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model-00003-of-00003.safetensors"},
			[]string{"config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"}, nil},
		{"a shard of the index is missing", "hf:org/model", []string{"model.safetensors.index.json", "model-00001-of-00002.safetensors"}, nil, ErrFiles},
		{"the one GGUF with its projector", "hf:org/model", []string{"m-Q4_0.gguf", "mmproj-m.gguf", "x.bin"}, []string{"m-Q4_0.gguf", "mmproj-m.gguf"}, nil},
		{"parts of a split GGUF are one model", "hf:org/model", []string{"m-00001-of-00002.gguf", "m-00002-of-00002.gguf"}, []string{"m-00001-of-00002.gguf", "m-00002-of-00002.gguf"}, nil},
		{"several GGUF: which one is not guessed", "hf:org/model", []string{"m-Q4_0.gguf", "m-Q8_0.gguf"}, nil, ErrFiles},
		{"several GGUF, one named", "hf:org/model:m-Q8_0.gguf", []string{"m-Q4_0.gguf", "m-Q8_0.gguf", "mmproj-m.gguf"}, []string{"m-Q8_0.gguf", "mmproj-m.gguf"}, nil},
		{"the named file is not there", "hf:org/model:m.gguf", []string{"m-Q4_0.gguf"}, nil, ErrFiles},
		{"no model at all", "hf:org/model", []string{"README.md", "config.json"}, nil, ErrFiles},
	} {
		t.Run(tc.name, func(t *testing.T) {
			files := map[string][]byte{}
			for i, name := range tc.files {
				files[name] = pattern(10 + i)
			}
			if _, ok := files["model.safetensors.index.json"]; ok {
				files["model.safetensors.index.json"] = index
			}
			s := testhub.New(t, files)
			c := client(t, s)
			path, err := pull(t, c, tc.ref)
			if tc.is != nil {
				require.ErrorIs(t, err, tc.is)
				return
			}
			require.NoError(t, err)
			if strings.HasSuffix(path, ".gguf") {
				path = filepath.Dir(path)
			}
			entries, err := os.ReadDir(path)
			require.NoError(t, err)
			var names []string
			for _, e := range entries {
				names = append(names, e.Name())
			}
			require.Equal(t, tc.want, names)
		})
	}
}

// cut sends the first n bytes of what it was asked for and breaks the connection.
func cut(w http.ResponseWriter, data []byte, n int) {
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.Write(data[:n])
	w.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

func TestPullGoesOnWhereAConnectionBroke(t *testing.T) {
	s := testhub.New(t, model(), "model.safetensors")
	data := s.Files["model.safetensors"]
	s.Fault = func(w http.ResponseWriter, r *http.Request, nth int) bool {
		if !strings.HasSuffix(r.URL.Path, "model.safetensors") || nth >= 7 {
			return false
		}
		from := 0
		if header := r.Header.Get("Range"); header != "" {
			_, err := fmt.Sscanf(header, "bytes=%d-", &from)
			require.NoError(t, err)
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(data)-1, len(data)))
			w.Header().Set("Content-Length", strconv.Itoa(len(data)-from))
			w.WriteHeader(http.StatusPartialContent)
		}
		cut(w, data[from:], 100_000)
		return true
	}
	dir, err := pull(t, client(t, s), "hf:org/model")
	require.NoError(t, err, "more cuts than attempts, but each brought something")
	got, err := os.ReadFile(filepath.Join(dir, "model.safetensors"))
	require.NoError(t, err)
	require.Equal(t, data, got)
	require.Equal(t, 7, s.Count("GET /org/model/resolve/"+testhub.Commit+"/model.safetensors bytes="), "all but the first ask for the rest alone")
}

func TestPullGoesOnInAnotherRun(t *testing.T) {
	s := testhub.New(t, model(), "model.safetensors")
	data := s.Files["model.safetensors"]
	var broken atomic.Bool
	broken.Store(true)
	s.Fault = func(w http.ResponseWriter, r *http.Request, nth int) bool {
		if !broken.Load() || !strings.HasSuffix(r.URL.Path, "model.safetensors") {
			return false
		}
		if nth == 0 {
			cut(w, data, 1_000_000)
		}
		panic(http.ErrAbortHandler)
	}
	c := client(t, s)
	_, err := pull(t, c, "hf:org/model")
	require.Error(t, err)
	_, err = os.Stat(filepath.Join(c.Cache, "models--org--model", "snapshots", testhub.Commit, "model.safetensors"))
	require.ErrorIs(t, err, os.ErrNotExist, "half a file is no file")
	broken.Store(false)
	rest := "GET /org/model/resolve/" + testhub.Commit + "/model.safetensors bytes=1000000-"
	before := s.Count(rest)
	dir, err := pull(t, c, "hf:org/model")
	require.NoError(t, err)
	got, err := os.ReadFile(filepath.Join(dir, "model.safetensors"))
	require.NoError(t, err)
	require.Equal(t, data, got)
	require.Equal(t, before+1, s.Count(rest), "the second run asks for the rest alone")
}

func TestPullBelievesNoServer(t *testing.T) {
	big := pattern(200_000)
	for _, tc := range []struct {
		name  string
		fault func(w http.ResponseWriter, r *http.Request, nth int) bool
		is    error
	}{
		{"other bytes of the right number", func(w http.ResponseWriter, r *http.Request, _ int) bool {
			w.Write(make([]byte, len(big)))
			return true
		}, ErrDigest},
		{"more bytes than listed, announced", func(w http.ResponseWriter, r *http.Request, _ int) bool {
			w.Header().Set("Content-Length", strconv.Itoa(len(big)+1))
			w.Write(append(big, 1))
			return true
		}, ErrSize},
		{"more bytes than listed, without saying so", func(w http.ResponseWriter, r *http.Request, _ int) bool {
			w.(http.Flusher).Flush() // chunked
			for range 10 {
				w.Write(big)
			}
			return true
		}, ErrSize},
		{"fewer bytes than listed, announced", func(w http.ResponseWriter, r *http.Request, _ int) bool {
			w.Write(big[:100])
			return true
		}, ErrSize},
		{"404", status(404), ErrNotFound},
		{"401", status(401), ErrUnauthorized},
		{"403", status(403), ErrForbidden},
		{"429 without end", status(429), ErrRateLimited},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := testhub.New(t, map[string][]byte{"model.safetensors": big}, "model.safetensors")
			s.Fault = func(w http.ResponseWriter, r *http.Request, nth int) bool {
				return strings.Contains(r.URL.Path, "/resolve/") && tc.fault(w, r, nth)
			}
			c := client(t, s)
			_, err := pull(t, c, "hf:org/model")
			require.ErrorIs(t, err, tc.is)
			require.ErrorContains(t, err, "model.safetensors")
			_, err = os.Stat(filepath.Join(c.Cache, "models--org--model", "blobs", s.Digest("model.safetensors")))
			require.ErrorIs(t, err, os.ErrNotExist)
			if errors.Is(tc.is, ErrRateLimited) {
				require.Equal(t, attempts, s.Count("GET /org"))
			}
			if errors.Is(tc.is, ErrDigest) {
				s.Fault = nil
				_, err := pull(t, c, "hf:org/model")
				require.NoError(t, err, "wrong bytes do not stay in the way")
			}
		})
	}
}

func status(code int) func(http.ResponseWriter, *http.Request, int) bool {
	return func(w http.ResponseWriter, _ *http.Request, _ int) bool {
		http.Error(w, "says the server", code)
		return true
	}
}

func TestPullWaitsAndTriesAgain(t *testing.T) {
	for _, code := range []int{429, 500, 503} {
		s := testhub.New(t, model(), "model.safetensors")
		s.Fault = func(w http.ResponseWriter, r *http.Request, nth int) bool {
			return nth < 2 && status(code)(w, r, nth)
		}
		_, err := pull(t, client(t, s), "hf:org/model")
		require.NoError(t, err, code)
	}
}

func TestPullStartsAgainWithoutRanges(t *testing.T) {
	s := testhub.New(t, model(), "model.safetensors")
	data := s.Files["model.safetensors"]
	s.Fault = func(w http.ResponseWriter, r *http.Request, nth int) bool {
		if !strings.HasSuffix(r.URL.Path, "model.safetensors") {
			return false
		}
		if nth == 0 {
			cut(w, data, 1000)
		}
		w.Write(data) // 200, whatever was asked for
		return true
	}
	dir, err := pull(t, client(t, s), "hf:org/model")
	require.NoError(t, err)
	got, err := os.ReadFile(filepath.Join(dir, "model.safetensors"))
	require.NoError(t, err)
	require.Equal(t, data, got)
}

func TestPullRefusesAList(t *testing.T) {
	for name, body := range map[string]string{
		"no JSON":              `<html>`,
		"no commit":            `{"siblings":[]}`,
		"a commit with a path": `{"sha":"../../../../../../../../../../../../../etc"}`,
		"a name that leaves":   `{"sha":"` + testhub.Commit + `","siblings":[{"rfilename":"../config.json","size":1,"blobId":"` + testhub.Commit + `"}]}`,
		"a rooted name":        `{"sha":"` + testhub.Commit + `","siblings":[{"rfilename":"/etc/passwd","size":1,"blobId":"` + testhub.Commit + `"}]}`,
		"a digest with a path": `{"sha":"` + testhub.Commit + `","siblings":[{"rfilename":"model.safetensors","size":1,"blobId":"../../x"}]}`,
		"no size":              `{"sha":"` + testhub.Commit + `","siblings":[{"rfilename":"model.safetensors","blobId":"` + testhub.Commit + `"}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			s := testhub.New(t, nil)
			s.Fault = func(w http.ResponseWriter, r *http.Request, _ int) bool {
				fmt.Fprint(w, body)
				return true
			}
			c := client(t, s)
			_, err := pull(t, c, "hf:org/model")
			require.ErrorIs(t, err, ErrProtocol)
			require.Equal(t, 1, s.Count(""), "it is not asked for again")
			entries, err := os.ReadDir(c.Cache)
			require.NoError(t, err)
			require.Empty(t, entries)
		})
	}
}

func TestTokenGoesToTheEndpointAlone(t *testing.T) {
	s := testhub.New(t, model(), "model.safetensors")
	var elsewhere http.Header
	storage := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		elsewhere = r.Header
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(s.Files["model.safetensors"]))
	}))
	defer storage.Close()
	other := strings.Replace(storage.URL, "127.0.0.1", "localhost", 1) // another host, as net/http sees it
	s.Fault = func(w http.ResponseWriter, r *http.Request, _ int) bool {
		if r.Header.Get("Authorization") != "Bearer secret" {
			return status(401)(w, r, 0)
		}
		if strings.HasSuffix(r.URL.Path, "model.safetensors") {
			http.Redirect(w, r, other, http.StatusFound)
			return true
		}
		return false
	}
	c := client(t, s)
	_, err := pull(t, c, "hf:org/model")
	require.ErrorIs(t, err, ErrUnauthorized)
	require.NotContains(t, err.Error(), "secret")
	c.Token = "secret"
	_, err = pull(t, c, "hf:org/model")
	require.NoError(t, err)
	require.NotNil(t, elsewhere)
	require.Empty(t, elsewhere.Get("Authorization"))
}

func TestPullStopsWithItsContext(t *testing.T) {
	s := testhub.New(t, model(), "model.safetensors")
	ctx, cancel := context.WithCancelCause(context.Background())
	enough := errors.New("enough")
	s.Fault = func(w http.ResponseWriter, r *http.Request, _ int) bool {
		if !strings.HasSuffix(r.URL.Path, "model.safetensors") {
			return false
		}
		w.Write(make([]byte, 100))
		w.(http.Flusher).Flush()
		cancel(enough)
		<-r.Context().Done()
		return true
	}
	_, err := client(t, s).Pull(ctx, Ref{Repo: "org/model"})
	require.ErrorIs(t, err, enough)
}

func TestPullsAtOnceFetchOnce(t *testing.T) {
	s := testhub.New(t, model(), "model.safetensors")
	c := client(t, s)
	var group sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		group.Go(func() { _, errs[i] = c.Pull(context.Background(), Ref{Repo: "org/model"}) })
	}
	group.Wait()
	require.NoError(t, errors.Join(errs...))
	require.Equal(t, 1, s.Count("GET /org/model/resolve/"+testhub.Commit+"/model.safetensors"))
}

func TestParse(t *testing.T) {
	for name, want := range map[string]Ref{
		"hf:org/model":             {"org/model", "main", ""},
		"hf:org/model@v1.2":        {"org/model", "v1.2", ""},
		"hf:o-r.g/m_1@refs/pr/3":   {"o-r.g/m_1", "refs/pr/3", ""},
		"hf:org/model:m.gguf":      {"org/model", "main", "m.gguf"},
		"hf:org/model@x:sub/m.bin": {"org/model", "x", "sub/m.bin"},
	} {
		got, err := Parse(name)
		require.NoError(t, err, name)
		require.Equal(t, want, got)
		require.Equal(t, name, got.String())
	}
	for _, name := range []string{"org/model", "hf:", "hf:model", "hf:a/b/c", "hf:../x", "hf:org/..", "hf:org/model@", "hf:org/model@../x",
		"hf:org/model@a b", "hf:org/model:", "hf:org/model:../x", "hf:org/model:/x", "hf:a--b/c", "hf:org/mo?del"} {
		_, err := Parse(name)
		require.ErrorIs(t, err, ErrRef, name)
	}
}

func TestFromEnvironment(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "token"), []byte("of the file\n"), 0o600))
	for _, name := range []string{"HF_ENDPOINT", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HUB_CACHE", "HF_HUB_OFFLINE"} {
		t.Setenv(name, "")
	}
	t.Setenv("HF_HOME", dir)
	c := FromEnvironment()
	require.Equal(t, "of the file", c.Token)
	require.Equal(t, filepath.Join(dir, "hub"), c.Cache)
	require.Equal(t, DefaultEndpoint, c.endpoint())
	require.False(t, c.Offline)
	t.Setenv("HF_ENDPOINT", "http://mirror.test/")
	t.Setenv("HF_TOKEN", "of the variable")
	t.Setenv("HF_HUB_CACHE", "elsewhere")
	t.Setenv("HF_HUB_OFFLINE", "1")
	c = FromEnvironment()
	require.Equal(t, []any{"http://mirror.test", "of the variable", "elsewhere", true}, []any{c.Endpoint, c.Token, c.Cache, c.Offline})
}

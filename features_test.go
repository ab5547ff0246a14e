package llama3v

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/internal/need"
	"github.com/llama3v/llama3v/model/weights"
)

// entry is features whose bytes() is 128 more than 4 times n.
func entry(n int, value float32) *features {
	f := &features{data: make([]float32, n), tokens: 1, dim: n}
	for i := range f.data {
		f.data[i] = value
	}
	return f
}

// computer makes entries of one size and counts.
type computer struct {
	size  int
	calls [][]string // the keys of each call
	keys  []string
}

func (c *computer) on(keys ...string) func([]int) ([]*features, error) {
	c.keys = keys
	return func(indices []int) ([]*features, error) {
		var asked []string
		var made []*features
		for _, i := range indices {
			asked = append(asked, keys[i])
			made = append(made, entry(c.size, float32(len(keys[i]))))
		}
		c.calls = append(c.calls, asked)
		return made, nil
	}
}

func (c *computer) get(t *testing.T, cache *featureCache, keys ...string) (hits []bool) {
	t.Helper()
	values, hits, err := cache.get(context.Background(), keys, c.on(keys...))
	require.NoError(t, err)
	for i, v := range values {
		require.Equal(t, entry(c.size, float32(len(keys[i]))), v, "key %d", i)
	}
	requireSound(t, cache)
	return hits
}

// requireSound looks at what must hold whenever no request runs.
func requireSound(t *testing.T, c *featureCache) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	require.Empty(t, c.flights, "nothing is in flight")
	require.Len(t, c.entries, c.recent.Len())
	var bytes int64
	for e := c.recent.Front(); e != nil; e = e.Next() {
		kept := e.Value.(*cached)
		require.Same(t, e, c.entries[kept.key])
		bytes += kept.value.bytes()
	}
	require.Equal(t, bytes, c.bytes)
	require.LessOrEqual(t, bytes, c.limit)
}

const size100 = 400 + 128 // bytes of an entry of 100 values

func TestFeatureCacheKeepsWhatFitsAndDropsTheLeastRecent(t *testing.T) {
	type request struct {
		keys []string
		hits []bool
	}
	for _, tc := range []struct {
		name     string
		limit    int64
		requests []request
		calls    [][]string
	}{
		{"the second request is a hit", size100, []request{
			{[]string{"a"}, []bool{false}},
			{[]string{"a"}, []bool{true}},
		}, [][]string{{"a"}}},
		{"hits and misses in one request: only the misses are computed, in order", 9 * size100, []request{
			{[]string{"bb"}, []bool{false}},
			{[]string{"a", "bb", "ccc"}, []bool{false, true, false}},
		}, [][]string{{"bb"}, {"a", "ccc"}}},
		{"the same picture twice in one request is computed once", 9 * size100, []request{
			{[]string{"a", "bb", "a", "a"}, []bool{false, false, true, true}},
		}, [][]string{{"a", "bb"}}},
		{"the same picture twice with nothing kept", 0, []request{
			{[]string{"a", "a"}, []bool{false, true}},
		}, [][]string{{"a"}}},
		{"a limit of zero keeps nothing", 0, []request{
			{[]string{"a"}, []bool{false}},
			{[]string{"a"}, []bool{false}},
		}, [][]string{{"a"}, {"a"}}},
		{"one byte too few keeps nothing", size100 - 1, []request{
			{[]string{"a"}, []bool{false}},
			{[]string{"a"}, []bool{false}},
		}, [][]string{{"a"}, {"a"}}},
		{"the oldest goes when a third comes", 2*size100 + size100 - 1, []request{
			{[]string{"a"}, []bool{false}},
			{[]string{"bb"}, []bool{false}},
			{[]string{"ccc"}, []bool{false}},
			{[]string{"bb"}, []bool{true}},
			{[]string{"a"}, []bool{false}},
		}, [][]string{{"a"}, {"bb"}, {"ccc"}, {"a"}}},
		{"a hit makes an entry young again", 2 * size100, []request{
			{[]string{"a"}, []bool{false}},
			{[]string{"bb"}, []bool{false}},
			{[]string{"a"}, []bool{true}},
			{[]string{"ccc"}, []bool{false}},
			{[]string{"a"}, []bool{true}},
			{[]string{"bb"}, []bool{false}},
		}, [][]string{{"a"}, {"bb"}, {"ccc"}, {"bb"}}},
		{"a request larger than the whole cache is answered", size100, []request{
			{[]string{"a", "bb", "ccc"}, []bool{false, false, false}},
			{[]string{"ccc"}, []bool{true}},
			{[]string{"a"}, []bool{false}},
		}, [][]string{{"a", "bb", "ccc"}, {"a"}}},
		{"no keys at all", size100, []request{{nil, []bool{}}}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cache, c := newFeatureCache(tc.limit), &computer{size: 100}
			for i, r := range tc.requests {
				require.Equal(t, r.hits, c.get(t, cache, r.keys...), "request %d", i)
			}
			require.Equal(t, tc.calls, c.calls)
		})
	}
}

var errCompute = errors.New("no features")

// A compute that fails or panics leaves nothing behind: the next request computes anew.
func TestFeatureCacheAfterAFailure(t *testing.T) {
	for _, tc := range []struct {
		name string
		fail func([]int) ([]*features, error)
	}{
		{"an error", func([]int) ([]*features, error) { return nil, errCompute }},
		{"an error beside values that may be wrong", func(indices []int) ([]*features, error) {
			return make([]*features, len(indices)), errCompute
		}},
		{"a panic", func([]int) ([]*features, error) { panic(errCompute) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cache, c := newFeatureCache(9*size100), &computer{size: 100}
			c.get(t, cache, "a")
			func() {
				defer func() {
					if r := recover(); r != nil {
						require.Equal(t, errCompute, r)
					}
				}()
				_, _, err := cache.get(context.Background(), []string{"a", "bb", "bb"}, tc.fail)
				require.ErrorIs(t, err, errCompute)
			}()
			requireSound(t, cache)
			require.Equal(t, []bool{true, false}, c.get(t, cache, "a", "bb"), "what was there before stays, what failed is not kept")
		})
	}
}

// One computation per key, however many goroutines ask while it runs.
func TestFeatureCacheComputesOnceForManyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const many = 50
		cache, gate := newFeatureCache(9*size100), make(chan struct{})
		calls := 0
		done := make(chan bool, many)
		for range many {
			go func() {
				values, _, err := cache.get(context.Background(), []string{"a"}, func([]int) ([]*features, error) {
					calls++ // the race detector would see two at once
					<-gate
					return []*features{entry(100, 1)}, nil
				})
				done <- err == nil && values[0].data[0] == 1
			}()
		}
		synctest.Wait() // all ask; one computes, the others wait for it
		require.Equal(t, 1, calls)
		require.Empty(t, done)
		close(gate)
		for range many {
			require.True(t, <-done)
		}
		require.Equal(t, 1, calls)
		requireSound(t, cache)
		_, hit, err := cache.get(context.Background(), []string{"a"}, nil)
		require.NoError(t, err)
		require.True(t, hit[0])
	})
}

// Requests that share some pictures and not others, in every order, do not wait for each other in
// a circle.
func TestFeatureCacheSharedKeysInOppositeOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cache := newFeatureCache(4 * size100) // so small that entries come and go
		done := make(chan error, 64)
		for g := range 64 {
			go func() {
				for round := range 20 {
					var keys []string
					for i := range 5 {
						k := (g*7 + round*3 + i) % 9
						if g%2 == 1 {
							k = 8 - k
						}
						keys = append(keys, fmt.Sprintf("%0*d", k+1, k))
					}
					c := computer{size: 100}
					values, _, err := cache.get(context.Background(), keys, c.on(keys...))
					for i, v := range values {
						if v.data[0] != float32(len(keys[i])) {
							err = fmt.Errorf("key %s got another's features", keys[i])
						}
					}
					if err != nil {
						done <- err
						return
					}
				}
				done <- nil
			}()
		}
		for range 64 {
			require.NoError(t, <-done)
		}
		requireSound(t, cache)
	})
}

// A follower whose leader fails computes itself; it does not get the leader's error.
func TestFeatureCacheFollowerOfAFailure(t *testing.T) {
	for _, tc := range []struct {
		name string
		lead func() ([]*features, error)
	}{
		{"the leader fails", func() ([]*features, error) { return nil, errCompute }},
		{"the leader panics", func() ([]*features, error) { panic(errCompute) }},
		{"the leader's features are too large to keep", func() ([]*features, error) {
			return []*features{entry(10000, 1)}, nil
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cache, gate := newFeatureCache(size100), make(chan struct{})
				go func() {
					defer func() { _ = recover() }()
					_, _, _ = cache.get(context.Background(), []string{"a"}, func([]int) ([]*features, error) {
						<-gate
						return tc.lead()
					})
				}()
				synctest.Wait()
				type outcome struct {
					values []*features
					hits   []bool
					err    error
				}
				followed := make(chan outcome, 1)
				go func() {
					c := computer{size: 100}
					values, hits, err := cache.get(context.Background(), []string{"a"}, c.on("a"))
					followed <- outcome{values, hits, err}
				}()
				synctest.Wait()
				require.Empty(t, followed, "it waits for the leader")
				close(gate)
				got := <-followed
				require.NoError(t, got.err)
				require.Equal(t, []*features{entry(100, 1)}, got.values)
				require.Equal(t, []bool{false}, got.hits)
				requireSound(t, cache)
			})
		})
	}
}

func TestFeatureCacheContext(t *testing.T) {
	cause := errors.New("the caller went away")

	t.Run("ended before anything began", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(context.Background())
		cancel(cause)
		cache := newFeatureCache(size100)
		_, _, err := cache.get(ctx, []string{"a"}, func([]int) ([]*features, error) {
			t.Error("computed for a caller that is gone")
			return nil, errCompute
		})
		require.ErrorIs(t, err, cause)
		requireSound(t, cache)
	})

	t.Run("a follower stops waiting, its leader goes on", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			cache, gate := newFeatureCache(size100), make(chan struct{})
			led, followed := make(chan error, 1), make(chan error, 1)
			go func() {
				_, _, err := cache.get(context.Background(), []string{"a"}, func([]int) ([]*features, error) {
					<-gate
					return []*features{entry(100, 1)}, nil
				})
				led <- err
			}()
			synctest.Wait()
			ctx, cancel := context.WithCancelCause(context.Background())
			go func() {
				_, _, err := cache.get(ctx, []string{"a"}, func([]int) ([]*features, error) { return nil, errCompute })
				followed <- err
			}()
			synctest.Wait()
			require.Empty(t, followed)
			cancel(cause)
			require.ErrorIs(t, <-followed, cause)
			require.Empty(t, led)
			close(gate)
			require.NoError(t, <-led)
			c := computer{size: 100}
			require.Equal(t, []bool{true}, c.get(t, cache, "a"))
		})
	})
}

// P98, P99: what is compared is the whole key, not a digest of it, so that two keys never share an
// entry, and no part of a key can run into the next.
func TestFeatureCacheComparesWholeKeys(t *testing.T) {
	cache, c := newFeatureCache(99*size100), &computer{size: 100}
	keys := []string{"ab|30x150|layer 1", "ab|150x30|layer 1", "ab|30x150|layer 11", "ab|30x150|pooled"}
	require.Equal(t, []bool{false, false, false, false}, c.get(t, cache, keys...))
	require.Len(t, cache.entries, 4)
}

// demoFiles are the demo's files in memory, with one weight changed where asked.
func demoFiles(t *testing.T, changed bool) fstest.MapFS {
	t.Helper()
	files := fstest.MapFS{}
	for _, name := range []string{"config.json", "generation_config.json", "model.safetensors", "preprocessor_config.json",
		"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"} {
		data, err := os.ReadFile(filepath.Join("testdata", "demo", name))
		require.NoError(t, err)
		files[name] = &fstest.MapFile{Data: data}
	}
	if changed {
		data := files["model.safetensors"].Data
		tensors, err := weights.OpenSafetensors(files)
		require.NoError(t, err)
		defer tensors.Close()
		rows, err := tensors.Rows("vision_tower.vision_model.post_layernorm.bias")
		require.NoError(t, err)
		values := make([]byte, rows.RowBytes())
		_, err = rows.Next(values)
		require.NoError(t, err)
		at := bytes.Index(data, values)
		require.Positive(t, at)
		require.Equal(t, at, bytes.LastIndex(data, values), "these bytes stand once in the file")
		data[at+1] ^= 0x80 // the sign of one bfloat16
	}
	return files
}

func openMemory(t *testing.T, files fstest.MapFS, opts ...Option) *Model {
	t.Helper()
	m, err := OpenFS(context.Background(), files, opts...)
	if errors.Is(err, ErrNoBackend) {
		need.Missing(t, "cpu", err.Error())
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

// P100: two models of one shape share nothing: each computes a picture for itself.
func TestFeaturesOfAModelWithAnotherWeight(t *testing.T) {
	first, second := openMemory(t, demoFiles(t, false)), openMemory(t, demoFiles(t, true))
	picture := []Picture{File(filepath.Join("testdata", "demo", "pictures", "dog.jpg"))}
	encode := func(m *Model) any {
		features, err := m.EncodeImages(context.Background(), picture)
		require.NoError(t, err)
		return features.Data()
	}
	want := encode(first)
	require.NotEqual(t, want, encode(second))
	require.Equal(t, want, encode(first))
	require.Len(t, first.features.entries, 1)
}

// P98, P02: the size of a picture, the rule for its transparency and the output asked for are parts
// of the key; the way in which it is handed in is not.
func TestFeatureKeys(t *testing.T) {
	white, drop := openMemory(t, demoFiles(t, false)), openMemory(t, demoFiles(t, false), WithAlpha(AlphaDrop))
	stripe := func(w, h int) image.Image {
		img := image.NewNRGBA(image.Rect(0, 0, w, h))
		for i := range img.Pix {
			img.Pix[i] = byte(i * 7)
		}
		return img
	}
	key := func(m *Model, p Picture, output string) string {
		sights, err := m.decode(context.Background(), []Picture{p}, output, &Timings{})
		require.NoError(t, err)
		return sights[0].key
	}
	base := key(white, Image(stripe(30, 150)), "projected")
	require.Equal(t, base, key(white, Image(stripe(30, 150)), "projected"))
	var file bytes.Buffer
	require.NoError(t, png.Encode(&file, stripe(30, 150)))
	require.Equal(t, base, key(white, Bytes(file.Bytes()), "projected"), "the same pixels from a file")
	for name, other := range map[string]string{
		"the same bytes in another size":       key(white, Image(stripe(150, 30)), "projected"),
		"another rule for transparency":        key(drop, Image(stripe(30, 150)), "projected"),
		"another output":                       key(white, Image(stripe(30, 150)), "pooled"),
		"an output whose name begins the same": key(white, Image(stripe(30, 150)), "projected2"),
	} {
		require.NotEqual(t, base, other, name)
	}
}

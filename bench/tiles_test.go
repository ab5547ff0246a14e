package bench

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/internal/need"
)

// product is a case of the choice.
type product struct {
	set                      string // "sm80", "sm90"
	multiprocessors, m, n, k int64
	batchInvariant           bool
	bytesPerElement          int64
}

var sets = map[string]tileSet{"sm80": sm80, "sm90": sm90}

// realShapes are n, k of the products of so400m, CLIP-L, Llama 3 8B, Llama 3.2 1B and SmolLM2-135M,
// and m of a token, a few, a batch, a prompt, a picture with a class token, one and 32 of 729 patches.
func realShapes() (list [][3]int64) {
	for _, m := range []int64{1, 7, 64, 512, 577, 729, 23328} {
		for _, nk := range [][2]int64{
			{1152, 588}, {3456, 1152}, {1152, 1152}, {4304, 1152}, {1152, 4304}, {4096, 1152},
			{1024, 588}, {3072, 1024}, {1024, 1024}, {4096, 1024}, {1024, 4096},
			{6144, 4096}, {4096, 4096}, {28672, 4096}, {4096, 14336}, {128256, 4096},
			{3072, 2048}, {2048, 2048}, {16384, 2048}, {2048, 8192}, {128256, 2048},
			{960, 576}, {576, 576}, {3072, 576}, {576, 1536}, {49152, 576},
		} {
			list = append(list, [3]int64{m, nk[0], nk[1]})
		}
	}
	return list
}

// randomShapes are sizes from 1 to most, small ones as often as large.
func randomShapes(n int, most float64) (list [][3]int64) {
	r := rand.New(rand.NewPCG(1, 2))
	size := func() int64 {
		s := 1.0
		for s*2 < most && r.IntN(17) > 0 {
			s *= 2
		}
		return 1 + int64(r.Float64()*2*s)
	}
	for range n {
		list = append(list, [3]int64{size(), size(), size()})
	}
	return list
}

// driver asks tiles.h for each line of its input.
const driver = `
#include <cstdio>
#include <cstring>
#include "tiles.h"
using namespace l3v::cuda;
int main() {
  char form[8];
  long long multiprocessors, m, n, k, invariant, bytes;
  while (std::scanf("%7s %lld %lld %lld %lld %lld %lld", form, &multiprocessors, &m, &n, &k, &invariant, &bytes) == 7) {
    const Forms forms = std::strcmp(form, "sm90") == 0 ? Forms::kSm90 : Forms::kSm80;
    const int count = static_cast<int>(multiprocessors), each = static_cast<int>(bytes);
    const TileChoice t = choose_tile(forms, count, m, n, k, invariant != 0, each);
    const long long cycles = tile_cycles(t, tiles_of(forms).products, count, m, n, k, each);
    std::printf("%d %d %d %d %d %lld\n", t.rows, t.cols, t.depth, t.stages, t.splits, cycles);
  }
}
`

func TestTilesAreThoseOfTheBackend(t *testing.T) {
	var cases []product
	for _, s := range append(realShapes(), randomShapes(3000, 1<<16)...) {
		for set := range sets {
			for _, multiprocessors := range []int64{132, 108, 1} {
				for _, bytes := range []int64{2, 4} {
					cases = append(cases, product{set: set, multiprocessors: multiprocessors, m: s[0], n: s[1], k: s[2], bytesPerElement: bytes})
				}
			}
			cases = append(cases, product{set: set, multiprocessors: 132, m: s[0], n: s[1], k: s[2], batchInvariant: true, bytesPerElement: 2})
		}
	}
	var in, want strings.Builder
	for _, c := range cases {
		invariant := 0
		if c.batchInvariant {
			invariant = 1
		}
		fmt.Fprintln(&in, c.set, c.multiprocessors, c.m, c.n, c.k, invariant, c.bytesPerElement)
		set := sets[c.set]
		b := set.choose(c.multiprocessors, c.m, c.n, c.k, c.batchInvariant, c.bytesPerElement)
		fmt.Fprintln(&want, b.rows, b.cols, b.depth, b.stages, b.splits, b.cycles(set.products, c.multiprocessors, c.m, c.n, c.k, c.bytesPerElement))
	}
	got := strings.Split(runCXX(t, driver, in.String()), "\n")
	for i, line := range strings.Split(want.String(), "\n") {
		require.Greater(t, len(got), i)
		if line != got[i] {
			require.Equal(t, got[i], line, "%+v: rows, cols, depth, stages, splits, cycles", cases[i])
		}
	}
	require.Greater(t, len(cases), 10000)
}

// runCXX compiles a program against csrc/cuda and gives what it says to in.
func runCXX(t *testing.T, source, in string) string {
	t.Helper()
	compiler := strings.Fields(os.Getenv("CXX"))
	for _, name := range []string{"c++", "g++", "clang++"} {
		if _, err := exec.LookPath(name); err == nil && len(compiler) == 0 {
			compiler = []string{name}
		}
	}
	if len(compiler) == 0 {
		need.Missing(t, "cc", "no C++ compiler: $CXX, c++, g++, clang++")
	}
	folder := t.TempDir()
	file, program := filepath.Join(folder, "driver.cpp"), filepath.Join(folder, "driver")
	require.NoError(t, os.WriteFile(file, []byte(source), 0o600))
	args := append(compiler[1:], "-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-I", filepath.Join("..", "csrc", "cuda"), file, "-o", program)
	out, err := exec.Command(compiler[0], args...).CombinedOutput()
	require.NoError(t, err, string(out))
	cmd := exec.Command(program)
	cmd.Stdin = strings.NewReader(in)
	var text bytes.Buffer
	cmd.Stdout = &text
	require.NoError(t, cmd.Run())
	return text.String()
}

// least is the cheapest of tiles and splits up to most.
func least(tiles []tile, most, products, multiprocessors, m, n, k int64) int64 {
	best := int64(-1)
	for _, t := range tiles {
		for t.splits = 1; t.splits <= most; t.splits++ {
			if c := t.cycles(products, multiprocessors, m, n, k, 2); c >= 0 && (best < 0 || c < best) {
				best = c
			}
		}
	}
	return best
}

// The choice against exhaustive search in the model, as a ratio of costs: at the real shapes, against
// every number of splits up to 64; anywhere, against those that may be taken. It loses where it does not
// try splits. And, for products that go by tiles at all, against tiles that do not exist: all whose sums fit
// in the registers of two warpgroups. That is the price of a short list.
func TestChoiceAgainstExhaustiveSearch(t *testing.T) {
	const real, anywhere = 1.01, 1.15
	for _, tc := range []struct {
		set             string
		multiprocessors int64
		depth           int64
		worst, mean     float64 // beside all tiles
	}{
		{"sm90", 132, 64, 1.25, 1.04},
		{"sm80", 108, 32, 1.65, 1.09},
	} {
		t.Run(tc.set, func(t *testing.T) {
			set := sets[tc.set]
			ratio := func(s [3]int64, among []tile, splits int64) float64 {
				b := set.choose(tc.multiprocessors, s[0], s[1], s[2], false, 2)
				return float64(b.cycles(set.products, tc.multiprocessors, s[0], s[1], s[2], 2)) /
					float64(least(among, splits, set.products, tc.multiprocessors, s[0], s[1], s[2]))
			}
			for _, s := range realShapes() {
				require.LessOrEqual(t, ratio(s, set.tiles, 64), real, "%v", s)
			}
			for _, s := range randomShapes(3000, 1<<16) {
				require.LessOrEqual(t, ratio(s, set.tiles, maxSplits), anywhere, "%v", s)
			}

			var all []tile
			for _, rows := range []int64{64, 128, 192, 256} {
				for cols := int64(32); cols <= 256; cols += 32 {
					if rows*cols <= 128*256 {
						all = append(all, tile{rows: rows, cols: cols, depth: tc.depth})
					}
				}
			}
			sum, n, worst, at := 0.0, 0.0, 0.0, [3]int64{}
			for _, s := range realShapes() {
				if s[0] <= rowsWithoutTiles {
					continue
				}
				r := ratio(s, all, 64)
				sum, n = sum+r, n+1
				if r > worst {
					worst, at = r, s
				}
			}
			t.Logf("beside all tiles: mean %.3f, worst %.3f at %v", sum/n, worst, at)
			require.LessOrEqual(t, worst, tc.worst, "%v", at)
			require.LessOrEqual(t, sum/n, tc.mean)
		})
	}
}

// A tile that is cut, and one that is not, add up to the whole: no split is empty, and scratch is
// where the second kernel reads.
func TestSplitsCoverK(t *testing.T) {
	for _, s := range append(realShapes(), randomShapes(2000, 1<<14)...) {
		for name, set := range sets {
			b := set.choose(132, s[0], s[1], s[2], false, 2)
			steps := ceil(s[2], b.depth)
			each := ceil(steps, b.splits)
			require.GreaterOrEqual(t, each*b.splits, steps, "%s %v", name, s)
			require.Less(t, each*(b.splits-1), steps, "%s %v: the last split has nothing to do", name, s)
		}
	}
}

// Batch-invariant contexts: the tile does not depend on the rows.
func TestInvariantTile(t *testing.T) {
	for name, set := range sets {
		for _, s := range realShapes() {
			b := set.choose(132, s[0], s[1], s[2], true, 2)
			require.Equal(t, set.choose(132, 1, 1, 1, true, 2), b, name)
			require.EqualValues(t, 1, b.splits)
		}
	}
}

// Rings fit in the shared memory of a block: 227 KiB on sm_90, 99 KiB on the smallest card that runs
// the forms of sm_80, with room for barriers.
func TestRingsFitInSharedMemory(t *testing.T) {
	for name, most := range map[string]int64{"sm90": 227 << 10, "sm80": 99 << 10} {
		for _, b := range sets[name].tiles {
			require.LessOrEqual(t, b.stages*(b.rows+b.cols)*b.depth*elementBytes, most-1024, "%s %+v", name, b)
		}
	}
}

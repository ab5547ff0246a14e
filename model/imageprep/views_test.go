package imageprep

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func tiled(t testing.TB, processor string, longest, tile int, split bool) *Config {
	c, err := ParseConfig(fmt.Appendf(nil, `{"image_processor_type": %q, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "resample": 1,
		"rescale_factor": 0.00392156862745098, "do_pad": true, "do_image_splitting": %v,
		"size": {"longest_edge": %d}, "max_image_size": {"longest_edge": %d}}`, processor, split, longest, tile))
	require.NoError(t, err)
	return c
}

// TestGoldenTiles: every tile of the Idefics3 and SmolVLM processors, small ones and the released 2048/512.
func TestGoldenTiles(t *testing.T) {
	var index struct {
		Files []struct {
			goldenFile
			Tiles []struct {
				Processor        string
				LongestEdge      int `json:"longest_edge"`
				Tile, Rows, Cols int
				Split            bool
				Values           *struct {
					SHA256 string `json:"sha256_data"`
				} `json:"pixel_values"`
				AllOnes    bool     `json:"mask_all_ones"`
				TileSHA256 []string `json:"tile_sha256_data"`
			}
		}
	}
	require.NoError(t, json.Unmarshal(readFile(t, "index.json"), &index))
	processors := map[string]string{"idefics3": "Idefics3ImageProcessor", "smolvlm": "SmolVLMImageProcessor"}
	checked := 0
	for _, f := range index.Files {
		if f.Tiles == nil {
			continue
		}
		t.Run(filepath.Base(f.File), func(t *testing.T) {
			p := goldenUpright(t, f.goldenFile)
			for _, want := range f.Tiles {
				require.Contains(t, processors, want.Processor)
				c := tiled(t, processors[want.Processor], want.LongestEdge, want.Tile, want.Split)
				v, err := c.Views(p)
				require.NoError(t, err)
				require.Equal(t, Grid{want.Rows, want.Cols}, v.Grid)
				require.Equal(t, v.Grid, c.Grid(p.Width, p.Height))
				require.Len(t, v.Views, v.Grid.Views())
				var all []float32
				for i, view := range v.Views {
					require.Equal(t, [2]int{want.Tile, want.Tile}, [2]int{view.Height, view.Width})
					if want.TileSHA256 != nil {
						require.Equal(t, want.TileSHA256[i], hash(floatBytes(view.Pixels)), "tile %d", i)
					}
					all = append(all, view.Pixels...)
				}
				require.True(t, want.Values != nil || len(want.TileSHA256) == len(v.Views))
				if want.Values != nil {
					require.True(t, want.AllOnes, "no padding in a view")
					require.Equal(t, want.Values.SHA256, hash(floatBytes(all)), "%s split %v", want.Processor, want.Split)
				}
				checked++
			}
		})
	}
	require.Equal(t, 44, checked)
}

// TestGoldenTileLayout: 20 sizes under each of the three released settings.
func TestGoldenTileLayout(t *testing.T) {
	var list []struct {
		Model                                   string
		LongestEdge                             int `json:"longest_edge"`
		Tile, Width, Height, Rows, Cols, Images int
	}
	require.NoError(t, json.Unmarshal(readFile(t, "expected/tile_layout.json"), &list))
	require.Len(t, list, 60)
	for _, want := range list {
		got := tiled(t, "Idefics3ImageProcessor", want.LongestEdge, want.Tile, true).Grid(want.Width, want.Height)
		require.Equal(t, Grid{want.Rows, want.Cols}, got, "%+v", want)
		require.Equal(t, want.Images, got.Views(), "%+v", want)
	}
}

// TestSliceLayout: worked out by hand from the rules of the model reference.
func TestSliceLayout(t *testing.T) {
	s := MiniCPM25(448, 14, 9).Slices
	for _, tc := range []struct {
		name          string
		width, height int
		whole         [2]int
		grid          Grid
		full          [2]int
	}{
		{"a small picture grows to one view", 100, 100, [2]int{448, 448}, Grid{}, [2]int{}},
		{"one view keeps the shape", 400, 200, [2]int{630, 322}, Grid{}, [2]int{}}, // r 2: h int(316.78), w 632 = 45.14 patches, 22.57 patches
		{"exactly one view's area is not cut", 448, 448, [2]int{448, 448}, Grid{}, [2]int{}},
		{"a bit more is cut in two", 449, 448, [2]int{448, 448}, Grid{1, 2}, [2]int{644, 630}}, // wider than high: two columns, cells of 224 x 448
		{"square of four", 896, 896, [2]int{448, 448}, Grid{2, 2}, [2]int{896, 896}},
		{"wide", 1344, 448, [2]int{770, 252}, Grid{1, 3}, [2]int{1344, 448}},
		{"high", 448, 1344, [2]int{252, 770}, Grid{3, 1}, [2]int{448, 1344}},
		{"huge: nine at most", 4032, 3024, [2]int{518, 392}, Grid{3, 3}, [2]int{1554, 1176}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := s.layout(tc.width, tc.height)
			require.Equal(t, tc.whole, l.whole, "whole")
			require.Equal(t, tc.grid, l.grid, "grid")
			require.Equal(t, tc.full, l.full, "full")
		})
	}
}

// P12: every size gives views that the tower has room for.
func TestSlicesOfAnySize(t *testing.T) {
	s := MiniCPM25(448, 14, 9).Slices
	for _, size := range [][2]int{{1, 1}, {1, 4096}, {10000, 1}, {4, 10000}, {1, 1000000}, {1000000, 3}, {65535, 65535}, {100000, 100}} {
		l := s.layout(size[0], size[1])
		fits := func(w, h int) {
			require.Zero(t, w%14, size)
			require.Zero(t, h%14, size)
			require.Positive(t, w*h, size)
			require.LessOrEqual(t, w/14*(h/14), s.MostPatches(), size)
		}
		fits(l.whole[0], l.whole[1])
		require.LessOrEqual(t, l.grid.Rows*l.grid.Cols, 9)
		if l.grid != (Grid{}) {
			fits(l.full[0]/l.grid.Cols, l.full[1]/l.grid.Rows)
		}
	}
	v, err := MiniCPM25(448, 14, 9).Views(&Picture{Width: 10000, Height: 1, Pix: make([]byte, 30000)})
	require.NoError(t, err)
	require.Len(t, v.Views, 1)
	require.Equal(t, [2]int{14, 2048 * 14}, [2]int{v.Views[0].Height, v.Views[0].Width})
}

// The slices are the parts of the resized picture, the whole one stands before them.
func TestSlicesInOrder(t *testing.T) {
	p := newPicture(1344, 896)
	for y := range p.Height {
		for x := range p.Width {
			copy(p.row(y)[3*x:], []byte{byte(x / 448 * 100), byte(y / 448 * 100), 7})
		}
	}
	v, err := MiniCPM25(448, 14, 9).Views(p)
	require.NoError(t, err)
	require.Equal(t, Grid{2, 3}, v.Grid)
	require.Len(t, v.Views, 7)
	level := func(n byte) float32 { return (float32(n)/255 - 0.5) / 0.5 }
	for i, view := range v.Views[1:] {
		require.Equal(t, [2]int{448, 448}, [2]int{view.Height, view.Width})
		n := 448 * 448
		require.Equal(t, level(byte(i%3*100)), view.Pixels[224*448+224], "red of slice %d", i)
		require.Equal(t, level(byte(i/3*100)), view.Pixels[n+224*448+224], "green of slice %d", i)
	}
	require.Equal(t, [2]int{364, 546}, [2]int{v.Views[0].Height, v.Views[0].Width})
}

// A table made with the double-precision factor is the authors' division in float32.
func TestFactorIsDivision(t *testing.T) {
	tables := MiniCPM25(448, 14, 9).tables()
	for n := range 256 {
		require.Equal(t, (float32(n)/255-0.5)/0.5, tables[0][n])
	}
}

func TestParseTilesAndSlices(t *testing.T) {
	c := tiled(t, "SmolVLMImageProcessorFast", 2048, 512, false)
	require.Equal(t, &Tiles{LongestEdge: 2048, Edge: 512, Whole: true}, c.Tiles)
	const slices = `{"image_processor_type": "MiniCPMVImageProcessor", "max_slice_nums": 9, "scale_resolution": 448, "patch_size": 14,
		"use_image_id": false, "slice_mode": true, "norm_mean": [0.5, 0.5, 0.5], "norm_std": [0.5, 0.5, 0.5], "version": 2.5}`
	c, err := ParseConfig([]byte(slices))
	require.NoError(t, err)
	require.Equal(t, MiniCPM25(448, 14, 9), c)
	require.NotEqual(t, c.Key(), MiniCPM25(448, 14, 4).Key())
	require.NotEqual(t, tiled(t, "Idefics3ImageProcessor", 84, 28, true).Key(), tiled(t, "Idefics3ImageProcessor", 84, 28, false).Key())
	_, _, err = c.Tensor(newPicture(1, 1))
	require.ErrorIs(t, err, ErrUnsupported)

	for _, tc := range []struct {
		name, from, to, key string
		kind                error
	}{
		{"a later version", `2.5}`, `2.6}`, "version", ErrUnsupported},
		{"pictures with numbers", `"use_image_id": false`, `"use_image_id": true`, "use_image_id", ErrUnsupported},
		{"no patch", `"patch_size": 14`, `"patch_size": 0`, "scale_resolution", ErrConfig},
		{"less than a patch", `"scale_resolution": 448`, `"scale_resolution": 13`, "scale_resolution", ErrConfig},
		{"no slices", `"max_slice_nums": 9`, `"max_slice_nums": 0`, "max_slice_nums", ErrConfig},
		{"a zero deviation", `"norm_std": [0.5`, `"norm_std": [0`, "norm_std", ErrConfig},
	} {
		t.Run(tc.name, func(t *testing.T) {
			requireConfig(t, []byte(strings.Replace(slices, tc.from, tc.to, 1)), tc.key, tc.kind)
		})
	}
	const tiles = `{"image_processor_type": "Idefics3ImageProcessor", "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "resample": 1,
		"size": {"longest_edge": 84}, "max_image_size": {"longest_edge": 28}}`
	for _, tc := range []struct {
		name, from, to, key string
		kind                error
	}{
		{"no tile", `"max_image_size"`, `"max"`, "max_image_size", ErrConfig},
		{"a shortest edge", `{"longest_edge": 84}`, `{"shortest_edge": 84}`, "size", ErrUnsupported},
		{"more tiles than any model has", `{"longest_edge": 28}`, `{"longest_edge": 2}`, "max_image_size", ErrUnsupported},
		{"nearest", `"resample": 1`, `"resample": 0`, "resample", ErrUnsupported},
		{"an unknown step", `"resample"`, `"do_other": true, "resample"`, "do_other", ErrUnsupported},
	} {
		t.Run(tc.name, func(t *testing.T) {
			requireConfig(t, []byte(strings.Replace(tiles, tc.from, tc.to, 1)), tc.key, tc.kind)
		})
	}
}

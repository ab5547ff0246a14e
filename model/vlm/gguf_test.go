package vlm_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/internal/golden"
	"github.com/llama3v/llama3v/internal/testdevice"
	"github.com/llama3v/llama3v/model/llama"
	"github.com/llama3v/llama3v/model/load"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/vlm"
	"github.com/llama3v/llama3v/model/weights"
)

// ggufModels is models.json of the golden GGUF files.
type ggufModels struct {
	Text []struct {
		GGUF      string    `json:"gguf"`
		Prompt    []int32   `json:"prompt"`
		Logits    string    `json:"hf_logits"`
		Positions []int     `json:"positions"`
		Greedy    []int32   `json:"hf_greedy"`
		Margins   []float64 `json:"hf_margins"`
	} `json:"text"`
	Tokenize struct {
		Cases []struct {
			Text         string  `json:"text"`
			ParseSpecial bool    `json:"parse_special"`
			IDs          []int32 `json:"ids"`
		} `json:"cases"`
	} `json:"tokenize"`
}

func ggufRoot() string { return filepath.Join(golden.Root(), "golden", "gguf") }

func readGGUFModels(t *testing.T) ggufModels {
	t.Helper()
	var models ggufModels
	readJSON(t, filepath.Join(ggufRoot(), "models.json"), &models)
	return models
}

func readJSON(t *testing.T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, into))
}

// npy reads the float32 values of a NumPy file (format version 1.0, C order).
func npy(t *testing.T, path string) []float32 {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "\x93NUMPY\x01\x00", string(data[:8]))
	header := int(binary.LittleEndian.Uint16(data[8:10]))
	require.Contains(t, string(data[10:10+header]), "'descr': '<f4', 'fortran_order': False")
	values := make([]float32, (len(data)-10-header)/4)
	require.NoError(t, binary.Read(bytes.NewReader(data[10+header:]), binary.LittleEndian, values))
	return values
}

// openGGUF reads the config of a file and loads its decoder.
func openGGUF(t *testing.T, dev *ops.Device, fsys fs.FS, name string) *vlm.Model {
	t.Helper()
	g, err := weights.OpenGGUF(fsys, name)
	require.NoError(t, err)
	c, cp, err := vlm.ReadGGUF(g)
	require.NoError(t, err)
	defer func() { require.NoError(t, cp.Close()) }()
	l := load.New(dev, cp)
	m := vlm.Declare(l, c)
	unknown, err := l.Check()
	require.NoError(t, err)
	require.Empty(t, unknown)
	require.NoError(t, l.Load(context.Background()))
	return m
}

// TestGoldenGGUF: a tiny model in each type, against its own weights dequantised and run in float32
// elsewhere. On the emulator one of floats and one of blocks stand for all, for a few tokens.
func TestGoldenGGUF(t *testing.T) {
	const tolerance = 2e-4 // of logits
	models := readGGUFModels(t)
	require.Equal(t, 8, len(models.Text))
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		for _, want := range models.Text {
			t.Run(filepath.Base(want.GGUF), func(t *testing.T) {
				if dev.Capabilities().Emulated {
					if !slices.Contains([]string{"tiny-untied-hd24.BF16.gguf", "tiny-k256.Q4_K_M.gguf"}, filepath.Base(want.GGUF)) {
						t.Skip("left out on the emulator")
					}
					want.Greedy, want.Margins = want.Greedy[:3], want.Margins[:3]
				}
				m := openGGUF(t, dev, os.DirFS(ggufRoot()), want.GGUF)
				sizes := llama.Sizes{Positions: 128, Context: 128, PrefillRows: 100}
				r, err := llama.NewRunner(dev, m.Decoder, ops.F32, sizes)
				require.NoError(t, err)
				s := dev.Stream()
				seq, err := r.Cache.Reserve(context.Background(), len(want.Prompt)+len(want.Greedy))
				require.NoError(t, err)
				logits, err := r.Score(dev, s, seq, want.Prompt, nil)
				require.NoError(t, err)
				seq.Close()
				expected, worst := npy(t, filepath.Join(ggufRoot(), want.Logits)), 0.0
				vocab := m.Config.Text.Vocab
				for i, position := range want.Positions {
					for j := range vocab {
						worst = max(worst, math.Abs(float64(logits[position*vocab+j]-expected[i*vocab+j])))
					}
				}
				t.Logf("largest difference of logits %.1e", worst)
				require.LessOrEqual(t, worst, tolerance)

				seq, err = r.Cache.Reserve(context.Background(), len(want.Prompt)+len(want.Greedy))
				require.NoError(t, err)
				defer seq.Close()
				requireGreedy(t, r, s, seq, want.Prompt, want.Greedy, want.Margins, 2*tolerance)
			})
		}
	})
}

// requireGreedy holds greedy ids to the reference's, up to the first step whose margin is no larger
// than least.
func requireGreedy(t *testing.T, r *llama.Runner, s *ops.Stream, seq *llama.Sequence, prompt, want []int32, margins []float64, least float64) {
	t.Helper()
	var next int32
	for rest := prompt; len(rest) > 0; {
		chunk := rest[:min(len(rest), r.PrefillRows())]
		rest = rest[len(chunk):]
		var err error
		next, err = r.Prefill(s, seq, chunk, nil, len(rest) == 0)
		require.NoError(t, err)
	}
	for i, id := range want {
		if margins[i] <= least {
			return
		}
		require.Equal(t, id, next, "token %d, margin %v", i, margins[i])
		if i+1 < len(want) {
			var err error
			next, err = r.Decode(seq, next)
			require.NoError(t, err)
		}
	}
}

func TestGGUFTokenizers(t *testing.T) {
	models := readGGUFModels(t)
	require.Len(t, models.Tokenize.Cases, 24)
	checked := 0
	for _, model := range models.Text {
		g, err := weights.OpenGGUF(os.DirFS(ggufRoot()), model.GGUF)
		require.NoError(t, err)
		c, cp, err := vlm.ReadGGUF(g)
		require.NoError(t, err)
		defer cp.Close()
		tok, err := vlm.ReadGGUFTokenizer(g, c)
		require.NoError(t, err)
		for _, tc := range models.Tokenize.Cases {
			if tc.ParseSpecial {
				continue // text never becomes structure here
			}
			ids, err := tok.Encode(tc.Text)
			require.NoError(t, err)
			require.Equal(t, append([]int32{}, tc.IDs...), append([]int32{}, ids...), "%s: %q", model.GGUF, tc.Text)
			checked++
		}
	}
	require.Equal(t, 12*8, checked)
}

// loadEyed loads a text model and an mmproj file of the golden folder as one model.
func loadEyed(t *testing.T, dev *ops.Device, text, eye string, rules vlm.EyeRules) *vlm.Model {
	t.Helper()
	fsys := os.DirFS(filepath.Join(ggufRoot(), "models"))
	g, err := weights.OpenGGUF(fsys, text)
	require.NoError(t, err)
	c, cp, err := vlm.ReadGGUF(g)
	require.NoError(t, err)
	e, err := weights.OpenGGUF(fsys, eye)
	require.NoError(t, err)
	require.True(t, vlm.IsEyeGGUF(e))
	eyeCP, preprocessor, err := vlm.ReadEyeGGUF(e, c, rules)
	require.NoError(t, err)
	require.True(t, json.Valid(preprocessor))
	all := weights.Join(weights.Part{Checkpoint: cp}, weights.Part{Checkpoint: eyeCP})
	defer func() { require.NoError(t, all.Close()) }()
	l := load.New(dev, all)
	m := vlm.Declare(l, c)
	unknown, err := l.Check()
	require.NoError(t, err)
	require.Empty(t, unknown)
	require.NoError(t, l.Load(context.Background()))
	return m
}

// rgbPixels are the planes of a raw RGB picture, from -1 to 1.
func rgbPixels(t *testing.T, name string) []float32 {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(ggufRoot(), "models", name))
	require.NoError(t, err)
	n := len(data) / 3
	pixels := make([]float32, len(data))
	for i, v := range data {
		pixels[i%3*n+i/3] = (float32(float64(v)*(1.0/255)) - 0.5) / 0.5
	}
	return pixels
}

func largestDifference(t *testing.T, got, want []float32) float64 {
	t.Helper()
	require.Len(t, got, len(want))
	worst := 0.0
	for i := range got {
		worst = max(worst, math.Abs(float64(got[i]-want[i])))
	}
	return worst
}

// TestGoldenGGUFEyes: towers and projectors of mmproj files, whatever their converter did to them,
// against transformers' hidden states and projected features.
func TestGoldenGGUFEyes(t *testing.T) {
	models := filepath.Join(ggufRoot(), "models")
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		for _, tc := range []struct {
			file, why string
			state     int  // the hidden state that the features are
			reference bool // which is the one that the reference projects
			tolerance float64
		}{
			{"tiny-llava.mmproj-old.gguf", "the last layer was left out: all that are there run", 2, true, 2e-4},
			{"tiny-llava.mmproj-feature2.gguf", "the file names the layer", 2, true, 2e-4},
			{"tiny-llava.mmproj-new.gguf", "all layers are there and no word about which: the last", 3, false, 2e-4},
			{"tiny-llava.mmproj-swapped.gguf", "the two layers of each MLP have each other's names", 3, false, 2e-4},
			{"tiny-llava.mmproj-quickgelu.gguf", "use_gelu is false for a SigLIP tower", 3, false, 2e-4},
			{"tiny-llava.mmproj-f16.gguf", "half-precision weights", 3, false, 2e-2},
		} {
			t.Run(tc.file, func(t *testing.T) {
				m := loadEyed(t, dev, "tiny-llava.F32.gguf", tc.file, vlm.EyeRules{})
				require.Equal(t, tc.state, m.Config.Features.Layer, tc.why)
				eye, err := vlm.NewEye(dev, m, 1)
				require.NoError(t, err)
				s, pixels := dev.Stream(), rgbPixels(t, "tiny-llava.24x24.rgb")
				hidden, err := eye.Features(s, pixels, m.Config.Features)
				require.NoError(t, err)
				name := "tiny-llava.hidden" + string(rune('0'+tc.state)) + ".npy"
				require.LessOrEqual(t, largestDifference(t, hidden.Data, npy(t, filepath.Join(models, name))), tc.tolerance, tc.why)
				projected, err := eye.Project(s, pixels)
				require.NoError(t, err)
				require.Len(t, projected.Data, 36*64)
				if tc.reference {
					worst := largestDifference(t, projected.Data, npy(t, filepath.Join(models, "tiny-llava.projected.hf.npy")))
					t.Logf("projected features (deviation 6.3): largest difference %.1e", worst)
					require.LessOrEqual(t, worst, tc.tolerance)
				}
			})
		}
		t.Run("tiny-idefics3.mmproj-F32.gguf", func(t *testing.T) {
			m := loadEyed(t, dev, "tiny-idefics3.F32.gguf", "tiny-idefics3.mmproj-F32.gguf", vlm.EyeRules{})
			eye, err := vlm.NewEye(dev, m, 3)
			require.NoError(t, err)
			projected, err := eye.Project(dev.Stream(), npy(t, filepath.Join(models, "tiny-idefics3.pixels.npy")))
			require.NoError(t, err)
			worst := largestDifference(t, projected.Data, npy(t, filepath.Join(models, "tiny-idefics3.embeddings.hf.npy")))
			t.Logf("image embeddings: largest difference %.1e", worst)
			require.LessOrEqual(t, worst, 2e-4)
		})
	})
}

// TestGGUFEyeRules: the number of layers and the activation that llama.cpp takes of the same files. With
// two layers they all are the model that the reference ran.
func TestGGUFEyeRules(t *testing.T) {
	projected := npy(t, filepath.Join(ggufRoot(), "models", "tiny-llava.projected.hf.npy"))
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		for _, tc := range []struct {
			file, why     string
			rules         vlm.EyeRules
			least, within float64 // of the largest difference to the reference
		}{
			{"tiny-llava.mmproj-new.gguf", "as the model was trained", vlm.EyeRules{Layers: 2}, 0, 2e-4},
			{"tiny-llava.mmproj-swapped.gguf", "names exchanged", vlm.EyeRules{Layers: 2}, 0, 2e-4},
			{"tiny-llava.mmproj-quickgelu.gguf", "SigLIP's activation, whatever use_gelu says", vlm.EyeRules{Layers: 2}, 0, 2e-4},
			{"tiny-llava.mmproj-quickgelu.gguf", "llama.cpp is 0.27 off", vlm.EyeRules{Layers: 2, Activation: ops.GELUQuick}, 0.2, 0.35},
			{"tiny-llava.mmproj-f16.gguf", "weights rounded to half precision", vlm.EyeRules{Layers: 2}, 1e-3, 0.05},
			{"tiny-llava.mmproj-feature2.gguf", "one layer too few, as llama.cpp runs of files that do not name it", vlm.EyeRules{Layers: 1}, 10, 30},
		} {
			m := loadEyed(t, dev, "tiny-llava.F32.gguf", tc.file, tc.rules)
			eye, err := vlm.NewEye(dev, m, 1)
			require.NoError(t, err)
			got, err := eye.Project(dev.Stream(), rgbPixels(t, "tiny-llava.24x24.rgb"))
			require.NoError(t, err)
			worst := largestDifference(t, got.Data, projected)
			t.Logf("%s, %+v: largest difference %.1e", tc.file, tc.rules, worst)
			require.GreaterOrEqual(t, worst, tc.least, tc.why)
			require.LessOrEqual(t, worst, tc.within, tc.why)
		}
	})
}

// TestGoldenGGUFPictures: a picture's question through both files of a model, to the logits behind it.
func TestGoldenGGUFPictures(t *testing.T) {
	const placeholder, tolerance = 422, 2e-4
	var golden struct {
		Vision []struct {
			IDs    []int32 `json:"ids"`
			Logits string  `json:"hf_logits_last"`
		} `json:"vision"`
	}
	readJSON(t, filepath.Join(ggufRoot(), "models.json"), &golden)
	require.Len(t, golden.Vision, 2)
	models := filepath.Join(ggufRoot(), "models")
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		for i, tc := range []struct {
			name, text, eye string
			views           int
			pixels          func(t *testing.T) []float32
		}{
			{"llava", "tiny-llava.F32.gguf", "tiny-llava.mmproj-old.gguf", 1, func(t *testing.T) []float32 { return rgbPixels(t, "tiny-llava.24x24.rgb") }},
			{"idefics3", "tiny-idefics3.F32.gguf", "tiny-idefics3.mmproj-F32.gguf", 3, func(t *testing.T) []float32 { return npy(t, filepath.Join(models, "tiny-idefics3.pixels.npy")) }},
		} {
			t.Run(tc.name, func(t *testing.T) {
				want := golden.Vision[i]
				m := loadEyed(t, dev, tc.text, tc.eye, vlm.EyeRules{})
				eye, err := vlm.NewEye(dev, m, tc.views)
				require.NoError(t, err)
				s := dev.Stream()
				seen, err := eye.Project(s, tc.pixels(t))
				require.NoError(t, err)
				ids := append([]int32{}, want.IDs...)
				for k, id := range ids {
					if id == placeholder {
						ids[k] = llama.Slot
					}
				}
				r, err := llama.NewRunner(dev, m.Decoder, ops.F32, llama.Sizes{Positions: 64, Context: 64, PrefillRows: 64})
				require.NoError(t, err)
				seq, err := r.Cache.Reserve(context.Background(), len(ids))
				require.NoError(t, err)
				defer seq.Close()
				_, err = r.Prefill(s, seq, ids, seen.Data, true)
				require.NoError(t, err)
				logits, err := r.Logits(false)
				require.NoError(t, err)
				worst := largestDifference(t, logits, npy(t, filepath.Join(ggufRoot(), want.Logits)))
				t.Logf("logits: largest difference %.1e", worst)
				require.LessOrEqual(t, worst, tolerance)
			})
		}
	})
}

package llama3v_test

import (
	"context"
	"image/color"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"gorgonia.org/tensor"

	"github.com/llama3v/llama3v"
	"github.com/llama3v/llama3v/internal/golden"
	"github.com/llama3v/llama3v/model/tokenizer"
	"github.com/llama3v/llama3v/model/tokenizer/sentencepiece"
	"github.com/llama3v/llama3v/model/weights"
)

const sigText = 16 // positions of siglip_full's text tower

// siglipFiles is the siglip_full case as a user would have it, with a tokenizer.
func siglipFiles(t testing.TB) fstest.MapFS {
	t.Helper()
	files := fstest.MapFS{"spiece.model": {Data: golden.Vocabulary(97)}}
	for _, name := range []string{"config.json", "model.safetensors", "preprocessor_config.json"} {
		data, err := os.ReadFile(filepath.Join("testdata", "golden", "models", "siglip_full", name))
		require.NoError(t, err)
		files[name] = &fstest.MapFile{Data: data}
	}
	return files
}

// goldenTexts spells the case's ids.
func goldenTexts(c *golden.Case) []string {
	var texts []string
	ids := c.InputInts("input_ids")
	for ; len(ids) > 0; ids = ids[sigText:] {
		n := sigText
		for n > 0 && ids[n-1] == 1 {
			n--
		}
		texts = append(texts, golden.Words(ids[:n]...))
	}
	return texts
}

func dense(data []float32, shape ...int) *tensor.Dense {
	return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(data))
}

func TestGoldenTexts(t *testing.T) {
	c := golden.Open(t, "siglip_full")
	m := openFS(t, siglipFiles(t))
	texts := goldenTexts(c)
	require.Len(t, texts, 4)
	ctx := context.Background()
	got, err := m.EncodeTexts(ctx, texts)
	require.NoError(t, err)
	require.Equal(t, tensor.Shape{4, 144}, got.Shape())
	c.Near(t, "text.pooler_output", got.Data().([]float32), 1e-10)

	pictures, shape := c.Want("vision.pooler_output")
	scores, err := m.Similarity(dense(pictures, shape...), got)
	require.NoError(t, err)
	require.Equal(t, tensor.Shape{3, 4}, scores.Logits.Shape())
	require.Equal(t, tensor.Shape{3, 4}, scores.Probabilities.Shape())
	c.Near(t, "logits_per_image", scores.Logits.Data().([]float32), 1e-10)
	c.Near(t, "probs", scores.Probabilities.Data().([]float32), 1e-10)

	// A row is the same alone, in another order, twice in a call, and from the cache.
	for _, again := range [][]int{{2}, {3, 1}, {0, 0, 2}} {
		var some []string
		for _, i := range again {
			some = append(some, texts[i])
		}
		for _, model := range []*llama3v.Model{m, openFS(t, siglipFiles(t), llama3v.WithFeatureCache(0))} {
			rows, err := model.EncodeTexts(ctx, some)
			require.NoError(t, err)
			for k, i := range again {
				require.Equal(t, got.Data().([]float32)[i*144:][:144], rows.Data().([]float32)[k*144:][:144])
			}
		}
	}

	// More texts than go through the tower at once; the last word counts.
	many := make([]string, 40)
	for i := range many {
		many[i] = golden.Words(int32(3+i), 90)
	}
	all, err := m.EncodeTexts(ctx, many)
	require.NoError(t, err)
	last, err := m.EncodeTexts(ctx, many[39:])
	require.NoError(t, err)
	require.Equal(t, last.Data(), all.Data().([]float32)[39*144:])
	require.NotEqual(t, all.Data().([]float32)[38*144:][:144], all.Data().([]float32)[39*144:])

	// What does not fit is cut off, and the end token stays.
	long, err := m.EncodeTexts(ctx, []string{texts[2] + " " + golden.Words(5, 6, 7), strings.ToUpper(texts[2]) + "!"})
	require.NoError(t, err)
	require.Equal(t, got.Data().([]float32)[2*144:3*144], long.Data().([]float32)[:144])
	require.Equal(t, long.Data().([]float32)[:144], long.Data().([]float32)[144:], "lower case, no punctuation")
}

func TestThePlanOfTwoTowersIsWhatTheyTake(t *testing.T) {
	m := openFS(t, siglipFiles(t))
	_, err := m.Classify(context.Background(), []llama3v.Picture{solid(color.White)}, []string{golden.Words(4)})
	require.NoError(t, err)
	c, err := m.Counters()
	require.NoError(t, err)
	require.LessOrEqual(t, c.BytesPeak, m.Plan().Total())
	require.Positive(t, m.Plan().Text)
	require.Contains(t, m.Plan().String(), "text ")
}

func TestClassify(t *testing.T) {
	m := openFS(t, siglipFiles(t))
	ctx := context.Background()
	pictures := []llama3v.Picture{solid(color.White), solid(color.NRGBA{200, 10, 10, 255})}
	labels := []string{golden.Words(5, 6), golden.Words(40), golden.Words(70, 71, 72)}

	ordered, err := m.Classify(ctx, pictures, labels, llama3v.LabelsInOrder(), llama3v.Templates("%s"))
	require.NoError(t, err)
	features, err := m.EncodeImages(ctx, pictures, llama3v.Pooled())
	require.NoError(t, err)
	texts, err := m.EncodeTexts(ctx, labels)
	require.NoError(t, err)
	scores, err := m.Similarity(features, texts)
	require.NoError(t, err)
	require.Len(t, ordered, 2)
	for i, row := range ordered {
		require.Len(t, row, 3)
		for j, label := range row {
			logit := scores.Logits.Data().([]float32)[i*3+j]
			require.Equal(t, llama3v.Label{Text: labels[j], Index: j, Logit: logit,
				Probability: scores.Probabilities.Data().([]float32)[i*3+j]}, label)
			require.InDelta(t, 1/(1+math.Exp(-float64(logit))), label.Probability, 1e-6)
		}
	}
	require.NotEqual(t, ordered[0][0].Logit, ordered[1][0].Logit, "the picture matters")

	sorted, err := m.Classify(ctx, pictures, labels, llama3v.Templates("%s"))
	require.NoError(t, err)
	for i, row := range sorted {
		require.ElementsMatch(t, ordered[i], row)
		require.GreaterOrEqual(t, row[0].Logit, row[1].Logit)
		require.GreaterOrEqual(t, row[1].Logit, row[2].Logit)
	}
	swapped, err := m.Classify(ctx, []llama3v.Picture{pictures[1], pictures[0]}, labels, llama3v.Templates("%s"))
	require.NoError(t, err)
	require.Equal(t, [][]llama3v.Label{sorted[1], sorted[0]}, swapped, "P15: each picture has its own scores")

	// The default template is this text, of whose letters the small vocabulary knows none.
	byDefault, err := m.Classify(ctx, pictures, labels)
	require.NoError(t, err)
	spelled, err := m.Classify(ctx, pictures, labels, llama3v.Templates("this is a photo of %s"))
	require.NoError(t, err)
	require.Equal(t, spelled, byDefault)
	require.NotEqual(t, sorted, byDefault)

	// Several templates: the mean of the directions.
	templates := []string{golden.Words(10) + " %s", "%s " + golden.Words(20, 21), "%s"}
	several, err := m.Classify(ctx, pictures[:1], labels[:1], llama3v.Templates(templates...))
	require.NoError(t, err)
	mean := make([]float32, 144)
	for _, template := range templates {
		row, err := m.EncodeTexts(ctx, []string{strings.ReplaceAll(template, "%s", labels[0])})
		require.NoError(t, err)
		values := row.Data().([]float32)
		for k, v := range values {
			mean[k] += float32(float64(v) / golden.Norm(values))
		}
	}
	one, err := m.Similarity(dense(features.Data().([]float32)[:144], 1, 144), dense(mean, 1, 144))
	require.NoError(t, err)
	require.InDelta(t, one.Logits.Data().([]float32)[0], several[0][0].Logit, 1e-4)
}

func TestTextsAreRefused(t *testing.T) {
	ctx := context.Background()
	m := openFS(t, siglipFiles(t))
	word := golden.Words(9)
	for _, tc := range []struct {
		name  string
		texts []string
		err   error
		says  string
	}{
		{"no texts", nil, llama3v.ErrShape, "no texts"},
		{"an empty one", []string{word, ""}, llama3v.ErrEmptyText, "text 2"},
		{"punctuation, of which nothing is left", []string{"?!"}, llama3v.ErrEmptyText, `"?!"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := m.EncodeTexts(ctx, tc.texts)
			require.ErrorIs(t, err, tc.err)
			require.ErrorContains(t, err, tc.says)
		})
	}
	pictures := []llama3v.Picture{solid(color.White)}
	for _, tc := range []struct {
		name     string
		pictures []llama3v.Picture
		labels   []string
		options  []llama3v.ClassifyOption
		err      error
		says     string
	}{
		{"no labels", pictures, nil, nil, llama3v.ErrShape, "no labels"},
		{"no pictures", nil, []string{word}, nil, llama3v.ErrShape, "no pictures"},
		{"a blank label, which the template would hide", pictures, []string{word, " "}, nil, llama3v.ErrEmptyText, "label 2"},
		{"a template without a place", pictures, []string{word}, []llama3v.ClassifyOption{llama3v.Templates("a photo")}, llama3v.ErrOption, "%s"},
		{"a template with two", pictures, []string{word}, []llama3v.ClassifyOption{llama3v.Templates("%s %s")}, llama3v.ErrOption, "%s"},
		{"no template", pictures, []string{word}, []llama3v.ClassifyOption{llama3v.Templates()}, llama3v.ErrOption, "templates"},
		{"a picture that is none", []llama3v.Picture{llama3v.Bytes([]byte("x"))}, []string{word}, nil, llama3v.ErrPictureUnsupported, "picture 1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := m.Classify(ctx, tc.pictures, tc.labels, tc.options...)
			require.ErrorIs(t, err, tc.err)
			require.ErrorContains(t, err, tc.says)
		})
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, err := m.EncodeTexts(ended, []string{word})
	require.ErrorIs(t, err, context.Canceled)

	row := dense(make([]float32, 144), 1, 144)
	full := dense(golden.Uniform(1, 144, 0, 1), 1, 144)
	for _, tc := range []struct {
		name     string
		pictures *tensor.Dense
		says     string
	}{
		{"nothing", nil, "no tensor"},
		{"another width", dense(make([]float32, 8), 1, 8), "144"},
		{"patches and not pooled pictures", dense(make([]float32, 288), 1, 2, 144), "144"},
		{"float64", tensor.New(tensor.WithShape(1, 144), tensor.WithBacking(make([]float64, 144))), "float64"},
		{"a row of zeros", row, "direction"},
		{"a row with infinity", dense(append(golden.Uniform(1, 143, 0, 1), float32(math.Inf(1))), 1, 144), "direction"},
	} {
		t.Run("similarity of "+tc.name, func(t *testing.T) {
			_, err := m.Similarity(tc.pictures, full)
			require.ErrorIs(t, err, llama3v.ErrShape)
			require.ErrorContains(t, err, tc.says)
			_, err = m.Similarity(full, tc.pictures)
			require.ErrorIs(t, err, llama3v.ErrShape)
		})
	}
	two := dense(golden.Uniform(2, 3*144, 0, 1), 3, 144)
	view, err := two.Slice(tensor.S(1, 3))
	require.NoError(t, err)
	viewed, err := m.Similarity(view.(*tensor.Dense), full)
	require.NoError(t, err)
	copied, err := m.Similarity(dense(golden.Uniform(2, 3*144, 0, 1)[144:], 2, 144), full)
	require.NoError(t, err)
	require.Equal(t, copied.Logits.Data(), viewed.Logits.Data(), "a view counts as what it shows")
}

// A checkpoint without one part says so, and what is left works: P26.
func TestSigLIPWithoutAPart(t *testing.T) {
	ctx := context.Background()
	pictures, word := []llama3v.Picture{solid(color.White)}, golden.Words(9)
	whole := openFS(t, siglipFiles(t))
	want, err := whole.EncodeImages(ctx, pictures)
	require.NoError(t, err)
	without := func(t *testing.T, drop func(name string) bool) fstest.MapFS {
		files := siglipFiles(t)
		model := golden.Open(t, "siglip_full").Model()
		for name := range model.Tensors {
			if drop(name) {
				delete(model.Tensors, name)
			}
		}
		files["model.safetensors"] = model.FS(t)["model.safetensors"]
		return files
	}
	t.Run("no text tower", func(t *testing.T) {
		m := openFS(t, without(t, func(name string) bool { return !strings.HasPrefix(name, "vision_model.") }))
		got, err := m.EncodeImages(ctx, pictures)
		require.NoError(t, err)
		require.Equal(t, want.Data(), got.Data())
		_, err = m.EncodeTexts(ctx, []string{word})
		require.ErrorIs(t, err, llama3v.ErrUnsupported)
		require.ErrorContains(t, err, "text tower")
		_, err = m.Classify(ctx, pictures, []string{word})
		require.ErrorIs(t, err, llama3v.ErrUnsupported)
		_, err = m.Similarity(want, want)
		require.ErrorIs(t, err, llama3v.ErrUnsupported)
		require.Zero(t, m.Plan().Text)
	})
	t.Run("no pooling head", func(t *testing.T) {
		m := openFS(t, without(t, func(name string) bool { return strings.HasPrefix(name, "vision_model.head.") }))
		got, err := m.EncodeImages(ctx, pictures)
		require.NoError(t, err)
		require.Equal(t, want.Data(), got.Data())
		_, err = m.Classify(ctx, pictures, []string{word})
		require.ErrorIs(t, err, llama3v.ErrUnsupported)
		require.ErrorContains(t, err, "pooling head")
		_, err = m.EncodeTexts(ctx, []string{word})
		require.NoError(t, err)
	})
	t.Run("no tokenizer", func(t *testing.T) {
		files := siglipFiles(t)
		delete(files, "spiece.model")
		m := openFS(t, files)
		_, err := m.EncodeTexts(ctx, []string{word})
		require.ErrorIs(t, err, llama3v.ErrUnsupported)
		require.ErrorContains(t, err, "spiece.model")
	})
	t.Run("P30: part of the text tower", func(t *testing.T) {
		_, err := llama3v.OpenFS(ctx, without(t, func(name string) bool {
			return name == "text_model.head.bias" || name == "logit_bias"
		}))
		require.ErrorIs(t, err, llama3v.ErrMissingTensor)
		require.ErrorContains(t, err, "text_model.head.bias")
		require.ErrorContains(t, err, "logit_bias")
	})
	t.Run("a tokenizer of another model", func(t *testing.T) {
		files := siglipFiles(t)
		files["spiece.model"] = &fstest.MapFile{Data: golden.Vocabulary(98)}
		_, err := llama3v.OpenFS(ctx, files)
		require.ErrorIs(t, err, llama3v.ErrShape)
		require.ErrorContains(t, err, "97")
	})
	t.Run("P18: a text tower with NaN", func(t *testing.T) {
		files := siglipFiles(t)
		model := golden.Open(t, "siglip_full").Model()
		bias := model.Values(t, "text_model.head.bias")
		bias[3] = float32(math.NaN())
		model.Put(t, "text_model.head.bias", weights.F32, bias, len(bias))
		files["model.safetensors"] = model.FS(t)["model.safetensors"]
		m := openFS(t, files)
		_, err := m.EncodeTexts(ctx, []string{word})
		require.ErrorIs(t, err, llama3v.ErrNotFinite)
		require.ErrorContains(t, err, "text tower")
		_, err = m.EncodeImages(ctx, pictures)
		require.NoError(t, err, "the next request is not hurt")
	})
}

// SigLIP 2 at a fixed resolution: the same network, Gemma's tokenizer, bilinear resizing.
func TestSigLIP2(t *testing.T) {
	ctx := context.Background()
	const vocab = 1000
	model := golden.Open(t, "siglip_full").Model().Set(vocab, "text_config", "vocab_size").
		Random(t, 0, 1, "text_model.embeddings.token_embedding.weight", vocab, 144)
	files := model.FS(t)
	tok, err := os.ReadFile("model/tokenizer/sentencepiece/testdata/gemma/tokenizer.json")
	require.NoError(t, err)
	files["tokenizer.json"] = &fstest.MapFile{Data: tok}
	prep, err := fs.ReadFile(siglipFiles(t), "preprocessor_config.json")
	require.NoError(t, err)
	bicubic := strings.Replace(string(prep), `"resample": 3`, `"resample": 2`, 1)
	require.NotEqual(t, string(prep), bicubic)
	files["preprocessor_config.json"] = &fstest.MapFile{Data: []byte(bicubic)}
	m := openFS(t, files)
	lower, err := m.EncodeTexts(ctx, []string{"a photo of a cat", "A Photo of a CAT", "a photo of a cat!"})
	require.NoError(t, err)
	rows := lower.Data().([]float32)
	require.Equal(t, rows[:144], rows[144:288], "lower case")
	require.NotEqual(t, rows[:144], rows[288:], "punctuation stays")

	// The last position is a pad with id 0: its embedding counts, and that of id 1 behind the text, too.
	for _, id := range []int{0, 1} {
		table := model.Values(t, "text_model.embeddings.token_embedding.weight")
		table[id*144] += 5
		changed := *model
		changed.Tensors = map[string]weights.Tensor{}
		for name, tensor := range model.Tensors {
			changed.Tensors[name] = tensor
		}
		changed.Put(t, "text_model.embeddings.token_embedding.weight", weights.F32, table, vocab, 144)
		files["model.safetensors"] = changed.FS(t)["model.safetensors"]
		other, err := openFS(t, files).EncodeTexts(ctx, []string{"a photo of a cat"})
		require.NoError(t, err)
		require.NotEqual(t, rows[:144], other.Data().([]float32), "id %d", id)
	}
	_, err = m.Classify(ctx, []llama3v.Picture{picture("dog.jpg")}, []string{"a dog", "a cat"})
	require.NoError(t, err)

	t.Run("a table too small for the vocabulary", func(t *testing.T) {
		small := siglipFiles(t)
		delete(small, "spiece.model")
		small["tokenizer.json"] = files["tokenizer.json"]
		_, err := llama3v.OpenFS(ctx, small)
		require.ErrorIs(t, err, llama3v.ErrShape)
	})
}

// Many goroutines ask for pictures and texts at once, and each gets what it gets alone.
func TestTwoTowersAtOnce(t *testing.T) {
	m := openFS(t, siglipFiles(t), llama3v.WithFeatureCache(0))
	ctx := context.Background()
	pictures := []llama3v.Picture{solid(color.White), solid(color.Black)}
	labels := []string{golden.Words(5, 6), golden.Words(40)}
	want, err := m.Classify(ctx, pictures, labels)
	require.NoError(t, err)
	group, ctx := errgroup.WithContext(ctx)
	results := make([][][]llama3v.Label, 8)
	for i := range results {
		group.Go(func() (err error) {
			results[i], err = m.Classify(ctx, pictures, labels)
			return err
		})
	}
	require.NoError(t, group.Wait())
	for _, got := range results {
		require.Equal(t, want, got)
	}
}

// A caller's own tokenizer takes the place of the folder's, under the same rule.
func TestTextsWithACallersTokenizer(t *testing.T) {
	files := siglipFiles(t)
	own, err := sentencepiece.Load(files)
	require.NoError(t, err)
	want, err := openFS(t, files).EncodeTexts(context.Background(), []string{golden.Words(7, 8)})
	require.NoError(t, err)
	delete(files, "spiece.model")
	m := openFS(t, files, llama3v.WithTokenizer(own))
	got, err := m.EncodeTexts(context.Background(), []string{golden.Words(7, 8)})
	require.NoError(t, err)
	require.Equal(t, want.Data(), got.Data())
	require.Equal(t, own, m.Tokenizer())

	bpe, err := tokenizer.Load(os.DirFS("model/tokenizer/testdata/smollm2"))
	require.NoError(t, err)
	_, err = llama3v.OpenFS(context.Background(), files, llama3v.WithTokenizer(bpe))
	require.ErrorIs(t, err, llama3v.ErrShape, "49152 ids for 97 rows")
}

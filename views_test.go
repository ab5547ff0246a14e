package llama3v

import (
	"context"
	"encoding/json"
	"image"
	"image/color"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/internal/golden"
	"github.com/llama3v/llama3v/model/llama"
)

// byteTokenizer is a tokenizer.json of one token for each of the first bytes, "\n\n" where lines is an id, and
// special tokens.
func byteTokenizer(t *testing.T, bytes int, lines int, specials map[string]int) []byte {
	data, err := os.ReadFile("model/tokenizer/testdata/smollm2/tokenizer.json")
	require.NoError(t, err)
	var file map[string]any
	require.NoError(t, json.Unmarshal(data, &file))
	vocab, next := map[string]int{}, 0
	for b := range bytes {
		r := rune(b)
		if b < 0x21 || b > 0x7e && b < 0xa1 || b == 0xad {
			r, next = rune(0x100+next), next+1
		}
		vocab[string(r)] = b
	}
	merges := []string{}
	if lines > 0 {
		vocab["\u010a\u010a"], merges = lines, []string{"\u010a \u010a"}
	}
	model := file["model"].(map[string]any)
	model["vocab"], model["merges"] = vocab, merges
	var added []map[string]any
	for text, id := range specials {
		added = append(added, map[string]any{"id": id, "content": text, "special": true})
	}
	slices.SortFunc(added, func(a, b map[string]any) int { return a["id"].(int) - b["id"].(int) })
	file["added_tokens"] = added
	data, err = json.Marshal(file)
	require.NoError(t, err)
	return data
}

// goldenFiles is a golden model's folder with a tokenizer.
func goldenFiles(t *testing.T, name string, tokenizer []byte) fstest.MapFS {
	files := fstest.MapFS{"tokenizer.json": &fstest.MapFile{Data: tokenizer}}
	from := golden.Open(t, name).FS
	for _, file := range []string{"config.json", "generation_config.json", "model.safetensors", "preprocessor_config.json"} {
		if data, err := fs.ReadFile(from, file); err == nil {
			files[file] = &fstest.MapFile{Data: data}
		}
	}
	return files
}

func idefics3(t *testing.T) *Model {
	tokenizer := byteTokenizer(t, 256, 295, map[string]int{"<image>": 290, "<fake_token_around_image>": 291, "<row_1_col_1>": 292,
		"<row_1_col_2>": 293, "<global-img>": 294, "<end_of_utterance>": 296})
	return openMemory(t, goldenFiles(t, "idefics3", tokenizer))
}

func miniCPM(t *testing.T) *Model {
	files := goldenFiles(t, "minicpmv25", byteTokenizer(t, 200, 0, map[string]int{"<unk>": 200, "<image>": 201, "</image>": 202, "<slice>": 203, "</slice>": 204}))
	return openMemory(t, files)
}

// plain is a picture of one colour, with another in its last quarter of columns.
func plain(w, h int, left, right color.NRGBA) Picture {
	img := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			c := left
			if x >= w*3/4 {
				c = right
			}
			img.SetNRGBA(x, y, c)
		}
	}
	return Image(img)
}

var (
	red  = color.NRGBA{250, 10, 20, 255}
	blue = color.NRGBA{10, 20, 250, 255}
)

// logits are those of the last position of a prompt.
func logits(t *testing.T, m *Model, conversation Chat) ([]float32, *Answer) {
	t.Helper()
	var last []float32
	var answer *Answer
	for token, err := range m.Generate(context.Background(), conversation, MaxTokens(1), Tap(func(name string, _, cols int, data []float32) {
		if name == "logits" {
			last = slices.Clone(data[len(data)-cols:])
		}
	})) {
		require.NoError(t, err)
		answer = token.Answer
	}
	require.NotEmpty(t, last)
	return last, answer
}

// What the model is shown are tiles and the whole picture, each behind its place.
func TestTilesInAPrompt(t *testing.T) {
	m := idefics3(t)
	wide := plain(120, 60, red, blue) // 168 x 84: two tiles and the whole
	render := func(c Chat) string {
		messages, pictures := c.split()
		tokens, err := m.render(messages, false)
		require.NoError(t, err)
		sights, err := m.decode(context.Background(), pictures, "", &Timings{})
		require.NoError(t, err)
		p := &prompt{answer: &Answer{}}
		require.NoError(t, m.expand(p, tokens, sights))
		var text strings.Builder
		for _, id := range p.ids {
			if id == llama.Slot {
				text.WriteString("*")
				continue
			}
			bytes, err := m.tokenizer.TokenBytes(id)
			require.NoError(t, err)
			text.Write(bytes)
		}
		return text.String()
	}
	const one = "<fake_token_around_image><row_1_col_1>****<fake_token_around_image><row_1_col_2>****\n\n<fake_token_around_image><global-img>****<fake_token_around_image>"
	require.Equal(t, "User:"+one+"What is <image>?<end_of_utterance>\nAssistant:", render(Chat{User("What is <image>?", wide)}), "P32: what a user types is text")
	require.Equal(t, "System: Be brief.<end_of_utterance>\nUser: a"+one+"b"+one+"<end_of_utterance>\nAssistant: c<end_of_utterance>\nUser: d<end_of_utterance>\nAssistant:",
		render(Chat{System("Be brief."), {Role: "user", Parts: []Part{{Text: "a"}, {Picture: &wide}, {Text: "b"}, {Picture: &wide}}}, Assistant("c"), User("d")}))

	_, a := logits(t, m, Chat{User("What?", wide)})
	require.Equal(t, 12, a.ImageTokens)
	require.Equal(t, []PictureUse{{Width: 120, Height: 60, Views: 3, Tokens: 12}}, a.Pictures)
	_, a = logits(t, m, Chat{User("What?", wide, plain(60, 120, red, blue))})
	require.Equal(t, 24, a.ImageTokens)
	require.Equal(t, []int{3, 3}, []int{a.Pictures[0].Views, a.Pictures[1].Views})
}

// P15, P57: what is in a picture, in one of its tiles, and the order of pictures count, in every family that cuts
// them; and the same picture again gives the same answer from the cache.
func TestPicturesThatAreCutMatter(t *testing.T) {
	for name, open := range map[string]func(*testing.T) *Model{"idefics3": idefics3, "minicpmv25": miniCPM} {
		t.Run(name, func(t *testing.T) {
			m := open(t)
			first, second := plain(600, 500, red, red), plain(600, 500, red, blue)
			ask := func(pictures ...Picture) []float32 {
				got, a := logits(t, m, Chat{User("What?", pictures...)})
				require.Len(t, a.Pictures, len(pictures))
				for _, p := range a.Pictures {
					require.Greater(t, p.Views, 2)
					require.Equal(t, p.Tokens/p.Views*p.Views, p.Tokens)
				}
				return got
			}
			one := ask(first)
			require.Equal(t, one, ask(first))
			require.NotEqual(t, one, ask(second), "a part of the picture")
			require.NotEqual(t, ask(first, second), ask(second, first), "the order")

			text := func(picture Picture) *Answer {
				a, err := m.Ask(context.Background(), "What?", picture, MaxTokens(6), IgnoreEOS())
				require.NoError(t, err)
				return a
			}
			cold := text(first)
			text(second)
			warm := text(first)
			require.True(t, warm.Pictures[0].Cached)
			require.Equal(t, cold.TokenIDs, warm.TokenIDs)
		})
	}
}

// P35: the window is held against all that stands for a picture, before anything is computed.
func TestTilesThatDoNotFit(t *testing.T) {
	m := openMemory(t, goldenFiles(t, "idefics3", byteTokenizer(t, 256, 295, map[string]int{"<image>": 290, "<fake_token_around_image>": 291,
		"<end_of_utterance>": 296})), WithContext(64))
	before, err := m.Counters()
	require.NoError(t, err)
	_, err = m.Ask(context.Background(), "What?", plain(120, 60, red, blue))
	require.ErrorIs(t, err, ErrContextFull)
	require.ErrorContains(t, err, "64")
	after, err := m.Counters()
	require.NoError(t, err)
	require.Equal(t, before, after)
}

// A model without a file for its pictures brings what its family does; slices follow config.json.
func TestFamilyPreparation(t *testing.T) {
	m := miniCPM(t)
	require.Equal(t, 448, m.prep.Slices.Edge)
	require.Equal(t, 9, m.prep.Slices.Most)
	features, err := m.EncodeImages(context.Background(), []Picture{plain(100, 100, red, blue)})
	require.NoError(t, err)
	require.Equal(t, []int{1, 1024, 72}, []int(features.Shape()))
	_, err = m.EncodeImages(context.Background(), []Picture{plain(100, 100, red, blue), plain(300, 100, red, blue)})
	require.ErrorIs(t, err, ErrShape)

	tiles := idefics3(t)
	features, err = tiles.EncodeImages(context.Background(), []Picture{plain(120, 60, red, blue), plain(60, 120, red, blue)})
	require.NoError(t, err)
	require.Equal(t, []int{6, 36, 72}, []int(features.Shape()))

	for name, change := range map[string][2]string{
		"tiles of another size":   {`"longest_edge": 84`, `"longest_edge": 42`},
		"a processor that is not": {"Idefics3ImageProcessor", "MiniCPMVImageProcessor"},
	} {
		files := goldenFiles(t, "idefics3", byteTokenizer(t, 256, 295, map[string]int{"<fake_token_around_image>": 291}))
		text := string(files["preprocessor_config.json"].Data)
		require.Contains(t, text, change[0])
		files["preprocessor_config.json"] = &fstest.MapFile{Data: []byte(strings.ReplaceAll(text, change[0], change[1]))}
		_, err := OpenFS(context.Background(), files)
		require.Error(t, err, name)
		require.ErrorContains(t, err, "preprocessor_config.json", name)
	}
}

// The golden models' prompts hold what stands for a picture, with one id in place of a view's positions.
func TestGoldenFrames(t *testing.T) {
	for _, tc := range []struct {
		name       string
		open       func(*testing.T) *Model
		prompt     int
		rows, cols int
		image      int32
	}{
		{"idefics3", idefics3, 0, 1, 2, 290},
		{"idefics3", idefics3, 1, 0, 0, 290},
		{"minicpmv25", miniCPM, 0, 1, 2, 200},
		{"minicpmv25", miniCPM, 1, 0, 0, 200},
	} {
		m := tc.open(t)
		ids, err := m.frame.Expand(tc.rows, tc.cols)
		require.NoError(t, err)
		views := tc.rows*tc.cols + 1
		var short []int32
		slots := 0
		for i, id := range ids {
			if id != llama.Slot {
				short = append(short, id)
				continue
			}
			if slots++; i == 0 || ids[i-1] != llama.Slot {
				short = append(short, tc.image)
			}
		}
		require.Equal(t, views*m.model.PictureTokens(), slots)
		prompt := golden.Open(t, tc.name).Prompts()[tc.prompt]
		require.Len(t, prompt.Images, views)
		at := slices.Index(prompt.IDs, short[0])
		require.Equal(t, short, prompt.IDs[at:at+len(short)], prompt.Name)
	}
}

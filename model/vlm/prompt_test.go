package vlm

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/internal/need"
	"github.com/llama3v/llama3v/model/chat"
	"github.com/llama3v/llama3v/model/llama"
	"github.com/llama3v/llama3v/model/projector"
	"github.com/llama3v/llama3v/model/siglip"
	"github.com/llama3v/llama3v/model/tokenizer"
)

// withTokens makes a tokenizer of a file with special tokens added behind its own, and others in the places
// of reserved ones.
func withTokens(t *testing.T, path string, more []string, renamed map[int]string) tokenizer.Tokenizer {
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	tok, err := tokenizer.Parse(data)
	require.NoError(t, err)
	var file map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(data, &file))
	var added []map[string]any
	require.NoError(t, json.Unmarshal(file["added_tokens"], &added))
	for i := range added {
		if text, ok := renamed[int(added[i]["id"].(float64))]; ok {
			added[i]["content"] = text
		}
	}
	for i, text := range more {
		added = append(added, map[string]any{"id": tok.VocabSize() + i, "content": text, "special": true})
	}
	file["added_tokens"], err = json.Marshal(added)
	require.NoError(t, err)
	data, err = json.Marshal(file)
	require.NoError(t, err)
	tok, err = tokenizer.Parse(data)
	require.NoError(t, err)
	return tok
}

func smolVLMTokenizer(t *testing.T) tokenizer.Tokenizer {
	tokens := []string{"<global-img>"}
	for r := 1; r <= 6; r++ {
		for c := 1; c <= 6; c++ {
			tokens = append(tokens, fmt.Sprintf("<row_%d_col_%d>", r, c))
		}
	}
	return withTokens(t, "../tokenizer/testdata/smollm2/tokenizer.json", append(tokens, "<fake_token_around_image>", "<image>"), nil)
}

func llama3Path(t *testing.T) string {
	path := os.Getenv("L3V_LLAMA3_VOCAB")
	if path == "" {
		path = filepath.Join("..", "..", "build", "fetched", "llama3", "tokenizer.json")
	}
	if _, err := os.Stat(path); err != nil {
		need.Missing(t, "llama3-vocab", "run tools/fetch-llama3-vocab.sh or set L3V_LLAMA3_VOCAB: "+err.Error())
	}
	return path
}

// tileConfig has so many positions for each tile.
func tileConfig(family string, tokens int) *Config {
	return &Config{Family: family, Text: &llama.Config{}, Vision: &siglip.Config{ImageSize: tokens, Patch: 1, MostPatches: tokens},
		Projector: projector.ShuffleConfig{Scale: 1, Grid: tokens}}
}

// What stands for a picture in SmolVLM's and Idefics3's prompts, as transformers' processors make it.
func TestGoldenImagePrompt(t *testing.T) {
	data, err := os.ReadFile("../chat/testdata/render.json")
	require.NoError(t, err)
	var file struct {
		Prompts []struct {
			Rows, Cols int
			Tokens     int `json:"tokens_per_tile"`
			Tokenizer  string
			Length     int
			SHA256     string `json:"ids_sha256_i32"`
			IDs        []int32
		} `json:"image_prompt"`
	}
	require.NoError(t, json.Unmarshal(data, &file))
	require.Len(t, file.Prompts, 7)
	for _, want := range file.Prompts {
		t.Run(fmt.Sprintf("%s %dx%d of %d", want.Tokenizer, want.Rows, want.Cols, want.Tokens), func(t *testing.T) {
			var tok tokenizer.Tokenizer
			image := int32(49190)
			if want.Tokenizer == "smolvlm" {
				tok = smolVLMTokenizer(t)
			} else {
				tok, image = withTokens(t, llama3Path(t), []string{"<fake_token_around_image>", "<image>", "<end_of_utterance>"}, nil), 128257
			}
			f, err := NewFrame(tileConfig(want.Tokenizer, want.Tokens), tok)
			require.NoError(t, err)
			ids, err := f.Expand(want.Rows, want.Cols)
			require.NoError(t, err)
			slots := 0
			for i, id := range ids {
				if id == llama.Slot {
					ids[i] = image
					slots++
				}
			}
			views := want.Rows*want.Cols + 1
			require.Equal(t, views*want.Tokens, slots)
			require.Len(t, ids, want.Length)
			if want.IDs != nil {
				require.Equal(t, want.IDs, ids)
			}
			var raw bytes.Buffer
			require.NoError(t, binary.Write(&raw, binary.LittleEndian, ids))
			sum := sha256.Sum256(raw.Bytes())
			require.Equal(t, want.SHA256, hex.EncodeToString(sum[:]))
		})
	}
}

// MiniCPM-V 2.5: the whole picture, then rows of slices on lines.
func TestSlicePrompt(t *testing.T) {
	tok := withTokens(t, "../tokenizer/testdata/smollm2/tokenizer.json", []string{"<image>", "</image>", "<slice>", "</slice>"}, nil)
	id := map[string]int32{}
	for _, s := range tok.Specials() {
		id[s.Text] = s.ID
	}
	line, err := tok.Encode("\n")
	require.NoError(t, err)
	c := &Config{Family: "minicpmv", Text: &llama.Config{}, Vision: &siglip.Config{Patch: 14, MostPatches: 2048}, Projector: &projector.ResamplerConfig{Queries: 3}}
	f, err := NewFrame(c, tok)
	require.NoError(t, err)
	one := []int32{id["<image>"], llama.Slot, llama.Slot, llama.Slot, id["</image>"]}
	ids, err := f.Expand(0, 0)
	require.NoError(t, err)
	require.Equal(t, one, ids)
	ids, err = f.Expand(2, 2)
	require.NoError(t, err)
	require.Equal(t, slices.Concat(one, []int32{id["<slice>"]}, one, one, line, one, one, []int32{id["</slice>"]}), ids)

	_, err = NewFrame(c, withTokens(t, "../tokenizer/testdata/smollm2/tokenizer.json", nil, nil))
	require.ErrorIs(t, err, chat.ErrMismatch)
	require.ErrorContains(t, err, "<image>")
	for _, grid := range [][2]int{{-1, 1}, {0, 1}, {2, 0}, {33, 1}} {
		_, err := f.Expand(grid[0], grid[1])
		require.ErrorIs(t, err, chat.ErrImages)
	}
}

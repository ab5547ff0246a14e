package chat_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/internal/need"
	"github.com/llama3v/llama3v/model/chat"
	"github.com/llama3v/llama3v/model/tokenizer"
)

// format is a prompt format of render.json.
type format struct {
	name, file, tokenizer, bos string
	imageToken                 string
	addBOS                     bool
}

var formats = []format{
	{"llama3", "llama3", "llama3", "<|begin_of_text|>", "", false},
	{"llama31", "llama31", "llama3", "<|begin_of_text|>", "", false},
	{"smollm2", "smollm2", "smollm2", "<|im_start|>", "", false},
	{"smolvlm", "smolvlm", "smolvlm", "<|im_start|>", "<image>", false},
	{"idefics3", "smolvlm", "idefics3", "<|begin_of_text|>", "<image>", false},
	{"llava_llama3", "llava_llama3", "llava", "<|begin_of_text|>", "<image>", false},
	{"vision_alpha", "vision_alpha", "llava", "<|begin_of_text|>", "<image>", false},
	{"bunny", "bunny", "llava", "<|begin_of_text|>", "<image>", true},
}

// added are the tokens that a tokenizer has beyond the file it is made from.
func added(kind string) (base string, tokens []string) {
	switch kind {
	case "llava":
		return "llama3", []string{"<image>", "<pad>"}
	case "idefics3":
		return "llama3", []string{"<fake_token_around_image>", "<image>", "<end_of_utterance>"}
	case "smolvlm":
		tokens = []string{"<global-img>"}
		for r := 1; r <= 6; r++ {
			for c := 1; c <= 6; c++ {
				tokens = append(tokens, fmt.Sprintf("<row_%d_col_%d>", r, c))
			}
		}
		tokens = append(tokens, "<fake_token_around_image>", "<image>")
		for i := range 88 {
			tokens = append(tokens, fmt.Sprintf("<|reserved_special_token_%d|>", i))
		}
		return "smollm2", append(tokens, "<end_of_utterance>")
	}
	return kind, nil
}

var tokenizers = map[string]*tokenizer.BPE{}

// tokenizerOf makes one of the tokenizers of render.json, once for all tests.
func tokenizerOf(t testing.TB, kind string) *tokenizer.BPE {
	if tok := tokenizers[kind]; tok != nil {
		return tok
	}
	base, more := added(kind)
	path := filepath.Join("..", "tokenizer", "testdata", "smollm2", "tokenizer.json")
	if base == "llama3" {
		if path = os.Getenv("L3V_LLAMA3_VOCAB"); path == "" {
			path = filepath.Join("..", "..", "build", "fetched", "llama3", "tokenizer.json")
		}
	}
	data, err := os.ReadFile(path)
	if err != nil && base == "llama3" {
		need.Missing(t, "llama3-vocab", "run tools/fetch-llama3-vocab.sh or set L3V_LLAMA3_VOCAB: "+err.Error())
	}
	require.NoError(t, err)
	var file map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(data, &file))
	tok, err := tokenizer.Parse(data)
	require.NoError(t, err)
	if more != nil {
		list := bytes.TrimSuffix(bytes.TrimSpace(file["added_tokens"]), []byte("]"))
		for i, text := range more {
			entry, err := json.Marshal(map[string]any{"id": tok.VocabSize() + i, "content": text, "special": true})
			require.NoError(t, err)
			list = append(append(list, ','), entry...)
		}
		file["added_tokens"] = append(list, ']')
		data, err = json.Marshal(file)
		require.NoError(t, err)
		tok, err = tokenizer.Parse(data)
		require.NoError(t, err)
	}
	tokenizers[kind] = tok
	return tok
}

func templateOf(t testing.TB, f format) (*chat.Template, *tokenizer.BPE) {
	tok := tokenizerOf(t, f.tokenizer)
	source, err := os.ReadFile(filepath.Join("testdata", "templates", f.file+".jinja"))
	require.NoError(t, err)
	config := chat.Config{
		Source: string(source), Specials: tok.Specials(), ImageToken: f.imageToken, BOS: f.bos,
	}
	if f.addBOS {
		config.AddBOS = &f.addBOS
	}
	template, err := chat.New(config)
	require.NoError(t, err)
	return template, tok
}

type rendered struct {
	Text string  `json:"text"`
	IDs  []int32 `json:"ids"`
}

type conversation struct {
	ID       string `json:"id"`
	Messages []struct {
		Role    string          `json:"role"`
		Content json.RawMessage `json:"content"`
	} `json:"messages"`
	Render map[string]struct {
		Gen   rendered `json:"gen"`
		NoGen rendered `json:"no_gen"`
	} `json:"render"`
}

func (c *conversation) messages(t testing.TB) []chat.Message {
	var messages []chat.Message
	for _, m := range c.Messages {
		var text string
		if json.Unmarshal(m.Content, &text) == nil {
			messages = append(messages, chat.Text(m.Role, text))
			continue
		}
		var parts []struct{ Type, Text string }
		require.NoError(t, json.Unmarshal(m.Content, &parts))
		message := chat.Message{Role: m.Role}
		for _, p := range parts {
			message.Parts = append(message.Parts, chat.Part{Text: p.Text, Image: p.Type == "image"})
		}
		messages = append(messages, message)
	}
	return messages
}

func conversations(t testing.TB) []conversation {
	data, err := os.ReadFile(filepath.Join("testdata", "render.json"))
	require.NoError(t, err)
	var file struct {
		Conversations []conversation `json:"conversations"`
	}
	require.NoError(t, json.Unmarshal(data, &file))
	require.Len(t, file.Conversations, 18)
	return file.Conversations
}

// slots replaces the place of a picture by the image token's id, as render.json has it.
func slots(t testing.TB, tok *tokenizer.BPE, imageToken string, ids []int32) []int32 {
	image := int32(-1)
	for _, s := range tok.Specials() {
		if s.Text == imageToken {
			image = s.ID
		}
	}
	out := append([]int32{}, ids...)
	for i, id := range out {
		if id == chat.ImageSlot {
			require.GreaterOrEqual(t, image, int32(0))
			out[i] = image
		}
	}
	return out
}

// P32, P45, P46, P47: the text and the ids of 18 conversations in 8 formats.
func TestGoldenConversations(t *testing.T) {
	for _, f := range formats {
		t.Run(f.name, func(t *testing.T) {
			template, tok := templateOf(t, f)
			count := 0
			for _, c := range conversations(t) {
				want, ok := c.Render[f.name]
				if !ok {
					continue // this format has no pictures
				}
				count++
				for _, gen := range []bool{false, true} {
					t.Run(fmt.Sprintf("%s/gen=%v", c.ID, gen), func(t *testing.T) {
						want := want.NoGen
						if gen {
							want = c.Render[f.name].Gen
						}
						prompt, err := template.Render(c.messages(t), chat.Options{AddGenerationPrompt: gen, Date: "26 Jul 2024"})
						require.NoError(t, err)
						require.Equal(t, want.Text, prompt.String())
						ids, err := prompt.Encode(tok)
						require.NoError(t, err)
						require.Equal(t, want.IDs, slots(t, tok, f.imageToken, ids), strings.Join(pieces(prompt), "|"))
					})
				}
			}
			require.GreaterOrEqual(t, count, 12)
		})
	}
}

func pieces(p chat.Prompt) (texts []string) {
	for _, piece := range p.Pieces {
		texts = append(texts, piece.Text)
	}
	return texts
}

package chat_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/model/chat"
	"github.com/llama3v/llama3v/model/tokenizer"
)

// The formats for checkpoints without a template give the reference's text and ids.
func TestGoldenFormats(t *testing.T) {
	for name, own := range map[string]chat.Format{"llama3": chat.Llama3, "smollm2": chat.ChatML, "smolvlm": chat.SmolVLM, "idefics3": chat.SmolVLM,
		"llava_llama3": chat.LLaVALlama3, "vision_alpha": chat.VisionAlpha, "bunny": chat.Bunny} {
		t.Run(name, func(t *testing.T) {
			var f format
			for _, known := range formats {
				if known.name == name {
					f = known
				}
			}
			tok := tokenizerOf(t, f.tokenizer)
			template, err := chat.New(chat.Config{Specials: tok.Specials(), BOS: f.bos}.With(own))
			require.NoError(t, err)
			count := 0
			for _, c := range conversations(t) {
				want, ok := c.Render[name]
				if !ok {
					continue
				}
				for gen, want := range map[bool]rendered{true: want.Gen, false: want.NoGen} {
					prompt, err := template.Render(c.messages(t), chat.Options{AddGenerationPrompt: gen})
					require.NoError(t, err, c.ID)
					require.Equal(t, want.Text, prompt.String(), c.ID)
					ids, err := prompt.Encode(tok)
					require.NoError(t, err, c.ID)
					require.Equal(t, want.IDs, slots(t, tok, own.ImageToken, ids), c.ID)
					count++
				}
			}
			require.GreaterOrEqual(t, count, 24)
		})
	}
}

// Templates that take text alone show pictures by the family's mark; the checkpoint's own goes first.
func TestFormatCompletesOwnTemplate(t *testing.T) {
	specials := []tokenizer.Special{{ID: 7, Text: "<|eot_id|>"}}
	const text = `{% for m in messages %}[{{ m.content | trim }}]{% endfor %}`
	picture := []chat.Message{{Role: "user", Parts: []chat.Part{{Text: "a <image> "}, {Image: true}, {Text: "b"}, {Image: true}}}}
	for _, tc := range []struct {
		name   string
		config chat.Config
		format chat.Format
		want   string
	}{
		{"its own, with the mark", chat.Config{Source: text, Specials: specials}, chat.LLaVALlama3, "[a <image> <image>\nb<image>]"},
		{"the files' token wins", chat.Config{Source: `{% for m in messages %}{% for p in m.content %}{% if p.type == 'image' %}<i>{% else %}{{ p.text }}{% endif %}{% endfor %}{% endfor %}`, ImageToken: "<i>"},
			chat.SmolVLM, "a <image> <i>b<i>"},
		{"one of another model is not used", chat.Config{Source: text, Specials: specials, BOS: "<|eot_id|>"}, chat.Bunny,
			"A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the user's questions. USER: a <image> <image>\nb<image>\n "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			template, err := chat.New(tc.config.With(tc.format))
			require.NoError(t, err)
			prompt, err := template.Render(picture, chat.Options{})
			require.NoError(t, err)
			require.Equal(t, tc.want, prompt.String())
			places := 0
			for _, piece := range prompt.Pieces {
				if piece.Kind == chat.PieceImage {
					require.Equal(t, places, piece.Image)
					places++
				}
			}
			require.Equal(t, 2, places, "P32: the typed one is text")
		})
	}
	template, err := chat.New(chat.Config{Source: text, Specials: specials}.With(chat.Llama3))
	require.NoError(t, err)
	_, err = template.Render(picture, chat.Options{})
	require.ErrorIs(t, err, chat.ErrNoImages, "a model without pictures")
}

// A model that was not taught turns gets no format.
func TestTextFormat(t *testing.T) {
	c := chat.Config{Specials: []tokenizer.Special{{ID: 1, Text: "<|end_of_text|>"}, {ID: 2, Text: "<|eot_id|>"}, {ID: 3, Text: "<|im_end|>"}}}
	require.Equal(t, chat.Llama3, c.TextFormat([]int32{1, 2}))
	require.Equal(t, chat.ChatML, c.TextFormat([]int32{3}))
	require.Zero(t, c.TextFormat([]int32{1}))
	_, err := chat.New(c.With(c.TextFormat([]int32{1})))
	require.ErrorIs(t, err, chat.ErrNoTemplate)
}

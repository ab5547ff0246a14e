package vlm_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/internal/golden"
	"github.com/llama3v/llama3v/model/chat"
	"github.com/llama3v/llama3v/model/tokenizer"
	"github.com/llama3v/llama3v/model/vlm"
)

// What a family's own code does to pictures and turns where no file says it.
func TestFamilyConventions(t *testing.T) {
	eot := chat.Config{Specials: []tokenizer.Special{{ID: 128009, Text: "<|eot_id|>"}}}
	for name, want := range map[string]struct {
		pad    bool
		edge   int
		slices int
		format chat.Format // without a template, of a model whose answers end at <|eot_id|>
	}{
		"Bunny-Llama-3-8B-V":                 {pad: true, format: chat.Bunny},
		"llava-llama-3-8b-v1_1-hf":           {format: chat.Bunny},
		"llava-llama-3-8b-v1_1-transformers": {format: chat.LLaVALlama3},
		"llama-3-vision-alpha-hf":            {format: chat.VisionAlpha},
		"SmolVLM-256M":                       {format: chat.SmolVLM},
		"SmolVLM2-2.2B":                      {format: chat.SmolVLM},
		"MiniCPM-Llama3-V-2_5":               {edge: 448, slices: 9, format: chat.MiniCPM25},
	} {
		t.Run(name, func(t *testing.T) {
			m := golden.NewModel(t, published[name])
			c, err := read(t, m)
			require.NoError(t, err)
			c.EOS = append(c.EOS, 128009)
			require.Equal(t, want.pad, c.PadSquare)
			require.Equal(t, [2]int{want.edge, want.slices}, [2]int{c.SliceEdge, c.Slices})
			require.Equal(t, want.format, c.ChatFormat(eot))
		})
	}
	m := golden.NewModel(t, published["Bunny-Llama-3-8B-V"]).Set("anyres", "image_aspect_ratio")
	_, err := read(t, m)
	var family *vlm.FamilyError
	require.ErrorAs(t, err, &family)
	require.ErrorContains(t, err, "anyres")
}

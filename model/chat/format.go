package chat

import (
	"slices"
	"strings"
)

// Format is how a family writes a conversation: for checkpoints that bring no template of their own, and
// for what their template leaves open.
type Format struct {
	Source string // a template, see Config.Source

	// ImageToken is what the template writes for a picture, where no file names it.
	ImageToken string

	// ImageMark is what a picture becomes inside a message's text, for templates of the checkpoint that take
	// text alone: ImageToken, and what the family puts behind it.
	ImageMark string

	AddBOS bool // the template writes no start token, the model wants one

	// Foreign says that templates in the family's checkpoints that take text alone are another model's, which
	// they were made from, and not used.
	Foreign bool
}

// With completes what a model's files say with what its family does. The checkpoint's own template comes
// first.
func (c Config) With(f Format) Config {
	if c.ImageToken == "" {
		c.ImageToken = f.ImageToken
	}
	c.ImageMark = f.ImageMark
	own := strings.TrimSpace(c.Source) != ""
	if own && f.Foreign {
		t, err := New(c)
		own = err == nil && t.parts
	}
	if !own && f.Source != "" {
		c.Source = f.Source
		if f.ImageToken != "" {
			c.ImageToken = f.ImageToken // the source writes this one
		}
		if f.AddBOS {
			add := true
			c.AddBOS = &add
		}
	}
	return c
}

// Llama 3's turns (github.com/meta-llama/llama3, llama/tokenizer.py: ChatFormat), whose content BODY gives.
const llama3Turns = `{% for m in messages %}{% if loop.first %}{{ bos_token }}{% endif %}` +
	`{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + (BODY).strip() + '<|eot_id|>' }}{% endfor %}` +
	`{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}`

func llama3(body string) string { return strings.Replace(llama3Turns, "BODY", body, 1) }

// The families' formats.
var (
	// Llama3 is Llama 3 Instruct, text alone.
	Llama3 = Format{Source: llama3(`m.content`)}
	// LLaVALlama3 is that of llava-llama-3-8b: a picture has a line of its own.
	LLaVALlama3 = Format{Source: llama3(`m.content | images('<image>\n')`), ImageToken: "<image>", ImageMark: "<image>\n"}
	// VisionAlpha is that of llama-3-vision-alpha, and of our own family: a picture stands right before the text.
	VisionAlpha = Format{Source: llama3(`m.content | images('<image>')`), ImageToken: "<image>", ImageMark: "<image>"}
	// MiniCPM25 is MiniCPM-Llama3-V 2.5's. Its files hold Llama 3's template; its code puts pictures and texts of
	// a message on lines of their own.
	MiniCPM25 = Format{Source: llama3(`m.content | images('<image>\n')`), ImageToken: "<image>", ImageMark: "<image>\n"}
	// Bunny's is LLaVA's of the first version. Its checkpoints also hold Llama 3's template, which they were not
	// trained with.
	Bunny = Format{AddBOS: true, Foreign: true, ImageToken: "<image>", ImageMark: "<image>\n",
		Source: `{% if messages and messages[0].role == 'system' %}{{ messages[0].content | flat }}{% else %}` +
			`{{ "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the user's questions." }}{% endif %}{{ ' ' }}` +
			`{% for m in messages %}{% if m.role == 'user' %}{{ 'USER: ' + (m.content | images('<image>\n')) + ' ' }}` +
			`{% elif m.role == 'assistant' %}{{ 'ASSISTANT: ' + (m.content | images('')) + '<|end_of_text|>' }}{% endif %}{% endfor %}` +
			`{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}`}
	// SmolVLM is that of SmolVLM and Idefics3, which differ in the start token.
	SmolVLM = Format{ImageToken: "<image>", ImageMark: "<image>",
		Source: `{{ bos_token }}{% for m in messages %}{{ m.role | capitalize }}{{ ':' if m.content and m.content[0].type == 'image' else ': ' }}` +
			`{% for p in m.content %}{% if p.type == 'text' %}{{ p.text }}{% elif p.type == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}` +
			`{{ '<end_of_utterance>\n' }}{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}`}
	// ChatML is that of SmolLM2 Instruct, which has a system message of its own where there is none.
	ChatML = Format{Source: `{% if messages and messages[0].role != 'system' %}` +
		`{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}` +
		`{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}` +
		`{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}`}
)

// TextFormat guesses nothing: it is the format whose end of turn is among the ids that end the model's
// answers, and no format for a model that ends texts alone, as base models do.
func (c Config) TextFormat(eos []int32) Format {
	ends := func(text string) bool {
		for _, s := range c.Specials {
			if s.Text == text {
				return slices.Contains(eos, s.ID)
			}
		}
		return false
	}
	switch {
	case ends("<|eot_id|>"):
		return Llama3
	case ends("<|im_end|>"):
		return ChatML
	}
	return Format{}
}

package chat

import (
	"fmt"
	"strings"

	"github.com/llama3v/llama3v/model/tokenizer"
)

// Config is what a template needs to know of its model. [FromFS] reads it from a model folder.
type Config struct {
	// Source is the template. Besides what transformers offers to templates it may use two filters
	// on a message's content: "images(mark)" joins the text and puts mark for each picture, "flat"
	// joins the text alone.
	Source string

	// Specials are all special tokens of the tokenizer. Those that the template writes become
	// structure.
	Specials []tokenizer.Special

	// ImageToken is what the template writes for a picture, such as "<image>". It need not be a
	// token of the vocabulary. Empty for a model that reads text only.
	ImageToken string

	// ImageMark is what a picture becomes in a message's text, with ImageToken once in it, where the template
	// takes text alone. Empty: such a template shows no pictures.
	ImageMark string

	// BOS and EOS are the template's bos_token and eos_token.
	BOS, EOS string

	// AddBOS says whether a prompt must start with BOS; nil leaves it to the tokenizer file's
	// post-processor. What the template writes itself counts: there is never a second one.
	AddBOS *bool
}

// Template renders conversations. It is safe for many goroutines.
type Template struct {
	config  Config
	matcher *tokenizer.Matcher // specials, then the image token
	starts  string
	strings bool // the template takes content as a string
	parts   bool // the template takes content as a list of parts
}

// New makes a template, and finds out by two trial renderings whether it takes a message's content
// as a string, as a list of parts, or both. Giving a string to a template that walks over parts would
// lose the text without an error.
func New(config Config) (*Template, error) {
	if strings.TrimSpace(config.Source) == "" {
		return nil, ErrNoTemplate
	}
	texts := make([]string, 0, len(config.Specials)+1)
	for _, s := range config.Specials {
		if s.Text == "" {
			return nil, fmt.Errorf("%w: special token %d has no text", ErrConfig, s.ID)
		}
		texts = append(texts, s.Text)
	}
	if config.ImageToken != "" {
		texts = append(texts, config.ImageToken)
	}
	t := &Template{config: config, matcher: tokenizer.NewMatcher(texts), starts: firstRunes(texts)}
	var errStrings, errParts error
	t.strings, errStrings = t.try(false)
	t.parts, errParts = t.try(true)
	switch {
	case t.strings || t.parts:
		return t, nil
	case errParts != nil:
		return nil, errParts
	case errStrings != nil:
		return nil, errStrings
	}
	return nil, &TemplateError{fmt.Errorf("it shows a message's content neither given as text nor as parts")}
}

// try renders a message and says whether its text is shown, and shown as text: a template made for
// strings shows a list the way Python prints it, with the names of its fields.
func (t *Template) try(parts bool) (shown bool, err error) {
	const probe, field = "probe0text", "probe0field"
	content := any(probe)
	if parts {
		content = []any{map[string]any{"type": "text", "text": probe, field: field}}
	}
	messages := []any{map[string]any{"role": "user", "content": content}}
	text, err := t.run(newRendering(2, len(probe)), messages, Options{AddGenerationPrompt: true, Date: "26 Jul 2024"})
	return err == nil && strings.Contains(text, probe) && !strings.Contains(text, field), err
}

// run renders messages with what the template can name besides the functions.
func (t *Template) run(r *rendering, messages []any, o Options) (string, error) {
	v := map[string]any{
		"messages":              messages,
		"add_generation_prompt": o.AddGenerationPrompt,
		"bos_token":             t.config.BOS,
		"eos_token":             t.config.EOS,
	}
	if o.Date != "" {
		v["date_string"] = o.Date
	}
	if !o.Now.IsZero() {
		v["strftime_now"] = strftimeNow(r, o.Now)
	}
	return r.render(t.config.Source, v)
}

// Render renders a conversation. The k-th picture of the messages takes the k-th place; where the
// template renders another number of places the error is an [ImagesError].
func (t *Template) Render(messages []Message, o Options) (Prompt, error) {
	m := newMarker(t.starts, func(yield func(string)) {
		yield(t.config.Source)
		yield(t.config.ImageToken)
		yield(t.config.ImageMark)
		yield(o.Date)
		for _, special := range t.config.Specials {
			yield(special.Text)
		}
		for _, message := range messages {
			yield(message.Role)
			for _, part := range message.Parts {
				yield(part.Text)
			}
		}
	})
	images := 0
	list := make([]any, 0, len(messages))
	for i, message := range messages {
		content, n, err := t.content(m, message)
		if err != nil {
			return Prompt{}, fmt.Errorf("message %d: %w", i, err)
		}
		images += n
		list = append(list, map[string]any{"role": m.protect(message.Role), "content": content})
	}
	o.Date = m.protect(o.Date)
	text, err := t.run(newRendering(size(messages)), list, o)
	if err != nil {
		return Prompt{}, err
	}
	pieces, slots := t.takeApart(m, text)
	if slots != images {
		return Prompt{}, &ImagesError{Images: images, Slots: slots}
	}
	return Prompt{Pieces: pieces, template: t}, nil
}

// content is a message's content as the template takes it, and how many pictures are in it.
func (t *Template) content(m marker, message Message) (content any, images int, err error) {
	var marked strings.Builder // as one text
	parts := make([]any, 0, len(message.Parts))
	for _, part := range message.Parts {
		if part.Image {
			images++
			parts = append(parts, map[string]any{"type": "image"})
			marked.WriteString(t.config.ImageMark)
		}
		if !part.Image || part.Text != "" {
			marked.WriteString(m.protect(part.Text))
			parts = append(parts, map[string]any{"type": "text", "text": m.protect(part.Text)})
		}
	}
	switch {
	case images > 0 && (t.config.ImageToken == "" || !t.parts && t.config.ImageMark == ""):
		return nil, 0, ErrNoImages
	case t.parts && (images > 0 || len(parts) > 1 || !t.strings):
		return parts, images, nil
	}
	return marked.String(), images, nil
}

// takeApart finds the structural tokens in rendered text.
func (t *Template) takeApart(m marker, text string) (pieces []Piece, slots int) {
	addText := func(marked string) {
		if clean := m.clean(marked); clean != "" {
			pieces = append(pieces, Piece{Kind: PieceText, Text: clean})
		}
	}
	from, at := 0, 0
	for at < len(text) {
		offset, index := t.matcher.Find(text[at:])
		if index < 0 {
			break
		}
		at += offset
		spelling := t.config.ImageToken
		if index < len(t.config.Specials) {
			spelling = t.config.Specials[index].Text
		}
		end := at + len(spelling)
		if strings.HasPrefix(text[end:], m.mark) { // a token of one character, from a message
			at = end
			continue
		}
		addText(text[from:at])
		if spelling == t.config.ImageToken {
			pieces = append(pieces, Piece{Kind: PieceImage, Text: spelling, Image: slots})
			slots++
		} else {
			pieces = append(pieces, Piece{Kind: PieceSpecial, Text: spelling, ID: t.config.Specials[index].ID})
		}
		from, at = end, end
	}
	addText(text[from:])
	return pieces, slots
}

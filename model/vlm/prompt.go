package vlm

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/llama3v/llama3v/model/chat"
	"github.com/llama3v/llama3v/model/llama"
	"github.com/llama3v/llama3v/model/tokenizer"
)

// ChatFormat is how the family writes a conversation where the checkpoint has no template of its own.
// have is what the checkpoint says.
func (c *Config) ChatFormat(have chat.Config) chat.Format {
	text := have.TextFormat(c.EOS)
	instructed := text.Source == chat.Llama3.Source
	switch c.Family {
	case "idefics3", "smolvlm":
		return chat.SmolVLM
	case "bunny-llama", "llava_llama":
		return chat.Bunny
	case "llamavision":
		return chat.VisionAlpha
	case "minicpmv":
		return chat.MiniCPM25
	case "llama3v":
		f := chat.VisionAlpha
		if !instructed {
			f.Source = ""
		}
		return f
	case "llava":
		f := chat.LLaVALlama3
		if !instructed {
			f.Source = ""
		}
		return f
	}
	return text
}

// ReadTemplate reads the chat template of a model folder, or takes its family's. Errors: chat.ErrNoTemplate
// without either, and those of chat.ReadConfig and chat.New.
func ReadTemplate(fsys fs.FS, c *Config) (*chat.Template, error) {
	config, err := chat.ReadConfig(fsys)
	if err != nil && !errors.Is(err, chat.ErrNoTemplate) {
		return nil, err
	}
	for _, s := range config.Specials { // a folder may have no tokenizer_config.json
		if config.BOS == "" && s.ID == c.BOS {
			config.BOS = s.Text
		}
	}
	return chat.New(config.With(c.ChatFormat(config)))
}

// Frame says what stands in a prompt for a picture: the rows of its views, and in families that cut
// pictures what tells them apart. It is built from ids: text of a message never becomes part of it. A Frame
// is safe for many goroutines.
type Frame struct {
	tokens int // positions of a view
	form   func(f *Frame, rows, cols int) []int32

	// Of Idefics3: the token around pictures, that before the whole picture, and ends of a row of tiles.
	fake, global, line, lines []int32
	tile                      map[[2]int][]int32

	// Of MiniCPM-V: around a view, and around all slices.
	open, shut, openSlices, shutSlices []int32
}

// mostTilesFramed bounds rows and columns that a prompt can name.
const mostTilesFramed = 32

// NewFrame makes the frame of a model's family. t may be nil for a family whose pictures are rows alone.
//
// Errors: chat.ErrMismatch for a tokenizer without the family's tokens.
func NewFrame(c *Config, t tokenizer.Tokenizer) (*Frame, error) {
	f := &Frame{tokens: c.ViewTokens(), form: (*Frame).plain}
	w := frameWriter{tokenizer: t}
	switch c.Family {
	case "idefics3", "smolvlm":
		w.tiles(f)
	case "minicpmv":
		w.slices(f)
	}
	return f, w.err
}

// Expand gives the ids that stand for a picture cut into rows x cols tiles or slices, 0 x 0 for one that is
// whole: llama.Slot at each position of a view, views in the order of imageprep.Views.
func (f *Frame) Expand(rows, cols int) ([]int32, error) {
	if rows < 0 || cols < 0 || (rows == 0) != (cols == 0) || rows > mostTilesFramed || cols > mostTilesFramed {
		return nil, fmt.Errorf("%w: a picture of %d x %d tiles", chat.ErrImages, rows, cols)
	}
	return f.form(f, rows, cols), nil
}

// plain is a picture that is one view, and nothing around it: LLaVA and its kin, and our own family.
func (f *Frame) plain(_, _ int) []int32 { return f.view(nil) }

// view appends the positions of one view.
func (f *Frame) view(ids []int32) []int32 {
	for range f.tokens {
		ids = append(ids, llama.Slot)
	}
	return ids
}

// tiled is Idefics3's and SmolVLM's prompt (transformers' processing_idefics3.py): each tile behind its
// place, rows of tiles on lines, the whole picture behind an empty line. The last row's end and that empty
// line are one token in the tokenizers of both, which encode the text as a whole.
func (f *Frame) tiled(rows, cols int) []int32 {
	var ids []int32
	for row := range rows {
		for col := range cols {
			ids = append(append(ids, f.fake...), f.tile[[2]int{row, col}]...)
			ids = f.view(ids)
		}
		if row < rows-1 {
			ids = append(ids, f.line...)
		} else {
			ids = append(ids, f.lines...)
		}
	}
	ids = f.view(append(append(ids, f.fake...), f.global...))
	return append(ids, f.fake...)
}

// sliced is MiniCPM-V 2.5's prompt: the whole picture, then all slices, rows of them on lines.
func (f *Frame) sliced(rows, cols int) []int32 {
	one := func(ids []int32) []int32 { return append(f.view(append(ids, f.open...)), f.shut...) }
	ids := one(nil)
	if rows == 0 {
		return ids
	}
	ids = append(ids, f.openSlices...)
	for row := range rows {
		if row > 0 {
			ids = append(ids, f.line...)
		}
		for range cols {
			ids = one(ids)
		}
	}
	return append(ids, f.shutSlices...)
}

// frameWriter finds a family's tokens; the first error stays.
type frameWriter struct {
	tokenizer tokenizer.Tokenizer
	err       error
}

func (w *frameWriter) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

// special is the id of a special token.
func (w *frameWriter) special(text string) []int32 {
	if w.tokenizer != nil {
		for _, s := range w.tokenizer.Specials() {
			if s.Text == text {
				return []int32{s.ID}
			}
		}
	}
	w.fail(fmt.Errorf("%w: the tokenizer has no special token %q, which stands around pictures", chat.ErrMismatch, text))
	return nil
}

// either is a special token where there is one, else the ids of its text: early releases do not have all
// of them.
func (w *frameWriter) either(specials map[string]int32, text string) []int32 {
	if id, ok := specials[text]; ok {
		return []int32{id}
	}
	return w.text(text)
}

func (w *frameWriter) text(text string) []int32 {
	if w.err != nil {
		return nil
	}
	ids, err := w.tokenizer.Encode(text)
	if err != nil {
		w.fail(err)
	}
	return ids
}

func (w *frameWriter) tiles(f *Frame) {
	f.form, f.fake = (*Frame).tiled, w.special("<fake_token_around_image>")
	if w.err != nil {
		return
	}
	specials := map[string]int32{}
	for _, s := range w.tokenizer.Specials() {
		specials[s.Text] = s.ID
	}
	f.global = w.either(specials, "<global-img>")
	f.line, f.lines = w.text("\n"), w.text("\n\n")
	f.tile = map[[2]int][]int32{}
	for row := range mostTilesFramed {
		for col := range mostTilesFramed {
			f.tile[[2]int{row, col}] = w.either(specials, fmt.Sprintf("<row_%d_col_%d>", row+1, col+1))
		}
	}
}

func (w *frameWriter) slices(f *Frame) {
	f.form = (*Frame).sliced
	f.open, f.shut = w.special("<image>"), w.special("</image>")
	f.openSlices, f.shutSlices = w.special("<slice>"), w.special("</slice>")
	if w.err == nil {
		f.line = w.text("\n")
	}
}

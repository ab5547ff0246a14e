package llama3v

import (
	"context"
	"fmt"
	"strings"

	"github.com/llama3v/llama3v/model/chat"
	"github.com/llama3v/llama3v/model/llama"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/siglip"
	"github.com/llama3v/llama3v/model/vlm"
)

// prompt is a request ready for the decoder.
type prompt struct {
	ids    []int32      // Slot where a picture's row goes
	rows   [][]float32  // one picture's rows [tokens, dim] after another, in slot order
	seen   []llama.Rows // what rows are
	answer *Answer
}

// known is the prompt as the cache tells prompts apart; nil where nothing of it is to be reused.
func (m *Model) known(p *prompt, c *generateConfig) *llama.Text {
	if m.config.freshPrefix || c.tap != nil { // a tap wants to see the prompt run
		return nil
	}
	return &llama.Text{IDs: p.ids, Pictures: p.seen}
}

// prompt renders the conversation, puts what stands for a picture in each picture's place, and looks at the
// pictures. Counts and the room for them are checked before anything runs on the device.
func (m *Model) prompt(ctx context.Context, conversation Chat, c *generateConfig) (*prompt, error) {
	if m.runner == nil {
		return nil, fmt.Errorf("%w: the model has no decoder", ErrUnsupported)
	}
	if conversation.silent() {
		return nil, ErrEmptyPrompt
	}
	messages, pictures := conversation.split()
	if len(pictures) > 0 && m.model.Projector == nil {
		return nil, fmt.Errorf("%w: %d pictures for a model that reads text only", ErrUnsupported, len(pictures))
	}
	tokens, err := m.render(messages, c.raw)
	if err != nil {
		return nil, err
	}
	p := &prompt{answer: &Answer{Backend: m.backend}}
	var sights []sight
	if len(pictures) > 0 {
		if sights, err = m.decode(ctx, pictures, "projected", &p.answer.Timings); err != nil {
			return nil, err
		}
	}
	if err := m.expand(p, tokens, sights); err != nil {
		return nil, err
	}
	if len(pictures) > 0 {
		if err := m.fill(ctx, p, sights, c); err != nil {
			return nil, err
		}
	}
	p.answer.Timings.Load = m.loadTime
	return p, nil
}

// expand puts the family's ids for each picture in its place, and checks that there is room.
func (m *Model) expand(p *prompt, tokens []int32, sights []sight) error {
	places := 0
	for _, t := range tokens {
		if t != chat.ImageSlot {
			p.ids = append(p.ids, t)
			continue
		}
		if places++; places > len(sights) {
			continue // counted, for the error
		}
		size := sights[places-1].picture
		grid := m.prep.Grid(size.Width, size.Height)
		ids, err := m.frame.Expand(grid.Rows, grid.Cols)
		if err != nil {
			return err
		}
		p.ids = append(p.ids, ids...)
	}
	if places != len(sights) {
		return fmt.Errorf("%w: %d pictures, the prompt has %d slots", ErrPictureCount, len(sights), places)
	}
	for _, id := range p.ids {
		if id == llama.Slot {
			p.answer.ImageTokens++
		}
	}
	p.answer.PromptTokens = len(p.ids)
	if need, room := len(p.ids), m.runner.Context(); need >= room {
		return fmt.Errorf("%w: the prompt needs %d positions (%d of them for pictures) and one for the answer, the context has %d",
			ErrContextFull, need, need-(len(tokens)-places), room)
	}
	return nil
}

// fill looks at the pictures for the slots.
func (m *Model) fill(ctx context.Context, p *prompt, sights []sight, c *generateConfig) error {
	cache := m.features
	if c.tap != nil {
		cache = newFeatureCache(0) // a tap wants to see the encoding run
	}
	seen, err := m.look(ctx, cache, sights, &p.answer.Timings, func(s *ops.Stream, views []siglip.View) (*vlm.Seen, error) {
		s.SetTap(c.tap)
		defer s.SetTap(nil)
		return m.eye.ProjectViews(s, views)
	})
	if err != nil {
		return err
	}
	rows := 0
	for _, picture := range seen {
		rows += picture.features.tokens
		p.rows = append(p.rows, picture.features.data)
		p.seen = append(p.seen, llama.Rows{Identity: picture.key, Count: picture.features.tokens})
		p.answer.Pictures = append(p.answer.Pictures, picture.use)
	}
	if rows != p.answer.ImageTokens {
		return fmt.Errorf("%w: the pictures fill %d positions, the prompt has %d", ErrPictureCount, rows, p.answer.ImageTokens)
	}
	return nil
}

// render turns messages into ids, with chat.ImageSlot where a picture goes.
func (m *Model) render(messages []chat.Message, raw bool) ([]int32, error) {
	if raw {
		return m.renderRaw(messages)
	}
	if m.template == nil {
		return nil, fmt.Errorf("%w: the model has no chat template; only raw prompts work", ErrUnsupported)
	}
	rendered, err := m.template.Render(messages, chat.Options{AddGenerationPrompt: true})
	if err != nil {
		return nil, err
	}
	return rendered.Encode(m.tokenizer)
}

func (m *Model) renderRaw(messages []chat.Message) ([]int32, error) {
	var ids []int32
	if bos := m.model.Config.BOS; bos >= 0 {
		ids = append(ids, bos)
	}
	var text strings.Builder
	for _, message := range messages {
		for _, part := range message.Parts {
			if part.Image {
				ids = append(ids, chat.ImageSlot)
			}
			text.WriteString(part.Text)
		}
	}
	encoded, err := m.tokenizer.Encode(text.String())
	return append(ids, encoded...), err
}

package llama3v

import (
	"strings"

	"github.com/llama3v/llama3v/model/tokenizer"
)

// reply turns the ids of one answer into text, and ends it.
type reply struct {
	answer  *Answer
	limit   int // most tokens
	stopIDs map[int32]bool
	text    *tokenizer.Stream
	stops   *tokenizer.Stop
	whole   strings.Builder
}

func (m *Model) newReply(c *generateConfig, a *Answer, limit int) (*reply, error) {
	stops, err := tokenizer.NewStop(c.stopTexts...)
	if err != nil {
		return nil, err
	}
	r := &reply{answer: a, limit: limit, stopIDs: m.stopIDs(c), text: tokenizer.NewStream(m.tokenizer), stops: stops}
	r.text.SkipSpecial = true // structure inside an answer is no text
	a.TokenIDs = make([]int32, 0, limit)
	return r, nil
}

// stopIDs are the ids that end the answer: those of all the model's config files, and the caller's.
func (m *Model) stopIDs(c *generateConfig) map[int32]bool {
	stop := map[int32]bool{}
	if !c.ignoreEOS {
		for _, id := range m.model.Config.EOS {
			stop[id] = true
		}
	}
	for _, id := range c.stopIDs {
		stop[id] = true
	}
	return stop
}

// take adds the next token. The one that ends the answer carries it; of a stop text no part is shown,
// and what was held back for one that did not come is.
func (r *reply) take(next chosen) Token {
	a := r.answer
	a.TokenIDs = append(a.TokenIDs, next.id)
	token := Token{ID: next.id, LogProbs: next.logProbs}
	if next.logProbs != nil {
		a.LogProbs = append(a.LogProbs, *next.logProbs)
	}
	var piece string
	switch {
	case r.stopIDs[next.id]:
		a.FinishReason, a.StopID = FinishStop, next.id
		piece = r.text.Flush()
	case len(a.TokenIDs) == r.limit:
		a.FinishReason = FinishLength
		piece = r.text.Push(next.id) + r.text.Flush()
	default:
		piece = r.text.Push(next.id)
	}
	var stopped bool
	if token.Text, stopped = r.stops.Push(piece); stopped {
		a.FinishReason, a.StopText, a.StopID = FinishStopText, r.stops.Found(), 0
	} else if a.FinishReason != "" {
		token.Text += r.stops.Flush()
	}
	r.whole.WriteString(token.Text)
	if a.FinishReason != "" {
		a.Text = r.whole.String()
		token.Answer = a
	}
	return token
}

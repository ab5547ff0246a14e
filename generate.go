package llama3v

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"time"

	"github.com/llama3v/llama3v/model/llama"
	"github.com/llama3v/llama3v/model/ops"
)

// Ask asks one question about pictures, or about nothing but the text. It is Generate on a single
// turn, collected.
func (m *Model) Ask(ctx context.Context, question string, with ...Input) (*Answer, error) {
	var pictures []Picture
	var opts []GenerateOption
	for _, input := range with {
		switch input := input.(type) {
		case Picture:
			pictures = append(pictures, input)
		case GenerateOption:
			opts = append(opts, input)
		}
	}
	var answer *Answer
	for token, err := range m.Generate(ctx, Chat{User(question, pictures...)}, opts...) {
		if err != nil {
			return nil, err
		}
		answer = token.Answer
	}
	return answer, nil
}

// Generate continues a conversation: greedily, at each step the likeliest token, the lowest id among
// equals, unless an option says otherwise (Temperature and its like, ModelDefaults). It yields the tokens
// as they come; the last one carries the Answer. An error is the last pair. Breaking out of the loop frees everything at once, and an ended ctx also stops a
// running encode or prefill. No lock is held while the caller has a token.
//
// Errors: ErrEmptyPrompt, ErrUnsupported (a model without decoder, or without chat template unless
// Raw is given), the ErrPicture kinds, ErrPictureCount, ErrContextFull (with the positions needed
// and there), ErrNotFinite, ErrClosed, ErrOption, ctx's error.
func (m *Model) Generate(ctx context.Context, conversation Chat, opts ...GenerateOption) iter.Seq2[Token, error] {
	return func(yield func(Token, error) bool) {
		if err := m.generate(ctx, conversation, opts, func(t Token) bool { return yield(t, nil) }); err != nil {
			yield(Token{}, fmt.Errorf("generate: %w", ended(ctx, err)))
		}
	}
}

func (m *Model) generate(ctx context.Context, conversation Chat, opts []GenerateOption, emit func(Token) bool) error {
	c, err := newGenerateConfig(opts, m.model.Config.Generation)
	if err != nil {
		return err
	}
	p, err := m.prompt(ctx, conversation, c)
	if err != nil {
		return err
	}
	limit := min(c.maxTokens, m.runner.Context()-len(p.ids))
	sequence, err := m.runner.Cache.ReserveText(ctx, len(p.ids)+limit, m.known(p, c))
	if err != nil {
		return err
	}
	defer sequence.Close()
	p.answer.ReusedTokens = sequence.Reused
	choice, seed := c.sampling.choice(p.ids)
	sequence.Choose(choice)
	p.answer.Sampled, p.answer.Seed = choice.Sampling.Temperature > 0, seed

	r, err := m.newReply(c, p.answer, limit)
	if err != nil {
		return err
	}
	next, err := m.prefill(ctx, sequence, p, c)
	if err != nil {
		return err
	}
	start := time.Now()
	for {
		token := r.take(next)
		if a := token.Answer; a != nil {
			a.Timings.Decode, a.Timings.Tokens = time.Since(start), len(a.TokenIDs)-1
			m.logAnswer(ctx, a)
			emit(token)
			return nil
		}
		waiting := time.Now()
		if !emit(token) {
			return nil
		}
		start = start.Add(time.Since(waiting)) // the caller's time is not ours
		if next, err = m.decode1(ctx, sequence, next.id, c); err != nil {
			return err
		}
	}
}

// prefill runs what the sequence lacks of the prompt through the decoder in steps, and gives the first
// token.
func (m *Model) prefill(ctx context.Context, sequence *llama.Sequence, p *prompt, c *generateConfig) (next chosen, err error) {
	rows := rowFeed{rows: p.rows, dim: m.model.Config.Text.Dim}
	rows.skip(p.ids[:sequence.Length])
	for ids := p.ids[sequence.Length:]; len(ids) > 0; {
		chunk := ids[:min(len(ids), m.runner.PrefillRows())]
		ids = ids[len(chunk):]
		err := m.step(ctx, func(s *ops.Stream) (err error) {
			begin := time.Now()
			s.SetTap(c.tap)
			defer s.SetTap(nil)
			last := len(ids) == 0
			next.id, err = m.runner.Prefill(s, sequence, chunk, rows.take(chunk), last)
			p.answer.Timings.Prefill += time.Since(begin)
			if err == nil && last {
				err = m.readLogProbs(&next, c)
			}
			return err
		})
		if err != nil {
			return chosen{}, err
		}
	}
	return next, nil
}

// rowFeed hands out picture rows in slot order, cut where prefill cuts.
type rowFeed struct {
	rows [][]float32
	dim  int
}

// skip passes over the rows for the slots among ids.
func (f *rowFeed) skip(ids []int32) {
	for _, id := range ids {
		if id == llama.Slot {
			f.next()
		}
	}
}

// take gives the rows for the slots among ids, as one block.
func (f *rowFeed) take(ids []int32) []float32 {
	var block []float32
	for _, id := range ids {
		if id != llama.Slot {
			continue
		}
		block = append(block, f.next()...)
	}
	return block
}

func (f *rowFeed) next() []float32 {
	if len(f.rows[0]) == 0 {
		f.rows = f.rows[1:]
	}
	row := f.rows[0][:f.dim]
	f.rows[0] = f.rows[0][f.dim:]
	return row
}

// chosen is a token as the runner chose it.
type chosen struct {
	id       int32
	logProbs *TokenLogProbs // nil unless asked for
}

// decode1 appends id and gives the token that follows. It is one call into the library.
func (m *Model) decode1(ctx context.Context, sequence *llama.Sequence, id int32, c *generateConfig) (next chosen, err error) {
	if err := m.acquire(ctx); err != nil {
		return chosen{}, err
	}
	defer m.release()
	if next.id, err = m.runner.Decode(sequence, id); err == nil {
		err = m.readLogProbs(&next, c)
	}
	return next, explain(err)
}

// readLogProbs gets the log-probabilities of the newest step where they were asked for. The device is
// still held.
func (m *Model) readLogProbs(next *chosen, c *generateConfig) error {
	if c.sampling.logProbs < 0 {
		return nil
	}
	token, top, err := m.runner.LogProbs(c.sampling.logProbs)
	if err != nil {
		return err
	}
	name := func(p llama.LogProb) LogProb {
		bytes, _ := m.tokenizer.TokenBytes(p.ID) // an id that pads the table has no text
		return LogProb{p.ID, string(bytes), float64(p.LogProb)}
	}
	next.logProbs = &TokenLogProbs{Token: name(token)}
	for _, p := range top {
		next.logProbs.Top = append(next.logProbs.Top, name(p))
	}
	return nil
}

func (m *Model) logAnswer(ctx context.Context, a *Answer) {
	m.logRequest(ctx, "answer", slog.Int("prompt_tokens", a.PromptTokens), slog.Int("reused_tokens", a.ReusedTokens), slog.Int("tokens", len(a.TokenIDs)),
		slog.String("finish", string(a.FinishReason)), slog.Duration("encode", a.Timings.Encode),
		slog.Duration("prefill", a.Timings.Prefill), slog.Duration("decode", a.Timings.Decode))
}

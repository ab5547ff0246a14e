package tokenizer

import (
	"math"
	"strings"
)

// BPE is a byte-level BPE vocabulary: text is cut into pieces, each piece is taken as bytes, and
// neighbouring tokens are merged by rank.
type BPE struct {
	split        splitter
	ignoreMerges bool // a piece that is a token as a whole is not merged from its bytes
	ids          map[string]int32
	byteID       [256]int32 // id of each byte, -1 where the vocabulary has none
	merges       merges

	tokens   []token // by id
	specials []Special
	literals *Matcher // added tokens that are not special: they are found in any text
	literal  []int32  // their ids, by the matcher's index
	prefix   []int32
}

// token is what an id stands for.
type token struct {
	bytes   []byte // nil where the id is not in use
	special bool
}

// VocabSize is one more than the largest id.
func (t *BPE) VocabSize() int { return len(t.tokens) }

// Specials lists the special tokens by rising id.
func (t *BPE) Specials() []Special { return t.specials }

// PostProcessorPrefix is what the file's own post-processor would put before a text, usually the
// start token. Encode does not add it: some models' files lack it and some prompts bring their own,
// so the decision is the caller's.
func (t *BPE) PostProcessorPrefix() []int32 { return t.prefix }

// TokenBytes gives the bytes that id stands for.
func (t *BPE) TokenBytes(id int32) ([]byte, error) {
	if id < 0 || int(id) >= len(t.tokens) || t.tokens[id].bytes == nil {
		return nil, &UnknownIDError{ID: id, VocabSize: len(t.tokens)}
	}
	return t.tokens[id].bytes, nil
}

// Decode gives the text of ids.
func (t *BPE) Decode(ids []int32, skipSpecial bool) (string, error) {
	var b strings.Builder
	for _, id := range ids {
		bytes, err := t.TokenBytes(id)
		if err != nil {
			return "", err
		}
		if skipSpecial && t.tokens[id].special {
			continue
		}
		b.Write(bytes)
	}
	return ToValidUTF8(b.String()), nil
}

// Encode gives the ids of text. A byte that the vocabulary has no token for is dropped, as the
// reference tokenizers do (SmolLM2 lacks 21, among them some control characters).
func (t *BPE) Encode(text string) ([]int32, error) {
	text = ToValidUTF8(text)
	if len(text) > math.MaxInt32 {
		return nil, ErrTooLong
	}
	out := make([]int32, 0, len(text)/4+1)
	var w word
	for {
		at, index := t.literals.Find(text)
		if at < 0 {
			return t.encodePlain(&w, text, out), nil
		}
		out = t.encodePlain(&w, text[:at], out)
		id := t.literal[index]
		out = append(out, id)
		text = text[at+len(t.tokens[id].bytes):]
	}
}

// encodePlain appends the ids of a text without added tokens.
func (t *BPE) encodePlain(w *word, text string, out []int32) []int32 {
	t.split(text, func(piece string) {
		if t.ignoreMerges {
			if id, ok := t.ids[piece]; ok {
				out = append(out, id)
				return
			}
		}
		w.start()
		for _, b := range []byte(piece) {
			if id := t.byteID[b]; id >= 0 {
				w.add(id)
			}
		}
		out = w.merge(&t.merges, out)
	})
	return out
}

package sentencepiece

import (
	"encoding/json"
	"strings"
	"unicode/utf8"

	"github.com/llama3v/llama3v/model/tokenizer"
)

// jsonFile is what this package reads of a tokenizer.json.
type jsonFile struct {
	Version      string          `json:"version"`
	AddedTokens  []jsonAdded     `json:"added_tokens"`
	Normalizer   json.RawMessage `json:"normalizer"`
	PreTokenizer json.RawMessage `json:"pre_tokenizer"`
	Model        json.RawMessage `json:"model"`
}

type jsonAdded struct {
	ID         int64  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	Special    bool   `json:"special"`
}

type jsonModel struct {
	Type         string          `json:"type"`
	Vocab        json.RawMessage `json:"vocab"`
	UnkID        *int64          `json:"unk_id"` // Unigram
	ByteFallback bool            `json:"byte_fallback"`

	Merges       json.RawMessage `json:"merges"` // BPE
	UnkToken     *string         `json:"unk_token"`
	FuseUnk      bool            `json:"fuse_unk"`
	Dropout      *float64        `json:"dropout"`
	IgnoreMerges bool            `json:"ignore_merges"`
	Prefix       *string         `json:"continuing_subword_prefix"`
	Suffix       *string         `json:"end_of_word_suffix"`
}

// ParseJSON reads the contents of a tokenizer.json whose model is Unigram, or BPE over characters with
// bytes to fall back on. What it does not know is a tokenizer.UnsupportedError, what does not fit
// together a tokenizer.FormatError.
//
// Where the table of its Precompiled normaliser has rules of several characters, the longest counts,
// as in SentencePiece, which wrote the table; the tokenizers library looks at whole graphemes, and there
// at the shortest rule.
func ParseJSON(data []byte) (*Tokenizer, error) {
	r := &reader{tokenizer.FileName}
	if !utf8.Valid(data) {
		return nil, r.malformed("file", "not UTF-8")
	}
	var f jsonFile
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, r.malformed("file", "%v", err)
	}
	if f.Version != "1.0" {
		return nil, r.unsupported("version", "%q, only \"1.0\" is known", f.Version)
	}
	var m jsonModel
	if err := json.Unmarshal(f.Model, &m); err != nil {
		return nil, r.malformed("model", "%v", err)
	}
	t := &Tokenizer{}
	var err error
	switch m.Type {
	case "Unigram":
		t.pieces, err = r.unigramVocab(&m)
	case "BPE":
		t.pieces, err = r.bpeVocab(&m)
	default:
		err = r.unsupported("model.type", "%q; Unigram and BPE are known", m.Type)
	}
	if err == nil {
		err = r.added(t, &f, m.ByteFallback)
	}
	if err != nil {
		return nil, err
	}
	if t.cut, t.prefix, err = r.steps(f.Normalizer, f.PreTokenizer); err != nil {
		return nil, err
	}
	if m.Type == "Unigram" {
		t.model = newUnigram(t.pieces)
		return t, nil
	}
	t.model, err = r.bpeMerges(&m, t)
	return t, err
}

// unigramVocab reads [["<unk>", 0], ["▁a", -2.5], ...].
func (r *reader) unigramVocab(m *jsonModel) ([]piece, error) {
	const where = "model.vocab"
	var rows [][2]json.RawMessage
	if err := json.Unmarshal(m.Vocab, &rows); err != nil {
		return nil, r.malformed(where, "%v", err)
	}
	pieces := make([]piece, len(rows))
	for i, row := range rows {
		p := piece{kind: normal}
		if err := json.Unmarshal(row[0], &p.text); err != nil {
			return nil, r.malformed(sprintf("%s[%d]", where, i), "%v", err)
		}
		if err := json.Unmarshal(row[1], &p.score); err != nil {
			return nil, r.malformed(sprintf("%s[%d]", where, i), "%v", err)
		}
		pieces[i] = p
	}
	if m.UnkID != nil {
		if *m.UnkID < 0 || *m.UnkID >= int64(len(pieces)) {
			return nil, r.malformed("model.unk_id", "%d of %d tokens", *m.UnkID, len(pieces))
		}
		pieces[*m.UnkID].kind = unknown
	}
	return pieces, nil
}

// bpeVocab reads {"<unk>": 0, "▁": 1, ...}.
func (r *reader) bpeVocab(m *jsonModel) ([]piece, error) {
	const where = "model.vocab"
	switch {
	case m.Dropout != nil && *m.Dropout != 0:
		return nil, r.unsupported("model.dropout", "%v: ids would be random", *m.Dropout)
	case m.Prefix != nil && *m.Prefix != "" || m.Suffix != nil && *m.Suffix != "":
		return nil, r.unsupported("model", "continuing_subword_prefix or end_of_word_suffix")
	case m.IgnoreMerges:
		return nil, r.unsupported("model.ignore_merges", "true")
	case !m.ByteFallback:
		return nil, r.unsupported("model.byte_fallback", "false: a byte-level vocabulary, or one whose unknown characters go")
	}
	var ids map[string]int64
	if err := json.Unmarshal(m.Vocab, &ids); err != nil {
		return nil, r.malformed(where, "%v", err)
	}
	pieces := make([]piece, len(ids))
	for text, id := range ids {
		if id < 0 || id >= int64(len(pieces)) || pieces[id].kind != 0 {
			return nil, r.malformed(where, "%.40q: id %d of %d, or one that stands for two", text, id, len(ids))
		}
		pieces[id] = piece{text: text, kind: normal}
	}
	if m.UnkToken != nil {
		id, ok := ids[*m.UnkToken]
		if !ok {
			return nil, r.malformed("model.unk_token", "%.40q is not in the vocabulary", *m.UnkToken)
		}
		pieces[id].kind = unknown
	}
	return pieces, nil
}

// added enters the added tokens and indexes all pieces. Special ones are never found in text; the others
// are, before it is normalised.
func (r *reader) added(t *Tokenizer, f *jsonFile, byteFallback bool) error {
	var literals []string
	for i, a := range f.AddedTokens {
		where := sprintf("added_tokens[%d]", i)
		switch n := int64(len(t.pieces)); {
		case a.ID == n:
			t.pieces = append(t.pieces, piece{text: a.Content, kind: control})
		case a.ID < 0 || a.ID > n:
			return r.malformed(where, "id %d behind %d tokens", a.ID, n)
		case t.pieces[a.ID].text != a.Content:
			return r.malformed(where, "%.40q: id %d stands for %.40q already", a.Content, a.ID, t.pieces[a.ID].text)
		}
		p := &t.pieces[a.ID]
		switch {
		case a.Special && p.kind != unknown:
			p.kind = control
		case !a.Special:
			if a.LStrip || a.RStrip || a.SingleWord {
				return r.unsupported(where, "lstrip, rstrip or single_word of a token that is found in text")
			}
			if p.kind == control {
				p.kind = unused // not made of its characters: it is found whole, or not at all
			}
			literals, t.literal = append(literals, a.Content), append(t.literal, int32(a.ID))
		}
	}
	if byteFallback {
		for i, p := range t.pieces {
			if _, ok := byteOf(p.text); ok && p.kind == normal {
				t.pieces[i].kind = byteValue
			}
		}
	}
	if literals != nil {
		t.literals = tokenizer.NewMatcher(literals)
	}
	return r.index(t, byteFallback)
}

// bpeMerges reads the merges, as "left right" or ["left", "right"], the first of highest rank.
func (r *reader) bpeMerges(m *jsonModel, t *Tokenizer) (*bpe, error) {
	const where = "model.merges"
	var pairs [][2]string
	if json.Unmarshal(m.Merges, &pairs) != nil {
		var lines []string
		if err := json.Unmarshal(m.Merges, &lines); err != nil {
			return nil, r.malformed(where, "%v", err)
		}
		pairs = make([][2]string, len(lines))
		for i, line := range lines {
			left, right, ok := strings.Cut(line, " ")
			if !ok || strings.Contains(right, " ") {
				return nil, r.malformed(sprintf("%s[%d]", where, i), "%.80q is not two tokens", line)
			}
			pairs[i] = [2]string{left, right}
		}
	}
	model := &bpe{ids: make(map[string]int32, len(t.ids)), merges: make(map[[2]int32]int32, len(pairs))}
	for text, id := range t.ids {
		if k := t.pieces[id].kind; k == normal {
			model.ids[text] = id
		}
	}
	for i, p := range pairs {
		left, okLeft := t.ids[p[0]]
		right, okRight := t.ids[p[1]]
		if _, ok := t.ids[p[0]+p[1]]; !okLeft || !okRight || !ok {
			return nil, r.malformed(sprintf("%s[%d]", where, i), "%.40q and %.40q, or what they make, are not in the vocabulary", p[0], p[1])
		}
		if _, ok := model.ids[p[0]+p[1]]; ok { // never into a control token
			model.merges[[2]int32{left, right}] = int32(i)
		}
	}
	return model, nil
}

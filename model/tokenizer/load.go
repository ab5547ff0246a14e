package tokenizer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"math"
	"sort"
	"unicode/utf8"
)

// FileName is the file of a model folder that [Load] reads.
const FileName = "tokenizer.json"

// MaxFile is the largest such file that is read, in bytes. Vocabularies in use need up to 35 MB.
const MaxFile = 256 << 20

const (
	maxLiteral = 1 << 10 // bytes of an added token
	maxNesting = 8       // of Sequence in Sequence
)

// Load reads tokenizer.json from a model folder. A file that is missing is an error for which
// errors.Is(err, fs.ErrNotExist) holds; for others see [Parse].
func Load(fsys fs.FS) (*BPE, error) {
	f, err := fsys.Open(FileName)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err != nil {
		return nil, fmt.Errorf("tokenizer: reading %s: %w", FileName, err)
	}
	return Parse(data)
}

// Parse reads the contents of a tokenizer.json: byte-level BPE with the splitting rules of Llama 3 or
// GPT-2 (the latter with SmolLM2's single digits). What it does not know is an [UnsupportedError],
// what does not fit together a [FormatError].
func Parse(data []byte) (*BPE, error) {
	if len(data) > MaxFile {
		return nil, malformed("file", "larger than %d bytes", MaxFile)
	}
	if !utf8.Valid(data) {
		return nil, malformed("file", "not UTF-8")
	}
	var f file
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, malformed("file", "%v", err)
	}
	if f.Version != "1.0" {
		return nil, unsupported("version", "%q, only \"1.0\" is known", f.Version)
	}
	if given(f.Normalizer) {
		return nil, unsupported("normalizer", "%s", typeOf(f.Normalizer))
	}
	t := &BPE{ignoreMerges: f.Model.IgnoreMerges}
	var err error
	if t.split, err = parsePreTokenizer(f.PreTokenizer); err != nil {
		return nil, err
	}
	if kind := typeOf(f.Decoder); kind != "ByteLevel" {
		return nil, unsupported("decoder", "%s, only ByteLevel is known", kind)
	}
	if err := t.readVocab(&f); err != nil {
		return nil, err
	}
	if err := t.readMerges(&f); err != nil {
		return nil, err
	}
	if err := t.readAdded(f.AddedTokens); err != nil {
		return nil, err
	}
	t.prefix, err = t.parsePostProcessor(f.PostProcessor, "post_processor", 0)
	return t, err
}

// file is what this package reads of a tokenizer.json.
type file struct {
	Version       string          `json:"version"`
	AddedTokens   []addedToken    `json:"added_tokens"`
	Normalizer    json.RawMessage `json:"normalizer"`
	PreTokenizer  json.RawMessage `json:"pre_tokenizer"`
	PostProcessor json.RawMessage `json:"post_processor"`
	Decoder       json.RawMessage `json:"decoder"`
	Model         struct {
		Type                    string           `json:"type"`
		Dropout                 *float64         `json:"dropout"`
		UnkToken                *string          `json:"unk_token"`
		ContinuingSubwordPrefix *string          `json:"continuing_subword_prefix"`
		EndOfWordSuffix         *string          `json:"end_of_word_suffix"`
		ByteFallback            bool             `json:"byte_fallback"`
		IgnoreMerges            bool             `json:"ignore_merges"`
		Vocab                   map[string]int64 `json:"vocab"`
		Merges                  mergeList        `json:"merges"`
	} `json:"model"`
}

type addedToken struct {
	ID         int64  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	Special    bool   `json:"special"`
}

// mergeList is a list of merge rules, each "left right" (older files) or ["left", "right"].
type mergeList [][2]string

func (m *mergeList) UnmarshalJSON(data []byte) error {
	inner := bytes.TrimLeft(data, "[ \t\r\n")
	if len(inner) > 0 && inner[0] == '"' && bytes.Count(data[:len(data)-len(inner)], []byte("[")) == 1 {
		var lines []string
		if err := json.Unmarshal(data, &lines); err != nil {
			return err
		}
		*m = make(mergeList, len(lines))
		for i, line := range lines {
			left, right, ok := cutOnce(line)
			if !ok {
				return fmt.Errorf("merges[%d]: %q is not two tokens", i, line)
			}
			(*m)[i] = [2]string{left, right}
		}
		return nil
	}
	var pairs [][]string
	if err := json.Unmarshal(data, &pairs); err != nil {
		return err
	}
	*m = make(mergeList, len(pairs))
	for i, p := range pairs {
		if len(p) != 2 {
			return fmt.Errorf("merges[%d]: %d tokens, not two", i, len(p))
		}
		(*m)[i] = [2]string{p[0], p[1]}
	}
	return nil
}

// cutOnce cuts a line at its only space.
func cutOnce(line string) (left, right string, ok bool) {
	at := -1
	for i := range len(line) {
		if line[i] == ' ' {
			if at >= 0 {
				return "", "", false
			}
			at = i
		}
	}
	if at < 0 {
		return "", "", false
	}
	return line[:at], line[at+1:], true
}

func inVocab(spelling string) string { return fmt.Sprintf("model.vocab[%.40q]", spelling) }

// readVocab fills the tables between ids and bytes.
func (t *BPE) readVocab(f *file) error {
	m := &f.Model
	switch {
	case m.Type != "BPE":
		return unsupported("model.type", "%q, only BPE is known", m.Type)
	case m.Dropout != nil && *m.Dropout != 0:
		return unsupported("model.dropout", "%v: ids would be random", *m.Dropout)
	case m.ContinuingSubwordPrefix != nil && *m.ContinuingSubwordPrefix != "":
		return unsupported("model.continuing_subword_prefix", "%q", *m.ContinuingSubwordPrefix)
	case m.EndOfWordSuffix != nil && *m.EndOfWordSuffix != "":
		return unsupported("model.end_of_word_suffix", "%q", *m.EndOfWordSuffix)
	case m.ByteFallback:
		return unsupported("model.byte_fallback", "true, not with a byte-level vocabulary")
	case len(m.Vocab) == 0:
		return malformed("model.vocab", "empty")
	}
	// A table indexed by id is only made when the ids are nearly dense: its size must follow from
	// how much the file holds, not from a number in it.
	entries := int64(len(m.Vocab) + len(f.AddedTokens))
	limit, largest := min(2*entries+4096, math.MaxInt32), int64(0)
	for spelling, id := range m.Vocab {
		if id < 0 || id >= limit {
			return malformed(inVocab(spelling), "id %d for %d tokens", id, entries)
		}
		largest = max(largest, id)
	}
	for i, a := range f.AddedTokens {
		if a.ID < 0 || a.ID >= limit {
			return malformed(fmt.Sprintf("added_tokens[%d]", i), "id %d for %d tokens", a.ID, entries)
		}
		largest = max(largest, a.ID)
	}
	t.tokens = make([]token, largest+1)
	t.ids = make(map[string]int32, len(m.Vocab))
	for i := range t.byteID {
		t.byteID[i] = -1
	}
	for spelling, id := range m.Vocab {
		if spelling == "" {
			return malformed(inVocab(spelling), "empty token")
		}
		if t.tokens[id].bytes != nil {
			return malformed(inVocab(spelling), "id %d stands for two tokens", id)
		}
		bytes, ok := tokenBytes(spelling)
		if !ok { // no text is ever split into it; it is shown as it is
			t.tokens[id].bytes = []byte(spelling)
			continue
		}
		t.tokens[id].bytes = []byte(bytes)
		t.ids[bytes] = int32(id)
		if len(bytes) == 1 {
			t.byteID[bytes[0]] = int32(id)
		}
	}
	if m.UnkToken != nil {
		for b, id := range t.byteID {
			if id < 0 {
				return unsupported("model.unk_token", "%q, with no token for byte %d", *m.UnkToken, b)
			}
		}
	}
	return nil
}

// readMerges turns the rules into pairs of ids. A rule given twice counts at its last place, as in
// the reference.
func (t *BPE) readMerges(f *file) error {
	list := f.Model.Merges
	t.merges.rank = make(map[uint64]int32, len(list))
	t.merges.made = make([]int32, len(list))
	for i, m := range list {
		var sides [2]int32
		var joined string
		for j, spelling := range m {
			bytes, ok := tokenBytes(spelling)
			if !ok {
				return malformed(fmt.Sprintf("model.merges[%d]", i), "%q is not byte-level", spelling)
			}
			if sides[j], ok = t.ids[bytes]; !ok {
				return malformed(fmt.Sprintf("model.merges[%d]", i), "%q is not in the vocabulary", spelling)
			}
			joined += bytes
		}
		made, ok := t.ids[joined]
		if !ok {
			return malformed(fmt.Sprintf("model.merges[%d]", i), "%q is not in the vocabulary", m[0]+m[1])
		}
		t.merges.rank[pair(sides[0], sides[1])] = int32(i)
		t.merges.made[i] = made
	}
	return nil
}

// readAdded enters the added tokens. Special ones mark structure and are never found in text; the
// others are found in any text before it is split.
func (t *BPE) readAdded(added []addedToken) error {
	var literals []string
	seen := map[string]bool{}
	for i, a := range added {
		where := fmt.Sprintf("added_tokens[%d] %.40q", i, a.Content)
		switch {
		case a.Content == "":
			return malformed(where, "empty text")
		case len(a.Content) > maxLiteral:
			return malformed(where, "longer than %d bytes", maxLiteral)
		case a.LStrip || a.RStrip || a.SingleWord:
			return unsupported(where, "lstrip, rstrip or single_word")
		case seen[a.Content]:
			return malformed(where, "listed twice")
		}
		seen[a.Content] = true
		tok := &t.tokens[a.ID]
		if tok.bytes != nil && string(tok.bytes) != a.Content {
			return malformed(where, "id %d stands for %.40q already", a.ID, tok.bytes)
		}
		tok.bytes, tok.special = []byte(a.Content), a.Special
		if a.Special {
			t.specials = append(t.specials, Special{ID: int32(a.ID), Text: a.Content})
		} else {
			literals = append(literals, a.Content)
			t.literal = append(t.literal, int32(a.ID))
		}
	}
	sort.Slice(t.specials, func(i, j int) bool { return t.specials[i].ID < t.specials[j].ID })
	t.literals = NewMatcher(literals)
	return nil
}

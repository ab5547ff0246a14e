package sentencepiece

import (
	"encoding/json"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// maxNesting bounds Sequences in Sequences.
const maxNesting = 8

// jsonStep holds the fields of all the normalisers and pre-tokenisers that are known.
type jsonStep struct {
	Type          string            `json:"type"`
	Normalizers   []json.RawMessage `json:"normalizers"`   // Sequence
	PreTokenizers []json.RawMessage `json:"pretokenizers"` // Sequence

	Charsmap []byte `json:"precompiled_charsmap"` // Precompiled

	Pattern struct { // Replace, Split
		Regex  *string `json:"Regex"`
		String *string `json:"String"`
	} `json:"pattern"`
	Content  string `json:"content"`  // Replace
	Behavior string `json:"behavior"` // Split
	Invert   bool   `json:"invert"`

	StripLeft  *bool `json:"strip_left"` // Strip
	StripRight *bool `json:"strip_right"`

	Prepend string `json:"prepend"` // Prepend

	Replacement    string  `json:"replacement"`      // Metaspace
	AddPrefixSpace *bool   `json:"add_prefix_space"` // older files
	PrependScheme  *string `json:"prepend_scheme"`
	Split          *bool   `json:"split"`
}

func (r *reader) step(raw json.RawMessage, where string) (jsonStep, error) {
	var s jsonStep
	if len(raw) == 0 || string(raw) == "null" {
		return s, nil
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return s, r.malformed(where, "%v", err)
	}
	if s.Type == "" {
		return s, r.malformed(where, "no type")
	}
	return s, nil
}

// steps makes of normalizer and pre_tokenizer what cuts a text into the parts that the model gets.
// prefix says that a space comes in front.
func (r *reader) steps(normalizer, preTokenizer json.RawMessage) (cut func(string, func(string)), prefix bool, err error) {
	normalize, prefix, err := r.normalizers(normalizer, "normalizer", 0)
	if err != nil {
		return nil, false, err
	}
	pre, space, err := r.preTokenizers(preTokenizer, "pre_tokenizer", 0)
	if err != nil {
		return nil, false, err
	}
	return func(text string, yield func(string)) {
		for _, f := range normalize {
			text = f(text)
		}
		pre(text, func(part string) {
			if part != "" {
				yield(part)
			}
		})
	}, prefix || space, nil
}

func (r *reader) normalizers(raw json.RawMessage, where string, depth int) (list []func(string) string, prefix bool, err error) {
	s, err := r.step(raw, where)
	if err != nil {
		return nil, false, err
	}
	one := func(f func(string) string) ([]func(string) string, bool, error) {
		return []func(string) string{f}, false, nil
	}
	switch s.Type {
	case "":
		return nil, false, nil
	case "Sequence":
		if depth == maxNesting {
			return nil, false, r.malformed(where, "nested too deep")
		}
		for i, inner := range s.Normalizers {
			more, space, err := r.normalizers(inner, sprintf("%s.normalizers[%d]", where, i), depth+1)
			if err != nil {
				return nil, false, err
			}
			list, prefix = append(list, more...), prefix || space
		}
		return list, prefix, nil
	case "Precompiled":
		chars, err := parseCharsmap(s.Charsmap)
		if err != nil {
			return nil, false, r.malformed(where+".precompiled_charsmap", "%v", err)
		}
		return one(chars.apply)
	case "Lowercase":
		return one(Lower)
	case "Strip":
		return one(func(text string) string {
			if s.StripLeft == nil || *s.StripLeft {
				text = strings.TrimLeftFunc(text, unicode.IsSpace)
			}
			if s.StripRight == nil || *s.StripRight {
				text = strings.TrimRightFunc(text, unicode.IsSpace)
			}
			return text
		})
	case "Replace":
		f, err := r.replace(s, where)
		if err != nil {
			return nil, false, err
		}
		return one(f)
	case "Prepend":
		return []func(string) string{func(text string) string {
			if text == "" {
				return text
			}
			return s.Prepend + text
		}}, s.Prepend == mark, nil
	case "NFC":
		return one(norm.NFC.String)
	case "NFD":
		return one(norm.NFD.String)
	case "NFKC":
		return one(norm.NFKC.String)
	case "NFKD":
		return one(norm.NFKD.String)
	}
	return nil, false, r.unsupported(where, "%s", s.Type)
}

// replace makes a Replace step. Of regular expressions the three kinds are known that such files have:
// runs of whitespace, runs of spaces, and one of a list of characters.
func (r *reader) replace(s jsonStep, where string) (func(string) string, error) {
	if p := s.Pattern.String; p != nil {
		if *p == "" {
			return nil, r.malformed(where, "an empty pattern")
		}
		return func(text string) string { return strings.ReplaceAll(text, *p, s.Content) }, nil
	}
	if s.Pattern.Regex == nil {
		return nil, r.malformed(where, "no pattern")
	}
	switch pattern := *s.Pattern.Regex; pattern {
	case `\s+`:
		return runs(1, unicode.IsSpace, s.Content), nil
	case ` {2,}`:
		return runs(2, func(c rune) bool { return c == ' ' }, s.Content), nil
	default:
		set, ok := characterSet(pattern)
		if !ok {
			return nil, r.unsupported(where, "the regular expression %.80q", pattern)
		}
		return func(text string) string {
			var b strings.Builder
			for _, c := range text {
				if set[c] {
					b.WriteString(s.Content)
				} else {
					b.WriteRune(c)
				}
			}
			return b.String()
		}, nil
	}
}

// runs puts content in the place of every run of at least so many characters of a kind.
func runs(least int, is func(rune) bool, content string) func(string) string {
	return func(text string) string {
		var b strings.Builder
		for text != "" {
			from := strings.IndexFunc(text, is)
			if from < 0 {
				from = len(text)
			}
			b.WriteString(text[:from])
			text = text[from:]
			run := text[:len(text)-len(strings.TrimLeftFunc(text, is))]
			if len([]rune(run)) >= least {
				b.WriteString(content)
			} else {
				b.WriteString(run)
			}
			text = text[len(run):]
		}
		return b.String()
	}
}

// characterSet reads a bracket expression that lists characters, those with a meaning escaped.
func characterSet(pattern string) (map[rune]bool, bool) {
	inner, ok := strings.CutPrefix(pattern, "[")
	if !ok {
		return nil, false
	}
	if inner, ok = strings.CutSuffix(inner, "]"); !ok || inner == "" || inner[0] == '^' {
		return nil, false
	}
	set, list := map[rune]bool{}, []rune(inner)
	for i := 0; i < len(list); i++ {
		c := list[i]
		switch {
		case c == '\\':
			i++
			if i == len(list) || unicode.IsLetter(list[i]) || unicode.IsDigit(list[i]) {
				return nil, false // a class such as \w
			}
			c = list[i]
		case c == '-' && i > 0 && i < len(list)-1, c == '[', c == ']', c == '&' && i+1 < len(list) && list[i+1] == '&':
			return nil, false // a range, a set in the set, an intersection
		}
		set[c] = true
	}
	return set, true
}

// preTokenizers makes what cuts a normalised text.
func (r *reader) preTokenizers(raw json.RawMessage, where string, depth int) (cut func(string, func(string)), prefix bool, err error) {
	s, err := r.step(raw, where)
	if err != nil {
		return nil, false, err
	}
	switch s.Type {
	case "":
		return func(text string, yield func(string)) { yield(text) }, false, nil
	case "Sequence":
		if depth == maxNesting {
			return nil, false, r.malformed(where, "nested too deep")
		}
		cut = func(text string, yield func(string)) { yield(text) }
		for i, inner := range s.PreTokenizers {
			next, space, err := r.preTokenizers(inner, sprintf("%s.pretokenizers[%d]", where, i), depth+1)
			if err != nil {
				return nil, false, err
			}
			before := cut
			cut = func(text string, yield func(string)) { before(text, func(part string) { next(part, yield) }) }
			prefix = prefix || space
		}
		return cut, prefix, nil
	case "WhitespaceSplit":
		return func(text string, yield func(string)) {
			for part := range strings.FieldsFuncSeq(text, unicode.IsSpace) {
				yield(part)
			}
		}, false, nil
	case "Split": // Gemma's: at spaces, of which its normaliser leaves none
		if p := s.Pattern.String; p == nil || *p != " " || s.Behavior != "MergedWithPrevious" || s.Invert {
			return nil, false, r.unsupported(where, "a Split other than at spaces, merged with what is before them")
		}
		return func(text string, yield func(string)) {
			for part := range strings.SplitAfterSeq(text, " ") {
				yield(part)
			}
		}, false, nil
	case "Metaspace":
		return r.metaspace(s, where)
	}
	return nil, false, r.unsupported(where, "%s", s.Type)
}

func (r *reader) metaspace(s jsonStep, where string) (cut func(string, func(string)), prefix bool, err error) {
	if s.Replacement != mark {
		return nil, false, r.unsupported(where, "Metaspace with %q for a space", s.Replacement)
	}
	prefix = s.AddPrefixSpace == nil || *s.AddPrefixSpace
	if s.PrependScheme != nil {
		switch *s.PrependScheme {
		case "always", "first": // the same, where a text is one part
			prefix = true
		case "never":
			prefix = false
		default:
			return nil, false, r.unsupported(where, "prepend_scheme %q", *s.PrependScheme)
		}
	}
	split := s.Split == nil || *s.Split
	return func(text string, yield func(string)) {
		text = strings.ReplaceAll(text, " ", mark)
		if prefix && text != "" && !strings.HasPrefix(text, mark) {
			text = mark + text
		}
		for split && text != "" { // a mark begins a part
			at := strings.Index(text[1:], mark) + 1
			if at == 0 {
				break
			}
			yield(text[:at])
			text = text[at:]
		}
		yield(text)
	}, prefix, nil
}

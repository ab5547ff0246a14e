package tokenizer

import (
	"encoding/json"
	"fmt"
)

// given says whether a part of the file is there and not null.
func given(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }

// typeOf is the "type" of a part of the file, for dispatch and for error texts.
func typeOf(raw json.RawMessage) string {
	if !given(raw) {
		return "none"
	}
	var head struct {
		Type string `json:"type"`
	}
	if json.Unmarshal(raw, &head) != nil || head.Type == "" {
		return fmt.Sprintf("%.60s", raw)
	}
	return head.Type
}

// preTokenizer holds the fields of all the kinds that are known.
type preTokenizer struct {
	PreTokenizers []json.RawMessage `json:"pretokenizers"` // Sequence

	Pattern struct { // Split
		Regex  *string `json:"Regex"`
		String *string `json:"String"`
	} `json:"pattern"`
	Behavior string `json:"behavior"`
	Invert   bool   `json:"invert"`

	IndividualDigits bool `json:"individual_digits"` // Digits

	AddPrefixSpace *bool `json:"add_prefix_space"` // ByteLevel
	UseRegex       *bool `json:"use_regex"`        // absent means true
}

// parsePreTokenizer makes the splitter of the file's pre_tokenizer. The last step must be ByteLevel:
// it turns bytes into the vocabulary's characters, and no step may come after it.
func parsePreTokenizer(raw json.RawMessage) (splitter, error) {
	steps, err := flatten(raw, "pre_tokenizer", 0)
	if err != nil {
		return nil, err
	}
	split := splitter(whole)
	for i, step := range steps {
		next, byteLevel, err := parseStep(step.raw, step.where)
		if err != nil {
			return nil, err
		}
		if byteLevel != (i == len(steps)-1) {
			return nil, unsupported(step.where, "ByteLevel must be the last step, and only that")
		}
		split = then(split, next)
	}
	return split, nil
}

type step struct {
	raw   json.RawMessage
	where string
}

// flatten lists the steps of a pre-tokenizer, Sequences taken apart.
func flatten(raw json.RawMessage, where string, depth int) ([]step, error) {
	if typeOf(raw) != "Sequence" {
		return []step{{raw, where}}, nil
	}
	if depth == maxNesting {
		return nil, malformed(where, "nested too deep")
	}
	var p preTokenizer
	if err := json.Unmarshal(raw, &p); err != nil {
		return nil, malformed(where, "%v", err)
	}
	if len(p.PreTokenizers) == 0 {
		return nil, malformed(where, "an empty Sequence")
	}
	var steps []step
	for i, inner := range p.PreTokenizers {
		more, err := flatten(inner, fmt.Sprintf("%s.pretokenizers[%d]", where, i), depth+1)
		if err != nil {
			return nil, err
		}
		steps = append(steps, more...)
	}
	return steps, nil
}

func parseStep(raw json.RawMessage, where string) (s splitter, byteLevel bool, err error) {
	kind := typeOf(raw)
	var p preTokenizer
	if given(raw) {
		if err := json.Unmarshal(raw, &p); err != nil {
			return nil, false, malformed(where, "%v", err)
		}
	}
	switch kind {
	case "Split":
		if p.Pattern.Regex == nil {
			return nil, false, unsupported(where, "a Split without a regular expression")
		}
		s, known := patterns[*p.Pattern.Regex]
		if !known {
			return nil, false, unsupported(where, "splitting rule %q is not known", *p.Pattern.Regex)
		}
		if p.Behavior != "Isolated" || p.Invert {
			return nil, false, unsupported(where, "Split with behavior %q, invert %v", p.Behavior, p.Invert)
		}
		return s, false, nil
	case "Digits":
		return splitDigits(p.IndividualDigits), false, nil
	case "ByteLevel":
		if p.AddPrefixSpace == nil || *p.AddPrefixSpace {
			return nil, false, unsupported(where, "ByteLevel with add_prefix_space")
		}
		if p.UseRegex != nil && !*p.UseRegex {
			return whole, true, nil
		}
		return patterns[gpt2Pattern], true, nil
	}
	return nil, false, unsupported(where, "%s", kind)
}

// postProcessor holds the fields of the kinds that are known.
type postProcessor struct {
	Processors []json.RawMessage         `json:"processors"` // Sequence
	Single     []map[string]templateItem `json:"single"`     // TemplateProcessing
	Special    map[string]struct {
		IDs []int64 `json:"ids"`
	} `json:"special_tokens"`
}

type templateItem struct {
	ID string `json:"id"`
}

// parsePostProcessor gives the ids that the post-processor puts before a single text.
func (t *BPE) parsePostProcessor(raw json.RawMessage, where string, depth int) ([]int32, error) {
	kind := typeOf(raw)
	if kind == "none" || kind == "ByteLevel" { // ByteLevel only moves offsets, which are not kept here
		return nil, nil
	}
	var p postProcessor
	if err := json.Unmarshal(raw, &p); err != nil {
		return nil, malformed(where, "%v", err)
	}
	var prefix []int32
	switch kind {
	case "Sequence":
		if depth == maxNesting {
			return nil, malformed(where, "nested too deep")
		}
		for i, inner := range p.Processors {
			ids, err := t.parsePostProcessor(inner, fmt.Sprintf("%s.processors[%d]", where, i), depth+1)
			if err != nil {
				return nil, err
			}
			prefix = append(ids, prefix...) // a later processor wraps what the earlier ones made
		}
		return prefix, nil
	case "TemplateProcessing":
		for _, item := range p.Single {
			token, ok := item["SpecialToken"]
			if !ok {
				return prefix, nil // the text itself: what follows stands after it
			}
			special, ok := p.Special[token.ID]
			if !ok {
				return nil, malformed(where, "%q is not among special_tokens", token.ID)
			}
			for _, id := range special.IDs {
				if id < 0 || id >= int64(len(t.tokens)) {
					return nil, malformed(where, "id %d of %q is outside the vocabulary", id, token.ID)
				}
				prefix = append(prefix, int32(id))
			}
		}
		return prefix, nil
	}
	return nil, unsupported(where, "%s", kind)
}

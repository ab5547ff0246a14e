package tokenizer

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// ReadVocabulary turns the contents of a tokenizer.json into the lists that a GGUF file holds, of size
// tokens: ids without a token get a filler of type TokenUnused, as llama.cpp's converter makes them.
// [FromVocabulary] makes the same tokenizer of the result.
//
// Errors: those of [Parse]; UnsupportedError for rules that no name stands for, FormatError for ids
// that size does not hold.
func ReadVocabulary(data []byte, size int) (Vocabulary, error) {
	t, err := Parse(data)
	if err != nil {
		return Vocabulary{}, err
	}
	if t.VocabSize() > size {
		return Vocabulary{}, malformed("model.vocab", "ids below %d, the model's table has %d rows", t.VocabSize(), size)
	}
	var f file
	if err := json.Unmarshal(data, &f); err != nil {
		return Vocabulary{}, malformed("file", "%v", err)
	}
	v := Vocabulary{File: FileName, Prefix: t.prefix, Tokens: make([]string, size), Types: make([]int64, size)}
	if v.Pre, err = ruleName(&f); err != nil {
		return Vocabulary{}, err
	}
	for text, id := range f.Model.Vocab {
		v.Tokens[id], v.Types[id] = text, TokenNormal
	}
	for _, a := range f.AddedTokens {
		v.Tokens[a.ID], v.Types[a.ID] = a.Content, TokenUserDefined
		if a.Special {
			v.Types[a.ID] = TokenControl
		}
	}
	for id := range v.Tokens {
		if v.Types[id] == 0 {
			v.Tokens[id], v.Types[id] = fmt.Sprintf("[PAD%d]", id), TokenUnused
		}
	}
	for i, m := range f.Model.Merges {
		line := m[0] + " " + m[1]
		if strings.Count(line, " ") != 1 {
			return Vocabulary{}, unsupported(fmt.Sprintf("model.merges[%d]", i), "a token with a space")
		}
		v.Merges = append(v.Merges, line)
	}
	return v, nil
}

// ruleName is llama.cpp's name of a file's splitting rule.
func ruleName(f *file) (string, error) {
	have, err := describe(f.PreTokenizer)
	if err != nil {
		return "", err
	}
	for name, rule := range vocabularyRules {
		want, err := describe(json.RawMessage(rule.pre))
		if err != nil {
			return "", err
		}
		if !slices.Equal(have, want) {
			continue
		}
		if f.Model.IgnoreMerges != rule.ignoreMerges {
			return "", unsupported("model.ignore_merges", "%v: the splitting rule %s of GGUF files stands for %v", f.Model.IgnoreMerges, name, rule.ignoreMerges)
		}
		return name, nil
	}
	return "", unsupported("pre_tokenizer", "no splitting rule of GGUF files is known that is this one; llama-bpe and smollm are")
}

// describe is what of a pre-tokenizer decides about ids, step by step.
func describe(raw json.RawMessage) ([]string, error) {
	steps, err := flatten(raw, "pre_tokenizer", 0)
	if err != nil {
		return nil, err
	}
	var list []string
	for _, s := range steps {
		var p preTokenizer
		if err := json.Unmarshal(s.raw, &p); err != nil {
			return nil, malformed(s.where, "%v", err)
		}
		text := typeOf(s.raw)
		switch text {
		case "Split":
			if p.Pattern.Regex != nil {
				text += " " + *p.Pattern.Regex
			}
		case "Digits":
			text += fmt.Sprint(" ", p.IndividualDigits)
		case "ByteLevel":
			text += fmt.Sprint(" ", p.UseRegex == nil || *p.UseRegex)
		}
		list = append(list, text)
	}
	return list, nil
}

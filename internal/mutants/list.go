package mutants

import (
	"fmt"
	"strings"
)

// Exception is a mutant that may survive, with the reason: an entry of csrc/cuda/mutants.txt. It
// stands for all mutants of one kind in all lines of one text of a file.
type Exception struct {
	File, Text, Mutation, Reason string
	line                         int
	used                         bool
}

// ParseExceptions reads a list: entries apart by empty lines, each
//
//	file: text of the line
//	    mutation
//	    reason, on one line or more
//
// Lines that begin with # are comments.
func ParseExceptions(text string) ([]*Exception, error) {
	var list []*Exception
	var e *Exception
	for i, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(line, "#") {
			continue
		}
		trimmed := strings.TrimSpace(line)
		indented := strings.HasPrefix(line, " ")
		switch {
		case trimmed == "":
			e = nil
		case !indented:
			file, source, ok := strings.Cut(trimmed, ": ")
			if !ok || e != nil {
				return nil, fmt.Errorf("line %d: not \"file: text\" behind an empty line", i+1)
			}
			e = &Exception{File: file, Text: source, line: i + 1}
			list = append(list, e)
		case e == nil:
			return nil, fmt.Errorf("line %d: of no entry", i+1)
		case e.Mutation == "":
			e.Mutation = trimmed
		default:
			e.Reason = strings.TrimSpace(e.Reason + " " + trimmed)
		}
	}
	for _, e := range list {
		if e.Mutation == "" || e.Reason == "" {
			return nil, fmt.Errorf("line %d: an entry without a mutation or a reason", e.line)
		}
	}
	return list, nil
}

// Excuse splits the survivors into those that a list allows and those that it does not, and says
// which entries allow none.
func Excuse(survivors []Mutant, list []*Exception) (allowed, rest []Mutant, stale []*Exception) {
next:
	for _, m := range survivors {
		for _, e := range list {
			if e.File == m.File && e.Text == m.Text && e.Mutation == m.Mutation {
				e.used = true
				allowed = append(allowed, m)
				continue next
			}
		}
		rest = append(rest, m)
	}
	for _, e := range list {
		if !e.used {
			stale = append(stale, e)
		}
	}
	return allowed, rest, stale
}

func (e *Exception) String() string {
	return fmt.Sprintf("%s: %s\n    %s", e.File, e.Text, e.Mutation)
}

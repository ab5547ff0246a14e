package mutants

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Exception is an entry of csrc/cuda/mutants.txt: mutants that may survive, with the reason. It stands
// for all mutants of one kind in all lines of one text of a file. Without a text it says how many of
// a file's mutants survive that nobody has judged one by one, or that none of the file is tried.
type Exception struct {
	File, Text, Mutation, Reason string
	line                         int
	used, most                   int
}

// ParseExceptions reads a list: entries apart by empty lines, each
//
//	file: text of the line
//	    mutation
//	    reason, on one line or more
//
//	file
//	    number of mutants not judged, or "untried"
//	    reason
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
			file, source, _ := strings.Cut(trimmed, ": ")
			if e != nil {
				return nil, fmt.Errorf("line %d: no empty line before it", i+1)
			}
			e = &Exception{File: file, Text: source, line: i + 1}
			list = append(list, e)
		case e == nil:
			return nil, fmt.Errorf("line %d: of no entry", i+1)
		case e.Mutation == "":
			e.Mutation = trimmed
			if e.Text == "" && !e.Untried() {
				var err error
				if e.most, err = strconv.Atoi(trimmed); err != nil {
					return nil, fmt.Errorf("line %d: of a whole file, and no number", i+1)
				}
			}
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

// Untried: no mutant of the file is run.
func (e *Exception) Untried() bool { return e.Text == "" && e.Mutation == "untried" }

// Excuse splits the survivors into those that a list allows and those that it does not, and says
// which entries allow fewer than they could.
func Excuse(survivors []Mutant, list []*Exception) (allowed, rest []Mutant, stale []*Exception) {
	for _, m := range survivors {
		i := slices.IndexFunc(list, func(e *Exception) bool {
			return e.File == m.File && e.Text == m.Text && e.Mutation == m.Mutation
		})
		if i < 0 {
			i = slices.IndexFunc(list, func(e *Exception) bool { return e.File == m.File && e.Text == "" && e.used < e.most })
		}
		if i < 0 {
			rest = append(rest, m)
			continue
		}
		list[i].used++
		allowed = append(allowed, m)
	}
	for _, e := range list {
		if e.used < max(1, e.most) && !e.Untried() {
			stale = append(stale, e)
		}
	}
	return allowed, rest, stale
}

func (e *Exception) String() string {
	if e.Text == "" {
		return fmt.Sprintf("%s: %d of %d survive", e.File, e.used, e.most)
	}
	return fmt.Sprintf("%s: %s\n    %s", e.File, e.Text, e.Mutation)
}

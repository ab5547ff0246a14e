package mutants

import (
	"fmt"
	"strings"
)

// token is a piece of C++. Comments and preprocessor lines are none, and neither is what only nvcc
// compiles.
type token struct {
	text       string
	begin, end int // in the file
	line       int // from 1
	spaced     bool
	word       bool // a name or a keyword
}

// Punctuation of more than one character, the longest first.
var punctuation = []string{
	"<<=", ">>=", "...", "->*",
	"::", "->", "++", "--", "<<", ">>", "<=", ">=", "==", "!=", "&&", "||", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=",
}

func letter(c byte) bool { return c == '_' || c|0x20 >= 'a' && c|0x20 <= 'z' }
func digit(c byte) bool  { return c >= '0' && c <= '9' }

// tokens cuts a file.
func tokens(text string) ([]token, error) {
	var list []token
	var skipping []bool // for each open #if: whether its present branch is nvcc's alone
	line, lineBegins := 1, true
	for i := 0; i < len(text); {
		c := text[i]
		switch {
		case c == '\n':
			line, lineBegins = line+1, true
			i++
			continue
		case c == ' ' || c == '\t' || c == '\r':
			i++
			continue
		case strings.HasPrefix(text[i:], "//"):
			if n := strings.IndexByte(text[i:], '\n'); n >= 0 {
				i += n
			} else {
				i = len(text)
			}
			continue
		case strings.HasPrefix(text[i:], "/*"):
			n := strings.Index(text[i:], "*/")
			if n < 0 {
				return nil, fmt.Errorf("line %d: a comment has no end", line)
			}
			line += strings.Count(text[i:i+n], "\n")
			i += n + 2
			continue
		case c == '#' && lineBegins:
			end := i
			for end < len(text) && (text[end] != '\n' || text[end-1] == '\\') {
				end++
			}
			skipping = directive(strings.Fields(text[i+1:end]), skipping)
			line += strings.Count(text[i:end], "\n")
			i = end
			continue
		}
		end := i + 1
		switch {
		case letter(c):
			for end < len(text) && (letter(text[end]) || digit(text[end])) {
				end++
			}
		case digit(c) || c == '.' && end < len(text) && digit(text[end]):
			for end < len(text) && (letter(text[end]) || digit(text[end]) || text[end] == '.' || text[end] == '\'' ||
				(text[end] == '+' || text[end] == '-') && strings.IndexByte("eEpP", text[end-1]) >= 0 && !strings.HasPrefix(text[i:], "0x")) {
				end++
			}
		case c == '"' && i >= 1 && text[i-1] == 'R' && len(list) > 0 && list[len(list)-1].end == i:
			n := strings.IndexByte(text[i:], '(')
			close := ")" + text[i+1:i+n] + `"`
			end = i + n + strings.Index(text[i+n:], close) + len(close)
		case c == '"' || c == '\'':
			for end < len(text) && text[end] != c {
				if text[end] == '\\' {
					end++
				}
				end++
			}
			end++
		default:
			for _, p := range punctuation {
				if strings.HasPrefix(text[i:], p) {
					end = i + len(p)
					break
				}
			}
		}
		skip := false
		for _, s := range skipping {
			skip = skip || s
		}
		if !skip {
			list = append(list, token{text[i:end], i, end, line, i > 0 && strings.IndexByte(" \t\n", text[i-1]) >= 0, letter(c)})
		}
		line += strings.Count(text[i:end], "\n")
		lineBegins = false
		i = end
	}
	return list, nil
}

// directive follows #if, #else and #endif. What asks for __CUDACC__ is nvcc's.
func directive(words []string, skipping []bool) []bool {
	if len(words) == 0 {
		return skipping
	}
	switch whole := strings.Join(words[1:], " "); words[0] {
	case "if", "ifdef", "ifndef":
		nvcc := strings.Contains(whole, "__CUDACC__") || strings.Contains(whole, "__CUDA_ARCH__")
		negated := words[0] == "ifndef" || strings.Contains(whole, "!defined(__CUDA")
		return append(skipping, nvcc && !negated)
	case "else":
		// An #if that asks for something else keeps both branches: the rules take either.
		if n := len(skipping); n > 0 {
			skipping[n-1] = false
		}
	case "endif":
		if n := len(skipping); n > 0 {
			return skipping[:n-1]
		}
	}
	return skipping
}

// pairs gives for each bracket the place of its other half, -1 for other tokens.
func pairs(list []token) ([]int, error) {
	pair := make([]int, len(list))
	var open []int
	for i, t := range list {
		pair[i] = -1
		switch t.text {
		case "(", "[", "{":
			open = append(open, i)
		case ")", "]", "}":
			if len(open) == 0 || !strings.Contains("() [] {}", list[open[len(open)-1]].text+t.text) {
				return nil, fmt.Errorf("line %d: %q has no other half", t.line, t.text)
			}
			pair[i], pair[open[len(open)-1]] = open[len(open)-1], i
			open = open[:len(open)-1]
		}
	}
	if len(open) > 0 {
		return nil, fmt.Errorf("line %d: %q has no other half", list[open[0]].line, list[open[0]].text)
	}
	return pair, nil
}

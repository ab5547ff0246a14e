package chat

import (
	"fmt"
	"sort"
	"strings"
	"time"
	"unicode"

	"github.com/nikolalohinski/gonja/v2/exec"
)

// functions are those that a template can call, and those that guard.go weaves in.
func functions(r *rendering) map[string]any {
	return map[string]any{
		chargeName: func(a *exec.VarArgs) *exec.Value {
			if err := r.charge(a.Args[0], a.Args[1].Integer()); err != nil {
				return exec.AsValue(err)
			}
			return a.Args[0]
		},
		numberName: func(a *exec.VarArgs) *exec.Value {
			if !a.Args[0].IsNumber() {
				return r.failed("only numbers can be multiplied")
			}
			return a.Args[0]
		},
		methodName: func(a *exec.VarArgs) *exec.Value {
			return method(r, a.Args[0], a.Args[1].String(), a.Args[2:], a.KwArgs)
		},
		"range":     func(a *exec.VarArgs) *exec.Value { return rangeOf(r, a) },
		"namespace": func(a *exec.VarArgs) *exec.Value { return exec.AsValue(keywords(a)) },
		"dict":      func(a *exec.VarArgs) *exec.Value { return exec.AsValue(keywords(a)) },
		loopName: func(a *exec.VarArgs) *exec.Value {
			if err := r.charge(a.Args[0], a.Args[1].Integer()); err != nil {
				return exec.AsValue(err)
			}
			if err := r.spend(turnUnits * a.Args[0].Len()); err != nil {
				return exec.AsValue(err)
			}
			return a.Args[0]
		},
		"raise_exception": func(a *exec.VarArgs) *exec.Value {
			text := ""
			if len(a.Args) > 0 {
				text = fmt.Sprintf("%.200s", a.Args[0].String())
			}
			return r.fail(fmt.Errorf("%w: %s", ErrRaised, text))
		},
	}
}

func keywords(a *exec.VarArgs) map[string]any {
	m := map[string]any{}
	for key, value := range a.KwArgs {
		m[key] = value.Interface()
	}
	return m
}

// rangeOf is Python's range as a list of bounded length.
func rangeOf(r *rendering, a *exec.VarArgs) *exec.Value {
	bounds := []int{0, 0, 1}
	if len(a.Args) < 1 || len(a.Args) > 3 {
		return r.failed("range takes one to three numbers")
	}
	for i, arg := range a.Args {
		if !arg.IsInteger() {
			return r.failed("range takes integers")
		}
		if len(a.Args) == 1 {
			bounds[1] = arg.Integer()
		} else {
			bounds[i] = arg.Integer()
		}
	}
	start, stop, step := bounds[0], bounds[1], bounds[2]
	const far = 1 << 40
	if step == 0 || max(start, -start, stop, -stop, step, -step) > far {
		return r.failed("range(%d, %d, %d)", start, stop, step)
	}
	items := []any{}
	for i := start; step > 0 && i < stop || step < 0 && i > stop; i += step {
		if len(items) == maxRange {
			return exec.AsValue(r.tooMuch("a range of more than %d", maxRange))
		}
		items = append(items, i)
	}
	if err := r.spend(len(items)); err != nil {
		return exec.AsValue(err)
	}
	return exec.AsValue(items)
}

// strftimeNow formats a fixed time as Python's strftime does, as far as prompts use it.
func strftimeNow(r *rendering, now time.Time) func(*exec.VarArgs) *exec.Value {
	return func(a *exec.VarArgs) *exec.Value {
		if len(a.Args) != 1 || !a.Args[0].IsString() {
			return r.failed("strftime_now takes a format")
		}
		text, err := strftime(a.Args[0].String(), now)
		if err != nil {
			return r.fail(err)
		}
		return exec.AsValue(text)
	}
}

var strftimeLayouts = map[byte]string{
	'Y': "2006", 'y': "06", 'm': "01", 'd': "02", 'B': "January", 'b': "Jan", 'A': "Monday", 'a': "Mon",
	'H': "15", 'I': "03", 'M': "04", 'S': "05", 'p': "PM", 'j': "002", 'Z': "MST", 'z': "-0700",
}

func strftime(format string, now time.Time) (string, error) {
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			b.WriteByte(format[i])
			continue
		}
		if i++; i == len(format) {
			return "", fmt.Errorf("%w: strftime_now: a lone %%", errUse)
		}
		layout, ok := strftimeLayouts[format[i]]
		switch {
		case ok:
			b.WriteString(now.Format(layout))
		case format[i] == '%':
			b.WriteByte('%')
		default:
			return "", fmt.Errorf("%w: strftime_now: %%%c is not supported", errUse, format[i])
		}
	}
	return b.String(), nil
}

// isSpace is Python's str.isspace for one character.
func isSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1C && r <= 0x1F }

// method calls a method of a text, a list or a mapping.
func method(r *rendering, self *exec.Value, name string, args []*exec.Value, kwargs map[string]*exec.Value) *exec.Value {
	if len(kwargs) > 0 {
		return r.failed("%s() with named arguments is not supported", name)
	}
	switch {
	case self.IsString():
		return textMethod(r, self.String(), name, args)
	case self.IsDict():
		return dictMethod(r, self, name, args)
	}
	return r.failed("a %s has no method %s that is supported here", kindOf(self), name)
}

func kindOf(v *exec.Value) string {
	switch {
	case v.IsNil():
		return "undefined value"
	case v.IsList():
		return "list"
	case v.IsNumber():
		return "number"
	}
	return "value"
}

// textArgs are the arguments of a text method, which all take texts.
func textArgs(name string, args []*exec.Value, least, most int) ([]string, error) {
	if len(args) < least || len(args) > most {
		return nil, fmt.Errorf("%w: %s() with %d arguments", errUse, name, len(args))
	}
	texts := make([]string, len(args))
	for i, arg := range args {
		if !arg.IsString() {
			return nil, fmt.Errorf("%w: %s() wants texts", errUse, name)
		}
		texts[i] = arg.String()
	}
	return texts, nil
}

func textMethod(r *rendering, s, name string, args []*exec.Value) *exec.Value {
	counts, known := map[string][2]int{
		"strip": {0, 1}, "lstrip": {0, 1}, "rstrip": {0, 1}, "split": {0, 2}, "rsplit": {0, 2}, "splitlines": {0, 0},
		"startswith": {1, 1}, "endswith": {1, 1}, "upper": {0, 0}, "lower": {0, 0}, "title": {0, 0}, "capitalize": {0, 0},
		"replace": {2, 2}, "find": {1, 1}, "count": {1, 1}, "removeprefix": {1, 1}, "removesuffix": {1, 1},
	}[name]
	if !known {
		return r.failed("a text has no method %s that is supported here", name)
	}
	limit := -1 // of splits
	if strings.HasSuffix(name, "split") && len(args) == 2 {
		if !args[1].IsInteger() {
			return r.failed("%s() wants a text and a number", name)
		}
		limit = args[1].Integer()
		args = args[:1]
	}
	a, err := textArgs(name, args, counts[0], counts[1])
	if err != nil {
		return r.fail(err)
	}
	switch name {
	case "strip", "lstrip", "rstrip":
		cut := isSpace
		if len(a) == 1 {
			cut = func(r rune) bool { return strings.ContainsRune(a[0], r) }
		}
		if name != "rstrip" {
			s = strings.TrimLeftFunc(s, cut)
		}
		if name != "lstrip" {
			s = strings.TrimRightFunc(s, cut)
		}
		return exec.AsValue(s)
	case "split", "rsplit":
		return split(r, s, a, limit, name == "rsplit")
	case "splitlines":
		return exec.AsValue(anyList(strings.Split(strings.TrimSuffix(strings.ReplaceAll(s, "\r\n", "\n"), "\n"), "\n")))
	case "startswith":
		return exec.AsValue(strings.HasPrefix(s, a[0]))
	case "endswith":
		return exec.AsValue(strings.HasSuffix(s, a[0]))
	case "upper":
		return exec.AsValue(strings.ToUpper(s))
	case "lower":
		return exec.AsValue(strings.ToLower(s))
	case "title":
		return exec.AsValue(title(s))
	case "capitalize":
		return exec.AsValue(capitalize(s))
	case "replace":
		return replace(r, s, a[0], a[1])
	case "find":
		at := strings.Index(s, a[0])
		if at > 0 {
			at = len([]rune(s[:at]))
		}
		return exec.AsValue(at)
	case "count":
		return exec.AsValue(strings.Count(s, a[0]))
	case "removeprefix":
		return exec.AsValue(strings.TrimPrefix(s, a[0]))
	}
	return exec.AsValue(strings.TrimSuffix(s, a[0])) // removesuffix
}

func split(r *rendering, s string, sep []string, limit int, fromRight bool) *exec.Value {
	if len(sep) == 0 {
		return exec.AsValue(anyList(strings.FieldsFunc(s, isSpace)))
	}
	if sep[0] == "" {
		return r.failed("split with an empty separator")
	}
	if limit < 0 {
		return exec.AsValue(anyList(strings.Split(s, sep[0])))
	}
	if !fromRight {
		return exec.AsValue(anyList(strings.SplitN(s, sep[0], limit+1)))
	}
	var tail []string
	for len(tail) < limit {
		at := strings.LastIndex(s, sep[0])
		if at < 0 {
			break
		}
		tail = append(tail, s[at+len(sep[0]):])
		s = s[:at]
	}
	list := []any{s}
	for i := len(tail) - 1; i >= 0; i-- {
		list = append(list, tail[i])
	}
	return exec.AsValue(list)
}

func anyList(texts []string) []any {
	list := make([]any, len(texts))
	for i, text := range texts {
		list[i] = text
	}
	return list
}

// replace checks the size of the result before it is made.
func replace(r *rendering, s, old, new string) *exec.Value {
	n := strings.Count(s, old)
	if size := len(s) + n*(len(new)-len(old)); size > r.value {
		return exec.AsValue(r.tooMuch("a text of %d bytes by replace", size))
	}
	return exec.AsValue(strings.ReplaceAll(s, old, new))
}

// capitalize is Python's: the first character in title case, the others in lower case.
func capitalize(s string) string {
	for i, r := range s {
		return string(unicode.ToTitle(r)) + strings.ToLower(s[i+len(string(r)):])
	}
	return s
}

// title is Python's: each letter after a character that is none in title case.
func title(s string) string {
	inWord := false
	return strings.Map(func(r rune) rune {
		start := !inWord
		if inWord = unicode.IsLetter(r); !inWord {
			return r
		}
		if start {
			return unicode.ToTitle(r)
		}
		return unicode.ToLower(r)
	}, s)
}

func dictMethod(r *rendering, self *exec.Value, name string, args []*exec.Value) *exec.Value {
	switch name {
	case "get":
		if len(args) < 1 || len(args) > 2 || !args[0].IsString() {
			return r.failed("get() wants a name and perhaps a value")
		}
		if value, ok := self.GetItem(args[0].String()); ok {
			return value
		}
		if len(args) == 2 {
			return args[1]
		}
		return exec.AsValue(nil)
	case "items", "keys", "values":
		pairs := self.Items()
		sort.SliceStable(pairs, func(i, j int) bool { return pairs[i].Key.String() < pairs[j].Key.String() })
		list := make([]any, len(pairs))
		for i, p := range pairs {
			switch name {
			case "items":
				list[i] = []any{p.Key.Interface(), p.Value.Interface()}
			case "keys":
				list[i] = p.Key.Interface()
			case "values":
				list[i] = p.Value.Interface()
			}
		}
		return exec.AsValue(list)
	}
	return r.failed("a mapping has no method %s that is supported here", name)
}

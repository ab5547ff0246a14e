package chat

import (
	"bytes"
	"encoding/json"
	"maps"
	"strings"

	"github.com/nikolalohinski/gonja/v2/builtins"
	"github.com/nikolalohinski/gonja/v2/exec"
)

// borrowed are the engine's own filters whose result is no larger than what they are given.
var borrowed = []string{
	"abs", "count", "d", "default", "dictsort", "first", "float", "int", "items", "last", "length", "list", "map", "max", "min",
	"reject", "rejectattr", "reverse", "round", "safe", "select", "selectattr", "sort", "string", "unique",
}

// filters are those that a template can use. Each pays for what it is given.
func filters(r *rendering) *exec.FilterSet {
	set := map[string]exec.FilterFunction{
		"tojson": func(_ *exec.Evaluator, in *exec.Value, a *exec.VarArgs) *exec.Value { return toJSON(r, in, a) },
		"join":   func(_ *exec.Evaluator, in *exec.Value, a *exec.VarArgs) *exec.Value { return join(r, in, a) },
		"indent": func(_ *exec.Evaluator, in *exec.Value, a *exec.VarArgs) *exec.Value { return indent(r, in, a) },
		"images": func(_ *exec.Evaluator, in *exec.Value, a *exec.VarArgs) *exec.Value { return images(r, in, a) },
		"flat":   func(_ *exec.Evaluator, in *exec.Value, _ *exec.VarArgs) *exec.Value { return flatten(r, in, "") },
	}
	for _, name := range borrowed {
		set[name], _ = builtins.Filters.Get(name)
	}
	for filter, name := range map[string]string{
		"trim": "strip", "upper": "upper", "lower": "lower", "title": "title", "capitalize": "capitalize", "replace": "replace",
	} {
		set[filter] = func(_ *exec.Evaluator, in *exec.Value, a *exec.VarArgs) *exec.Value {
			if in.IsNil() || in.IsList() || in.IsDict() {
				return r.failed("%s of a %s", filter, kindOf(in))
			}
			if len(a.KwArgs) > 0 {
				return r.failed("%s with named arguments is not supported", filter)
			}
			return textMethod(r, in.String(), name, a.Args)
		}
	}
	for name, f := range maps.Clone(set) {
		set[name] = func(e *exec.Evaluator, in *exec.Value, a *exec.VarArgs) *exec.Value {
			if in.IsError() {
				return in
			}
			if err := r.charge(in, 1); err != nil {
				return exec.AsValue(err)
			}
			return f(e, in, a)
		}
	}
	return exec.NewFilterSet(set)
}

// toJSON is transformers' tojson: Python's json.dumps without escapes for characters beyond ASCII or
// for HTML, with a space after colons and commas on one line.
func toJSON(r *rendering, in *exec.Value, a *exec.VarArgs) *exec.Value {
	step := ""
	for key, value := range a.KwArgs {
		switch {
		case key == "ensure_ascii" && !value.IsTrue(), key == "indent" && value.IsNil():
		case key == "indent" && value.IsInteger() && value.Integer() >= 1 && value.Integer() <= 16:
			step = strings.Repeat(" ", value.Integer())
		default:
			return r.failed("tojson with %s=%.20s is not supported", key, value.String())
		}
	}
	if len(a.Args) > 0 {
		return r.failed("tojson with unnamed arguments is not supported")
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	value := in.ToGoSimpleType(false)
	if err, ok := value.(error); ok {
		return r.failed("tojson: %v", err)
	}
	if err := enc.Encode(value); err != nil {
		return r.failed("tojson: %v", err)
	}
	compact := bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	if step != "" {
		var out bytes.Buffer
		if err := json.Indent(&out, compact, "", step); err != nil {
			return r.failed("tojson: %v", err)
		}
		return exec.AsValue(out.String())
	}
	return exec.AsValue(spaced(string(compact)))
}

// spaced puts a space after the commas and colons of compact JSON that stand outside texts.
func spaced(compact string) string {
	var b strings.Builder
	quoted, escaped := false, false
	for _, c := range compact {
		b.WriteRune(c)
		switch {
		case escaped:
			escaped = false
		case quoted && c == '\\':
			escaped = true
		case c == '"':
			quoted = !quoted
		case !quoted && (c == ',' || c == ':'):
			b.WriteByte(' ')
		}
	}
	return b.String()
}

// join checks the size of the result before it is made.
func join(r *rendering, in *exec.Value, a *exec.VarArgs) *exec.Value {
	sep := ""
	switch {
	case len(a.KwArgs) > 0 || len(a.Args) > 1:
		return r.failed("join with an attribute is not supported")
	case len(a.Args) == 1:
		sep = a.Args[0].String()
	}
	if !in.IsList() {
		return r.failed("join of a %s", kindOf(in))
	}
	var texts []string
	in.Iterate(func(_, _ int, item, _ *exec.Value) bool {
		texts = append(texts, item.String())
		return true
	}, func() {})
	if size := len(sep) * len(texts); size > r.value {
		return exec.AsValue(r.tooMuch("a text of %d bytes by join", size))
	}
	return exec.AsValue(strings.Join(texts, sep))
}

// indent puts spaces before each line but the first, as Jinja does; empty lines stay empty.
func indent(r *rendering, in *exec.Value, a *exec.VarArgs) *exec.Value {
	width := 4
	switch {
	case len(a.KwArgs) > 0 || len(a.Args) > 1:
		return r.failed("indent with more than a width is not supported")
	case len(a.Args) == 1:
		if width = a.Args[0].Integer(); !a.Args[0].IsInteger() || width < 0 || width > 64 {
			return r.failed("indent by %.20s", a.Args[0].String())
		}
	}
	lines := strings.Split(in.String(), "\n")
	if err := r.spend(len(lines)); err != nil {
		return exec.AsValue(err)
	}
	for i, line := range lines {
		if i > 0 && line != "" {
			lines[i] = strings.Repeat(" ", width) + line
		}
	}
	return exec.AsValue(strings.Join(lines, "\n"))
}

// images is content | images(mark): its text, with mark where a picture goes.
func images(r *rendering, in *exec.Value, a *exec.VarArgs) *exec.Value {
	if len(a.Args) != 1 || !a.Args[0].IsString() {
		return r.failed("images wants the mark of a picture")
	}
	return flatten(r, in, a.Args[0].String())
}

// flatten joins the text of a message's content, with mark where a picture goes; content | flat is
// the text alone.
func flatten(r *rendering, in *exec.Value, mark string) *exec.Value {
	if in.IsString() {
		return in
	}
	parts, ok := in.Interface().([]any)
	if !ok {
		return r.failed("a message's content is neither a text nor a list of parts")
	}
	var b strings.Builder
	for _, part := range parts {
		switch p, _ := part.(map[string]any); p["type"] {
		case "image":
			b.WriteString(mark)
		case "text":
			text, _ := p["text"].(string)
			b.WriteString(text)
		default:
			return r.failed("a part of type %.20v", p["type"])
		}
	}
	return exec.AsValue(b.String())
}

package chat

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/nikolalohinski/gonja/v2/builtins"
	"github.com/nikolalohinski/gonja/v2/config"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/loaders"
	"github.com/nikolalohinski/gonja/v2/parser"
	"github.com/nikolalohinski/gonja/v2/tokens"
)

// render parses and runs a template. A template is parsed anew for each conversation (well under a
// millisecond for those in use), because the guards that are woven into it count for one run.
func (r *rendering) render(source string, variables map[string]any) (text string, err error) {
	// gonja panics on some faulty templates, such as a division by zero.
	defer func() {
		if p := recover(); p != nil {
			text, err = "", &TemplateError{short(fmt.Errorf("%v", p))}
		}
	}()
	cfg := config.New()
	cfg.TrimBlocks, cfg.LeftStripBlocks = true, true // as transformers sets Jinja up
	if err := checkSource(source, cfg); err != nil {
		return "", &TemplateError{err}
	}
	env := &exec.Environment{
		Filters:           filters(r),
		Tests:             builtins.Tests,
		ControlStructures: controlStructures(r),
		Context:           exec.NewContext(functions(r)),
		Methods:           noMethods(),
	}
	t, err := exec.NewTemplate(templateName, cfg, sourceLoader(source), env)
	if err != nil {
		return "", &TemplateError{short(err)}
	}
	if err := guardNodes(t.Root().Nodes); err != nil {
		return "", &TemplateError{err}
	}
	out := &output{run: r}
	if err := t.Execute(out, exec.NewContext(variables)); err != nil {
		if r.failure != nil {
			return "", &TemplateError{r.failure}
		}
		return "", &TemplateError{short(err)}
	}
	return out.buffer.String(), nil
}

// checkSource bounds what the parser sees: it recurses over expressions.
func checkSource(source string, cfg *config.Config) error {
	if len(source) > maxSource {
		return fmt.Errorf("%w: %d bytes", ErrTooMuch, len(source))
	}
	inTag := 0
	for stream := tokens.LexAll(source, cfg); !stream.End(); stream.Next() {
		switch t := stream.Current(); t.Type {
		case tokens.Error:
			return fmt.Errorf("line %d: %s", t.Line, t.Val)
		case tokens.VariableBegin, tokens.BlockBegin, tokens.Data:
			inTag = 0
		default:
			if inTag++; inTag > maxTagTokens {
				return fmt.Errorf("%w: line %d: a tag of more than %d tokens", ErrTooMuch, t.Line, maxTagTokens)
			}
		}
	}
	return nil
}

// output is what a template writes, within its limits.
type output struct {
	buffer bytes.Buffer
	run    *rendering
}

func (o *output) Write(p []byte) (int, error) {
	if err := o.run.spend(1 + len(p)/64); err != nil {
		return 0, err
	}
	if o.buffer.Len()+len(p) > o.run.value {
		return 0, o.run.tooMuch("the prompt is too long")
	}
	return o.buffer.Write(p)
}

// sourceLoader gives the one template there is: templates cannot read files or each other.
type sourceLoader string

const templateName = "chat_template"

func (s sourceLoader) Read(name string) (io.Reader, error) {
	if name != templateName {
		return nil, fmt.Errorf("a chat template cannot read %q", name)
	}
	return strings.NewReader(string(s)), nil
}

func (s sourceLoader) Resolve(name string) (string, error) { return name, nil }

func (s sourceLoader) Inherit(string) (loaders.Loader, error) { return s, nil }

// noMethods is empty: calls of methods become calls of methodFunction (guard.go).
func noMethods() exec.Methods {
	return exec.Methods{
		Bool: exec.NewMethodSet[bool](nil), Int: exec.NewMethodSet[int](nil), Float: exec.NewMethodSet[float64](nil),
		Str: exec.NewMethodSet[string](nil), Dict: exec.NewMethodSet[map[string]any](nil), List: exec.NewMethodSet[[]any](nil),
	}
}

// controlStructures are the tags that chat templates use. Those that read other templates (include,
// import, extends) and macros, which recurse without bound, are not among them.
func controlStructures(r *rendering) *exec.ControlStructureSet {
	set := map[string]parser.ControlStructureParser{
		"set":        parseSet(r),
		"generation": parseGeneration,
	}
	for _, name := range []string{"for", "if", "raw", "break", "continue"} {
		set[name], _ = builtins.ControlStructures.Get(name)
	}
	return exec.NewControlStructureSet(set)
}

// short bounds the text of an error, which may quote the whole template.
func short(err error) error {
	const limit = 400
	if text := err.Error(); len(text) > limit {
		return fmt.Errorf("%s … %s", text[:limit/2], text[len(text)-limit/2:])
	}
	return err
}

package chat

import (
	"errors"

	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/nodes"
	"github.com/nikolalohinski/gonja/v2/parser"
	"github.com/nikolalohinski/gonja/v2/tokens"
)

// errUse is a use of the language that is wrong or not supported here.
var errUse = errors.New("template")

// setStructure is {% set name = value %}, {% set namespace.name = value %}, each with an optional
// "if condition else alternative", and {% set name %}...{% endset %}. It replaces the engine's own
// so that values are checked where they are kept.
type setStructure struct {
	at                            *tokens.Token
	name                          string
	attribute                     string // of the namespace that name stands for; empty without
	value, condition, alternative nodes.Expression
	body                          *nodes.Wrapper
	run                           *rendering
}

func (s *setStructure) Position() *tokens.Token { return s.at }
func (s *setStructure) String() string          { return "set " + s.name }

func parseSet(r *rendering) parser.ControlStructureParser {
	return func(p, args *parser.Parser) (nodes.ControlStructure, error) {
		name := args.Match(tokens.Name)
		if name == nil {
			return nil, args.Error("set wants a name", args.Current())
		}
		s := &setStructure{at: name, name: name.Val, run: r}
		if args.Match(tokens.Dot) != nil {
			attribute := args.Match(tokens.Name)
			if attribute == nil {
				return nil, args.Error("set wants a name after the dot", args.Current())
			}
			s.attribute = attribute.Val
		}
		if args.End() && s.attribute == "" {
			body, _, err := p.WrapUntil("endset")
			s.body = body
			return s, err
		}
		if args.Match(tokens.Assign) == nil {
			return nil, args.Error("set wants one name and =", args.Current())
		}
		var err error
		if s.value, err = args.ParseExpression(); err != nil {
			return nil, err
		}
		if s.condition, s.alternative, err = args.ParseCondition(); err != nil {
			return nil, err
		}
		if !args.End() {
			return nil, args.Error("unexpected in set", args.Current())
		}
		return s, nil
	}
}

func (s *setStructure) Execute(r *exec.Renderer, _ *nodes.ControlStructureBlock) error {
	value, err := s.eval(r)
	if err != nil {
		return err
	}
	if err := s.run.charge(exec.AsValue(value), 1); err != nil {
		return err
	}
	if s.attribute == "" {
		r.Environment.Context.Set(s.name, value)
		return nil
	}
	target, _ := r.Environment.Context.Get(s.name)
	ns, ok := target.(map[string]any)
	if !ok {
		return s.run.failed("set %s.%s: not a namespace", s.name, s.attribute)
	}
	ns[s.attribute] = value
	return nil
}

func (s *setStructure) eval(r *exec.Renderer) (any, error) {
	if s.body != nil {
		sub := r.Inherit()
		out := &output{run: s.run}
		sub.Output = out
		err := sub.ExecuteWrapper(s.body)
		return out.buffer.String(), err
	}
	expression := s.value
	if s.condition != nil {
		condition := r.Eval(s.condition)
		if condition.IsError() {
			return nil, condition
		}
		if !condition.IsTrue() {
			if expression = s.alternative; expression == nil {
				return nil, nil
			}
		}
	}
	value := r.Eval(expression)
	if value.IsError() {
		return nil, value
	}
	return value.Interface(), nil
}

// generationStructure is {% generation %}...{% endgeneration %}, which transformers uses to find the
// assistant's part when training; it changes nothing in the prompt.
type generationStructure struct {
	at   *tokens.Token
	body *nodes.Wrapper
}

func (g *generationStructure) Position() *tokens.Token { return g.at }
func (g *generationStructure) String() string          { return "generation" }

func parseGeneration(p, args *parser.Parser) (nodes.ControlStructure, error) {
	g := &generationStructure{at: p.Current()}
	if !args.End() {
		return nil, args.Error("generation takes no arguments", args.Current())
	}
	body, _, err := p.WrapUntil("endgeneration")
	g.body = body
	return g, err
}

func (g *generationStructure) Execute(r *exec.Renderer, _ *nodes.ControlStructureBlock) error {
	return r.ExecuteWrapper(g.body)
}

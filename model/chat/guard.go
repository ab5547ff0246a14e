package chat

import (
	"fmt"

	builtin "github.com/nikolalohinski/gonja/v2/builtins/control_structures"
	"github.com/nikolalohinski/gonja/v2/nodes"
	"github.com/nikolalohinski/gonja/v2/tokens"
)

// After parsing, the template's expressions are rewritten: what an operator, a test, a loop or an
// output works on is handed through a function that charges for it. The names of these functions
// cannot be written in a template.
const (
	chargeName = "charge!" // charge!(value, units): the value, after paying for all of it
	loopName   = "loop!"   // loop!(list, units): the list, after paying for all of it and for the turns
	numberName = "number!" // number!(value): the value, which must be a number
	methodName = "method!" // method!(value, name, arguments...): a method call
)

// guardNodes rewrites the nodes of a template or a block in place.
func guardNodes(list []nodes.Node) error {
	for _, node := range list {
		if err := guardNode(node); err != nil {
			return err
		}
	}
	return nil
}

func guardNode(node nodes.Node) error {
	switch n := node.(type) {
	case nil, *nodes.Data, *nodes.Comment:
		return nil
	case *nodes.Output:
		return guardAll(&n.Expression, &n.Condition, &n.Alternative)
	case *nodes.Wrapper:
		if n == nil {
			return nil
		}
		return guardNodes(n.Nodes)
	case *nodes.ControlStructureBlock:
		switch c := n.ControlStructure.(type) {
		case *builtin.ForControlStructure:
			if c.Recursive {
				return unsupported(n, "a recursive loop")
			}
			if err := guardAll(&c.ObjectEvaluator, &c.IfCondition); err != nil {
				return err
			}
			c.ObjectEvaluator = callOf(loopName, c.ObjectEvaluator, &nodes.Integer{Location: c.ObjectEvaluator.Position()})
			if err := guardNode(c.BodyWrapper); err != nil {
				return err
			}
			return guardNode(c.EmptyWrapper)
		case *builtin.IfControlStructure:
			for i := range c.Conditions {
				if err := guardAll(&c.Conditions[i]); err != nil {
					return err
				}
			}
			for _, w := range c.Wrappers {
				if err := guardNode(w); err != nil {
					return err
				}
			}
			return nil
		case *setStructure:
			if err := guardAll(&c.value, &c.condition, &c.alternative); err != nil {
				return err
			}
			return guardNode(c.body)
		case *generationStructure:
			return guardNode(c.body)
		case *builtin.RawControlStructure, *builtin.BreakControlStructure, *builtin.ContinueControlStructure:
			return nil
		}
		return unsupported(n, "tag "+n.Name)
	}
	return unsupported(node, fmt.Sprintf("%T", node))
}

// guardAll rewrites whole expressions and makes each pay for the nodes that it has.
func guardAll(list ...*nodes.Expression) error {
	for _, e := range list {
		if *e == nil {
			continue
		}
		units := 0
		guarded, err := guardExpression(*e, &units)
		if err != nil {
			return err
		}
		*e = charged(guarded, units)
	}
	return nil
}

func unsupported(node nodes.Node, what string) error {
	return fmt.Errorf("%w: line %d: %s is not supported", errUse, node.Position().Line, what)
}

// charged wraps an expression in charge!.
func charged(e nodes.Expression, units int) nodes.Expression {
	return callOf(chargeName, e, &nodes.Integer{Location: e.Position(), Val: units})
}

// callOf is a call of one of the functions above; the first argument says where it stands.
func callOf(name string, args ...nodes.Expression) *nodes.Call {
	at := *args[0].Position()
	at.Val = name
	return &nodes.Call{Location: &at, Func: &nodes.Name{Name: &at}, Args: args, Kwargs: map[string]nodes.Expression{}}
}

// guardExpression rewrites an expression and counts its nodes.
func guardExpression(e nodes.Node, units *int) (nodes.Expression, error) {
	*units++
	// in rewrites a part in place, operand does so and charges for its value.
	in := func(part *nodes.Expression) error {
		if *part == nil {
			return nil
		}
		guarded, err := guardExpression(*part, units)
		*part = guarded
		return err
	}
	operand := func(part *nodes.Expression) error {
		if *part == nil {
			return nil
		}
		err := in(part)
		if err == nil {
			*part = charged(*part, 0)
		}
		return err
	}
	// within is in, or operand, for a part that gonja declares as a node.
	within := func(how func(*nodes.Expression) error, part *nodes.Node) error {
		if *part == nil {
			return nil
		}
		e := nodes.Expression(*part)
		err := how(&e)
		*part = e
		return err
	}
	arguments := func(args []nodes.Expression, kwargs map[string]nodes.Expression) error {
		for i := range args {
			if err := operand(&args[i]); err != nil {
				return err
			}
		}
		for key, arg := range kwargs {
			if err := operand(&arg); err != nil {
				return err
			}
			kwargs[key] = arg
		}
		return nil
	}
	switch n := e.(type) {
	case *nodes.None, *nodes.String, *nodes.Integer, *nodes.Float, *nodes.Bool, *nodes.Name:
		return n, nil
	case *nodes.List:
		return n, arguments(n.Val, nil)
	case *nodes.Tuple:
		return n, arguments(n.Val, nil)
	case *nodes.Dict:
		for _, pair := range n.Pairs {
			if err := operand(&pair.Key); err != nil {
				return nil, err
			}
			if err := operand(&pair.Value); err != nil {
				return nil, err
			}
		}
		return n, nil
	case *nodes.Negation:
		return n, in(&n.Term)
	case *nodes.UnaryExpression:
		return n, in(&n.Term)
	case *nodes.BinaryExpression:
		for _, side := range []*nodes.Expression{&n.Left, &n.Right} {
			if err := operand(side); err != nil {
				return nil, err
			}
			switch n.Operator.Token.Type {
			case tokens.Multiply, tokens.Power: // a text or a list times a number has no bound
				*side = callOf(numberName, *side)
			}
		}
		return n, nil
	case *nodes.FilteredExpression: // filters charge for what they are given
		for _, f := range n.Filters {
			if err := arguments(f.Args, f.Kwargs); err != nil {
				return nil, err
			}
		}
		return n, in(&n.Expression)
	case *nodes.TestExpression:
		if err := arguments(n.Test.Args, n.Test.Kwargs); err != nil {
			return nil, err
		}
		return n, operand(&n.Expression)
	case *nodes.GetAttribute:
		return n, within(in, &n.Node)
	case *nodes.GetItem:
		if err := within(in, &n.Arg); err != nil {
			return nil, err
		}
		return n, within(in, &n.Node)
	case *nodes.GetSlice:
		for _, part := range []*nodes.Node{&n.Start, &n.End, &n.Step} {
			if err := within(in, part); err != nil {
				return nil, err
			}
		}
		return n, within(operand, &n.Node)
	case *nodes.Call:
		if err := arguments(n.Args, n.Kwargs); err != nil {
			return nil, err
		}
		switch f := n.Func.(type) {
		case *nodes.Name:
			return n, nil
		case *nodes.GetAttribute:
			// gonja looks at what a method is called on twice, which doubles with each call in a chain.
			if err := within(operand, &f.Node); err != nil {
				return nil, err
			}
			call := callOf(methodName, f.Node, &nodes.String{Location: f.Location, Val: f.Attribute})
			call.Args = append(call.Args, n.Args...)
			call.Kwargs = n.Kwargs
			return call, nil
		}
		return nil, unsupported(n, "a call of "+fmt.Sprintf("%.40s", n.Func))
	}
	return nil, unsupported(e, fmt.Sprintf("%T", e))
}

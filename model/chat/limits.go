package chat

import (
	"fmt"
	"reflect"

	"github.com/nikolalohinski/gonja/v2/exec"
)

const (
	maxSource    = 64 << 10 // bytes of a template
	maxTagTokens = 400      // tokens of one {{ }} or {% %}
	maxDepth     = 32       // lists in lists
	maxRange     = 10000    // items of range()
)

// limits are what one rendering may take. A template comes with a model's files and may be hostile
// or broken; the engine below has no bounds of its own, so every operand, loop and output is charged
// here (see guard.go) and a rendering ends after an amount of work that follows from the size of the
// conversation.
type limits struct {
	work  int // units left: about one per syntax node, item or 64 bytes that are looked at
	value int // bytes that a value may hold
}

// limitsFor gives the limits for a conversation. A real template looks at each message a few times
// and, when it searches, at the whole conversation for each message.
func limitsFor(parts, bytes int) *limits {
	return &limits{
		work:  1<<20 + 64*(parts+1)*(parts+bytes/64+1),
		value: 1<<20 + 4*bytes,
	}
}

// spend takes units off.
func (l *limits) spend(units int) error {
	if l.work -= units; l.work < 0 {
		return fmt.Errorf("%w: too much work", ErrTooMuch)
	}
	return nil
}

// charge pays for looking at all of a value, and refuses one that is too large or nested too deep.
func (l *limits) charge(v *exec.Value, units int) error {
	left := l.value
	if err := weigh(reflect.ValueOf(v), &left, 0); err != nil {
		return err
	}
	return l.spend(units + (l.value-left)/64)
}

// weigh takes the size of a value off left. It stops when nothing is left, so a value that holds
// itself many times costs no more than the limit.
func weigh(v reflect.Value, left *int, depth int) error {
	for v.IsValid() && (v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface) {
		if value, ok := v.Interface().(*exec.Value); ok {
			if value == nil {
				return nil
			}
			v = value.Val
			continue
		}
		v = v.Elem()
	}
	if !v.IsValid() {
		return nil
	}
	*left -= 16
	if v.Kind() == reflect.String {
		*left -= v.Len()
	}
	if *left < 0 {
		return fmt.Errorf("%w: a value is too large", ErrTooMuch)
	}
	if depth > maxDepth {
		return fmt.Errorf("%w: a value is nested too deep", ErrTooMuch)
	}
	switch v.Kind() {
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			if err := weigh(v.Index(i), left, depth+1); err != nil {
				return err
			}
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			if err := weigh(it.Key(), left, depth+1); err != nil {
				return err
			}
			if err := weigh(it.Value(), left, depth+1); err != nil {
				return err
			}
		}
	case reflect.Struct:
		switch s := v.Interface().(type) {
		case exec.Dict:
			return weigh(reflect.ValueOf(s.Pairs), left, depth)
		case exec.Pair:
			if err := weigh(reflect.ValueOf(s.Key), left, depth); err != nil {
				return err
			}
			return weigh(reflect.ValueOf(s.Value), left, depth)
		}
	}
	return nil
}

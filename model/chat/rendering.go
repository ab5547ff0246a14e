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
	turnUnits    = 8        // what a turn of a loop costs beyond its body
)

// rendering is one run of a template: what it may still take, and why it failed. A template comes
// with a model's files and may be hostile or broken; the engine below has no bounds of its own, so
// every operand, loop and output is charged here (see guard.go), and a run ends after an amount of
// work that follows from the size of the conversation.
type rendering struct {
	work  int // units left: about one per syntax node, item or 64 bytes that are looked at
	value int // bytes that a value may hold

	failure error // the first error of this package; the engine keeps only the texts of errors
}

// newRendering gives the limits for a conversation. A real template looks at each message a few times
// and, when it searches, at the whole conversation for each message.
func newRendering(parts, bytes int) *rendering {
	return &rendering{
		work:  1<<18 + 64*(parts+1)*(parts+bytes/64+1),
		value: 1<<20 + 4*bytes,
	}
}

// fail notes an error and gives it as the engine wants it.
func (r *rendering) fail(err error) *exec.Value {
	if r.failure == nil {
		r.failure = err
	}
	return exec.AsValue(err)
}

// failed is fail for a wrong or unsupported use of the language.
func (r *rendering) failed(format string, args ...any) *exec.Value {
	return r.fail(fmt.Errorf("%w: "+format, append([]any{errUse}, args...)...))
}

// spend takes units off.
func (r *rendering) spend(units int) error {
	if r.work -= units; r.work < 0 {
		return r.tooMuch("too much work")
	}
	return nil
}

// tooMuch notes and gives an error of a limit.
func (r *rendering) tooMuch(format string, args ...any) error {
	err := fmt.Errorf("%w: "+format, append([]any{ErrTooMuch}, args...)...)
	r.fail(err)
	return err
}

// charge pays for looking at all of a value, and refuses one that is too large or nested too deep.
func (r *rendering) charge(v *exec.Value, units int) error {
	left := r.value
	if what := weigh(reflect.ValueOf(v), &left, 0); what != "" {
		return r.tooMuch("%s", what)
	}
	return r.spend(units + (r.value-left)/64)
}

// weigh takes the size of a value off left. It stops when nothing is left, so a value that holds
// itself many times costs no more than the limit. It says what is wrong, or nothing.
func weigh(v reflect.Value, left *int, depth int) string {
	for v.IsValid() && (v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface) {
		if value, ok := v.Interface().(*exec.Value); ok {
			if value == nil {
				return ""
			}
			v = value.Val
			continue
		}
		v = v.Elem()
	}
	if !v.IsValid() {
		return ""
	}
	*left -= 16
	if v.Kind() == reflect.String {
		*left -= v.Len()
	}
	if *left < 0 {
		return "a value is too large"
	}
	if depth > maxDepth {
		return "a value is nested too deep"
	}
	switch v.Kind() {
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			if what := weigh(v.Index(i), left, depth+1); what != "" {
				return what
			}
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			if what := weigh(it.Key(), left, depth+1); what != "" {
				return what
			}
			if what := weigh(it.Value(), left, depth+1); what != "" {
				return what
			}
		}
	case reflect.Struct:
		switch s := v.Interface().(type) {
		case exec.Dict:
			return weigh(reflect.ValueOf(s.Pairs), left, depth)
		case exec.Pair:
			if what := weigh(reflect.ValueOf(s.Key), left, depth); what != "" {
				return what
			}
			return weigh(reflect.ValueOf(s.Value), left, depth)
		}
	}
	return ""
}

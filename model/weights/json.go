package weights

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth is how deep JSON may be nested. Headers need three levels, configs five.
const maxDepth = 64

// scanner reads JSON (RFC 8259) from its start, value by value, straight into the caller's types.
//
// It is stricter than encoding/json, as files from strangers need it: a key may not come twice,
// half a surrogate pair is no string, and integers are exact or refused. The text must be valid
// UTF-8 before it comes here. Errors give the byte where reading stopped.
type scanner struct {
	text  []byte
	pos   int
	depth int
}

func (s *scanner) fail(format string, args ...any) error {
	return fmt.Errorf("byte %d: %s", s.pos, fmt.Sprintf(format, args...))
}

// peek skips white space and returns the next byte, 0 at the end.
func (s *scanner) peek() byte {
	for ; s.pos < len(s.text); s.pos++ {
		switch s.text[s.pos] {
		case ' ', '\t', '\n', '\r':
		default:
			return s.text[s.pos]
		}
	}
	return 0
}

func (s *scanner) expect(c byte, what string) error {
	if s.peek() != c {
		return s.fail("expected %s%s", what, s.found())
	}
	s.pos++
	return nil
}

// found describes what stands where something else was expected.
func (s *scanner) found() string {
	if s.peek(); s.pos == len(s.text) {
		return ", the text ends here"
	}
	r, _ := utf8.DecodeRune(s.text[s.pos:])
	return fmt.Sprintf(", found %q", r)
}

// end makes sure that nothing but white space is left.
func (s *scanner) end() error {
	if s.peek(); s.pos != len(s.text) {
		return s.fail("text after the end of the JSON value")
	}
	return nil
}

// object reads an object and calls field after each key; field must read the value.
func (s *scanner) object(field func(key string) error) error {
	if err := s.open('{', "an object"); err != nil {
		return err
	}
	var keys keySet
	return s.items('}', func() error {
		if s.peek() != '"' {
			return s.fail("expected a key%s", s.found())
		}
		key, err := s.str()
		if err != nil {
			return err
		}
		if !keys.add(key) {
			return s.fail("key %q comes twice", key)
		}
		if err := s.expect(':', "a colon"); err != nil {
			return err
		}
		return field(key)
	})
}

// array reads an array and calls item at each element; item must read it.
func (s *scanner) array(item func() error) error {
	if err := s.open('[', "an array"); err != nil {
		return err
	}
	return s.items(']', item)
}

func (s *scanner) open(c byte, what string) error {
	if err := s.expect(c, what); err != nil {
		return err
	}
	if s.depth++; s.depth > maxDepth {
		return s.fail("nested more than %d deep", maxDepth)
	}
	return nil
}

// items reads what is between an opening bracket and its closing one.
func (s *scanner) items(closing byte, item func() error) error {
	for first := true; ; first = false {
		if s.peek() == closing && first {
			break
		}
		if err := item(); err != nil {
			return err
		}
		if s.peek() == closing {
			break
		}
		if err := s.expect(',', fmt.Sprintf("a comma or %q", closing)); err != nil {
			return err
		}
	}
	s.pos++
	s.depth--
	return nil
}

// str reads a string.
func (s *scanner) str() (string, error) {
	if err := s.expect('"', "a string"); err != nil {
		return "", err
	}
	start := s.pos
	for s.pos < len(s.text) && s.text[s.pos] != '"' && s.text[s.pos] != '\\' && s.text[s.pos] >= ' ' {
		s.pos++
	}
	if s.pos < len(s.text) && s.text[s.pos] == '"' { // the usual case: no escapes
		s.pos++
		return string(s.text[start : s.pos-1]), nil
	}
	out := append([]byte(nil), s.text[start:s.pos]...)
	for s.pos < len(s.text) {
		c := s.text[s.pos]
		switch {
		case c == '"':
			s.pos++
			return string(out), nil
		case c < ' ':
			return "", s.fail("control character in a string")
		case c != '\\':
			out = append(out, c)
			s.pos++
		default:
			r, err := s.escape()
			if err != nil {
				return "", err
			}
			out = utf8.AppendRune(out, r)
		}
	}
	return "", s.fail("the text ends inside a string")
}

// escape reads a backslash and what follows it.
func (s *scanner) escape() (rune, error) {
	if s.pos+1 >= len(s.text) {
		return 0, s.fail("the text ends inside a string")
	}
	c := s.text[s.pos+1]
	if c == 'u' {
		r, err := s.unit()
		if err != nil || !utf16.IsSurrogate(r) {
			return r, err
		}
		if s.pos < len(s.text) && s.text[s.pos] == '\\' {
			second, err := s.unit()
			if err != nil {
				return 0, err
			}
			if pair := utf16.DecodeRune(r, second); pair != utf8.RuneError {
				return pair, nil
			}
		}
		return 0, s.fail("half a surrogate pair in a string")
	}
	const short, meaning = `"\/bfnrt`, "\"\\/\b\f\n\r\t"
	i := strings.IndexByte(short, c)
	if i < 0 {
		return 0, s.fail("unknown escape in a string")
	}
	s.pos += 2
	return rune(meaning[i]), nil
}

// unit reads \uXXXX.
func (s *scanner) unit() (rune, error) {
	if s.pos+6 > len(s.text) || s.text[s.pos+1] != 'u' {
		return 0, s.fail("bad \\u escape in a string")
	}
	var r rune
	for _, c := range s.text[s.pos+2 : s.pos+6] {
		digit := strings.IndexByte("0123456789abcdef", c|0x20)
		if digit < 0 || c < '0' { // c|0x20 also turns a control character into a digit
			return 0, s.fail("bad \\u escape in a string")
		}
		r = r<<4 | rune(digit)
	}
	s.pos += 6
	return r, nil
}

// number reads a number as it is written.
func (s *scanner) number() (string, error) {
	if c := s.peek(); c != '-' && (c < '0' || c > '9') {
		return "", s.fail("expected a number%s", s.found())
	}
	start := s.pos
	at := func(set string) bool { return s.pos < len(s.text) && strings.IndexByte(set, s.text[s.pos]) >= 0 }
	digits := func() bool {
		from := s.pos
		for at("0123456789") {
			s.pos++
		}
		return s.pos > from
	}
	if at("-") {
		s.pos++
	}
	leadingZero := at("0")
	whole := s.pos
	if !digits() || leadingZero && s.pos-whole > 1 {
		return "", s.fail("bad number")
	}
	if at(".") {
		if s.pos++; !digits() {
			return "", s.fail("bad number")
		}
	}
	if at("eE") {
		if s.pos++; at("+-") {
			s.pos++
		}
		if !digits() {
			return "", s.fail("bad number")
		}
	}
	return string(s.text[start:s.pos]), nil
}

// count reads a whole number from 0 to the largest int, written without point and exponent.
func (s *scanner) count() (int, error) {
	text, err := s.number()
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n > math.MaxInt {
		return 0, s.fail("%s is not a whole number from 0 to %d", text, math.MaxInt)
	}
	return int(n), nil
}

// literal reads word (true, false, null) if it is next.
func (s *scanner) literal(word string) bool {
	s.peek()
	if !strings.HasPrefix(string(s.text[s.pos:min(s.pos+len(word), len(s.text))]), word) {
		return false
	}
	s.pos += len(word)
	return true
}

// number is a JSON number as it is written.
type number string

// value reads anything: map[string]any, []any, string, number, bool or nil.
func (s *scanner) value() (any, error) {
	switch c := s.peek(); {
	case c == '{':
		m := map[string]any{}
		return m, s.object(func(key string) (err error) {
			m[key], err = s.value()
			return err
		})
	case c == '[':
		list := []any{}
		err := s.array(func() error {
			v, err := s.value()
			list = append(list, v)
			return err
		})
		return list, err
	case c == '"':
		return s.str()
	case c == '-' || c >= '0' && c <= '9':
		n, err := s.number()
		return number(n), err
	case s.literal("true"):
		return true, nil
	case s.literal("false"):
		return false, nil
	case s.literal("null"):
		return nil, nil
	}
	return nil, s.fail("expected a value%s", s.found())
}

// skip reads a value that nobody wants, without keeping it.
func (s *scanner) skip() error {
	switch s.peek() {
	case '{':
		return s.object(func(string) error { return s.skip() })
	case '[':
		return s.array(s.skip)
	}
	_, err := s.value()
	return err
}

// keySet finds keys that come twice. Most objects have a handful of keys and need no map.
type keySet struct {
	few  []string
	many map[string]struct{}
}

// add reports whether key is new.
func (k *keySet) add(key string) bool {
	const fewAtMost = 8
	if k.many == nil {
		for _, have := range k.few {
			if have == key {
				return false
			}
		}
		if k.few = append(k.few, key); len(k.few) > fewAtMost {
			k.many = make(map[string]struct{}, 2*len(k.few))
			for _, have := range k.few {
				k.many[have] = struct{}{}
			}
		}
		return true
	}
	if _, have := k.many[key]; have {
		return false
	}
	k.many[key] = struct{}{}
	return true
}

package weights

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxConfig is the largest config file that is read, in bytes.
const maxConfig = 16 << 20

// ConfigError is a key whose value is absent or cannot be used. It is ErrConfig.
type ConfigError struct {
	File   string
	Key    string // with the objects around it: "text_config.hidden_size"; empty: the file itself
	Reason string
}

func (e *ConfigError) Error() string {
	if e.Key == "" {
		return fmt.Sprintf("%s: %s", e.File, e.Reason)
	}
	return fmt.Sprintf("%s: %s %s", e.File, e.Key, e.Reason)
}

func (e *ConfigError) Unwrap() error { return ErrConfig }

// Config reads the values of a JSON config, key by key, and remembers what was wrong, so that a
// model's config is one list of assignments with one look at [Config.Err] after it:
//
//	c, err := weights.ReadConfig(fsys, "config.json")
//	text := c.Object("text_config")
//	dim := text.Int("hidden_size", 1, 1<<20)
//	eps := text.Float("rms_norm_eps", 0, 1)
//	err = c.Err()
//
// A method gives the zero value after a fault. null counts as absent, as in the configs' reference.
// The methods ending in Or are for keys that the reference has a default for, and no others.
type Config struct {
	file   string
	path   string // "text_config." for an object inside
	fields map[string]any
	absent bool // this object itself is at fault: its keys are no further faults
	faults *[]error
}

// ReadConfig reads a config file. Errors: ErrConfig for text that is not one JSON object,
// fs.ErrNotExist and the like from fsys.
func ReadConfig(fsys fs.FS, file string) (*Config, error) {
	text, err := readSmall(fsys, file, maxConfig)
	if err != nil {
		return nil, err
	}
	return ParseConfig(file, text)
}

// ParseConfig reads a config from memory; file is for errors. Errors: ErrConfig.
func ParseConfig(file string, text []byte) (*Config, error) {
	if !utf8.Valid(text) {
		return nil, &ConfigError{File: file, Reason: "is not UTF-8"}
	}
	s := scanner{text: text}
	value, err := s.value()
	if err == nil {
		err = s.end()
	}
	if err != nil {
		return nil, &ConfigError{File: file, Reason: "bad JSON: " + err.Error()}
	}
	fields, ok := value.(map[string]any)
	if !ok {
		return nil, &ConfigError{File: file, Reason: "is not a JSON object"}
	}
	return &Config{file: file, fields: fields, faults: new([]error)}, nil
}

// Err is all faults so far, in this object and those around and inside it, or nil.
func (c *Config) Err() error { return errors.Join(*c.faults...) }

// Fail notes a fault of the caller's own finding, such as two keys that contradict each other.
func (c *Config) Fail(key, format string, args ...any) {
	if !c.absent {
		*c.faults = append(*c.faults, &ConfigError{File: c.file, Key: c.path + key, Reason: fmt.Sprintf(format, args...)})
	}
}

// Has says whether the key is there and not null.
func (c *Config) Has(key string) bool { return c.fields[key] != nil }

// require gives a key's value, noting a fault where it is absent.
func (c *Config) require(key string) any {
	value := c.fields[key]
	if value == nil {
		c.Fail(key, "is missing")
	}
	return value
}

// Object is a required object inside c. Its faults are c's.
func (c *Config) Object(key string) *Config {
	inner := &Config{file: c.file, path: c.path + key + ".", faults: c.faults, absent: true}
	value := c.require(key)
	fields, ok := value.(map[string]any)
	if ok {
		inner.fields, inner.absent = fields, false
	} else if value != nil {
		c.Fail(key, "is not an object")
	}
	return inner
}

// Int is a required whole number from least to most.
func (c *Config) Int(key string, least, most int) int {
	value := c.require(key)
	if value == nil {
		return 0
	}
	return c.toInt(key, value, least, most)
}

// IntOr is a whole number from least to most, or value where the key is absent.
func (c *Config) IntOr(key string, value, least, most int) int {
	if !c.Has(key) {
		return value
	}
	return c.Int(key, least, most)
}

// Ints is a list of whole numbers from least to most; one number alone is a list of one, as with
// eos_token_id. It is nil where the key is absent.
func (c *Config) Ints(key string, least, most int) []int {
	value := c.fields[key]
	if value == nil {
		return nil
	}
	list, ok := value.([]any)
	if !ok {
		list = []any{value}
	}
	ints := make([]int, len(list))
	for i, v := range list {
		ints[i] = c.toInt(key, v, least, most)
	}
	return ints
}

func (c *Config) toInt(key string, value any, least, most int) int {
	text, ok := value.(number)
	n, err := strconv.Atoi(string(text))
	switch {
	case !ok || err != nil:
		c.Fail(key, "is %s, not a whole number", describe(value))
	case n < least || n > most:
		c.Fail(key, "is %d, not from %d to %d", n, least, most)
	default:
		return n
	}
	return 0
}

// Float is a required number from least to most.
func (c *Config) Float(key string, least, most float64) float64 {
	value := c.require(key)
	if value == nil {
		return 0
	}
	return c.toFloat(key, value, least, most)
}

// FloatOr is a number from least to most, or value where the key is absent.
func (c *Config) FloatOr(key string, value, least, most float64) float64 {
	if !c.Has(key) {
		return value
	}
	return c.Float(key, least, most)
}

// Floats is a required list of numbers from least to most, such as image_mean.
func (c *Config) Floats(key string, least, most float64) []float64 {
	value := c.require(key)
	if value == nil {
		return nil
	}
	list, ok := value.([]any)
	if !ok {
		c.Fail(key, "is %s, not a list", describe(value))
		return nil
	}
	floats := make([]float64, len(list))
	for i, v := range list {
		floats[i] = c.toFloat(key, v, least, most)
	}
	return floats
}

func (c *Config) toFloat(key string, value any, least, most float64) float64 {
	text, ok := value.(number)
	f, err := strconv.ParseFloat(string(text), 64)
	switch {
	case !ok || err != nil || math.IsInf(f, 0) || math.IsNaN(f): // GGUF files can hold either
		c.Fail(key, "is %s, not a number", describe(value))
	case f < least || f > most:
		c.Fail(key, "is %v, not from %v to %v", f, least, most)
	default:
		return f
	}
	return 0
}

// Bool is a required true or false.
func (c *Config) Bool(key string) bool {
	value := c.require(key)
	b, ok := value.(bool)
	if !ok && value != nil {
		c.Fail(key, "is %s, neither true nor false", describe(value))
	}
	return b
}

// BoolOr is true or false, or value where the key is absent.
func (c *Config) BoolOr(key string, value bool) bool {
	if !c.Has(key) {
		return value
	}
	return c.Bool(key)
}

// String is a required string.
func (c *Config) String(key string) string {
	value := c.require(key)
	text, ok := value.(string)
	if !ok && value != nil {
		c.Fail(key, "is %s, not a string", describe(value))
	}
	return text
}

// StringOr is a string, or value where the key is absent.
func (c *Config) StringOr(key, value string) string {
	if !c.Has(key) {
		return value
	}
	return c.String(key)
}

// Enum is a required string that is one of those allowed.
func (c *Config) Enum(key string, allowed ...string) string {
	before := len(*c.faults)
	text := c.String(key)
	if len(*c.faults) > before || c.absent {
		return ""
	}
	if !slices.Contains(allowed, text) {
		c.Fail(key, "is %q, not one of %s", text, strings.Join(allowed, ", "))
		return ""
	}
	return text
}

// EnumOr is one of the strings allowed, or value where the key is absent.
func (c *Config) EnumOr(key, value string, allowed ...string) string {
	if !c.Has(key) {
		return value
	}
	return c.Enum(key, allowed...)
}

// describe shows a value in an error.
func describe(value any) string {
	switch v := value.(type) {
	case map[string]any:
		return "an object"
	case []any:
		return "a list"
	case string:
		const most = 40
		if len(v) > most {
			v = strings.ToValidUTF8(v[:most], "") + "..."
		}
		return strconv.Quote(v)
	}
	return fmt.Sprint(value)
}

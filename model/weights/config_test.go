package weights

import (
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

func config(t *testing.T, text string) *Config {
	c, err := ParseConfig("config.json", []byte(text))
	require.NoError(t, err)
	return c
}

func TestConfigReads(t *testing.T) {
	c := config(t, `{"dim":1152,"eps":1e-6,"theta":500000.0,"act":"silu","tied":true,"nothing":null,
		"eos":[1,2],"bos":7,"mean":[0.5,1,-3.5e-1],"text_config":{"layers":0,"inner":{"x":"y"}}}`)
	require.Equal(t, 1152, c.Int("dim", 1, 1<<20))
	require.Equal(t, 1e-6, c.Float("eps", 0, 1))
	require.Equal(t, 500000.0, c.Float("theta", 1, 1e9))
	require.Equal(t, 1152.0, c.Float("dim", 1, 1e9), "a whole number is a number")
	require.Equal(t, "silu", c.String("act"))
	require.Equal(t, "silu", c.Enum("act", "gelu", "silu"))
	require.True(t, c.Bool("tied"))
	require.Equal(t, []int{1, 2}, c.Ints("eos", 0, 9))
	require.Equal(t, []int{7}, c.Ints("bos", 0, 9))
	require.Nil(t, c.Ints("pad", 0, 9))
	require.Equal(t, []float64{0.5, 1, -0.35}, c.Floats("mean", -1, 1))
	text := c.Object("text_config")
	require.Equal(t, 0, text.Int("layers", 0, 9))
	require.Equal(t, "y", text.Object("inner").String("x"))

	require.False(t, c.Has("nothing"), "null is absent")
	require.False(t, c.Has("no"))
	require.Equal(t, 5, c.IntOr("nothing", 5, 0, 9))
	require.Equal(t, 0.5, c.FloatOr("no", 0.5, 0, 1))
	require.Equal(t, "x", c.StringOr("no", "x"))
	require.Equal(t, "a", c.EnumOr("no", "a", "a", "b"))
	require.True(t, c.BoolOr("no", true))
	require.Equal(t, 1152, c.IntOr("dim", 5, 1, 9999), "what is there goes before the default")
	require.Equal(t, 1e-6, c.FloatOr("eps", 5, 0, 1))
	require.Equal(t, "silu", c.StringOr("act", "x"))
	require.Equal(t, "silu", c.EnumOr("act", "x", "silu"))
	require.True(t, c.BoolOr("tied", false))
	require.NoError(t, c.Err())
}

func TestConfigFaults(t *testing.T) {
	for _, c := range []struct {
		name string
		json string
		read func(*Config)
		want string
	}{
		{"P40: an absent epsilon is no default", `{}`, func(c *Config) { c.Float("rms_norm_eps", 0, 1) }, "rms_norm_eps is missing"},
		{"P40: null is absent", `{"rms_norm_eps":null}`, func(c *Config) { c.Float("rms_norm_eps", 0, 1) }, "rms_norm_eps is missing"},
		{"an absent size", `{"text_config":{}}`, func(c *Config) { c.Object("text_config").Int("hidden_size", 1, 9) }, "text_config.hidden_size is missing"},
		{"an absent string", `{}`, func(c *Config) { c.String("a") }, "a is missing"},
		{"an absent choice", `{}`, func(c *Config) { c.Enum("a", "b") }, "a is missing"},
		{"an absent flag", `{}`, func(c *Config) { c.Bool("a") }, "a is missing"},
		{"an absent list", `{}`, func(c *Config) { c.Floats("a", 0, 1) }, "a is missing"},
		{"an absent object is one fault, its keys are none", `{}`, func(c *Config) {
			o := c.Object("vision_config")
			o.Int("a", 0, 1)
			o.Enum("b", "x")
			o.Object("c").Float("d", 0, 1)
			o.Fail("e", "contradicts a")
		}, "vision_config is missing"},
		{"an object that is a list", `{"a":[]}`, func(c *Config) { c.Object("a").Int("b", 0, 1) }, "a is not an object"},
		{"too small", `{"a":0}`, func(c *Config) { c.Int("a", 1, 9) }, "a is 0, not from 1 to 9"},
		{"too large", `{"a":10}`, func(c *Config) { c.Int("a", 1, 9) }, "a is 10, not from 1 to 9"},
		{"negative", `{"a":-5}`, func(c *Config) { c.Int("a", 1, 9) }, "a is -5, not from 1 to 9"},
		{"beyond 64 bits", `{"a":99999999999999999999}`, func(c *Config) { c.Int("a", 1, 9) }, "a is 99999999999999999999, not a whole number"},
		{"a fraction", `{"a":1.5}`, func(c *Config) { c.Int("a", 1, 9) }, "a is 1.5, not a whole number"},
		{"a number in quotes", `{"a":"8"}`, func(c *Config) { c.Int("a", 1, 9) }, `a is "8", not a whole number`},
		{"a flag for a number", `{"a":true}`, func(c *Config) { c.Int("a", 1, 9) }, "a is true, not a whole number"},
		{"a bad default is not taken", `{"a":"x"}`, func(c *Config) { c.IntOr("a", 5, 1, 9) }, `a is "x", not a whole number`},
		{"one of a list", `{"a":[1,"x"]}`, func(c *Config) { c.Ints("a", 1, 9) }, `a is "x", not a whole number`},
		{"beyond float64", `{"a":1e999}`, func(c *Config) { c.Float("a", 0, 1) }, "a is 1e999, not a number"},
		{"a number out of range", `{"a":2}`, func(c *Config) { c.Float("a", 0, 1) }, "a is 2, not from 0 to 1"},
		{"a list for a number", `{"a":[1]}`, func(c *Config) { c.Float("a", 0, 1) }, "a is a list, not a number"},
		{"a number for a list", `{"a":1}`, func(c *Config) { c.Floats("a", 0, 1) }, "a is 1, not a list"},
		{"a number for a flag", `{"a":1}`, func(c *Config) { c.Bool("a") }, "a is 1, neither true nor false"},
		{"a flag for a string", `{"a":false}`, func(c *Config) { c.String("a") }, "a is false, not a string"},
		{"an unknown choice", `{"hidden_act":"relu"}`, func(c *Config) { c.Enum("hidden_act", "silu", "gelu") }, `hidden_act is "relu", not one of silu, gelu`},
		{"a choice that is an object", `{"a":{}}`, func(c *Config) { c.Enum("a", "b") }, "a is an object, not a string"},
		{"a long value is cut", `{"a":"` + strings.Repeat("é", 99) + `"}`, func(c *Config) { c.Int("a", 0, 1) }, `a is "` + strings.Repeat("é", 20) + `...", not a whole number`},
		{"the caller's own", `{"a":{}}`, func(c *Config) { c.Object("a").Fail("b", "is %d, which contradicts c", 3) }, "a.b is 3, which contradicts c"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conf := config(t, c.json)
			c.read(conf)
			err := conf.Err()
			require.ErrorIs(t, err, ErrConfig)
			require.EqualError(t, err, "config.json: "+c.want)
			var fault *ConfigError
			require.ErrorAs(t, err, &fault)
			require.True(t, strings.HasPrefix(c.want, fault.Key+" "))
		})
	}
	t.Run("all faults at once, wherever they are", func(t *testing.T) {
		c := config(t, `{"text_config":{"a":"x"}}`)
		text := c.Object("text_config")
		text.Int("a", 0, 1)
		c.Float("b", 0, 1)
		require.EqualError(t, text.Err(), "config.json: text_config.a is \"x\", not a whole number\nconfig.json: b is missing")
	})
}

func TestConfigFiles(t *testing.T) {
	for _, c := range []struct{ name, json, want string }{
		{"empty", "", "bad JSON: byte 0: expected a value, the text ends here"},
		{"cut", `{"a":1`, "bad JSON: byte 6: expected a comma or '}', the text ends here"},
		{"a list", `[]`, "is not a JSON object"},
		{"a key twice", `{"a":1,"a":2}`, `bad JSON: byte 10: key "a" comes twice`},
		{"NaN is not JSON", `{"a":NaN}`, "bad JSON: byte 5: expected a value, found 'N'"},
		{"two values", `{}{}`, "bad JSON: byte 2: text after the end of the JSON value"},
		{"not UTF-8", "{\"\xff\":1}", "is not UTF-8"},
		{"nested too deep", strings.Repeat(`{"a":`, 100), "bad JSON: byte 321: nested more than 64 deep"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ReadConfig(fstest.MapFS{"config.json": text(c.json)}, "config.json")
			require.ErrorIs(t, err, ErrConfig)
			require.EqualError(t, err, "config.json: "+c.want)
		})
	}
	_, err := ReadConfig(fstest.MapFS{}, "config.json")
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = ReadConfig(fstest.MapFS{"config.json": {Data: make([]byte, maxConfig+1)}}, "config.json")
	require.ErrorIs(t, err, ErrFormat)
	for _, file := range []string{"config.json", "preprocessor_config.json", "generation_config.json"} {
		_, err := ReadConfig(os.DirFS(testdata+"/demo"), file)
		require.NoError(t, err)
	}
}

// Package golden reads reference cases made by other software (testdata/golden/models), compares
// results with them, and makes changed and small random models for tests.
package golden

import (
	"encoding/binary"
	"encoding/json"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/model/weights"
)

// Case is one folder: a model as a user has it, inputs, and expected values.
type Case struct {
	Name string
	FS   fs.FS

	t                *testing.T
	inputs, expected *weights.Safetensors
	worst            struct { // over all calls of Near
		name string
		nmse float64
		max  float64
	}
}

// Prompt is one text of a case. IDs holds one image id per picture, Images the picture of each.
type Prompt struct {
	Name   string  `json:"name"`
	IDs    []int32 `json:"ids"`
	Images []int   `json:"images"`
	Greedy []int32 `json:"greedy"` // the ids that follow
}

// Root is the folder of the repository's test data.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..", "testdata")
}

// Open opens a case of testdata/golden/models by its folder's name. When the test ends it logs the
// largest error that Near saw.
func Open(t *testing.T, name string) *Case {
	t.Helper()
	c := &Case{Name: name, FS: os.DirFS(filepath.Join(Root(), "golden", "models", name)), t: t}
	c.expected = c.open("expected.safetensors")
	if _, err := fs.Stat(c.FS, "inputs.safetensors"); err == nil {
		c.inputs = c.open("inputs.safetensors")
	}
	t.Cleanup(func() {
		if c.worst.name != "" {
			t.Logf("%s: largest normalised squared error %.1e (%s), largest error %.1e", name, c.worst.nmse, c.worst.name, c.worst.max)
		}
	})
	return c
}

func (c *Case) open(file string) *weights.Safetensors {
	c.t.Helper()
	s, err := weights.OpenSafetensorsFile(c.FS, file)
	require.NoError(c.t, err)
	c.t.Cleanup(func() { require.NoError(c.t, s.Close()) })
	return s
}

// Input is a tensor of inputs.safetensors; Want one of expected.safetensors.
func (c *Case) Input(name string) (data []float32, shape []int) { return c.read(c.inputs, name) }
func (c *Case) Want(name string) (data []float32, shape []int)  { return c.read(c.expected, name) }

// InputBytes is an input as it is stored, such as a mask of bytes; WantBytes an expected tensor, such
// as whole numbers.
func (c *Case) InputBytes(name string) []byte { return c.bytes(c.inputs, name) }
func (c *Case) WantBytes(name string) []byte  { return c.bytes(c.expected, name) }

// InputInts are the whole numbers of an I64 input.
func (c *Case) InputInts(name string) []int32 {
	c.t.Helper()
	data := c.bytes(c.inputs, name)
	list := make([]int32, len(data)/8)
	for i := range list {
		list[i] = int32(binary.LittleEndian.Uint64(data[8*i:]))
	}
	return list
}

func (c *Case) bytes(s *weights.Safetensors, name string) []byte {
	c.t.Helper()
	info, err := s.Tensor(name)
	require.NoError(c.t, err)
	rows, err := s.Rows(name)
	require.NoError(c.t, err)
	data := make([]byte, info.Bytes)
	n, err := rows.Next(data)
	require.NoError(c.t, err)
	require.Equal(c.t, info.Rows(), n)
	return data
}

// Has says whether expected values of that name exist.
func (c *Case) Has(name string) bool { return c.expected.Has(name) }

func (c *Case) read(s *weights.Safetensors, name string) ([]float32, []int) {
	c.t.Helper()
	info, err := s.Tensor(name)
	require.NoError(c.t, err)
	data, err := weights.ReadFloat32(s, name)
	require.NoError(c.t, err)
	return data, info.Shape
}

// Prompts are the texts with the ids that greedy decoding gives.
func (c *Case) Prompts() []Prompt {
	c.t.Helper()
	var file struct{ Prompts []Prompt }
	c.JSON("expected.json", &file)
	require.NotEmpty(c.t, file.Prompts)
	return file.Prompts
}

// JSON decodes a file of the case.
func (c *Case) JSON(file string, into any) {
	c.t.Helper()
	data, err := fs.ReadFile(c.FS, file)
	require.NoError(c.t, err)
	require.NoError(c.t, json.Unmarshal(data, into), file)
}

// NMSE is the normalised squared error sum((a-b)^2) / sum(b^2) against want b; NaN anywhere gives NaN.
func NMSE(got, want []float32) float64 {
	var errors, norm float64
	for i, w := range want {
		d := float64(got[i]) - float64(w)
		errors += d * d
		norm += float64(w) * float64(w)
	}
	return errors / math.Max(norm, math.SmallestNonzeroFloat64)
}

// Near requires got to equal expected values name within bound (NMSE).
func (c *Case) Near(t *testing.T, name string, got []float32, bound float64) {
	t.Helper()
	want, _ := c.Want(name)
	require.Len(t, got, len(want), name)
	nmse := NMSE(got, want)
	if c.worst.name == "" || !(nmse <= c.worst.nmse) {
		c.worst.name, c.worst.nmse = name, nmse
	}
	for i, w := range want {
		c.worst.max = max(c.worst.max, math.Abs(float64(got[i])-float64(w)))
	}
	require.LessOrEqual(t, nmse, bound, "%s/%s: normalised squared error", c.Name, name) // false for NaN
}

// Norm is the Euclidean norm.
func Norm(x []float32) float64 {
	var sum float64
	for _, v := range x {
		sum += float64(v) * float64(v)
	}
	return math.Sqrt(sum)
}

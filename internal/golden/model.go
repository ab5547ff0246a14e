package golden

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/model/weights"
)

// Model is a model folder in memory, to be changed before it is opened: a config and tensors.
type Model struct {
	Config  map[string]any
	Tensors map[string]weights.Tensor
}

// NewModel begins a model with a config and no tensors.
func NewModel(t testing.TB, config string) *Model {
	t.Helper()
	m := &Model{Tensors: map[string]weights.Tensor{}}
	require.NoError(t, json.Unmarshal([]byte(config), &m.Config))
	return m
}

// Model reads the case's model into memory.
func (c *Case) Model() *Model {
	c.t.Helper()
	text, err := fs.ReadFile(c.FS, "config.json")
	require.NoError(c.t, err)
	m := NewModel(c.t, string(text))
	cp, err := weights.Open(c.FS)
	require.NoError(c.t, err)
	defer cp.Close()
	for _, name := range cp.Names() {
		info, err := cp.Tensor(name)
		require.NoError(c.t, err)
		rows, err := cp.Rows(name)
		require.NoError(c.t, err)
		data := make([]byte, info.Bytes)
		n, err := rows.Next(data)
		require.NoError(c.t, err)
		require.Equal(c.t, info.Rows(), n)
		m.Tensors[name] = weights.Tensor{Name: name, DType: info.DType, Shape: info.Shape, Data: data}
	}
	return m
}

// Set changes a key of the config; path leads through objects. A nil value removes it.
func (m *Model) Set(value any, path ...string) *Model {
	object := m.Config
	for _, key := range path[:len(path)-1] {
		object = object[key].(map[string]any)
	}
	key := path[len(path)-1]
	object[key] = value
	if value == nil {
		delete(object, key)
	}
	return m
}

// Put adds a tensor, or replaces it.
func (m *Model) Put(t testing.TB, name string, d weights.DType, values []float32, shape ...int) *Model {
	t.Helper()
	data := make([]byte, len(values)*d.Bits()/8)
	require.NoError(t, weights.FromFloat32(data, values, d))
	m.Tensors[name] = weights.Tensor{Name: name, DType: d, Shape: shape, Data: data}
	return m
}

// Random adds float32 tensors of uniform values around offset, as wide as scale. The values depend
// on the name and the shape.
func (m *Model) Random(t testing.TB, offset, scale float32, name string, shape ...int) *Model {
	t.Helper()
	n, seed := 1, uint64(0)
	for _, d := range shape {
		n *= d
	}
	for _, c := range []byte(name) {
		seed = seed*31 + uint64(c)
	}
	return m.Put(t, name, weights.F32, Uniform(seed, n, offset, scale), shape...)
}

// Uniform gives n values in offset ± scale/2 that depend on the seed.
func Uniform(seed uint64, n int, offset, scale float32) []float32 {
	source := rand.New(rand.NewPCG(seed, 1))
	values := make([]float32, n)
	for i := range values {
		values[i] = offset + scale*(source.Float32()-0.5)
	}
	return values
}

// Convert stores a tensor of floating-point values in another type.
func (m *Model) Convert(t testing.TB, name string, d weights.DType) *Model {
	t.Helper()
	return m.Put(t, name, d, m.Values(t, name), m.Tensors[name].Shape...)
}

// Values are a tensor's values, widened.
func (m *Model) Values(t testing.TB, name string) []float32 {
	t.Helper()
	have, ok := m.Tensors[name]
	require.True(t, ok, name)
	values := make([]float32, len(have.Data)*8/have.DType.Bits())
	require.NoError(t, weights.ToFloat32(values, have.Data, have.DType))
	return values
}

// Rename gives a tensor another name.
func (m *Model) Rename(t testing.TB, old, new string) *Model {
	t.Helper()
	tensor, ok := m.Tensors[old]
	require.True(t, ok, old)
	delete(m.Tensors, old)
	tensor.Name = new
	m.Tensors[new] = tensor
	return m
}

// Remove removes tensors, each of which must be there.
func (m *Model) Remove(t testing.TB, names ...string) *Model {
	t.Helper()
	for _, name := range names {
		require.Contains(t, m.Tensors, name)
		delete(m.Tensors, name)
	}
	return m
}

// FS writes config.json and model.safetensors.
func (m *Model) FS(t testing.TB) fstest.MapFS {
	t.Helper()
	config, err := json.Marshal(m.Config)
	require.NoError(t, err)
	var file bytes.Buffer
	require.NoError(t, weights.Write(&file, slices.Collect(maps.Values(m.Tensors)), nil))
	return fstest.MapFS{"config.json": {Data: config}, "model.safetensors": {Data: file.Bytes()}}
}

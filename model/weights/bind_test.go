package weights

import (
	"errors"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// toy is a checkpoint of float32 zeros in one shard per argument.
func toy(t *testing.T, shards ...map[string][]int) Checkpoint {
	files := fstest.MapFS{}
	index := "{\"weight_map\":{"
	for i, shapes := range shards {
		var tensors []Tensor
		file := string(rune('1'+i)) + ".safetensors"
		for name, shape := range shapes {
			size, ok := F32.Bytes(shape...)
			require.True(t, ok)
			tensors = append(tensors, Tensor{name, F32, shape, make([]byte, size)})
			if len(index) > len("{\"weight_map\":{") {
				index += ","
			}
			index += string(appendString(nil, name)) + ":\"" + file + "\""
		}
		files[file] = &fstest.MapFile{Data: written(tensors)}
	}
	files[indexFile] = text(index + "}}")
	cp, err := Open(files)
	require.NoError(t, err)
	return cp
}

func TestMissingTensors(t *testing.T) { // P30
	cp := toy(t, map[string][]int{"projector.0.weight": {4, 3}, "projector.0.bias": {4}, "projector.2.weight": {5, 4}})
	b := NewBinder(cp, "projector")
	b.Expect("0.weight", 4, 3)
	b.Expect("0.bias", 4)
	second := b.Sub("2").Expect("weight", 5, 4)
	b.Sub("2").Expect("bias", 5)
	report, err := b.Check()
	require.ErrorIs(t, err, ErrMissingTensor)
	require.EqualError(t, err, "1.safetensors: missing tensor projector.2.bias", "P30: second bias removed")
	require.NotNil(t, report)
	require.Empty(t, report.Unexpected)
	require.False(t, second.Present(), "nothing is bound after a fault")

	b.Expect("4.weight", 1)
	b.Declare(Need{Names: []string{"4.bias", "4.offset"}, Shape: []int{1}})
	b.Optional("4.scale", 1)
	_, err = b.Check()
	var fault *CheckError
	require.ErrorAs(t, err, &fault)
	require.Equal(t, []string{"projector.2.bias", "projector.4.weight", "projector.4.bias or projector.4.offset"}, fault.Missing, "P30: all names are listed")
	require.False(t, errors.Is(err, ErrShape) || errors.Is(err, ErrUnsupportedDType) || errors.Is(err, ErrUnexpectedTensor))
}

func TestWidthsDiffer(t *testing.T) { // P29
	cp := toy(t,
		map[string][]int{"projector.in_proj.weight": {1152, 8}, "projector.in_proj.bias": {1152}},
		map[string][]int{"projector.out_proj.weight": {16, 1152}, "transposed": {2, 3}, "scalar": {}, "flat": {6}})
	b := NewBinder(cp)
	b.Expect("projector.in_proj.weight", 1152, 10)
	b.Expect("projector.in_proj.bias", 1152)
	b.Expect("projector.out_proj.weight", 12, 1152)
	b.Expect("transposed", 3, 2)
	b.Expect("scalar", 1)
	b.Expect("flat", 2, 3)
	_, err := b.Check()
	require.ErrorIs(t, err, ErrShape)
	require.NotErrorIs(t, err, ErrMissingTensor)
	require.EqualError(t, err, "1.safetensors, 2.safetensors: wrong shape: "+
		"projector.in_proj.weight in 1.safetensors is [1152 8], the config makes it [1152 10], "+
		"projector.out_proj.weight in 2.safetensors is [16 1152], the config makes it [12 1152], "+
		"transposed in 2.safetensors is [2 3], the config makes it [3 2], "+
		"scalar in 2.safetensors is [], the config makes it [1], "+
		"flat in 2.safetensors is [6], the config makes it [2 3]")
}

func TestUnknownNames(t *testing.T) { // P26
	cp := toy(t, map[string][]int{
		"vision_model.post_layernorm.weight":           {2},
		"vision_model.embeddings.position_ids":         {1, 4},
		"model.layers.0.self_attn.rotary_emb.inv_freq": {2},
		"vision_model.head.probe":                      {1, 1, 2},
		"surprise":                                     {1},
		"another.surprise":                             {1},
	})
	b := NewBinder(cp)
	tower := b.Sub("vision_model")
	tower.Expect("post_layernorm.weight", 2)
	tower.Ignore("embeddings.position_ids")
	b.Ignore("*.rotary_emb.inv_freq")
	require.True(t, tower.Has("head.probe"))
	require.False(t, tower.Has("head.layernorm.weight"))

	report, err := b.Check()
	require.NoError(t, err, "P26: the head is not demanded, leftovers and unknown names are no fault")
	require.Equal(t, []string{"another.surprise", "surprise", "vision_model.head.probe"}, report.Unexpected)
	err = report.RefuseUnexpected()
	require.ErrorIs(t, err, ErrUnexpectedTensor)
	require.EqualError(t, err, "1.safetensors: unexpected tensors another.surprise, surprise, vision_model.head.probe")

	b.Ignore("*surprise")
	tower.Expect("head.probe", 1, 1, 2)
	tower.Expect("head.layernorm.weight", 2)
	report, err = b.Check()
	require.ErrorIs(t, err, ErrMissingTensor, "P26: half a head is a fault of the file")
	require.Empty(t, report.Unexpected)
	require.NoError(t, report.RefuseUnexpected())
}

func TestAlternateNames(t *testing.T) {
	old := toy(t, map[string][]int{"vision_tower.vision_model.norm": {1}, "language_model.lm_head.weight": {1}})
	new := toy(t, map[string][]int{"model.vision_tower.norm": {1}, "lm_head.weight": {1}})
	both := toy(t, map[string][]int{"vision_tower.vision_model.norm": {1}, "model.vision_tower.norm": {2}, "lm_head.weight": {1}})
	bind := func(cp Checkpoint) (*Slot, *Slot, *Report, error) {
		b := NewBinder(cp)
		norm := b.Sub("vision_tower.vision_model", "model.vision_tower").Expect("norm", 1)
		head := b.Sub("language_model", "").Expect("lm_head.weight", 1)
		report, err := b.Check()
		return norm, head, report, err
	}
	norm, head, _, err := bind(old)
	require.NoError(t, err)
	require.Equal(t, []string{"vision_tower.vision_model.norm", "language_model.lm_head.weight"}, []string{norm.Name, head.Name})

	norm, head, _, err = bind(new)
	require.NoError(t, err)
	require.Equal(t, []string{"model.vision_tower.norm", "lm_head.weight"}, []string{norm.Name, head.Name})

	norm, _, report, err := bind(both)
	require.NoError(t, err)
	require.Equal(t, "vision_tower.vision_model.norm", norm.Name, "the first name wins")
	require.Equal(t, []string{"model.vision_tower.norm"}, report.Unexpected, "and the other is reported")

	_, _, _, err = bind(toy(t, map[string][]int{"x": {1}}))
	require.EqualError(t, err, "1.safetensors: missing tensors "+
		"vision_tower.vision_model.norm or model.vision_tower.norm, language_model.lm_head.weight or lm_head.weight")
}

func TestSlots(t *testing.T) {
	cp := toy(t, map[string][]int{"a": {2, 3}, "b": {3}})
	b := NewBinder(cp)
	a, again, absent := b.Expect("a", 2, 3), b.Expect("a", 2, 3), b.Optional("c", 9)
	vector := b.Optional("b", 3)
	_, err := a.Read()
	require.ErrorIs(t, err, ErrNotBound)
	report, err := b.Check()
	require.NoError(t, err)
	require.Len(t, report.Found, 4)
	require.Equal(t, report.Found[0], a.Info)
	require.Equal(t, a.Info, again.Info, "a tensor may be asked for twice, as a tied table is")
	require.False(t, absent.Present())
	_, err = absent.Read()
	require.ErrorIs(t, err, ErrNotBound)
	_, err = absent.Float32()
	require.ErrorIs(t, err, ErrNotBound)
	rows, err := a.Read()
	require.NoError(t, err)
	require.Equal(t, 12, rows.RowBytes())
	values, err := vector.Float32()
	require.NoError(t, err)
	require.Equal(t, make([]float32, 3), values)

	b.Optional("b", 4)
	_, err = b.Check()
	require.ErrorIs(t, err, ErrShape, "an optional tensor that is there must fit")
}

func TestTypesOfNeeds(t *testing.T) {
	cp, err := one(raw(`{"f":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"i":{"dtype":"I32","shape":[1],"data_offsets":[4,8]}}`, make([]byte, 8)...))
	require.NoError(t, err)
	_, err = Check(cp, []Need{{Names: []string{"i"}, Shape: []int{1}, DTypes: []DType{I32, I64}}}, []string{"f"})
	require.NoError(t, err)
	_, err = Check(cp, []Need{{Names: []string{"f"}, Shape: []int{1}, DTypes: []DType{I32, I64}}, {Names: []string{"i"}, Shape: []int{1}}}, nil)
	require.ErrorIs(t, err, ErrUnsupportedDType)
	require.EqualError(t, err, "m.safetensors: unsupported type: f in m.safetensors is F32, i in m.safetensors is I32")
}

func TestPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"a.b", "a.b", true},
		{"a.b", "a.bc", false},
		{"a.b", "xa.b", false},
		{"*", "", true},
		{"*", "a/b", true},
		{"a*", "a", true},
		{"a*", "ba", false},
		{"*a", "ba", true},
		{"*a", "ab", false},
		{"a*a", "a", false},
		{"a*a", "aa", true},
		{"layers.*.inv_freq", "layers.10.attn.inv_freq", true},
		{"layers.*.attn.*.x", "layers.1.attn.x", false},
		{"*a*b*", "xaxbx", true},
		{"*a*b*", "xbxax", false},
		{"", "a", false},
	} {
		require.Equal(t, c.want, matches(c.pattern, c.name), "%q %q", c.pattern, c.name)
	}
}

func TestErrorTexts(t *testing.T) {
	cp := toy(t, map[string][]int{"a": {1}}, map[string][]int{"b": {1}}, map[string][]int{"c\n\x1b": {1}}, map[string][]int{"d": {1}})
	_, err := cp.Tensor("x")
	require.EqualError(t, err, "1.safetensors, 2.safetensors, ... 4.safetensors: missing tensor: x", "many shards are not listed")
	report, err := Check(cp, nil, []string{"a", "b", "d"})
	require.NoError(t, err)
	require.EqualError(t, report.RefuseUnexpected(), `1.safetensors, 2.safetensors, ... 4.safetensors: unexpected tensor c\n\x1b`,
		"a name from a file does not reach the terminal as it is")

	ints, err := one(raw(`{"i":{"dtype":"I32","shape":[1],"data_offsets":[0,4]}}`, 0, 0, 0, 0))
	require.NoError(t, err)
	_, err = ReadFloat32(ints, "i")
	require.EqualError(t, err, `m.safetensors: tensor "i": type I32 cannot be used here`)
	require.EqualError(t, ToFloat32(nil, nil, I32), "no conversion for values of type I32")
}

// Two parts of a model may take rows of one tensor: its faults are reported once, and both are bound.
func TestTensorThatTwoPartsTake(t *testing.T) {
	b := NewBinder(toy(t, map[string][]int{"in_proj_weight": {9, 4}}))
	for range 2 {
		b.Expect("in_proj_weight", 6, 4)
		b.Expect("in_proj_bias", 6)
	}
	_, err := b.Check()
	var fault *CheckError
	require.ErrorAs(t, err, &fault)
	require.Equal(t, []string{"in_proj_bias"}, fault.Missing)
	require.Len(t, fault.Shapes, 1)

	b = NewBinder(toy(t, map[string][]int{"in_proj_weight": {9, 4}}))
	first, second := b.Expect("in_proj_weight", 9, 4), b.Expect("in_proj_weight", 9, 4)
	_, err = b.Check()
	require.NoError(t, err)
	require.True(t, first.Present() && second.Present())
}

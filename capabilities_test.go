package llama3v

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/binding"
	"github.com/llama3v/llama3v/model/ops"
)

// TestProductsThatTheBackendLacks: P28: what a backend cannot multiply in is known before a weight is
// read: refused where it was asked for by name, passed over where the choice was left open.
func TestProductsThatTheBackendLacks(t *testing.T) {
	const f32 = binding.TypeSet(1 << ops.F32)
	for _, tc := range []struct {
		name        string
		activations Activations
		computes    binding.TypeSet
		weights     []ops.DType
		want        ops.DType
		refused     string
	}{
		{"float32 is everywhere", F32, f32, []ops.DType{ops.BF16, ops.Q4_0}, ops.F32, ""},
		{"no bf16 products", BF16, f32, []ops.DType{ops.BF16}, 0, "no bf16 products"},
		{"bf16 products", BF16, f32 | 1<<ops.BF16, []ops.DType{ops.BF16}, ops.BF16, ""},
		{"no int8 products", Int8, f32, []ops.DType{ops.Q4_0}, 0, "no int8 products"},
		{"int8 products", Int8, f32 | 1<<ops.I8, []ops.DType{ops.Q4_0, ops.F32}, ops.I8, ""},
		{"no int8 products, and none asked for", Auto, f32, []ops.DType{ops.Q4_0}, ops.F32, ""},
		{"int8 products where they help", Auto, f32 | 1<<ops.I8, []ops.DType{ops.Q4_0}, ops.I8, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := &Model{config: &config{activations: tc.activations}, backend: Backend{Name: "some"},
				device: ops.NewDevice(nil, binding.Capabilities{ComputeTypes: tc.computes})}
			got, err := m.compute(tc.weights)
			if tc.refused != "" {
				require.ErrorIs(t, err, ErrUnsupported)
				require.ErrorContains(t, err, tc.refused)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.want, got)
		})
	}
}

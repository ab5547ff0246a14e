package selftest_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/binding"
	"github.com/llama3v/llama3v/internal/testdevice"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/ops/selftest"
)

func TestRun(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, d *ops.Device) {
		before, err := d.Counters()
		require.NoError(t, err)
		results := selftest.Run(d)
		require.Greater(t, len(results), 20)
		names := map[string]bool{}
		for _, r := range results {
			require.NoError(t, r.Err, r.Op)
			require.True(t, r.OK(), "%s: %g above %g", r.Op, r.NMSE, r.Bound)
			require.False(t, names[r.Op], "%s twice", r.Op)
			names[r.Op] = true
		}
		const firstOp, structs = 8, 26 // L3V_STRUCT_LINEAR and L3V_STRUCT_COUNT: the ops' params come last
		for id := int32(firstOp); id <= structs; id++ {
			op := binding.DeviceStatus{Op: id}.OpName()
			require.True(t, slices.ContainsFunc(results, func(r selftest.Result) bool {
				return r.Op == op || strings.HasPrefix(r.Op, op+" ")
			}), "%s is not tested", op)
		}
		require.Equal(t, "op 27", binding.DeviceStatus{Op: structs + 1}.OpName(), "an op after the last")
		after, err := d.Counters()
		require.NoError(t, err)
		require.Equal(t, before.Objects, after.Objects, "all freed")
	})
}

// TestRunFails: a device that cannot do an op is an error of that op, not a panic or a pass.
func TestRunFails(t *testing.T) {
	d := testdevice.CPU(t, binding.ContextOptions{Threads: 1, MemoryLimit: 1 << 12})
	failed, passed := 0, 0
	for _, r := range selftest.Run(d) {
		if r.OK() {
			passed++
			continue
		}
		require.ErrorIs(t, r.Err, binding.ErrOutOfMemory, r.Op)
		failed++
	}
	require.Positive(t, failed)
	require.Positive(t, passed, "small ops fit")

	require.NoError(t, d.Close())
	for _, r := range selftest.Run(d) {
		require.ErrorIs(t, r.Err, binding.ErrClosed, r.Op)
	}
	require.False(t, selftest.Result{Err: errors.New("any")}.OK())
	require.False(t, selftest.Result{NMSE: 1, Bound: 1e-3}.OK())
}

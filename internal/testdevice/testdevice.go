// Package testdevice opens the backends that a machine has, for tests.
package testdevice

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/binding"
	"github.com/llama3v/llama3v/internal/need"
	"github.com/llama3v/llama3v/model/ops"
)

// Each runs f on device 0 of every backend whose library is found, as a subtest of the backend's
// name. A backend that L3V_REQUIRE names and that is not there is a failure; with no backend at
// all the test is skipped.
func Each(t *testing.T, f func(t *testing.T, dev *ops.Device)) {
	t.Helper()
	each(t, binding.ContextOptions{}, f)
}

func each(t *testing.T, o binding.ContextOptions, f func(t *testing.T, dev *ops.Device)) {
	t.Helper()
	var missing []string
	for _, name := range binding.Backends {
		library, _, err := binding.Find(name, "")
		if err != nil {
			require.False(t, need.Required(name), "L3V_REQUIRE demands %s: %v", name, err)
			missing = append(missing, err.Error())
			continue
		}
		t.Run(name, func(t *testing.T) { f(t, open(t, library, o)) })
	}
	if len(missing) == len(binding.Backends) {
		need.Missing(t, "cpu", strings.Join(missing, "; "))
	}
}

// EachInvariant is Each in batch-invariant contexts, for what holds in them alone.
func EachInvariant(t *testing.T, f func(t *testing.T, dev *ops.Device)) {
	t.Helper()
	each(t, binding.ContextOptions{BatchInvariant: true}, f)
}

// CPU opens the CPU backend with options, for what does not depend on the backend.
func CPU(t testing.TB, o binding.ContextOptions) *ops.Device {
	t.Helper()
	library, _, err := binding.Find("cpu", "")
	if err != nil {
		need.Missing(t, "cpu", err.Error())
	}
	return open(t, library, o)
}

// open makes a device that the test's end closes.
func open(t testing.TB, library *binding.Library, o binding.ContextOptions) *ops.Device {
	t.Helper()
	c, err := library.NewContext(o)
	require.NoError(t, err)
	dev := ops.NewDevice(c, library.Capabilities())
	t.Cleanup(func() {
		if err := dev.Close(); !errors.Is(err, binding.ErrClosed) {
			require.NoError(t, err)
		}
	})
	return dev
}

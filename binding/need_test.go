package binding

import (
	"os/exec"
	"testing"

	"github.com/llama3v/llama3v/internal/need"
)

func needCC(t testing.TB) string {
	t.Helper()
	cc, err := exec.LookPath("cc")
	if err != nil {
		need.Missing(t, "cc", "the fake library needs a C compiler named cc")
	}
	return cc
}

// realCPU is the CPU backend that Find finds.
func realCPU(t testing.TB) *Library {
	t.Helper()
	l, _, err := Find("cpu", "")
	if err != nil {
		need.Missing(t, "cpu", err.Error())
	}
	return l
}

package binding

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// need skips the test for want of something, or fails it where L3V_REQUIRE names that.
func need(t testing.TB, what, why string) {
	t.Helper()
	if slices.Contains(strings.Split(os.Getenv("L3V_REQUIRE"), ","), what) {
		t.Fatalf("%s, and L3V_REQUIRE names %s", why, what)
	}
	t.Skipf("%s (L3V_REQUIRE=%s makes this a failure)", why, what)
}

func needCC(t testing.TB) string {
	t.Helper()
	cc, err := exec.LookPath("cc")
	if err != nil {
		need(t, "cc", "the fake library needs a C compiler named cc")
	}
	return cc
}

// realCPU is the CPU backend that Find finds.
func realCPU(t testing.TB) *Library {
	t.Helper()
	l, _, err := Find("cpu", "")
	if err != nil {
		need(t, "cpu", err.Error())
	}
	return l
}

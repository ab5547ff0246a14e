// Package need lets a test say what it cannot run without.
package need

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// Missing skips the test for want of what, and says how to get it. When the environment variable
// L3V_REQUIRE (a comma list such as "cpu,cc,llama3-vocab") names what, the test fails instead: a
// machine that is meant to have everything must not skip.
func Missing(t testing.TB, what, how string) {
	t.Helper()
	if slices.Contains(strings.Split(os.Getenv("L3V_REQUIRE"), ","), what) {
		t.Fatalf("needs %s, which L3V_REQUIRE demands: %s", what, how)
	}
	t.Skipf("needs %s: %s", what, how)
}

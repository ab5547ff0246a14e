// Package need lets a test say what it cannot run without.
package need

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// Required says whether the environment variable L3V_REQUIRE (a comma list such as
// "cpu,cc,llama3-vocab") names what: a machine that is meant to have everything must not skip.
func Required(what string) bool {
	return slices.Contains(strings.Split(os.Getenv("L3V_REQUIRE"), ","), what)
}

// Missing skips the test for want of what, and says how to get it. Where what is [Required] the
// test fails instead.
func Missing(t testing.TB, what, how string) {
	t.Helper()
	if Required(what) {
		t.Fatalf("needs %s, which L3V_REQUIRE demands: %s", what, how)
	}
	t.Skipf("needs %s: %s", what, how)
}

// Package emutest runs the emulator's own tests (csrc/emu/testing): each instruction of ptx.cuh and
// hopper.cuh against its table in the PTX ISA, whole products that are right, which it must not
// complain of, and kernels with one fault each, which it must report.
package emutest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/internal/need"
)

// The program that CMake's target emutest builds beside the emulated library.
func program(t *testing.T) string {
	path := filepath.Join(os.Getenv("LLAMA3V_LIB_DIR"), "emutest")
	if _, err := os.Stat(path); err != nil {
		need.Missing(t, "emulator", "cmake -S . -B build/emu -DL3V_EMULATE=ON && cmake --build build/emu --target emutest, "+
			"then LLAMA3V_LIB_DIR=build/emu/lib")
	}
	return path
}

func TestEmulator(t *testing.T) {
	path := program(t)
	list, err := exec.Command(path, "list").Output()
	require.NoError(t, err)
	right, wrong := 20, 5 // seeds, each in both orders that are drawn: of kernels without a fault, and of others
	if testing.Short() {
		right, wrong = 3, 2
	}
	lines := strings.Split(strings.TrimSpace(string(list)), "\n")
	require.Greater(t, len(lines), 100)
	for _, line := range lines {
		name, report, _ := strings.Cut(line, "\t")
		t.Run(name, func(t *testing.T) {
			seeds := right
			if report != "" {
				seeds = wrong
			}
			out, err := exec.Command(path, "run", name, strconv.Itoa(seeds)).CombinedOutput()
			require.NoError(t, err, "%s", out)
			require.Equal(t, "ok\n", string(out))
		})
	}
}

// Package emutest runs the emulator's own tests (csrc/emu/testing): each instruction of ptx.cuh and
// hopper.cuh against its table in the PTX ISA, whole products that are right, which it must not
// complain of, and kernels with one fault each, which it must report.
package emutest

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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

// A tensor map that a kernel takes by value without __grid_constant__ is a copy on the thread's stack,
// whose address TMA cannot use. The emulator cannot tell, the text can.
func TestTensorMapsAreGridConstants(t *testing.T) {
	var text strings.Builder
	for _, pattern := range []string{"cuda/*.cu", "cuda/*.cuh", "emu/testing/*.cu"} {
		paths, err := filepath.Glob(filepath.Join("../../csrc", pattern))
		require.NoError(t, err)
		require.NotEmpty(t, paths, pattern)
		for _, path := range paths {
			source, err := os.ReadFile(path)
			require.NoError(t, err)
			text.Write(source)
		}
	}
	types := []string{"TensorMap"}
	for _, m := range regexp.MustCompile(`struct (\w+) \{[^{}]*\bTensorMap [^{}]*\}`).FindAllStringSubmatch(text.String(), -1) {
		types = append(types, m[1])
	}
	byValue := regexp.MustCompile(`\b(` + strings.Join(types, "|") + `) \w+$`)
	found := 0
	for _, m := range regexp.MustCompile(`__global__[^;{]*?\w+_kernel\(([^{;]*)\) \{`).FindAllStringSubmatch(text.String(), -1) {
		for parameter := range strings.SplitSeq(m[1], ",") {
			if parameter = strings.TrimSpace(parameter); byValue.MatchString(parameter) {
				found++
				require.True(t, strings.HasPrefix(parameter, "const __grid_constant__ "), parameter)
			}
		}
	}
	require.GreaterOrEqual(t, found, 5)
}

package binding

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/llama3v/llama3v/csrc"
)

// CompilerError is a compiler that a build needs and this machine does not have. Its text says how
// to get one.
type CompilerError struct {
	Compiler string // "C++" or "nvcc"
	Text     string
	Err      error // of the system, where a compiler was named and does not run; else nil
}

func (e *CompilerError) Error() string { return e.Text }
func (e *CompilerError) Unwrap() error { return e.Err }

// findCompiler is $CXX with the arguments it may carry, else the first compiler on the path.
func findCompiler() ([]string, error) {
	if cxx := strings.Fields(os.Getenv("CXX")); len(cxx) > 0 {
		if _, err := exec.LookPath(cxx[0]); err != nil {
			return nil, &CompilerError{"C++", fmt.Sprintf("no C++ compiler: $CXX is %q, which does not run: %v", cxx[0], err), err}
		}
		return cxx, nil
	}
	for _, name := range []string{"c++", "g++", "clang++"} {
		if _, err := exec.LookPath(name); err == nil {
			return []string{name}, nil
		}
	}
	return nil, &CompilerError{Compiler: "C++",
		Text: "no C++ compiler found ($CXX, c++, g++, clang++): install " + compilerPackage()}
}

func compilerPackage() string {
	if runtime.GOOS == "darwin" {
		return "the command line tools with `xcode-select --install`"
	}
	return "g++ or clang++ (Debian, Ubuntu: `apt install g++`; Fedora: `dnf install gcc-c++`; Alpine: `apk add g++`)"
}

// oldestNVCC is the first CUDA release that the sources compile with: its runtime has
// cudaGetDriverEntryPointByVersion. CMakeLists.txt says the same.
var oldestNVCC = [2]int{12, 5}

// toolkit is a CUDA compiler and the folders around it. Where a compiler of the system looks by
// itself there may be none.
type toolkit struct {
	nvcc         string
	version      string // "13.0"
	include, lib []string
}

// findToolkit is the compiler named, else $NVCC, else the first on the path and where installers
// put it.
func findToolkit(ctx context.Context, named string) (toolkit, error) {
	what := "the compiler named"
	if named == "" {
		named, what = os.Getenv("NVCC"), "$NVCC"
	}
	places := []string{named}
	if named == "" {
		places = []string{"nvcc"}
		for _, variable := range []string{"CUDA_HOME", "CUDA_PATH"} {
			if dir := os.Getenv(variable); dir != "" {
				places = append(places, filepath.Join(dir, "bin", "nvcc"))
			}
		}
		places = append(places, "/usr/local/cuda/bin/nvcc")
	}
	old := ""
	for _, place := range places {
		found, err := exec.LookPath(place)
		if err == nil {
			found, err = filepath.Abs(found) // it runs in another folder
		}
		if err != nil && named != "" {
			return toolkit{}, &CompilerError{"nvcc", fmt.Sprintf("no CUDA compiler: %s is %q, which does not run: %v", what, named, err), err}
		}
		if err != nil {
			continue
		}
		t, version, err := askToolkit(ctx, found)
		if err != nil {
			return toolkit{}, err
		}
		if slices.Compare(version[:], oldestNVCC[:]) >= 0 {
			return t, nil
		}
		old = fmt.Sprintf("; %s is %s", found, t.version)
	}
	packages, err := fs.ReadFile(csrc.Files, "nvcc.txt")
	if err != nil {
		return toolkit{}, err
	}
	var install []string
	for line := range strings.Lines(string(packages)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			install = append(install, line)
		}
	}
	return toolkit{}, &CompilerError{Compiler: "nvcc", Text: fmt.Sprintf("no CUDA compiler of %d.%d or newer found ($NVCC, nvcc, /usr/local/cuda%s): "+
		"install NVIDIA's CUDA toolkit, or run `python3 -m pip install --no-deps --target nvcc %s` and set NVCC=nvcc/nvidia/cu13/bin/nvcc",
		oldestNVCC[0], oldestNVCC[1], old, strings.Join(install, " "))}
}

var (
	nvccRelease = regexp.MustCompile(`release (\d+)\.(\d+)`)
	nvccTop     = regexp.MustCompile(`(?m)^#\$ TOP=(.+)$`)
)

// askToolkit asks a compiler for its version and where it lies, behind links and wrappers.
func askToolkit(ctx context.Context, nvcc string) (t toolkit, version [2]int, err error) {
	said, err := exec.CommandContext(ctx, nvcc, "--version").CombinedOutput()
	release := nvccRelease.FindSubmatch(said)
	if err != nil || release == nil {
		return t, version, fmt.Errorf("%s --version gives no release of CUDA (%w): %s", nvcc, err, bytes.TrimSpace(said))
	}
	for i := range version {
		version[i], _ = strconv.Atoi(string(release[i+1]))
	}
	t = toolkit{nvcc: nvcc, version: fmt.Sprintf("%d.%d", version[0], version[1])}
	said, err = exec.CommandContext(ctx, nvcc, "--dryrun", "-x", "cu", "-c", os.DevNull).CombinedOutput()
	top := nvccTop.FindSubmatch(said)
	if err != nil || top == nil {
		return t, version, fmt.Errorf("%s --dryrun does not say where it lies (%w): %s", nvcc, err, bytes.TrimSpace(said))
	}
	for _, f := range []struct {
		pattern string
		into    *[]string
	}{{"include", &t.include}, {"targets/*-linux/include", &t.include}, {"lib64", &t.lib}, {"lib", &t.lib}, {"targets/*-linux/lib", &t.lib}} {
		folders, err := filepath.Glob(filepath.Join(string(top[1]), f.pattern))
		if err != nil {
			return t, version, err
		}
		*f.into = append(*f.into, folders...)
	}
	return t, version, nil
}

// compilerRun runs a compiler in dir, on relative paths, so that no folder's name ends in the
// library and two builds give the same bytes.
func compilerRun(ctx context.Context, dir string, compiler []string, args ...string) error {
	all := slices.Concat(compiler[1:], args)
	cmd := exec.CommandContext(ctx, compiler[0], all...)
	cmd.Dir = dir
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("%s: %w\n%s", strings.Join(append([]string{compiler[0]}, all...), " "), err, strings.TrimSpace(output.String()))
	}
	return nil
}

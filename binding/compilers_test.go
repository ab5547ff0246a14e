package binding

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/internal/need"
)

// needNVCC is a CUDA compiler that works: the system's, or the one that tools/fetch-nvcc.sh brings.
func needNVCC(t testing.TB) string {
	t.Helper()
	private, err := filepath.Abs("../build/nvcc/nvidia/cu13/bin/nvcc")
	require.NoError(t, err)
	for _, nvcc := range []string{"", private} {
		toolkit, err := findToolkit(t.Context(), nvcc)
		if err == nil {
			return toolkit.nvcc
		}
	}
	need.Missing(t, "nvcc", "tools/fetch-nvcc.sh installs one")
	return ""
}

// noNVCC takes every CUDA compiler of the environment away.
func noNVCC(t *testing.T) {
	t.Helper()
	for _, variable := range []string{"NVCC", "CUDA_HOME", "CUDA_PATH"} {
		t.Setenv(variable, "")
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := os.Stat("/usr/local/cuda/bin/nvcc"); err == nil {
		t.Skip("this machine has a CUDA toolkit where it is always found")
	}
}

// script is a program that prints text.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "nvcc")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\ncat <<'END'\n"+text+"\nEND\n"), 0o755))
	return path
}

func TestBuildOfCudaWithoutNVCCSaysHowToGetIt(t *testing.T) {
	if runtime.GOOS != "linux" {
		emptyHome(t)
		_, err := BuildBackend(t.Context(), "cuda", BuildOptions{})
		require.ErrorIs(t, err, ErrUnsupported)
		return
	}
	needCXX(t)
	compiler, err := findCompiler()
	require.NoError(t, err)
	emptyHome(t)
	t.Setenv("CXX", script(t, compiler[0])) // it is asked for first, and not run
	noNVCC(t)
	_, err = BuildBackend(t.Context(), "cuda", BuildOptions{})
	var missing *CompilerError
	require.ErrorAs(t, err, &missing)
	require.Equal(t, "nvcc", missing.Compiler)
	require.ErrorContains(t, err, "build cuda: no CUDA compiler of 12.5 or newer found")
	require.ErrorContains(t, err, "pip install --no-deps --target nvcc nvidia-cuda-nvcc==13.")
	require.NotContains(t, err.Error(), "\n", "one sentence")

	_, err = BuildBackend(t.Context(), "cuda", BuildOptions{NVCC: "/nowhere/nvcc"})
	require.ErrorAs(t, err, &missing)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, `the compiler named is "/nowhere/nvcc", which does not run`)
	t.Setenv("NVCC", "/elsewhere/nvcc")
	_, err = BuildBackend(t.Context(), "cuda", BuildOptions{})
	require.ErrorContains(t, err, `$NVCC is "/elsewhere/nvcc"`)
}

func TestToolkits(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("CUDA is for Linux")
	}
	shell := os.Getenv("PATH")
	noNVCC(t)
	t.Setenv("PATH", os.Getenv("PATH")+":"+shell) // the scripts need cat
	top := t.TempDir()
	for _, folder := range []string{"include", "targets/x86_64-linux/lib", "lib64"} {
		require.NoError(t, os.MkdirAll(filepath.Join(top, folder), 0o755))
	}
	says := func(release string) string {
		return script(t, "Cuda compilation tools, release "+release+", V"+release+".88\n#$ _HERE_=x\n#$ TOP="+top+"/bin/..\n#$ PATH=y")
	}
	require.NoError(t, os.Mkdir(filepath.Join(top, "bin"), 0o755))
	found, err := findToolkit(t.Context(), says("12.5"))
	require.NoError(t, err)
	require.Equal(t, "12.5", found.version)
	require.Equal(t, []string{top + "/include"}, found.include)
	require.Equal(t, []string{top + "/lib64", top + "/targets/x86_64-linux/lib"}, found.lib)

	_, err = findToolkit(t.Context(), says("11.8"))
	var missing *CompilerError
	require.ErrorAs(t, err, &missing)
	require.ErrorContains(t, err, "nvcc is 11.8): install")
	_, err = findToolkit(t.Context(), script(t, "hello"))
	require.ErrorContains(t, err, "gives no release of CUDA")
	_, err = findToolkit(t.Context(), script(t, "release 13.0"))
	require.ErrorContains(t, err, "does not say where it lies")

	home := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(home, "bin"), 0o755))
	require.NoError(t, os.Symlink(says("13.9"), filepath.Join(home, "bin", "nvcc")))
	t.Setenv("CUDA_HOME", home)
	found, err = findToolkit(t.Context(), "")
	require.NoError(t, err)
	require.Equal(t, filepath.Join(home, "bin", "nvcc"), found.nvcc)
}

// One kernel stands for all of them: the whole library takes minutes, and has tests of its own.
func TestBuildCompilesKernels(t *testing.T) {
	if testing.Short() {
		t.Skip("the CUDA compiler takes seconds, and minutes under a sanitizer's runtime")
	}
	needCXX(t)
	nvcc := needNVCC(t)
	sources := fakeSources(t)
	sources["cuda/fake.cpp"] = &fstest.MapFile{Data: append(sources["cpu/fake.cpp"].Data,
		"\n#include <cuda_runtime.h>\nvoid fill(float*);\nextern \"C\" void fake_fill() { fill(nullptr); cudaDeviceSynchronize(); }\n"...)}
	sources["cuda/fake_layouts.h"] = sources["cpu/fake_layouts.h"]
	sources["cuda/fill.cu"] = &fstest.MapFile{Data: []byte("#include \"llama3v.h\"\n" +
		"__global__ void fill_kernel(float* x) { x[threadIdx.x] = 1; }\nvoid fill(float* x) { fill_kernel<<<1, 32>>>(x); }\n")}
	delete(sources, "cuda/broken.cpp")
	sources["flags.txt"].Data = append(sources["flags.txt"].Data, "compile:cuda -DFAKE_NAME=\"cuda\"\n"...)
	target := filepath.Join(t.TempDir(), "lib.so")
	var output bytes.Buffer
	require.NoError(t, build(t.Context(), sources, "cuda", target, BuildOptions{NVCC: nvcc, Output: &output}))
	require.Contains(t, output.String(), "compile cuda/fill.cu\n")
	require.Contains(t, output.String(), fmt.Sprintf(": %s\n", nvcc))
	requireExports(t, target)
	f, err := elf.Open(target)
	require.NoError(t, err)
	defer f.Close()
	require.NotNil(t, f.Section(".nv_fatbin"))

	sources["cuda/fill.cu"].Data = []byte("__global__ void fill_kernel(float* x) { nonsense; }\n")
	err = build(t.Context(), sources, "cuda", target, BuildOptions{NVCC: nvcc})
	require.ErrorContains(t, err, `cuda/fill.cu(1): error: identifier "nonsense" is undefined`)
}

package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/bench"
	"github.com/llama3v/llama3v/binding"
)

func TestNoCardIsSaid(t *testing.T) {
	t.Setenv(binding.LibDirVariable, "")
	err := run(context.Background(), []string{"-lib", t.TempDir(), "test"})
	require.ErrorContains(t, err, "there is no card to run on here")
	require.ErrorContains(t, err, "make cuda")
	require.ErrorContains(t, run(context.Background(), nil), "say what to run")
	require.ErrorContains(t, run(context.Background(), []string{"all"}), `"all" is neither`)
}

func TestRecord(t *testing.T) {
	fresh := Record{Card: "NVIDIA H100 80GB HBM3, 9.0", Multiprocessors: 132, Memory: 85e9, Library: "0123456789abcdef", ABI: "1.2", Date: "2026-01-02"}
	folder := t.TempDir()
	r, err := openRecord(folder, fresh)
	require.NoError(t, err)
	require.Equal(t, filepath.Join(folder, "nvidia-h100-80gb-hbm3-9-0-2026-01-02.md"), r.path(".md"))

	var counted Result
	counted.countTests("=== RUN TestA\n--- PASS: TestA (0.00s)\n    --- FAIL: TestA/sub (0.00s)\n--- FAIL: TestB (0.10s)\n--- SKIP: TestC (0.00s)\n")
	require.Equal(t, Result{Passed: 1, Failed: 1, Skipped: 1, Failures: []string{"TestB"}}, counted)
	counted.Name, counted.Group, counted.Command = "conformance", groupTest, "ops.test"
	r.add(counted)
	rows, err := json.Marshal([]bench.Row{{Op: "linear", DType: "bf16", Shape: []int{729, 1152, 3456}, Seconds: 12e-6, Rate: 483.7, Unit: "GFLOP/s", Bound: 600, Share: 0.806}})
	require.NoError(t, err)
	r.add(Result{Name: "ops", Group: groupBench, Command: "llama3v bench ops", OK: true, Seconds: 2, Data: rows})
	r.add(Result{Name: "parity with cpu", Group: groupTest, Command: "llama3v parity", OK: true,
		Data: json.RawMessage(`{"layers":[{"nmse":1e-13},{"nmse":3e-12}],"token_ids":[[1,2],[1,2]],"tokens_agree":2}`)})
	require.NoError(t, r.write())

	text, err := os.ReadFile(r.path(".md"))
	require.NoError(t, err)
	for _, want := range []string{
		"# NVIDIA H100 80GB HBM3, 9.0, 2026-01-02", "132 multiprocessors", "driver unknown",
		"| conformance | FAILED: TestB |", "| linear | bf16 | [729 1152 3456] | 12.0 | 483.7 GFLOP/s | 600.0 | 80.6 % |",
		"of 2 layers 3.0e-12; 2 of 2 tokens agree",
	} {
		require.Contains(t, string(text), want)
	}
	require.NotContains(t, string(text), "mulated")

	// The day's record of the same library goes on; that of another one begins anew.
	again, err := openRecord(folder, fresh)
	require.NoError(t, err)
	again.add(Result{Name: "conformance", Group: groupTest, Command: "ops.test", OK: true, Passed: 2})
	require.Len(t, again.Results, 3)
	require.Equal(t, "2 tests passed, 0 skipped", again.Results[0].verdict())
	fresh.Library = "another"
	other, err := openRecord(folder, fresh)
	require.NoError(t, err)
	require.Empty(t, other.Results)

	r.Emulated = true
	marked, err := r.markdown()
	require.NoError(t, err)
	require.Contains(t, marked, "**Emulated: the kernels ran on a CPU.")
}

func TestSteps(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the steps here are shell scripts")
	}
	bin := t.TempDir()
	script := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+text), 0o755))
	}
	script("good.test", `echo "--- PASS: TestA (0.00s)"; test "$L3V_REQUIRE$LLAMA3V_BACKEND" = cudacuda`)
	script("empty.test", `echo "testing: warning: no tests to run"`)
	script("bad.test", `echo "--- FAIL: TestA (0.00s)"; exit 1`)
	script("llama3v", `echo "[]"`)
	script("noise", `echo "not JSON"`)
	for binary, ok := range map[string]bool{"good.test": true, "empty.test": false, "bad.test": false, "llama3v": true, "noise": false, "absent": false} {
		s := step{group: groupTest, name: binary, dir: ".", binary: binary}
		r := s.run(context.Background(), bin, nil)
		require.Equal(t, ok, r.OK, "%s: %s", binary, r.Output)
		require.Equal(t, ok, r.Output == "", binary)
	}
	names := map[string]bool{}
	for _, s := range steps {
		require.False(t, names[s.name], "%s stands twice", s.name)
		names[s.name] = true
		require.NotEmpty(t, s.leftOut, "%s says what the emulator's form leaves out", s.name)
	}
}

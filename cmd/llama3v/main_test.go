package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/binding"
	"github.com/llama3v/llama3v/internal/need"
	"github.com/llama3v/llama3v/internal/testhub"
	"github.com/llama3v/llama3v/model/weights"
)

var demo = filepath.Join("..", "..", "testdata", "demo")

func picture(name string) string { return filepath.Join(demo, "pictures", name) }

// runLine runs a command line and gives exit code and what it printed.
func runLine(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	outRead, outWrite, err := os.Pipe()
	require.NoError(t, err)
	errRead, errWrite, err := os.Pipe()
	require.NoError(t, err)
	oldOut, oldErr := os.Stdout, os.Stderr
	os.Stdout, os.Stderr = outWrite, errWrite
	defer func() { os.Stdout, os.Stderr = oldOut, oldErr }()
	type texts struct{ out, err string }
	done := make(chan texts)
	go func() {
		errText := make(chan string)
		go func() { b, _ := io.ReadAll(errRead); errText <- string(b) }()
		b, _ := io.ReadAll(outRead)
		done <- texts{string(b), <-errText}
	}()
	code = execute(context.Background(), args)
	require.NoError(t, outWrite.Close())
	require.NoError(t, errWrite.Close())
	all := <-done
	return code, all.out, all.err
}

func needBackend(t *testing.T) {
	t.Helper()
	if _, _, err := binding.Find("cpu", ""); err != nil {
		need.Missing(t, "cpu", "the CPU library; make lib builds it")
	}
}

func TestUsageErrorsExitWith2(t *testing.T) {
	for _, tc := range []struct {
		name string
		args []string
		text string
	}{
		{"a command nobody has", []string{"look"}, "look"},
		{"a flag nobody has", []string{"run", demo, "--fast"}, "fast"},
		{"run without anything", []string{"run"}, "model folder"},
		{"run without a question", []string{"run", demo}, "-p TEXT"},
		{"an activation type nobody has", []string{"run", demo, "-p", "x", "--activations", "f64"}, "f64"},
		{"a backend nobody has", []string{"run", demo, "-p", "x", "--backend", "tpu"}, "tpu"},
		{"no tokens wanted", []string{"run", demo, "-p", "x", "--max-tokens", "0"}, "max-tokens"},
		{"threads below zero", []string{"run", demo, "-p", "x", "--threads", "-1"}, "threads"},
		{"an alpha rule nobody has", []string{"run", demo, "-p", "x", "--alpha", "black"}, "black"},
		{"embed without a file to write", []string{"embed", demo, "x.png"}, "-o FILE"},
		{"embed with two outputs", []string{"embed", demo, "x.png", "-o", "y", "--pooled", "--layer", "1"}, "exclude"},
		{"parity with one backend", []string{"parity", demo, "--backends", "cpu"}, "two"},
		{"bench of nothing", []string{"bench"}, "ops or model"},
		{"pull of a folder", []string{"pull", demo}, "hf:"},
		{"backend of nothing", []string{"backend"}, "build"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code, out, errText := runLine(t, tc.args...)
			require.Equal(t, 2, code)
			require.Empty(t, out)
			require.Contains(t, errText, tc.text)
		})
	}
}

func TestFailuresExitWith1AndSayWhatAndWhere(t *testing.T) {
	needBackend(t)
	text := filepath.Join(t.TempDir(), "notes.png")
	require.NoError(t, os.WriteFile(text, []byte("hello"), 0o600))
	for _, tc := range []struct {
		name string
		args []string
		text string
	}{
		{"no such model", []string{"run", "nowhere", "-p", "x"}, "nowhere"},
		{"a file as model", []string{"run", text, "-p", "x"}, "notes.png"},
		{"no such picture", []string{"run", demo, "gone.png", "-p", "x"}, "gone.png"},
		{"text as picture", []string{"run", demo, text, "-p", "x"}, "notes.png"},
		{"empty prompt", []string{"run", demo, "-p", ""}, "empty prompt"},
		{"too little memory", []string{"run", demo, "-p", "x", "--memory-limit", "1000"}, "1000"},
		{"a library that is none", []string{"run", demo, "-p", "x", "--library", text}, "notes.png"},
		{"an op nobody has", []string{"bench", "ops", "--ops", "fft"}, "fft"},
		{"a shape nobody has", []string{"bench", "model", "gpt5"}, "gpt5"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code, out, errText := runLine(t, tc.args...)
			require.Equal(t, 1, code, errText)
			require.Empty(t, out)
			require.Contains(t, errText, tc.text)
			require.Equal(t, 1, strings.Count(errText, "\n"), "one line: %s", errText)
			t.Log(errText)
		})
	}
}

func TestRunStreamsTheAnswer(t *testing.T) {
	needBackend(t)
	code, out, errText := runLine(t, "run", demo, picture("dog.jpg"), "-p", "What is this?")
	require.Equal(t, 0, code, errText)
	require.Equal(t, "A dog.\n", out)
}

func TestRunJSON(t *testing.T) {
	needBackend(t)
	code, out, errText := runLine(t, "run", demo, picture("dog.jpg"), "-p", "What is this?", "--json")
	require.Equal(t, 0, code, errText)
	var object map[string]any
	require.NoError(t, json.Unmarshal([]byte(out), &object))
	for _, key := range []string{"answer", "token_ids", "prompt_tokens", "image_tokens", "finish_reason", "backend", "timings"} {
		require.Contains(t, object, key)
	}
	require.Equal(t, "A dog.", object["answer"])
	require.EqualValues(t, 36, object["image_tokens"])
	require.Equal(t, "stop", object["finish_reason"])
	for _, key := range []string{"load", "preprocess", "encode", "project", "prefill", "decode", "decode_tokens_per_second"} {
		require.Contains(t, object["timings"], key)
	}
}

func TestBatchGoesOnPastABadLine(t *testing.T) {
	needBackend(t)
	quoted := func(s string) string { b, _ := json.Marshal(s); return string(b) }
	lines := `{"pictures": [` + quoted(picture("dog.jpg")) + `], "prompt": "What is this?"}
{"pictures": ["gone.png"], "prompt": "What is this?"}
not json

{"prompt": "What is this?", "pictures": [` + quoted(picture("dog.jpg")) + `]}
`
	file := filepath.Join(t.TempDir(), "questions.jsonl")
	require.NoError(t, os.WriteFile(file, []byte(lines), 0o600))
	code, out, errText := runLine(t, "run", demo, "--batch", file)
	require.Equal(t, 1, code)
	require.Contains(t, errText, "2 of 5 lines failed")
	var objects []map[string]any
	decoder := json.NewDecoder(strings.NewReader(out))
	for decoder.More() {
		var object map[string]any
		require.NoError(t, decoder.Decode(&object))
		objects = append(objects, object)
	}
	require.Len(t, objects, 4)
	require.Equal(t, "A dog.", objects[0]["answer"])
	require.Contains(t, objects[1]["error"], "gone.png")
	require.EqualValues(t, 3, objects[2]["line"])
	require.Equal(t, "A dog.", objects[3]["answer"])
	require.Equal(t, []any{true}, objects[3]["cached"], "the same picture is encoded once")
}

func TestEmbedWritesSafetensors(t *testing.T) {
	needBackend(t)
	file := filepath.Join(t.TempDir(), "out.safetensors")
	code, out, errText := runLine(t, "embed", demo, picture("dog.jpg"), picture("frog.png"), "--layer", "-2", "-o", file, "--json")
	require.Equal(t, 0, code, errText)
	require.Contains(t, out, `"shape":[2,36,144]`)
	s, err := weights.OpenSafetensorsFile(os.DirFS(filepath.Dir(file)), filepath.Base(file))
	require.NoError(t, err)
	defer s.Close()
	info, err := s.Tensor("features")
	require.NoError(t, err)
	require.Equal(t, []int{2, 36, 144}, info.Shape)
	require.Contains(t, s.Metadata(filepath.Base(file))["pictures"], "frog.png")
}

func TestInspect(t *testing.T) {
	code, out, errText := runLine(t, "inspect", demo, "--json")
	require.Equal(t, 0, code, errText)
	var object struct {
		Tensors []any
		Types   map[string]int
		Values  int64
		Plan    map[string]int64
	}
	require.NoError(t, json.Unmarshal([]byte(out), &object))
	require.Len(t, object.Tensors, 188)
	require.Equal(t, map[string]int{"BF16": 188}, object.Types)
	require.EqualValues(t, 4274976, object.Values)

	code, out, errText = runLine(t, "inspect", filepath.Join(demo, "model.safetensors"))
	require.Equal(t, 0, code, errText)
	require.Contains(t, out, "projector.in_proj.weight")
}

func TestTokenize(t *testing.T) {
	code, out, errText := runLine(t, "tokenize", demo, "What is this?", "--json")
	require.Equal(t, 0, code, errText)
	var object struct {
		IDs    []int32
		Pieces []string
	}
	require.NoError(t, json.Unmarshal([]byte(out), &object))
	require.Equal(t, "What is this?", strings.Join(object.Pieces, ""))

	code, out, _ = runLine(t, "tokenize", demo, "What is this?", "--chat", "--json")
	require.Equal(t, 0, code)
	require.Contains(t, out, "start_header_id")
}

func TestDoctorTestsEveryOp(t *testing.T) {
	needBackend(t)
	code, out, errText := runLine(t, "doctor", "--json")
	require.Equal(t, 0, code, errText)
	var report doctorJSON
	require.NoError(t, json.Unmarshal([]byte(out), &report))
	require.GreaterOrEqual(t, len(report.Ops), 16)
	for _, op := range report.Ops {
		require.True(t, op.OK, op.Op)
	}
}

func TestParityOfTwoKernelSets(t *testing.T) {
	needBackend(t)
	code, out, errText := runLine(t, "parity", demo, "--backends", "cpu,cpu:scalar", "--picture", picture("dog.jpg"), "--json")
	require.Equal(t, 0, code, errText)
	var report parityJSON
	require.NoError(t, json.Unmarshal([]byte(out), &report))
	require.True(t, report.Tolerated)
	require.Greater(t, len(report.Layers), 12)
	require.Equal(t, report.TokenIDs[0], report.TokenIDs[1])

	code, _, errText = runLine(t, "parity", demo, "--backends", "cpu,cpu:scalar", "--picture", picture("dog.jpg"), "--bound", "1e-30")
	require.Equal(t, 1, code)
	require.Contains(t, errText, "differ")
}

func TestParityOfALibraryWithItselfFails(t *testing.T) {
	needBackend(t)
	code, _, errText := runLine(t, "parity", demo, "--backends", "cpu,cpu")
	require.Equal(t, 1, code)
	require.Contains(t, errText, "are the same")
}

// The emulated cuda library, where LLAMA3V_LIB_DIR has both. The tower is left out: it takes minutes.
func TestParityOfCPUAndCUDA(t *testing.T) {
	needBackend(t)
	cuda, tried, err := binding.Find("cuda", "")
	if err != nil {
		need.Missing(t, "cuda", fmt.Sprintf("a cuda library (%v)", tried))
	}
	code, out, errText := runLine(t, "parity", demo, "--backends", "cpu,cuda", "--max-tokens", "4")
	require.Equal(t, 0, code, errText)
	require.Contains(t, out, cuda.Path())
	require.Contains(t, out, cuda.Hash())
	require.Equal(t, cuda.Capabilities().Emulated, strings.Contains(out, "(emulated)"))
	require.Contains(t, out, "hidden.1")
	require.Contains(t, out, "tokens: 4 agree of 4 and 4")
	code, _, _ = runLine(t, "parity", demo, "--backends", "cpu,cuda", "--max-tokens", "1", "--bound", "1e-30")
	require.Equal(t, 1, code)
}

func TestARelativeLibraryFolderIsTheCallers(t *testing.T) {
	t.Setenv(binding.LibDirVariable, filepath.Join("build", "emu"))
	require.NoError(t, absoluteLibDir())
	here, err := os.Getwd()
	require.NoError(t, err)
	require.Equal(t, filepath.Join(here, "build", "emu"), os.Getenv(binding.LibDirVariable))
}

func TestBenchOps(t *testing.T) {
	needBackend(t)
	code, out, errText := runLine(t, "bench", "ops", "--ops", "advance,softmax", "--time", "20ms", "--json")
	if code != 0 { // work elsewhere on the machine can spoil the peak: then it says so and gives no figures
		require.Contains(t, errText, "share of the bound above")
		require.Empty(t, out)
		return
	}
	var rows []map[string]any
	require.NoError(t, json.Unmarshal([]byte(out), &rows))
	require.Len(t, rows, 2)
	for _, key := range []string{"op", "backend", "dtype", "shape", "seconds", "rate", "unit", "bound", "share"} {
		require.Contains(t, rows[0], key)
	}
}

func TestHelpNamesEveryCommand(t *testing.T) {
	var out bytes.Buffer
	root := newRoot()
	root.SetOut(&out)
	root.SetArgs([]string{"--help"})
	require.NoError(t, root.Execute())
	for _, name := range []string{"run", "embed", "inspect", "tokenize", "doctor", "parity", "bench", "backend"} {
		require.Contains(t, out.String(), name)
	}
}

// An interrupt ends a batch that waits for its next line.
func TestLinesEndWithTheContext(t *testing.T) {
	read, write := io.Pipe()
	defer write.Close()
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	go func() { _, _ = io.WriteString(write, "first\n") }()
	var texts []string
	var last error
	for line, err := range lines(ctx, read) {
		if last = err; err == nil {
			texts = append(texts, string(line))
			cancel(io.ErrClosedPipe)
		}
	}
	require.Equal(t, []string{"first"}, texts)
	require.ErrorIs(t, last, io.ErrClosedPipe)
}

func TestModelsByName(t *testing.T) {
	files := map[string][]byte{}
	entries, err := os.ReadDir(demo)
	require.NoError(t, err)
	for _, e := range entries {
		if !e.IsDir() {
			files[e.Name()], err = os.ReadFile(filepath.Join(demo, e.Name()))
			require.NoError(t, err)
		}
	}
	server := testhub.New(t, files, "model.safetensors")
	t.Setenv("HF_ENDPOINT", server.URL)
	t.Setenv("HF_HUB_CACHE", t.TempDir())
	code, out, errText := runLine(t, "pull", "hf:org/model")
	require.Zero(t, code, errText)
	require.FileExists(t, filepath.Join(strings.TrimSpace(out), "model.safetensors"))

	needBackend(t)
	server.Close()
	t.Setenv("HF_HUB_OFFLINE", "1")
	code, out, errText = runLine(t, "run", "hf:org/model", picture("dog.jpg"), "-p", "What is this?")
	require.Zero(t, code, errText)
	require.Contains(t, out, "dog")
	code, _, errText = runLine(t, "run", "hf:org/other", picture("dog.jpg"), "-p", "What is this?")
	require.Equal(t, 1, code)
	require.Contains(t, errText, "hf:org/other: not in the cache")
	code, _, errText = runLine(t, "run", "hf:nothing", "-p", "x")
	require.Equal(t, 2, code)
	require.Contains(t, errText, "nothing")
}

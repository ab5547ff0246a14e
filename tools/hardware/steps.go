package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const (
	groupTest  = "test"
	groupBench = "bench"
)

// step is one run of a binary.
type step struct {
	group, name string
	dir         string // where it runs
	binary      string
	args        []string
	emulated    []string // instead of args on the emulator; nil: the step is left out there
	leftOut     string   // what the emulator's form does without
}

func tests(name, dir, binary, pattern, emulated, leftOut string) step {
	common := []string{"-test.v", "-test.timeout=30m"}
	s := step{group: groupTest, name: name, dir: dir, binary: binary, args: append(common, "-test.run="+pattern), leftOut: leftOut}
	if emulated != "" {
		s.emulated = append(common, "-test.short", "-test.run="+emulated)
	}
	return s
}

func measured(name string, args, emulated []string, leftOut string) step {
	common := []string{"bench"}
	s := step{group: groupBench, name: name, dir: ".", binary: "llama3v", leftOut: leftOut}
	s.args = append(append(common, args...), "--backend", "cuda", "--json")
	if emulated != nil {
		s.emulated = append(append(common, emulated...), "--backend", "cuda", "--json")
	}
	return s
}

func model(name string, args ...string) step {
	return measured(name, append([]string{"model"}, args...), nil, "a model of real size takes hours there")
}

var steps = []step{
	tests("conformance", "model/ops", "ops.test", ".", "^(TestRMSNorm|TestSwiGLU|TestMeasurePeak|TestRoPEAndCacheAppend)$", "most ops: the test command runs them all"),
	tests("golden layers", "model/siglip", "siglip.test", ".", "^TestPassesAreCaptured$", "all but one test"),
	tests("golden decoder", "model/llama", "llama.test", ".", "^TestDecodeIsOneReplay$", "all but one test"),
	tests("golden models", "model/vlm", "vlm.test", "Golden|GGUF", "^TestGoldenLlama$/^llama3_gqa$", "all but one model"),
	tests("demo answers", ".", "llama3v.test", "^Test(Demo|BF16Activations|ThePlan|DecodeIsOne)", "^TestDemoAnswers", "most questions"),
	{group: groupTest, name: "parity with cpu", dir: ".", binary: "llama3v",
		args:     []string{"parity", "testdata/demo", "--backends", "cpu,cuda", "--picture", "testdata/demo/pictures/dog.jpg", "--json"},
		emulated: []string{"parity", "testdata/demo", "--backends", "cpu,cuda", "--max-tokens", "2", "--json"}, leftOut: "the picture"},

	measured("ops", []string{"ops"}, []string{"ops", "--ops", "softmax,advance", "--time", "1ms"}, "all ops but two"),
	model("siglip-so400m-384", "siglip-so400m-384", "--weights", "bf16", "--activations", "bf16"),
	model("siglip-so400m-384, batch-invariant", "siglip-so400m-384", "--weights", "bf16", "--activations", "bf16", "--batch-invariant"),
	model("llama-3-8b bf16", "llama-3-8b", "--weights", "bf16", "--activations", "bf16"),
	model("llama-3-8b bf16, batch-invariant", "llama-3-8b", "--weights", "bf16", "--activations", "bf16", "--batch-invariant"),
	model("llama-3-8b q8_0", "llama-3-8b", "--weights", "q8_0", "--activations", "bf16"),
	model("llama-3-8b q4_0", "llama-3-8b", "--weights", "q4_0", "--activations", "bf16"),
}

// run runs the step and reads what it printed: counts of tests, or an object or list of JSON.
func (s *step) run(ctx context.Context, bin string, args []string) Result {
	r := Result{Name: s.name, Group: s.group, Command: strings.Join(append([]string{s.binary}, args...), " ")}
	path, err := filepath.Abs(filepath.Join(bin, s.binary))
	if err != nil {
		r.Output = err.Error()
		return r
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = filepath.FromSlash(s.dir), &stdout, &stderr
	cmd.Env = append(os.Environ(), "L3V_REQUIRE=cuda", "LLAMA3V_BACKEND=cuda")
	begin := time.Now()
	err = cmd.Run()
	r.Seconds = time.Since(begin).Seconds()
	r.OK = err == nil
	if strings.HasSuffix(s.binary, ".test") {
		r.countTests(stdout.String())
		r.OK = r.OK && r.Passed > 0 // a pattern that meets nothing passes, too
	} else if json.Valid(stdout.Bytes()) {
		r.Data = json.RawMessage(bytes.TrimSpace(stdout.Bytes()))
	} else {
		r.OK = false
	}
	if !r.OK {
		r.Output = tail(strings.TrimSpace(stderr.String()+"\n"+stdout.String()), 4000)
		if err != nil {
			r.Output += "\n" + err.Error()
		}
	}
	return r
}

// countTests reads the lines of go test -v about tests, not about the subtests in them.
func (r *Result) countTests(output string) {
	for line := range strings.Lines(output) {
		switch {
		case strings.HasPrefix(line, "--- PASS: "):
			r.Passed++
		case strings.HasPrefix(line, "--- SKIP: "):
			r.Skipped++
		case strings.HasPrefix(line, "--- FAIL: "):
			r.Failed++
			name, _, _ := strings.Cut(strings.TrimPrefix(line, "--- FAIL: "), " ")
			r.Failures = append(r.Failures, name)
		}
	}
}

func tail(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return "...\n" + text[len(text)-most:]
}

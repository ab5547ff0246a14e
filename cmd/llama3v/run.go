package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/llama3v/llama3v"
)

type runFlags struct {
	openFlags
	prompt    string
	system    string
	batch     string
	json      bool
	raw       bool
	ignoreEOS bool
	defaults  bool
	sampling  func() sampling
}

func newRun() *cobra.Command {
	f := &runFlags{}
	cmd := &cobra.Command{
		Use:   "run MODEL [PICTURE...] -p TEXT",
		Short: "Answer a question about pictures",
		Example: `  llama3v run testdata/demo testdata/demo/pictures/dog.jpg -p "What is this?"
  llama3v run testdata/demo --batch questions.jsonl`,
		Args: atLeast(1, "run wants a model folder, pictures and -p TEXT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if n := f.sampling().MaxTokens; n != nil && *n < 1 {
				return usage("--max-tokens %d: at least 1", *n)
			}
			if f.batch == "" && !f.json && f.sampling().LogProbs != nil {
				return usage("--logprobs wants --json or --batch")
			}
			if f.batch != "" {
				if len(args) > 1 || cmd.Flags().Changed("prompt") {
					return usage("--batch brings its own pictures and prompts")
				}
				return f.runBatch(cmd.Context(), args[0], cmd.OutOrStdout())
			}
			if !cmd.Flags().Changed("prompt") {
				return usage("run wants a question: -p TEXT")
			}
			err := f.run(cmd.Context(), args[0], args[1:], cmd.OutOrStdout())
			if errors.Is(err, llama3v.ErrOption) { // a flag's value
				return usage("%v", err)
			}
			return err
		},
	}
	f.openFlags.add(cmd)
	flags := cmd.Flags()
	flags.StringVarP(&f.prompt, "prompt", "p", "", "the question")
	flags.StringVar(&f.system, "system", "", "system text before the question")
	flags.StringVar(&f.batch, "batch", "", `JSON Lines of {"pictures": [...], "prompt": "..."} or {"messages": [{"role": "user", "content": ...}, ...]}, "-" for stdin; one answer object a line comes out`)
	flags.BoolVar(&f.json, "json", false, "print one JSON object")
	flags.BoolVar(&f.raw, "raw", false, "take the text as it is, without chat template")
	flags.BoolVar(&f.ignoreEOS, "ignore-eos", false, "go on past the model's end ids")
	flags.BoolVar(&f.defaults, "model-defaults", false, "sample as the model's generation_config.json says; other flags change single settings")
	f.sampling = addSampling(cmd)
	return cmd
}

// generateOptions are those of the flags, then those of a batch line, which win.
func (f *runFlags) generateOptions(line sampling) []llama3v.GenerateOption {
	var opts []llama3v.GenerateOption
	if f.defaults {
		opts = append(opts, llama3v.ModelDefaults()) // first: single settings change it
	}
	opts = append(append(opts, f.sampling().options()...), line.options()...)
	if f.raw {
		opts = append(opts, llama3v.Raw())
	}
	if f.ignoreEOS {
		opts = append(opts, llama3v.IgnoreEOS())
	}
	return opts
}

func (f *runFlags) chat(prompt string, paths []string) llama3v.Chat {
	var pictures []llama3v.Picture
	for _, path := range paths {
		pictures = append(pictures, llama3v.File(path))
	}
	return f.ask(prompt, pictures)
}

func (f *runFlags) ask(prompt string, pictures []llama3v.Picture) llama3v.Chat {
	var chat llama3v.Chat
	if f.system != "" {
		chat = append(chat, llama3v.System(f.system))
	}
	return append(chat, llama3v.User(prompt, pictures...))
}

func (f *runFlags) run(ctx context.Context, model string, paths []string, out io.Writer) error {
	m, err := f.open(ctx, model)
	if err != nil {
		return err
	}
	defer m.Close()
	if f.json {
		answer, err := f.answer(ctx, m, f.chat(f.prompt, paths), sampling{})
		if err != nil {
			return err
		}
		return json.NewEncoder(out).Encode(newAnswerJSON(answer))
	}
	waiting := progress("looking")
	for token, err := range m.Generate(ctx, f.chat(f.prompt, paths), f.generateOptions(sampling{})...) {
		waiting()
		waiting = func() {}
		if err != nil {
			return err
		}
		if _, err := io.WriteString(out, token.Text); err != nil {
			return err
		}
	}
	_, err = io.WriteString(out, "\n")
	return err
}

// answer collects one answer.
func (f *runFlags) answer(ctx context.Context, m *llama3v.Model, conversation llama3v.Chat, line sampling) (*llama3v.Answer, error) {
	defer progress("looking")()
	var answer *llama3v.Answer
	for token, err := range m.Generate(ctx, conversation, f.generateOptions(line)...) {
		if err != nil {
			return nil, err
		}
		answer = token.Answer
	}
	return answer, nil
}

// batchLine is one request of a batch; batchAnswer what comes out for it. A line that fails gives
// an object with its number and the error, and the others go on.
type batchLine struct {
	Pictures []string `json:"pictures"`
	Prompt   *string  `json:"prompt"`
	Messages messages `json:"messages"` // instead of both: a whole conversation
	sampling          // beside or instead of what the flags say
}

type batchError struct {
	Line  int    `json:"line"`
	Error string `json:"error"`
}

func (f *runFlags) runBatch(ctx context.Context, model string, out io.Writer) error {
	in := os.Stdin
	if f.batch != "-" {
		file, err := os.Open(f.batch)
		if err != nil {
			return err
		}
		defer file.Close()
		in = file
	}
	m, err := f.open(ctx, model)
	if err != nil {
		return err
	}
	defer m.Close()

	encoder := json.NewEncoder(out)
	failed, number := 0, 0
	for line, err := range lines(ctx, in) {
		number++
		if err != nil {
			return fmt.Errorf("%s: line %d: %w", f.batch, number, err)
		}
		if len(line) == 0 {
			continue
		}
		answer, err := f.batchAnswer(ctx, m, line)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var object any
		if err != nil {
			failed++
			object = batchError{number, err.Error()}
		} else {
			object = newAnswerJSON(answer)
		}
		if err := encoder.Encode(object); err != nil {
			return err
		}
	}
	if failed > 0 {
		return fmt.Errorf("%s: %d of %d lines failed; their objects say why", f.batch, failed, number)
	}
	return nil
}

// lines gives the lines of in. An ended ctx is its last error, also while in has nothing to say.
func lines(ctx context.Context, in io.Reader) iter.Seq2[[]byte, error] {
	type line struct {
		text []byte
		err  error
	}
	return func(yield func([]byte, error) bool) {
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		found := make(chan line)
		go func() {
			defer close(found)
			scanner := bufio.NewScanner(in)
			scanner.Buffer(nil, 16<<20)
			for more := true; more; {
				next := line{}
				if more = scanner.Scan(); more {
					next.text = slices.Clone(scanner.Bytes())
				} else if next.err = scanner.Err(); next.err == nil {
					return
				}
				select {
				case found <- next:
				case <-ctx.Done():
					return
				}
			}
		}()
		for {
			select {
			case next, ok := <-found:
				if !ok || !yield(next.text, next.err) {
					return
				}
			case <-ctx.Done():
				yield(nil, context.Cause(ctx))
				return
			}
		}
	}
}

func (f *runFlags) batchAnswer(ctx context.Context, m *llama3v.Model, data []byte) (*llama3v.Answer, error) {
	var line batchLine
	if err := json.Unmarshal(data, &line); err != nil {
		return nil, err
	}
	switch {
	case line.Messages != nil && (line.Prompt != nil || line.Pictures != nil):
		return nil, errors.New(`"messages" beside "prompt" or "pictures"; a line has one form`)
	case line.Messages != nil:
		conversation, err := f.conversation(line.Messages)
		if err != nil {
			return nil, err
		}
		return f.answer(ctx, m, conversation, line.sampling)
	case line.Prompt == nil:
		return nil, errors.New(`no "prompt" and no "messages"`)
	}
	pictures := make([]llama3v.Picture, len(line.Pictures))
	for i, text := range line.Pictures {
		var err error
		if pictures[i], err = fileOrData(text); err != nil {
			return nil, fmt.Errorf("picture %d: %w", i+1, err)
		}
	}
	return f.answer(ctx, m, f.ask(*line.Prompt, pictures), line.sampling)
}

// answerJSON is an Answer as commands print it; times in seconds.
type answerJSON struct {
	Answer       string         `json:"answer"`
	TokenIDs     []int32        `json:"token_ids"`
	PromptTokens int            `json:"prompt_tokens"`
	ImageTokens  int            `json:"image_tokens"`
	ReusedTokens int            `json:"reused_tokens"` // of the prompt, taken from an earlier one
	FinishReason string         `json:"finish_reason"`
	StopID       *int32         `json:"stop_id,omitempty"`
	StopText     string         `json:"stop_text,omitempty"`
	Seed         *uint64        `json:"seed,omitempty"`     // of a drawn answer
	LogProbs     []logProbsJSON `json:"logprobs,omitempty"` // per token
	Cached       []bool         `json:"cached"`             // per picture: its features were there already
	Backend      backendJSON    `json:"backend"`
	Timings      timingsJSON    `json:"timings"`
}

type backendJSON struct {
	Name     string `json:"name"`
	Path     string `json:"path"`
	Hash     string `json:"hash"`
	Device   string `json:"device"`
	Emulated bool   `json:"emulated,omitempty"`
}

func (b backendJSON) String() string {
	return llama3v.Backend{Name: b.Name, Device: b.Device, Emulated: b.Emulated}.String()
}

type timingsJSON struct {
	Load                  float64 `json:"load"`
	Preprocess            float64 `json:"preprocess"`
	Encode                float64 `json:"encode"`
	Project               float64 `json:"project"`
	Prefill               float64 `json:"prefill"`
	Decode                float64 `json:"decode"`
	DecodeTokensPerSecond float64 `json:"decode_tokens_per_second"`
}

func newBackendJSON(b llama3v.Backend) backendJSON {
	return backendJSON{b.Name, b.Path, b.Hash, b.Device, b.Emulated}
}

func newAnswerJSON(a *llama3v.Answer) *answerJSON {
	seconds := time.Duration.Seconds
	cached := make([]bool, len(a.Pictures))
	for i, p := range a.Pictures {
		cached[i] = p.Cached
	}
	object := &answerJSON{
		Answer: a.Text, TokenIDs: a.TokenIDs, PromptTokens: a.PromptTokens, ImageTokens: a.ImageTokens,
		ReusedTokens: a.ReusedTokens,
		FinishReason: string(a.FinishReason), StopText: a.StopText, LogProbs: newLogProbsJSON(a.LogProbs), Cached: cached, Backend: newBackendJSON(a.Backend),
		Timings: timingsJSON{
			Load: seconds(a.Timings.Load), Preprocess: seconds(a.Timings.Preprocess), Encode: seconds(a.Timings.Encode),
			Project: seconds(a.Timings.Project), Prefill: seconds(a.Timings.Prefill), Decode: seconds(a.Timings.Decode),
			DecodeTokensPerSecond: a.Timings.DecodeRate(),
		},
	}
	if a.FinishReason == llama3v.FinishStop {
		object.StopID = &a.StopID
	}
	if a.Sampled {
		object.Seed = &a.Seed
	}
	return object
}

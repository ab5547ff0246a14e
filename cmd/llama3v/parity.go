package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/llama3v/llama3v"
)

type parityFlags struct {
	openFlags
	backends string
	pictures []string
	prompt   string
	bound    float64
	tokens   int
	json     bool
}

// parityJSON compares two backends on one question.
type parityJSON struct {
	Backends  []backendJSON `json:"backends"`
	Layers    []layerJSON   `json:"layers"`
	Bound     float64       `json:"bound"`
	Answers   []string      `json:"answers"`
	TokenIDs  [][]int32     `json:"token_ids"`
	Agree     int           `json:"tokens_agree"` // from the start
	Tolerated bool          `json:"within_bound"`
}

type layerJSON struct {
	Name    string  `json:"name"`
	Rows    int     `json:"rows"`
	Cols    int     `json:"cols"`
	NMSE    float64 `json:"nmse"`
	Largest float64 `json:"largest_difference"`
}

func newParity() *cobra.Command {
	f := &parityFlags{}
	cmd := &cobra.Command{
		Use:   "parity MODEL --backends A,B [--picture FILE]...",
		Short: "Compare two backends, open at once, layer by layer and token by token",
		Long: `Compare two backends, open at once, layer by layer and token by token.

A backend is a name (cpu), a name with a kernel set (cpu:scalar), or the path of a
library. It exits with 1 when a layer differs by more than --bound (normalised
squared error), when the greedy tokens differ, and when both are one library with
one kernel set, which proves nothing.`,
		Example: `  llama3v parity testdata/demo --backends cpu:avx2,cpu:avx512 --picture dog.jpg`,
		Args:    exactly(1, "parity wants a model folder"),
		RunE: func(cmd *cobra.Command, args []string) error {
			names := strings.Split(f.backends, ",")
			if len(names) != 2 || names[0] == "" || names[1] == "" {
				return usage("--backends wants two, as in cpu,cuda or cpu:avx2,cpu:avx512")
			}
			return f.run(cmd.Context(), args[0], names, cmd.OutOrStdout())
		},
	}
	f.openFlags.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.backends, "backends", "", "the two backends, separated by a comma")
	flags.StringArrayVar(&f.pictures, "picture", nil, "a picture to look at; may be given again")
	flags.StringVarP(&f.prompt, "prompt", "p", "Describe the picture.", "the question")
	flags.Float64Var(&f.bound, "bound", 1e-9, "most normalised squared error of a layer")
	flags.IntVar(&f.tokens, "max-tokens", 32, "tokens to compare")
	flags.BoolVar(&f.json, "json", false, "print one JSON object")
	return cmd
}

// traced is one backend's run: its layers in order, and its answer.
type traced struct {
	names  []string
	layers map[string]layer
	answer *llama3v.Answer
}

type layer struct {
	rows, cols int
	data       []float32
}

func (f *parityFlags) run(ctx context.Context, path string, names []string, out io.Writer) error {
	var runs [2]*traced
	var models [2]*llama3v.Model
	for i, name := range names {
		opts, err := backendOptions(name)
		if err != nil {
			return err
		}
		m, err := f.open(ctx, path, opts...)
		if err != nil {
			return fmt.Errorf("backend %s: %w", name, err)
		}
		defer m.Close()
		models[i] = m
	}
	if a, b := models[0].Backend(), models[1].Backend(); a.Hash == b.Hash && a.Device == b.Device {
		return fmt.Errorf("backends %s are the same: %s, sha256 %s", strings.Join(names, " and "), a.Path, a.Hash)
	}
	for i, m := range models {
		var err error
		if runs[i], err = f.trace(ctx, m); err != nil {
			return fmt.Errorf("backend %s: %w", names[i], err)
		}
	}
	report := compare(runs[0], runs[1], f.bound)
	if err := report.print(out, f.json); err != nil {
		return err
	}
	if !report.Tolerated {
		return fmt.Errorf("backends %s differ by more than %.0e in a layer", strings.Join(names, " and "), f.bound)
	}
	if report.Agree < max(len(report.TokenIDs[0]), len(report.TokenIDs[1])) {
		return fmt.Errorf("backends %s agree in the first %d tokens only", strings.Join(names, " and "), report.Agree)
	}
	return nil
}

// backendOptions reads a name, a name with a kernel set, or a path.
func backendOptions(name string) ([]llama3v.Option, error) {
	if strings.ContainsRune(name, filepath.Separator) {
		path, err := filepath.Abs(name)
		return []llama3v.Option{llama3v.WithLibrary(path), llama3v.WithBackend("auto")}, err
	}
	backend, kernels, _ := strings.Cut(name, ":")
	return []llama3v.Option{llama3v.WithBackend(backend), llama3v.WithKernels(kernels)}, nil
}

func (f *parityFlags) trace(ctx context.Context, m *llama3v.Model) (*traced, error) {
	run := &traced{layers: map[string]layer{}}
	tap := llama3v.Tap(func(name string, rows, cols int, data []float32) {
		if _, again := run.layers[name]; !again {
			run.names = append(run.names, name)
		}
		run.layers[name] = layer{rows, cols, data} // of several pieces of a prompt, the last
	})
	var pictures []llama3v.Picture
	for _, path := range f.pictures {
		pictures = append(pictures, llama3v.File(path))
	}
	for token, err := range m.Generate(ctx, llama3v.Chat{llama3v.User(f.prompt, pictures...)}, llama3v.MaxTokens(f.tokens), tap) {
		if err != nil {
			return nil, err
		}
		run.answer = token.Answer
	}
	return run, nil
}

func compare(a, b *traced, bound float64) *parityJSON {
	report := &parityJSON{
		Backends: []backendJSON{newBackendJSON(a.answer.Backend), newBackendJSON(b.answer.Backend)},
		Bound:    bound,
		Answers:  []string{a.answer.Text, b.answer.Text},
		TokenIDs: [][]int32{a.answer.TokenIDs, b.answer.TokenIDs},
	}
	report.Tolerated = len(a.names) == len(b.names) && len(a.names) > 0
	for _, name := range a.names {
		x, y := a.layers[name], b.layers[name]
		row := layerJSON{Name: name, Rows: x.rows, Cols: x.cols}
		row.NMSE, row.Largest = difference(x.data, y.data)
		if row.NMSE > bound {
			report.Tolerated = false
		}
		report.Layers = append(report.Layers, row)
	}
	for report.Agree < min(len(a.answer.TokenIDs), len(b.answer.TokenIDs)) &&
		a.answer.TokenIDs[report.Agree] == b.answer.TokenIDs[report.Agree] {
		report.Agree++
	}
	return report
}

// difference is the normalised squared error of x against y, and the largest difference.
func difference(x, y []float32) (nmse, largest float64) {
	if len(x) != len(y) {
		return math.MaxFloat64, math.MaxFloat64
	}
	var errors, norm float64
	for i := range x {
		d := float64(x[i]) - float64(y[i])
		errors += d * d
		norm += float64(y[i]) * float64(y[i])
		largest = math.Max(largest, math.Abs(d))
	}
	if errors == 0 {
		return 0, 0
	}
	if nmse = errors / norm; math.IsNaN(nmse) || math.IsInf(nmse, 0) {
		return math.MaxFloat64, math.MaxFloat64 // JSON has no word for them
	}
	return nmse, largest
}

func (r *parityJSON) print(out io.Writer, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(out).Encode(r)
	}
	for i, b := range r.Backends {
		fmt.Fprintf(out, "%c: %s, %s, sha256 %s\n", 'A'+i, b, b.Path, b.Hash)
	}
	for _, l := range r.Layers {
		fmt.Fprintf(out, "%-26s [%d, %d]  nmse %.1e  largest difference %.1e\n", l.Name, l.Rows, l.Cols, l.NMSE, l.Largest)
	}
	_, err := fmt.Fprintf(out, "tokens: %d agree of %d and %d\nA: %s\nB: %s\n", r.Agree, len(r.TokenIDs[0]), len(r.TokenIDs[1]), r.Answers[0], r.Answers[1])
	return err
}

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"github.com/llama3v/llama3v/bench"
)

// Record is what was run on a card on a day.
type Record struct {
	Card            string   `json:"card"`
	Emulated        bool     `json:"emulated,omitempty"` // no card: kernels ran on the CPU
	Multiprocessors int      `json:"multiprocessors"`
	Memory          int64    `json:"memory"` // bytes
	Driver          string   `json:"driver,omitempty"`
	Library         string   `json:"library_sha256"`
	ABI             string   `json:"abi"`
	Commit          string   `json:"commit,omitempty"`
	Date            string   `json:"date"`
	Results         []Result `json:"results"`

	folder string
}

// Result is the outcome of one step.
type Result struct {
	Name     string          `json:"name"`
	Group    string          `json:"group"`
	Command  string          `json:"command,omitempty"`
	OK       bool            `json:"ok"`
	Seconds  float64         `json:"seconds,omitempty"`
	Passed   int             `json:"passed,omitempty"`
	Failed   int             `json:"failed,omitempty"`
	Skipped  int             `json:"skipped,omitempty"`
	Failures []string        `json:"failures,omitempty"`
	LeftOut  string          `json:"left_out,omitempty"` // on the emulator
	Output   string          `json:"output,omitempty"`   // the end of it, of a step that failed
	Data     json.RawMessage `json:"data,omitempty"`     // what the command printed
}

// openRecord is the day's record of the same library on the same card, or a new one.
func openRecord(folder string, fresh Record) (*Record, error) {
	fresh.folder = folder
	data, err := os.ReadFile(fresh.path(".json"))
	if errors.Is(err, fs.ErrNotExist) {
		return &fresh, nil
	}
	if err != nil {
		return nil, err
	}
	var old Record
	if err := json.Unmarshal(data, &old); err != nil {
		return nil, fmt.Errorf("%s: %w", fresh.path(".json"), err)
	}
	if old.Library == fresh.Library {
		fresh.Results = old.Results
	}
	return &fresh, nil
}

// add takes the place of an earlier result of the name.
func (r *Record) add(result Result) {
	at := slices.IndexFunc(r.Results, func(old Result) bool { return old.Name == result.Name })
	if at < 0 {
		r.Results = append(r.Results, result)
		return
	}
	r.Results[at] = result
}

// path is the record's file: "docs/hardware/nvidia-h100-80gb-hbm3-9-0-2026-11-25.md".
func (r *Record) path(extension string) string {
	words := strings.FieldsFunc(strings.ToLower(r.Card), func(c rune) bool { return !unicode.IsLetter(c) && !unicode.IsDigit(c) })
	return filepath.Join(r.folder, strings.Join(append(words, r.Date), "-")+extension)
}

func (r *Record) write() error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	text, err := r.markdown()
	if err != nil {
		return err
	}
	return errors.Join(os.MkdirAll(r.folder, 0o755), os.WriteFile(r.path(".json"), append(data, '\n'), 0o644),
		os.WriteFile(r.path(".md"), []byte(text), 0o644))
}

// verdict is a result in a few words.
func (r *Result) verdict() string {
	switch {
	case r.Command == "":
		return "left out: " + r.LeftOut
	case !r.OK && len(r.Failures) > 0:
		return "FAILED: " + strings.Join(r.Failures, ", ")
	case !r.OK:
		return "FAILED"
	}
	text := "ok"
	if r.Passed > 0 {
		text = fmt.Sprintf("%d tests passed, %d skipped", r.Passed, r.Skipped)
	}
	if r.LeftOut != "" {
		text += "; left out: " + r.LeftOut
	}
	return text
}

// parity is what the record says of llama3v parity's object.
type parity struct {
	Backends []struct{ Hash string }  `json:"backends"`
	Layers   []struct{ NMSE float64 } `json:"layers"`
	TokenIDs [][]int32                `json:"token_ids"`
	Agree    int                      `json:"tokens_agree"`
}

func (r *Record) markdown() (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s, %s\n\n", r.Card, r.Date)
	if r.Emulated {
		b.WriteString("**Emulated: the kernels ran on a CPU. This shows that the steps work, and nothing about a card.**\n\n")
	}
	fmt.Fprintf(&b, "%d multiprocessors, %.1f GB, driver %s, library %.12s (interface %s), commit %s.\n\n", r.Multiprocessors,
		float64(r.Memory)/1e9, orUnknown(r.Driver), r.Library, r.ABI, orUnknown(r.Commit))
	b.WriteString("| step | outcome | seconds |\n| --- | --- | ---: |\n")
	for _, result := range r.Results {
		fmt.Fprintf(&b, "| %s | %s | %.1f |\n", result.Name, result.verdict(), result.Seconds)
	}
	for _, result := range r.Results {
		if result.Data == nil {
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n\n`%s`\n\n", result.Name, result.Command)
		if result.Group == groupBench {
			var rows []bench.Row
			if err := json.Unmarshal(result.Data, &rows); err != nil {
				return "", fmt.Errorf("%s: %w", result.Name, err)
			}
			b.WriteString("| op | types | shape | microseconds | rate | measured bound | share |\n| --- | --- | --- | ---: | ---: | ---: | ---: |\n")
			for _, row := range rows {
				fmt.Fprintf(&b, "| %s | %s | %v | %.1f | %.1f %s | %.1f | %.1f %% |\n", row.Op, row.DType, row.Shape, 1e6*row.Seconds,
					row.Rate, row.Unit, row.Bound, 100*row.Share)
			}
			continue
		}
		var p parity
		if err := json.Unmarshal(result.Data, &p); err != nil {
			return "", fmt.Errorf("%s: %w", result.Name, err)
		}
		largest, tokens := 0.0, 0
		for _, l := range p.Layers {
			largest = max(largest, l.NMSE)
		}
		for _, ids := range p.TokenIDs {
			tokens = max(tokens, len(ids))
		}
		fmt.Fprintf(&b, "Largest normalised squared error of %d layers %.1e; %d of %d tokens agree.\n", len(p.Layers), largest, p.Agree, tokens)
	}
	return b.String(), nil
}

func orUnknown(text string) string {
	if text == "" {
		return "unknown"
	}
	return text
}

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/llama3v/llama3v"
)

func newInspect() *cobra.Command {
	f := &openFlags{}
	var asJSON, all bool
	cmd := &cobra.Command{
		Use:   "inspect PATH",
		Short: "Show a model folder's or a weights file's tensors, types, config and memory plan",
		Args:  exactly(1, "inspect wants a model folder, or a GGUF or safetensors file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts, err := f.options()
			if err != nil {
				return err
			}
			d, err := llama3v.Inspect(cmd.Context(), args[0], opts...)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(newInspectJSON(d))
			}
			return printInspect(cmd.OutOrStdout(), d, all)
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	cmd.Flags().BoolVar(&all, "tensors", false, "list every tensor")
	return cmd
}

type tensorJSON struct {
	Name  string `json:"name"`
	DType string `json:"dtype"`
	Shape []int  `json:"shape"`
	Bytes int64  `json:"bytes"`
	File  string `json:"file"`
}

type inspectJSON struct {
	Path       string         `json:"path"`
	Files      []string       `json:"files"`
	Types      map[string]int `json:"types"`
	Bytes      int64          `json:"bytes"`
	Values     int64          `json:"values"`
	Config     any            `json:"config,omitempty"`
	Plan       *llama3v.Plan  `json:"plan,omitempty"`
	PlanTotal  int64          `json:"plan_total,omitempty"`
	Context    int            `json:"context,omitempty"`
	Vocabulary int            `json:"vocabulary,omitempty"`
	Template   bool           `json:"chat_template"`
	Unused     []string       `json:"unused,omitempty"`
	Problems   []string       `json:"problems,omitempty"`
	Tensors    []tensorJSON   `json:"tensors"`
}

func newInspectJSON(d *llama3v.Description) inspectJSON {
	out := inspectJSON{Path: d.Path, Files: d.Files, Types: d.Types, Bytes: d.Bytes, Values: d.Values, Plan: d.Plan,
		Context: d.Context, Vocabulary: d.Vocabulary, Template: d.Template, Unused: d.Unused, Problems: d.Problems, Tensors: []tensorJSON{}}
	if d.Config != nil {
		out.Config = d.Config
	}
	if d.Plan != nil {
		out.PlanTotal = d.Plan.Total()
	}
	for _, t := range d.Tensors {
		out.Tensors = append(out.Tensors, tensorJSON{t.Name, t.DType.String(), append([]int{}, t.Shape...), t.Bytes, t.File})
	}
	return out
}

func printInspect(out io.Writer, d *llama3v.Description, all bool) error {
	var b strings.Builder
	fmt.Fprintf(&b, "path        %s\nfiles       %s\n", d.Path, strings.Join(d.Files, ", "))
	var types []string
	for _, name := range slices.Sorted(maps.Keys(d.Types)) {
		types = append(types, fmt.Sprintf("%d %s", d.Types[name], name))
	}
	fmt.Fprintf(&b, "tensors     %d (%s), %d values, %d bytes\n", len(d.Tensors), strings.Join(types, ", "), d.Values, d.Bytes)
	if c := d.Config; c != nil {
		fmt.Fprintf(&b, "family      %s\n", c.Family)
		if v := c.Vision; v != nil {
			fmt.Fprintf(&b, "vision      %d px, patch %d (%d patches), width %d, %d layers, %d heads of %d, mlp %d\n",
				v.ImageSize, v.Patch, v.Patches(), v.Dim, v.Layers, v.Heads, v.Dim/v.Heads, v.Hidden)
		}
		if w := c.Words; w != nil && (d.Plan == nil || d.Plan.Text > 0) { // a config may speak of a tower that is not there
			fmt.Fprintf(&b, "text        %d tokens of %d, width %d, %d layers, %d heads of %d, mlp %d; tokenizer %d ids\n",
				w.Length, w.Vocab, w.Dim, w.Layers, w.Heads, w.Dim/w.Heads, w.Hidden, d.Vocabulary)
		}
		if p := c.Projector; p != nil {
			fmt.Fprintf(&b, "projector   %s, on vision layer %d\n", p, c.Features.Layer)
		}
		if t := c.Text; t != nil {
			tied := "own"
			if t.Tied {
				tied = "tied"
			}
			fmt.Fprintf(&b, "decoder     vocabulary %d (%s output), width %d, %d layers, %d heads on %d of %d, mlp %d, %d positions\n",
				t.Vocab, tied, t.Dim, t.Layers, t.Heads, t.KVHeads, t.HeadDim, t.Hidden, t.MaxPositions)
			fmt.Fprintf(&b, "tokens      begin %d, end %v, tokenizer %d ids, chat template %v\n", c.BOS, c.EOS, d.Vocabulary, d.Template)
		}
	}
	if d.Plan != nil {
		fmt.Fprintf(&b, "plan        %d bytes (%s), context %d\n", d.Plan.Total(), *d.Plan, d.Context)
	}
	if len(d.Unused) > 0 {
		fmt.Fprintf(&b, "unused      %s\n", strings.Join(d.Unused, ", "))
	}
	for _, problem := range d.Problems {
		fmt.Fprintf(&b, "problem     %s\n", strings.ReplaceAll(problem, "\n", "; "))
	}
	if all || d.Config == nil {
		for _, t := range d.Tensors {
			fmt.Fprintf(&b, "%-5s %-14s %12d  %s\n", t.DType, strings.ReplaceAll(fmt.Sprint(t.Shape), " ", ", "), t.Bytes, t.Name)
		}
	}
	_, err := io.WriteString(out, b.String())
	return err
}

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/llama3v/llama3v/bench"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/weights"
)

// planModel prints a model's steps on a card; w and compute are the flags' values. What lies between
// products is planned in the products' type, and summed up in float32 besides.
func planModel(cmd *cobra.Command, asJSON bool, card, name string, w weights.DType, compute ops.DType, layers int) error {
	if !cmd.Flags().Changed("activations") {
		compute = ops.BF16
	}
	var kept []ops.DType
	switch compute {
	case ops.F32:
		kept = []ops.DType{ops.F32}
	case ops.BF16:
		kept = []ops.DType{ops.BF16, ops.F32}
	default:
		return usage("--activations %s with --plan: one of f32, bf16", cmd.Flag("activations").Value)
	}
	types := []weights.DType{w}
	if !cmd.Flags().Changed("weights") && bench.IsDecoder(name) {
		types = append(types, weights.Q8_0, weights.Q4_0)
	}
	var planned bench.Card
	var steps []bench.Step
	for _, t := range types {
		for _, k := range kept {
			c, list, err := bench.NewPlan(card, name, t, compute, k, layers)
			if err != nil {
				return err
			}
			planned, steps = c, append(steps, list...)
		}
	}
	out := cmd.OutOrStdout()
	if asJSON {
		return json.NewEncoder(out).Encode(steps)
	}
	fmt.Fprintf(out, "%s. On paper: nothing of this was run.\n", planned)
	for _, s := range steps {
		if s.Kept == kept[0].String() && len(s.Rows) > 0 {
			printOps(out, planned, s)
		}
	}
	fmt.Fprintf(out, "\n%-17s %-25s %-7s %-4s %8s %18s %18s\n", "model", "step", "weights", "kept", "launches", "bound", "in tiles")
	for _, s := range steps {
		line := fmt.Sprintf("%-17s %-25s %-7s %-4s %8d %18s %18s  %s", s.Model, s.Name, s.Weights, s.Kept, s.Launches,
			perSecond(s, s.Bound), perSecond(s, s.Tiled), goal(s))
		if _, err := fmt.Fprintln(out, strings.TrimSpace(line)); err != nil {
			return err
		}
	}
	return nil
}

func printOps(out io.Writer, c bench.Card, s bench.Step) {
	fmt.Fprintf(out, "\n%s, %s: weights %s, products %s, kept %s; µs of one op, without %.2f for each launch\n",
		s.Model, s.Name, s.Weights, s.Compute, s.Kept, c.Launch()*1e6)
	fmt.Fprintf(out, "%-12s %-16s %5s %-18s %9s %9s %9s %-12s %-14s %6s %5s %9s\n",
		"op", "kind", "times", "shape", "MB", "GFLOP", "bound", "by", "tile/splits", "waves", "used", "in tiles")
	for _, r := range s.Rows {
		shape, waves, used, flop := "", "", "", ""
		if r.M > 0 {
			shape = fmt.Sprintf("%dx%dx%d", r.M, r.N, r.K)
		}
		if r.Waves > 0 {
			waves = fmt.Sprintf("%.2f", r.Waves)
		}
		if r.Used > 0 {
			used = fmt.Sprintf("%.0f%%", 100*r.Used)
		}
		if r.Operations > 0 {
			flop = fmt.Sprintf("%.3f", r.Operations/1e9)
		}
		fmt.Fprintf(out, "%-12s %-16s %5d %-18s %9.3f %9s %9.2f %-12s %-14s %6s %5s %9.2f\n", r.Name, r.Kind, r.Times, shape,
			float64(r.Far+r.Near)/1e6, flop, r.Bound*1e6, r.Limit, r.Tile, waves, used, r.Tiled*1e6)
	}
}

// perSecond is a step's time, and what it brings a second.
func perSecond(s bench.Step, seconds float64) string {
	return fmt.Sprintf("%.2f ms %6.0f/s", seconds*1e3, float64(s.Count)/seconds)
}

func goal(s bench.Step) string {
	g := s.Goal
	if g == nil {
		return ""
	}
	values := fmt.Sprintf("%.0f to %.0f %s/s", g.Least, g.Aim, s.Unit)
	if g.Seconds {
		values = fmt.Sprintf("%.0f to %.0f ms", g.Least*1e3, g.Aim*1e3)
	}
	share := func(value, seconds float64) float64 { return 100 * g.Share(value, s.Count, seconds) }
	return fmt.Sprintf("goal %s: the bound is %.0f to %.0f%% of that time, in tiles %.0f to %.0f%%", values,
		share(g.Least, s.Bound), share(g.Aim, s.Bound), share(g.Least, s.Tiled), share(g.Aim, s.Tiled))
}

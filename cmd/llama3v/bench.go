package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/llama3v/llama3v/bench"
	"github.com/llama3v/llama3v/binding"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/weights"
)

// benchFlags choose the device to measure on.
type benchFlags struct {
	backend   string
	library   string
	kernels   string
	invariant bool
	threads   int
	repeat    time.Duration
	json      bool
}

func (f *benchFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.backend, "backend", "auto", "backend: cpu, cuda, metal, auto")
	flags.StringVar(&f.library, "library", "", "path of the backend library")
	flags.StringVar(&f.kernels, "kernels", "", kernelsHelp)
	flags.BoolVar(&f.invariant, "batch-invariant", false, "measure the kernels of batch-invariant contexts")
	flags.IntVar(&f.threads, "threads", 0, "cpu threads (default: one per usable core)")
	flags.DurationVar(&f.repeat, "time", bench.DefaultRepeat, "how long to measure each op")
	flags.BoolVar(&f.json, "json", false, "print a JSON list")
}

// meter opens the device. Close it with what is returned.
func (f *benchFlags) meter() (*bench.Meter, binding.Capabilities, func() error, error) {
	library, _, err := binding.Find(f.backend, f.library)
	if err != nil {
		return nil, binding.Capabilities{}, nil, err
	}
	c, err := library.NewContext(binding.ContextOptions{Threads: f.threads, Kernels: f.kernels, BatchInvariant: f.invariant})
	if err != nil {
		return nil, binding.Capabilities{}, nil, err
	}
	device := ops.NewDevice(c, library.Capabilities())
	return bench.NewMeter(device, f.repeat), library.Capabilities(), device.Close, nil
}

func newBench() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure ops or whole models beside the bound the machine reaches in the same run",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("unknown command %q for bench", args[0])
			}
			return nil
		},
		RunE: func(*cobra.Command, []string) error { return usage("bench wants ops or model") },
	}
	cmd.AddCommand(newBenchOps(), newBenchModel())
	return cmd
}

func newBenchOps() *cobra.Command {
	f := &benchFlags{}
	var names []string
	cmd := &cobra.Command{
		Use:   "ops",
		Short: "Measure every op and type at the real shapes",
		Args:  exactly(0, "bench ops takes no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			m, caps, done, err := f.meter()
			if err != nil {
				return err
			}
			defer done()
			finish := progress("measuring")
			rows, err := m.Ops(names, nil)
			finish()
			if err != nil {
				return err
			}
			return f.print(cmd.OutOrStdout(), m, caps, rows)
		},
	}
	f.add(cmd)
	cmd.Flags().StringSliceVar(&names, "ops", nil, "ops to measure (default: all): "+strings.Join(bench.Names(), ", "))
	return cmd
}

func newBenchModel() *cobra.Command {
	f := &benchFlags{}
	var dtype, compute, card string
	var layers int
	cmd := &cobra.Command{
		Use:   "model NAME",
		Short: "Measure a real model's shape with random weights, or plan it for a card on paper",
		Long: "Measure a real model's shape with random weights: " + strings.Join(bench.Models(), ", ") + ".\n\n" +
			"With --plan nothing runs: for each op of a step it prints what is read, written and multiplied, the\n" +
			"time that a card needs for it at least, and what the tiles of the CUDA backend make of that.",
		Args: exactly(1, "bench model wants a name: "+strings.Join(bench.Models(), ", ")),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, ok := benchWeights()[dtype]
			if !ok {
				return usage("--weights %s: one of %s", dtype, benchWeightNames())
			}
			c, ok := map[string]ops.DType{"f32": ops.F32, "bf16": ops.BF16, "int8": ops.I8}[compute]
			if !ok {
				return usage("--activations %s: one of f32, bf16, int8", compute)
			}
			if card != "" {
				return planModel(cmd, f.json, card, args[0], t, c, layers)
			}
			if c == ops.I8 && !t.Quantized() {
				return usage("--activations int8 is for quantised weights, not for %s", dtype)
			}
			m, caps, done, err := f.meter()
			if err != nil {
				return err
			}
			defer done()
			rows, err := benchModel(cmd.Context(), m, args[0], t, c, layers)
			if err != nil {
				return err
			}
			return f.print(cmd.OutOrStdout(), m, caps, rows)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&dtype, "weights", "bf16", "type of the weights: "+benchWeightNames())
	cmd.Flags().StringVar(&compute, "activations", "f32", "type of activations in products: f32, bf16, int8")
	cmd.Flags().IntVar(&layers, "layers", 0, "measure this many layers (default: all)")
	cmd.Flags().StringVar(&card, "plan", "", "plan on paper for a card: "+strings.Join(bench.Cards(), ", ")+
		" (activations bf16, weights bf16 and of decoders q8_0 and q4_0, unless given)")
	return cmd
}

// benchWeights are the types that a model's weights can be made up in, by name.
func benchWeights() map[string]weights.DType {
	types := map[string]weights.DType{}
	for _, t := range append([]weights.DType{weights.F32, weights.F16, weights.BF16}, weights.Quantized...) {
		types[strings.ToLower(t.String())] = t
	}
	return types
}

func benchWeightNames() string { return strings.Join(slices.Sorted(maps.Keys(benchWeights())), ", ") }

func benchModel(ctx context.Context, m *bench.Meter, name string, t weights.DType, c ops.DType, layers int) ([]bench.Row, error) {
	defer progress("measuring " + name)()
	return m.Model(ctx, name, t, c, layers)
}

func (f *benchFlags) print(out io.Writer, m *bench.Meter, caps binding.Capabilities, rows []bench.Row) error {
	if f.json {
		return json.NewEncoder(out).Encode(rows)
	}
	fmt.Fprintln(out, caps)
	for _, b := range m.Bounds() {
		fmt.Fprintf(out, "bound  %-32s %9.1f %-8s %6.1f a cycle and core\n", b.Name, b.Rate, b.Unit, b.PerCycle)
	}
	fmt.Fprintf(out, "%-28s %-16s %-22s %11s %9s %-8s %6s\n", "op", "types", "shape", "seconds", "rate", "", "share")
	for _, r := range rows {
		shape := strings.ReplaceAll(fmt.Sprint(r.Shape), " ", ",")
		if _, err := fmt.Fprintf(out, "%-28s %-16s %-22s %11.3g %9.1f %-8s %5.1f%%\n", r.Op, r.DType, shape, r.Seconds, r.Rate, r.Unit, 100*r.Share); err != nil {
			return err
		}
	}
	return nil
}

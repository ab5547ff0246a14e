package main

import (
	"context"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/llama3v/llama3v"
	"github.com/llama3v/llama3v/hub"
	"github.com/llama3v/llama3v/model/weights"
)

// openFlags are the flags of every command that opens a model.
type openFlags struct {
	backend     string
	library     string
	activations string
	quantize    string
	alpha       string
	kernels     string
	projector   string
	packed      string
	eyeLayers   int
	eyeAct      string
	threads     int
	context     int
	memory      int64
	invariant   bool
	verbose     bool
}

const kernelsHelp = "kernel set, of cpu: scalar, avx2, avx512, neon; of cuda: plain, sm80, sm90 (default: the best there is)"

func (f *openFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.backend, "backend", "", "backend: cpu, cuda, metal, or auto (default: LLAMA3V_BACKEND, then auto)")
	flags.StringVar(&f.library, "library", "", "path of the backend library to open")
	flags.StringVar(&f.activations, "activations", "f32", "type of activations in products: f32, bf16, int8, or auto (int8 for quantised weights, else f32)")
	flags.StringVar(&f.quantize, "quantize", "", "turn float weights of linear layers into a block type while loading: Q4_0, Q8_0, Q4_K ...")
	flags.StringVar(&f.alpha, "alpha", "white", "transparency: white (over white) or drop (as the reference processors do)")
	flags.StringVar(&f.kernels, "kernels", "", kernelsHelp)
	flags.BoolVar(&f.invariant, "batch-invariant", false, "results never depend on what else is in a batch, at the price of speed on a GPU")
	flags.IntVar(&f.eyeLayers, "vision-layers", 0, "layers of an mmproj file's tower that run (default: the one the file names, or all)")
	flags.StringVar(&f.eyeAct, "vision-activation", "", "activation of an mmproj file's tower: gelu_tanh, gelu_erf, gelu_quick, silu (default: the file's)")
	flags.StringVar(&f.projector, "projector", "", "mmproj file of a GGUF model (default: the one beside it)")
	flags.StringVar(&f.packed, "packed-cache", "", "folder that keeps packed (and quantised) weights for the next time")
	flags.IntVar(&f.threads, "threads", 0, "cpu threads (default: one per usable core)")
	flags.IntVar(&f.context, "context", 0, "most positions of a conversation (default: the model's, at most 4096)")
	flags.Int64Var(&f.memory, "memory-limit", 0, "most bytes on the device (default: what is free)")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "log decisions and timings to stderr")
}

func (f *openFlags) options() ([]llama3v.Option, error) {
	opts := []llama3v.Option{
		llama3v.WithActivations(llama3v.Activations(f.activations)), llama3v.WithThreads(f.threads),
		llama3v.WithContext(f.context), llama3v.WithMemoryLimit(f.memory), llama3v.WithKernels(f.kernels),
	}
	switch f.activations {
	case "f32", "bf16", "int8", "auto":
	default:
		return nil, usage("--activations %s: one of f32, bf16, int8, auto", f.activations)
	}
	if f.quantize != "" {
		t, ok := weights.ParseBlockType(f.quantize)
		if !ok {
			return nil, usage("--quantize %s: one of %v", f.quantize, weights.Quantized)
		}
		opts = append(opts, llama3v.WithQuantization(t))
	}
	switch f.alpha {
	case "white":
		opts = append(opts, llama3v.WithAlpha(llama3v.AlphaWhite))
	case "drop":
		opts = append(opts, llama3v.WithAlpha(llama3v.AlphaDrop))
	default:
		return nil, usage("--alpha %s: white or drop", f.alpha)
	}
	switch f.backend {
	case "":
	case "auto", "cpu", "cuda", "metal":
		opts = append(opts, llama3v.WithBackend(f.backend))
	default:
		return nil, usage("--backend %s: one of auto, cpu, cuda, metal", f.backend)
	}
	for name, value := range map[string]int64{"threads": int64(f.threads), "context": int64(f.context), "memory-limit": f.memory, "vision-layers": int64(f.eyeLayers)} {
		if value < 0 {
			return nil, usage("--%s %d: below zero", name, value)
		}
	}
	switch f.eyeAct {
	case "", "gelu_tanh", "gelu_erf", "gelu_quick", "silu":
	default:
		return nil, usage("--vision-activation %s: one of gelu_tanh, gelu_erf, gelu_quick, silu", f.eyeAct)
	}
	opts = append(opts, llama3v.WithVisionLayers(f.eyeLayers), llama3v.WithVisionActivation(f.eyeAct))
	if f.invariant {
		opts = append(opts, llama3v.WithBatchInvariant())
	}
	if f.packed != "" {
		opts = append(opts, llama3v.WithPackedCache(f.packed))
	}
	if f.projector != "" {
		opts = append(opts, llama3v.WithProjector(f.projector))
	}
	if f.library != "" {
		opts = append(opts, llama3v.WithLibrary(f.library))
	}
	if f.verbose {
		opts = append(opts, llama3v.WithLogger(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))))
	}
	return opts, nil
}

func (f *openFlags) open(ctx context.Context, path string, more ...llama3v.Option) (*llama3v.Model, error) {
	opts, err := f.options()
	if err != nil {
		return nil, err
	}
	if hub.IsRef(path) {
		if path, err = pull(ctx, path); err != nil {
			return nil, err
		}
	}
	defer progress("reading " + path)()
	return llama3v.Open(ctx, path, append(opts, more...)...)
}

// progress says on stderr what takes long: once a second has passed, and only to a terminal. Call
// what it returns when the work is done.
func progress(what string) (done func()) {
	if !term.IsTerminal(int(os.Stderr.Fd())) {
		return func() {}
	}
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		begin, shown := time.Now(), false
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				os.Stderr.WriteString("\r" + what + ", " + time.Since(begin).Round(time.Second).String() + "\x1b[K")
				shown = true
			case <-stop:
				if shown {
					os.Stderr.WriteString("\r\x1b[K")
				}
				return
			}
		}
	}()
	return func() { close(stop); <-ended }
}

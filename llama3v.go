// Package llama3v looks at pictures and answers, in the caller's own process.
//
// A SigLIP encoder turns a picture into patch embeddings, a projection block puts them beside the
// text, and a Llama 3 decoder continues. Kernels live in one shared library per backend, opened at
// run time; this package needs no cgo and never needs a rebuild to change backends.
//
//	m, err := llama3v.Open(ctx, "testdata/demo")
//	if err != nil {
//		log.Fatal(err)
//	}
//	defer m.Close()
//	answer, err := m.Ask(ctx, "What is this?", llama3v.File("cat.jpg"))
//
// A [Model] is safe for many goroutines. What a call returns does not depend on what else runs.
package llama3v

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"time"

	"github.com/llama3v/llama3v/binding"
	"github.com/llama3v/llama3v/model/chat"
	"github.com/llama3v/llama3v/model/imageprep"
	"github.com/llama3v/llama3v/model/llama"
	"github.com/llama3v/llama3v/model/load"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/siglip"
	"github.com/llama3v/llama3v/model/tokenizer"
	"github.com/llama3v/llama3v/model/vlm"
	"github.com/llama3v/llama3v/model/weights"
)

// Model is an open model: weights on a backend, and what a request needs. Close it.
type Model struct {
	config   *config
	model    *vlm.Model
	backend  Backend
	plan     Plan
	loadTime time.Duration

	tokenizer tokenizer.Tokenizer // nil for a vision tower alone
	writing   siglip.Writing      // how texts become a text tower's ids; empty without tokenizer
	template  *chat.Template      // nil when the model has none
	prep      *imageprep.Config   // nil for a text model
	frame     *vlm.Frame          // what stands in a prompt for a picture; nil without decoder
	features  *featureCache

	// The device and everything on it, one step at a time. Lock with acquire.
	lock   chan struct{}
	device *ops.Device
	stream *ops.Stream
	eye    *vlm.Eye      // nil for a text model
	reader *vlm.Reader   // nil without a text tower
	runner *llama.Runner // nil for a tower alone
	closed bool
}

// Open reads a model. path is one of
//
//   - a folder with config.json, safetensors with or without an index, tokenizer.json (or a text
//     tower's spiece.model), tokenizer_config.json, preprocessor_config.json, generation_config.json;
//   - a GGUF file, or a folder with one GGUF text model; what shows it pictures, an mmproj file, lies
//     beside it or is named by WithProjector;
//   - hf:ORG/NAME[@REVISION][:FILE], a model of the hub, whose files are fetched into the shared cache
//     first (package hub).
//
// The family is what configs and metadata say, never what a file is called.
//
// Errors: ErrNoBackend, ErrABIMismatch, ErrUnsupported (a model type, activation or tensor type
// that this version does not have), ErrMissingTensor, ErrShape, ErrOutOfMemory (as *MemoryError,
// before any weight is read), ErrOption, and what reading the files gives.
func Open(ctx context.Context, path string, opts ...Option) (*Model, error) {
	fsys, name, err := place(ctx, path, opts)
	if err != nil {
		return nil, fmt.Errorf("open model: %w", err)
	}
	m, err := open(ctx, fsys, name, opts)
	if err != nil {
		return nil, fmt.Errorf("open model %s: %w", path, err)
	}
	return m, nil
}

// OpenFS is Open on a file system: an embed.FS, a zip, a folder of os.DirFS.
func OpenFS(ctx context.Context, fsys fs.FS, opts ...Option) (*Model, error) {
	return open(ctx, fsys, "", opts)
}

// open opens the file name of fsys, or with "" what its root holds.
func open(ctx context.Context, fsys fs.FS, name string, opts []Option) (*Model, error) {
	start := time.Now()
	c, err := newConfig(opts)
	if err != nil {
		return nil, err
	}
	m := &Model{config: c, lock: make(chan struct{}, 1), features: newFeatureCache(c.featureCache)}
	f, err := openFiles(c, fsys, name)
	if err != nil {
		return nil, err
	}
	defer f.checkpoint.Close()
	mc := f.config
	if err := m.readText(f); err != nil {
		return nil, err
	}
	library, backend, err := openLibrary(c)
	if err != nil {
		return nil, err
	}
	m.backend = backend
	bc, err := library.NewContext(c.contextOptions())
	if err != nil {
		return nil, err
	}
	m.device = ops.NewDevice(bc, library.Capabilities())
	if err := m.load(ctx, mc, f.checkpoint, library.Capabilities().MemoryFree); err != nil {
		return nil, errors.Join(ended(ctx, err), m.device.Close())
	}
	m.loadTime = time.Since(start)
	c.logger.Info("model open", "family", mc.Family, "backend", backend.Name, "library", backend.Path,
		"device", backend.Device, "bytes", m.plan.Total(), "seconds", m.loadTime.Seconds())
	return m, nil
}

// load declares, checks and plans, then reads the weights and allocates what runs them.
func (m *Model) load(ctx context.Context, mc *vlm.Config, checkpoint weights.Checkpoint, free int64) error {
	loader := load.New(m.device, checkpoint)
	if err := m.config.quantize(loader); err != nil {
		return err
	}
	if m.config.packedCache != "" {
		loader.CachePacked(m.config.packedCache, m.backend.Hash)
	}
	m.model = vlm.Declare(loader, mc)
	unknown, err := loader.Check()
	if err != nil {
		return err
	}
	if len(unknown) > 0 {
		m.config.logger.Warn("tensors of the checkpoint that the model does not use", "names", unknown)
	}
	compute, err := m.compute(loader.Products())
	if err != nil {
		return err
	}
	m.device.Keep(m.device.Capabilities().Keeps(compute))
	sizes, pictures := m.sizes(mc)
	if m.plan, err = newPlan(mc, m.model, loader, sizes, pictures, m.config.kernelsOf(m.device, compute)); err != nil {
		return err
	}
	if err := m.plan.fits(m.config.memoryLimit, free); err != nil {
		return err
	}
	m.config.logger.Info("memory plan", "plan", m.plan)
	if err := loader.Load(ctx); err != nil {
		return err
	}
	m.stream = m.device.Stream()
	m.stream.Compute = compute
	if m.model.Tower != nil {
		if m.eye, err = vlm.NewEye(m.device, m.model, pictures); err != nil {
			return err
		}
	}
	if err := m.newReader(); err != nil {
		return err
	}
	if m.model.Decoder != nil {
		if m.runner, err = llama.NewRunner(m.device, m.model.Decoder, compute, sizes); err != nil {
			return err
		}
	}
	return nil
}

// readText reads what turns text into ids and pictures into pixels, and holds the sizes of
// tokenizer and table against each other.
func (m *Model) readText(f *files) error {
	mc := f.config
	var err error
	if mc.Vision != nil {
		if m.prep, err = f.prep(); err != nil {
			return err
		}
	}
	if mc.Words != nil {
		return m.readWords(f.fsys, *mc.Words)
	}
	if mc.Text == nil {
		return nil
	}
	m.tokenizer = m.config.tokenizer
	if m.tokenizer == nil {
		if m.tokenizer, err = f.tokenizer(); err != nil {
			return err
		}
	}
	if n := m.tokenizer.VocabSize(); n > mc.Text.Vocab {
		return fmt.Errorf("%w: the tokenizer has ids up to %d, the embedding table has %d rows", ErrShape, n-1, mc.Text.Vocab)
	}
	if m.frame, err = vlm.NewFrame(mc, m.tokenizer); err != nil {
		return err
	}
	m.template, err = f.template(m.tokenizer)
	if errors.Is(err, chat.ErrNoTemplate) {
		m.config.logger.Info("the model has no chat template; only raw prompts work")
		return nil
	}
	return err
}

// compute is the type of products that the options ask for, checked against backend and weights.
func (m *Model) compute(weights []ops.DType) (ops.DType, error) {
	switch m.config.activations {
	case BF16:
		able := m.device.Capabilities()
		for _, t := range weights {
			if t == ops.BF16 || able.BlocksInHalf && t.Quantized() {
				continue
			}
			return 0, fmt.Errorf("%w: bf16 activations are for bf16 weights, on GPUs for quantised ones too; this model has %s weights", ErrUnsupported, t)
		}
		if !able.Computes(ops.BF16) {
			return 0, fmt.Errorf("%w: backend %s has no bf16 products", ErrUnsupported, m.backend.Name)
		}
		return ops.BF16, nil
	case Int8, Auto:
		quantized := slices.ContainsFunc(weights, ops.DType.Quantized)
		able := m.device.Capabilities().Computes(ops.I8)
		switch {
		case quantized && able:
			return ops.I8, nil
		case m.config.activations == Auto:
		case quantized:
			return 0, fmt.Errorf("%w: backend %s has no int8 products", ErrUnsupported, m.backend.Name)
		default:
			return 0, fmt.Errorf("%w: int8 activations are for quantised weights; this model has none", ErrUnsupported)
		}
	}
	return ops.F32, nil
}

// sizes are the limits of the running model.
func (m *Model) sizes(mc *vlm.Config) (llama.Sizes, int) {
	var z llama.Sizes
	if mc.Text != nil {
		z.Context = m.config.context
		if z.Context == 0 {
			z.Context = min(mc.Text.MaxPositions, 4096)
		}
		z.Context = min(z.Context, mc.Text.MaxPositions)
		z.Positions = max(m.config.cache, z.Context)
		z.PrefillRows = min(z.Context, 512)
	}
	pictures := m.config.batch
	if pictures == 0 && mc.Vision != nil {
		pictures = min(max(1024/mc.Vision.ViewPatches(), 1), 16)
	}
	return z, pictures
}

// Close frees everything on the device. It waits for the step that runs; requests in flight fail
// with ErrClosed. A second call does nothing.
func (m *Model) Close() error {
	m.lock <- struct{}{}
	defer func() { <-m.lock }()
	if m.closed {
		return nil
	}
	m.closed = true
	return m.device.Close()
}

// Backend says which library runs the model.
func (m *Model) Backend() Backend { return m.backend }

// Plan is the memory that the model takes on the device.
func (m *Model) Plan() Plan { return m.plan }

// Tokenizer is the model's tokenizer, nil for a vision tower alone.
func (m *Model) Tokenizer() tokenizer.Tokenizer { return m.tokenizer }

// Counters are the device's own counts: calls, ops, captures, bytes.
func (m *Model) Counters() (binding.Counters, error) { return m.device.Counters() }

// step runs f with the device to itself. ctx is honoured while waiting for it, and stops f's work
// on the device between two ops. After a failure nothing of it is left queued.
func (m *Model) step(ctx context.Context, f func(s *ops.Stream) error) error {
	if err := m.acquire(ctx); err != nil {
		return err
	}
	defer m.release()
	stop := m.device.CancelOn(ctx)
	err := f(m.stream)
	stop()
	if err != nil {
		// What f queued before it failed must not run into the next step.
		err = errors.Join(err, ignoreRepeat(m.stream.Wait(), err))
	}
	return explain(err)
}

// acquire takes the device, unless ctx ends first or the model is closed.
func (m *Model) acquire(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	select {
	case m.lock <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if m.closed {
		<-m.lock
		return fmt.Errorf("model: %w", ErrClosed)
	}
	return nil
}

func (m *Model) release() { <-m.lock }

// explain turns a device error into what a caller can act on.
func explain(err error) error {
	var fault *binding.FaultError
	if errors.As(err, &fault) && fault.NotFinite() {
		return &NotFiniteError{Stage: vlm.StageName(int(fault.Stage)), Row: fault.Index, cause: err}
	}
	return err
}

// ignoreRepeat drops an error that says again what first said.
func ignoreRepeat(err, first error) error {
	if err == nil || errors.Is(first, err) || err.Error() == first.Error() {
		return nil
	}
	return err
}

// logRequest leaves one line per request.
func (m *Model) logRequest(ctx context.Context, what string, attrs ...slog.Attr) {
	m.config.logger.LogAttrs(ctx, slog.LevelDebug, what, attrs...)
}

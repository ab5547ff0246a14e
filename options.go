package llama3v

import (
	"fmt"
	"log/slog"
	"os"
	"slices"

	"github.com/llama3v/llama3v/binding"
	"github.com/llama3v/llama3v/hub"
	"github.com/llama3v/llama3v/model/imageprep"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/tokenizer"
	"github.com/llama3v/llama3v/model/vlm"
	"github.com/llama3v/llama3v/model/weights"
)

// Option sets how a model is opened. An option with a value that makes no sense fails Open with
// ErrOption.
type Option func(*config) error

// Activations is the type in which products take their activations.
type Activations string

const (
	// F32, the default, keeps activations as they are.
	F32 Activations = "f32"
	// BF16 rounds them to bfloat16 before each product with bfloat16 weights; sums stay float32. On a GPU
	// quantised weights take them too, and what lies between two products, keys and values included, is
	// kept in bfloat16.
	BF16 Activations = "bf16"
	// Int8 is for quantised weights; a model without them refuses it with ErrUnsupported.
	Int8 Activations = "int8"
	// Auto takes the fastest type whose perplexity was shown to equal float32's within a stated bound.
	// For f32, f16 and bf16 weights that is F32; for quantised weights it is Int8 where the backend has
	// it: that of SmolLM2-135M changes by less than 0.5 % (TestSmolLM2Int8). An answer whose tokens win
	// by little may still be another one.
	Auto Activations = "auto"
)

// Alpha says what becomes of a picture's transparency.
type Alpha = imageprep.Alpha

const (
	AlphaWhite = imageprep.AlphaWhite // composite over white: the default
	AlphaDrop  = imageprep.AlphaDrop  // ignore it, as the reference processors do
)

type config struct {
	backend      string
	library      string
	threads      int
	context      int
	cache        int
	activations  Activations
	quantization weights.DType // Invalid: weights stay as they are
	memoryLimit  int64
	featureCache int64
	alpha        Alpha
	maxPixels    int64
	maxBytes     int64
	batch        int
	kernels      string
	invariant    bool // whatever else is in a batch

	freshPrefix    bool           // compute what is known, too
	slicePositions SlicePositions // empty: the model's own
	logger         *slog.Logger
	tokenizer      tokenizer.Tokenizer
	hub            *hub.Client // nil: as the environment says
	projector      string      // an mmproj file
	packedCache    string      // a folder; "": none
	eye            vlm.EyeRules
}

// contextOptions are a backend context's.
func (c *config) contextOptions() binding.ContextOptions {
	return binding.ContextOptions{Threads: c.threads, MemoryLimit: c.memoryLimit, Kernels: c.kernels, BatchInvariant: c.invariant}
}

func newConfig(opts []Option) (*config, error) {
	c := &config{
		backend: os.Getenv("LLAMA3V_BACKEND"), activations: F32, featureCache: 256 << 20,
		alpha: AlphaWhite, maxPixels: imageprep.DefaultMaxPixels, maxBytes: imageprep.DefaultMaxBytes,
		logger: slog.New(slog.DiscardHandler),
	}
	if c.backend == "" {
		c.backend = "auto"
	}
	for _, opt := range opts {
		if err := opt(c); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// kernelsOf is what the plan has to know of a device that takes products in compute.
func (c *config) kernelsOf(d *ops.Device, compute ops.DType) kernels {
	caps := d.Capabilities()
	k := kernels{backend: caps.Name, cores: caps.Cores, compute: compute, kept: caps.Keeps(compute)}
	if caps.Name == "cpu" && c.threads > 0 {
		k.cores = c.threads
	}
	return k
}

// WithBackend picks the backend: "cpu", "cuda", "metal", or "auto", which tries cuda, metal and
// cpu. A named one never falls back to another. Without the option LLAMA3V_BACKEND decides, then
// "auto".
func WithBackend(name string) Option {
	return func(c *config) error {
		switch name {
		case "auto", "cpu", "cuda", "metal":
			c.backend = name
			return nil
		}
		return fmt.Errorf("%w: backend %q (auto, cpu, cuda, metal)", ErrOption, name)
	}
}

// WithLibrary opens the backend library at path and looks nowhere else.
func WithLibrary(path string) Option {
	return func(c *config) error { c.library = path; return nil }
}

// WithProjector names the mmproj file that shows pictures to a GGUF text model. The default is the one
// that lies beside it.
func WithProjector(path string) Option {
	return func(c *config) error { c.projector = path; return nil }
}

// WithVisionLayers sets how many of the stored layers run of an mmproj file's tower of LLaVA's form; 0
// is the layer that the file names, or all. llama.cpp runs one less than all. Models without an mmproj
// file ignore it.
func WithVisionLayers(n int) Option {
	return positive("vision layers", n, func(c *config) { c.eye.Layers = n })
}

// WithVisionActivation sets the activation of an mmproj file's tower: "gelu_tanh", "gelu_erf",
// "gelu_quick" or "silu". "" is what the file says, but for SigLIP towers whose converter wrote the wrong
// one (see vlm.ReadEyeGGUF). Models without an mmproj file ignore it.
func WithVisionActivation(name string) Option {
	return func(c *config) error {
		for _, a := range []ops.Activation{ops.GELUTanh, ops.GELUErf, ops.GELUQuick, ops.SiLU} {
			if name == a.String() {
				c.eye.Activation = a
				return nil
			}
		}
		if name == "" {
			c.eye.Activation = ops.None
			return nil
		}
		return fmt.Errorf("%w: vision activation %q (gelu_tanh, gelu_erf, gelu_quick, silu)", ErrOption, name)
	}
}

// WithThreads sets the processor threads of the CPU backend; 0 is one per usable core. Results do
// not depend on it.
func WithThreads(n int) Option {
	return positive("threads", n, func(c *config) { c.threads = n })
}

// WithContext sets the most positions of one conversation; 0 is what the model was trained on, at
// most 4096.
func WithContext(positions int) Option {
	return positive("context", positions, func(c *config) { c.context = positions })
}

// WithCachePositions sets the size of the key-value cache that all running conversations share;
// 0 is one conversation's context. A request waits while others hold too much of it.
func WithCachePositions(positions int) Option {
	return positive("cache positions", positions, func(c *config) { c.cache = positions })
}

// WithActivations sets the type of activations in products.
func WithActivations(a Activations) Option {
	return func(c *config) error {
		switch a {
		case F32, BF16, Int8, Auto:
			c.activations = a
			return nil
		}
		return fmt.Errorf("%w: activations %q (f32, bf16, int8, auto)", ErrOption, a)
	}
}

// WithPackedCache keeps weights in a folder in the form that the backend packs them into, so that
// packing them is done once, and quantising them with WithQuantization too, which takes longest. A file
// is found by the digest of the stored weights and of the library, and its checksum is looked at; one
// that is wrong is written anew. It takes as much space as the weights do on the device, and nothing is
// ever deleted. The default, "", keeps none.
func WithPackedCache(folder string) Option {
	return func(c *config) error { c.packedCache = folder; return nil }
}

// WithMemoryLimit bounds the bytes that the model may allocate on the device. Open fails with a
// MemoryError when its plan does not fit.
func WithMemoryLimit(bytes int64) Option {
	return positive("memory limit", bytes, func(c *config) { c.memoryLimit = bytes })
}

// WithFeatureCache bounds the host memory that keeps features of pictures already seen; 0 keeps
// none. The default is 256 MiB.
func WithFeatureCache(bytes int64) Option {
	return positive("feature cache", bytes, func(c *config) { c.featureCache = bytes })
}

// WithAlpha says what becomes of transparency.
func WithAlpha(a Alpha) Option {
	return func(c *config) error {
		if a != AlphaWhite && a != AlphaDrop {
			return fmt.Errorf("%w: alpha %v", ErrOption, a)
		}
		c.alpha = a
		return nil
	}
}

// WithPictureLimits bounds a picture's pixels and encoded bytes; both are checked before decoding.
func WithPictureLimits(pixels, bytes int64) Option {
	return func(c *config) error {
		if pixels < 1 || bytes < 1 {
			return fmt.Errorf("%w: picture limits of %d pixels and %d bytes", ErrOption, pixels, bytes)
		}
		c.maxPixels, c.maxBytes = pixels, bytes
		return nil
	}
}

// WithPictureBatch sets how many pictures go through the tower at once; 0 lets the model choose.
// Results do not depend on it.
func WithPictureBatch(n int) Option {
	return positive("picture batch", n, func(c *config) { c.batch = n })
}

// WithKernels picks a kernel set of the backend by name (cpu: "scalar", "avx2", "avx512", "neon"; cuda:
// "plain", "sm80", "sm90"); "" takes the best that processor or card has.
func WithKernels(name string) Option {
	return func(c *config) error { c.kernels = name; return nil }
}

// WithBatchInvariant has a request give the same bits whatever else runs with it, and however its
// prompt was cut into pieces. The CPU backend's results never depend on either, and nothing changes
// there; the CUDA backend takes one order of sums in place of the fastest for each size. Open fails with
// ErrUnsupported where the backend has no such kernels.
func WithBatchInvariant() Option {
	return func(c *config) error { c.invariant = true; return nil }
}

// WithPrefixReuse says whether a prompt that begins as an earlier one did, with the same pictures,
// takes the beginning from the key-value cache; it does by default. Answers do not depend on it: false
// is for measuring. What is kept lies in the cache's own memory and gives way to running requests.
func WithPrefixReuse(on bool) Option {
	return func(c *config) error { c.freshPrefix = !on; return nil }
}

// WithLogger receives what Open decides (backends passed over and why, the memory plan) and how
// long requests took.
func WithLogger(l *slog.Logger) Option {
	return func(c *config) error {
		if l == nil {
			return fmt.Errorf("%w: nil logger", ErrOption)
		}
		c.logger = l
		return nil
	}
}

// WithTokenizer takes the place of the pure Go tokenizer that Open makes from the model's
// tokenizer.json, for instance with the one of package model/tokenizer/daulet.
func WithTokenizer(t tokenizer.Tokenizer) Option {
	return func(c *config) error {
		if t == nil {
			return fmt.Errorf("%w: nil tokenizer", ErrOption)
		}
		c.tokenizer = t
		return nil
	}
}

func positive[N int | int64](what string, n N, set func(*config)) Option {
	return func(c *config) error {
		if n < 0 {
			return fmt.Errorf("%w: %s %d", ErrOption, what, n)
		}
		set(c)
		return nil
	}
}

// GenerateOption sets how one request is answered.
type GenerateOption func(*generateConfig) error

type generateConfig struct {
	maxTokens int
	raw       bool
	ignoreEOS bool
	stopIDs   []int32
	stopTexts []string
	sampling  sampling
	tap       TapFunc

	model *vlm.Generation // the model's own sampling, for ModelDefaults
}

const defaultMaxTokens = 256

func newGenerateConfig(opts []GenerateOption, model *vlm.Generation) (*generateConfig, error) {
	c := &generateConfig{maxTokens: defaultMaxTokens, sampling: greedy, model: model}
	for _, opt := range opts {
		if err := opt(c); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// MaxTokens bounds the tokens of the answer, the stop id included; the default is 256.
func MaxTokens(n int) GenerateOption {
	return func(c *generateConfig) error {
		if n < 1 {
			return fmt.Errorf("%w: at most %d tokens", ErrOption, n)
		}
		c.maxTokens = n
		return nil
	}
}

// Raw takes the text as it is, without chat template: the model's start token if it wants one, the
// pictures, then the texts of all turns joined.
func Raw() GenerateOption {
	return func(c *generateConfig) error { c.raw = true; return nil }
}

// IgnoreEOS goes on past the model's own end ids; StopIDs and Stop still end it.
func IgnoreEOS() GenerateOption {
	return func(c *generateConfig) error { c.ignoreEOS = true; return nil }
}

// StopIDs are further ids that end the answer. Their text is not part of it.
func StopIDs(ids ...int32) GenerateOption {
	return func(c *generateConfig) error { c.stopIDs = append(c.stopIDs, ids...); return nil }
}

// Stop ends the answer before any of the texts, wherever tokens begin and end; Answer.StopText says
// which. Text that may be the beginning of one is held back until more decides.
func Stop(texts ...string) GenerateOption {
	return func(c *generateConfig) error {
		if slices.Contains(texts, "") {
			return fmt.Errorf("%w: %w", ErrOption, tokenizer.ErrEmptyStop)
		}
		c.stopTexts = append(c.stopTexts, texts...)
		return nil
	}
}

// TapFunc receives an intermediate result: a matrix [rows, cols] of its own memory.
type TapFunc func(name string, rows, cols int, data []float32)

// Tap shows f every layer of the pictures' encoding and the prompt's prefill, as they run:
// "vision.hidden.k", "vision.last_hidden_state", "projector.in_proj", "projector.block.k",
// "projector.norm", "projected", "hidden.k", "final_norm", "logits" (k = 0 is the embedding output).
// It costs a copy of each, and pictures are encoded anew. f runs while the model is locked.
func Tap(f TapFunc) GenerateOption {
	return func(c *generateConfig) error { c.tap = f; return nil }
}

// input marks what Ask takes beside its question.
func (GenerateOption) input() {}

// Input is what Ask takes beside its question: a Picture or a GenerateOption.
type Input interface{ input() }

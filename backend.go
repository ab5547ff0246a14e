package llama3v

import (
	"context"
	"io"

	"github.com/llama3v/llama3v/binding"
)

// Backend says which library runs a model.
type Backend struct {
	Name     string   // "cpu", "cuda", "metal"
	Path     string   // absolute
	Hash     string   // SHA-256 of the file, hex
	ABI      string   // version of its C interface
	Device   string   // processor or card, and the kernels chosen for it
	Emulated bool     // runs a GPU's kernels on the CPU: for tests
	Skipped  []string // what was looked at before, and why it was passed over
}

// String is what it is and what it runs on: "cpu: AMD EPYC, avx512", "cuda: emulator, 9.0 (emulated)".
func (b Backend) String() string {
	return binding.Capabilities{Name: b.Name, Device: b.Device, Emulated: b.Emulated}.String()
}

// openLibrary finds the backend that the options ask for.
func openLibrary(c *config) (*binding.Library, Backend, error) {
	library, tried, err := binding.Find(c.backend, c.library)
	if err != nil {
		return nil, Backend{}, err
	}
	caps := library.Capabilities()
	b := Backend{Name: caps.Name, Path: library.Path(), Hash: library.Hash(), ABI: library.ABI().String(),
		Device: caps.Device, Emulated: caps.Emulated}
	if c.kernels != "" {
		b.Device += ", held to " + c.kernels
	}
	for _, candidate := range tried {
		if candidate.Err != nil {
			b.Skipped = append(b.Skipped, candidate.String())
			c.logger.Debug("backend passed over", "candidate", candidate.String())
		}
	}
	return library, b, nil
}

// BuildBackend compiles a backend from the sources inside this module with the machine's compiler,
// into the user's cache, where Open looks last, and returns the library's path. One that is there
// already is kept. steps, which may be nil, hears of each step.
//
// Errors: ErrUnsupported for a backend that cannot be built here; a sentence that says what to
// install when there is no compiler.
func BuildBackend(ctx context.Context, name string, steps io.Writer) (path string, err error) {
	return binding.BuildBackend(ctx, name, binding.BuildOptions{Output: steps})
}

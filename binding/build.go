package binding

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/llama3v/llama3v/csrc"
)

// BuildOptions says how BuildBackend works. The zero value is fine.
type BuildOptions struct {
	Force  bool      // build although the library is there
	NVCC   string    // the CUDA compiler, of cuda; "": see BuildBackend
	Output io.Writer // hears of each step, one line each; nil: no one does
}

// hashLength is the digits of a hash in a file name: 64 bits.
const hashLength = 16

// CachePath is where the user's cache holds a backend's library: libllama3v-cpu-<hash>.so in the
// folder llama3v of os.UserCacheDir. The hash covers the backend's sources in this module, the
// flags, the system, the processor family and the version of the C interface, so that programs
// built from different versions of the module do not meet each other's libraries.
func CachePath(backend string) (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no cache folder: %w", err)
	}
	if !filepath.IsAbs(dir) {
		return "", fmt.Errorf("no cache folder: %w: %q is not an absolute path", ErrInvalidArgument, dir)
	}
	hash, err := sourceHash(csrc.Files, backend)
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "llama3v", "libllama3v-"+backend+"-"+hash+libraryExt()), nil
}

// sourceHash digests all that decides what a build gives, each field with its length before it.
func sourceHash(sources fs.FS, backend string) (string, error) {
	h := sha256.New()
	field := func(b []byte) { fmt.Fprintf(h, "%d:", len(b)); h.Write(b) }
	field([]byte(backend))
	field([]byte(runtime.GOOS + "/" + runtime.GOARCH))
	field([]byte(fmt.Sprintf("%d.%d", ABIMajor, ABIMinor)))
	err := fs.WalkDir(sources, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !belongs(name, backend) {
			return err
		}
		data, err := fs.ReadFile(sources, name)
		field([]byte(name))
		field(data)
		return err
	})
	return hex.EncodeToString(h.Sum(nil))[:hashLength], err
}

// belongs says whether a file is built into a backend, or decides how that is built.
func belongs(name, backend string) bool {
	switch folder := path.Dir(name); folder {
	case "include", "common", backend:
		return true
	default:
		return name == "flags.txt" || name == "exports.map"
	}
}

// BuildBackend compiles a backend from the sources in this module into the user's cache, where
// Find looks last, and returns its path. A library that is there and opens is kept unless Force.
// The compiler is $CXX, else the first of c++, g++ and clang++; the CUDA compiler is o.NVCC, else
// $NVCC, else the nvcc on the path, of $CUDA_HOME, $CUDA_PATH or /usr/local/cuda. A library is built
// whether or not this machine has the device that it is for. Builds at the same time, in any
// number of processes, are safe: each works in a folder of its own, and the result appears whole.
//
// Errors: ErrUnsupported for a backend whose sources this module does not have or that is not for
// this system, a [*CompilerError] that says what to install when there is no compiler, the
// compiler's own words when it fails.
func BuildBackend(ctx context.Context, backend string, o BuildOptions) (string, error) {
	if err := platformError(); err != nil {
		return "", err
	}
	if _, err := backendNames(backend); err != nil {
		return "", err
	}
	switch {
	case backend != "cpu" && backend != "cuda":
		return "", fmt.Errorf("build %s: %w: this module holds the sources of the cpu and cuda backends only", backend, ErrUnsupported)
	case backend == "cuda" && runtime.GOOS != "linux":
		return "", fmt.Errorf("build %s: %w: CUDA is not for %s", backend, ErrUnsupported, runtime.GOOS)
	}
	target, err := CachePath(backend)
	if err != nil {
		return "", fmt.Errorf("build %s: %w", backend, err)
	}
	if !o.Force && opens(target, backend) == nil {
		return target, nil
	}
	if err := build(ctx, csrc.Files, backend, target, o); err != nil {
		return "", fmt.Errorf("build %s: %w", backend, err)
	}
	return target, nil
}

// InstallBackend copies a library that was built elsewhere, as by CMake, into the user's cache
// under the name that BuildBackend would give it, once it has opened as that backend.
func InstallBackend(backend, file string) (string, error) {
	target, err := installBackend(backend, file)
	if err != nil {
		return "", fmt.Errorf("install %s: %w", backend, err)
	}
	return target, nil
}

func installBackend(backend, file string) (string, error) {
	if names, err := backendNames(backend); err != nil {
		return "", err
	} else if len(names) != 1 {
		return "", fmt.Errorf("%w: name the backend: %s", ErrInvalidArgument, strings.Join(Backends, ", "))
	}
	target, err := CachePath(backend)
	if err != nil {
		return "", err
	}
	file, err = filepath.Abs(file)
	if err != nil {
		return "", err
	}
	dir, err := workFolder(target)
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	copied := filepath.Join(dir, LibraryFile(backend))
	if err := copyFile(copied, file); err != nil {
		return "", err
	}
	// The copy is what is checked, so that what was checked is what gets installed.
	if err := opens(copied, backend); err != nil {
		return "", fmt.Errorf("%s: %w", file, errors.Unwrap(err))
	}
	return target, os.Rename(copied, target)
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// opens checks that the file is a library of the backend that passes the handshake. One that only
// finds no device here passes: where it is built need not be where it runs.
func opens(file, backend string) error {
	c := Candidate{Backend: backend, Path: file}
	if _, err := c.open(false); !noDevice(err) {
		return err
	}
	return nil
}

// noDevice says whether all that was wrong with a library is that it found no device.
func noDevice(err error) bool {
	var answer *Error
	return errors.As(err, &answer) && answer.Op == symProbe.op() && answer.Status == StatusUnsupported
}

// workFolder makes a folder beside the target, so that the result can be renamed into place.
func workFolder(target string) (string, error) {
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return "", err
	}
	return os.MkdirTemp(filepath.Dir(target), ".build-*")
}

func build(ctx context.Context, sources fs.FS, backend, target string, o BuildOptions) error {
	var output sync.Mutex
	say := func(format string, args ...any) {
		output.Lock()
		defer output.Unlock()
		if o.Output != nil {
			fmt.Fprintf(o.Output, format+"\n", args...)
		}
	}
	compiler, err := findCompiler()
	if err != nil {
		return err
	}
	flags, err := readFlags(sources, runtime.GOOS, backend)
	if err != nil {
		return err
	}
	link := slices.Concat(compiler, flags.compile, flags.link)
	compile := map[string][]string{".cpp": slices.Concat(compiler, flags.compile, []string{"-Iinclude"})}
	if backend == "cuda" {
		cuda, err := findToolkit(ctx, o.NVCC)
		if err != nil {
			return err
		}
		say("CUDA %s: %s", cuda.version, cuda.nvcc)
		nvcc := slices.Concat([]string{cuda.nvcc, "-ccbin", compiler[0]}, flags.nvcc, []string{"-Iinclude"})
		for _, arg := range compiler[1:] {
			nvcc = append(nvcc, "-Xcompiler="+arg)
		}
		compile[".cu"] = nvcc
		for _, folder := range cuda.include {
			compile[".cpp"] = append(compile[".cpp"], "-isystem", folder)
		}
		for _, folder := range cuda.lib {
			link = append(link, "-L"+folder)
		}
	}
	dir, err := workFolder(target)
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	files, err := unpack(sources, backend, dir)
	if err != nil {
		return err
	}

	say("compiling %d files with %s", len(files), strings.Join(compiler, " "))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.NumCPU())
	objects := make([]string, len(files))
	for i, file := range files {
		objects[i] = strings.ReplaceAll(file, "/", "-") + ".o"
		group.Go(func() error {
			say("compile %s", file)
			return compilerRun(groupCtx, dir, compile[path.Ext(file)], "-c", file, "-o", objects[i])
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	library := filepath.Join(dir, LibraryFile(backend))
	say("link %s", LibraryFile(backend))
	if err := compilerRun(ctx, dir, link, slices.Concat(objects, []string{"-o", library}, flags.library)...); err != nil {
		return err
	}
	if err := opens(library, backend); err != nil {
		return fmt.Errorf("the library was built but does not open: %w", errors.Unwrap(err))
	}
	return publish(library, target, backend, o.Force)
}

// publish puts the library in its place in one step. Where another build was faster its library
// stays, so that a path keeps the file that some process may have opened.
func publish(library, target, backend string, force bool) error {
	if !force && opens(target, backend) == nil {
		return nil
	}
	return os.Rename(library, target)
}

// unpack writes the headers and sources of a backend into dir and names the files to compile.
func unpack(sources fs.FS, backend, dir string) (files []string, err error) {
	err = fs.WalkDir(sources, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !belongs(name, backend) {
			return err
		}
		data, err := fs.ReadFile(sources, name)
		if err != nil {
			return err
		}
		to := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if extension := path.Ext(name); extension == ".cpp" || extension == ".cu" {
			files = append(files, name)
		}
		return os.WriteFile(to, data, 0o644)
	})
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("%w: this module holds no sources of it", ErrUnsupported)
	}
	return files, err
}

type compilerFlags struct{ compile, link, library, nvcc []string }

// readFlags reads the flags of a backend on a system from flags.txt: see the words at its top.
func readFlags(sources fs.FS, system, backend string) (compilerFlags, error) {
	var flags compilerFlags
	text, err := fs.ReadFile(sources, "flags.txt")
	if err != nil {
		return flags, err
	}
	stages := map[string]*[]string{"compile": &flags.compile, "link": &flags.link, "library": &flags.library, "nvcc": &flags.nvcc}
	for i, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		stage, flag, _ := strings.Cut(line, " ")
		stage, only, _ := strings.Cut(stage, ":")
		if stages[stage] == nil || flag == "" {
			return flags, fmt.Errorf("flags.txt line %d: no stage of the four, or no flag: %q", i+1, line)
		}
		if only == "" || only == system || only == backend {
			*stages[stage] = append(*stages[stage], strings.ReplaceAll(flag, "{csrc}", "."))
		}
	}
	return flags, nil
}

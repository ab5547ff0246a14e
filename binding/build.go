package binding

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/llama3v/llama3v/csrc"
)

// BuildOptions says how BuildBackend works. The zero value is fine.
type BuildOptions struct {
	Force  bool      // build although the library is there
	Output io.Writer // hears of each step, one line each; nil: no one does
}

// hashLength is the digits of a hash in a file name: 64 bits.
const hashLength = 16

// CachePath is where the user's cache holds a backend's library: libllama3v-cpu-<hash>.so in the
// folder llama3v of os.UserCacheDir. The hash covers the sources in this module, the flags, the
// system, the processor family and the version of the C interface, so that programs built from
// different versions of the module do not meet each other's libraries.
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
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(sources, name)
		field([]byte(name))
		field(data)
		return err
	})
	return hex.EncodeToString(h.Sum(nil))[:hashLength], err
}

// BuildBackend compiles a backend from the sources in this module into the user's cache, where
// Find looks last, and returns its path. A library that is there and opens is kept unless Force.
// The compiler is $CXX, else the first of c++, g++ and clang++. Builds at the same time, in any
// number of processes, are safe: each works in a folder of its own, and the result appears whole.
//
// Errors: ErrUnsupported for a backend whose sources this module does not have, a sentence that
// says what to install when there is no compiler, the compiler's own words when it fails.
func BuildBackend(ctx context.Context, backend string, o BuildOptions) (string, error) {
	if err := platformError(); err != nil {
		return "", err
	}
	if _, err := backendNames(backend); err != nil {
		return "", err
	}
	if backend != "cpu" {
		return "", fmt.Errorf("build %s: %w: this module holds the sources of the cpu backend only", backend, ErrUnsupported)
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

// opens checks that the file is a library of the backend that passes the handshake.
func opens(file, backend string) error {
	c := Candidate{Backend: backend, Path: file}
	_, err := c.open(false)
	return err
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
	dir, err := workFolder(target)
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	files, err := unpack(sources, backend, dir)
	if err != nil {
		return err
	}
	flags, err := readFlags(sources, runtime.GOOS)
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
			return compilerRun(groupCtx, dir, compiler, flags.compile, "-Iinclude", "-c", file, "-o", objects[i])
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	library := filepath.Join(dir, LibraryFile(backend))
	say("link %s", LibraryFile(backend))
	if err := compilerRun(ctx, dir, compiler, append(flags.compile, flags.link...), append(objects, "-o", library)...); err != nil {
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

// unpack writes the headers and sources of a backend into dir and names its .cpp files.
func unpack(sources fs.FS, backend, dir string) (files []string, err error) {
	err = fs.WalkDir(sources, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
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
		if folder := path.Dir(name); path.Ext(name) == ".cpp" && (folder == "common" || folder == backend) {
			files = append(files, name)
		}
		return os.WriteFile(to, data, 0o644)
	})
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("%w: this module holds no sources of it", ErrUnsupported)
	}
	return files, err
}

type compilerFlags struct{ compile, link []string }

// readFlags reads flags.txt: see the words at its top.
func readFlags(sources fs.FS, system string) (compilerFlags, error) {
	var flags compilerFlags
	text, err := fs.ReadFile(sources, "flags.txt")
	if err != nil {
		return flags, err
	}
	for i, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		stage, flag, _ := strings.Cut(line, " ")
		stage, only, _ := strings.Cut(stage, ":")
		if only != "" && only != system {
			continue
		}
		flag = strings.ReplaceAll(flag, "{csrc}", ".")
		switch {
		case stage == "compile" && flag != "":
			flags.compile = append(flags.compile, flag)
		case stage == "link" && flag != "":
			flags.link = append(flags.link, flag)
		default:
			return flags, fmt.Errorf("flags.txt line %d: neither a compile nor a link flag: %q", i+1, line)
		}
	}
	return flags, nil
}

// findCompiler is $CXX with the arguments it may carry, else the first compiler on the path.
func findCompiler() ([]string, error) {
	if cxx := strings.Fields(os.Getenv("CXX")); len(cxx) > 0 {
		if _, err := exec.LookPath(cxx[0]); err != nil {
			return nil, fmt.Errorf("no C++ compiler: $CXX is %q, which does not run: %w", cxx[0], err)
		}
		return cxx, nil
	}
	for _, name := range []string{"c++", "g++", "clang++"} {
		if _, err := exec.LookPath(name); err == nil {
			return []string{name}, nil
		}
	}
	return nil, fmt.Errorf("no C++ compiler found ($CXX, c++, g++, clang++): install %s", compilerPackage())
}

func compilerPackage() string {
	if runtime.GOOS == "darwin" {
		return "the command line tools with `xcode-select --install`"
	}
	return "g++ or clang++ (Debian, Ubuntu: `apt install g++`; Fedora: `dnf install gcc-c++`; Alpine: `apk add g++`)"
}

// compilerRun runs the compiler in dir, on relative paths, so that no folder's name ends in the
// library and two builds give the same bytes.
func compilerRun(ctx context.Context, dir string, compiler, flags []string, args ...string) error {
	all := append(append(append([]string{}, compiler[1:]...), flags...), args...)
	cmd := exec.CommandContext(ctx, compiler[0], all...)
	cmd.Dir = dir
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("%s: %w\n%s", strings.Join(append([]string{compiler[0]}, all...), " "), err, strings.TrimSpace(output.String()))
	}
	return nil
}

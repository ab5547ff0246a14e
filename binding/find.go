package binding

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// Auto is the backend name that tries cuda, metal and cpu in this order.
const Auto = "auto"

// LibDirVariable names the folder in which libraries are looked for before any other place but
// an explicit path.
const LibDirVariable = "LLAMA3V_LIB_DIR"

// Backends are the names a backend may have, in the order in which Auto tries them.
var Backends = []string{"cuda", "metal", "cpu"}

// Candidate is one place where a backend was looked for.
type Candidate struct {
	Backend string // "cpu"
	Place   string // "explicit path", "LLAMA3V_LIB_DIR", "beside the executable", "user cache"
	Path    string // absolute; empty when the place itself does not exist
	Err     error  // why it was passed over, nil when it is the one that was opened
}

func (c Candidate) String() string {
	switch {
	case c.Err == nil:
		return fmt.Sprintf("%s: %s (%s): opened", c.Backend, c.Path, c.Place)
	case c.Path == "" || strings.Contains(c.Err.Error(), c.Path):
		return fmt.Sprintf("%s: %s: %v", c.Backend, c.Place, c.Err)
	}
	return fmt.Sprintf("%s: %s: %s: %v", c.Backend, c.Place, c.Path, c.Err)
}

// absent reports whether there simply is no file, as opposed to one that was refused.
func (c Candidate) absent() bool { return errors.Is(c.Err, fs.ErrNotExist) }

// NotFoundError is a search that opened nothing. errors.Is finds ErrNoLibrary and whatever the
// candidates that exist were refused for.
type NotFoundError struct {
	Backend string      // the name asked for
	Tried   []Candidate // in the order of the search
	Command string      // builds what is missing; empty when nothing here can
}

func (e *NotFoundError) Error() string {
	var refused []string
	for _, c := range e.Tried {
		if !c.absent() || c.Place == placeExplicit {
			refused = append(refused, c.String())
		}
	}
	what := "backend"
	if e.Backend != Auto {
		what = e.Backend
	}
	text := "no " + what + " library found"
	if len(refused) > 0 {
		text += " (" + strings.Join(refused, "; ") + ")"
	}
	if e.Command == "" {
		return text
	}
	return text + "; this builds one: " + e.Command
}

func (e *NotFoundError) Unwrap() []error {
	errs := []error{ErrNoLibrary}
	for _, c := range e.Tried {
		if !c.absent() {
			errs = append(errs, c.Err)
		}
	}
	return errs
}

const (
	placeExplicit   = "explicit path"
	placeExecutable = "beside the executable"
	placeCache      = "user cache"
)

// LibraryFile is the file name of a backend's library: "libllama3v-cpu.so".
func LibraryFile(backend string) string { return "libllama3v-" + backend + libraryExt() }

func libraryExt() string {
	if runtime.GOOS == "darwin" {
		return ".dylib"
	}
	return ".so"
}

// Find opens the library of a backend: "cpu", "cuda", "metal", or Auto for the first of cuda,
// metal and cpu that opens. Explicit is the path of a library, or of the folder it lies in; when
// it is not empty no other place is looked at. Else the places are, in this order and no other:
// the folder LLAMA3V_LIB_DIR, the folder of the executable, and the user's cache, under the hash
// of this module's own sources.
//
// A named backend never falls back to another, and Auto never picks an emulated one, unless an
// explicit path names its file. Tried lists every candidate looked at, also beside a library.
// The error is a [*NotFoundError], or ErrUnsupported for a name that is no backend
// and on a system for which there are none.
func Find(backend, explicit string) (l *Library, tried []Candidate, err error) {
	if err := platformError(); err != nil {
		return nil, nil, err
	}
	tried, err = Candidates(backend, explicit)
	if err != nil {
		return nil, nil, err
	}
	for i := range tried {
		c := &tried[i]
		if c.Err != nil {
			continue
		}
		if l, c.Err = c.open(backend == Auto && explicit == ""); c.Err == nil {
			return l, tried[:i+1], nil
		}
	}
	e := &NotFoundError{Backend: backend, Tried: tried}
	switch {
	case explicit != "":
	case backend == Auto || backend == "cpu":
		e.Command = BuildCommand("cpu")
	case backend == "cuda" && runtime.GOOS == "linux" && !slices.ContainsFunc(tried, func(c Candidate) bool { return noDevice(c.Err) }):
		e.Command = BuildCommand("cuda") // where a library found no device, another finds none either
	}
	return nil, tried, e
}

// Candidates lists where Find would look, without opening anything. Err is set where a place does
// not exist on this machine.
func Candidates(backend, explicit string) ([]Candidate, error) {
	names, err := backendNames(backend)
	if err != nil {
		return nil, err
	}
	if explicit != "" {
		return explicitCandidates(names, backend, explicit), nil
	}
	var all []Candidate
	for _, name := range names {
		if dir := os.Getenv(LibDirVariable); dir != "" {
			c := Candidate{Backend: name, Place: LibDirVariable, Path: filepath.Join(dir, LibraryFile(name))}
			if !filepath.IsAbs(dir) {
				c.Err = fmt.Errorf("%w: %q is not an absolute path", ErrInvalidArgument, dir)
			}
			all = append(all, c)
		}
		beside := Candidate{Backend: name, Place: placeExecutable}
		if dir, err := executableDir(); err != nil {
			beside.Err = err
		} else {
			beside.Path = filepath.Join(dir, LibraryFile(name))
		}
		cached := Candidate{Backend: name, Place: placeCache}
		cached.Path, cached.Err = CachePath(name)
		all = append(all, beside, cached)
	}
	return all, nil
}

func backendNames(backend string) ([]string, error) {
	if backend == Auto {
		return Backends, nil
	}
	for _, name := range Backends {
		if name == backend {
			return []string{name}, nil
		}
	}
	return nil, fmt.Errorf("backend %q: %w: there are %s and %s", backend, ErrUnsupported, Auto, strings.Join(Backends, ", "))
}

// explicitCandidates is the file itself, or each backend's file in the folder.
func explicitCandidates(names []string, backend, explicit string) []Candidate {
	path, err := filepath.Abs(explicit)
	if err == nil {
		if info, statErr := os.Stat(path); statErr == nil && info.IsDir() {
			var all []Candidate
			for _, name := range names {
				all = append(all, Candidate{Backend: name, Place: placeExplicit, Path: filepath.Join(path, LibraryFile(name))})
			}
			return all
		}
	}
	return []Candidate{{Backend: backend, Place: placeExplicit, Path: path, Err: err}}
}

func executableDir() (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", err
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return "", err
	}
	return filepath.Dir(path), nil
}

// open opens the candidate if it is what its name says.
func (c *Candidate) open(refuseEmulated bool) (*Library, error) {
	l, err := Open(c.Path)
	if err != nil {
		return nil, err
	}
	name := l.capabilities.Name
	if c.Backend != Auto && name != c.Backend {
		return nil, &LoadError{Path: c.Path, Err: fmt.Errorf("%w: it is the %s backend", ErrNoLibrary, name)}
	}
	if refuseEmulated && l.capabilities.Emulated {
		return nil, &LoadError{Path: c.Path, Err: fmt.Errorf("%w: it is emulated on the CPU, and only picked by name", ErrUnsupported)}
	}
	c.Backend = name
	return l, nil
}

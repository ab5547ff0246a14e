//go:build linux && (amd64 || arm64)

package binding

import (
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/ebitengine/purego"
	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/internal/need"
)

// These are of the library as nvcc builds it, on any machine: what it exports and wants of the
// system, and what it does where there is no card.

func TestCUDALibraryNeedsTheDriverAlone(t *testing.T) {
	path := need.CUDALibrary(t)
	requireExports(t, path)
	f, err := elf.Open(path)
	require.NoError(t, err)
	defer f.Close()
	libraries, err := f.ImportedLibraries()
	require.NoError(t, err)
	system := regexp.MustCompile(`^(libc|libm|libdl|librt|libpthread|ld-linux[-_a-z0-9]*)\.so\.\d+$`)
	for _, name := range libraries {
		require.Regexp(t, system, name, "the runtime and the C++ library are inside; the driver is opened when it is asked for")
	}
}

// withoutDriver is the CUDA library on a machine that has no driver.
func withoutDriver(t *testing.T) string {
	t.Helper()
	path := need.CUDALibrary(t)
	if _, err := purego.Dlopen("libcuda.so.1", purego.RTLD_NOW|purego.RTLD_LOCAL); err == nil {
		t.Skip("this machine has a driver")
	}
	return path
}

const noDriver = "there is no NVIDIA driver on this machine"

func TestCUDALibraryWithoutADriverSaysSo(t *testing.T) {
	path := withoutDriver(t)
	_, err := Open(path)
	var refused *LoadError
	require.ErrorAs(t, err, &refused)
	require.ErrorIs(t, err, ErrUnsupported)
	require.EqualError(t, refused.Err, "probe: unsupported: "+noDriver)

	// Past the handshake, as a program that trusts the library would come.
	hash, err := hashFile(path)
	require.NoError(t, err)
	handle, err := load(path, hash)
	require.NoError(t, err)
	l := &Library{path: path, hash: hash}
	require.NoError(t, l.resolve(handle))
	for _, device := range []int{0, 1, 99} {
		_, err = l.Probe(device)
		require.ErrorIs(t, err, ErrUnsupported, "device %d", device)
		require.ErrorContains(t, err, noDriver)
		_, err = l.NewContext(ContextOptions{Device: device})
		require.ErrorIs(t, err, ErrUnsupported, "device %d", device)
		require.EqualError(t, err, "context_create: unsupported: "+noDriver)
	}
	_, err = l.NewContext(ContextOptions{Device: -1})
	require.ErrorIs(t, err, ErrInvalidArgument, "what the caller got wrong comes before what the machine lacks")
}

func TestAutoPassesOverTheCUDALibraryWithoutADriver(t *testing.T) {
	cuda := withoutDriver(t)
	libDir := emptyHome(t)
	link := filepath.Join(libDir, LibraryFile("cuda"))
	require.NoError(t, os.Symlink(cuda, link))
	cpu := place(t, filepath.Join(libDir, LibraryFile("cpu")))
	l, tried, err := Find(Auto, "")
	require.NoError(t, err)
	require.Equal(t, cpu, l.Path())
	require.Equal(t, "cuda: LLAMA3V_LIB_DIR: "+link+": probe: unsupported: "+noDriver, tried[0].String())

	_, _, err = Find("cuda", "")
	require.ErrorIs(t, err, ErrNoLibrary)
	require.ErrorIs(t, err, ErrUnsupported)
	require.ErrorContains(t, err, noDriver)
	require.NotContains(t, err.Error(), "go run", "another library would not find a driver either")
}

func TestInstallOfTheCUDALibraryNeedsNoDriver(t *testing.T) {
	cuda := withoutDriver(t)
	emptyHome(t)
	path, err := InstallBackend("cuda", cuda)
	require.NoError(t, err)
	cached, err := CachePath("cuda")
	require.NoError(t, err)
	require.Equal(t, cached, path)
	kept, err := BuildBackend(t.Context(), "cuda", BuildOptions{NVCC: "/nowhere"})
	require.NoError(t, err, "what is there is kept")
	require.Equal(t, cached, kept)
}

// handlers is what the kernel has on record for every signal: handler, flags, restorer, mask.
func handlers() (all [65][32]byte) {
	for number := 1; number < len(all); number++ {
		syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(number), 0, uintptr(unsafe.Pointer(&all[number])), 8, 0, 0)
	}
	return all
}

const childVariable = "L3V_TEST_CHILD"

// The Go runtime's signal handlers stay as they are when the library is loaded and asked for its
// devices. In a process of its own, so that no test before it has loaded it.
func TestCUDALibraryLeavesSignalsAlone(t *testing.T) {
	path := need.CUDALibrary(t)
	if os.Getenv(childVariable) == "" {
		child := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		child.Env = append(os.Environ(), childVariable+"=1")
		output, err := child.CombinedOutput()
		require.NoError(t, err, "%s", output)
		require.Contains(t, string(output), "--- PASS: "+t.Name())
		return
	}
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, syscall.SIGINT)
	before := handlers()
	require.NotZero(t, before[syscall.SIGSEGV], "Go handles it")
	if _, err := Open(path); err != nil {
		require.ErrorIs(t, err, ErrUnsupported)
	}
	after := handlers()
	for number := range before {
		require.Equal(t, before[number], after[number], "signal %d", number)
	}

	fault := func() (text string) {
		defer func() { text = fmt.Sprint(recover()) }()
		var nothing *Library
		return nothing.path
	}
	require.Contains(t, fault(), "nil pointer dereference")
	require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGINT))
	select {
	case <-interrupts:
	case <-time.After(10 * time.Second):
		t.Fatal("SIGINT did not come through")
	}
}

package binding

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestOpenSaysWhatTheLibraryIs(t *testing.T) {
	path := fakePath(t)
	l, err := Open(path)
	require.NoError(t, err)
	require.Equal(t, path, l.Path())
	hash, err := hashFile(path)
	require.NoError(t, err)
	require.Len(t, hash, 64)
	require.Equal(t, hash, l.Hash())
	require.Equal(t, fmt.Sprintf("%d.%d", ABIMajor, ABIMinor), l.ABI().String())
	require.Equal(t, Capabilities{
		Name: "cpu", Device: "a fake", Capture: true, WeightTypes: 1<<F32 | 1<<BF16,
		MemoryTotal: 1<<63 - 1, MaxHeadDim: 256, CancelLatency: 50 * time.Millisecond,
	}, l.Capabilities())
	require.Equal(t, "f32 bf16", l.Capabilities().WeightTypes.String())
	_, err = l.Probe(1)
	require.ErrorIs(t, err, ErrUnsupported)
	require.EqualError(t, err, "probe: unsupported: no device 1")
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text.so")
	require.NoError(t, os.WriteFile(text, []byte("not a library"), 0o644))
	empty := filepath.Join(dir, "empty.so")
	require.NoError(t, os.WriteFile(empty, nil, 0o644))

	for _, tc := range []struct {
		name string
		path string
		is   error
		text string
	}{
		{"a relative path could be found in the working directory", "libllama3v-cpu.so", ErrInvalidArgument, "absolute"},
		{"P77: no such file", filepath.Join(dir, "none.so"), ErrNoLibrary, "no such file"},
		{"P77: no such file, for errors.Is of fs", filepath.Join(dir, "none.so"), fs.ErrNotExist, ""},
		{"P77: a folder", dir, ErrNoLibrary, ""},
		{"P77: a text file; the loader's words are kept", text, ErrNoLibrary, "text.so"},
		{"P77: an empty file", empty, ErrNoLibrary, "empty.so"},
	} {
		t.Run(tc.name, func(t *testing.T) { requireRefused(t, tc.path, tc.is, tc.text) })
	}
}

func TestHandshakeRefuses(t *testing.T) {
	for _, tc := range []struct {
		name    string
		defines []string
		is      error
		text    string
	}{
		{"P79: another major version, both are named", []string{"FAKE_ABI=(99u<<16)"}, ErrABIMismatch, fmt.Sprintf("version 99.0 of the C interface, this program needs %d.%d", ABIMajor, ABIMinor)},
		{"P79: an older major version", []string{"FAKE_ABI=0"}, ErrABIMismatch, "version 0.0"},
		{"P79: an older minor version", []string{"FAKE_ABI=(L3V_ABI_VERSION-1)"}, ErrABIMismatch, "of the C interface, this program needs"},
		{"P79: no version function", []string{"FAKE_NO_VERSION"}, ErrABIMismatch, "no l3v_abi_version"},
		{"P79: size of the view off by 8", []string{"FAKE_BAD_STRUCT=1", "FAKE_GROW=8"}, ErrABIMismatch, "l3v_view has 40 bytes and 5 fields, 32 and 5 expected"},
		{"P79: size of the last struct off by 8", []string{"FAKE_BAD_STRUCT=26", "FAKE_GROW=8"}, ErrABIMismatch, "l3v_log_prob_params has 128 bytes"},
		{"P79: a field elsewhere in a struct of the same size", []string{"FAKE_BAD_STRUCT=11", "FAKE_SHIFT=-8"}, ErrABIMismatch, "field 6 of l3v_rms_norm_params lies at 104, 112 expected"},
		{"P79: same minor with a tail is another layout", []string{"FAKE_TAIL"}, ErrABIMismatch, "l3v_view has 40 bytes and 6 fields"},
		{"P79: newer minor with a moved field", []string{"FAKE_ABI=L3V_ABI_VERSION+1", "FAKE_TAIL", "FAKE_BAD_STRUCT=8", "FAKE_SHIFT=4"}, ErrABIMismatch, "of l3v_linear_params lies at"},
		{"P79: newer minor with a smaller struct", []string{"FAKE_ABI=L3V_ABI_VERSION+1", "FAKE_BAD_STRUCT=8", "FAKE_GROW=-8"}, ErrABIMismatch, "at least"},
		{"P78: all missing functions in one error", []string{"FAKE_MISSING"}, ErrMissingSymbols, "l3v_cancel, l3v_linear, l3v_topk"},
		{"P82: the probe finds no device", []string{"FAKE_PROBE=L3V_UNSUPPORTED"}, ErrUnsupported, "probe: unsupported: no device 0"},
		{"P82: the probe fails with a status of the future", []string{"FAKE_PROBE=77"}, ErrInternal, "probe: status 77"},
	} {
		t.Run(tc.name, func(t *testing.T) { requireRefused(t, fakePath(t, tc.defines...), tc.is, tc.text) })
	}
}

func requireRefused(t *testing.T, path string, is error, text string) {
	t.Helper()
	l, err := Open(path)
	require.Nil(t, l)
	require.ErrorIs(t, err, is)
	require.ErrorContains(t, err, text)
	var load *LoadError
	require.ErrorAs(t, err, &load)
	require.Equal(t, path, load.Path)
	require.ErrorContains(t, err, path)
}

func TestOpenTakesANewerMinor(t *testing.T) {
	l := fake(t, "FAKE_ABI=L3V_ABI_VERSION+1", "FAKE_TAIL")
	require.Equal(t, fmt.Sprintf("%d.%d", ABIMajor, ABIMinor+1), l.ABI().String())
}

func TestOpenRefusesALibraryWhoseDependencyIsAbsent(t *testing.T) {
	cc, dir := needCC(t), t.TempDir()
	source := filepath.Join(dir, "absent.c")
	require.NoError(t, os.WriteFile(source, []byte("int fake_absent(void) { return 1; }\n"), 0o644))
	absent := filepath.Join(dir, "libfakeabsent"+libraryExt())
	out, err := exec.Command(cc, "-shared", "-fPIC", source, "-o", absent).CombinedOutput()
	require.NoError(t, err, "%s", out)
	fakePath(t) // writes the layouts
	path := filepath.Join(dir, "libneeds"+libraryExt())
	out, err = exec.Command(cc, "-shared", "-fPIC", "-DFAKE_NEEDS", "-I../csrc/include", "-I"+fakes.dir,
		"testdata/fake.c", "-o", path, "-L"+dir, "-lfakeabsent").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NoError(t, os.Remove(absent))
	requireRefused(t, path, ErrNoLibrary, "libfakeabsent") // P77: the loader names it
}

func TestTwoLibrariesAtOnceKeepTheirOwnNames(t *testing.T) {
	first := fake(t, `FAKE_NAME="first"`)
	second := fake(t, `FAKE_NAME="second"`)
	again, err := Open(first.Path())
	require.NoError(t, err)
	require.NotSame(t, first, again)

	contexts := map[string]*Context{}
	for name, l := range map[string]*Library{"first": first, "second": second, "again": again} {
		c, err := l.NewContext(ContextOptions{})
		require.NoError(t, err)
		contexts[name] = c
	}
	// The name comes from an exported function that both libraries have: with global names the
	// second would answer with the first one's.
	for want, l := range map[string]*Library{"first": first, "second": second} {
		capabilities, err := l.Probe(0)
		require.NoError(t, err)
		require.Equal(t, want, capabilities.Name)
	}
	require.NoError(t, contexts["first"].Close())
	require.NoError(t, contexts["second"].Synchronize())
	require.NoError(t, contexts["again"].Synchronize())
	require.NoError(t, contexts["again"].Close())
	require.NoError(t, contexts["second"].Close())
}

func TestOpenRefusesAReplacedFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "lib.so")
	require.NoError(t, os.WriteFile(path, []byte("not yet a library"), 0o755))
	_, err := Open(path)
	require.ErrorIs(t, err, ErrNoLibrary)

	install := func(from string) {
		t.Helper()
		next := filepath.Join(dir, "next")
		require.NoError(t, copyFile(next, from))
		require.NoError(t, os.Rename(next, path))
	}
	install(fakePath(t, `FAKE_NAME="old"`))
	_, err = Open(path)
	require.NoError(t, err, "what was never loaded may be replaced")
	install(fakePath(t, `FAKE_NAME="new"`))
	_, err = Open(path)
	require.ErrorIs(t, err, ErrNoLibrary)
	require.ErrorContains(t, err, "replaced")
}

func TestNewContextFails(t *testing.T) {
	l := fake(t)
	for _, tc := range []struct {
		name    string
		options ContextOptions
		is      error
		text    string
	}{
		{"the library's text crosses", ContextOptions{Device: -1, Threads: 3}, ErrUnsupported, "context_create: unsupported: no device -1, 3 threads"},
		{"a kernel set's name is longer than any", ContextOptions{Kernels: fmt.Sprintf("%032d", 0)}, ErrUnsupported, "no kernel set"},
		{"a device beyond 32 bits", ContextOptions{Device: 1 << 40}, ErrInvalidArgument, "device 1099511627776"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := l.NewContext(tc.options)
			require.Nil(t, c)
			require.ErrorIs(t, err, tc.is)
			require.ErrorContains(t, err, tc.text)
		})
	}
}

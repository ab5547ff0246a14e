package binding

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"
)

// emptyHome points every place of the search at empty folders, and returns LLAMA3V_LIB_DIR.
func emptyHome(t *testing.T) (libDir string) {
	t.Helper()
	home, libDir := t.TempDir(), t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_CACHE_HOME", filepath.Join(home, "cache"))
	t.Setenv(LibDirVariable, libDir)
	return libDir
}

// place copies a fake library to a path.
func place(t *testing.T, to string, defines ...string) string {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(to), 0o755))
	require.NoError(t, copyFile(to, fakePath(t, defines...)))
	return to
}

func TestFindLooksInOrder(t *testing.T) {
	libDir := emptyHome(t)
	cached, err := CachePath("cpu")
	require.NoError(t, err)

	_, tried, err := Find("cpu", "")
	require.ErrorIs(t, err, ErrNoLibrary)
	require.Len(t, tried, 3)
	for i, want := range []string{LibDirVariable, placeExecutable, placeCache} {
		require.Equal(t, want, tried[i].Place)
		require.ErrorIs(t, tried[i].Err, fs.ErrNotExist)
		require.True(t, filepath.IsAbs(tried[i].Path), tried[i].Path)
	}
	require.Equal(t, cached, tried[2].Path)
	executable, err := os.Executable()
	require.NoError(t, err)
	require.Equal(t, filepath.Base(filepath.Dir(executable)), filepath.Base(filepath.Dir(tried[1].Path)))

	place(t, cached)
	l, tried, err := Find("cpu", "")
	require.NoError(t, err)
	require.Equal(t, cached, l.Path())
	require.Len(t, tried, 3)
	require.Equal(t, "cpu: "+cached+" (user cache): opened", tried[2].String())

	first := place(t, filepath.Join(libDir, LibraryFile("cpu")), "FAKE_OTHER=1")
	l, tried, err = Find("cpu", "")
	require.NoError(t, err)
	require.Equal(t, first, l.Path())
	require.Len(t, tried, 1, "what was found first ends the search")

	elsewhere := place(t, filepath.Join(t.TempDir(), "any-name.so"), "FAKE_OTHER=2")
	l, tried, err = Find("cpu", elsewhere)
	require.NoError(t, err)
	require.Equal(t, elsewhere, l.Path())
	require.Len(t, tried, 1)
	l, _, err = Find("cpu", libDir)
	require.NoError(t, err, "an explicit folder")
	require.Equal(t, first, l.Path())
}

func TestP80DecoysAreNotOpened(t *testing.T) {
	emptyHome(t)
	decoys := t.TempDir()
	t.Chdir(decoys)
	file := LibraryFile("cpu")
	place(t, filepath.Join(decoys, file))                 // the working directory
	place(t, filepath.Join(decoys, "build", "lib", file)) // a build folder
	place(t, filepath.Join(decoys, "lib", file))
	t.Setenv("LD_LIBRARY_PATH", decoys) // the loader's own search
	t.Setenv("DYLD_LIBRARY_PATH", decoys)
	cached, err := CachePath("cpu")
	require.NoError(t, err)
	place(t, filepath.Join(filepath.Dir(cached), file)) // the cache, without the hash

	_, tried, err := Find("cpu", "")
	require.ErrorIs(t, err, ErrNoLibrary, "%v", tried)

	t.Setenv(LibDirVariable, ".")
	_, _, err = Find("cpu", "")
	require.ErrorIs(t, err, ErrNoLibrary)
	require.ErrorIs(t, err, ErrInvalidArgument, "a relative folder would be the working directory")
	t.Setenv("XDG_CACHE_HOME", ".")
	_, _, err = Find("cpu", "")
	require.ErrorIs(t, err, ErrNoLibrary)
}

func TestP81ABackendAskedForNeverFallsBack(t *testing.T) {
	libDir := emptyHome(t)
	cpu := place(t, filepath.Join(libDir, LibraryFile("cpu")))
	cuda := filepath.Join(libDir, LibraryFile("cuda"))
	place(t, cuda, `FAKE_NAME="cuda"`, "FAKE_PROBE=L3V_UNSUPPORTED") // no driver

	_, tried, err := Find("cuda", "")
	require.ErrorIs(t, err, ErrNoLibrary)
	require.ErrorIs(t, err, ErrUnsupported)
	require.ErrorContains(t, err, "no cuda library found")
	require.ErrorContains(t, err, "no device 0")
	require.NotContains(t, err.Error(), "go run", "another library would not find one either")
	for _, c := range tried {
		require.Equal(t, "cuda", c.Backend)
	}

	l, tried, err := Find(Auto, "")
	require.NoError(t, err)
	require.Equal(t, cpu, l.Path())
	require.Equal(t, "cuda: LLAMA3V_LIB_DIR: "+cuda+": probe: unsupported: no device 0", tried[0].String(), "auto says why")
	var order []string
	for _, c := range tried {
		order = append(order, c.Backend)
	}
	require.Equal(t, []string{"cuda", "cuda", "cuda", "metal", "metal", "metal", "cpu"}, order)
}

func TestAutoNeverPicksAnEmulatedBackend(t *testing.T) {
	libDir := emptyHome(t)
	emulated := place(t, filepath.Join(libDir, LibraryFile("cuda")), `FAKE_NAME="cuda"`, "FAKE_FLAGS=L3V_CAP_EMULATED")
	_, _, err := Find(Auto, "")
	require.ErrorIs(t, err, ErrNoLibrary)
	require.ErrorContains(t, err, "emulated")
	cpu := place(t, filepath.Join(libDir, LibraryFile("cpu")))
	l, _, err := Find(Auto, "")
	require.NoError(t, err)
	require.Equal(t, cpu, l.Path())
	l, _, err = Find("cuda", "")
	require.NoError(t, err, "asked for by name")
	require.True(t, l.Capabilities().Emulated)
	l, tried, err := Find(Auto, emulated)
	require.NoError(t, err, "asked for by path")
	require.Equal(t, "cuda", tried[0].Backend)
	require.Equal(t, emulated, l.Path())
}

func TestFindPassesOverWhatDoesNotOpen(t *testing.T) {
	libDir := emptyHome(t)
	bad := filepath.Join(libDir, LibraryFile("cpu"))
	require.NoError(t, os.WriteFile(bad, []byte("text"), 0o644))
	cached, err := CachePath("cpu")
	require.NoError(t, err)
	place(t, cached, "FAKE_ABI=99")
	_, _, err = Find("cpu", "")
	require.ErrorIs(t, err, ErrNoLibrary)
	require.ErrorIs(t, err, ErrABIMismatch)
	require.ErrorContains(t, err, bad)
	require.ErrorContains(t, err, cached)
	require.ErrorContains(t, err, BuildCommand("cpu"))

	wrong := place(t, filepath.Join(t.TempDir(), "x.so"), `FAKE_NAME="metal"`)
	_, _, err = Find("cpu", wrong)
	require.ErrorContains(t, err, "it is the metal backend")
	missing := filepath.Join(t.TempDir(), "missing.so")
	_, _, err = Find("cpu", missing)
	require.ErrorIs(t, err, ErrNoLibrary)
	require.ErrorContains(t, err, missing)
	require.NotContains(t, err.Error(), "go run", "a build would not appear at that path")
	_, _, err = Find("vulkan", "")
	require.ErrorIs(t, err, ErrUnsupported)
}

func TestNothingFoundNamesTheCommand(t *testing.T) {
	emptyHome(t)
	for _, backend := range []string{Auto, "cpu"} {
		_, _, err := Find(backend, "")
		var notFound *NotFoundError
		require.ErrorAs(t, err, &notFound)
		require.Equal(t, "go run github.com/llama3v/llama3v/cmd/llama3v backend build cpu", notFound.Command)
		require.True(t, errors.Is(err, ErrNoLibrary))
		what := map[string]string{Auto: "backend", "cpu": "cpu"}[backend]
		require.EqualError(t, err, fmt.Sprintf("no %s library found; this builds one: %s", what, notFound.Command))
	}
	_, _, err := Find("metal", "")
	require.EqualError(t, err, "no metal library found")
	_, _, err = Find("cuda", "")
	if runtime.GOOS == "linux" {
		require.EqualError(t, err, "no cuda library found; this builds one: "+BuildCommand("cuda"))
	} else {
		require.EqualError(t, err, "no cuda library found")
	}
}

func TestVersionOfTheCommand(t *testing.T) {
	module := func(version string, replaced bool) debug.Module {
		m := debug.Module{Path: modulePath, Version: version}
		if replaced {
			m.Replace = &debug.Module{Path: "../llama3v"}
		}
		return m
	}
	dep := func(version string, replaced bool) *debug.BuildInfo {
		m := module(version, replaced)
		return &debug.BuildInfo{Main: debug.Module{Path: "example.com/app", Version: "v9.9.9"}, Deps: []*debug.Module{{Path: "x", Version: "v3.0.0"}, &m}}
	}
	vcs := []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}}
	for _, tc := range []struct {
		name string
		info *debug.BuildInfo
		want string
	}{
		{"no build information", nil, ""},
		{"a program that depends on a release", dep("v1.2.3", false), "@v1.2.3"},
		{"a program that depends on a commit", dep("v0.0.0-20250102030405-abcdefabcdef", false), "@v0.0.0-20250102030405-abcdefabcdef"},
		{"a replaced dependency is a development tree", dep("v1.2.3", true), ""},
		{"the command installed at a version", &debug.BuildInfo{Main: module("v1.2.3", false)}, "@v1.2.3"},
		{"go run and go test in the tree", &debug.BuildInfo{Main: module("(devel)", false)}, ""},
		{"go build in a checkout makes up a version", &debug.BuildInfo{Main: module("v1.2.4-0.20250102030405-abcdefabcdef", false), Settings: vcs}, ""},
		{"with changes", &debug.BuildInfo{Main: module("v1.2.3+dirty", false)}, ""},
		{"a program that does not have the module", &debug.BuildInfo{Main: debug.Module{Path: "example.com/app", Version: "v9.9.9"}}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) { require.Equal(t, tc.want, versionSuffix(tc.info)) })
	}
}

package binding

import (
	"bytes"
	"context"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/internal/need"

	"github.com/llama3v/llama3v/csrc"
)

// needCXX skips without a C++ compiler.
func needCXX(t testing.TB) {
	t.Helper()
	if _, err := findCompiler(); err != nil {
		need.Missing(t, "cc", err.Error())
	}
}

// fakeSources is a source tree as csrc.Files is one, with the fake library as its only source.
func fakeSources(t testing.TB) fstest.MapFS {
	t.Helper()
	sources := fstest.MapFS{}
	for _, name := range []string{"include/llama3v.h", "flags.txt", "exports.map"} {
		data, err := fs.ReadFile(csrc.Files, name)
		require.NoError(t, err)
		sources[name] = &fstest.MapFile{Data: data}
	}
	data, err := os.ReadFile("testdata/fake.c")
	require.NoError(t, err)
	sources["cpu/fake.cpp"] = &fstest.MapFile{Data: data}
	sources["cpu/fake_layouts.h"] = &fstest.MapFile{Data: []byte(fakeLayouts(t))}
	sources["cuda/broken.cpp"] = &fstest.MapFile{Data: []byte("sources of another backend are not compiled")}
	return sources
}

func TestBuildGivesALibraryThatOpens(t *testing.T) {
	needCXX(t)
	target := filepath.Join(t.TempDir(), "cache", "lib.so")
	var output bytes.Buffer
	require.NoError(t, build(t.Context(), fakeSources(t), "cpu", target, BuildOptions{Output: &output}))
	require.NoError(t, opens(target, "cpu"))
	require.Contains(t, output.String(), "compile cpu/fake.cpp\n")
	requireOnly(t, filepath.Dir(target), "lib.so")

	first, err := hashFile(target)
	require.NoError(t, err)
	again := filepath.Join(t.TempDir(), "lib.so")
	require.NoError(t, build(t.Context(), fakeSources(t), "cpu", again, BuildOptions{}))
	second, err := hashFile(again)
	require.NoError(t, err)
	require.Equal(t, first, second, "two builds give the same bytes")
}

// requireOnly asserts that nothing but these files is left in a folder.
func requireOnly(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	require.Equal(t, names, got)
}

func TestBuildExportsTheInterfaceAlone(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads an ELF file")
	}
	needCXX(t)
	sources := fakeSources(t)
	// A template of the C++ library is visible by default, whatever the flags say of ours.
	sources["cpu/map.cpp"] = &fstest.MapFile{Data: []byte("#include <map>\n#include <string>\n" +
		"int fake_map(std::map<std::string, int>& m) { return m[\"a\"]++; }\n")}
	target := filepath.Join(t.TempDir(), "lib.so")
	require.NoError(t, build(t.Context(), sources, "cpu", target, BuildOptions{}))
	requireExports(t, target)
}

// requireExports asserts that a library defines the functions of the header and nothing else.
func requireExports(t *testing.T, path string) {
	t.Helper()
	f, err := elf.Open(path)
	require.NoError(t, err)
	defer f.Close()
	symbols, err := f.DynamicSymbols()
	require.NoError(t, err)
	var exported []string
	for _, s := range symbols {
		if s.Section != elf.SHN_UNDEF {
			exported = append(exported, s.Name)
		}
	}
	require.ElementsMatch(t, symbolNames[:], exported)
}

func TestConcurrentBuildsLeaveOneWholeLibrary(t *testing.T) {
	needCXX(t)
	target := filepath.Join(t.TempDir(), "lib.so")
	sources := fakeSources(t)
	var group sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		group.Go(func() {
			if errs[i] = build(context.Background(), sources, "cpu", target, BuildOptions{}); errs[i] == nil {
				_, errs[i] = Open(target)
			}
		})
	}
	group.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	requireOnly(t, filepath.Dir(target), "lib.so")
}

func TestBuildFails(t *testing.T) {
	needCXX(t)
	dir := t.TempDir()
	target := filepath.Join(dir, "lib.so")
	with := func(name, text string) fs.FS {
		sources := fakeSources(t)
		sources[name] = &fstest.MapFile{Data: []byte(text)}
		return sources
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tc := range []struct {
		name    string
		ctx     context.Context
		sources fs.FS
		text    string
	}{
		{"the compiler's words come back", t.Context(), with("cpu/bad.cpp", "int f() { return nonsense; }"), "cpu/bad.cpp:1:18: error"},
		{"what links but does not load", t.Context(), with("cpu/bad.cpp", "int absent_function(); int l3v_extra() { return absent_function(); }"), "does not open"},
		{"another version of the interface", t.Context(), with("cpu/fake.cpp", "#include \"llama3v.h\"\nuint32_t l3v_abi_version(void) { return 7; }"), "incompatible library"},
		{"flags that no one understands", t.Context(), with("flags.txt", "compile -O1\nassemble -x"), "flags.txt line 2"},
		{"a cancelled context stops it", cancelled, fakeSources(t), "context canceled"},
		{"no sources", t.Context(), fstest.MapFS{"flags.txt": {}}, "no sources"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := build(tc.ctx, tc.sources, "cpu", target, BuildOptions{})
			require.ErrorContains(t, err, tc.text)
			requireOnly(t, dir)
		})
	}
}

func TestBuildWithoutACompilerSaysWhatToInstall(t *testing.T) {
	emptyHome(t)
	t.Setenv("PATH", t.TempDir())
	t.Setenv("CXX", "")
	_, err := BuildBackend(t.Context(), "cpu", BuildOptions{})
	require.ErrorContains(t, err, "build cpu: no C++ compiler found ($CXX, c++, g++, clang++): install ")
	require.NotContains(t, err.Error(), "\n", "one sentence")
	t.Setenv("CXX", "no-such-compiler -O9")
	_, err = BuildBackend(t.Context(), "cpu", BuildOptions{})
	require.ErrorContains(t, err, `$CXX is "no-such-compiler"`)
}

func TestCompilerOfTheEnvironmentMayCarryArguments(t *testing.T) {
	cc := needCC(t)
	t.Setenv("CXX", cc+" -O0 -g")
	compiler, err := findCompiler()
	require.NoError(t, err)
	require.Equal(t, []string{cc, "-O0", "-g"}, compiler)
}

func TestBuildBackendRefusesBackendsWithoutSources(t *testing.T) {
	for _, backend := range []string{"metal", "vulkan", Auto} {
		_, err := BuildBackend(t.Context(), backend, BuildOptions{})
		require.ErrorIs(t, err, ErrUnsupported, backend)
	}
}

func TestBuildBackendKeepsWhatIsThere(t *testing.T) {
	emptyHome(t)
	cached, err := CachePath("cpu")
	require.NoError(t, err)
	place(t, cached)
	t.Setenv("PATH", t.TempDir()) // a build would fail
	t.Setenv("CXX", "")
	path, err := BuildBackend(t.Context(), "cpu", BuildOptions{})
	require.NoError(t, err)
	require.Equal(t, cached, path)
	_, err = BuildBackend(t.Context(), "cpu", BuildOptions{Force: true})
	require.ErrorContains(t, err, "no C++ compiler")
}

func TestInstallBackend(t *testing.T) {
	emptyHome(t)
	file := fakePath(t)
	path, err := InstallBackend("cpu", file)
	require.NoError(t, err)
	cached, err := CachePath("cpu")
	require.NoError(t, err)
	require.Equal(t, cached, path)
	l, _, err := Find("cpu", "")
	require.NoError(t, err)
	require.Equal(t, cached, l.Path())
	_, err = InstallBackend("cpu", file)
	require.NoError(t, err, "again")

	for _, tc := range []struct {
		name, backend, file string
		is                  error
		text                string
	}{
		{"another backend's library", "cuda", file, ErrNoLibrary, "it is the cpu backend"},
		{"no such file", "cpu", "/nowhere/lib.so", fs.ErrNotExist, "/nowhere/lib.so"},
		{"a library that does not open", "cpu", fakePath(t, "FAKE_ABI=99"), ErrABIMismatch, "99"},
		{"auto is no backend", Auto, file, ErrInvalidArgument, "name the backend"},
		{"an unknown backend", "vulkan", file, ErrUnsupported, "vulkan"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := InstallBackend(tc.backend, tc.file)
			require.ErrorIs(t, err, tc.is)
			require.ErrorContains(t, err, tc.text)
			requireOnly(t, filepath.Dir(cached), filepath.Base(cached))
		})
	}
}

func TestCachePathCarriesWhatDecidesTheBuild(t *testing.T) {
	emptyHome(t)
	path, err := CachePath("cpu")
	require.NoError(t, err)
	require.Regexp(t, `/llama3v/libllama3v-cpu-[0-9a-f]{16}\.(so|dylib)$`, path)

	sources := fakeSources(t)
	base, err := sourceHash(sources, "cpu")
	require.NoError(t, err)
	seen := map[string]string{base: "the same"}
	for what, change := range map[string]func(fstest.MapFS){
		"a source":            func(s fstest.MapFS) { s["cpu/fake.cpp"] = &fstest.MapFile{Data: []byte("int x;")} },
		"a flag":              func(s fstest.MapFS) { s["flags.txt"] = &fstest.MapFile{Data: []byte("compile -O2")} },
		"one more file":       func(s fstest.MapFS) { s["cpu/z.cpp"] = &fstest.MapFile{} },
		"a name":              func(s fstest.MapFS) { s["cpu/g.cpp"] = s["cpu/fake.cpp"]; delete(s, "cpu/fake.cpp") },
		"a kernel's compiler": func(s fstest.MapFS) { s["flags.txt"] = &fstest.MapFile{Data: []byte("nvcc -O2")} },
		"bytes moved over":    func(s fstest.MapFS) { s["cpu/fake_layouts.h"].Data = append(s["cpu/fake_layouts.h"].Data, '\n') },
	} {
		changed := fakeSources(t)
		change(changed)
		hash, err := sourceHash(changed, "cpu")
		require.NoError(t, err)
		require.NotContains(t, seen, hash, "%s and %s", what, seen[hash])
		seen[hash] = what
	}
	changed := fakeSources(t)
	changed["cuda/broken.cpp"].Data = append(changed["cuda/broken.cpp"].Data, '\n')
	same, err := sourceHash(changed, "cpu")
	require.NoError(t, err)
	require.Equal(t, base, same, "sources of another backend do not count")
	other, err := sourceHash(sources, "cuda")
	require.NoError(t, err)
	require.NotContains(t, seen, other)
}

// The release build is CMake's; this module's own build must give the same library.
func TestCMakeCompilesWithTheSameFlags(t *testing.T) {
	if _, err := exec.LookPath("cmake"); err != nil {
		need.Missing(t, "cpu", "cmake is not installed")
	}
	needCXX(t)
	flags, err := readFlags(csrc.Files, runtime.GOOS, "cuda")
	require.NoError(t, err)
	dir := t.TempDir()
	out, err := exec.Command("cmake", "-S", "..", "-B", dir, "-G", "Unix Makefiles", "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON").CombinedOutput()
	require.NoError(t, err, "%s", out)
	commands, err := os.ReadFile(filepath.Join(dir, "compile_commands.json"))
	require.NoError(t, err)
	files := 0
	for line := range strings.SplitSeq(string(commands), "\n") {
		command, found := strings.CutPrefix(strings.TrimSpace(line), `"command": `)
		if !found {
			continue
		}
		files++
		var got []string
		for _, f := range strings.Fields(command) {
			if strings.HasPrefix(f, "-") && !strings.HasPrefix(f, "-I") && f != "-isystem" && f != "-o" && f != "-c" {
				got = append(got, f)
			}
		}
		require.Equal(t, flags.compile, got)
	}
	require.Positive(t, files)

	lists, err := os.ReadFile("../CMakeLists.txt")
	require.NoError(t, err)
	require.Contains(t, string(lists), fmt.Sprintf("set(oldest %d.%d)", oldestNVCC[0], oldestNVCC[1]))
	if strings.Contains(string(out), "The CUDA backend is built with") {
		rules, err := os.ReadFile(filepath.Join(dir, "CMakeFiles", "llama3v-cuda.dir", "build.make"))
		require.NoError(t, err)
		require.Contains(t, string(rules), " "+strings.Join(flags.nvcc, " ")+" -I")
	}
}

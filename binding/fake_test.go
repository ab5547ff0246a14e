package binding

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// fakes holds the built forms of testdata/fake.c by their defines.
var fakes struct {
	sync.Mutex
	dir   string
	paths map[string]string
}

func TestMain(m *testing.M) {
	code := m.Run()
	if fakes.dir != "" {
		os.RemoveAll(fakes.dir)
	}
	os.Exit(code)
}

// fakePath builds the fake library with some defines ("FAKE_ABI=7") and returns its path.
func fakePath(t testing.TB, defines ...string) string {
	t.Helper()
	cc := needCC(t)
	fakes.Lock()
	defer fakes.Unlock()
	key := strings.Join(defines, " ")
	if path := fakes.paths[key]; path != "" {
		return path
	}
	if fakes.dir == "" {
		dir, err := os.MkdirTemp("", "l3v-fake-*")
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "fake_layouts.h"), []byte(fakeLayouts(t)), 0o644))
		fakes.dir, fakes.paths = dir, map[string]string{}
	}
	path := filepath.Join(fakes.dir, fmt.Sprintf("fake%d%s", len(fakes.paths), libraryExt()))
	args := []string{"-shared", "-fPIC", "-Wall", "-Werror", "-I../csrc/include", "-I" + fakes.dir, "testdata/fake.c", "-o", path}
	for _, d := range defines {
		args = append(args, "-D"+d)
	}
	out, err := exec.Command(cc, args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	fakes.paths[key] = path
	return path
}

// fake opens a fake library.
func fake(t testing.TB, defines ...string) *Library {
	t.Helper()
	l, err := Open(fakePath(t, defines...))
	require.NoError(t, err)
	return l
}

// fakeContext makes a context that is closed at the end of the test.
func fakeContext(t testing.TB, o ContextOptions) *Context {
	t.Helper()
	c, err := fake(t).NewContext(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

// fakeLayouts is the C header with the size and offsets of every struct, as the C compiler sees
// them: the handshake with a fake is a check of Go's mirrors against a real compiler.
func fakeLayouts(t testing.TB) string {
	var b strings.Builder
	b.WriteString("#include <stddef.h>\nstruct fake_layout { uint32_t size, fields, offsets[32]; };\n")
	b.WriteString("static const struct fake_layout fake_layouts[L3V_STRUCT_COUNT] = {\n")
	for _, s := range headerStructs(t) {
		offsets := make([]string, len(s.fields))
		for i, f := range s.fields {
			offsets[i] = fmt.Sprintf("offsetof(%s, %s)", s.name, f)
		}
		fmt.Fprintf(&b, "  {sizeof(%s), %d, {%s}},\n", s.name, len(s.fields), strings.Join(offsets, ", "))
	}
	b.WriteString("};\n")
	return b.String()
}

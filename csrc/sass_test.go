package csrc

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/llama3v/llama3v/internal/need"
)

// arch is a kind of card that the library has machine code for, and what of it blocks share.
type arch struct {
	name          string
	shared        int // bytes a multiprocessor
	sharedABlock  int // bytes that a block may have
	systemShared  int // bytes that the compiler counts as a kernel's own, where it has any
	registers     int
	threads       int
	blocks        int
	sharedPerSlot int // bytes that the system takes of each block
}

// CUDA C++ programming guide 13.0, "Technical specifications per compute capability": 8.0 and 9.0.
var archs = []arch{
	{"sm_80", 164 << 10, 163 << 10, 0, 64 << 10, 2048, 32, 1 << 10},
	{"sm_90a", 228 << 10, 227 << 10, 1 << 10, 64 << 10, 2048, 32, 1 << 10},
}

// line is one of cuda/sass.txt, which says what they mean.
type line struct {
	number                                    int
	kernel, arch                              string
	threads, blocks, shared, registers, stack int
	instructions                              []string
	why                                       string
}

func (l line) String() string {
	return fmt.Sprintf("sass.txt line %d (%s on %s)", l.number, l.kernel, l.arch)
}

func (l line) covers(k kernel) bool {
	if l.arch != "*" && l.arch != k.arch.name {
		return false
	}
	name := k.name
	if !strings.Contains(l.kernel, "<") {
		name, _, _ = strings.Cut(name, "<")
	}
	ok, err := path.Match(l.kernel, name)
	return err == nil && ok
}

func readTable(t *testing.T, text string) (table []line) {
	t.Helper()
	for i, s := range strings.Split(text, "\n") {
		s, why, _ := strings.Cut(s, "#")
		f := strings.Fields(s)
		if len(f) == 0 {
			continue
		}
		l := line{number: i + 1, why: strings.TrimSpace(why)}
		require.Len(t, f, 8, "sass.txt line %d: kernel, arch, threads, blocks, shared, registers, stack, instructions", l.number)
		l.kernel, l.arch = f[0], f[1]
		for column, into := range []*int{&l.threads, &l.blocks, &l.shared, &l.registers, &l.stack} {
			n, err := strconv.Atoi(f[column+2])
			require.NoError(t, err, "sass.txt line %d", l.number)
			*into = n
		}
		if f[7] != "-" {
			l.instructions = strings.Split(f[7], ",")
		}
		table = append(table, l)
	}
	return table
}

// kernel is one that the library holds, for one kind of card.
type kernel struct {
	symbol    string
	name      string // without namespaces and arguments: "copy_rows_kernel<unsigned char>"
	arch      arch
	threads   int // the launch bound; 0 where there is none
	shared    int // static
	registers int
	stack     int
	code      []string // instructions, where they were asked for
}

func (k kernel) String() string { return k.name + " on " + k.arch.name }

// blocks is how many of them a multiprocessor holds at once, with so much dynamic shared memory.
func (k kernel) blocks(dynamic int) int {
	warps := (k.threads + 31) / 32
	aWarp := (k.registers + 7) / 8 * 8 * 32
	if warps == 0 {
		return 0 // no launch bound, which is an error of its own
	}
	n := min(k.arch.blocks, k.arch.threads/(warps*32), k.arch.registers/(warps*aWarp))
	return min(n, k.arch.shared/(k.shared+dynamic+k.arch.sharedPerSlot))
}

// has says whether an instruction is among them: LDG.E.128 is LDG.E.LTC128B.128.CONSTANT, too.
func (k kernel) has(instruction string) bool {
	want := strings.Split(instruction, ".")
	return slices.ContainsFunc(k.code, func(have string) bool {
		at := 0
		for part := range strings.SplitSeq(have, ".") {
			if at < len(want) && part == want[at] {
				at++
			} else if at == 0 {
				return false // the first must be the first
			}
		}
		return at == len(want)
	})
}

// refuses says whether the kernel does nothing or traps, as that of another kind of card must.
func (k kernel) refuses() bool {
	n := 0
	for _, c := range k.code {
		if c != "NOP" && c != "BRA" {
			n++
		}
	}
	return n <= 8 || k.has("BPT.TRAP")
}

// reader runs one of the programs that read machine code; they lie beside nvcc.
func reader(t *testing.T, args ...string) string {
	t.Helper()
	private, err := filepath.Abs("../build/nvcc/nvidia/cu13/bin")
	require.NoError(t, err)
	// cuobjdump finds nvdisasm on the path.
	cmd := exec.Command("sh", append([]string{"-c", `exec cuobjdump "$@"`, "sh"}, args...)...)
	cmd.Env = append(os.Environ(), "PATH="+strings.Join([]string{os.Getenv("PATH"), "/usr/local/cuda/bin", private}, ":"))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() == 127 {
		need.Missing(t, "nvcc", "tools/fetch-nvcc.sh brings cuobjdump and nvdisasm")
	}
	require.NoError(t, err, "cuobjdump %s: %s", strings.Join(args, " "), &stderr)
	return string(out)
}

var (
	archLine     = regexp.MustCompile(`^arch = (\S+)$`)
	functionLine = regexp.MustCompile(`^\s*Function (\S+):$`)
	usageLine    = regexp.MustCompile(`REG:(\d+) STACK:(\d+) SHARED:(\d+)`)
	infoLine     = regexp.MustCompile(`^\.nv\.info\.(\S+)$`)
	headerLine   = regexp.MustCompile(`^\s*Function : (\S+)$`)
	codeLine     = regexp.MustCompile(`^\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\d+ )?([A-Z][A-Z0-9_.]*)`)
)

// readKernels reads registers, stack and shared memory of every kernel, and which code there is.
func readKernels(t *testing.T, library string) []kernel {
	t.Helper()
	var kernels []kernel
	var now arch
	for _, s := range strings.Split(reader(t, "--dump-resource-usage", library), "\n") {
		if m := archLine.FindStringSubmatch(s); m != nil {
			i := slices.IndexFunc(archs, func(a arch) bool { return a.name == m[1] })
			now = arch{name: m[1]}
			if i >= 0 {
				now = archs[i]
			}
		}
		if m := functionLine.FindStringSubmatch(s); m != nil {
			require.NotEmpty(t, now.shared, "%s is code for %s, of which archs has no line", m[1], now.name)
			kernels = append(kernels, kernel{symbol: m[1], arch: now})
		}
		if m := usageLine.FindStringSubmatch(s); m != nil {
			k := &kernels[len(kernels)-1]
			k.registers, k.stack, k.shared = atoi(t, m[1]), atoi(t, m[2]), max(0, atoi(t, m[3])-k.arch.systemShared)
		}
	}
	require.NotEmpty(t, kernels, "cuobjdump finds no kernel in %s", library)

	bounds := launchBounds(t, library)
	names := demangle(t, kernels)
	for i := range kernels {
		k := &kernels[i]
		k.name, k.threads = names[i], bounds[k.symbol]
	}
	return kernels
}

func atoi(t *testing.T, s string) int {
	n, err := strconv.Atoi(s)
	require.NoError(t, err)
	return n
}

// launchBounds reads the most threads of each kernel's block.
func launchBounds(t *testing.T, library string) map[string]int {
	bounds := map[string]int{}
	symbol, next := "", 0
	for _, s := range strings.Split(reader(t, "-elf", library), "\n") {
		if m := infoLine.FindStringSubmatch(s); m != nil {
			symbol = m[1]
		}
		switch {
		case strings.Contains(s, "EIATTR_MAX_THREADS"):
			next = 2
		case next > 0:
			if next--; next == 0 {
				threads := 1
				for _, f := range strings.Fields(s)[1:] {
					n, err := strconv.ParseInt(f, 0, 32)
					require.NoError(t, err, s)
					threads *= int(n)
				}
				bounds[symbol] = threads
			}
		}
	}
	return bounds
}

// demangle gives kernels the names they have in the source, without namespaces and arguments.
func demangle(t *testing.T, kernels []kernel) []string {
	t.Helper()
	var symbols strings.Builder
	for _, k := range kernels {
		symbols.WriteString(k.symbol + "\n")
	}
	cmd := exec.Command("c++filt")
	cmd.Stdin = strings.NewReader(symbols.String())
	out, err := cmd.Output()
	require.NoError(t, err, "c++filt comes with the linker")
	names := strings.Split(strings.TrimSpace(string(out)), "\n")
	require.Len(t, names, len(kernels))
	for i := range names {
		names[i] = shortName(names[i])
	}
	return names
}

func shortName(name string) string {
	for _, part := range []string{"(anonymous namespace)::", "l3v::cuda::", "l3v::"} {
		name = strings.ReplaceAll(name, part, "")
	}
	name = strings.TrimPrefix(name, "void ")
	depth := 0
	for i := len(name) - 1; i > 0; i-- { // the arguments are the last parentheses
		switch name[i] {
		case ')':
			depth++
		case '(':
			if depth--; depth == 0 {
				return strings.ReplaceAll(name[:i], ", ", ",")
			}
		}
	}
	return name
}

// disassemble fills in the instructions of the kernels that are wanted.
func disassemble(t *testing.T, library string, wanted []*kernel) {
	t.Helper()
	bySymbol := map[string]map[string][]*kernel{} // several of a static one, of which each file has its own
	for _, k := range wanted {
		if bySymbol[k.arch.name] == nil {
			bySymbol[k.arch.name] = map[string][]*kernel{}
		}
		bySymbol[k.arch.name][k.symbol] = append(bySymbol[k.arch.name][k.symbol], k)
	}
	var group errgroup.Group
	for name, kernels := range bySymbol {
		group.Go(func() error {
			var symbols []string
			for symbol := range kernels {
				symbols = append(symbols, symbol)
			}
			slices.Sort(symbols)
			var now []*kernel
			lines := bufio.NewScanner(strings.NewReader(reader(t, "-arch", name, "-sass", "-fun", strings.Join(symbols, ","), library)))
			for lines.Scan() {
				if m := headerLine.FindStringSubmatch(lines.Text()); m != nil {
					now = kernels[m[1]]
				} else if m := codeLine.FindStringSubmatch(lines.Text()); m != nil {
					for _, k := range now {
						k.code = append(k.code, m[1])
					}
				}
			}
			return lines.Err()
		})
	}
	require.NoError(t, group.Wait())
}

// What nvcc made of the kernels is what cuda/sass.txt claims of each.
func TestSASSOfTheCUDALibrary(t *testing.T) {
	if testing.Short() {
		t.Skip("disassembles the whole library")
	}
	library := need.CUDALibrary(t)
	text, err := os.ReadFile("cuda/sass.txt")
	require.NoError(t, err)
	table := readTable(t, string(text))
	kernels := readKernels(t, library)

	lines := map[string]*line{} // of a kernel on a kind of card
	used := map[int]bool{}
	other := map[string]bool{} // kernels that have a line for some kind of card
	for _, k := range kernels {
		if i := slices.IndexFunc(table, func(l line) bool { return l.covers(k) }); i >= 0 {
			lines[k.String()], used[i], other[k.symbol] = &table[i], true, true
		}
	}
	var wanted []*kernel
	for i := range kernels {
		k := &kernels[i]
		if l := lines[k.String()]; (l == nil && other[k.symbol]) || (l != nil && len(l.instructions) > 0) {
			wanted = append(wanted, k)
		}
	}
	disassemble(t, library, wanted)

	missing := map[string]line{} // by name, for all instances
	for _, k := range kernels {
		l := lines[k.String()]
		if l == nil {
			if !other[k.symbol] {
				name, _, _ := strings.Cut(k.name, "<")
				m, ok := missing[name]
				if !ok {
					m = line{kernel: name, arch: "*", blocks: k.blocks(0)}
				}
				missing[name] = line{kernel: name, arch: "*", threads: max(m.threads, k.threads), blocks: min(m.blocks, k.blocks(0)),
					shared: max(m.shared, k.shared), registers: max(m.registers, k.registers), stack: max(m.stack, k.stack)}
			} else if !k.refuses() {
				t.Errorf("%v has %d instructions and no line: a kernel of one kind of card is empty on the others, or traps", k, len(k.code))
			}
			continue
		}
		if k.threads != l.threads {
			t.Errorf("%v: __launch_bounds__ says %d threads, %v %d", k, k.threads, *l, l.threads)
			continue
		}
		if k.registers > l.registers {
			t.Errorf("%v takes %d registers, %v at most %d", k, k.registers, *l, l.registers)
		}
		if k.stack > l.stack {
			t.Errorf("%v has %d bytes of stack (spilled registers, or an array that is indexed as it runs), %v at most %d", k, k.stack, *l, l.stack)
		}
		if k.shared > l.shared {
			t.Errorf("%v has %d bytes of static shared memory, %v at most %d", k, k.shared, *l, l.shared)
		}
		if l.shared > k.arch.sharedABlock {
			t.Errorf("%v: a block has at most %d bytes of shared memory", *l, k.arch.sharedABlock)
		}
		if n := k.blocks(l.shared - k.shared); n < l.blocks {
			t.Errorf("%v: %d blocks fit on a multiprocessor at once, %v claims %d", k, n, *l, l.blocks)
		}
		if l.stack > 0 && l.why == "" {
			t.Errorf("%v allows a stack and does not say why", *l)
		}
		for _, instruction := range l.instructions {
			if !k.has(instruction) {
				t.Errorf("%v has no %s among its %d instructions", k, instruction, len(k.code))
			}
		}
	}
	if len(missing) > 0 {
		var found []string
		for _, l := range missing {
			found = append(found, fmt.Sprintf("%-28s %-6s %5d %6d %6d %6d %8d   -", l.kernel, l.arch, l.threads, l.blocks, l.shared, l.registers, l.stack))
		}
		slices.Sort(found)
		t.Errorf("sass.txt has no line for these; here is what they are, to be held against what they should be:\n%s", strings.Join(found, "\n"))
	}
	for i, l := range table {
		if !used[i] {
			t.Errorf("%v: the library has no such kernel", l)
		}
	}
}

// Every file has code for both kinds of card, and text for later ones.
func TestCodeOfTheCUDALibrary(t *testing.T) {
	library := need.CUDALibrary(t)
	count := map[string]int{}
	for s := range strings.Lines(reader(t, "-lelf", "-lptx", library)) {
		parts := strings.Split(strings.TrimSpace(s), ".")
		if len(parts) > 2 {
			count[strings.Join(parts[len(parts)-2:], ".")]++
		}
	}
	files, err := fs.Glob(Files, "cuda/*.cu")
	require.NoError(t, err)
	require.Equal(t, map[string]int{"sm_80.cubin": len(files), "sm_90a.cubin": len(files), "sm_90.ptx": len(files)}, count)
}

// Inline assembly stands in two headers, where the emulator has its own form of each line.
func TestInlineAssemblyOfCUDAStandsInTwoHeaders(t *testing.T) {
	assembly := regexp.MustCompile(`\b(asm|__asm__|__asm)\b`)
	entries, err := os.ReadDir("cuda")
	require.NoError(t, err)
	found := 0
	for _, e := range entries {
		if extension := path.Ext(e.Name()); extension == ".txt" {
			continue
		}
		text, err := os.ReadFile(filepath.Join("cuda", e.Name()))
		require.NoError(t, err)
		for i, s := range strings.Split(string(text), "\n") {
			code, _, _ := strings.Cut(s, "//")
			if !assembly.MatchString(code) {
				continue
			}
			found++
			if e.Name() != "ptx.cuh" && e.Name() != "hopper.cuh" {
				t.Errorf("cuda/%s:%d: inline assembly outside ptx.cuh and hopper.cuh: %s", e.Name(), i+1, s)
			}
		}
	}
	require.Positive(t, found, "and there is some")
}

func TestReadingOfSASS(t *testing.T) {
	require.Equal(t, "copy_rows_kernel<unsigned char>",
		shortName("void l3v::cuda::(anonymous namespace)::copy_rows_kernel<unsigned char>(l3v::CopyRowsArgs, unsigned long long*)"))
	require.Equal(t, "gemm_kernel<F16,(Activation)2,128>",
		shortName("void l3v::cuda::gemm_kernel<l3v::cuda::F16, (l3v::cuda::Activation)2, 128>(void (*)(int), float*)"))
	k := kernel{name: "gemm_kernel<F16,2>", arch: archs[1], threads: 384, registers: 168, code: []string{"LDG.E.LTC128B.128.CONSTANT", "HGMMA.64x128x16.F32"}}
	for want, has := range map[string]bool{"LDG": true, "LDG.E.128": true, "LDG.128.E": false, "HGMMA": true, "E.128": false, "LDG.E.64": false, "HMMA": false} {
		require.Equal(t, has, k.has(want), want)
	}
	for pattern, covers := range map[string]bool{"gemm_kernel": true, "gemm_kernel<F16,*>": true, "gemm_kernel<F32,*>": false, "gemm": false} {
		require.Equal(t, covers, line{kernel: pattern, arch: "*"}.covers(k), pattern)
	}
	require.False(t, line{kernel: "gemm_kernel", arch: "sm_80"}.covers(k))
	require.Equal(t, 1, k.blocks(0), "64512 of 65536 registers")
	k.registers = 80
	require.Equal(t, 2, k.blocks(100<<10))
	require.Equal(t, 1, k.blocks(114<<10), "228 KiB hold two of 113 and one each for the system")
	m := codeLine.FindStringSubmatch("        /*0040*/               @!P0 LDG.E.128 R4, [R2.64] ;      /* 0x000000000000094d */")
	require.Equal(t, "LDG.E.128", m[1])
	m = codeLine.FindStringSubmatch("        /*1230*/                   UTMALDG.2D [UR8], [UR4], desc[UR6] ;  /* 0x0 */")
	require.Equal(t, "UTMALDG.2D", m[1])
}

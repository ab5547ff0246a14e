package ops_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/cpu"

	"github.com/llama3v/llama3v/binding"
	"github.com/llama3v/llama3v/internal/emulator"
	"github.com/llama3v/llama3v/internal/need"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/ops/reference"
)

// target is a library and one of its kernel sets: what a test body runs on.
type target struct {
	library *binding.Library
	kernels string // "": what the library chooses for itself
}

func (g target) name() string {
	if g.kernels == "" {
		return g.library.Capabilities().Name
	}
	return g.library.Capabilities().Name + "-" + g.kernels
}

// scalar: the readable form, or kernels on an emulator: too slow for large shapes.
func (g target) scalar() bool { return g.kernels == "scalar" || g.library.Capabilities().Emulated }

// ordered: the CPU's sets, which promise one order of float32 sums.
func (g target) ordered() bool { return g.library.Capabilities().Name == "cpu" }

// kernelSets are those the CPU library may have, by what the processor must have for each. A set
// that the processor runs and the library refuses fails TestKernelSets.
var kernelSets = []struct {
	name string
	runs bool
}{
	{"scalar", true},
	{"avx2", cpu.X86.HasAVX2 && cpu.X86.HasFMA},
	{"avx512", cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512VL},
	{"neon", runtime.GOARCH == "arm64"},
}

// forms are the kernel sets of a GPU's library: the plain one, and those for a card and the cards
// before it. Most ops have one form in all, so [each] runs what the library chooses.
func forms(library *binding.Library) []string {
	if library.Capabilities().Name != "cuda" {
		return nil
	}
	if !strings.HasSuffix(library.Capabilities().Device, ", 9.0") {
		return []string{"plain", "sm80"}
	}
	return []string{"plain", "sm80", "sm90"}
}

// targets finds each backend once, missing what L3V_REQUIRE demands or there is nothing else of.
var targets = sync.OnceValues(func() (list []target, missing map[string]error) {
	missing = map[string]error{}
	for _, name := range binding.Backends {
		library, _, err := binding.Find(name, "")
		if err != nil {
			missing[name] = err
			continue
		}
		if name != "cpu" {
			list = append(list, target{library: library})
			continue
		}
		for _, set := range kernelSets {
			if set.runs {
				list = append(list, target{library, set.name})
			}
		}
	}
	return list, missing
})

// each runs a test body on every target as a subtest.
func each(t *testing.T, body func(t *testing.T, d *device)) {
	t.Helper()
	eachTarget(t, func(t *testing.T, g target) { body(t, g.open(t, binding.ContextOptions{Threads: 2})) })
}

func eachTarget(t *testing.T, body func(t *testing.T, g target)) {
	t.Helper()
	list, missing := targets()
	for name, err := range missing {
		if need.Required(name) || len(list) == 0 && name == "cpu" {
			need.Missing(t, name, err.Error())
		}
	}
	for _, g := range list {
		t.Run(g.name(), func(t *testing.T) { body(t, g) })
	}
}

// eachForm is each, for an op that has several forms: on every kernel set of every library.
func eachForm(t *testing.T, body func(t *testing.T, d *device)) {
	t.Helper()
	eachFormTarget(t, func(t *testing.T, g target) { body(t, g.open(t, binding.ContextOptions{Threads: 2})) })
}

func eachFormTarget(t *testing.T, body func(t *testing.T, g target)) {
	t.Helper()
	eachTarget(t, func(t *testing.T, g target) {
		sets := forms(g.library)
		if sets == nil {
			body(t, g)
		}
		for _, set := range sets {
			t.Run(set, func(t *testing.T) { body(t, target{g.library, set}) })
		}
	})
}

// device is a device with the test that it serves: what fails, fails the test.
type device struct {
	*ops.Device
	target
	t       *testing.T
	context *binding.Context
}

func (g target) open(t *testing.T, o binding.ContextOptions) *device {
	t.Helper()
	o.Kernels = g.kernels
	c, err := g.library.NewContext(o)
	require.NoError(t, err)
	d := &device{ops.NewDevice(c, g.library.Capabilities()), g, t, c}
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d
}

// at is the device in a subtest.
func (d *device) at(t *testing.T) *device {
	sub := *d
	sub.t = t
	return &sub
}

// run queues ops on a fresh stream and waits.
func (d *device) run(queue func(s *ops.Stream)) {
	d.t.Helper()
	s := d.Stream()
	queue(s)
	require.NoError(d.t, s.Wait())
}

// launches runs a body and requires, where the library's kernels are counted, that it launched each of
// them so often and none of the others that are named with 0.
func (d *device) launches(want map[string]int, body func()) {
	d.t.Helper()
	if !d.Capabilities().Emulated {
		body()
		return
	}
	count := func(kernel string) int {
		n, err := emulator.Launches(d.library.Path(), kernel)
		require.NoError(d.t, err)
		return int(n)
	}
	before := map[string]int{}
	for kernel := range want {
		before[kernel] = count(kernel)
	}
	body()
	for kernel, n := range want {
		require.Equal(d.t, n, count(kernel)-before[kernel], "launches of %s", kernel)
	}
}

// until frees an object at the end of the test; one that test freed before is fine.
func until[T interface{ Free() error }](d *device, object T, err error) T {
	d.t.Helper()
	require.NoError(d.t, err)
	d.t.Cleanup(func() { require.NoError(d.t, object.Free()) })
	return object
}

func (d *device) tensor(t ops.DType, rows, cols int) *ops.Tensor {
	d.t.Helper()
	x, err := d.NewTensor(t, rows, cols)
	return until(d, x, err)
}

func (d *device) zeros(rows, cols int) *ops.Tensor {
	d.t.Helper()
	return d.tensor(ops.F32, rows, cols)
}

func (d *device) floats(data []float32, rows, cols int) *ops.Tensor {
	d.t.Helper()
	x, err := d.FromFloat32(data, rows, cols)
	return until(d, x, err)
}

// ints is a column.
func (d *device) ints(data ...int32) *ops.Tensor {
	d.t.Helper()
	x, err := d.FromInt32(data, len(data), 1)
	return until(d, x, err)
}

// mask is a column of bytes.
func (d *device) mask(data []byte) *ops.Tensor {
	d.t.Helper()
	x := d.tensor(ops.U8, len(data), 1)
	require.NoError(d.t, x.WriteBytes(0, data))
	return x
}

func (d *device) weight(t ops.DType, data []float32, rows, cols int) *ops.Weight {
	d.t.Helper()
	w, err := d.NewWeight(t, rows, cols)
	until(d, w, err)
	require.NoError(d.t, w.WriteRows(0, reference.Encode(data, t)))
	return w
}

func (d *device) read(x *ops.Tensor) []float32 {
	d.t.Helper()
	data, err := x.ReadFloat32()
	require.NoError(d.t, err)
	return data
}

func (d *device) readInts(x *ops.Tensor) []int32 {
	d.t.Helper()
	data, err := x.ReadInt32()
	require.NoError(d.t, err)
	return data
}

// frame is a matrix inside a larger one that is full of NaN: at an offset, with gaps between its
// rows. An op that reads past its columns gives NaN, and one that writes there is seen by intact.
type frame struct {
	d     *device
	whole *ops.Tensor
	*ops.Tensor
}

const frameTop, frameLeft, frameRight = 2, 3, 5

var framing = math.Float32frombits(0x7fc0beef)

func (d *device) framed(data []float32, rows, cols int) frame {
	d.t.Helper()
	width := frameLeft + cols + frameRight
	whole := make([]float32, (frameTop+rows+1)*width)
	for i := range whole {
		whole[i] = framing
	}
	f := frame{d: d, whole: d.floats(whole, frameTop+rows+1, width)}
	f.Tensor = f.whole.RowRange(frameTop, rows).ColRange(frameLeft, cols)
	require.NoError(d.t, f.WriteFloat32(0, data))
	return f
}

// intact requires that nothing around the matrix was written.
func (f frame) intact() {
	f.d.t.Helper()
	width := f.whole.Cols()
	for i, v := range f.d.read(f.whole) {
		row, col := i/width-frameTop, i%width-frameLeft
		if row >= 0 && row < f.Rows() && col >= 0 && col < f.Cols() {
			continue
		}
		if math.Float32bits(v) != math.Float32bits(framing) {
			f.d.t.Fatalf("row %d, column %d, outside the result [%d, %d], was overwritten with %v", row, col, f.Rows(), f.Cols(), v)
		}
	}
}

// near requires got to be within the bound of the float64 reference.
func near(t *testing.T, want []float64, got []float32) {
	t.Helper()
	nmse := reference.NMSE(got, want)
	if !(nmse <= reference.Bound) {
		t.Fatalf("normalised squared error %.3g, bound %.0e; first difference: %s", nmse, reference.Bound, firstDifference(want, got))
	}
}

func firstDifference(want []float64, got []float32) string {
	for i, w := range want {
		if d := math.Abs(float64(got[i]) - w); !(d <= 1e-4*math.Abs(w)+1e-5) {
			return fmt.Sprintf("value %d is %v, not %v", i, got[i], w)
		}
	}
	return "none stands out"
}

// same requires equal bits, NaN included.
func same(t *testing.T, want, got []float32, why string, args ...any) {
	t.Helper()
	require.Len(t, got, len(want))
	for i := range want {
		if math.Float32bits(want[i]) != math.Float32bits(got[i]) {
			t.Fatalf("%s: value %d is %v (%08x), not %v (%08x)", fmt.Sprintf(why, args...), i,
				got[i], math.Float32bits(got[i]), want[i], math.Float32bits(want[i]))
		}
	}
}

// invariant holds an op to giving each row the same bits whatever the number of rows, their place
// and the number of threads, in a context that is asked for it where a library must be: body
// computes rows first to first+n-1 of 64 and returns them.
func invariant(t *testing.T, g target, body func(d *device, first, n int) []float32) {
	t.Helper()
	const rows = 64
	caps := g.library.Capabilities()
	require.True(t, caps.BatchInvariant || caps.BatchInvariantMode, "%s promises nothing", g.name())
	counts := []int{1, 2}
	if !g.ordered() {
		counts = []int{0} // a card has no threads to choose
	}
	var all []float32
	for _, threads := range counts {
		d := g.open(t, binding.ContextOptions{Threads: threads, BatchInvariant: !caps.BatchInvariant})
		if all == nil {
			all = body(d, 0, rows)
		}
		for _, n := range []int{1, 2, 7, rows} {
			size := len(all) / rows
			same(t, all[:n*size], body(d, 0, n), "the first %d of %d rows on %d threads", n, rows, threads)
			same(t, all[(rows-n)*size:], body(d, rows-n, n), "the last %d of %d rows on %d threads", n, rows, threads)
		}
	}
}

// rowsOf is rows first to first+n-1 of a matrix.
func rowsOf(x []float32, cols, first, n int) []float32 { return x[first*cols : (first+n)*cols] }

func bytesOf(values ...int32) []byte {
	data := make([]byte, 0, 4*len(values))
	for _, v := range values {
		data = binary.LittleEndian.AppendUint32(data, uint32(v))
	}
	return data
}

// fault requires the next wait to report exactly this fault of an op.
func fault(t *testing.T, s *ops.Stream, op string, want binding.Fault, index, value int64) {
	t.Helper()
	err := s.Wait()
	require.ErrorIs(t, err, binding.ErrBadValue)
	var f *binding.FaultError
	require.ErrorAs(t, err, &f)
	require.Equal(t, want, f.Fault, err)
	require.Equal(t, op, f.OpName(), err)
	require.Equal(t, index, f.Index, err)
	require.Equal(t, value, f.Value, err)
}

func TestKernelSets(t *testing.T) {
	list, missing := targets()
	if err := missing["cpu"]; err != nil {
		need.Missing(t, "cpu", err.Error())
	}
	for _, g := range list {
		t.Run(g.name(), func(t *testing.T) {
			for _, set := range append(forms(g.library), g.kernels) {
				// The library must find in the processor what Go's runtime finds.
				d := target{g.library, set}.open(t, binding.ContextOptions{Threads: 1})
				d.run(func(s *ops.Stream) { s.Activate(d.zeros(1, 1), d.zeros(1, 1), ops.SiLU) })
			}
			_, err := g.library.NewContext(binding.ContextOptions{Kernels: "mmx"})
			require.ErrorIs(t, err, binding.ErrUnsupported)
		})
	}
	cpu := list[len(list)-1].library
	best := list[len(list)-1].kernels
	require.Contains(t, strings.ToLower(cpu.Capabilities().Device), best, "the best set is the one chosen")
}

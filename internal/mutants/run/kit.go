//go:build linux

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/llama3v/llama3v/binding"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/ops/reference"
	"github.com/llama3v/llama3v/model/weights"
)

// kit is what a case works with: a device, and the matrices it made there. What fails ends the case.
//
// Matrices lie in larger ones full of NaN, or of an integer that is out of any range: an op that
// reads beside its operands gives a wrong answer, and one that writes there is seen at the end. Each
// has a NaN of its own, and one that signals, so that no copy and no arithmetic leaves it as it was.
type kit struct {
	device *ops.Device
	stream *ops.Stream
	frames []frame
	edges  uint32
	half   bool // activations are bfloat16
	loose  bool // weights may be rounded to the products' type, or not
	wide   bool // rows begin at multiples of 64 bytes, as a model's do
}

type frame struct {
	whole *ops.Tensor
	view  *ops.Tensor
	left  int
	edge  uint32
}

// failure ends a case.
type failure struct{ error }

func check(err error) {
	if err != nil {
		panic(failure{err})
	}
}

func expect(holds bool, format string, args ...any) {
	if !holds {
		check(fmt.Errorf("wrong value: "+format, args...))
	}
}

// on runs a case on a fresh context and says how it failed.
func (c testCase) on(library *binding.Library, kernels string) (err error) {
	defer func() {
		if r := recover(); r != nil {
			f, ok := r.(failure)
			if !ok {
				panic(r)
			}
			err = f.error
		}
	}()
	context, err := library.NewContext(binding.ContextOptions{Kernels: kernels})
	check(err)
	k := &kit{device: ops.NewDevice(context, library.Capabilities())}
	k.stream = k.device.Stream()
	c.run(k)
	check(k.stream.Wait())
	k.intact()
	return k.device.Close()
}

const (
	top      = 2 // rows above a matrix
	badFloat = 0x7fa00000
	badInt   = 0x70000000
	badByte  = 0x01010101
)

// place makes room for a matrix between its edges.
func (k *kit) place(t ops.DType, rows, cols int, edge uint32) frame {
	k.edges++
	switch t.Size() {
	case 4:
		edge += k.edges
	case 2:
		edge = (edge>>16 + k.edges%32) * 0x10001
	}
	left, right := 3, 5
	if k.wide {
		left, right = 16, 32-cols%16
	}
	whole, err := k.device.NewTensor(t, rows+top+1, left+cols+right)
	check(err)
	var pattern []byte
	for i := 0; i < whole.Rows()*whole.Cols()*t.Size(); i++ {
		pattern = append(pattern, byte(edge>>(8*(i%4))))
	}
	check(whole.WriteBytes(0, pattern))
	f := frame{whole, whole.RowRange(top, rows).ColRange(left, cols), left, edge}
	k.frames = append(k.frames, f)
	return f
}

// intact: nothing was written beside the matrices.
func (k *kit) intact() {
	for _, f := range k.frames {
		data, err := f.whole.ReadBytes()
		check(err)
		size := f.whole.DType().Size()
		for i, b := range data {
			row, col := i/size/f.whole.Cols()-top, i/size%f.whole.Cols()-f.left
			if row >= 0 && row < f.view.Rows() && col >= 0 && col < f.view.Cols() {
				continue
			}
			expect(b == byte(f.edge>>(8*(i%4))), "row %d, column %d, beside a matrix %s, was written", row, col, f.view)
		}
	}
}

func (k *kit) floats(data []float32, rows, cols int) *ops.Tensor {
	f := k.place(ops.F32, rows, cols, badFloat)
	check(f.view.WriteFloat32(0, data))
	return f.view
}

// activations are floats of the type that the case is about.
func (k *kit) activations(data []float32, rows, cols int) *ops.Tensor {
	if !k.half {
		return k.floats(data, rows, cols)
	}
	f := k.place(ops.BF16, rows, cols, badFloat)
	check(f.view.WriteBytes(0, reference.Encode(data, ops.BF16)))
	return f.view
}

// uniform is random values that this type has.
func (k *kit) uniform(seed uint64, n int) []float32 {
	if k.half {
		return reference.Round(reference.Uniform(seed, n), ops.BF16)
	}
	return reference.Uniform(seed, n)
}

// result is a matrix of this type for results, NaN so far.
func (k *kit) result(rows, cols int) *ops.Tensor {
	if !k.half {
		return k.out(rows, cols)
	}
	return k.place(ops.BF16, rows, cols, badFloat).view
}

// out is a matrix for results, NaN so far.
func (k *kit) out(rows, cols int) *ops.Tensor { return k.place(ops.F32, rows, cols, badFloat).view }

func (k *kit) ints(data []int32, rows, cols int) *ops.Tensor {
	f := k.place(ops.I32, rows, cols, badInt)
	check(f.view.WriteInt32(0, data))
	return f.view
}

// column is a list with an entry a row.
func (k *kit) column(data ...int32) *ops.Tensor { return k.ints(data, len(data), 1) }

func (k *kit) bytes(data []byte, rows, cols int) *ops.Tensor {
	f := k.place(ops.U8, rows, cols, badByte)
	check(f.view.WriteBytes(0, data))
	return f.view
}

// weight is one of random values, and what the device makes of them.
func (k *kit) weight(t ops.DType, seed uint64, rows, cols int) (*ops.Weight, []float32) {
	data := randomRows(t, seed, rows, cols)
	w, err := k.device.NewWeight(t, rows, cols)
	check(err)
	check(w.WriteRows(0, data))
	values := make([]float32, rows*cols)
	check(weights.ToFloat32(values, data, storedAs[t]))
	return w, values
}

var storedAs = map[ops.DType]weights.DType{
	ops.F32: weights.F32, ops.F16: weights.F16, ops.BF16: weights.BF16,
	ops.Q4_0: weights.Q4_0, ops.Q4_1: weights.Q4_1, ops.Q5_0: weights.Q5_0, ops.Q5_1: weights.Q5_1, ops.Q8_0: weights.Q8_0,
	ops.Q2_K: weights.Q2_K, ops.Q3_K: weights.Q3_K, ops.Q4_K: weights.Q4_K, ops.Q5_K: weights.Q5_K, ops.Q6_K: weights.Q6_K,
	ops.IQ4_NL: weights.IQ4_NL, ops.IQ4_XS: weights.IQ4_XS,
}

var weightTypes = slices.Sorted(maps.Keys(storedAs))

// scalesAt are the places of a block's float16 scales.
var scalesAt = map[ops.DType][]int{
	ops.Q4_0: {0}, ops.Q4_1: {0, 2}, ops.Q5_0: {0}, ops.Q5_1: {0, 2}, ops.Q8_0: {0},
	ops.Q2_K: {80, 82}, ops.Q3_K: {108}, ops.Q4_K: {0, 2}, ops.Q5_K: {0, 2}, ops.Q6_K: {208}, ops.IQ4_NL: {0}, ops.IQ4_XS: {0},
}

// randomRows are rows of a weight: floats in [-1, 1), or blocks of random bytes, whose scales are
// 2^-7 to 2^-5 with either sign.
func randomRows(t ops.DType, seed uint64, rows, cols int) []byte {
	if scalesAt[t] == nil {
		return reference.Encode(reference.Uniform(seed, rows*cols), t)
	}
	random := rand.New(rand.NewPCG(seed, 7))
	data := make([]byte, rows*t.RowBytes(cols))
	for i := range data {
		data[i] = byte(random.Uint32())
	}
	_, size := t.Block()
	for at := 0; at < len(data); at += size {
		for _, scale := range scalesAt[t] {
			binary.LittleEndian.PutUint16(data[at+scale:], uint16(0x2000+random.IntN(0x800)|random.IntN(2)<<15))
		}
	}
	return data
}

// halfBound is for results that are rounded to bfloat16, and products of weights or probabilities that
// are.
const halfBound = 2e-5

// near holds a result against float64.
func (k *kit) near(want []float64, got *ops.Tensor) {
	check(k.stream.Wait())
	data, err := got.ReadFloat32()
	check(err)
	nmse, bound := reference.NMSE(data, want), reference.Bound
	if k.half || k.loose {
		bound = halfBound
	}
	expect(nmse <= bound, "normalised squared error %.3g", nmse)
}

// equal holds a result against float32 values, bit by bit.
func (k *kit) equal(want []float32, got *ops.Tensor) {
	check(k.stream.Wait())
	data, err := got.ReadFloat32()
	check(err)
	for i, v := range want {
		expect(math.Float32bits(v) == math.Float32bits(data[i]), "value %d is %v, not %v", i, data[i], v)
	}
}

func (k *kit) equalInts(want []int32, got *ops.Tensor) {
	check(k.stream.Wait())
	data, err := got.ReadInt32()
	check(err)
	for i, v := range want {
		expect(v == data[i], "value %d is %d, not %d", i, data[i], v)
	}
}

// fault: the ops queued find exactly this.
func (k *kit) fault(want binding.Fault, index, value int64) {
	err := k.stream.Wait()
	var f *binding.FaultError
	if err != nil && !errors.As(err, &f) {
		check(err)
	}
	expect(err != nil, "no fault was found")
	expect(f.Fault == want && f.Index == index && f.Value == value, "%v", err)
}

// allNaN: a row that a fault left without an answer.
func (k *kit) allNaN(t *ops.Tensor) {
	data, err := t.ReadFloat32()
	check(err)
	for i, v := range data {
		expect(v != v, "value %d is %v, not NaN", i, v)
	}
}

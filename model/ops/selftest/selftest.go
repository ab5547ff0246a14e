// Package selftest runs every op once on a device, on small shapes with odd widths, and holds the
// results against the float64 reference: whether a library computes rightly on this machine, in
// well under a second.
package selftest

import (
	"errors"
	"fmt"

	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/ops/reference"
)

// Result is one op's outcome. It passed when Err is nil and NMSE, the normalised squared error
// against float64, is at most Bound (0: the values are exact).
type Result struct {
	Op          string // "linear bf16 x f32": types are weights x activations
	NMSE, Bound float64
	Err         error
}

// OK says whether the op passed.
func (r Result) OK() bool { return r.Err == nil && r.NMSE <= r.Bound }

// Run tests every op, for each type that the device lists. Whatever it allocates it frees. A device
// that fails does not stop the run: each op says its own error.
func Run(d *ops.Device) []Result {
	var results []Result
	for _, c := range cases(d.Capabilities()) {
		k := &kit{device: d, stream: d.Stream()}
		got, want := c.run(k)
		if err := k.close(); err != nil {
			results = append(results, Result{Op: c.op, Bound: c.bound, Err: err})
			continue
		}
		results = append(results, Result{Op: c.op, NMSE: reference.NMSE(got, want), Bound: c.bound})
	}
	return results
}

// testCase runs an op and returns its result and the reference's.
type testCase struct {
	op    string
	bound float64
	run   func(k *kit) (got []float32, want []float64)
}

// kit allocates what a case needs and keeps the first error.
type kit struct {
	device *ops.Device
	stream *ops.Stream
	frees  []func() error
	err    error
}

func (k *kit) close() error {
	// Behind a failure the stream may hold work and an error of its own.
	err := errors.Join(k.err, k.stream.Wait())
	for _, free := range k.frees {
		err = errors.Join(err, free())
	}
	return err
}

func keep[T interface{ Free() error }](k *kit, object T, err error) T {
	if err != nil {
		k.fail(err)
		return object
	}
	k.frees = append(k.frees, object.Free)
	return object
}

func (k *kit) fail(err error) {
	if k.err == nil {
		k.err = err
	}
}

func (k *kit) zeros(rows, cols int) *ops.Tensor {
	t, err := k.device.NewTensor(ops.F32, rows, cols)
	return keep(k, t, err)
}

func (k *kit) floats(data []float32, rows, cols int) *ops.Tensor {
	t, err := k.device.FromFloat32(data, rows, cols)
	return keep(k, t, err)
}

// ints is a column.
func (k *kit) ints(data ...int32) *ops.Tensor {
	t, err := k.device.FromInt32(data, len(data), 1)
	return keep(k, t, err)
}

func (k *kit) bytes(data []byte, rows, cols int) *ops.Tensor {
	t, err := k.device.NewTensor(ops.U8, rows, cols)
	if keep(k, t, err); err == nil {
		if err := t.WriteBytes(0, data); err != nil {
			k.fail(err)
		}
	}
	return t
}

func (k *kit) weight(t ops.DType, data []float32, rows, cols int) *ops.Weight {
	w, err := k.device.NewWeight(t, rows, cols)
	if keep(k, w, err); err == nil {
		if err := w.WriteRows(0, reference.Encode(data, t)); err != nil {
			k.fail(err)
		}
	}
	return w
}

// read waits for the ops queued and reads a result.
func (k *kit) read(t *ops.Tensor) []float32 {
	if err := k.stream.Wait(); err != nil {
		k.fail(err)
	}
	if k.err != nil {
		return nil
	}
	data, err := t.ReadFloat32()
	if err != nil {
		k.fail(err)
	}
	return data
}

// readInts is read for a result of integers; each fits a float32.
func (k *kit) readInts(t *ops.Tensor) []float32 {
	if err := k.stream.Wait(); err != nil {
		k.fail(err)
	}
	if k.err != nil {
		return nil
	}
	data, err := t.ReadInt32()
	if err != nil {
		k.fail(err)
	}
	values := make([]float32, len(data))
	for i, v := range data {
		values[i] = float32(v)
	}
	return values
}

func (k *kit) expect(holds bool, format string, args ...any) {
	if !holds {
		k.fail(fmt.Errorf(format, args...))
	}
}

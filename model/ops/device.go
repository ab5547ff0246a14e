package ops

import (
	"fmt"
	"math"
	"time"

	"github.com/llama3v/llama3v/binding"
)

// Device is one context of a backend library and what lives on it.
type Device struct {
	context      *binding.Context
	capabilities Capabilities
	capturing    bool
	kept         DType
}

// Capabilities is what the library can do on the device.
type Capabilities struct {
	binding.Capabilities
}

// Computes says whether products can be taken in t ([Stream.Compute]).
func (c Capabilities) Computes(t DType) bool { return c.ComputeTypes.Has(t) }

// Keeps is the type in which a model's results between two products lie, when products are taken in
// compute: BF16 where the library has such activations, else F32. Residual sums are F32 in any case.
func (c Capabilities) Keeps(compute DType) DType {
	if compute == BF16 && c.ActivationTypes.Has(BF16) {
		return BF16
	}
	return F32
}

// NewDevice takes over a context: Close closes it.
func NewDevice(c *binding.Context, caps binding.Capabilities) *Device {
	return &Device{context: c, capabilities: Capabilities{caps}, kept: F32}
}

// Close waits for queued work, frees every tensor, weight, graph and event still alive, and closes
// the context. A second Close does nothing.
func (d *Device) Close() error { return d.context.Close() }

// Capabilities is what the library can do on the device.
func (d *Device) Capabilities() Capabilities { return d.capabilities }

// Keep has what is allocated from now on for results between two products lie in t, F32 at first. See
// [Capabilities.Keeps].
func (d *Device) Keep(t DType) { d.kept = t }

// Kept is the type that Keep set.
func (d *Device) Kept() DType { return d.kept }

// Counters are the context's counts of calls, ops, captures and bytes.
func (d *Device) Counters() (binding.Counters, error) { return d.context.Counters() }

// DeviceStatus is the fault behind the newest binding.ErrBadValue.
func (d *Device) DeviceStatus() (binding.DeviceStatus, error) { return d.context.DeviceStatus() }

// MeasurePeak measures what the device can do at most: see binding.Context.MeasurePeak. It runs for
// about the time given and waits.
func (d *Device) MeasurePeak(kind binding.Peak, t DType, bytes int64, about time.Duration) (perSecond, perCycle float64, err error) {
	return d.context.MeasurePeak(kind, t, bytes, about.Seconds())
}

// NewTensor allocates a matrix of zeros. Errors: ErrShape, binding.ErrOutOfMemory.
func (d *Device) NewTensor(t DType, rows, cols int) (*Tensor, error) {
	bytes, err := matrixBytes(t, rows, cols)
	if err != nil {
		return nil, err
	}
	buffer, err := d.context.NewBuffer(bytes)
	if err != nil {
		return nil, fmt.Errorf("tensor %s [%d, %d]: %w", t, rows, cols, err)
	}
	return &Tensor{device: d, buffer: buffer, owner: true, dtype: t, rows: rows, cols: cols, stride: cols}, nil
}

// Want is a tensor for [Device.NewTensors] to make.
type Want struct {
	Tensor **Tensor // where it goes
	Cols   int
}

// NewTensors makes several tensors of one type and one number of rows: a workspace. When one fails,
// those before it are freed.
func (d *Device) NewTensors(t DType, rows int, wants ...Want) error {
	for i, want := range wants {
		tensor, err := d.NewTensor(t, rows, want.Cols)
		if err != nil {
			for _, made := range wants[:i] {
				(*made.Tensor).Free() // new and in no graph: it cannot fail
				*made.Tensor = nil
			}
			return err
		}
		*want.Tensor = tensor
	}
	return nil
}

// FromFloat32 makes a matrix of data, row-major.
func (d *Device) FromFloat32(data []float32, rows, cols int) (*Tensor, error) {
	return d.from(F32, rows, cols, len(data), func(t *Tensor) error { return t.WriteFloat32(0, data) })
}

// FromInt32 makes a matrix of data, row-major.
func (d *Device) FromInt32(data []int32, rows, cols int) (*Tensor, error) {
	return d.from(I32, rows, cols, len(data), func(t *Tensor) error { return t.WriteInt32(0, data) })
}

func (d *Device) from(dtype DType, rows, cols, values int, write func(*Tensor) error) (*Tensor, error) {
	if bytes, err := matrixBytes(dtype, rows, cols); err != nil {
		return nil, err
	} else if bytes/int64(dtype.Size()) != int64(values) {
		return nil, fmt.Errorf("tensor %s [%d, %d]: %w: %d values", dtype, rows, cols, ErrShape, values)
	}
	t, err := d.NewTensor(dtype, rows, cols)
	if err != nil {
		return nil, err
	}
	if err := write(t); err != nil {
		t.Free() // the error of the write says more
		return nil, err
	}
	return t, nil
}

// matrixBytes is the size of a packed matrix that an address space can hold.
func matrixBytes(t DType, rows, cols int) (int64, error) {
	size := t.Size()
	if size == 0 || rows < 1 || cols < 1 || rows > math.MaxInt/size/cols {
		return 0, fmt.Errorf("tensor %s [%d, %d]: %w: not a matrix", t, rows, cols, ErrShape)
	}
	return int64(rows) * int64(cols) * int64(size), nil
}

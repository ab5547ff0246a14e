// Package load brings a checkpoint's tensors into a model's struct tree on a device.
//
// A model declares its tensors once: building its tree calls [Loader.Linear], [Loader.Vector] and
// so on with the address of the field to fill, the tensor's name and its shape. Nothing is read
// meanwhile. Then [Loader.Check] reports everything that is missing or does not fit at once,
// [Loader.Bytes] says what the device will need, and [Loader.Load] reads, in blocks of rows
// straight into the packed form.
package load

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/weights"
)

// Loader declares tensors under a name prefix. Sub-loaders share one declaration list.
type Loader struct {
	*declarations
	binder *weights.Binder
}

type declarations struct {
	products [][]piece // of each Linear and Table
	device   *ops.Device
	random   *random // nil: tensors come from the checkpoint
	targets  []target
	after    []func()

	quantization quantization
	cache        *packedCache // nil: none
}

// target is one field of the tree and where its data comes from.
type target struct {
	bytes func() (int64, error) // on the device
	read  func(ctx context.Context, block []byte) error
}

// New begins an empty declaration for a device and a checkpoint.
func New(d *ops.Device, cp weights.Checkpoint) *Loader {
	return &Loader{&declarations{device: d}, weights.NewBinder(cp)}
}

// expect declares a tensor of the checkpoint, or makes up one (see NewRandom).
func (l *Loader) expect(name string, shape ...int) *weights.Slot {
	if l.random != nil {
		return &weights.Slot{Info: weights.Info{Name: name, DType: l.random.dtype, Shape: shape}}
	}
	return l.binder.Expect(name, shape...)
}

// Sub is the loader for names under one of these (joined by a dot); an empty name is the loader
// itself.
func (l *Loader) Sub(names ...string) *Loader {
	if l.random != nil {
		return l
	}
	return &Loader{l.declarations, l.binder.Sub(names...)}
}

// Has says whether the checkpoint holds a tensor.
func (l *Loader) Has(name string) bool { return l.random == nil && l.binder.Has(name) }

// values reads a small tensor as float32.
func (l *Loader) values(slot *weights.Slot) ([]float32, error) {
	if l.random != nil {
		return l.random.values(slot.Shape), nil
	}
	return slot.Float32()
}

// Part is some rows of a linear layer's weight and bias, as one tensor of the file or a piece of
// it. Several parts stack to one weight: q, k and v to one product.
type Part struct {
	Weight, Bias string
	First, Rows  int
	Of           int   // rows of the whole tensor; 0: it is Rows
	Shape        []int // of the whole weight tensor; nil: [Of, in]
}

// Rows is the usual part: all rows of name.weight and name.bias.
func Rows(name string, rows int) Part {
	return Part{Weight: name + ".weight", Bias: name + ".bias", Rows: rows}
}

func (p Part) of() int { return max(p.Of, p.Rows) }

// Bias says whether a linear layer has one.
type Bias bool

const (
	WithBias Bias = true
	NoBias   Bias = false
)

// piece is a declared Part.
type piece struct {
	Part
	cols         int
	weight, bias *weights.Slot
	keep         bool // its type: tables and transposed weights
}

// Linear declares a product [sum of the parts' rows, in] and fills dst. Weights keep the type they have
// in the file: parts of one type that follow each other become one weight, as quantised files mix types
// within a layer. A weight of more than two dimensions (a patch convolution) counts as [rows, product
// of the rest].
func (l *Loader) Linear(dst *ops.Linear, in int, bias Bias, parts ...Part) {
	rows := 0
	pieces := make([]piece, len(parts))
	for i, p := range parts {
		shape := p.Shape
		if shape == nil {
			shape = []int{p.of(), in}
		}
		pieces[i] = piece{Part: p, cols: in, weight: l.expect(p.Weight, shape...)}
		if bias {
			pieces[i].bias = l.expect(p.Bias, p.of())
		}
		rows += p.Rows
	}
	l.products = append(l.products, pieces)
	l.add(target{
		bytes: func() (int64, error) {
			var total int64
			for _, g := range byType(pieces, l.quantization) {
				n, err := l.device.WeightBytes(g.dtype, g.rows(), in)
				if err != nil {
					return 0, err
				}
				total += n
			}
			if bias {
				total += int64(rows) * 4
			}
			return total, nil
		},
		read: func(ctx context.Context, block []byte) error {
			dst.More = nil
			for i, g := range byType(pieces, l.quantization) {
				w, err := l.stack(ctx, g, in, block)
				if err != nil {
					return err
				}
				if i == 0 {
					dst.Weight = w
				} else {
					dst.More = append(dst.More, w)
				}
			}
			if !bias {
				return nil
			}
			all := make([]float32, 0, rows)
			for _, p := range pieces {
				values, err := l.values(p.bias)
				if err != nil {
					return err
				}
				all = append(all, values[p.First:p.First+p.Rows]...)
			}
			var err error
			dst.Bias, err = l.device.FromFloat32(all, 1, rows)
			return err
		},
	})
}

// Table declares a weight [rows, cols] that is looked up by row, and may be a product too.
func (l *Loader) Table(dst **ops.Weight, name string, rows, cols int) {
	pieces := []piece{{Part: Part{Rows: rows}, cols: cols, weight: l.expect(name, rows, cols), keep: true}}
	l.products = append(l.products, pieces)
	l.add(target{
		bytes: func() (int64, error) {
			return l.device.WeightBytes(byType(pieces, quantization{})[0].dtype, rows, cols)
		},
		read: func(ctx context.Context, block []byte) (err error) {
			*dst, err = l.stack(ctx, byType(pieces, quantization{})[0], cols, block)
			return err
		},
	})
}

// Vector declares n values, kept as float32 [1, n].
func (l *Loader) Vector(dst **ops.Tensor, name string, n int) {
	l.floats(dst, l.expect(name, n), 1, n)
}

// Matrix declares a tensor that ops read as activations [product of the dimensions before the last,
// last], kept as float32.
func (l *Loader) Matrix(dst **ops.Tensor, name string, shape ...int) {
	cols, rows := shape[len(shape)-1], 1
	for _, n := range shape[:len(shape)-1] {
		rows *= n
	}
	l.floats(dst, l.expect(name, shape...), rows, cols)
}

func (l *Loader) floats(dst **ops.Tensor, slot *weights.Slot, rows, cols int) {
	l.add(target{
		bytes: func() (int64, error) { return int64(rows) * int64(cols) * 4, nil },
		read: func(context.Context, []byte) error {
			values, err := l.values(slot)
			if err != nil {
				return err
			}
			*dst, err = l.device.FromFloat32(values, rows, cols)
			return err
		},
	})
}

// Values declares float32 [1, len(values)] that is computed and not read.
func (l *Loader) Values(dst **ops.Tensor, values []float32) {
	l.add(target{
		bytes: func() (int64, error) { return int64(len(values)) * 4, nil },
		read: func(context.Context, []byte) (err error) {
			*dst, err = l.device.FromFloat32(values, 1, len(values))
			return err
		},
	})
}

// After runs f once everything is read, for fields that share another's data.
func (l *Loader) After(f func()) { l.after = append(l.after, f) }

// Ignore names tensors that may be in the file and are not used; * stands for any characters.
func (l *Loader) Ignore(names ...string) {
	if l.random == nil {
		l.binder.Ignore(names...)
	}
}

func (l *Loader) add(t target) { l.targets = append(l.targets, t) }

// group is pieces of one type that follow each other.
type group struct {
	dtype  ops.DType
	pieces []piece
}

func (g group) rows() int {
	rows := 0
	for _, p := range g.pieces {
		rows += p.Rows
	}
	return rows
}

// byType cuts pieces where their type changes. It comes after Check, which finds the types.
func byType(pieces []piece, q quantization) []group {
	var groups []group
	for _, p := range pieces {
		t := deviceType(q.of(p.weight.DType, p.cols))
		if n := len(groups); n > 0 && groups[n-1].dtype == t {
			groups[n-1].pieces = append(groups[n-1].pieces, p)
		} else {
			groups = append(groups, group{t, []piece{p}})
		}
	}
	return groups
}

// deviceTypes are the stored types that the device keeps as they are; others become float32.
var deviceTypes = map[weights.DType]ops.DType{
	weights.F16: ops.F16, weights.BF16: ops.BF16,
	weights.Q4_0: ops.Q4_0, weights.Q4_1: ops.Q4_1, weights.Q5_0: ops.Q5_0, weights.Q5_1: ops.Q5_1, weights.Q8_0: ops.Q8_0,
	weights.Q2_K: ops.Q2_K, weights.Q3_K: ops.Q3_K, weights.Q4_K: ops.Q4_K, weights.Q5_K: ops.Q5_K, weights.Q6_K: ops.Q6_K,
	weights.IQ4_NL: ops.IQ4_NL, weights.IQ4_XS: ops.IQ4_XS,
}

func deviceType(t weights.DType) ops.DType {
	if d, ok := deviceTypes[t]; ok {
		return d
	}
	return ops.F32
}

// Check compares the declarations with the checkpoint. Its error lists all missing tensors and all
// shapes that do not fit, with files and numbers (ops.ErrShape, weights.ErrMissingTensor); unknown
// are names that nothing declared or ignored. Bytes and Load come after it.
func (l *Loader) Check() (unknown []string, err error) {
	if l.random != nil {
		return nil, nil
	}
	report, err := l.binder.Check()
	if errors.Is(err, weights.ErrShape) {
		err = fmt.Errorf("%w: %w", ops.ErrShape, err)
	}
	return report.Unexpected, err
}

// Products are the types of the weights that products will take, each once. Like Bytes it comes after
// Check.
func (l *Loader) Products() []ops.DType {
	var types []ops.DType
	for _, pieces := range l.products {
		q := l.quantization
		if pieces[0].keep {
			q = quantization{}
		}
		for _, g := range byType(pieces, q) {
			if !slices.Contains(types, g.dtype) {
				types = append(types, g.dtype)
			}
		}
	}
	return types
}

// Bytes is what Load will allocate on the device.
func (l *Loader) Bytes() (int64, error) {
	var total int64
	for _, t := range l.targets {
		n, err := t.bytes()
		if err != nil {
			return 0, err
		}
		total += n
	}
	return total, nil
}

// Load reads everything declared, through one block of memory. ctx stops it between blocks.
func (l *Loader) Load(ctx context.Context) error {
	block := make([]byte, weights.DefaultBlock)
	for _, t := range l.targets {
		if err := t.read(ctx, block); err != nil {
			return err
		}
	}
	for _, f := range l.after {
		f()
	}
	return nil
}

// stack makes a weight [rows, cols] of a group's rows.
func (l *Loader) stack(ctx context.Context, g group, cols int, block []byte) (*ops.Weight, error) {
	w, err := l.device.NewWeight(g.dtype, g.rows(), cols)
	if err != nil {
		return nil, err
	}
	if err := l.fill(ctx, w, g, block); err != nil {
		return nil, errors.Join(err, w.Free())
	}
	return w, nil
}

// fill brings a group's rows into w: from the cache of packed weights where there is one that has them.
func (l *Loader) fill(ctx context.Context, w *ops.Weight, g group, block []byte) error {
	if l.cache == nil || l.random != nil {
		return l.pack(ctx, w, g, block)
	}
	key, err := l.cache.key(ctx, g, w.Cols(), block)
	if err != nil {
		return err
	}
	if found, err := l.cache.load(ctx, key, w, block); err != nil || found {
		return err
	}
	if err := l.pack(ctx, w, g, block); err != nil {
		return err
	}
	return l.cache.save(key, w, block)
}

// pack reads a group's rows and has the device pack them.
func (l *Loader) pack(ctx context.Context, w *ops.Weight, g group, block []byte) error {
	first := 0
	for _, p := range g.pieces {
		var err error
		if l.random != nil {
			err = l.random.pack(ctx, w, first, p.Rows)
		} else {
			err = p.pack(ctx, w, first, block, l.quantization.report)
		}
		if err != nil {
			return err
		}
		first += p.Rows
	}
	return nil
}

// pack reads the piece's rows to rows first, first+1, ... of w.
func (p piece) pack(ctx context.Context, w *ops.Weight, first int, block []byte, report func(Quantized)) error {
	stored := p.weight.DType
	var blocks *requantizer
	if t, ok := storedType(w.DType()); ok && t != stored {
		blocks = &requantizer{tensor: p.weight.Name, from: stored, to: t, cols: w.Cols()}
	}
	err := p.each(ctx, block, func(data []byte, row int) (err error) {
		if blocks != nil {
			if data, err = blocks.rows(data, row); err != nil {
				return err
			}
		} else if deviceType(stored) != w.DType() || stored == weights.F64 {
			if data, err = widen(data, stored); err != nil {
				return err
			}
		}
		return w.WriteRows(first+row-p.First, data)
	})
	if err == nil && blocks != nil && report != nil {
		report(blocks.result())
	}
	return err
}

// each reads the piece's rows, as they are stored, through block and calls f with some of them and the
// number of the first in its tensor.
func (p piece) each(ctx context.Context, block []byte, f func(data []byte, row int) error) error {
	rows, err := p.weight.Read()
	if err != nil {
		return err
	}
	if rows.RowBytes() > len(block) {
		block = make([]byte, rows.RowBytes())
	}
	end := p.First + p.Rows
	for at := 0; at < end; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := rows.Next(block)
		if err != nil {
			return err
		}
		// What lies before and behind the piece in its tensor is read over.
		if from, to := max(at, p.First), min(at+n, end); from < to {
			if err := f(block[(from-at)*rows.RowBytes():(to-at)*rows.RowBytes()], from); err != nil {
				return err
			}
		}
		at += n
	}
	return nil
}

// widen turns stored elements into little-endian float32.
func widen(data []byte, stored weights.DType) ([]byte, error) {
	elements, bytes := stored.Block()
	values := make([]float32, len(data)/bytes*elements)
	if err := weights.ToFloat32(values, data, stored); err != nil {
		return nil, err
	}
	out := make([]byte, 4*len(values))
	for i, v := range values {
		binary.LittleEndian.PutUint32(out[4*i:], math.Float32bits(v))
	}
	return out, nil
}

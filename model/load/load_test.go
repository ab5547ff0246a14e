package load_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"math"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/binding"
	"github.com/llama3v/llama3v/internal/golden"
	"github.com/llama3v/llama3v/internal/testdevice"
	"github.com/llama3v/llama3v/model/load"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/weights"
)

// loader begins a declaration for a model in memory.
func loader(t *testing.T, dev *ops.Device, fsys fs.FS) *load.Loader {
	t.Helper()
	cp, err := weights.Open(fsys)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, cp.Close()) })
	return load.New(dev, cp)
}

// finish checks and loads a declaration that fits.
func finish(t *testing.T, l *load.Loader) {
	t.Helper()
	unknown, err := l.Check()
	require.NoError(t, err)
	require.Empty(t, unknown)
	require.NoError(t, l.Load(context.Background()))
}

func float32Bytes(values []float32) []byte {
	data := make([]byte, 4*len(values))
	for i, v := range values {
		binary.LittleEndian.PutUint32(data[4*i:], math.Float32bits(v))
	}
	return data
}

// requireRows says that a weight holds exactly these bytes.
func requireRows(t *testing.T, w *ops.Weight, want []byte) {
	t.Helper()
	got, err := w.ReadRows(0, w.Rows())
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func requireValues(t *testing.T, tensor *ops.Tensor, rows, cols int, want []float32) {
	t.Helper()
	require.Equal(t, rows, tensor.Rows())
	require.Equal(t, cols, tensor.Cols())
	got, err := tensor.ReadFloat32()
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func TestWeightsKeepTheTypeOfTheFile(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		for _, tc := range []struct {
			name   string
			stored weights.DType
			want   ops.DType
		}{
			{"float32", weights.F32, ops.F32},
			{"float16", weights.F16, ops.F16},
			{"bfloat16", weights.BF16, ops.BF16},
			{"float64 has no kernel and becomes float32", weights.F64, ops.F32},
		} {
			t.Run(tc.name, func(t *testing.T) {
				m := golden.NewModel(t, `{}`).Random(t, 0, 1, "a.weight", 5, 7).Convert(t, "a.weight", tc.stored)
				var w *ops.Weight
				l := loader(t, dev, m.FS(t))
				l.Table(&w, "a.weight", 5, 7)
				finish(t, l)
				require.Equal(t, tc.want, w.DType())
				if tc.stored == weights.F64 {
					requireRows(t, w, float32Bytes(m.Values(t, "a.weight")))
				} else {
					requireRows(t, w, m.Tensors["a.weight"].Data)
				}
			})
		}
	})
}

func TestPartsStackToOneWeight(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		base := func() *golden.Model {
			return golden.NewModel(t, `{}`).
				Random(t, 0, 1, "q.weight", 4, 6).Random(t, 0, 1, "q.bias", 4).
				Random(t, 0, 1, "k.weight", 2, 6).Random(t, 0, 1, "k.bias", 2)
		}
		parts := []load.Part{load.Rows("q", 4), load.Rows("k", 2)}

		t.Run("of one type", func(t *testing.T) {
			m := base().Convert(t, "q.weight", weights.BF16).Convert(t, "k.weight", weights.BF16)
			var lin ops.Linear
			l := loader(t, dev, m.FS(t))
			l.Linear(&lin, 6, load.WithBias, parts...)
			finish(t, l)
			require.Equal(t, ops.BF16, lin.Weight.DType())
			requireRows(t, lin.Weight, append(m.Tensors["q.weight"].Data, m.Tensors["k.weight"].Data...))
			requireValues(t, lin.Bias, 1, 6, append(m.Values(t, "q.bias"), m.Values(t, "k.bias")...))
		})
		for _, types := range [][2]weights.DType{{weights.BF16, weights.F16}, {weights.F16, weights.F32}, {weights.F32, weights.BF16}, {weights.F64, weights.F16}} {
			t.Run("of "+types[0].String()+" and "+types[1].String()+" keep their types in two weights", func(t *testing.T) {
				m := base().Convert(t, "q.weight", types[0]).Convert(t, "k.weight", types[1]).Convert(t, "k.bias", weights.F16)
				var lin ops.Linear
				l := loader(t, dev, m.FS(t))
				l.Linear(&lin, 6, load.WithBias, parts...)
				finish(t, l)
				require.Len(t, lin.More, 1)
				for i, w := range []*ops.Weight{lin.Weight, lin.More[0]} {
					name := []string{"q.weight", "k.weight"}[i]
					want := m.Tensors[name].Data
					if types[i] == weights.F64 { // the device has no such type; float32 holds these values
						want = float32Bytes(m.Values(t, name))
						require.Equal(t, ops.F32, w.DType())
					} else {
						require.Equal(t, types[i].String(), strings.ToUpper(w.DType().String()))
					}
					requireRows(t, w, want)
				}
				requireValues(t, lin.Bias, 1, 6, append(m.Values(t, "q.bias"), m.Values(t, "k.bias")...))
			})
		}
		t.Run("pieces of one tensor", func(t *testing.T) {
			m := golden.NewModel(t, `{}`).Random(t, 0, 1, "in_proj_weight", 9, 4).Random(t, 0, 1, "in_proj_bias", 9)
			whole := load.Part{Weight: "in_proj_weight", Bias: "in_proj_bias", Of: 9}
			first, rest := whole, whole
			first.Rows = 3
			rest.First, rest.Rows = 3, 6
			var q, kv ops.Linear
			l := loader(t, dev, m.FS(t))
			l.Linear(&q, 4, load.WithBias, first)
			l.Linear(&kv, 4, load.WithBias, rest)
			finish(t, l)
			data, bias := m.Tensors["in_proj_weight"].Data, m.Values(t, "in_proj_bias")
			requireRows(t, q.Weight, data[:3*16])
			requireRows(t, kv.Weight, data[3*16:])
			requireValues(t, q.Bias, 1, 3, bias[:3])
			requireValues(t, kv.Bias, 1, 6, bias[3:])
		})
		t.Run("pieces that begin and end inside blocks of a large tensor", func(t *testing.T) {
			const rows, cols = 3000, 1000 // 12 MB: three blocks
			m := golden.NewModel(t, `{}`).Random(t, 0, 1, "w", rows, cols)
			data := m.Tensors["w"].Data
			for _, cut := range [][2]int{{0, 1}, {1000, 100}, {1040, 20}, {1048, 1900}, {2999, 1}} {
				var lin ops.Linear
				l := loader(t, dev, m.FS(t))
				l.Linear(&lin, cols, load.NoBias, load.Part{Weight: "w", First: cut[0], Rows: cut[1], Of: rows})
				finish(t, l)
				got, err := lin.Weight.ReadRows(0, cut[1])
				require.NoError(t, err)
				require.True(t, string(data[4*cols*cut[0]:4*cols*(cut[0]+cut[1])]) == string(got), "rows from %d, %d of them", cut[0], cut[1])
				require.Nil(t, lin.Bias)
				require.NoError(t, lin.Weight.Free())
			}
		})
		t.Run("a convolution is a matrix", func(t *testing.T) {
			m := golden.NewModel(t, `{}`).Random(t, 0, 1, "patch.weight", 5, 3, 2, 2).Random(t, 0, 1, "patch.bias", 5)
			part := load.Rows("patch", 5)
			part.Shape = []int{5, 3, 2, 2}
			var lin ops.Linear
			l := loader(t, dev, m.FS(t))
			l.Linear(&lin, 12, load.WithBias, part)
			finish(t, l)
			requireRows(t, lin.Weight, m.Tensors["patch.weight"].Data)
		})
	})
}

func TestVectorsMatricesAndValues(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		m := golden.NewModel(t, `{}`).Random(t, 0, 1, "model.norm.weight", 6).Convert(t, "model.norm.weight", weights.BF16).
			Random(t, 0, 1, "model.probe", 1, 2, 6)
		var norm, probe, own *ops.Tensor
		after := 0
		l := loader(t, dev, m.FS(t)).Sub("other", "model")
		l.Vector(&norm, "norm.weight", 6)
		l.Matrix(&probe, "probe", 1, 2, 6)
		l.Values(&own, []float32{1, 0.5})
		l.After(func() {
			after++
			require.NotNil(t, own, "everything is read")
		})
		require.True(t, l.Has("probe"))
		require.False(t, l.Has("nothing"))
		finish(t, l)
		requireValues(t, norm, 1, 6, m.Values(t, "model.norm.weight"))
		requireValues(t, probe, 2, 6, m.Values(t, "model.probe"))
		requireValues(t, own, 1, 2, []float32{1, 0.5})
		require.Equal(t, 1, after)
	})
}

// P30: everything that is missing or does not fit is in one error; nothing is invented.
func TestCheckReportsEverythingAtOnce(t *testing.T) {
	dev := testdevice.CPU(t, binding.ContextOptions{Threads: 1})
	m := golden.NewModel(t, `{}`).
		Random(t, 0, 1, "fits.weight", 4, 6).Random(t, 0, 1, "fits.bias", 4).
		Random(t, 0, 1, "narrow.weight", 4, 5).Random(t, 0, 1, "narrow.bias", 4).
		Random(t, 0, 1, "nobias.weight", 4, 6).
		Random(t, 0, 1, "flat", 24).
		Random(t, 0, 1, "stranger", 1).Random(t, 0, 1, "old.position_ids", 1)
	m.Tensors["eight"] = weights.Tensor{Name: "eight", DType: weights.F8E4M3, Shape: []int{2, 2}, Data: make([]byte, 4)}

	var lin [4]ops.Linear
	var table *ops.Weight
	var vector, eight *ops.Tensor
	l := loader(t, dev, m.FS(t))
	l.Linear(&lin[0], 6, load.WithBias, load.Rows("fits", 4))
	l.Linear(&lin[1], 6, load.WithBias, load.Rows("narrow", 4))
	l.Linear(&lin[2], 6, load.WithBias, load.Rows("nobias", 4))
	l.Linear(&lin[3], 6, load.WithBias, load.Rows("gone", 4))
	l.Table(&table, "flat", 4, 6)
	l.Vector(&vector, "norm.weight", 6)
	l.Matrix(&eight, "eight", 2, 2)
	l.Ignore("*.position_ids")
	unknown, err := l.Check()
	require.Equal(t, []string{"stranger"}, unknown)

	var check *weights.CheckError
	require.ErrorAs(t, err, &check)
	require.Equal(t, []string{"nobias.bias", "gone.weight", "gone.bias", "norm.weight"}, check.Missing)
	require.Equal(t, []weights.ShapeFault{
		{Tensor: "narrow.weight", File: "model.safetensors", Have: []int{4, 5}, Want: []int{4, 6}},
		{Tensor: "flat", File: "model.safetensors", Have: []int{24}, Want: []int{4, 6}},
	}, check.Shapes)
	require.Len(t, check.DTypes, 1, "P76: a type that has no conversion, and is needed")
	require.ErrorIs(t, err, weights.ErrMissingTensor)
	require.ErrorIs(t, err, ops.ErrShape)
	require.ErrorIs(t, err, weights.ErrUnsupportedDType)
	for _, text := range []string{"gone.weight", "norm.weight", "narrow.weight", "model.safetensors", "[4 5]", "[4 6]", "F8_E4M3"} {
		require.ErrorContains(t, err, text)
	}
	require.Nil(t, lin[0].Weight, "nothing was read")
}

func TestErrorOfMissingTensorsAloneIsNoShapeError(t *testing.T) {
	dev := testdevice.CPU(t, binding.ContextOptions{Threads: 1})
	var v *ops.Tensor
	l := loader(t, dev, golden.NewModel(t, `{}`).Random(t, 0, 1, "a", 1).FS(t))
	l.Vector(&v, "b", 1)
	_, err := l.Check()
	require.ErrorIs(t, err, weights.ErrMissingTensor)
	require.False(t, errors.Is(err, ops.ErrShape))
}

// The plan is what the load takes, to the byte.
func TestBytesIsWhatLoadAllocates(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		m := golden.NewModel(t, `{}`).Random(t, 0, 1, "a.weight", 37, 19).Random(t, 0, 1, "a.bias", 37).
			Random(t, 0, 1, "t", 50, 19).Convert(t, "t", weights.BF16).Random(t, 0, 1, "n", 19)
		var a ops.Linear
		var table *ops.Weight
		var n, v *ops.Tensor
		l := loader(t, dev, m.FS(t))
		l.Linear(&a, 19, load.WithBias, load.Rows("a", 37))
		l.Table(&table, "t", 50, 19)
		l.Vector(&n, "n", 19)
		l.Values(&v, make([]float32, 5))
		_, err := l.Check()
		require.NoError(t, err)
		plan, err := l.Bytes()
		require.NoError(t, err)
		before, err := dev.Counters()
		require.NoError(t, err)
		require.NoError(t, l.Load(context.Background()))
		after, err := dev.Counters()
		require.NoError(t, err)
		require.Equal(t, plan, after.Bytes-before.Bytes)
	})
}

// hooked calls a function before each read of model.safetensors behind its header.
type hooked struct {
	fstest.MapFS
	onRead func(offset int64)
	short  *bool // when true, the file is cut in half
}

func (h hooked) Open(name string) (fs.File, error) {
	f, err := h.MapFS.Open(name)
	if err != nil || name != "model.safetensors" {
		return f, err
	}
	return &hookedFile{File: f, h: h}, nil
}

type hookedFile struct {
	fs.File
	h hooked
}

func (f *hookedFile) ReadAt(p []byte, offset int64) (int, error) {
	data := f.h.MapFS["model.safetensors"].Data
	if f.h.onRead != nil {
		f.h.onRead(offset)
	}
	if *f.h.short {
		data = data[:len(data)/2]
	}
	if offset >= int64(len(data)) {
		return 0, errors.New("a read behind the end")
	}
	return copy(p, data[offset:]), nil
}

// linears declares n layers of 64 x 64.
func linears(l *load.Loader, n int) []ops.Linear {
	list := make([]ops.Linear, n)
	for i := range list {
		l.Linear(&list[i], 64, load.NoBias, load.Rows(layerName(i), 64))
	}
	return list
}

func layerName(i int) string { return "layer." + string(rune('a'+i)) }

func model(t *testing.T, n int) *golden.Model {
	m := golden.NewModel(t, `{}`)
	for i := range n {
		m.Random(t, 0, 1, layerName(i)+".weight", 64, 64)
	}
	return m
}

// requireNoLeaks runs f, and says that no object was collected while still open.
func requireNoLeaks(t *testing.T, f func()) {
	t.Helper()
	runtime.GC()
	runtime.GC() // the second runs the first one's cleanups
	before := binding.Leaks()
	f()
	runtime.GC()
	runtime.GC()
	require.Equal(t, before, binding.Leaks())
}

func TestFileCutShortDuringTheLoad(t *testing.T) {
	short := false
	fsys := hooked{MapFS: model(t, 8).FS(t), short: &short}
	requireNoLeaks(t, func() {
		dev := testdevice.CPU(t, binding.ContextOptions{Threads: 1})
		l := loader(t, dev, fsys)
		list := linears(l, 8)
		_, err := l.Check()
		require.NoError(t, err)
		short = true
		err = l.Load(context.Background())
		require.ErrorContains(t, err, "model.safetensors")
		var read *weights.ReadError
		require.ErrorAs(t, err, &read)
		require.NotEmpty(t, read.Tensor, "the error names the tensor")
		last := list[7]
		require.Nil(t, last.Weight, "a weight that was not read whole is not there")
		require.NoError(t, dev.Close())
		runtime.KeepAlive(list)
	})
	short = false // the file is whole again: so is the next load
	dev := testdevice.CPU(t, binding.ContextOptions{Threads: 1})
	l := loader(t, dev, fsys)
	list := linears(l, 8)
	finish(t, l)
	requireRows(t, list[7].Weight, model(t, 8).Tensors["layer.h.weight"].Data)
}

func TestLoadStopsWithItsContext(t *testing.T) {
	cause := errors.New("the caller went away")
	for _, tc := range []struct {
		name  string
		reads int // before ctx ends
	}{
		{"ended before the first tensor", 0},
		{"ends while tensors are read", 3},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(context.Background())
			reads, short, armed := 0, false, false
			fsys := hooked{MapFS: model(t, 8).FS(t), short: &short}
			fsys.onRead = func(int64) {
				if armed {
					if reads++; reads == tc.reads {
						cancel(cause)
					}
				}
			}
			requireNoLeaks(t, func() {
				dev := testdevice.CPU(t, binding.ContextOptions{Threads: 1})
				before, err := dev.Counters()
				require.NoError(t, err)
				l := loader(t, dev, fsys)
				list := linears(l, 8)
				_, err = l.Check()
				require.NoError(t, err)
				armed = true
				if tc.reads == 0 {
					cancel(cause)
				}
				require.ErrorIs(t, l.Load(ctx), cause)
				require.Equal(t, tc.reads, reads, "nothing is read once ctx has ended")
				alive := int64(0)
				for i := range list {
					if list[i].Weight != nil {
						alive++
						require.NoError(t, list[i].Weight.Free())
					}
				}
				after, err := dev.Counters()
				require.NoError(t, err)
				require.Equal(t, before.Objects, after.Objects, "what was begun is freed, the tree holds the rest")
				require.Equal(t, before.Bytes, after.Bytes)
				require.NoError(t, dev.Close())
			})
		})
	}
}

func TestOutOfMemoryWhileLoading(t *testing.T) {
	requireNoLeaks(t, func() {
		dev := testdevice.CPU(t, binding.ContextOptions{Threads: 1, MemoryLimit: 3 * 64 * 64 * 4})
		l := loader(t, dev, model(t, 8).FS(t))
		list := linears(l, 8)
		_, err := l.Check()
		require.NoError(t, err)
		require.ErrorIs(t, l.Load(context.Background()), binding.ErrOutOfMemory)
		require.Nil(t, list[7].Weight)
		require.NoError(t, dev.Close())
		runtime.KeepAlive(list)
	})
}

func TestRandomWeights(t *testing.T) {
	testdevice.Each(t, func(t *testing.T, dev *ops.Device) {
		for _, d := range []weights.DType{weights.F32, weights.F16, weights.BF16} {
			t.Run(d.String(), func(t *testing.T) {
				make1 := func() (ops.Linear, *ops.Weight, *ops.Tensor) {
					var lin ops.Linear
					var table *ops.Weight
					var norm *ops.Tensor
					l := load.NewRandom(dev, d)
					sub := l.Sub("model")
					sub.Linear(&lin, 100, load.WithBias, load.Rows("a", 150), load.Rows("b", 7)) // more rows than one block
					sub.Table(&table, "t", 3, 5)
					sub.Vector(&norm, "n", 4)
					sub.Ignore("x")
					require.False(t, sub.Has("head.probe"))
					unknown, err := l.Check()
					require.NoError(t, err)
					require.Empty(t, unknown)
					bytes, err := l.Bytes()
					require.NoError(t, err)
					require.Positive(t, bytes)
					require.NoError(t, l.Load(context.Background()))
					return lin, table, norm
				}
				lin, table, norm := make1()
				require.Equal(t, 157, lin.Weight.Rows())
				require.Equal(t, d.Bits()/8, lin.Weight.DType().Size())
				require.Equal(t, 157, lin.Bias.Cols())
				require.Equal(t, 3, table.Rows())
				first, err := lin.Weight.ReadRows(0, 157)
				require.NoError(t, err)
				values := make([]float32, 157*100)
				require.NoError(t, weights.ToFloat32(values, first, d))
				for _, v := range values {
					require.LessOrEqual(t, math.Abs(float64(v)), 0.5)
				}
				require.InDelta(t, 1, golden.Norm(values)/math.Sqrt(157), 0.1, "rows of about unit length keep the size of what goes through")
				n, err := norm.ReadFloat32()
				require.NoError(t, err)
				require.NotEqual(t, n[0], n[1])

				again, _, _ := make1()
				second, err := again.Weight.ReadRows(0, 157)
				require.NoError(t, err)
				require.Equal(t, first, second, "the same every time")
			})
		}
	})
}

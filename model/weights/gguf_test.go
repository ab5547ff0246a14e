package weights

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"runtime"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// ggufKey and ggufEntry are what gguf writes: value is a string, uint32, float32, bool, []string,
// []int32 or []float32, dims stand fastest first, as in the file.
type ggufKey struct {
	key   string
	value any
}

type ggufEntry struct {
	name string
	kind uint32
	dims []uint64
	data []byte
}

// gguf is a file of version 3 with these keys and tensors.
func gguf(keys []ggufKey, tensors ...ggufEntry) *fstest.MapFile {
	var b bytes.Buffer
	put := func(v any) {
		if s, ok := v.(string); ok {
			binary.Write(&b, binary.LittleEndian, uint64(len(s)))
			b.WriteString(s)
			return
		}
		if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
			panic(err)
		}
	}
	list := func(kind uint32, n int) {
		put(uint32(ggufArray))
		put(kind)
		put(uint64(n))
	}
	b.WriteString("GGUF")
	put(uint32(3))
	put(uint64(len(tensors)))
	put(uint64(len(keys)))
	for _, k := range keys {
		put(k.key)
		switch v := k.value.(type) {
		case string:
			put(uint32(ggufString))
			put(v)
		case uint32:
			put(uint32(ggufU32))
			put(v)
		case uint16:
			put(uint32(ggufU16))
			put(v)
		case float32:
			put(uint32(ggufF32))
			put(v)
		case bool:
			put(uint32(ggufBool))
			put(v)
		case []string:
			list(ggufString, len(v))
			for _, s := range v {
				put(s)
			}
		case []int32:
			list(ggufI32, len(v))
			put(v)
		case []float32:
			list(ggufF32, len(v))
			put(v)
		default:
			panic(v)
		}
	}
	offset := 0
	for _, t := range tensors {
		put(t.name)
		put(uint32(len(t.dims)))
		put(t.dims)
		put(t.kind)
		put(uint64(offset))
		offset += (len(t.data) + 31) / 32 * 32
	}
	for _, t := range tensors {
		b.Write(make([]byte, (32-b.Len()%32)%32))
		b.Write(t.data)
	}
	return &fstest.MapFile{Data: b.Bytes()}
}

func floats(values ...float32) []byte {
	var b []byte
	for _, v := range values {
		b = append(b, must(binary.Append(nil, binary.LittleEndian, v))...)
	}
	return b
}

func openOne(file *fstest.MapFile) (*GGUF, error) {
	return OpenGGUF(fstest.MapFS{"m.gguf": file}, "m.gguf")
}

func TestGGUFShapesAreOutermostFirst(t *testing.T) {
	g, err := openOne(gguf(nil, ggufEntry{"w", 0, []uint64{3, 2}, floats(1, 2, 3, 4, 5, 6)}))
	require.NoError(t, err)
	info, err := g.Tensor("w")
	require.NoError(t, err)
	require.Equal(t, Info{Name: "w", DType: F32, Shape: []int{2, 3}, Bytes: 24, File: "m.gguf"}, info)
	rows, err := g.Rows("w")
	require.NoError(t, err)
	require.Equal(t, 12, rows.RowBytes())
}

func TestGGUFMetadata(t *testing.T) {
	long := make([]int32, shortList+1)
	g, err := openOne(gguf([]ggufKey{
		{"s", "text"}, {"u", uint32(7)}, {"f", float32(1e-5)}, {"b", true}, {"ss", []string{"a", "b"}}, {"is", []int32{-1, 2}},
		{"fs", []float32{0.5, 2}}, {"long", long},
	}))
	require.NoError(t, err)
	m := g.Metadata()
	require.Equal(t, []string{"b", "f", "fs", "is", "long", "s", "ss", "u"}, m.Keys())
	c := m.Config()
	require.Equal(t, "text", c.String("s"))
	require.Equal(t, 7, c.Int("u", 0, 10))
	require.Equal(t, float32(1e-5), float32(c.Float("f", 0, 1)), "a float32 keeps its value")
	require.True(t, c.Bool("b"))
	require.Equal(t, []int{-1, 2}, c.Ints("is", -5, 5))
	require.NoError(t, c.Err())
	require.Equal(t, []string{"a", "b"}, must(m.Strings("ss")))
	require.Equal(t, []float64{0.5, 2}, must(m.Floats("fs")))
	require.Len(t, must(m.Ints("long")), shortList+1)

	for key, read := range map[string]func() error{
		"missing":       func() error { c := m.Config(); c.Int("absent", 0, 1); return c.Err() },
		"another type":  func() error { c := m.Config(); c.Int("s", 0, 1); return c.Err() },
		"too large":     func() error { c := m.Config(); c.Int("u", 0, 6); return c.Err() },
		"no list":       func() error { _, err := m.Strings("s"); return err },
		"another list":  func() error { _, err := m.Ints("ss"); return err },
		"no list there": func() error { _, err := m.Floats("absent"); return err },
	} {
		var fault *ConfigError
		require.ErrorAs(t, read(), &fault, key)
		require.Equal(t, "m.gguf", fault.File, key)
		require.Contains(t, []string{"absent", "s", "u", "ss"}, fault.Key, key)
	}
}

// version is a file without anything, of that version.
func version(v uint32) *fstest.MapFile {
	f := gguf(nil)
	binary.LittleEndian.PutUint32(f.Data[4:], v)
	return f
}

// P63: data begins at the next multiple of the file's own alignment.
func TestGGUFAlignment(t *testing.T) {
	const end = 112 // of the metadata: a multiple of 16, not of 32
	name := "twenty-three characters"
	file := gguf([]ggufKey{{"general.alignment", uint32(16)}}, ggufEntry{name, 0, []uint64{1}, floats(7)})
	require.Equal(t, make([]byte, 16), file.Data[end:end+16], "what pads the file to 32")
	file.Data = append(file.Data[:end:end], file.Data[end+16:]...)
	g, err := openOne(file)
	require.NoError(t, err)
	data, err := readAll(g, name, 64)
	require.NoError(t, err)
	require.Equal(t, floats(7), data)
}

// What errors say: the table of malformed files holds that there is one.
func TestGGUFErrorsNameWhatIsWrong(t *testing.T) {
	long := gguf(nil, ggufEntry{"w", 0, []uint64{16}, make([]byte, 64)}, ggufEntry{"v", 0, []uint64{16}, make([]byte, 64)})
	for _, tc := range []struct {
		name string
		file *fstest.MapFile
		is   error
		says []string
	}{
		{"P60: 2^64 elements wrap to none", gguf(nil, ggufEntry{"w", 0, []uint64{1 << 62, 4}, floats(1)}), ErrFormat, []string{`"w"`, "4611686018427387904"}},
		{"P60: a dimension beyond int64", gguf(nil, ggufEntry{"w", 0, []uint64{1<<64 - 1, 2}, floats(1)}), ErrFormat, []string{`"w"`, "18446744073709551615"}},
		{"P60: three dimensions wrap to none", gguf(nil, ggufEntry{"w", 0, []uint64{1 << 33, 1 << 31, 2}, floats(1)}), ErrFormat, []string{`"w"`, "8589934592"}},
		{"P63: alignment 0", gguf([]ggufKey{{"general.alignment", uint32(0)}}), ErrFormat, []string{"alignment", "0"}},
		{"P63: alignment 12", gguf([]ggufKey{{"general.alignment", uint32(12)}}), ErrFormat, []string{"alignment", "12"}},
		{"P66: bytes in the other order", version(0x03000000), ErrFormat, []string{"big-endian"}},
		{"P66: version 0", version(0), ErrFormat, []string{"version 0"}},
		{"P66: version 1", version(1), ErrFormat, []string{"version 1"}},
		{"P66: version 99", version(99), ErrFormat, []string{"version 99"}},
		{"P61: five dimensions", gguf(nil, ggufEntry{"w", 0, []uint64{1, 1, 1, 1, 1}, floats(1)}), ErrFormat, []string{`"w"`, "5 dimensions", "at most 4"}},
		{"P64: need and have", &fstest.MapFile{Data: long.Data[:len(long.Data)-8]}, ErrTruncated, []string{`"v"`, "byte 224", "the file at 216"}},
		{"P65: a tensor twice", gguf(nil, ggufEntry{"w", 0, []uint64{1}, floats(1)}, ggufEntry{"w", 0, []uint64{1}, floats(1)}), ErrFormat, []string{`"w"`, "twice"}},
		{"P65: a key twice", gguf([]ggufKey{{"k", true}, {"k", false}}), ErrFormat, []string{`"k"`, "twice"}},
		{"P67: a type that left the format", gguf(nil, ggufEntry{"w", 4, []uint64{32}, make([]byte, 20)}), ErrUnsupportedDType, []string{`"w"`, "type 4", "Q4_0", "IQ4_XS", "BF16"}},
		{"P67: a type of other hardware", gguf(nil, ggufEntry{"w", 39, []uint64{32}, make([]byte, 17)}), ErrUnsupportedDType, []string{`"w"`, "type 39"}},
		{"P68: a row that is no whole blocks", gguf(nil, ggufEntry{"w", 8, []uint64{72, 4}, make([]byte, 306)}), ErrFormat, []string{`"w"`, "72", "Q8_0", "32"}},
		{"P68: 4304 rows of 1152 are not whole blocks of 256", gguf(nil, ggufEntry{"w", 12, []uint64{1152, 256}, make([]byte, 144)}), ErrFormat, []string{`"w"`, "1152", "Q4_K", "256"}},
		{"an offset that is not where the last tensor ends", gguf(nil, ggufEntry{"w", 0, []uint64{8}, make([]byte, 64)}, ggufEntry{"v", 0, []uint64{8}, make([]byte, 32)}),
			ErrFormat, []string{`"v"`, "offset 64", "32"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g, err := OpenGGUF(fstest.MapFS{"q4_0.gguf": tc.file}, "q4_0.gguf")
			require.Nil(t, g)
			require.ErrorIs(t, err, tc.is)
			for _, part := range append(tc.says, "q4_0.gguf") {
				require.ErrorContains(t, err, part)
			}
		})
	}
}

// P62: a file of a few bytes that promises the world costs next to nothing to refuse.
func TestGGUFAbsurdCountsCostNothing(t *testing.T) {
	for name, after := range map[string][]uint64{
		"2^60 tensors":                  {1 << 60, 0},
		"2^40 keys":                     {0, 1 << 40},
		"a key of 2^50 bytes":           {0, 1, 1 << 50},
		"as many of both as there are ": {1<<64 - 1, 1<<64 - 1},
	} {
		file := []byte("GGUF\x03\x00\x00\x00")
		for _, n := range after {
			file = binary.LittleEndian.AppendUint64(file, n)
		}
		var before, behind runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := openOne(&fstest.MapFile{Data: file})
		runtime.ReadMemStats(&behind)
		require.True(t, isAny(err, ErrFormat, ErrTruncated), "%s: %v", name, err)
		require.Less(t, behind.TotalAlloc-before.TotalAlloc, uint64(1<<20), name)
	}
}

// split is a model in three parts.
func split() fstest.MapFS {
	part := func(no uint16, name string, v float32) *fstest.MapFile {
		keys := []ggufKey{{"split.no", no}, {"split.count", uint16(3)}, {"split.tensors.count", uint32(3)}}
		if no == 0 {
			keys = append(keys, ggufKey{"general.architecture", "llama"})
		}
		return gguf(keys, ggufEntry{name, 0, []uint64{1}, floats(v)})
	}
	return fstest.MapFS{
		"m-00001-of-00003.gguf": part(0, "a", 1), "m-00002-of-00003.gguf": part(1, "b", 2), "m-00003-of-00003.gguf": part(2, "c", 3),
	}
}

func TestGGUFSplit(t *testing.T) {
	for _, name := range []string{"m-00001-of-00003.gguf", "m-00003-of-00003.gguf"} {
		g, err := OpenGGUF(split(), name)
		require.NoError(t, err)
		require.Equal(t, []string{"a", "b", "c"}, g.Names())
		require.Equal(t, "llama", g.Metadata().Value("general.architecture"), "metadata is the first part's")
		require.Equal(t, []float32{3}, must(ReadFloat32(g, "c")))
		require.Len(t, g.Files(), 3)
		require.NoError(t, g.Close())
	}
	for _, tc := range []struct {
		name string
		with func(f fstest.MapFS)
		open string
		is   error
		says string
	}{
		{"two parts are missing", func(f fstest.MapFS) { delete(f, "m-00002-of-00003.gguf"); delete(f, "m-00003-of-00003.gguf") },
			"m-00001-of-00003.gguf", ErrMissingFile, "m-00002-of-00003.gguf, m-00003-of-00003.gguf"},
		{"the parts are swapped", func(f fstest.MapFS) {
			f["m-00002-of-00003.gguf"], f["m-00003-of-00003.gguf"] = f["m-00003-of-00003.gguf"], f["m-00002-of-00003.gguf"]
		}, "m-00001-of-00003.gguf", ErrFormat, "split.no is 2"},
		{"a part is there twice, and its tensors with it", func(f fstest.MapFS) {
			f["m-00003-of-00003.gguf"] = gguf([]ggufKey{{"split.no", uint16(2)}, {"split.count", uint16(3)}}, ggufEntry{"b", 0, []uint64{1}, floats(2)})
		}, "m-00001-of-00003.gguf", ErrFormat, `"b"`},
		{"a part has lost its tensor", func(f fstest.MapFS) {
			f["m-00003-of-00003.gguf"] = gguf([]ggufKey{{"split.no", uint16(2)}, {"split.count", uint16(3)}})
		}, "m-00001-of-00003.gguf", ErrFormat, "split.tensors.count is 3"},
		{"a name that does not say which part", func(f fstest.MapFS) { f["m.gguf"] = f["m-00001-of-00003.gguf"] }, "m.gguf", ErrFormat, "split.count is 3"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := split()
			tc.with(f)
			g, err := OpenGGUF(f, tc.open)
			require.Nil(t, g)
			require.ErrorIs(t, err, tc.is)
			require.ErrorContains(t, err, tc.says)
		})
	}
}

// P37: 4 query heads and 2 key heads of width 4; within each, rows come back in their own order.
func TestHeadOrder(t *testing.T) {
	const cols = 64
	file := func(heads int) []byte { // row r holds its number in the order that the model has
		var b []byte
		for row := range heads * 4 {
			own := row/4*4 + []int{0, 2, 1, 3}[row%4]
			line := bytes.Repeat([]byte{byte(own)}, cols/32*34) // blocks of Q8_0
			b = append(b, line...)
		}
		return b
	}
	g, err := openOne(gguf(nil, ggufEntry{"k", 8, []uint64{cols, 8}, file(2)}, ggufEntry{"q", 8, []uint64{cols, 16}, file(4)}))
	require.NoError(t, err)
	r := Rename(g, map[string]Alias{"query": {Name: "q", HeadRows: 4}, "key": {Name: "k", HeadRows: 4}, "absent": {Name: "x"}})
	require.Equal(t, []string{"key", "query"}, r.Names(), "a name that the file lacks is not shown")
	requireSane(t, r)
	for name, rows := range map[string]int{"query": 16, "key": 8} {
		for _, limit := range []int{1, 200, 1 << 20} { // a row, half a head, everything at once
			data, err := readAll(r, name, limit)
			require.NoError(t, err)
			require.Len(t, data, rows*68)
			for row := range rows {
				require.Equal(t, bytes.Repeat([]byte{byte(row)}, 68), data[row*68:(row+1)*68], "%s row %d, blocks of %d", name, row, limit)
			}
		}
	}
	_, err = r.Tensor("q")
	require.ErrorIs(t, err, ErrMissingTensor, "a tensor has one name")
}

func TestIsGGUF(t *testing.T) {
	f := fstest.MapFS{"yes": gguf(nil), "short": {Data: []byte("GGU")}, "no": {Data: []byte("safetensors.gguf")}}
	for name, want := range map[string]bool{"yes": true, "short": false, "no": false} {
		is, err := IsGGUF(f, name)
		require.NoError(t, err)
		require.Equal(t, want, is, name)
	}
	_, err := IsGGUF(f, "absent")
	require.True(t, errors.Is(err, fs.ErrNotExist))
}

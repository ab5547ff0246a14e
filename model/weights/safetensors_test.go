package weights

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

func TestHeaderLength(t *testing.T) { // P69
	length := func(n uint64, rest int) []byte {
		b := make([]byte, 8+rest)
		for i := range 8 {
			b[i] = byte(n >> (8 * i))
		}
		return b
	}
	for _, c := range []struct {
		name      string
		file      []byte
		truncated bool
		text      string
	}{
		{"P69: no byte at all", nil, true, "0 bytes are too few"},
		{"P69: 7 bytes", make([]byte, 7), true, "7 bytes are too few"},
		{"P69: 2^64-1 is over the cap", length(1<<64-1, 12), false, "over the limit"},
		{"P69: 2^63 is no negative number", length(1<<63, 12), false, "over the limit"},
		{"P69: 2^64-8 does not wrap", length(1<<64-8, 12), false, "over the limit"},
		{"P69: one over the cap", length(maxHeader+1, 12), false, "100000001 bytes is over the limit of 100000000"},
		{"P69: at the cap, in a small file", length(maxHeader, 12), true, "header of 100000000 bytes does not fit a file of 20"},
		{"P69: 200 in a 20-byte file", length(200, 12), true, "header of 200 bytes does not fit a file of 20"},
		{"P69: one byte too long", length(13, 12), true, "header of 13 bytes does not fit a file of 20"},
		{"P69: header of nothing", length(0, 0), false, "expected an object"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := one(c.file)
			require.ErrorIs(t, err, ErrFormat)
			require.ErrorContains(t, err, "m.safetensors: ")
			require.ErrorContains(t, err, c.text)
			require.Equal(t, c.truncated, errors.Is(err, ErrTruncated))
		})
	}
}

func TestHeaderRejects(t *testing.T) {
	deep := strings.Repeat("[", 70) + strings.Repeat("]", 70)
	for _, c := range []struct {
		name   string
		header string
		data   int
		text   string // of the error
	}{
		{"P70: F32 [1000,1000] in 4 bytes", `{"a":{"dtype":"F32","shape":[1000,1000],"data_offsets":[0,4]}}`, 4, "takes 4000000 bytes"},
		{"P70: one byte short", `{"a":{"dtype":"BF16","shape":[2],"data_offsets":[0,3]}}`, 3, "takes 4 bytes"},
		{"P70: end before begin", `{"a":{"dtype":"U8","shape":[0],"data_offsets":[4,0]}}`, 4, "before it begins"},
		{"P70: end past file", `{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, 4, "take 8 bytes, the file has 4"},
		{"P70: [2^33,2^33]", `{"a":{"dtype":"F32","shape":[8589934592,8589934592],"data_offsets":[0,4]}}`, 4, "has no size in whole bytes below 2^63"},
		{"P70: product wraps to 0", `{"a":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}}`, 0, "has no size in whole bytes below 2^63"},
		{"P70: product wraps to 4", `{"a":{"dtype":"F32","shape":[4294967297,4294967297],"data_offsets":[0,4]}}`, 4, "has no size in whole bytes below 2^63"},
		{"P70: the bit size wraps", `{"a":{"dtype":"F64","shape":[4611686018427387904],"data_offsets":[0,0]}}`, 0, "has no size in whole bytes below 2^63"},
		{"P70: overflow before a zero", `{"a":{"dtype":"U8","shape":[9223372036854775807,9223372036854775807,0],"data_offsets":[0,0]}}`, 0, "has no size in whole bytes below 2^63"},
		{"P70: bits that fill no byte", `{"a":{"dtype":"F4","shape":[3],"data_offsets":[0,1]}}`, 1, "has no size in whole bytes below 2^63"},
		{"P70: offsets at the top of the range", `{"a":{"dtype":"U8","shape":[1],"data_offsets":[9223372036854775806,9223372036854775807]}}`, 1, "begins at 9223372036854775806 where 0"},
		{"P70: offset beyond 63 bits", `{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,18446744073709551615]}}`, 1, "not a whole number"},
		{"P70: offset beyond 64 bits", `{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,18446744073709551617]}}`, 1, "not a whole number"},
		{"P71: both at 0..16", `{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"b":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}`, 16, `an overlap with tensor "a"`},
		{"P71: half over each other", `{"b":{"dtype":"F32","shape":[4],"data_offsets":[8,24]},"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}`, 24, `an overlap with tensor "a"`},
		{"P71: one inside the other", `{"a":{"dtype":"U8","shape":[16],"data_offsets":[0,16]},"b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}}`, 16, `an overlap with tensor "a"`},
		{"P71: an empty tensor inside another", `{"a":{"dtype":"U8","shape":[16],"data_offsets":[0,16]},"b":{"dtype":"U8","shape":[0],"data_offsets":[4,4]}}`, 16, `an overlap with tensor "a"`},
		{"a gap between", `{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[8,12]}}`, 12, `a gap after tensor "a"`},
		{"a gap before the first", `{"a":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}}`, 8, "a gap after the start"},
		{"bytes after the last", `{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}`, 5, "1 bytes after the last tensor"},
		{"bytes and no tensor", `{}`, 1, "1 bytes after the last tensor"},
		{"P72: a tensor twice, the same", `{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 1, `key "a" comes twice`},
		{"P72: a tensor twice, other ranges", `{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, 2, `key "a" comes twice`},
		{"P72: twice, once escaped", `{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"\u0061":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, 2, `key "a" comes twice`},
		{"P72: a field twice", `{"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 1, `key "dtype" comes twice`},
		{"P72: metadata twice", `{"__metadata__":{},"__metadata__":{}}`, 0, `key "__metadata__" comes twice`},
		{"P72: twice within the metadata", `{"__metadata__":{"x":"1","x":"1"}}`, 0, `key "x" comes twice`},
		{"P74: [1] at 0..0", `{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,0]}}`, 0, "takes 4 bytes"},
		{"P74: a scalar without data", `{"a":{"dtype":"F32","shape":[],"data_offsets":[0,0]}}`, 0, "takes 4 bytes"},
		{"P74: an empty tensor with data", `{"a":{"dtype":"F32","shape":[3,0],"data_offsets":[0,4]}}`, 4, "takes 0 bytes"},
		{"P76: a type that the format does not define", `{"a":{"dtype":"XYZ","shape":[1],"data_offsets":[0,1]}}`, 1, `no type "XYZ"`},
		{"P76: a type in small letters", `{"a":{"dtype":"f32","shape":[1],"data_offsets":[0,4]}}`, 4, `no type "f32"`},
		{"P76: a type by our own word for none", `{"a":{"dtype":"invalid","shape":[1],"data_offsets":[0,0]}}`, 0, `no type "invalid"`},
		{"a type that is a number", `{"a":{"dtype":3,"shape":[1],"data_offsets":[0,4]}}`, 4, "expected a string"},
		{"no dtype", `{"a":{"shape":[1],"data_offsets":[0,4]}}`, 4, "no dtype"},
		{"no shape", `{"a":{"dtype":"U8","data_offsets":[0,1]}}`, 1, "no shape"},
		{"no offsets", `{"a":{"dtype":"U8","shape":[1]}}`, 1, "no data_offsets"},
		{"an entry that is null", `{"a":null}`, 0, "expected an object"},
		{"a shape that is null", `{"a":{"dtype":"U8","shape":null,"data_offsets":[0,1]}}`, 1, "expected an array"},
		{"a negative dimension", `{"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}}`, 1, "-1 is not a whole number"},
		{"a negative offset", `{"a":{"dtype":"U8","shape":[1],"data_offsets":[-1,0]}}`, 1, "-1 is not a whole number"},
		{"minus zero", `{"a":{"dtype":"U8","shape":[1],"data_offsets":[-0,1]}}`, 1, "-0 is not a whole number"},
		{"a fraction", `{"a":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}}`, 1, "1.0 is not a whole number"},
		{"an exponent", `{"a":{"dtype":"U8","shape":[1e0],"data_offsets":[0,1]}}`, 1, "1e0 is not a whole number"},
		{"a number in quotes", `{"a":{"dtype":"U8","shape":["1"],"data_offsets":[0,1]}}`, 1, "expected a number"},
		{"one offset", `{"a":{"dtype":"U8","shape":[1],"data_offsets":[0]}}`, 1, "1 of two numbers"},
		{"three offsets", `{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}}`, 1, "more than two"},
		{"nine dimensions", `{"a":{"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,1]}}`, 1, "more than 8 dimensions"},
		{"a tensor without a name", `{"":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 1, "without a name"},
		{"metadata that is no object", `{"__metadata__":["a"]}`, 0, "expected an object"},
		{"metadata of a number", `{"__metadata__":{"a":1}}`, 0, "expected a string"},
		{"metadata of null", `{"__metadata__":{"a":null}}`, 0, "expected a string"},
		{"text after the object", `{} {}`, 0, "after the end"},
		{"a NUL after the object", "{}\x00", 0, "after the end"},
		{"an array", `[]`, 0, "expected an object"},
		{"only spaces", `    `, 0, "the text ends here"},
		{"cut short", `{"a":{"dtype":"U8"`, 0, "the text ends here"},
		{"a byte order mark", "\uFEFF{}", 0, "expected an object"},
		{"not UTF-8", "{\"\xff\":{}}", 0, "not UTF-8"},
		{"half a surrogate pair", `{"\ud800":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 1, "half a surrogate pair"},
		{"a comma too many", `{"a":{"dtype":"U8","shape":[1,],"data_offsets":[0,1]}}`, 1, "expected a number"},
		{"nested too deep", `{"a":{"x":` + deep + `}}`, 0, "nested more than 64 deep"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := one(raw(c.header, make([]byte, c.data)...))
			require.ErrorIs(t, err, ErrFormat)
			require.ErrorContains(t, err, c.text)
			var format *FormatError
			require.ErrorAs(t, err, &format)
			require.Equal(t, "m.safetensors", format.File)
		})
	}
}

func TestHeaderAccepts(t *testing.T) {
	for _, c := range []struct {
		name   string
		header string
		data   int
		names  []string
	}{
		{"nothing", `{}`, 0, nil},
		{"white space around", " \n{}\t\r\n  ", 0, nil},
		{"metadata of null", `{"__metadata__":null}`, 0, nil},
		{"fields that the format does not have", `{"a":{"dtype":"U8","note":{"x":[1,{"y":null}]},"shape":[1],"data_offsets":[0,1]}}`, 1, []string{"a"}},
		{"escapes in a name", `{"\u0061\ud83d\ude00\/\n":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 1, []string{"a😀/\n"}},
		{"header in another order than the data", `{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 2, []string{"a", "b"}},
		{"P74: [0] at 8..8", `{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"z":{"dtype":"F32","shape":[0],"data_offsets":[8,8]}}`, 8, []string{"a", "z"}},
		{"P74: empty at the start, in the middle, at the end", `{"e0":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"e1":{"dtype":"F64","shape":[2,0,3],"data_offsets":[1,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},"e2":{"dtype":"F4","shape":[0],"data_offsets":[2,2]}}`, 2, []string{"a", "b", "e0", "e1", "e2"}},
		{"P74: a dimension of zero before large ones", `{"a":{"dtype":"F32","shape":[0,9223372036854775807,9223372036854775807],"data_offsets":[0,0]}}`, 0, []string{"a"}},
		{"P74: scalars of each width", `{"a":{"dtype":"F64","shape":[],"data_offsets":[0,8]},"b":{"dtype":"BF16","shape":[],"data_offsets":[8,10]},"c":{"dtype":"BOOL","shape":[],"data_offsets":[10,11]}}`, 11, []string{"a", "b", "c"}},
		{"eight dimensions", `{"a":{"dtype":"U8","shape":[1,1,1,1,1,1,1,2],"data_offsets":[0,2]}}`, 2, []string{"a"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := one(raw(c.header, make([]byte, c.data)...))
			require.NoError(t, err)
			require.Equal(t, c.names, s.Names())
			requireSane(t, s)
		})
	}
}

func TestEmptyAndScalar(t *testing.T) { // P74
	s, err := one(raw(`{"s":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"e":{"dtype":"F16","shape":[3,0],"data_offsets":[4,4]}}`, 0, 0, 0x80, 0x3F))
	require.NoError(t, err)
	scalar, err := ReadFloat32(s, "s")
	require.NoError(t, err)
	require.Equal(t, []float32{1}, scalar)
	info, err := s.Tensor("s")
	require.NoError(t, err)
	require.Equal(t, []int{1, 1}, []int{info.Rows(), info.Cols()})

	empty, err := ReadFloat32(s, "e")
	require.NoError(t, err)
	require.Empty(t, empty)
	rows, err := s.Rows("e")
	require.NoError(t, err)
	require.Zero(t, rows.BlockBytes(100))
	_, err = rows.Next(nil)
	require.ErrorContains(t, err, "EOF")
}

func TestOddOffsets(t *testing.T) { // P75
	for pad := range 8 { // header lengths 61 and the seven that follow: data at every alignment
		header := `{"u":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"b":{"dtype":"BF16","shape":[2],"data_offsets":[3,7]},` +
			`"f":{"dtype":"F32","shape":[2],"data_offsets":[7,15]},"h":{"dtype":"F16","shape":[1],"data_offsets":[15,17]},` +
			`"d":{"dtype":"F64","shape":[1],"data_offsets":[17,25]}}` + strings.Repeat(" ", pad)
		data := []byte{1, 2, 3}
		data = append(data, 0x80, 0x3F, 0x00, 0xC0)                   // BF16 1, -2
		data = append(data, 0, 0, 0x80, 0x3F, 0xDB, 0x0F, 0x49, 0x40) // F32 1, pi
		data = append(data, 0x00, 0x3C)                               // F16 1
		data = append(data, 0, 0, 0, 0, 0, 0, 0xE0, 0xBF)             // F64 -0.5
		s, err := one(raw(header, data...))
		require.NoError(t, err)
		for name, want := range map[string][]float32{"b": {1, -2}, "f": {1, 3.1415927}, "h": {1}, "d": {-0.5}} {
			have, err := ReadFloat32(s, name)
			require.NoError(t, err)
			require.Equal(t, want, have, "P75: %s, %d bytes of padding", name, pad)
		}
		bytes, err := readAll(s, "u", 2)
		require.NoError(t, err)
		require.Equal(t, []byte{1, 2, 3}, bytes)
	}
}

func TestTypesNotUsed(t *testing.T) { // P76
	s, err := one(raw(`{"f":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]},"i":{"dtype":"I64","shape":[1],"data_offsets":[4,12]},`+
		`"w":{"dtype":"F32","shape":[1],"data_offsets":[12,16]},"q":{"dtype":"F4","shape":[2,1],"data_offsets":[16,17]}}`, make([]byte, 17)...))
	require.NoError(t, err, "P76: types that nobody needs do not matter")

	b := NewBinder(s)
	b.Expect("w", 1)
	b.Ignore("i")
	report, err := b.Check()
	require.NoError(t, err)
	require.Equal(t, []string{"f", "q"}, report.Unexpected)

	b.Expect("f", 4)
	b.Expect("i", 1)
	_, err = b.Check()
	require.ErrorIs(t, err, ErrUnsupportedDType)
	require.EqualError(t, err, "m.safetensors: unsupported type: f in m.safetensors is F8_E4M3, i in m.safetensors is I64")
	for _, name := range []string{"f", "i"} {
		_, err = ReadFloat32(s, name)
		require.ErrorIs(t, err, ErrUnsupportedDType)
	}
	_, err = s.Rows("q")
	require.ErrorIs(t, err, ErrUnsupportedDType, "a row of half a byte cannot be read alone")

	ints, err := readAll(s, "i", 100)
	require.NoError(t, err, "the bytes of any type of whole bytes can be read")
	require.Len(t, ints, 8)
}

// tiny is a legal file that holds the named tensors, one byte each.
func tiny(names ...string) *fstest.MapFile {
	var tensors []Tensor
	for i, name := range names {
		tensors = append(tensors, Tensor{name, U8, []int{1}, []byte{byte(i)}})
	}
	return &fstest.MapFile{Data: written(tensors)}
}

func written(tensors []Tensor) []byte {
	var b bytes.Buffer
	if err := Write(&b, tensors, nil); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func text(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }

func TestShards(t *testing.T) {
	type files = fstest.MapFS
	for _, c := range []struct {
		name  string
		files files
		want  error  // nil: opens
		text  string // of the error, or the names joined
	}{
		{"one file", files{"model.safetensors": tiny("a")}, nil, "a"},
		{"the single file comes first, the index is not looked at", files{"model.safetensors": tiny("a"), "model.safetensors.index.json": text("{")}, nil, "a"},
		{"a broken single file does not fall back on the index", files{"model.safetensors": text("x"), "1": tiny("a"), "model.safetensors.index.json": text(`{"weight_map":{"a":"1"}}`)}, ErrTruncated, "model.safetensors: 1 bytes"},
		{"two shards", files{"1": tiny("a"), "2": tiny("b"), "model.safetensors.index.json": text(`{"weight_map":{"b":"2","a":"1"}}`)}, nil, "a b"},
		{"files that the index does not name are not read", files{"1": tiny("a"), "2": text("not weights"), "model.safetensors.index.json": text(`{"weight_map":{"a":"1"}}`)}, nil, "a"},
		{"a wrong total_size does not matter", files{"1": tiny("a"), "model.safetensors.index.json": text(`{"metadata":{"total_size":-1.5e9},"weight_map":{"a":"1"}}`)}, nil, "a"},
		{"a tensor that the index forgot", files{"1": tiny("a", "b"), "model.safetensors.index.json": text(`{"weight_map":{"a":"1"}}`)}, nil, "a b"},
		{"P73: two shards listed, one present", files{"1": tiny("a"), "model.safetensors.index.json": text(`{"weight_map":{"a":"1","b":"2"}}`)}, ErrMissingFile, "missing file that it lists: 2"},
		{"P73: all that are missing are listed, once", files{"1": tiny("a"), "model.safetensors.index.json": text(`{"weight_map":{"a":"1","d":"4","c":"3","b":"2","e":"4"}}`)}, ErrMissingFile, "missing files that it lists: 2, 3, 4"},
		{"P73: they are missing before a broken one is read", files{"1": text("x"), "model.safetensors.index.json": text(`{"weight_map":{"a":"1","b":"2"}}`)}, ErrMissingFile, "lists: 2"},
		{"neither", files{"weights.bin": text("x")}, ErrNoCheckpoint, "neither model.safetensors nor model.safetensors.index.json"},
		{"P72: a tensor in two files", files{"1": tiny("a"), "2": tiny("a", "b"), "model.safetensors.index.json": text(`{"weight_map":{"a":"1","b":"2"}}`)}, ErrFormat, `2: tensor "a": it is in 1 too`},
		{"P72: a tensor twice in the index", files{"1": tiny("a"), "2": tiny("b"), "model.safetensors.index.json": text(`{"weight_map":{"a":"1","a":"2"}}`)}, ErrFormat, `key "a" comes twice`},
		{"two maps", files{"1": tiny("a"), "model.safetensors.index.json": text(`{"weight_map":{"a":"1"},"weight_map":{"a":"1"}}`)}, ErrFormat, `key "weight_map" comes twice`},
		{"listed in a file that lacks it", files{"1": tiny("a"), "model.safetensors.index.json": text(`{"weight_map":{"a":"1","b":"1"}}`)}, ErrFormat, `tensor "b": listed in 1, which does not hold it`},
		{"listed in the other file", files{"1": tiny("a"), "2": tiny("b"), "model.safetensors.index.json": text(`{"weight_map":{"a":"2","b":"1"}}`)}, ErrFormat, `tensor "a": listed in 2, but it is in 1`},
		{"a shard cut short", files{"1": tiny("a"), "2": text("12345678"), "model.safetensors.index.json": text(`{"weight_map":{"a":"1","b":"2"}}`)}, ErrFormat, "2: a header of"},
		{"an empty map", files{"model.safetensors.index.json": text(`{"weight_map":{}}`)}, ErrFormat, "no weight_map"},
		{"the map is null", files{"model.safetensors.index.json": text(`{"weight_map":null}`)}, ErrFormat, "weight_map is not an object"},
		{"a tensor without a name", files{"1": tiny("a"), "model.safetensors.index.json": text(`{"weight_map":{"":"1"}}`)}, ErrFormat, "without a name"},
		{"the index names a folder", files{"d/1": tiny("a"), "model.safetensors.index.json": text(`{"weight_map":{"a":"d"}}`)}, ErrFormat, "d: not a regular file"},
		{"the single file is a folder", files{"model.safetensors/x": tiny("a")}, ErrFormat, "model.safetensors: not a regular file"},
		{"not UTF-8", files{"model.safetensors.index.json": text("{\"\xff\":1}")}, ErrFormat, "not UTF-8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cp, err := Open(c.files)
			if c.want == nil {
				require.NoError(t, err)
				require.Equal(t, c.text, strings.Join(cp.Names(), " "))
				requireSane(t, cp)
				return
			}
			require.Nil(t, cp)
			require.ErrorIs(t, err, c.want)
			require.ErrorContains(t, err, c.text)
		})
	}
	t.Run("P73: the list can be read by a program", func(t *testing.T) {
		_, err := Open(fstest.MapFS{"model.safetensors.index.json": text(`{"weight_map":{"a":"1","b":"2"}}`)})
		var missing *MissingFilesError
		require.ErrorAs(t, err, &missing)
		require.Equal(t, []string{"1", "2"}, missing.Files)
		require.ErrorIs(t, err, fs.ErrNotExist)
	})
}

func TestShardNames(t *testing.T) {
	for _, name := range []string{
		"../x.safetensors", "..", ".", "", "/etc/passwd", "a/b", "./a", `..\x`, `a\b`, `C:x`, "a\x00", "a\nb", "a/", "//a",
	} {
		index := fmt.Sprintf(`{"weight_map":{"a":%s}}`, appendString(nil, name))
		_, err := parseIndex("index.json", []byte(index))
		require.ErrorIs(t, err, ErrFormat, "%q", name)
		require.ErrorContains(t, err, "not a plain file name")
	}
	for _, name := range []string{"model-00001-of-00002.safetensors", "..a", "a..b", "ä 1.safetensors"} {
		_, err := parseIndex("index.json", []byte(fmt.Sprintf(`{"weight_map":{"a":%q}}`, name)))
		require.NoError(t, err, "%q", name)
	}
}

// A few bytes must not make the reader take much memory, whatever they claim.
func TestHostileHeadersAllocateLittle(t *testing.T) {
	header := func(n uint64) []byte {
		return append(raw("")[:0], byte(n), byte(n>>8), byte(n>>16), byte(n>>24), byte(n>>32), byte(n>>40), byte(n>>48), byte(n>>56))
	}
	for _, c := range []struct {
		name string
		fsys fs.FS
	}{
		{"a header of 100 MB", fstest.MapFS{singleFile: {Data: append(header(maxHeader), make([]byte, 92)...)}}},
		{"a header of 100 MB in a file that says it has them", lyingFS{data: append(header(maxHeader), make([]byte, 92)...), claimed: 1 << 40, offset: true}},
		{"the same, read in sequence", lyingFS{data: append(header(maxHeader), make([]byte, 92)...), claimed: 1 << 40}},
		{"the same, with a reader that stalls", lyingFS{data: append(header(maxHeader), make([]byte, 92)...), claimed: 1 << 40, stall: true}},
		{"a shape of 2^62", fstest.MapFS{singleFile: {Data: raw(`{"a":{"dtype":"U8","shape":[4611686018427387904],"data_offsets":[0,4611686018427387904]}}`)}}},
		{"brackets only", fstest.MapFS{singleFile: {Data: raw(strings.Repeat("[", 100))}}},
		{"brackets within a field", fstest.MapFS{singleFile: {Data: raw(`{"a":{"x":` + strings.Repeat("[", 80))}}},
		{"an index of brackets", fstest.MapFS{indexFile: {Data: []byte(strings.Repeat("[", 100))}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := Open(c.fsys)
			runtime.ReadMemStats(&after)
			require.Error(t, err)
			require.True(t, isAny(err, ErrFormat, ErrTruncated) || strings.Contains(err.Error(), "no data or error"), "%v", err)
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20))
		})
	}
}

func TestMetadataAndClose(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, WriteFile(filepath.Join(dir, "x.safetensors"), []Tensor{{Name: "a", DType: U8, Shape: []int{1}, Data: []byte{7}}}, map[string]string{"k": "v"}))
	s, err := OpenSafetensorsFile(os.DirFS(dir), "x.safetensors")
	require.NoError(t, err)
	require.Equal(t, map[string]string{"k": "v"}, s.Metadata("x.safetensors"))
	require.Nil(t, s.Metadata("y.safetensors"))
	require.Equal(t, []string{"x.safetensors"}, s.Files())

	_, err = s.Tensor("b")
	require.ErrorIs(t, err, ErrMissingTensor)
	require.EqualError(t, err, "x.safetensors: missing tensor: b")
	_, err = s.Rows("b")
	require.ErrorIs(t, err, ErrMissingTensor)

	rows, err := s.Rows("a")
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.NoError(t, s.Close(), "closing twice")
	_, err = rows.Next(make([]byte, 1))
	require.ErrorIs(t, err, fs.ErrClosed)
}

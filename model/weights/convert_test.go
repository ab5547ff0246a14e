package weights

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBFloat16(t *testing.T) {
	for _, c := range []struct {
		name string
		bits uint32
		want uint16
	}{
		{"P41: a tie goes up to even", 0x3F818000, 0x3F82},
		{"P41: a tie goes down to even", 0x3F808000, 0x3F80},
		{"P41: above half goes up", 0x3E89CCD5, 0x3E8A},
		{"P41: just below half", 0x3F807FFF, 0x3F80},
		{"P41: just above half", 0x3F808001, 0x3F81},
		{"P41: negative tie", 0xBF818000, 0xBF82},
		{"carry into the exponent", 0x3FFFFFFF, 0x4000},
		{"largest float32 becomes infinity", 0x7F7FFFFF, 0x7F80},
		{"largest that stays finite", 0x7F7F7FFF, 0x7F7F},
		{"subnormals round like all others", 0x00008000, 0x0000},
		{"subnormal tie to even", 0x00018000, 0x0002},
		{"minus zero", 0x80000000, 0x8000},
		{"infinity", 0xFF800000, 0xFF80},
		{"a NaN whose payload lies in the lower half stays a NaN", 0x7F800001, 0x7FC0},
		{"a NaN of all ones does not wrap to zero", 0xFFFFFFFF, 0xFFFF},
	} {
		require.Equal(t, c.want, Float32ToBFloat16(math.Float32frombits(c.bits)), c.name)
	}
	for code := range 1 << 16 { // there and back: every code that is a number
		f := BFloat16ToFloat32(uint16(code))
		require.Equal(t, uint32(code)<<16, math.Float32bits(f))
		want := uint16(code)
		if f != f {
			want |= 0x40
		}
		require.Equal(t, want, Float32ToBFloat16(f))
	}
}

// float16Value is the definition of binary16 in float64.
func float16Value(code uint16) float64 {
	exponent, mantissa := int(code>>10&0x1F), float64(code&0x3FF)
	value := math.Ldexp(1+mantissa/1024, exponent-15)
	switch {
	case exponent == 0:
		value = math.Ldexp(mantissa, -24)
	case exponent == 31 && mantissa == 0:
		value = math.Inf(1)
	case exponent == 31:
		return math.NaN()
	}
	if code&0x8000 != 0 {
		return -value
	}
	return value
}

func TestFloat16(t *testing.T) {
	for _, c := range []struct {
		name string
		f    float32
		want uint16
	}{
		{"P42: the smallest subnormal", 0x1p-24, 0x0001},
		{"P42: half of it is a tie, to even zero", 0x1p-25, 0x0000},
		{"P42: just above half of it", math.Nextafter32(0x1p-25, 1), 0x0001},
		{"P42: one and a half of it is a tie, to even two", 0x1.8p-24, 0x0002},
		{"P42: a subnormal", 3e-5, 0x01F7},
		{"P42: the largest subnormal rounds up to normal", math.Nextafter32(0x1p-14, 0), 0x0400},
		{"P42: below the boundary", 65519.99, 0x7BFF},
		{"P42: the boundary", 65520, 0x7C00},
		{"P42: beyond it, negative", -1e30, 0xFC00},
		{"the largest number", 65504, 0x7BFF},
		{"a float32 subnormal", 1e-40, 0x0000},
		{"minus a float32 subnormal", -1e-40, 0x8000},
		{"tie to even, down", 1 + 0x1p-11, 0x3C00},
		{"tie to even, up", 1 + 0x3p-11, 0x3C02},
		{"carry into the exponent", 2 - 0x1p-20, 0x4000},
	} {
		require.Equal(t, c.want, Float32ToFloat16(c.f), c.name)
	}
	nan := Float32ToFloat16(math.Float32frombits(0x7F800001))
	require.Equal(t, uint16(0x7E00), nan, "a NaN whose payload lies in the lower bits stays a NaN")

	for code := range 1 << 16 { // P42: exact decode of all codes, and back
		f := Float16ToFloat32(uint16(code))
		want := float16Value(uint16(code))
		if math.IsNaN(want) {
			require.True(t, f != f)
			require.Equal(t, uint32(code&0x8000)<<16|0x7F800000|uint32(code&0x3FF)<<13, math.Float32bits(f))
			require.Equal(t, uint16(code)|0x200, Float32ToFloat16(f))
			continue
		}
		require.Equal(t, math.Float64bits(want), math.Float64bits(float64(f)), "code %04x", code)
		require.Equal(t, uint16(code), Float32ToFloat16(f))
	}
	// Between each two neighbours: the middle goes to the even one, its neighbours to the nearer.
	for code := uint16(0); code < 0x7BFF; code++ {
		middle := float32((float16Value(code) + float16Value(code+1)) / 2)
		even := code + code&1
		require.Equal(t, even, Float32ToFloat16(middle), "above code %04x", code)
		require.Equal(t, code, Float32ToFloat16(math.Nextafter32(middle, 0)))
		require.Equal(t, code+1, Float32ToFloat16(math.Nextafter32(middle, 1e9)))
		require.Equal(t, even|0x8000, Float32ToFloat16(-middle))
	}
}

func TestBulkConversion(t *testing.T) {
	values := []float32{0, 1, -2.5, 3.1415927, 0x1p-24, 70000, float32(math.Inf(-1))}
	for _, c := range []struct {
		dtype DType
		want  []float32
	}{
		{F32, values},
		{F64, values},
		{F16, []float32{0, 1, -2.5, 3.140625, 0x1p-24, float32(math.Inf(1)), float32(math.Inf(-1))}},
		{BF16, []float32{0, 1, -2.5, 3.140625, 0x1p-24, 70144, float32(math.Inf(-1))}},
	} {
		stored := make([]byte, len(values)*c.dtype.Bits()/8)
		require.NoError(t, FromFloat32(stored, values, c.dtype))
		back := make([]float32, len(values))
		require.NoError(t, ToFloat32(back, stored, c.dtype))
		require.Equal(t, c.want, back, c.dtype)

		require.ErrorIs(t, ToFloat32(back, stored[1:], c.dtype), ErrShape)
		require.ErrorIs(t, FromFloat32(stored, values[1:], c.dtype), ErrShape)
		require.NoError(t, ToFloat32(nil, nil, c.dtype))
	}
	f := make([]float32, 1)
	require.NoError(t, ToFloat32(f, []byte{0x80, 0x3F}, BF16))
	require.Equal(t, float32(1), f[0], "little-endian")
	require.NoError(t, ToFloat32(f, []byte{0, 0, 0, 0x10, 0, 0, 0xF0, 0x3F}, F64))
	require.Equal(t, float32(1), f[0], "1 + 2^-24 is a tie, to even")

	for _, d := range []DType{Invalid, Bool, U8, I64, F8E4M3, F4, C64, DType(200)} {
		require.ErrorIs(t, ToFloat32(nil, nil, d), ErrUnsupportedDType)
		require.ErrorIs(t, FromFloat32(nil, nil, d), ErrUnsupportedDType)
	}
}

func TestDTypes(t *testing.T) {
	widths := map[string]int{
		"BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
		"I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
		"C64": 64, "F64": 64, "I64": 64, "U64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
	}
	require.Len(t, dtypeByName, len(widths))
	for name, width := range widths {
		d, ok := ParseDType(name)
		require.True(t, ok, name)
		require.Equal(t, name, d.String())
		require.Equal(t, width, d.Bits())
	}
	require.Equal(t, "DType(99)", DType(99).String())
	require.Zero(t, DType(99).Bits())
	size, ok := F6E2M3.Bytes(4, 5)
	require.True(t, ok)
	require.Equal(t, int64(15), size)
	_, ok = F32.Bytes(-1)
	require.False(t, ok)
}

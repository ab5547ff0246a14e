package weights

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Float16ToFloat32 widens an IEEE 754 binary16 code. It is exact for every code; a NaN keeps its
// sign and payload.
func Float16ToFloat32(h uint16) float32 {
	sign := uint32(h&0x8000) << 16
	exponent, mantissa := uint32(h>>10&0x1F), uint32(h&0x3FF)
	switch exponent {
	case 0: // zero and subnormals: mantissa * 2^-24, which float32 holds as a normal number
		return math.Float32frombits(sign | math.Float32bits(float32(mantissa)*0x1p-24))
	case 0x1F:
		return math.Float32frombits(sign | 0x7F800000 | mantissa<<13)
	}
	return math.Float32frombits(sign | (exponent+127-15)<<23 | mantissa<<13)
}

// Float32ToFloat16 rounds to the nearest binary16 number, ties to even, over the whole range:
// subnormals down to 2^-24, infinity from 65520 on. A NaN stays a NaN (quiet, with the upper bits of
// its payload).
func Float32ToFloat16(f float32) uint16 {
	bits := math.Float32bits(f)
	sign := uint16(bits >> 16 & 0x8000)
	bits &= 0x7FFFFFFF
	const (
		infinity  = 0x7F800000
		overflow  = 0x477FF000 // 65520, halfway between the largest number and what would be the next
		minNormal = 0x38800000 // 2^-14
	)
	switch {
	case bits > infinity:
		return sign | 0x7E00 | uint16(bits>>13&0x3FF)
	case bits >= overflow:
		return sign | 0x7C00
	case bits < minNormal:
		// Adding 0.5 puts the last bit of a binary16 subnormal, 2^-24, at the last place of the sum:
		// the addition itself rounds to nearest even. What lies above the bits of 0.5 is the code.
		sum := math.Float32frombits(bits) + 0.5
		return sign | uint16(math.Float32bits(sum)-math.Float32bits(0.5))
	}
	bits -= (127 - 15) << 23
	return sign | uint16(roundShift(bits, 13))
}

// BFloat16ToFloat32 widens a bfloat16 code, the upper half of a float32. It is exact.
func BFloat16ToFloat32(b uint16) float32 { return math.Float32frombits(uint32(b) << 16) }

// Float32ToBFloat16 rounds to the nearest bfloat16 number, ties to even; what lies beyond the
// largest becomes infinity. A NaN stays a NaN (quiet, with the upper bits of its payload): rounding
// its bits could carry into infinity.
func Float32ToBFloat16(f float32) uint16 {
	bits := math.Float32bits(f)
	if f != f {
		return uint16(bits>>16) | 0x40
	}
	return uint16(roundShift(bits, 16))
}

// roundShift is bits / 2^n, rounded to the nearest integer, ties to even.
func roundShift(bits uint32, n uint) uint32 {
	return (bits + 1<<(n-1) - 1 + bits>>n&1) >> n
}

// ToFloat32 converts stored values, little-endian on every host, to float32: F16, BF16 and F32
// exactly, F64 rounded to nearest even, block types as llama.cpp does, bit for bit. len(src) must be
// len(dst) values, of a block type whole blocks.
//
// Errors: ErrUnsupportedDType for other types, ErrShape where the lengths do not fit together.
func ToFloat32(dst []float32, src []byte, d DType) error {
	if err := checkConversion(len(dst), len(src), d); err != nil {
		return err
	}
	if c, ok := codecOf(d); ok {
		dequantize(dst, src, c)
		return nil
	}
	switch d {
	case F32:
		for i := range dst {
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
		}
	case F16:
		for i := range dst {
			dst[i] = Float16ToFloat32(binary.LittleEndian.Uint16(src[2*i:]))
		}
	case BF16:
		for i := range dst {
			dst[i] = BFloat16ToFloat32(binary.LittleEndian.Uint16(src[2*i:]))
		}
	case F64:
		for i := range dst {
			dst[i] = float32(math.Float64frombits(binary.LittleEndian.Uint64(src[8*i:])))
		}
	}
	return nil
}

// FromFloat32 stores values in a floating-point type, little-endian on every host, rounding to
// nearest even, or in a block type: Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0 by llama.cpp's reference rules,
// the others by least squares. len(dst) must be len(src) values, of a block type whole blocks.
//
// Errors: as ToFloat32, and for a block type a *ValueError (ErrValue) where a value is not finite or
// a block's scale is beyond binary16.
func FromFloat32(dst []byte, src []float32, d DType) error {
	if err := checkConversion(len(src), len(dst), d); err != nil {
		return err
	}
	if c, ok := codecOf(d); ok {
		return quantize(dst, src, d, c)
	}
	switch d {
	case F32:
		for i, f := range src {
			binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(f))
		}
	case F16:
		for i, f := range src {
			binary.LittleEndian.PutUint16(dst[2*i:], Float32ToFloat16(f))
		}
	case BF16:
		for i, f := range src {
			binary.LittleEndian.PutUint16(dst[2*i:], Float32ToBFloat16(f))
		}
	case F64:
		for i, f := range src {
			binary.LittleEndian.PutUint64(dst[8*i:], math.Float64bits(float64(f)))
		}
	}
	return nil
}

func checkConversion(values, bytes int, d DType) error {
	if c, ok := codecOf(d); ok {
		return c.check(values, bytes, d)
	}
	switch d {
	case F32, F16, BF16, F64:
	default:
		return &DTypeError{DType: d}
	}
	if size, ok := d.Bytes(values); !ok || size != int64(bytes) {
		return fmt.Errorf("%w: %d values of type %s do not have %d bytes", ErrShape, values, d, bytes)
	}
	return nil
}

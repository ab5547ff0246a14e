package weights

import (
	"fmt"
	"math"
	"math/bits"
)

// DType is the type of a tensor's elements as it is stored.
type DType uint8

// The types of the safetensors format. Sub-byte types are packed, lowest bits first.
const (
	Invalid DType = iota
	Bool
	U8
	I8
	F8E5M2
	F8E4M3
	F8E8M0
	F8E4M3FNUZ
	F8E5M2FNUZ
	I16
	U16
	F16
	BF16
	I32
	U32
	F32
	C64
	F64
	I64
	U64
	F4
	F6E2M3
	F6E3M2
)

// The block types of the GGUF format (see package doc of its file).
const (
	Q4_0 DType = iota + F6E3M2 + 1
	Q4_1
	Q5_0
	Q5_1
	Q8_0
	Q2_K
	Q3_K
	Q4_K
	Q5_K
	Q6_K
	IQ4_NL
	IQ4_XS
)

// dtypes has, for each type, its name in a safetensors header (of a block type, ggml's) and its width;
// of a block type the width is 0, and its block's sizes stand in codecs.
var dtypes = [...]struct {
	name string
	bits int
}{
	Invalid:    {"invalid", 0},
	Bool:       {"BOOL", 8},
	U8:         {"U8", 8},
	I8:         {"I8", 8},
	F8E5M2:     {"F8_E5M2", 8},
	F8E4M3:     {"F8_E4M3", 8},
	F8E8M0:     {"F8_E8M0", 8},
	F8E4M3FNUZ: {"F8_E4M3FNUZ", 8},
	F8E5M2FNUZ: {"F8_E5M2FNUZ", 8},
	I16:        {"I16", 16},
	U16:        {"U16", 16},
	F16:        {"F16", 16},
	BF16:       {"BF16", 16},
	I32:        {"I32", 32},
	U32:        {"U32", 32},
	F32:        {"F32", 32},
	C64:        {"C64", 64},
	F64:        {"F64", 64},
	I64:        {"I64", 64},
	U64:        {"U64", 64},
	F4:         {"F4", 4},
	F6E2M3:     {"F6_E2M3", 6},
	F6E3M2:     {"F6_E3M2", 6},
	Q4_0:       {"Q4_0", 0},
	Q4_1:       {"Q4_1", 0},
	Q5_0:       {"Q5_0", 0},
	Q5_1:       {"Q5_1", 0},
	Q8_0:       {"Q8_0", 0},
	Q2_K:       {"Q2_K", 0},
	Q3_K:       {"Q3_K", 0},
	Q4_K:       {"Q4_K", 0},
	Q5_K:       {"Q5_K", 0},
	Q6_K:       {"Q6_K", 0},
	IQ4_NL:     {"IQ4_NL", 0},
	IQ4_XS:     {"IQ4_XS", 0},
}

// Floats are the plain types that models compute with: with [Quantized] what a [Need] accepts unless
// it says otherwise, and what [ToFloat32] converts.
var Floats = []DType{F32, F16, BF16, F64}

var dtypeByName = func() map[string]DType {
	m := make(map[string]DType, len(dtypes))
	for d := Invalid + 1; d <= F6E3M2; d++ { // block types are none of the format's
		m[dtypes[d].name] = d
	}
	return m
}()

// ParseDType finds a type by its name in the safetensors format ("BF16"). ok is false for a name
// that the format does not define.
func ParseDType(name string) (d DType, ok bool) {
	d, ok = dtypeByName[name]
	return d, ok
}

// String is the type's name in the safetensors format.
func (d DType) String() string {
	if int(d) >= len(dtypes) {
		return fmt.Sprintf("DType(%d)", uint8(d))
	}
	return dtypes[d].name
}

// Block is the elements and bytes of the smallest piece of a row: a block of a block type, one element
// of a type of whole bytes. Both are 0 for other types.
func (d DType) Block() (elements, bytes int) {
	if c, ok := codecOf(d); ok {
		return c.elements, c.bytes
	}
	if d.Bits()%8 != 0 || d.Bits() == 0 {
		return 0, 0
	}
	return 1, d.Bits() / 8
}

// Quantized says whether it is a block type.
func (d DType) Quantized() bool { _, ok := codecOf(d); return ok }

// Bits is the width of one element, 0 for a block type and for no valid type.
func (d DType) Bits() int {
	if int(d) >= len(dtypes) {
		return 0
	}
	return dtypes[d].bits
}

// Bytes is the size of a packed tensor of this shape. ok is false where it overflows 63 bits, a
// dimension is negative, the bits do not fill whole bytes, or the rows, which the last dimension
// counts, no whole blocks.
//
// The product runs from the outermost dimension and overflow counts even where a later dimension
// is zero, as in the format's reference reader.
func (d DType) Bytes(shape ...int) (size int64, ok bool) {
	product := uint64(1)
	multiply := func(n uint64) bool {
		var high uint64
		high, product = bits.Mul64(product, n)
		return high == 0
	}
	for _, n := range shape {
		if n < 0 || !multiply(uint64(n)) {
			return 0, false
		}
	}
	if elements, bytes := d.Block(); elements > 1 {
		if len(shape) == 0 || shape[len(shape)-1]%elements != 0 {
			return 0, false
		}
		product /= uint64(elements)
		if !multiply(uint64(bytes)) || product > math.MaxInt64 {
			return 0, false
		}
		return int64(product), true
	}
	if d.Bits() == 0 || !multiply(uint64(d.Bits())) || product%8 != 0 {
		return 0, false
	}
	return int64(product / 8), true
}

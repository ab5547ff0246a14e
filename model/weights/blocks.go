package weights

import (
	"encoding/binary"
	"fmt"
)

// Block types store a fixed number of consecutive elements of a row as small integers with a shared
// scale (llama.cpp's ggml-quants; the layouts are ggml-common.h's). Every function here turns one
// block into float32 values with the operations of that library in its order, so the values are the
// same bit for bit. A product that is added to something is converted explicitly: Go may otherwise
// fuse the two into one rounding on some processors.
//
// In a superblock of 256, two halves of 128 or four groups of 64 elements share bytes: element l of
// the first part in the low bits, of the next part above it.

// Quantized are the block types: what [ToFloat32] and [FromFloat32] convert beside [Floats], a whole
// number of blocks at a time.
var Quantized = []DType{Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS}

// codec converts one block.
type codec struct {
	elements, bytes int
	decode          func(y []float32, b []byte)
	encode          func(b []byte, x []float32) // of finite values, into zeroed bytes
	halves          []int                       // where the binary16 scales lie
}

const superblock = 256

var codecs = [...]codec{
	Q4_0:   {32, 18, decodeQ4_0, encodeQ4_0, []int{0}},
	Q4_1:   {32, 20, decodeQ4_1, encodeQ4_1, []int{0, 2}},
	Q5_0:   {32, 22, decodeQ5_0, encodeQ5_0, []int{0}},
	Q5_1:   {32, 24, decodeQ5_1, encodeQ5_1, []int{0, 2}},
	Q8_0:   {32, 34, decodeQ8_0, encodeQ8_0, []int{0}},
	Q2_K:   {superblock, 84, decodeQ2_K, encodeQ2_K, []int{80, 82}},
	Q3_K:   {superblock, 110, decodeQ3_K, encodeQ3_K, []int{108}},
	Q4_K:   {superblock, 144, decodeQ4_K, encodeQ4_K, []int{0, 2}},
	Q5_K:   {superblock, 176, decodeQ5_K, encodeQ5_K, []int{0, 2}},
	Q6_K:   {superblock, 210, decodeQ6_K, encodeQ6_K, []int{208}},
	IQ4_NL: {32, 18, decodeIQ4_NL, encodeIQ4_NL, []int{0}},
	IQ4_XS: {superblock, 136, decodeIQ4_XS, encodeIQ4_XS, []int{0}},
}

func codecOf(d DType) (c codec, ok bool) {
	if int(d) >= len(codecs) {
		return codec{}, false
	}
	return codecs[d], codecs[d].elements > 0
}

// dequantize fills dst from whole blocks.
func dequantize(dst []float32, src []byte, c codec) {
	for len(dst) > 0 {
		c.decode(dst[:c.elements:c.elements], src[:c.bytes:c.bytes])
		dst, src = dst[c.elements:], src[c.bytes:]
	}
}

// blockBytes is the size of n values, false where they are no whole number of blocks.
func (c codec) blockBytes(n int) (int64, bool) {
	return int64(n/c.elements) * int64(c.bytes), n%c.elements == 0
}

func (c codec) check(values, bytes int, d DType) error {
	if size, ok := c.blockBytes(values); !ok || size != int64(bytes) {
		return fmt.Errorf("%w: %d values of type %s (%d bytes for %d) do not have %d bytes",
			ErrShape, values, d, c.bytes, c.elements, bytes)
	}
	return nil
}

func half(b []byte) float32 { return Float16ToFloat32(binary.LittleEndian.Uint16(b)) }

func putHalf(b []byte, f float32) { binary.LittleEndian.PutUint16(b, Float32ToFloat16(f)) }

// nibbles calls f with the elements of 16 bytes: j < 16 in the low half of byte j, the others above.
func nibbles(qs []byte, f func(j int, q byte)) {
	for j, q := range qs[:16] {
		f(j, q&15)
		f(j+16, q>>4)
	}
}

// decodeQ4_0: d, 16 bytes; (q - 8) d.
func decodeQ4_0(y []float32, b []byte) {
	d := half(b)
	for j, q := range b[2:18] {
		y[j] = float32(int(q&15)-8) * d
		y[j+16] = float32(int(q>>4)-8) * d
	}
}

// decodeQ4_1: d, m, 16 bytes; q d + m.
func decodeQ4_1(y []float32, b []byte) {
	d, m := half(b), half(b[2:])
	for j, q := range b[4:20] {
		y[j] = float32(float32(q&15)*d) + m
		y[j+16] = float32(float32(q>>4)*d) + m
	}
}

// decodeQ5_0: d, the fifth bits of all elements, 16 bytes; (q - 16) d.
func decodeQ5_0(y []float32, b []byte) {
	d, high := half(b), binary.LittleEndian.Uint32(b[2:])
	nibbles(b[6:], func(j int, q byte) { y[j] = float32(int(q)|int(high>>j&1)<<4-16) * d })
}

// decodeQ5_1: d, m, the fifth bits of all elements, 16 bytes; q d + m.
func decodeQ5_1(y []float32, b []byte) {
	d, m, high := half(b), half(b[2:]), binary.LittleEndian.Uint32(b[4:])
	nibbles(b[8:], func(j int, q byte) { y[j] = float32(float32(int(q)|int(high>>j&1)<<4)*d) + m })
}

// decodeQ8_0: d, 32 signed bytes; q d.
func decodeQ8_0(y []float32, b []byte) {
	d := half(b)
	for j, q := range b[2:34] {
		y[j] = float32(int8(q)) * d
	}
}

// scaleMin unpacks the 6-bit scale and minimum of sub-block j = 0..7 of Q4_K and Q5_K: the first four
// lie in the low 6 bits of bytes 0..3 and 4..7; of the others the low 4 bits share bytes 8..11 and
// the high 2 sit on top of bytes 0..7.
func scaleMin(s []byte, j int) (scale, min byte) {
	if j < 4 {
		return s[j] & 63, s[j+4] & 63
	}
	return s[j+4]&15 | s[j-4]>>6<<4, s[j+4]>>4 | s[j]>>6<<4
}

// putScaleMin is the inverse of scaleMin, into zeroed bytes.
func putScaleMin(s []byte, j int, scale, min byte) {
	if j < 4 {
		s[j] |= scale
		s[j+4] |= min
		return
	}
	s[j+4] = scale&15 | min<<4
	s[j-4] |= scale >> 4 << 6
	s[j] |= min >> 4 << 6
}

// decodeQ4_K: d, dmin, 12 bytes of scales, 128 bytes; d scale q - dmin min. Sub-block j of 32 has the
// low (j even) or high nibbles of 32 bytes.
func decodeQ4_K(y []float32, b []byte) {
	d, dmin, scales, qs := half(b), half(b[2:]), b[4:16], b[16:]
	for j := range 8 {
		scale, min := scaleMin(scales, j)
		step, low := d*float32(scale), dmin*float32(min)
		for l, q := range qs[j/2*32 : j/2*32+32] {
			y[32*j+l] = float32(step*float32(q>>(j%2*4)&15)) - low
		}
	}
}

// decodeQ5_K: as Q4_K, with bit j of 32 bytes before the nibbles as the fifth bit of sub-block j.
func decodeQ5_K(y []float32, b []byte) {
	d, dmin, scales, high, qs := half(b), half(b[2:]), b[4:16], b[16:48], b[48:]
	for j := range 8 {
		scale, min := scaleMin(scales, j)
		step, low := d*float32(scale), dmin*float32(min)
		for l, q := range qs[j/2*32 : j/2*32+32] {
			q = q>>(j%2*4)&15 | high[l]>>j&1<<4
			y[32*j+l] = float32(step*float32(q)) - low
		}
	}
}

// decodeQ6_K: 128 bytes of low nibbles, 64 of high pairs of bits, 16 signed scales, d;
// d scale (q - 32), a scale for 16 elements. Part t = 0..3 of a half has 32 elements: the nibbles of
// bytes 32 (t%2) + l, low for t < 2, and the bits 2t of high byte l.
func decodeQ6_K(y []float32, b []byte) {
	low, high, scales, d := b[:128], b[128:192], b[192:208], half(b[208:])
	for n := range 2 {
		for t := range 4 {
			for l := range 32 {
				q := low[64*n+32*(t%2)+l]>>(t/2*4)&15 | high[32*n+l]>>(2*t)&3<<4
				scale := float32(int8(scales[8*n+2*t+l/16]))
				y[128*n+32*t+l] = d * scale * float32(int(q)-32)
			}
		}
	}
}

// decodeQ2_K: 16 bytes of scales (low nibble) and minima (high) for 16 elements each, 64 bytes of
// pairs of bits, d, dmin; d scale q - dmin min. Part j = 0..3 of a half has the bits 2j of 32 bytes.
func decodeQ2_K(y []float32, b []byte) {
	scales, qs, d, dmin := b[:16], b[16:80], half(b[80:]), half(b[82:])
	for n := range 2 {
		for j := range 4 {
			for l := range 32 {
				s := scales[8*n+2*j+l/16]
				step, min := d*float32(s&15), dmin*float32(s>>4)
				y[128*n+32*j+l] = float32(step*float32(qs[32*n+l]>>(2*j)&3)) - min
			}
		}
	}
}

// scaleQ3 unpacks the 6-bit scale k = 0..15 of Q3_K: nibbles of 8 bytes, above them pairs of bits of
// 4 more. It stands for the scale minus 32.
func scaleQ3(s []byte, k int) byte {
	return s[k%8]>>(k/8*4)&15 | s[8+k%4]>>(k/4*2)&3<<4
}

// putScaleQ3 is the inverse of scaleQ3, into zeroed bytes.
func putScaleQ3(s []byte, k int, scale byte) {
	s[k%8] |= scale & 15 << (k / 8 * 4)
	s[8+k%4] |= scale >> 4 << (k / 4 * 2)
}

// decodeQ3_K: 32 bytes of high bits, 64 of pairs of low bits, 12 of scales, d; d (scale - 32) q with
// q = -4..3, where a high bit that is not set means minus 4. Bits lie as in Q2_K; the high bit of
// part j of half n is bit 4n + j of byte l.
func decodeQ3_K(y []float32, b []byte) {
	high, qs, scales, d := b[:32], b[32:96], b[96:108], half(b[108:])
	for n := range 2 {
		for j := range 4 {
			for l := range 32 {
				step := d * float32(int(scaleQ3(scales, 8*n+2*j+l/16))-32)
				q := qs[32*n+l]>>(2*j)&3 | high[l]>>(4*n+j)&1<<2
				y[128*n+32*j+l] = step * float32(int(q)-4)
			}
		}
	}
}

// iq4Values are the values that the 4-bit codes of IQ4_NL and IQ4_XS stand for: denser around zero,
// as weights are.
var iq4Values = [16]float32{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}

// decodeIQ4_NL: d, 16 bytes; d value(q).
func decodeIQ4_NL(y []float32, b []byte) {
	d := half(b)
	nibbles(b[2:], func(j int, q byte) { y[j] = d * iq4Values[q] })
}

// scaleIQ4 unpacks the 6-bit scale of sub-block i = 0..7 of IQ4_XS: nibbles of 4 bytes, above them
// pairs of bits. It stands for the scale minus 32.
func scaleIQ4(high uint16, low []byte, i int) byte {
	return low[i/2]>>(i%2*4)&15 | byte(high>>(2*i)&3)<<4
}

// decodeIQ4_XS: d, 16 bits of high scales, 4 bytes of low scales, 128 bytes; d (scale - 32) value(q),
// each 32 elements as in IQ4_NL.
func decodeIQ4_XS(y []float32, b []byte) {
	d, high, low, qs := half(b), binary.LittleEndian.Uint16(b[2:]), b[4:8], b[8:]
	for i := range 8 {
		step, y := d*float32(int(scaleIQ4(high, low, i))-32), y[32*i:]
		nibbles(qs[16*i:], func(j int, q byte) { y[j] = step * iq4Values[q] })
	}
}

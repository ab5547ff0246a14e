package weights

import (
	"encoding/binary"
	"fmt"
	"math"
	"runtime"
	"strings"
	"sync"
)

// A row may hold values that its type cannot: no scale fits a NaN, and a scale is a binary16 number.

// ValueError says which value a block type cannot hold. It is ErrValue.
type ValueError struct {
	Tensor   string // or empty, where values were converted without a name
	Row, Col int    // of the tensor; where there are no rows, Row is 0
	Value    float32
	DType    DType
}

func (e *ValueError) Error() string {
	name := ""
	if e.Tensor != "" {
		name = fmt.Sprintf("tensor %q: ", e.Tensor)
	}
	return fmt.Sprintf("%srow %d: %s cannot hold %v of column %d", name, e.Row, e.DType, e.Value, e.Col)
}

func (e *ValueError) Unwrap() error { return ErrValue }

// tooLarge is beyond every block type: the largest binary16 scale times 128 times 32 is 2.7e8. Sums of
// smaller values stay finite.
const tooLarge = 1e9

// quantize fills dst with whole blocks of src. Its error counts the column in src.
func quantize(dst []byte, src []float32, d DType, c codec) error {
	for col := 0; col < len(src); col += c.elements {
		x := src[col : col+c.elements : col+c.elements]
		for i, v := range x {
			if !(abs(v) < tooLarge) { // NaN too
				return &ValueError{Col: col + i, Value: v, DType: d}
			}
		}
		b := dst[:c.bytes:c.bytes]
		clear(b)
		c.encode(b, x)
		for _, at := range c.halves {
			if b[at+1]&0x7C == 0x7C { // the scale became infinite
				i := largest(x)
				return &ValueError{Col: col + i, Value: x[i], DType: d}
			}
		}
		dst = dst[c.bytes:]
	}
	return nil
}

// largest is the index of the first value of the largest magnitude.
func largest(x []float32) int {
	at, most := 0, float32(0)
	for i, v := range x {
		if v := abs(v); v > most {
			at, most = i, v
		}
	}
	return at
}

func abs(v float32) float32 { return math.Float32frombits(math.Float32bits(v) &^ (1 << 31)) }

// QuantizeRows is FromFloat32 for rows of cols values, on all processor cores. The result does not
// depend on their number; of several errors it gives that of the first row, counted in src.
//
// Errors: as FromFloat32, and ErrShape where src is no whole number of rows or a row no whole number
// of blocks.
func QuantizeRows(dst []byte, src []float32, cols int, d DType) error {
	if cols < 1 || len(src)%cols != 0 {
		return fmt.Errorf("%w: %d values in rows of %d", ErrShape, len(src), cols)
	}
	rows := len(src) / cols
	if err := checkConversion(len(src), len(dst), d); err != nil || rows == 0 {
		return err
	}
	rowBytes := len(dst) / rows
	if err := checkConversion(cols, rowBytes, d); err != nil {
		return err
	}
	// At least a few thousand values a worker: starting one costs as much as converting some hundred.
	workers := min(runtime.GOMAXPROCS(0), rows, len(src)/4096+1)
	errs := make([]error, workers)
	var group sync.WaitGroup
	for w := range workers {
		from, to := rows*w/workers, rows*(w+1)/workers
		group.Go(func() {
			for r := from; r < to && errs[w] == nil; r++ {
				errs[w] = FromFloat32(dst[r*rowBytes:(r+1)*rowBytes], src[r*cols:(r+1)*cols], d)
				if e, ok := errs[w].(*ValueError); ok {
					e.Row = r
				}
			}
		})
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// ParseBlockType finds a block type by its name ("Q4_K", in capitals or not).
func ParseBlockType(name string) (d DType, ok bool) {
	for _, d := range Quantized {
		if strings.EqualFold(d.String(), name) {
			return d, true
		}
	}
	return Invalid, false
}

// Fallback is the type for rows of cols values where d is wanted: d itself where its blocks fill the
// rows, else for a superblock of 256 the type of about its size with blocks of 32, as llama.cpp does
// (tensor_type_fallback), and F16 where those do not fit either.
func (d DType) Fallback(cols int) DType {
	next := map[DType]DType{Q2_K: Q4_0, Q3_K: Q4_0, IQ4_XS: IQ4_NL, Q4_K: Q5_0, Q5_K: Q5_1, Q6_K: Q8_0}
	for {
		c, ok := codecOf(d)
		if !ok || cols%c.elements == 0 {
			return d
		}
		if d, ok = next[d]; !ok {
			return F16
		}
	}
}

// inverse is 1/d, or 0 where that is not finite: such a d is zero in binary16.
func inverse(d float32) float32 {
	if inv := 1 / d; abs(inv) <= math.MaxFloat32 {
		return inv
	}
	return 0
}

// The first five types have one right answer: that of llama.cpp's reference quantisers
// (quantize_row_q4_0_ref and so on), byte for byte. The scale maps the value of the largest magnitude
// to the end of the range; codes are rounded with the inverse of the scale before that is rounded to
// binary16.

// encodeQ4_0: the largest value, with its sign, becomes -8.
func encodeQ4_0(b []byte, x []float32) {
	d := x[largest(x)] / -8
	inv := inverse(d)
	putHalf(b, d)
	if inv == 0 && d != 0 {
		return // code 0 is what llama.cpp gets from an infinity
	}
	for j := range 16 {
		b[2+j] = byte(min(15, int32(float32(x[j]*inv)+8.5))) | byte(min(15, int32(float32(x[j+16]*inv)+8.5)))<<4
	}
}

// encodeQ5_0: the largest value, with its sign, becomes -16.
func encodeQ5_0(b []byte, x []float32) {
	d := x[largest(x)] / -16
	inv := inverse(d)
	putHalf(b, d)
	if inv == 0 && d != 0 {
		return // code 0 is what llama.cpp gets from an infinity
	}
	for j, v := range x {
		putFive(b[2:], j, byte(min(31, int32(float32(v*inv)+16.5))))
	}
}

// putFive stores a code of 5 bits in zeroed bytes: 4 of fifth bits, then 16 of nibbles.
func putFive(b []byte, j int, q byte) {
	b[j/8] |= q >> 4 << (j % 8)
	b[4+j%16] |= q & 15 << (j / 16 * 4)
}

func bounds(x []float32) (low, high float32) {
	low, high = x[0], x[0]
	for _, v := range x[1:] {
		if v < low {
			low = v
		}
		if v > high {
			high = v
		}
	}
	return low, high
}

// encodeQ4_1: the smallest value becomes 0, the largest 15.
func encodeQ4_1(b []byte, x []float32) {
	low, high := bounds(x)
	d := (high - low) / 15
	inv := inverse(d)
	putHalf(b, d)
	putHalf(b[2:], low)
	for j := range 16 {
		b[4+j] = byte(min(15, int32(float32((x[j]-low)*inv)+0.5))) | byte(min(15, int32(float32((x[j+16]-low)*inv)+0.5)))<<4
	}
}

// encodeQ5_1: the smallest value becomes 0, the largest 31.
func encodeQ5_1(b []byte, x []float32) {
	low, high := bounds(x)
	d := (high - low) / 31
	inv := inverse(d)
	putHalf(b, d)
	putHalf(b[2:], low)
	for j, v := range x {
		putFive(b[4:], j, byte(int32(float32((v-low)*inv)+0.5)))
	}
}

// encodeQ8_0: the largest magnitude becomes 127; halves round away from zero.
func encodeQ8_0(b []byte, x []float32) {
	d := abs(x[largest(x)]) / 127
	inv := inverse(d)
	putHalf(b, d)
	for j, v := range x {
		q := float64(v * inv) // exact sums: 0.5 less the smallest step stays below 1
		b[2+j] = byte(int8(q + math.Copysign(0.5, q)))
	}
}

// The other types leave the scales open, and llama.cpp searches for them. So does this: least squares
// over a few candidates, the plain squared error as the measure (llama.cpp weighs large values more).
// The bytes differ from llama.cpp's, the error is compared with its error in the tests.

// round is v to the nearest integer, for |v| < 2^22: the sum has no room for a fraction.
func round(v float32) int32 {
	return int32(math.Float32bits(v+0x1.8p23)) - 0x4B400000
}

func clamp(q, low, high int32) int32 { return min(max(q, low), high) }

// nearest is the integer in low..high nearest to v, whatever v is.
func nearest(v float32, low, high int32) int32 {
	return round(min(max(v, float32(low)), float32(high)))
}

// zeroBelow: blocks of smaller values become zero. Their scales would be zero in binary16 by far,
// and inverses of scales stay finite.
const zeroBelow = 1e-20

// steps are the candidates' offsets from the plain choice, which maps the largest value to the end of
// the range, in codes.
var steps = [...]float32{0, -0.9, -0.75, -0.6, -0.45, -0.3, -0.15, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9}

// fitScaleMin finds a scale and a minimum, both not negative, so that scale q - min with q = 0..top
// is close to x.
func fitScaleMin(x []float32, top int32) (scale, min float32) {
	low, high := bounds(x)
	low = float32(math.Min(float64(low), 0))
	if high-low < zeroBelow {
		return 0, -low
	}
	n, sum := float64(len(x)), 0.0
	for _, v := range x {
		sum += float64(v)
	}
	best := math.Inf(-1)
	for _, step := range steps {
		inv := (float32(top) + step) / (high - low)
		var q1, q2 int32 // sums of q and q²
		var dot float32  // of q x
		for _, v := range x {
			q := clamp(round((v-low)*inv), 0, top)
			q1 += q
			q2 += q * q
			dot += float32(q) * v
		}
		// Least squares for x = a q + b, with b not above 0.
		if q2 == 0 {
			continue
		}
		a, b := float64(dot)/float64(q2), 0.0
		if determinant := n*float64(q2) - float64(q1)*float64(q1); determinant > 0 {
			if free := (float64(q2)*sum - float64(q1)*float64(dot)) / determinant; free < 0 {
				a, b = (n*float64(dot)-float64(q1)*sum)/determinant, free
			}
		}
		// The squared error is that of all zeros less this.
		if gain := a*float64(dot) + b*sum; gain > best && a > 0 {
			best, scale, min = gain, float32(a), float32(-b)
		}
	}
	if math.IsInf(best, -1) {
		return 0, -low
	}
	return scale, min
}

// fitScale finds a scale of either sign so that scale q with q = low..top is close to x. The end of
// the larger magnitude, low, takes the largest value first, with its sign; then the other end.
func fitScale(x []float32, low, top int32) float32 {
	most := x[largest(x)]
	if abs(most) < zeroBelow {
		return 0
	}
	scale, best := float32(0), 0.0
	for _, end := range [...]int32{low, top} {
		for _, step := range steps {
			inv := (float32(end) + step) / most
			var q2 int32
			var dot float32
			for _, v := range x {
				q := clamp(round(v*inv), low, top)
				q2 += q * q
				dot += float32(q) * v
			}
			if q2 == 0 {
				continue
			}
			if gain := float64(dot) * float64(dot) / float64(q2); gain > best {
				best, scale = gain, dot/float32(q2)
			}
		}
	}
	return scale
}

// shareScale rounds the sub-blocks' scales to codes low..top of a common scale d, a binary16 number.
// The scale of the largest magnitude becomes end.
func shareScale(scales []float32, end, low, top int32) (d float32, codes [16]int32) {
	d = Float16ToFloat32(Float32ToFloat16(scales[largest(scales)] / float32(end)))
	inv := inverse(d)
	for i, s := range scales {
		codes[i] = nearest(s*inv, low, top)
	}
	return d, codes
}

// fitted is a superblock before it is packed.
type fitted struct {
	d, dmin      float32
	scales, mins [16]int32
	q            [superblock]byte
}

// fitScaleMins fits sub-blocks of size elements, x = scale q - min with q = 0..top, whose scales and
// minima are codes 0..most of d and dmin.
func (f *fitted) fitScaleMins(x []float32, size int, top, most int32) {
	var scales, mins [16]float32
	n := len(x) / size
	for j := range n {
		scales[j], mins[j] = fitScaleMin(x[j*size:(j+1)*size], top)
	}
	f.d, f.scales = shareScale(scales[:n], most, 0, most)
	f.dmin, f.mins = shareScale(mins[:n], most, 0, most)
	for j := range n {
		inv, low := inverse(f.d*float32(f.scales[j])), f.dmin*float32(f.mins[j])
		for i := j * size; i < (j+1)*size; i++ {
			f.q[i] = byte(nearest(float32(x[i]+low)*inv, 0, top))
		}
	}
}

// fitScales fits sub-blocks of size elements, x = scale q with q = low..top, whose scales are codes
// lowScale..-lowScale-1 of d. The codes are stored above zero: q - low and scale - lowScale.
func (f *fitted) fitScales(x []float32, size int, low, top, lowScale int32) {
	var scales [16]float32
	n := len(x) / size
	for j := range n {
		scales[j] = fitScale(x[j*size:(j+1)*size], low, top)
	}
	f.d, f.scales = shareScale(scales[:n], lowScale, lowScale, -lowScale-1)
	for j := range n {
		inv := inverse(f.d * float32(f.scales[j]))
		for i := j * size; i < (j+1)*size; i++ {
			f.q[i] = byte(nearest(x[i]*inv, low, top) - low)
		}
	}
}

// encodeQ4_K packs as decodeQ4_K says; so do the others.
func encodeQ4_K(b []byte, x []float32) {
	var f fitted
	f.fitScaleMins(x, 32, 15, 63)
	putHalf(b, f.d)
	putHalf(b[2:], f.dmin)
	for j := range 8 {
		putScaleMin(b[4:16], j, byte(f.scales[j]), byte(f.mins[j]))
		for l, q := range f.q[32*j : 32*j+32] {
			b[16+j/2*32+l] |= q << (j % 2 * 4)
		}
	}
}

func encodeQ5_K(b []byte, x []float32) {
	var f fitted
	f.fitScaleMins(x, 32, 31, 63)
	putHalf(b, f.d)
	putHalf(b[2:], f.dmin)
	for j := range 8 {
		putScaleMin(b[4:16], j, byte(f.scales[j]), byte(f.mins[j]))
		for l, q := range f.q[32*j : 32*j+32] {
			b[16+l] |= q >> 4 << j
			b[48+j/2*32+l] |= q & 15 << (j % 2 * 4)
		}
	}
}

func encodeQ6_K(b []byte, x []float32) {
	var f fitted
	f.fitScales(x, 16, -32, 31, -128)
	for i, q := range f.q {
		n, t, l := i/128, i/32%4, i%32
		b[64*n+32*(t%2)+l] |= q & 15 << (t / 2 * 4)
		b[128+32*n+l] |= q >> 4 << (2 * t)
	}
	for k, scale := range f.scales {
		b[192+k] = byte(scale)
	}
	putHalf(b[208:], f.d)
}

func encodeQ2_K(b []byte, x []float32) {
	var f fitted
	f.fitScaleMins(x, 16, 3, 15)
	for k := range 16 {
		b[k] = byte(f.scales[k] | f.mins[k]<<4)
	}
	for i, q := range f.q {
		b[16+i/128*32+i%32] |= q << (i / 32 % 4 * 2)
	}
	putHalf(b[80:], f.d)
	putHalf(b[82:], f.dmin)
}

func encodeQ3_K(b []byte, x []float32) {
	var f fitted
	f.fitScales(x, 16, -4, 3, -32)
	for i, q := range f.q {
		b[i%32] |= q >> 2 << (i / 32)
		b[32+i/128*32+i%32] |= q & 3 << (i / 32 % 4 * 2)
	}
	for k, scale := range f.scales {
		putScaleQ3(b[96:108], k, byte(scale+32))
	}
	putHalf(b[108:], f.d)
}

// iq4Codes has the code of the value that is nearest to v for all of cell floor(2 (v + 128)): halves
// lie between two values, so no cell has two answers.
var iq4Codes = func() (codes [512]byte) {
	for cell := range codes {
		v := (float32(cell)+0.5)/2 - 128
		for q, value := range iq4Values {
			if abs(value-v) < abs(iq4Values[codes[cell]]-v) {
				codes[cell] = byte(q)
			}
		}
	}
	return codes
}()

// iq4Code is the code for v, for |v| < 2^30.
func iq4Code(v float32) byte { return iq4Codes[clamp(int32(2*v+256), 0, 511)] }

// iq4Ends are what the largest value of a block may become, in the units of iq4Values: around its
// ends of either sign.
var iq4Ends = [...]float32{-127, -135, -131, -123, -119, -115, -111, -107, -103, 113, 121, 117, 109, 105, 101, 97, 93}

// fitIQ4 finds a scale of either sign so that scale iq4Values[q] is close to x.
func fitIQ4(x []float32) float32 {
	most := x[largest(x)]
	if abs(most) < zeroBelow {
		return 0
	}
	scale, best := float32(0), float32(0)
	try := func(inv float32) {
		var dot, square float32
		for _, v := range x {
			q := iq4Values[iq4Code(v*inv)]
			dot += q * v
			square += q * q
		}
		if gain := dot / square * dot; gain > best {
			best, scale = gain, dot/square
		}
	}
	for _, end := range iq4Ends {
		try(end / most)
	}
	try(1 / scale) // the codes move a little under the scale found
	return scale
}

func encodeIQ4_NL(b []byte, x []float32) {
	d := fitIQ4(x)
	putHalf(b, d)
	putIQ4(b[2:], x, half(b))
}

// putIQ4 stores the codes of 32 values under a scale, in zeroed bytes.
func putIQ4(b []byte, x []float32, scale float32) {
	inv := inverse(scale)
	for j, v := range x[:32] {
		b[j%16] |= iq4Code(min(max(v*inv, -128), 128)) << (j / 16 * 4)
	}
}

func encodeIQ4_XS(b []byte, x []float32) {
	var scales [8]float32
	for i := range scales {
		scales[i] = fitIQ4(x[32*i : 32*i+32])
	}
	d, codes := shareScale(scales[:], -32, -32, 31)
	putHalf(b, d)
	high := uint16(0)
	for i, code := range codes[:8] {
		b[4+i/2] |= byte(code+32) & 15 << (i % 2 * 4)
		high |= uint16(code+32) >> 4 << (2 * i)
		putIQ4(b[8+16*i:], x[32*i:], d*float32(code))
	}
	binary.LittleEndian.PutUint16(b[2:], high)
}

package imageprep

import (
	"fmt"
	"math"
)

// Filter is a resampling filter, with Pillow's number, which preprocessor_config.json has as
// "resample".
type Filter int

const (
	Nearest  Filter = 0
	Lanczos  Filter = 1 // three lobes
	Bilinear Filter = 2
	Bicubic  Filter = 3 // a = -0.5
	Box      Filter = 4
	Hamming  Filter = 5
)

func (f Filter) String() string {
	if f < 0 || f > 5 {
		return fmt.Sprintf("filter %d", int(f))
	}
	return [...]string{"nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"}[f]
}

// kernel gives the filter's weight at x, and the distance beyond which it is zero, both in source
// pixels when enlarging. Products are rounded before they are added (the float64 conversions forbid
// fusing), so that every processor gives the same weights.
func (f Filter) kernel() (weight func(x float64) float64, support float64) {
	switch f {
	case Box:
		return func(x float64) float64 {
			if -0.5 < x && x <= 0.5 {
				return 1
			}
			return 0
		}, 0.5
	case Bilinear:
		return func(x float64) float64 { return max(0, 1-math.Abs(x)) }, 1
	case Hamming:
		return func(x float64) float64 {
			x = math.Abs(x)
			switch {
			case x == 0:
				return 1
			case x >= 1:
				return 0
			}
			x *= math.Pi
			return math.Sin(x) / x * (float64(float32(0.54)) + float64(float64(float32(0.46))*math.Cos(x))) // as float32, in Pillow
		}, 1
	case Bicubic:
		return func(x float64) float64 {
			const a = -0.5
			x = math.Abs(x)
			switch {
			case x < 1:
				return float64((float64((a+2)*x)-(a+3))*x*x) + 1
			case x < 2:
				return (float64((float64((x-5)*x)+8)*x) - 4) * a
			}
			return 0
		}, 2
	case Lanczos:
		return func(x float64) float64 {
			if x < -3 || x >= 3 {
				return 0
			}
			return sinc(x) * sinc(x/3)
		}, 3
	}
	return nil, 0
}

func sinc(x float64) float64 {
	if x == 0 {
		return 1
	}
	x *= math.Pi
	return math.Sin(x) / x
}

// weightBits is where the point of a fixed-point weight stands: 32 bits less 8 for the sample and 2
// for the sum, which may pass 255 where weights are negative (Pillow, Resample.c).
const weightBits = 22

// axis resamples one side of a picture.
type axis struct {
	weight           func(x float64) float64
	scale            float64 // source pixels per target pixel
	stretch          float64 // of the filter: the scale when shrinking, else 1
	support          float64 // of the stretched filter
	size             int     // of the source, with its padding
	padding, picture int     // of the source: pixels of background in front, pixels of picture
	mostTaps         int
	skip             bool // the side keeps its size
}

func newAxis(f Filter, size, outSize, padding, picture int) axis {
	a := axis{size: size, padding: padding, picture: picture, skip: size == outSize}
	a.scale = float64(size) / float64(outSize)
	a.stretch = max(a.scale, 1)
	a.weight, a.support = f.kernel()
	a.support *= a.stretch
	a.mostTaps = min(2*int(math.Ceil(a.support))+1, size)
	return a
}

// taps are the pixels that one target pixel is made of.
type taps struct {
	first   int     // index into the picture, without its padding
	weights []int32 // of the pixels from first on
	outside int32   // sum of the weights that fall on padding
}

// at gives the taps of target pixel i, their weights appended to buf.
func (a *axis) at(i int, buf []int32, scratch []float64) (taps, []int32, []float64) {
	if a.skip { // one tap of weight 1, so that nothing changes
		if x := i - a.padding; 0 <= x && x < a.picture {
			buf = append(buf, 1<<weightBits)
			return taps{first: x, weights: buf[len(buf)-1:]}, buf, scratch
		}
		return taps{outside: 1 << weightBits}, buf, scratch
	}
	center := float64((float64(i) + 0.5) * a.scale)
	lo := max(int(center-a.support+0.5), 0)
	hi := min(int(center+a.support+0.5), a.size)
	scratch = scratch[:0]
	sum, shrink := 0.0, 1/a.stretch
	for x := lo; x < hi; x++ {
		w := a.weight((float64(x) - center + 0.5) * shrink)
		scratch = append(scratch, w)
		sum += w
	}
	t := taps{first: min(max(lo-a.padding, 0), a.picture)}
	from := len(buf)
	for k, w := range scratch {
		if sum != 0 {
			w /= sum
		}
		fixed := int32(float64(w*(1<<weightBits)) + math.Copysign(0.5, w))
		if x := lo + k - a.padding; 0 <= x && x < a.picture {
			buf = append(buf, fixed)
		} else {
			t.outside += fixed
		}
	}
	t.weights = buf[from:len(buf):len(buf)]
	return t, buf, scratch
}

// span is the range of picture pixels that n targets from target i on are made of.
func (a *axis) span(i, n int) (first, end int) {
	edge := func(i int, side float64) int {
		x := int(float64((float64(i)+0.5)*a.scale) + side*a.support + 0.5)
		return min(max(x-a.padding, 0), a.picture)
	}
	return edge(i, -1), edge(i+n-1, 1)
}

// touched is the part of the n targets from target i on that any picture pixel goes into.
func (a *axis) touched(i, n int) (from, count int) {
	misses := func(i int) bool {
		first, end := a.span(i, 1)
		return first >= end
	}
	for ; n > 0 && misses(i); n-- {
		i++
	}
	for n > 0 && misses(i+n-1) {
		n--
	}
	return i, n
}

// narrow goes over to a picture of which only pixels first to end-1 are left.
func (a *axis) narrow(first, end int) {
	a.padding += first
	a.picture = end - first
}

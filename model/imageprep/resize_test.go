package imageprep

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

var allFilters = []Filter{Nearest, Lanczos, Bilinear, Bicubic, Box, Hamming}

func randomPicture(random *rand.Rand, width, height int) *Picture {
	p := newPicture(width, height)
	for i := range p.Pix {
		p.Pix[i] = byte(random.Uint32())
	}
	return p
}

// crop is what a window has to give.
func crop(p *Picture, win window) *Picture {
	out := newPicture(win.width, win.height)
	for y := range win.height {
		copy(out.row(y), p.row(win.y + y)[3*win.x:])
	}
	return out
}

// TestCanvasAndWindow: what is not stored and not computed makes no difference.
func TestCanvasAndWindow(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	for _, size := range [][4]int{
		{13, 7, 9, 9}, {7, 13, 9, 9}, {40, 3, 11, 30}, {3, 40, 30, 11}, {1, 90, 8, 8}, {90, 1, 8, 8}, {5, 5, 5, 5}, {6, 20, 20, 20}, {20, 6, 20, 4},
		{17, 17, 60, 3},
	} {
		for _, f := range allFilters {
			t.Run(fmt.Sprint(size, f), func(t *testing.T) {
				c := square(randomPicture(random, size[0], size[1]), [3]byte{122, 116, 104})
				w, h := size[2], size[3]
				whole := resize(canvas{picture: c.stored(), width: c.width, height: c.height}, f, w, h, window{0, 0, w, h})
				require.Equal(t, whole, resize(c, f, w, h, window{0, 0, w, h}))
				for range 5 {
					win := window{random.IntN(w), random.IntN(h), 0, 0}
					win.width, win.height = 1+random.IntN(w-win.x), 1+random.IntN(h-win.y)
					require.Equal(t, crop(whole, win), resize(c, f, w, h, win), "%+v", win)
				}
			})
		}
	}
}

func TestResizeSameSizeCopies(t *testing.T) {
	p := randomPicture(rand.New(rand.NewPCG(7, 8)), 12, 5)
	for _, f := range allFilters {
		q, err := p.Resize(12, 5, f)
		require.NoError(t, err)
		require.Equal(t, p, q)
		q.Pix[0]++
		require.NotEqual(t, p.Pix[0], q.Pix[0], "the copy has its own pixels")
	}
}

// TestResizeWideBlocks: a row whose weights do not fit one block is the same as in pieces.
func TestResizeWideBlocks(t *testing.T) {
	p := randomPicture(rand.New(rand.NewPCG(9, 10)), 200_000, 1)
	whole, err := p.Resize(300, 1, Lanczos) // 4,001 weights a column: blocks of 262 columns
	require.NoError(t, err)
	a := newAxis(Lanczos, 200_000, 300, 0, 200_000)
	require.Less(t, mostWeights/a.mostTaps, 300, "more than one block")
	for x := range 300 {
		require.Equal(t, whole.Pix[3*x:3*x+3], a.across(p, 0, 1, x, 1, [3]byte{}).Pix, "column %d", x)
	}
}

// TestResizeOneColour: a colour stays what it is under every filter and scale.
func TestResizeOneColour(t *testing.T) {
	p := newPicture(37, 501)
	for i := range p.Pix {
		p.Pix[i] = []byte{0, 255, 77}[i%3]
	}
	for _, f := range allFilters {
		for _, size := range [][2]int{{1, 1}, {200, 3}, {36, 502}, {37, 1}} {
			q, err := p.Resize(size[0], size[1], f)
			require.NoError(t, err)
			require.Equal(t, bytes.Repeat([]byte{0, 255, 77}, size[0]*size[1]), q.Pix, "%v %v", f, size)
		}
	}
}

func TestResizeRefuses(t *testing.T) {
	p := newPicture(4, 4)
	for _, tc := range []struct {
		name          string
		p             *Picture
		width, height int
		f             Filter
		kind          error
	}{
		{"no width", p, 0, 4, Bicubic, ErrCorrupt},
		{"negative height", p, 4, -1, Bicubic, ErrCorrupt},
		{"more than can be indexed", p, 1 << 20, 1 << 20, Bicubic, ErrTooLarge},
		{"unknown filter", p, 4, 4, 6, ErrUnsupported},
		{"pixels that do not fit", &Picture{Width: 4, Height: 4, Pix: make([]byte, 47)}, 4, 4, Bicubic, ErrCorrupt},
		{"sides that overflow", &Picture{Width: math.MaxInt, Height: 4, Pix: nil}, 4, 4, Bicubic, ErrCorrupt},
		{"no picture", nil, 4, 4, Bicubic, ErrCorrupt},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := tc.p.Resize(tc.width, tc.height, tc.f)
			require.ErrorIs(t, err, tc.kind)
		})
	}
	_, _, err := (&Config{}).Tensor(p)
	require.ErrorIs(t, err, ErrConfig)
	_, _, err = goldenConfigs(t, 8)["siglip"].Tensor(&Picture{})
	require.ErrorIs(t, err, ErrCorrupt)
}

// TestWindowBesideThePicture: a window that shows background alone.
func TestWindowBesideThePicture(t *testing.T) {
	c := square(randomPicture(rand.New(rand.NewPCG(11, 12)), 90, 2), [3]byte{1, 2, 3})
	for _, f := range allFilters {
		require.Equal(t, bytes.Repeat([]byte{1, 2, 3}, 30), resize(c, f, 30, 30, window{3, 0, 10, 3}).Pix, "%v", f)
	}
}

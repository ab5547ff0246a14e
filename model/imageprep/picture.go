package imageprep

import (
	"crypto/sha256"
	"encoding/binary"
)

// Picture is a decoded picture: upright, RGB, interleaved, 8 bits a sample. The sample of channel c
// at column x and row y is Pix[3*(y*Width+x)+c].
type Picture struct {
	Width, Height int // pixels, at least 1
	Pix           []byte
}

func newPicture(width, height int) *Picture {
	return &Picture{Width: width, Height: height, Pix: make([]byte, 3*width*height)}
}

// row is row y, 3*Width bytes.
func (p *Picture) row(y int) []byte {
	return p.Pix[3*p.Width*y : 3*p.Width*(y+1)]
}

// check refuses a Picture that a caller put together wrongly.
func (p *Picture) check() error {
	if p == nil {
		return fault(ErrCorrupt, "", "no picture")
	}
	if p.Width < 1 || p.Height < 1 || len(p.Pix)%3 != 0 || len(p.Pix)/3/p.Width != p.Height || len(p.Pix)/3%p.Width != 0 {
		return &Error{Kind: ErrCorrupt, Width: p.Width, Height: p.Height, Detail: "the pixels do not fit the size"}
	}
	return nil
}

// digestVersion changes when the same file may give other pixels or the digest another layout.
const digestVersion = "imageprep picture 1"

// Digest is SHA-256 over version, width, height and pixels, each with its length in front, so that
// two pictures share it only if they are the same. How transparency was treated shows in the pixels.
func (p *Picture) Digest() [32]byte {
	h := sha256.New()
	field := func(data []byte) {
		h.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(data))))
		h.Write(data)
	}
	field([]byte(digestVersion))
	field(binary.LittleEndian.AppendUint64(nil, uint64(p.Width)))
	field(binary.LittleEndian.AppendUint64(nil, uint64(p.Height)))
	field(p.Pix)
	return [32]byte(h.Sum(nil))
}

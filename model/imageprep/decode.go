package imageprep

import "image"

// Alpha says what becomes of transparency.
type Alpha int

const (
	// AlphaWhite puts the picture on white: (c*a + 255*(255-a) + 127) / 255 in integers, with
	// straight colour c and alpha a. It is the default.
	AlphaWhite Alpha = iota
	// AlphaDrop ignores alpha and takes the colour that is stored under it, as Pillow's
	// convert("RGB") and with it the reference processors do.
	AlphaDrop
)

func (a Alpha) String() string {
	switch a {
	case AlphaWhite:
		return "white"
	case AlphaDrop:
		return "drop"
	}
	return "unknown"
}

const (
	// DefaultMaxPixels is the size beyond which Pillow, too, refuses to decode: 178 megapixels, or
	// 537 MB of RGB.
	DefaultMaxPixels = 178_956_970
	// DefaultMaxBytes bounds the encoded picture: 256 MiB.
	DefaultMaxBytes = 256 << 20
)

// DecodeOptions bounds what is decoded and says what becomes of transparency. The zero value puts
// pictures on white and has the default limits.
type DecodeOptions struct {
	Alpha     Alpha
	MaxPixels int64 // width times height; 0: DefaultMaxPixels
	MaxBytes  int64 // of the encoded picture; 0: DefaultMaxBytes
}

func (o DecodeOptions) maxPixels() int64 {
	if o.MaxPixels > 0 {
		return o.MaxPixels
	}
	return DefaultMaxPixels
}

func (o DecodeOptions) maxBytes() int64 {
	if o.MaxBytes > 0 {
		return o.MaxBytes
	}
	return DefaultMaxBytes
}

// check refuses a mode that does not exist.
func (o DecodeOptions) check() error {
	if o.Alpha != AlphaWhite && o.Alpha != AlphaDrop {
		return fault(ErrUnsupported, "", "alpha mode %d", o.Alpha)
	}
	return nil
}

// checkBytes refuses n bytes over the limit.
func (o DecodeOptions) checkBytes(n int64) error {
	if n > o.maxBytes() {
		return fault(ErrTooLarge, "", "%d bytes, the limit is %d", n, o.maxBytes())
	}
	return nil
}

// checkSize refuses an empty picture and one over the limit. It runs before anything of that size
// is allocated.
func (o DecodeOptions) checkSize(format string, width, height int) error {
	if width <= 0 || height <= 0 {
		return &Error{Kind: ErrCorrupt, Format: format, Width: width, Height: height, Detail: "a side is not positive"}
	}
	// Divided, not multiplied: sides of 2^31 would overflow.
	if int64(width) > o.maxPixels()/int64(height) {
		e := fault(ErrTooLarge, format, "over the limit of %d pixels", o.maxPixels())
		e.Width, e.Height = width, height
		return e
	}
	return nil
}

// Decode decodes an encoded picture and sets it upright. The format is found in the content: PNG,
// JPEG, GIF and WebP (of an animation the first frame), BMP, TIFF (first page). Data behind the
// picture's end is ignored; data that ends before it is an error, even where enough for some pixels
// is there.
//
// Every error is an [*Error] of kind [ErrTruncated], [ErrCorrupt], [ErrUnsupported] or
// [ErrTooLarge].
func Decode(data []byte, opts DecodeOptions) (*Picture, error) {
	if err := opts.check(); err != nil {
		return nil, err
	}
	if err := opts.checkBytes(int64(len(data))); err != nil {
		return nil, err
	}
	f, err := sniff(data)
	if err != nil {
		return nil, err
	}
	var p *Picture
	err = guard(f.name, func() error {
		straight, orientation, err := f.decode(data, opts)
		if err != nil {
			return err
		}
		p = straight.flatten(opts.Alpha).upright(orientation)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

// FromImage takes over a picture that the caller decoded, with the pixels that Decode gives for the
// same file as far as img still holds what that takes. Colours are read as they are stored, never
// through At, where the type allows it: NRGBA, NRGBA64, RGBA, RGBA64, Paletted, Gray, Gray16, CMYK,
// YCbCr and NYCbCrA; the planes of the last two are interpolated as Decode does with a JPEG.
//
// What img no longer holds: the orientation tag, the place of a GIF's frame on its screen, the
// colour under a GIF's transparent pixels, the planes of a JPEG with four components, and that the
// planes of a lossy WebP have video range. Hand in such files as bytes.
//
// Errors are as those of Decode.
func FromImage(img image.Image, opts DecodeOptions) (*Picture, error) {
	if err := opts.check(); err != nil {
		return nil, err
	}
	if img == nil {
		return nil, fault(ErrCorrupt, "", "no picture")
	}
	var p *Picture
	err := guard("image.Image", func() error { // img may be anyone's type, or lie about its size
		b := img.Bounds()
		if err := opts.checkSize("image.Image", b.Dx(), b.Dy()); err != nil {
			return err
		}
		p = fromImage(img).flatten(opts.Alpha)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

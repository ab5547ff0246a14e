package llama3v

import (
	"errors"
	"fmt"
	"image"
	"io"
	"io/fs"
	"os"
	"sync"

	"github.com/llama3v/llama3v/model/imageprep"
)

// Picture is a picture to look at: a file, bytes, a reader, base64 text or an image.Image. The format is sniffed
// from the content (PNG, JPEG, GIF's first frame, WebP, BMP, TIFF); orientation tags are applied.
// All ways of handing in one picture give the same pixels.
type Picture struct {
	name string
	read func(limit int64) ([]byte, error)
	img  image.Image
	text *string // base64 or a data URL
}

// File is the picture in a file. Nothing is opened before it is needed.
func File(path string) Picture {
	return Picture{name: path, read: func(limit int64) ([]byte, error) {
		f, err := os.Open(path)
		if err != nil {
			return nil, withoutPath(err)
		}
		defer f.Close()
		data, err := readAll(f, limit)
		return data, withoutPath(err)
	}}
}

// Bytes is an encoded picture in memory. data is not copied: it must not change before the call
// that takes the picture returns.
func Bytes(data []byte) Picture {
	return Picture{name: fmt.Sprintf("%d bytes", len(data)), read: func(int64) ([]byte, error) { return data, nil }}
}

// Reader is an encoded picture that r gives. It is read when first needed, once and to its end; the
// bytes are kept, so that the Picture serves several questions.
func Reader(r io.Reader) Picture {
	if r == nil {
		return Picture{name: "nil reader"}
	}
	var once sync.Once
	var data []byte
	var err error
	return Picture{name: "reader", read: func(limit int64) ([]byte, error) {
		once.Do(func() { data, err = readAll(r, limit) })
		return data, err
	}}
}

// Base64 is an encoded picture as text: base64 in either alphabet, or a data URL. Text never names a picture:
// what looks like a URL or a path is ErrPictureUnsupported, and nothing is opened or fetched.
func Base64(text string) Picture {
	return Picture{name: fmt.Sprintf("text of %d bytes", len(text)), text: &text}
}

// Image is a decoded picture.
func Image(img image.Image) Picture { return Picture{name: "image.Image", img: img} }

func readAll(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(data)) > limit {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrPictureTooLarge, limit)
	}
	return data, err
}

// withoutPath takes the operation and the path out of a file's error: the caller names the picture.
func withoutPath(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// decode turns the picture into upright RGB pixels. index is its place among the pictures of the
// call, from 0; errors name it.
func (p Picture) decode(index int, opts imageprep.DecodeOptions) (*imageprep.Picture, error) {
	pixels, err := p.pixels(opts)
	if err != nil {
		return nil, fmt.Errorf("picture %d (%s): %w", index+1, p.name, err)
	}
	return pixels, nil
}

func (p Picture) pixels(opts imageprep.DecodeOptions) (*imageprep.Picture, error) {
	if p.img != nil {
		return imageprep.FromImage(p.img, opts)
	}
	if p.text != nil {
		return imageprep.FromText(*p.text, opts)
	}
	if p.read == nil {
		return nil, fmt.Errorf("%w: an empty Picture; use File, Bytes, Reader, Base64 or Image", ErrPictureUnsupported)
	}
	data, err := p.read(opts.MaxBytes)
	if err != nil {
		return nil, err
	}
	return imageprep.Decode(data, opts)
}

// input marks what Ask takes beside its question.
func (Picture) input() {}

package imageprep

import (
	"errors"
	"image/jpeg"
	"image/png"
	"io"

	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"
)

// decoderFault sorts what a decoder says into the kinds.
func decoderFault(format string, err error) error {
	kind := ErrCorrupt
	var pngFeature png.UnsupportedError
	var jpegFeature jpeg.UnsupportedError
	var tiffFeature tiff.UnsupportedError
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		kind = ErrTruncated
	case errors.As(err, &pngFeature), errors.As(err, &jpegFeature), errors.As(err, &tiffFeature), errors.Is(err, bmp.ErrUnsupported):
		kind = ErrUnsupported
	}
	return fault(kind, format, "%v", err)
}

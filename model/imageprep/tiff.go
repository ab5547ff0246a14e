package imageprep

import (
	"bytes"

	"golang.org/x/image/tiff"
)

// decodeTIFF reads the first page of what x/image reads: grey, palette, RGB and RGBA with 8 or 16
// bits a sample (grey and palette also 1), plain or packed with LZW, deflate, PackBits or CCITT.
func decodeTIFF(data []byte, opts DecodeOptions) (straight, orientation, error) {
	config, err := tiff.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return straight{}, 0, decoderFault("TIFF", err)
	}
	if err := opts.checkSize("TIFF", config.Width, config.Height); err != nil {
		return straight{}, 0, err
	}
	dir, ok := readDirectory(data)
	if !ok {
		return straight{}, 0, fault(ErrCorrupt, "TIFF", "no directory")
	}
	if err := checkTIFF(dir, config.Width, config.Height); err != nil {
		return straight{}, 0, err
	}
	img, err := tiff.Decode(bytes.NewReader(data))
	if err != nil {
		return straight{}, 0, decoderFault("TIFF", err)
	}
	s := fromImage(img)
	// A fax code's white run is zeros, whatever zero means: with "black is zero" it is black in
	// libtiff, and so everywhere else, but not in x/image.
	const blackIsZero = 1
	if dir.fax() && dir.first(tagPhotometric, 0) == blackIsZero {
		for i, v := range s.Pix {
			s.Pix[i] = 255 - v
		}
	}
	return s, dir.orientation(), nil
}

// fax says whether the pixels are packed with a CCITT code.
func (d directory) fax() bool {
	c := d.first(tagCompression, 1)
	return 2 <= c && c <= 4
}

// checkTIFF looks for what x/image would get wrong: samples in separate planes, which it takes for
// interleaved ones; strips that reach over the end, which PackBits does not notice; and a size that
// the data cannot hold, which it would allocate.
func checkTIFF(dir directory, width, height int) error {
	if !dir.whole {
		return fault(ErrTruncated, "TIFF", "%d bytes end in the directory", len(dir.data))
	}
	samples := int64(dir.first(tagSamplesPerPixel, 1))
	if dir.first(tagPlanar, 1) != 1 && samples > 1 {
		return fault(ErrUnsupported, "TIFF", "samples in separate planes")
	}
	offsets, counts := dir.values(tagStripOffsets), dir.values(tagStripByteCounts)
	if tiles := dir.values(tagTileOffsets); tiles != nil {
		offsets, counts = tiles, dir.values(tagTileByteCounts)
	}
	for i := range min(len(offsets), len(counts)) {
		if end := int64(offsets[i]) + int64(counts[i]); end > int64(len(dir.data)) {
			return fault(ErrTruncated, "TIFF", "%d bytes, strip %d ends at %d", len(dir.data), i, end)
		}
	}
	// How many bytes one packed byte stands for at most. The fax codes have no such bound.
	densest := map[uint32]int64{1: 1, 5: 11_000, 8: 1032, 32773: 64, 32946: 1032}[dir.first(tagCompression, 1)]
	rowBytes := (int64(width)*samples*int64(dir.first(tagBitsPerSample, 1)) + 7) / 8
	if densest > 0 && rowBytes*int64(height)/densest > int64(len(dir.data)) {
		e := fault(ErrCorrupt, "TIFF", "%d bytes are too few", len(dir.data))
		e.Width, e.Height = width, height
		return e
	}
	return nil
}

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
	return fromImage(img), dir.orientation(), nil
}

// checkTIFF looks for what x/image would get wrong: samples in separate planes, which it takes for
// interleaved ones; strips that reach over the end, which PackBits does not notice; and a size that
// the data cannot hold, which it would allocate.
func checkTIFF(dir directory, width, height int) error {
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
	// How many bytes one packed byte stands for at most. The fax codes (2 to 4) have no such bound.
	densest := map[uint32]int64{1: 1, 5: 11_000, 8: 1032, 32773: 64, 32946: 1032}[dir.first(tagCompression, 1)]
	rowBytes := (int64(width)*samples*int64(dir.first(tagBitsPerSample, 1)) + 7) / 8
	if densest > 0 && rowBytes*int64(height)/densest > int64(len(dir.data)) {
		e := fault(ErrCorrupt, "TIFF", "%d bytes are too few", len(dir.data))
		e.Width, e.Height = width, height
		return e
	}
	return nil
}

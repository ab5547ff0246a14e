// Package imageprep turns pictures into what a vision tower takes: it decodes them, sets them
// upright, resizes them and normalises them, with the pixels that the reference stack (Pillow and
// the slow image processors of transformers) gives for the same file.
//
// [Decode] and [FromImage] make a [Picture], upright RGB with 8 bits a sample. [ParseConfig] reads a
// checkpoint's preprocessor_config.json, and [Config.Views] applies it: to one tensor, or to the tiles or
// slices that some families cut a picture into.
//
// How close the pixels are:
//
//   - PNG, GIF, BMP, TIFF and WebP, lossless or lossy: equal.
//   - JPEG: Go's decoder has another inverse cosine transform than libjpeg-turbo, which moves about
//     one sample in a hundred by one level. Chroma interpolation and colour conversion follow
//     libjpeg-turbo exactly, so that RGB values are within 3 levels, 0.03 to 0.04 in the mean of photos.
//   - Resizing and normalising the same pixels: equal bit for bit to Pillow 13 and transformers.
//
// Files are not trusted. The container is read first, its claims are held against the bytes that
// are there and against a limit, and only then does a decoder run, behind a guard that turns a panic
// into an error. Colour profiles and gamma are not applied, as in the reference.
package imageprep

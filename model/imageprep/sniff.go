package imageprep

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
)

// format is one that is read here.
type format struct {
	name   string
	decode func(data []byte, opts DecodeOptions) (straight, orientation, error)
}

// sniff finds the format in the content. What is not read here is ErrUnsupported under its own name.
func sniff(data []byte) (format, error) {
	switch {
	case bytes.HasPrefix(data, []byte(pngSignature)):
		return format{"PNG", decodePNG}, nil
	case bytes.HasPrefix(data, []byte("\xff\xd8")):
		return format{"JPEG", decodeJPEG}, nil
	case bytes.HasPrefix(data, []byte("GIF87a")), bytes.HasPrefix(data, []byte("GIF89a")):
		return format{"GIF", decodeGIF}, nil
	case len(data) >= 12 && string(data[:4]) == "RIFF" && string(data[8:12]) == "WEBP":
		return format{"WebP", decodeWebP}, nil
	case bytes.HasPrefix(data, []byte("II*\x00")), bytes.HasPrefix(data, []byte("MM\x00*")):
		return format{"TIFF", decodeTIFF}, nil
	case isBMP(data):
		return format{"BMP", decodeBMP}, nil
	case len(data) == 0:
		return format{}, fault(ErrTruncated, "", "no data")
	}
	if name := cutSignature(data); name != "" {
		return format{}, fault(ErrTruncated, name, "%d bytes", len(data))
	}
	name := foreign(data)
	if name == "" {
		return format{}, fault(ErrUnsupported, "", "no known picture format begins with % x", data[:min(len(data), 8)])
	}
	return format{}, fault(ErrUnsupported, name, "read are PNG, JPEG, GIF, WebP, BMP and TIFF")
}

// isBMP tells a BMP by its two letters and by the size of its second header, as letters alone begin
// many a text.
func isBMP(data []byte) bool {
	if len(data) < 18 || string(data[:2]) != "BM" {
		return false
	}
	return slices.Contains([]uint32{12, 16, 40, 52, 56, 64, 108, 124}, binary.LittleEndian.Uint32(data[14:]))
}

// cutSignature names the format whose beginning data may be if it ends inside the signature.
func cutSignature(data []byte) string {
	s := string(data)
	switch {
	case strings.HasPrefix(pngSignature, s):
		return "PNG"
	case strings.HasPrefix("\xff\xd8", s):
		return "JPEG"
	case strings.HasPrefix("GIF87a", s), strings.HasPrefix("GIF89a", s):
		return "GIF"
	case len(s) < 12 && strings.HasPrefix("RIFF", s[:min(len(s), 4)]) && (len(s) < 8 || strings.HasPrefix("WEBP", s[8:])):
		return "WebP"
	case strings.HasPrefix("II*\x00", s), strings.HasPrefix("MM\x00*", s):
		return "TIFF"
	case len(s) < 18 && strings.HasPrefix("BM", s[:min(len(s), 2)]):
		return "BMP"
	}
	return ""
}

// foreign names a kind of data that people hand in as a picture but that is not read here; "" if it
// is none of them.
func foreign(data []byte) string {
	if name := baseMedia(data); name != "" {
		return name
	}
	for _, f := range []struct{ prefix, name string }{
		{"\xff\x0a", "JPEG XL"},
		{"\x00\x00\x00\x0cJXL \r\n\x87\n", "JPEG XL"},
		{"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG 2000"},
		{"\xff\x4f\xff\x51", "JPEG 2000"},
		{"II+\x00", "BigTIFF"},
		{"MM\x00+", "BigTIFF"},
		{"II\xbc\x01", "JPEG XR"},
		{"\x00\x00\x01\x00", "ICO"},
		{"\x00\x00\x02\x00", "CUR"},
		{"8BPS", "Photoshop"},
		{"%PDF-", "PDF"},
		{"%!PS", "PostScript"},
		{"qoif", "QOI"},
		{"\x8aMNG", "MNG"},
		{"v/1\x01", "OpenEXR"},
		{"#?RADIANCE", "Radiance HDR"},
		{"DDS ", "DDS"},
		{"RIFF", "RIFF"},
		{"PK\x03\x04", "ZIP"},
		{"\x1f\x8b", "gzip"},
		{"\x1aE\xdf\xa3", "Matroska"},
	} {
		if bytes.HasPrefix(data, []byte(f.prefix)) {
			return f.name
		}
	}
	if len(data) >= 3 && data[0] == 'P' && '1' <= data[1] && data[1] <= '7' && strings.IndexByte(" \t\r\n#", data[2]) >= 0 {
		return "PNM"
	}
	return textKind(data)
}

// baseMedia names what a file in the ISO base media container (a "ftyp" box in front) holds.
func baseMedia(data []byte) string {
	if len(data) < 12 || string(data[4:8]) != "ftyp" {
		return ""
	}
	// The major brand, then a version, then compatible brands to the end of the box.
	end := int64(binary.BigEndian.Uint32(data))
	brands := []string{string(data[8:12])}
	for i := 16; i+4 <= len(data) && int64(i+4) <= end; i += 4 {
		brands = append(brands, string(data[i:i+4]))
	}
	for _, b := range brands {
		switch b {
		case "avif", "avis":
			return "AVIF"
		case "heic", "heix", "heim", "heis", "hevc", "hevx":
			return "HEIC"
		case "mif1", "msf1":
			continue // any codec; a later brand says which
		}
	}
	if slices.Contains(brands, "mif1") || slices.Contains(brands, "msf1") {
		return "HEIF"
	}
	return "MP4"
}

// textKind names kinds of text: "SVG", "HTML", "XML", "JSON" or just "text".
func textKind(data []byte) string {
	head := data[:min(len(data), 4096)]
	switch {
	case bytes.HasPrefix(head, []byte("\xef\xbb\xbf")):
		head = head[3:]
	case bytes.HasPrefix(head, []byte("\xff\xfe")), bytes.HasPrefix(head, []byte("\xfe\xff")):
		head = bytes.ReplaceAll(head[2:], []byte{0}, nil) // UTF-16 of plain letters
	}
	for _, c := range head {
		if c < ' ' && strings.IndexByte("\t\n\v\f\r\x1b", c) < 0 {
			return ""
		}
	}
	text := strings.ToLower(strings.TrimSpace(string(head)))
	switch {
	case strings.HasPrefix(text, "<svg"), strings.HasPrefix(text, "<") && strings.Contains(text, "<svg") && !strings.Contains(text, "<html"):
		return "SVG"
	case strings.HasPrefix(text, "<") && (strings.Contains(text, "<!doctype html") || strings.Contains(text, "<html") ||
		strings.Contains(text, "<head") || strings.Contains(text, "<body")):
		return "HTML"
	case strings.HasPrefix(text, "<?xml"):
		return "XML"
	case strings.HasPrefix(text, "{"), strings.HasPrefix(text, "["):
		return "JSON"
	}
	return "text"
}

package imageprep

import (
	"encoding/base64"
	"net/url"
	"strings"
)

// FromText decodes a picture that came as text: base64 in either alphabet, with or without padding
// and line breaks, alone or in a data URL. What the URL says about its type is not believed; the
// content decides.
//
// Text never names a picture here. What looks like a URL or a path is ErrUnsupported, and nothing is
// opened or fetched. Text that is not base64 is ErrCorrupt; otherwise errors are those of [Decode].
func FromText(text string, opts DecodeOptions) (*Picture, error) {
	if err := opts.checkBytes(int64(len(text) / 4 * 3)); err != nil {
		return nil, err
	}
	text = strings.TrimSpace(text)
	payload, err := textPayload(text)
	if err != nil {
		return nil, err
	}
	return Decode(payload, opts)
}

func textPayload(text string) ([]byte, error) {
	const scheme = "data:"
	if len(text) < len(scheme) || !strings.EqualFold(text[:len(scheme)], scheme) {
		if what := reference(text); what != "" {
			return nil, fault(ErrUnsupported, "", "the text looks like a %s; pictures as text are base64 or a data URL", what)
		}
		return unbase64(text)
	}
	head, body, ok := strings.Cut(text[len(scheme):], ",")
	if !ok {
		return nil, fault(ErrCorrupt, "", "a data URL without a comma")
	}
	if strings.Contains(body, "%") {
		plain, err := url.PathUnescape(body)
		if err != nil {
			return nil, fault(ErrCorrupt, "", "a data URL: %v", err)
		}
		body = plain
	}
	parameters := strings.Split(head, ";")
	if last := parameters[len(parameters)-1]; !strings.EqualFold(strings.TrimSpace(last), "base64") {
		return []byte(body), nil
	}
	return unbase64(body)
}

// reference says whether text names a picture instead of being one: "URL", "path" or "". A slash
// says nothing, it is a letter of base64 (a JPEG begins with /9j/).
func reference(text string) string {
	switch {
	case strings.Contains(text, "://"), strings.HasPrefix(text, "//"):
		return "URL"
	case strings.ContainsAny(text, `.\~:%?&`):
		return "path or a URL"
	}
	return ""
}

func unbase64(text string) ([]byte, error) {
	text = strings.Map(func(r rune) rune {
		switch r {
		case ' ', '\t', '\r', '\n', '\v', '\f':
			return -1
		case '-': // the URL alphabet
			return '+'
		case '_':
			return '/'
		}
		return r
	}, text)
	data, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(text, "="))
	if err != nil {
		return nil, fault(ErrCorrupt, "", "the text is not base64: %v", err)
	}
	return data, nil
}

package imageprep

import (
	"errors"
	"fmt"
)

// Kinds of fault, for errors.Is. An [*Error] of that kind carries the details.
var (
	ErrTruncated   = errors.New("picture truncated")   // the data ends too early
	ErrCorrupt     = errors.New("picture corrupt")     // the data contradicts its format
	ErrUnsupported = errors.New("picture unsupported") // a format or feature that is not read here
	ErrTooLarge    = errors.New("picture too large")   // over MaxPixels or MaxBytes

	// ErrConfig: preprocessor_config.json lacks a key, or a value makes no sense. What is valid but
	// not implemented is ErrUnsupported instead. [*ConfigError] names the key.
	ErrConfig = errors.New("invalid image preprocessing config")
)

// Error says what is wrong with a picture.
type Error struct {
	Kind          error  // one of the sentinels above
	Format        string // "PNG", "JPEG", ...; what was detected; "" if nothing was
	Detail        string
	Width, Height int // pixels, as the header claims; 0 if not known
}

func (e *Error) Error() string {
	text := e.Kind.Error()
	if e.Format != "" {
		text += ": " + e.Format
	}
	if e.Width != 0 || e.Height != 0 {
		text += fmt.Sprintf(" of %d x %d", e.Width, e.Height)
	}
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	return text
}

// Unwrap gives the kind.
func (e *Error) Unwrap() error { return e.Kind }

// ConfigError names the key of preprocessor_config.json that is missing, makes no sense (Kind
// [ErrConfig]) or asks for something that is not implemented (Kind [ErrUnsupported]).
type ConfigError struct {
	Kind   error
	Key    string
	Detail string
}

func (e *ConfigError) Error() string {
	if e.Key == "" {
		return fmt.Sprintf("%v: %s", e.Kind, e.Detail)
	}
	return fmt.Sprintf("%v: %s: %s", e.Kind, e.Key, e.Detail)
}

// Unwrap gives the kind.
func (e *ConfigError) Unwrap() error { return e.Kind }

func fault(kind error, format, detail string, args ...any) *Error {
	return &Error{Kind: kind, Format: format, Detail: fmt.Sprintf(detail, args...)}
}

// guard runs f, which calls a decoder on untrusted data, and turns a panic into ErrCorrupt.
func guard(format string, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fault(ErrCorrupt, format, "the decoder failed: %v", p)
		}
	}()
	return f()
}

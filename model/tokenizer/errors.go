package tokenizer

import (
	"cmp"
	"errors"
	"fmt"
)

var (
	// ErrFormat is behind every [FormatError].
	ErrFormat = errors.New("malformed tokenizer file")
	// ErrUnsupported is behind every [UnsupportedError].
	ErrUnsupported = errors.New("unsupported tokenizer")
	// ErrUnknownID is behind every [UnknownIDError].
	ErrUnknownID = errors.New("unknown token id")
	// ErrTooLong is given for a text whose positions do not fit 31 bits.
	ErrTooLong = errors.New("text too long to encode")
)

// FormatError says what is wrong with a tokenizer's file, and in which part of it.
type FormatError struct {
	File  string // empty: tokenizer.json
	Where string // such as "model.merges[3]"
	What  string
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("%v: %s: %s: %s", ErrFormat, cmp.Or(e.File, FileName), e.Where, e.What)
}

func (e *FormatError) Unwrap() error { return ErrFormat }

// UnsupportedError names a rule of a tokenizer's file that is not implemented. Encoding without it
// would give other ids than the model was trained on, so loading fails instead.
type UnsupportedError struct {
	File  string // empty: tokenizer.json
	Where string // such as "pre_tokenizer"
	What  string
}

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("%v: %s: %s: %s", ErrUnsupported, cmp.Or(e.File, FileName), e.Where, e.What)
}

func (e *UnsupportedError) Unwrap() error { return ErrUnsupported }

// UnknownIDError is an id that stands for no token.
type UnknownIDError struct {
	ID        int32
	VocabSize int
}

func (e *UnknownIDError) Error() string {
	return fmt.Sprintf("%v %d: the vocabulary has ids below %d", ErrUnknownID, e.ID, e.VocabSize)
}

func (e *UnknownIDError) Unwrap() error { return ErrUnknownID }

func malformed(where, format string, args ...any) error {
	return &FormatError{Where: where, What: fmt.Sprintf(format, args...)}
}

func unsupported(where, format string, args ...any) error {
	return &UnsupportedError{Where: where, What: fmt.Sprintf(format, args...)}
}

// Package daulet encodes with the Rust library that tokenizer.json files come from, through
// github.com/daulet/tokenizers. It gives the same ids as package tokenizer, which needs no Rust and no
// cgo; it is for those who want the reference itself, and for the tests that compare the two.
//
// It is opt-in, so that a program which only fetched this module links without a Rust library:
//
//	tools/build-tokenizers.sh                          # needs cargo; makes build/tokenizers/libtokenizers.a
//	CGO_LDFLAGS=-L$PWD/build/tokenizers go build -tags daulet ./...
//
// In a program of your own, build libtokenizers.a of the same version of github.com/daulet/tokenizers,
// name its folder in CGO_LDFLAGS, and set the tag daulet. Without the tag, or without cgo, [Load]
// returns [ErrNotBuilt].
package daulet

import "errors"

var (
	// ErrNotBuilt is given by a program built without the tag daulet or without cgo.
	ErrNotBuilt = errors.New("the Rust tokenizer is not built in: build with cgo and -tags daulet, or use package tokenizer")
	// ErrClosed is given after Close.
	ErrClosed = errors.New("the tokenizer is closed")
	// ErrEncode is given where the library reports that it could not encode a text; it does not say why.
	ErrEncode = errors.New("the Rust tokenizer failed on a text")
)

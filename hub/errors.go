package hub

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

var (
	ErrRef          = errors.New("not a model of the hub: hf:ORG/NAME[@REVISION][:FILE]")
	ErrOffline      = errors.New("not in the cache, and the hub may not be asked")
	ErrNotFound     = errors.New("no such model, revision or file")         // 404
	ErrUnauthorized = errors.New("not there, or a token is needed")         // 401
	ErrForbidden    = errors.New("the token does not open it")              // 403: gated
	ErrRateLimited  = errors.New("the server wants fewer requests")         // 429, after all attempts
	ErrDigest       = errors.New("the bytes that came are others")          // and none of them was kept
	ErrSize         = errors.New("the server sent another number of bytes") // than the list of files says
	ErrProtocol     = errors.New("the server's answer makes no sense")
	ErrFiles        = errors.New("no single model among the files")
)

// StatusError is an answer that is no success. errors.Is finds ErrNotFound and the like in it.
type StatusError struct {
	Address    string
	Code       int
	Text       string        // what the server says about it, one line
	RetryAfter time.Duration // the server's wish, 0 without one
}

func (e *StatusError) Error() string {
	text := fmt.Sprintf("%s: status %d %s", e.Address, e.Code, http.StatusText(e.Code))
	if kind := e.kind(); kind != nil {
		text = kind.Error() + ": " + text
	}
	if e.Text != "" {
		text += ": " + e.Text
	}
	return text
}

func (e *StatusError) Is(target error) bool { return target != nil && target == e.kind() }

func (e *StatusError) kind() error {
	switch e.Code {
	case http.StatusNotFound:
		return ErrNotFound
	case http.StatusUnauthorized:
		return ErrUnauthorized
	case http.StatusForbidden:
		return ErrForbidden
	case http.StatusTooManyRequests:
		return ErrRateLimited
	}
	return nil
}

// maxRetryAfter bounds what a server can make a caller wait between two attempts.
const maxRetryAfter = time.Minute

func newStatusError(address string, r *http.Response) *StatusError {
	e := &StatusError{Address: address, Code: r.StatusCode, Text: r.Header.Get("X-Error-Message")}
	if e.Text == "" {
		body, _ := io.ReadAll(io.LimitReader(r.Body, 200)) // what is there will do
		e.Text, _, _ = strings.Cut(strings.TrimSpace(string(body)), "\n")
	}
	if seconds, err := strconv.Atoi(r.Header.Get("Retry-After")); err == nil && seconds > 0 {
		e.RetryAfter = min(time.Duration(min(seconds, 3600))*time.Second, maxRetryAfter)
	}
	return e
}

// temporary says whether another attempt may end otherwise: cut connections, busy and broken
// servers. What a server states for good, and bytes that are wrong, will stay.
func temporary(err error) bool {
	var status *StatusError
	if errors.As(err, &status) {
		return status.Code == http.StatusTooManyRequests || status.Code == http.StatusRequestTimeout || status.Code >= 500
	}
	for _, final := range []error{ErrDigest, ErrProtocol, ErrSize, errLocal} {
		if errors.Is(err, final) {
			return false
		}
	}
	return true
}

// errLocal marks a failure of this machine's own files.
var errLocal = errors.New("cache")

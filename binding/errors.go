package binding

import (
	"errors"
	"fmt"
	"strings"
)

// Sentinels for errors.Is. The returned errors say what and where around them.
var (
	ErrInvalidArgument = errors.New("invalid argument")    // a shape, range, id or alias that does not fit
	ErrUnsupported     = errors.New("unsupported")         // no such kernel, type, device or platform
	ErrOutOfMemory     = errors.New("out of memory")       // nothing was allocated
	ErrBusy            = errors.New("busy")                // held by a live graph, or a capture is open
	ErrCancelled       = errors.New("cancelled")           // stopped by Context.Cancel; the context is usable
	ErrBadValue        = errors.New("bad value on device") // see FaultError
	ErrDeviceLost      = errors.New("device lost")         // every later call on the context returns it
	ErrInternal        = errors.New("internal error")      // a fault of the library
	ErrClosed          = errors.New("closed")              // used after Close
	ErrABIMismatch     = errors.New("incompatible library")
	ErrNoLibrary       = errors.New("no backend library")
	ErrMissingSymbols  = errors.New("functions missing from the library")
)

var statusErrors = [...]error{
	StatusInvalidArgument: ErrInvalidArgument, StatusUnsupported: ErrUnsupported,
	StatusOutOfMemory: ErrOutOfMemory, StatusBusy: ErrBusy, StatusCancelled: ErrCancelled,
	StatusBadValue: ErrBadValue, StatusDeviceLost: ErrDeviceLost, StatusInternal: ErrInternal,
}

// sentinel is the error a status stands for. A status that a newer library added is a fault we
// can only report as it is.
func (s Status) sentinel() error {
	if s > 0 && int(s) < len(statusErrors) {
		return statusErrors[s]
	}
	return ErrInternal
}

func (s Status) String() string {
	switch {
	case s == StatusOK:
		return "ok"
	case s > 0 && int(s) < len(statusErrors):
		return statusErrors[s].Error()
	}
	return fmt.Sprintf("status %d", int32(s))
}

// Error is a call that the library did not carry out, or work that failed before a call that
// waits. errors.Is finds the sentinel of its status.
type Error struct {
	Op     string // the function without its prefix: "linear", "buffer_read"
	Status Status
	Text   string // the library's own words, may be empty
}

func (e *Error) Error() string {
	if e.Text == "" {
		return e.Op + ": " + e.Status.String()
	}
	return e.Op + ": " + e.Status.String() + ": " + e.Text
}

func (e *Error) Unwrap() error { return e.Status.sentinel() }

// FaultError is an [Error] of status StatusBadValue with what the device found.
// errors.Is(err, ErrBadValue).
type FaultError struct {
	Err *Error
	DeviceStatus
}

func (e *FaultError) Error() string {
	d := e.DeviceStatus
	text := fmt.Sprintf("%s (%s found %s: index %d, value %d", e.Err, d.OpName(), d.Fault, d.Index, d.Value)
	if d.Stage != 0 {
		text += fmt.Sprintf(", stage %d", d.Stage)
	}
	return text + ")"
}

func (e *FaultError) Unwrap() error { return e.Err }

// LoadError is a library that [Open] refused.
type LoadError struct {
	Path string
	Err  error
}

func (e *LoadError) Error() string { return e.Path + ": " + e.Err.Error() }
func (e *LoadError) Unwrap() error { return e.Err }

// ABIError says where the library's idea of the C interface and ours part.
// errors.Is(err, ErrABIMismatch).
type ABIError struct {
	Library ABIVersion // 0: the library has no l3v_abi_version
	Want    ABIVersion // the lowest version this package accepts
	Detail  string     // what differs
}

func (e *ABIError) Error() string { return ErrABIMismatch.Error() + ": " + e.Detail }
func (e *ABIError) Unwrap() error { return ErrABIMismatch }

// SymbolsError names every function of the C interface that a library lacks.
// errors.Is(err, ErrMissingSymbols).
type SymbolsError struct {
	Names []string
}

func (e *SymbolsError) Error() string {
	return ErrMissingSymbols.Error() + ": " + strings.Join(e.Names, ", ")
}
func (e *SymbolsError) Unwrap() error { return ErrMissingSymbols }

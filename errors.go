package llama3v

import (
	"context"
	"errors"
	"fmt"

	"github.com/llama3v/llama3v/binding"
	"github.com/llama3v/llama3v/model/chat"
	"github.com/llama3v/llama3v/model/imageprep"
	"github.com/llama3v/llama3v/model/llama"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/weights"
)

// Errors for errors.Is. Texts of returned errors say what and where; these say which kind.
var (
	ErrNoBackend   = binding.ErrNoLibrary   // no backend library was found; the text is the command that builds one
	ErrABIMismatch = binding.ErrABIMismatch // a library speaks another version of the C interface
	ErrShape       = ops.ErrShape           // sizes that do not fit together
	ErrUnsupported = binding.ErrUnsupported // a model, type or option that this version or backend does not have
	ErrOutOfMemory = binding.ErrOutOfMemory // see MemoryError for the numbers
	ErrClosed      = binding.ErrClosed      // used after Close
	ErrCancelled   = binding.ErrCancelled   // stopped on the device; errors.Is finds the context's error, too

	ErrMissingTensor = weights.ErrMissingTensor // all missing names are in the text
	ErrContextFull   = llama.ErrContextFull     // prompt and pictures need more positions than there are

	ErrPictureTruncated   = imageprep.ErrTruncated
	ErrPictureCorrupt     = imageprep.ErrCorrupt
	ErrPictureUnsupported = imageprep.ErrUnsupported
	ErrPictureTooLarge    = imageprep.ErrTooLarge

	ErrPictureCount = chat.ErrImages             // the prompt has more or fewer places than there are pictures
	ErrNotFinite    = errors.New("not finite")   // NaN or infinity out of a stage; see NotFiniteError
	ErrEmptyPrompt  = errors.New("empty prompt") // no text to answer, with or without pictures
	ErrOption       = errors.New("invalid option")
)

// MemoryError says what the plan needs and what there is. errors.Is(err, ErrOutOfMemory).
type MemoryError struct {
	Plan      Plan
	Available int64 // bytes
	Limit     bool  // Available is the caller's own limit, not the device's free memory
}

func (e *MemoryError) Error() string {
	what := "are free"
	if e.Limit {
		what = "are allowed"
	}
	return fmt.Sprintf("out of memory: the model needs %d bytes (%s), %d %s", e.Plan.Total(), e.Plan, e.Available, what)
}

func (e *MemoryError) Is(target error) bool { return target == ErrOutOfMemory }

// NotFiniteError names the stage whose output held NaN or infinity: "vision tower", "projector",
// "logits" or "text tower". errors.Is(err, ErrNotFinite).
type NotFiniteError struct {
	Stage string
	Row   int64
	cause error
}

func (e *NotFiniteError) Error() string {
	return fmt.Sprintf("not finite: the output of the %s has NaN or infinity in row %d", e.Stage, e.Row)
}

func (e *NotFiniteError) Is(target error) bool { return target == ErrNotFinite }
func (e *NotFiniteError) Unwrap() error        { return e.cause }

// endedError is what an ended context stopped. Its text is the cause alone; errors.Is finds the
// cause, the context's own error, and what the stop looked like from below.
type endedError struct{ cause, ended, below error }

func (e *endedError) Error() string   { return e.cause.Error() }
func (e *endedError) Unwrap() []error { return []error{e.cause, e.ended, e.below} }

// ended explains an err that ctx's end brought about, and gives every other err as it is.
func ended(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	if err == nil || cause == nil || !errors.Is(err, cause) && !errors.Is(err, ErrCancelled) {
		return err
	}
	return &endedError{cause, ctx.Err(), err}
}

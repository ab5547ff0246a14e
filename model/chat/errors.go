package chat

import (
	"errors"
	"fmt"
)

var (
	// ErrNoTemplate is given for a model folder without a chat template.
	ErrNoTemplate = errors.New("the model has no chat template")
	// ErrTemplate is behind every [TemplateError].
	ErrTemplate = errors.New("chat template")
	// ErrTooMuch is also behind a [TemplateError] where a template wanted more work, text or nesting
	// than any prompt needs.
	ErrTooMuch = errors.New("more than a template may take")
	// ErrRaised is also behind a [TemplateError] where the template itself refused the conversation,
	// for instance because turns do not alternate.
	ErrRaised = errors.New("the template refuses the conversation")
	// ErrImages is behind every [ImagesError].
	ErrImages = errors.New("pictures and places for them differ")
	// ErrNoImages is given for a picture in a message when the template can only show text.
	ErrNoImages = errors.New("the chat template cannot show pictures")
	// ErrMismatch is given where the tokenizer does not have the special tokens that the template
	// was made with.
	ErrMismatch = errors.New("tokenizer and chat template do not belong together")
	// ErrConfig is given for files around the template that make no sense.
	ErrConfig = errors.New("malformed chat configuration")
)

// TemplateError is a template that cannot be parsed or run.
type TemplateError struct{ Cause error }

func (e *TemplateError) Error() string   { return fmt.Sprintf("%v: %v", ErrTemplate, e.Cause) }
func (e *TemplateError) Unwrap() []error { return []error{ErrTemplate, e.Cause} }

// ImagesError says that a template rendered more or fewer places than the messages have pictures.
type ImagesError struct{ Images, Slots int }

func (e *ImagesError) Error() string {
	return fmt.Sprintf("%v: the messages have %d, the rendered prompt has %d", ErrImages, e.Images, e.Slots)
}

func (e *ImagesError) Unwrap() error { return ErrImages }

package vlm

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/llama3v/llama3v/binding"
)

// FamilyError: the config asks for a kind of model that this version does not have. It is
// binding.ErrUnsupported.
type FamilyError struct {
	File      string
	ModelType string
	Projector string // set when the model type is known and its projector is not
}

func (e *FamilyError) Error() string {
	if e.Projector != "" {
		return fmt.Sprintf("%s: projector type %q of model type %q is not supported (llama3v_sa2 is)", e.File, e.Projector, e.ModelType)
	}
	return fmt.Sprintf("%s: model type %q is not supported (%s are)", e.File, e.ModelType, strings.Join(slices.Sorted(maps.Keys(families)), ", "))
}

func (e *FamilyError) Unwrap() error { return binding.ErrUnsupported }

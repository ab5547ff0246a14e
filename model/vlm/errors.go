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

	// What of a known model type is not supported: at most one is set.
	Projector string // its projector type
	Tower     string // its vision tower's type or name
	Decoder   string // its decoder's type
	Feature   string // something else
}

func (e *FamilyError) Error() string {
	part := func(what, value, supported string) string {
		return fmt.Sprintf("%s: %s %q of model type %q is not supported (%s)", e.File, what, value, e.ModelType, supported)
	}
	switch {
	case e.Projector != "" && e.ModelType == "llama3v":
		return part("projector type", e.Projector, "llama3v_sa2 is")
	case e.Projector != "" && e.ModelType == "clip":
		return part("projector type", e.Projector, "mlp and idefics3 are")
	case e.Projector != "":
		return part("projector type", e.Projector, "linear and mlp2x_gelu are")
	case e.Tower != "":
		return part("vision tower", e.Tower, "SigLIP and CLIP are")
	case e.Decoder != "":
		return part("decoder", e.Decoder, "llama is")
	case e.Feature != "":
		return fmt.Sprintf("%s: %s of model type %q is not supported", e.File, e.Feature, e.ModelType)
	}
	return fmt.Sprintf("%s: model type %q is not supported (%s are)", e.File, e.ModelType, strings.Join(slices.Sorted(maps.Keys(families)), ", "))
}

func (e *FamilyError) Unwrap() error { return binding.ErrUnsupported }

package llama3v

import (
	"fmt"

	"github.com/llama3v/llama3v/model/siglip"
	"github.com/llama3v/llama3v/model/vlm"
)

// SlicePositions is the rule by which the patches of a slice take their positions from the tower's
// table, in models that cut pictures into slices (MiniCPM-Llama3-V 2.5). The two readings of that
// model that are in use give other answers.
type SlicePositions string

const (
	// SliceRow is the authors' own code, and the default: a slice's patches lie along the table's
	// first row, one behind the other.
	SliceRow SlicePositions = "row"
	// Slice2D spreads rows and columns over the table, each by itself, as llama.cpp does.
	Slice2D SlicePositions = "2d"
)

// WithSlicePositions sets the rule. Models without slices have none, and ignore it.
func WithSlicePositions(rule SlicePositions) Option {
	return func(c *config) error {
		switch rule {
		case SliceRow, Slice2D:
			c.slicePositions = rule
			return nil
		}
		return fmt.Errorf("%w: slice positions %q (row, 2d)", ErrOption, rule)
	}
}

// place brings the option into a model's config.
func (c *config) place(mc *vlm.Config) {
	if mc.Vision != nil && mc.Vision.Positions == siglip.RowPositions && c.slicePositions == Slice2D {
		mc.Vision.Positions = siglip.BucketPositions
	}
}

package llama3v

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/llama3v/llama3v/model/imageprep"
)

// prep reads how pictures become the tower's input, and holds it against what tower and family take. A
// family whose checkpoints come without preprocessor_config.json brings its own.
func (f *files) prep() (*imageprep.Config, error) {
	text, where, err := f.preprocessor()
	var p *imageprep.Config
	if errors.Is(err, fs.ErrNotExist) {
		if p, where = f.familyPrep(), "the family"; p == nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	} else if p, err = imageprep.ParseConfig(text); err != nil {
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	if f.config.PadSquare { // then nothing is left to crop
		p.PadSquare = true
	}
	return p, f.checkPrep(p, where)
}

// familyPrep is what the families do whose code has it, and not a file. nil: such a file has to be there.
func (f *files) familyPrep() *imageprep.Config {
	c := f.config
	switch c.Family {
	case "minicpmv":
		return imageprep.MiniCPM25(c.SliceEdge, c.Vision.Patch, c.Slices)
	case "bunny-llama", "llava_llama", "llamavision":
		if c.Vision.Class {
			return imageprep.CLIP(c.Vision.ImageSize)
		}
		return imageprep.SigLIP(c.Vision.ImageSize)
	}
	return nil
}

func (f *files) checkPrep(p *imageprep.Config, where string) error {
	vision, family := f.config.Vision, f.config.Family
	tiles, slices := family == "idefics3" || family == "smolvlm", family == "minicpmv"
	height, width := p.Size()
	switch {
	case p.Tiles != nil && !tiles, p.Slices != nil && !slices:
		return fmt.Errorf("%w: %s cuts pictures, models of type %s take them whole", ErrShape, where, family)
	case p.Slices == nil && slices:
		return fmt.Errorf("%w: %s makes pictures of one size, models of type %s take slices", ErrShape, where, family)
	case p.Slices != nil && (p.Slices.Patch != vision.Patch || p.Slices.MostPatches() > vision.MostPatches):
		return fmt.Errorf("%w: %s makes slices of about %d pixels in patches of %d, the tower takes up to %d patches of %d",
			ErrShape, where, p.Slices.Edge, p.Slices.Patch, vision.MostPatches, vision.Patch)
	case p.Slices == nil && (height != vision.ImageSize || width != vision.ImageSize):
		return fmt.Errorf("%w: %s makes pictures of %d x %d, the tower takes %d x %d", ErrShape, where, height, width, vision.ImageSize, vision.ImageSize)
	}
	return nil
}

package vlm

import (
	"errors"
	"io/fs"
	"math"
	"slices"

	"github.com/llama3v/llama3v/model/llama"
	"github.com/llama3v/llama3v/model/projector"
	"github.com/llama3v/llama3v/model/siglip"
	"github.com/llama3v/llama3v/model/weights"
)

// Config is a whole model's config. Vision, Projector and Text are nil where the model has none.
type Config struct {
	Family    string // model_type
	Vision    *siglip.Config
	Projector projector.Config
	Text      *llama.Config
	Words     *siglip.TextConfig // SigLIP's text tower, which a checkpoint may lack

	Features   siglip.Features // the tower's output that the projector reads
	ImageToken int32           // the id that marks a picture in a prompt, -1 without one (no table has -200, LLaVA's)
	BOS        int32           // the id a prompt begins with, -1 without one
	EOS        []int32         // every id that ends an answer, from all config files, sorted
	Generation *Generation     // how the model wants to be sampled; nil without generation_config.json

	PadSquare bool // pictures are padded to a square with the mean colour first; LLaVA's own form has that here
	// SliceEdge and Slices are the pixels along a slice and the most slices of a picture, in a family that cuts
	// slices: a checkpoint need not say them elsewhere. 0 in others.
	SliceEdge, Slices int

	names names
	tower string // the folder of a tower that was published apart, see WithTower
}

// names are where a family keeps its parts in a checkpoint: prefixes, any one of each list.
type names struct {
	vision, projector, decoder, head []string
	ignore                           []string
}

// ReadConfig reads config.json and generation_config.json, and checks the parts against each other.
// Nothing else of the model is read before this succeeds.
//
// Errors: fs.ErrNotExist, weights.ErrConfig (each faulty key with its file), and ErrUnsupported for a
// model type that this version does not have.
func ReadConfig(fsys fs.FS) (*Config, error) {
	file, err := weights.ReadConfig(fsys, "config.json")
	if err != nil {
		return nil, err
	}
	c := &Config{Family: file.String("model_type"), ImageToken: -1, BOS: -1}
	read, ok := families[c.Family]
	if file.Err() == nil && !ok {
		return nil, &FamilyError{File: "config.json", ModelType: c.Family}
	}
	if file.Err() == nil {
		if err := read(c, file); err != nil {
			return nil, err
		}
	}
	if file.Err() == nil && c.Text != nil && int(c.ImageToken) >= c.Text.Vocab {
		key := "image_token_index"
		if !file.Has(key) {
			key = "image_token_id"
		}
		file.Fail(key, "is %d, the vocabulary has %d", c.ImageToken, c.Text.Vocab)
	}
	if err := file.Err(); err != nil {
		return nil, err
	}
	if err := c.readEnds(fsys, file); err != nil {
		return nil, err
	}
	return c, nil
}

// readEnds takes the union of the ends that all config files name (a number or a list each): a file
// that lists just one of two is common.
func (c *Config) readEnds(fsys fs.FS, file *weights.Config) error {
	sources := []*weights.Config{file}
	if file.Has("text_config") {
		sources = append(sources, file.Object("text_config"))
	}
	generation, err := weights.ReadConfig(fsys, "generation_config.json")
	switch {
	case err == nil:
		sources = append(sources, generation)
		c.Generation = readGeneration(generation)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	for _, source := range sources {
		for _, id := range source.Ints("eos_token_id", 0, math.MaxInt32) {
			c.EOS = append(c.EOS, int32(id))
		}
		for _, id := range source.Ints("bos_token_id", 0, math.MaxInt32) {
			if c.BOS < 0 { // the first file that names one
				c.BOS = int32(id)
			}
		}
		if err := source.Err(); err != nil {
			return err
		}
	}
	slices.Sort(c.EOS)
	c.EOS = slices.Compact(c.EOS)
	return nil
}

// families are the readers by model_type. A reader leaves faults in the file; its error is a
// *FamilyError.
var families = map[string]func(*Config, *weights.Config) error{
	"llama3v":             readLlama3V,
	"llava":               readLLaVA,
	"bunny-llama":         readBunny,
	"llava_llama":         readBunny,
	"llamavision":         readVisionAlpha,
	"idefics3":            readIdefics3,
	"smolvlm":             readIdefics3,
	"minicpmv":            readMiniCPM,
	"llama":               readLlama,
	"siglip":              readSigLIP,
	"siglip_vision_model": readSigLIPVision,
}

package imageprep

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// Config is what preprocessor_config.json says: how a picture becomes the tensor that a tower takes.
// The steps run in the order of the fields.
type Config struct {
	// PadSquare puts the picture into the middle of a square first, on a background of the channel
	// means (255*mean, rounded down). LLaVA's processor has it as do_pad; Bunny and the original
	// LLaVA as "image_aspect_ratio": "pad" in config.json, so that their loaders set it here.
	PadSquare bool

	// Width and Height are the size that the picture is squashed to. With ShortestEdge instead, its
	// shorter side becomes that, the other one keeps the ratio (rounded down), and the crop follows.
	Width, Height int
	ShortestEdge  int
	Resample      Filter

	// CropWidth and CropHeight are what is cut out of the middle; 0: no crop.
	CropWidth, CropHeight int

	// Tiles and Slices cut a picture into several tensors instead of the steps above; see [Config.Views].
	Tiles  *Tiles
	Slices *Slices

	Rescale       bool // samples times RescaleFactor
	RescaleFactor float64
	Normalize     bool // (sample - mean) / std, by channel
	Mean, Std     [3]float64
}

// maxSide bounds the model's picture size, which is far below it: what a config asks for is
// allocated.
const maxSide = 8192

// families are the processors that are implemented, by the value of image_processor_type without
// "ImageProcessor", "FeatureExtractor" and "Fast".
var families = map[string]struct {
	squareSize bool // a size that is one number means a square, not the shortest edge
	pads       bool // do_pad means a square
	tiles      bool // cuts tiles
	slices     bool // cuts slices
}{
	"Siglip":   {squareSize: true},
	"CLIP":     {},
	"Llava":    {pads: true},
	"Idefics3": {tiles: true},
	"SmolVLM":  {tiles: true},
	"MiniCPMV": {slices: true},
}

// switches are the do_ keys that are implemented, and those that are settled before: pictures here
// are RGB. Any other that is on would change the result, and is refused.
var switches = []string{"do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_pad", "do_convert_rgb"}

// ParseConfig reads preprocessor_config.json of the SigLIP, CLIP, LLaVA, Idefics3 and SmolVLM processors
// of transformers, and of MiniCPM-V 2.5's own. The constants that differ between models have to be there: size, resample,
// image_mean, image_std, and crop_size where there is a crop. Switches that are missing have the
// processors' default, on, except do_center_crop (on for CLIP and LLaVA alone) and do_pad (off); a
// missing rescale_factor is 1/255.
//
// Errors are [*ConfigError], of kind [ErrConfig] or [ErrUnsupported].
func ParseConfig(data []byte) (*Config, error) {
	p := &configParser{}
	if err := json.Unmarshal(data, &p.keys); err != nil {
		return nil, &ConfigError{Kind: ErrConfig, Detail: fmt.Sprintf("not a JSON object: %v", err)}
	}
	if p.keys == nil {
		return nil, &ConfigError{Kind: ErrConfig, Detail: "not a JSON object"}
	}
	c := p.config()
	if p.err != nil {
		return nil, p.err
	}
	return c, nil
}

// configParser reads keys until the first error, which it keeps.
type configParser struct {
	keys map[string]json.RawMessage
	err  error
}

func (p *configParser) fail(kind error, key, detail string, args ...any) {
	if p.err == nil {
		p.err = &ConfigError{Kind: kind, Key: key, Detail: fmt.Sprintf(detail, args...)}
	}
}

func (p *configParser) config() *Config {
	key, name := "image_processor_type", ""
	if !p.has(key) && p.has("feature_extractor_type") {
		key = "feature_extractor_type" // files written before 2023
	}
	p.read(key, &name)
	base := strings.TrimSuffix(name, "Fast")
	base = strings.TrimSuffix(strings.TrimSuffix(base, "ImageProcessor"), "FeatureExtractor")
	family, ok := families[base]
	if !ok {
		p.fail(ErrUnsupported, key, "%q; read are the processors of %s", name, strings.Join(slices.Sorted(maps.Keys(families)), ", "))
	}
	for _, key := range slices.Sorted(maps.Keys(p.keys)) {
		known := slices.Contains(switches, key) || family.tiles && key == "do_image_splitting"
		if strings.HasPrefix(key, "do_") && !known && string(p.keys[key]) == "true" {
			p.fail(ErrUnsupported, key, "an unknown step")
		}
	}

	if family.slices {
		return p.slices()
	}
	if family.tiles {
		return p.tiles()
	}
	c := &Config{PadSquare: p.on("do_pad", false)}
	if c.PadSquare && !family.pads {
		p.fail(ErrUnsupported, "do_pad", "%s does not pad to a square", name)
	}
	if !p.on("do_resize", true) {
		p.fail(ErrUnsupported, "do_resize", "off: the tensor would have the size of the picture")
	}
	p.size(c, family.squareSize)
	p.filter(c)
	if c.Resample == Nearest && c.ShortestEdge > 0 {
		p.fail(ErrUnsupported, "resample", "0 (nearest) with a shortest edge")
	}
	if p.on("do_center_crop", base == "CLIP" || base == "Llava") {
		p.crop(c)
	} else if c.ShortestEdge > 0 {
		p.fail(ErrUnsupported, "do_center_crop", "off: the tensor would have the ratio of the picture")
	}

	p.levels(c)
	if c.PadSquare {
		for _, v := range c.Mean {
			if v < 0 || v > 1 {
				p.fail(ErrConfig, "image_mean", "%v is no background: not within 0 and 1", c.Mean)
			}
		}
	}
	return c
}

// tiles reads what the Idefics3 and SmolVLM processors have. do_pad is about several pictures of one batch,
// which are single here.
func (p *configParser) tiles() *Config {
	c := &Config{Tiles: &Tiles{Whole: !p.on("do_image_splitting", true)}}
	if !p.on("do_resize", true) {
		p.fail(ErrUnsupported, "do_resize", "off: tiles would have any size")
	}
	c.Tiles.LongestEdge, c.Tiles.Edge = p.longest("size"), p.longest("max_image_size")
	if p.err == nil && min(c.Tiles.LongestEdge, tiledMost) > mostTiles*c.Tiles.Edge {
		p.fail(ErrUnsupported, "max_image_size", "tiles of %d, of a picture of %d: over %d along a side", c.Tiles.Edge, c.Tiles.LongestEdge, mostTiles)
	}
	p.filter(c)
	if c.Resample == Nearest {
		p.fail(ErrUnsupported, "resample", "0 (nearest) with tiles")
	}
	p.levels(c)
	return c
}

// longest reads a size that is {"longest_edge": n}.
func (p *configParser) longest(key string) int {
	sides := p.sides(key)
	if sides == nil {
		return 1 // failed
	}
	if len(sides) != 1 || sides["longest_edge"] < 1 {
		p.fail(ErrUnsupported, key, "%s", p.keys[key])
		return 1
	}
	return sides["longest_edge"]
}

// slices reads what MiniCPM-V 2.5's own processor has; its resampling is bicubic, its factor 1/255.
func (p *configParser) slices() *Config {
	c := &Config{Slices: &Slices{}, Resample: Bicubic, Rescale: true, RescaleFactor: 1.0 / 255, Normalize: true}
	if version := 2.5; p.has("version") {
		if p.read("version", &version); version != 2.5 {
			p.fail(ErrUnsupported, "version", "%v; 2.5 is read", version)
		}
	}
	if p.on("use_image_id", false) {
		p.fail(ErrUnsupported, "use_image_id", "on: of later versions")
	}
	p.read("scale_resolution", &c.Slices.Edge)
	p.read("patch_size", &c.Slices.Patch)
	p.read("max_slice_nums", &c.Slices.Most)
	if !p.on("slice_mode", true) {
		c.Slices.Most = 1
	}
	if s := c.Slices; p.err == nil && (s.Patch < 1 || s.Edge < s.Patch || s.Edge > maxSide) {
		p.fail(ErrConfig, "scale_resolution", "%d with patches of %d", s.Edge, s.Patch)
	}
	if s := c.Slices; p.err == nil && (s.Most < 1 || s.Most > mostTiles*mostTiles) {
		p.fail(ErrConfig, "max_slice_nums", "%d", s.Most)
	}
	c.Mean, c.Std = p.channels("norm_mean"), p.channels("norm_std")
	p.positive("norm_std", c.Std)
	return c
}

// MiniCPM25 is what MiniCPM-Llama3-V 2.5's processor does where no file says it.
func MiniCPM25(edge, patch, most int) *Config {
	half := [3]float64{0.5, 0.5, 0.5}
	return &Config{Slices: &Slices{Edge: edge, Patch: patch, Most: most}, Resample: Bicubic,
		Rescale: true, RescaleFactor: 1.0 / 255, Normalize: true, Mean: half, Std: half}
}

// SigLIP is what the processor of SigLIP's first version does, at one size.
func SigLIP(size int) *Config {
	half := [3]float64{0.5, 0.5, 0.5}
	return &Config{Width: size, Height: size, Resample: Bicubic, Rescale: true, RescaleFactor: 1.0 / 255, Normalize: true, Mean: half, Std: half}
}

// CLIP is what OpenAI's processor does, at one size.
func CLIP(size int) *Config {
	return &Config{ShortestEdge: size, CropWidth: size, CropHeight: size, Resample: Bicubic, Rescale: true, RescaleFactor: 1.0 / 255, Normalize: true,
		Mean: [3]float64{0.48145466, 0.4578275, 0.40821073}, Std: [3]float64{0.26862954, 0.26130258, 0.27577711}}
}

func (p *configParser) filter(c *Config) {
	resample := -1
	p.read("resample", &resample)
	if c.Resample = Filter(resample); c.Resample < Nearest || c.Resample > Hamming {
		p.fail(ErrUnsupported, "resample", "%d; filters are 0 to 5", resample)
	}
}

// levels reads how a sample's level becomes a number.
func (p *configParser) levels(c *Config) {
	if c.Rescale = p.on("do_rescale", true); c.Rescale {
		c.RescaleFactor = 1.0 / 255
		if p.has("rescale_factor") {
			p.read("rescale_factor", &c.RescaleFactor)
		}
		if c.RescaleFactor <= 0 {
			p.fail(ErrConfig, "rescale_factor", "%v", c.RescaleFactor)
		}
	}
	if c.Normalize = p.on("do_normalize", true); c.Normalize || c.PadSquare {
		c.Mean = p.channels("image_mean")
	}
	if c.Normalize {
		c.Std = p.channels("image_std")
		p.positive("image_std", c.Std)
	}
}

func (p *configParser) positive(key string, values [3]float64) {
	for _, v := range values {
		if v <= 0 || float32(v) == 0 {
			p.fail(ErrConfig, key, "%v; each has to be positive", values)
		}
	}
}

func (p *configParser) has(key string) bool {
	value, ok := p.keys[key]
	return ok && string(value) != "null"
}

// read decodes a key that has to be there.
func (p *configParser) read(key string, into any) {
	if !p.has(key) {
		p.fail(ErrConfig, key, "missing")
		return
	}
	if err := json.Unmarshal(p.keys[key], into); err != nil {
		p.fail(ErrConfig, key, "%s: %v", p.keys[key], err)
	}
}

func (p *configParser) on(key string, missing bool) bool {
	if !p.has(key) {
		return missing
	}
	on := false
	p.read(key, &on)
	return on
}

func (p *configParser) channels(key string) [3]float64 {
	var values []float64
	p.read(key, &values)
	if len(values) != 3 {
		p.fail(ErrConfig, key, "%d values, 3 are needed", len(values))
		return [3]float64{}
	}
	for _, v := range values {
		if math.Abs(v) > math.MaxFloat32 {
			p.fail(ErrConfig, key, "%v does not fit float32", v)
		}
	}
	return [3]float64(values)
}

func (p *configParser) size(c *Config, squareSize bool) {
	sides := p.sides("size")
	switch {
	case sides == nil:
	case len(sides) == 1 && sides[""] > 0 && squareSize:
		c.Height, c.Width = sides[""], sides[""]
	case len(sides) == 1 && sides[""] > 0:
		c.ShortestEdge = sides[""]
	case len(sides) == 2 && sides["height"] > 0 && sides["width"] > 0:
		c.Height, c.Width = sides["height"], sides["width"]
	case len(sides) == 1 && sides["shortest_edge"] > 0 && !squareSize:
		c.ShortestEdge = sides["shortest_edge"]
	default:
		p.fail(ErrUnsupported, "size", "%s", p.keys["size"])
	}
}

func (p *configParser) crop(c *Config) {
	sides := p.sides("crop_size")
	switch {
	case sides == nil:
		return
	case len(sides) == 1 && sides[""] > 0:
		c.CropHeight, c.CropWidth = sides[""], sides[""]
	case len(sides) == 2 && sides["height"] > 0 && sides["width"] > 0:
		c.CropHeight, c.CropWidth = sides["height"], sides["width"]
	default:
		p.fail(ErrUnsupported, "crop_size", "%s", p.keys["crop_size"])
	}
	if c.ShortestEdge > 0 && max(c.CropHeight, c.CropWidth) > c.ShortestEdge ||
		c.ShortestEdge == 0 && (c.CropHeight > c.Height || c.CropWidth > c.Width) {
		p.fail(ErrUnsupported, "crop_size", "%d x %d is more than the resized picture has", c.CropWidth, c.CropHeight)
	}
}

// sides reads a size: one number (under the name "") or an object of them. nil after an error.
func (p *configParser) sides(key string) map[string]int {
	if !p.has(key) {
		p.fail(ErrConfig, key, "missing")
		return nil
	}
	sides := map[string]int{}
	number := 0
	if json.Unmarshal(p.keys[key], &number) == nil {
		sides[""] = number
	} else if err := json.Unmarshal(p.keys[key], &sides); err != nil {
		p.fail(ErrConfig, key, "%s: %v", p.keys[key], err)
		return nil
	}
	for name, n := range sides {
		if n < 1 || n > maxSide {
			p.fail(ErrConfig, key, "%s: %s is not within 1 and %d", p.keys[key], strings.TrimSpace(name+" "+fmt.Sprint(n)), maxSide)
			return nil
		}
	}
	return sides
}

// Size is the height and width of the tensor, or of each tile, in pixels; 0 for slices, which have
// shapes of their own.
func (c *Config) Size() (height, width int) {
	switch {
	case c.Tiles != nil:
		return c.Tiles.Edge, c.Tiles.Edge
	case c.Slices != nil:
		return 0, 0
	case c.CropHeight > 0:
		return c.CropHeight, c.CropWidth
	case c.ShortestEdge > 0:
		return c.ShortestEdge, c.ShortestEdge
	}
	return c.Height, c.Width
}

// keyVersion changes when the same config may give another tensor.
const keyVersion = "imageprep config 1"

// Key is text that two configs share only if they make the same tensor of every picture. With
// [Picture.Digest] it tells tensors apart.
func (c *Config) Key() string {
	exact := func(v [3]float64) string { return fmt.Sprintf("%x,%x,%x", v[0], v[1], v[2]) }
	var cut string
	switch {
	case c.Tiles != nil:
		cut = fmt.Sprintf("|tiles %+v", *c.Tiles)
	case c.Slices != nil:
		cut = fmt.Sprintf("|slices %+v", *c.Slices)
	}
	return fmt.Sprintf("%s|pad %t|size %dx%d|edge %d|filter %d|crop %dx%d|rescale %t %x|normalize %t|mean %s|std %s", keyVersion,
		c.PadSquare, c.Width, c.Height, c.ShortestEdge, c.Resample, c.CropWidth, c.CropHeight,
		c.Rescale, c.RescaleFactor, c.Normalize, exact(c.Mean), exact(c.Std)) + cut
}

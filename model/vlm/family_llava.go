package vlm

import (
	"math"
	"path"
	"strings"

	"github.com/llama3v/llama3v/model/llama"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/projector"
	"github.com/llama3v/llama3v/model/siglip"
	"github.com/llama3v/llama3v/model/weights"
)

// readLLaVA is transformers' LlavaForConditionalGeneration (Liu et al. 2023, arXiv:2310.03744): a CLIP
// or SigLIP tower, the hidden state before its last layer, two linear layers with an exact GELU
// between them, a Llama decoder. A picture's patches take the place of its image token.
func readLLaVA(c *Config, file *weights.Config) error {
	c.names = names{
		vision:    []string{"vision_tower.vision_model", "model.vision_tower.vision_model"},
		projector: []string{"multi_modal_projector", "model.multi_modal_projector"},
		decoder:   []string{"language_model.model", "model.language_model"},
		head:      []string{"language_model", ""},
	}
	vision, text := file.Object("vision_config"), file.Object("text_config")
	if err := c.readTower(vision, vision.StringOr("model_type", "clip_vision_model")); err != nil {
		return err
	}
	if err := c.onlyLlama(text); err != nil {
		return err
	}
	c.readText(file, llama.ReadInnerConfig(text))
	c.Projector = &projector.MLPConfig{Layers: 2, Act: siglip.ReadActivationOr(file, "projector_hidden_act", ops.GELUErf),
		NoBias: !file.BoolOr("multimodal_projector_bias", true)}
	key := "image_token_index"
	if !file.Has(key) && file.Has("image_token_id") {
		key = "image_token_id" // the newer name
	}
	c.ImageToken = int32(file.Int(key, 0, math.MaxInt32))
	c.readLayer(file, "vision_feature_layer")
	c.readStrategy(file)
	if tokens := file.IntOr("image_seq_length", 0, 0, math.MaxInt32); file.Err() == nil && tokens > 0 && tokens != 576 && tokens != c.ViewTokens() {
		// 576 is the library's default, which many configs carry whatever their tower.
		file.Fail("image_seq_length", "is %d, the tower gives %d", tokens, c.ViewTokens())
	}
	return nil
}

// readTower reads a vision_config by the type of tower that it describes.
func (c *Config) readTower(vision *weights.Config, kind string) error {
	var tower siglip.Config
	switch kind {
	case "siglip_vision_model":
		tower = siglip.ReadConfig(vision)
	case "clip_vision_model":
		tower = siglip.ReadCLIPConfig(vision)
	default:
		return &FamilyError{File: "config.json", ModelType: c.Family, Tower: kind}
	}
	c.Vision = &tower
	return nil
}

// onlyLlama refuses a decoder of another type.
func (c *Config) onlyLlama(text *weights.Config) error {
	if kind := text.StringOr("model_type", "llama"); kind != "llama" {
		return &FamilyError{File: "config.json", ModelType: c.Family, Decoder: kind}
	}
	return nil
}

// readStrategy says what becomes of the class token: "default" drops the first token, "full" keeps
// all. SigLIP has no class token, and to drop its first patch is no one's wish. Layers above the one
// whose features count may be missing: some tools leave them out.
func (c *Config) readStrategy(file *weights.Config) {
	strategy := file.EnumOr("vision_feature_select_strategy", "default", "default", "full")
	if file.Err() != nil {
		return
	}
	if strategy == "default" && !c.Vision.Class {
		file.Fail("vision_feature_select_strategy", "is default, which drops a class token; a SigLIP tower has none and needs full")
	}
	c.Features.Patches = strategy == "default"
	c.Vision.Spare = c.Vision.Layers - c.Features.Layer
}

// readBunny is LLaVA's own form of config and names, which Bunny took over (He et al. 2024,
// arXiv:2402.11530): the decoder's keys at the top level, the tower by name. A picture stands in a
// prompt as -200, an id that no table has, between pieces of text that are tokenised one by one.
func readBunny(c *Config, file *weights.Config) error {
	c.names = names{
		vision:    []string{"model.vision_tower.vision_tower.vision_model", "model.vision_tower.vision_model"},
		projector: []string{"model.mm_projector", "mm_projector"},
		decoder:   []string{"model"},
		ignore: []string{"model.image_newline", // of a tower published with its text side:
			"model.vision_tower.vision_tower.text_model.*", "model.vision_tower.vision_tower.logit_scale", "model.vision_tower.vision_tower.logit_bias",
			"model.vision_tower.vision_tower.visual_projection.weight", "model.vision_tower.vision_tower.text_projection.weight"},
	}
	if file.BoolOr("use_s2", false) {
		return &FamilyError{File: "config.json", ModelType: c.Family, Feature: "use_s2 (features at several scales)"}
	}
	if merge := file.StringOr("mm_patch_merge_type", "flat"); merge != "flat" {
		return &FamilyError{File: "config.json", ModelType: c.Family, Feature: "mm_patch_merge_type " + merge}
	}
	switch aspect := file.StringOr("image_aspect_ratio", "square"); aspect {
	case "pad":
		c.PadSquare = true
	case "square":
	default:
		return &FamilyError{File: "config.json", ModelType: c.Family, Feature: "image_aspect_ratio " + aspect}
	}
	if err := c.readNamedTower(file); err != nil {
		return err
	}
	kind := file.String("mm_projector_type")
	layers, ok := projectorLayers(kind)
	if !ok && file.Err() == nil {
		return &FamilyError{File: "config.json", ModelType: c.Family, Projector: kind}
	}
	c.Projector = &projector.MLPConfig{Layers: layers, Act: ops.GELUErf}
	c.readText(file, llama.ReadConfig(file))
	c.ImageToken = -200
	c.readLayer(file, "mm_vision_select_layer")
	if feature := file.EnumOr("mm_vision_select_feature", "patch", "patch", "cls_patch"); file.Err() == nil {
		c.Features.Patches = feature == "patch" && c.Vision.Class
		c.Vision.Spare = c.Vision.Layers - c.Features.Layer
	}
	if width := file.IntOr("mm_hidden_size", 0, 1, 1<<16); file.Err() == nil && width > 0 && width != c.Vision.Dim {
		file.Fail("mm_hidden_size", "is %d, the tower is %d wide", width, c.Vision.Dim)
	}
	return nil
}

// projectorLayers is the number of linear layers of "linear", "mlp2x_gelu", "mlp3x_gelu", ...
func projectorLayers(kind string) (int, bool) {
	if kind == "linear" {
		return 1, true
	}
	digit, ok := strings.CutPrefix(kind, "mlp")
	digit, suffix := strings.CutSuffix(digit, "x_gelu")
	if !ok || !suffix || len(digit) != 1 || digit[0] < '1' || digit[0] > '9' {
		return 0, false
	}
	return int(digit[0] - '0'), true
}

// readNamedTower reads vision_config where there is one; without it, mm_vision_tower names a released
// tower, whose sizes are known.
func (c *Config) readNamedTower(file *weights.Config) error {
	c.tower = towerFolder(file.StringOr("mm_vision_tower", ""))
	if file.Has("vision_config") {
		vision := file.Object("vision_config")
		return c.readTower(vision, vision.String("model_type"))
	}
	name := file.String("mm_vision_tower")
	if file.Err() != nil {
		return nil
	}
	var tower siglip.Config
	switch path.Base(strings.ToLower(name)) { // a name on the hub, or the folder that someone had it in
	case "siglip-so400m-patch14-384":
		tower = siglip.SO400M384
	case "clip-vit-large-patch14-336":
		tower = siglip.CLIPL336
	default:
		return &FamilyError{File: "config.json", ModelType: c.Family, Tower: name}
	}
	c.Vision = &tower
	return nil
}

// readVisionAlpha is llama-3-vision-alpha in its transformers form: three modules of known models
// beside each other. The tower is so400m-384, its features those before the last layer.
func readVisionAlpha(c *Config, file *weights.Config) error {
	c.names = names{
		vision:    []string{"vision_model.vision_model", "vision_model"},
		projector: []string{"mm_projector.model", "mm_projector", "model.mm_projector"},
		decoder:   []string{"text_model.model"},
		head:      []string{"text_model"},
		ignore:    []string{"vision_model.text_model.*", "vision_model.logit_scale", "vision_model.logit_bias"},
	}
	tower := siglip.SO400M384
	if file.Has("vision_config") {
		vision := file.Object("vision_config")
		if vision.Has("vision_config") { // that of a SigLIP with both towers
			vision = vision.Object("vision_config")
		}
		if kind := vision.StringOr("model_type", "siglip_vision_model"); kind != "siglip_vision_model" {
			return &FamilyError{File: "config.json", ModelType: c.Family, Tower: kind}
		}
		tower = siglip.ReadConfig(vision)
	}
	text := file.Object("text_config")
	if err := c.onlyLlama(text); err != nil {
		return err
	}
	c.readText(file, llama.ReadInnerConfig(text))
	c.Vision, c.Projector = &tower, &projector.MLPConfig{Layers: 2, Act: ops.GELUErf}
	c.ImageToken = -200
	c.readLayer(file, "vision_feature_layer")
	if file.Err() == nil {
		c.Vision.Spare = c.Vision.Layers - c.Features.Layer
	}
	return nil
}

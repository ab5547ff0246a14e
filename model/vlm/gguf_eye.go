package vlm

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/projector"
	"github.com/llama3v/llama3v/model/siglip"
	"github.com/llama3v/llama3v/model/weights"
)

// The prefixes under which a GGUF model's eye is shown.
const (
	ggufVision    = "vision"
	ggufProjector = "projector"
)

// EyeRules take the place of what ReadEyeGGUF makes of an mmproj file. The zero value changes nothing.
type EyeRules struct {
	// Layers is how many of a LLaVA tower's stored layers run. llama.cpp runs one less than there are,
	// unless the file names a layer.
	Layers int
	// Activation is the tower's: ops.GELUQuick is what llama.cpp takes where use_gelu is false.
	Activation ops.Activation
}

// ReadEyeGGUF reads an mmproj file (llama.cpp's tools/mtmd/clip.cpp), the vision tower and projector
// of LLaVA's and Idefics3's forms, into the config of the text model beside it, and shows its tensors
// under the names that Declare asks for. preprocessor is what a preprocessor_config.json would say.
//
// Such files do not always say what they mean:
//
//   - Old converters leave out the layers that LLaVA does not use and say so nowhere: all layers that are
//     there run, unless clip.vision.feature_layer names one. (llama.cpp runs one less.)
//   - They exchange the names of the two layers of an MLP: shapes tell.
//   - They write use_gelu false, which stands for the quick form, for SigLIP towers too, which have the
//     tanh form. A tower without a class token whose pixels have mean and deviation 0.5 is SigLIP.
//   - The projector's GELU is the exact form, as in the published models.
//
// Where these are wrong for a file, rules say so.
//
// Errors: weights.ErrConfig, and *FamilyError for projectors that this version does not have.
func ReadEyeGGUF(g *weights.GGUF, c *Config, rules EyeRules) (cp weights.Checkpoint, preprocessor []byte, err error) {
	file := g.Metadata().Config()
	if arch := file.String("general.architecture"); file.Err() == nil && arch != "clip" {
		return nil, nil, &FamilyError{File: g.Files()[0], ModelType: arch}
	}
	v := &siglip.Config{
		Channels:  3,
		Dim:       file.Int("clip.vision.embedding_length", 1, 1<<16),
		Hidden:    file.Int("clip.vision.feed_forward_length", 1, 1<<20),
		Layers:    file.Int("clip.vision.block_count", 1, 1<<10),
		Heads:     file.Int("clip.vision.attention.head_count", 1, 1<<10),
		ImageSize: file.Int("clip.vision.image_size", 1, 1<<14),
		Patch:     file.Int("clip.vision.patch_size", 1, 1<<10),
		Eps:       float32(file.Float("clip.vision.attention.layer_norm_epsilon", 1e-20, 1)),
		Class:     g.Has("v.class_embd"),
		NoHead:    true,
	}
	mean, std := file.Floats("clip.vision.image_mean", -10, 10), file.Floats("clip.vision.image_std", 1e-6, 10)
	kind := file.StringOr("clip.vision.projector_type", file.StringOr("clip.projector_type", "mlp"))
	if err := file.Err(); err != nil {
		return nil, nil, err
	}
	if v.Dim%v.Heads != 0 {
		file.Fail("clip.vision.embedding_length", "is %d, no multiple of the %d heads", v.Dim, v.Heads)
	}
	if v.Patch > v.ImageSize {
		file.Fail("clip.vision.patch_size", "is %d, the picture's side %d", v.Patch, v.ImageSize)
	}
	if len(mean) != 3 || len(std) != 3 {
		file.Fail("clip.vision.image_mean", "and image_std have %d and %d values, not 3", len(mean), len(std))
	}
	isHalf := func(f float64) bool { return f == 0.5 }
	sigLIP := !v.Class && !slices.ContainsFunc(append(slices.Clone(mean), std...), func(f float64) bool { return !isHalf(f) })
	switch {
	case rules.Activation != ops.None:
		v.Act = rules.Activation
	case file.BoolOr("clip.use_silu", false):
		v.Act = ops.SiLU
	case file.BoolOr("clip.use_gelu", false) || sigLIP:
		v.Act = ops.GELUTanh
	default:
		v.Act = ops.GELUQuick
	}
	if err := file.Err(); err != nil {
		return nil, nil, err
	}
	aliases := eyeAliases(g, v)
	switch kind {
	case "mlp":
		err = c.readGGUFLLaVA(g, file, v, aliases, rules.Layers)
	case "idefics3":
		if rules.Layers != 0 {
			return nil, nil, &FamilyError{File: g.Files()[0], ModelType: "clip", Feature: "a number of layers with projector type idefics3"}
		}
		err = c.readGGUFIdefics3(g, file, v, aliases)
	default:
		err = &FamilyError{File: g.Files()[0], ModelType: "clip", Projector: kind}
	}
	if err = joinFault(err, file); err != nil {
		return nil, nil, err
	}
	c.Vision = v
	c.names.vision, c.names.projector = []string{ggufVision}, []string{ggufProjector}
	c.names.ignore = append(c.names.ignore, "model.image_newline", "v.image_newline")
	preprocessor, err = c.ggufPreprocessor(file, mean, std)
	return weights.Rename(g, aliases), preprocessor, err
}

// joinFault is err, or the file's faults.
func joinFault(err error, file *weights.Config) error {
	if err != nil {
		return err
	}
	return file.Err()
}

// readGGUFLLaVA: the features of one layer (run of those stored, 0: as the file says), two linear layers.
func (c *Config) readGGUFLLaVA(g *weights.GGUF, file *weights.Config, v *siglip.Config, aliases map[string]weights.Alias, run int) error {
	c.Family, c.ImageToken = "llava", -200
	layers := 0
	for ; g.Has(fmt.Sprintf("mm.%d.weight", 2*layers)); layers++ {
		for _, part := range []string{"weight", "bias"} {
			aliases[fmt.Sprintf("%s.linear_%d.%s", ggufProjector, layers+1, part)] = weights.Alias{Name: fmt.Sprintf("mm.%d.%s", 2*layers, part)}
		}
	}
	if layers == 0 || g.Has("mm.1.weight") || g.Has("mm.3.weight") {
		return &FamilyError{File: g.Files()[0], ModelType: "clip", Projector: "mlp with other layers than mm.0, mm.2, ..."}
	}
	c.Projector = &projector.MLPConfig{Layers: layers, Act: ops.GELUErf, NoBias: !g.Has("mm.0.bias")}
	wanted := file.Ints("clip.vision.feature_layer", 0, v.Layers)
	if run > v.Layers {
		file.Fail("clip.vision.block_count", "is %d, and %d layers were asked for", v.Layers, run)
	} else if run > 0 {
		wanted = []int{run}
	}
	switch {
	case len(wanted) > 1:
		return &FamilyError{File: g.Files()[0], ModelType: "clip", Feature: "clip.vision.feature_layer with several layers"}
	case file.Err() != nil:
		return nil
	case len(wanted) == 1 && wanted[0] < v.Layers || !g.Has("v.post_ln.weight"):
		layer := v.Layers
		if len(wanted) == 1 {
			layer = wanted[0]
		}
		var err error
		if c.Features, err = v.State(layer); err != nil {
			return err
		}
		v.Spare = v.Layers - layer
		if v.Spare == 0 && !g.Has("v.post_ln.weight") {
			v.Spare = 1 // no feature is taken behind the post norm
		}
	default:
		c.Features = v.LastHidden()
	}
	c.Features.Patches = v.Class
	return nil
}

// readGGUFIdefics3: the last layer behind the post norm, squares of patches, one linear layer.
func (c *Config) readGGUFIdefics3(g *weights.GGUF, file *weights.Config, v *siglip.Config, aliases map[string]weights.Alias) error {
	c.Family = "idefics3"
	scale := file.Int("clip.vision.projector.scale_factor", 1, 1<<8)
	if file.Err() != nil {
		return nil
	}
	if v.Grid()%scale != 0 {
		file.Fail("clip.vision.projector.scale_factor", "is %d, the tower has %d patches along a side, no multiple of it", scale, v.Grid())
	}
	v.Positions = siglip.BucketPositions
	c.Projector = &projector.ShuffleConfig{Scale: scale, Grid: v.Grid()}
	c.Features = v.LastHidden()
	aliases[ggufProjector+".modality_projection.proj.weight"] = weights.Alias{Name: "mm.model.fc.weight"}
	return nil
}

// eyeAliases are the names of the tower's tensors.
func eyeAliases(g *weights.GGUF, v *siglip.Config) map[string]weights.Alias {
	aliases := map[string]weights.Alias{}
	add := func(name, stored string) {
		for _, part := range []string{"weight", "bias"} {
			aliases[ggufVision+"."+name+"."+part] = weights.Alias{Name: stored + "." + part}
		}
	}
	add("embeddings.patch_embedding", "v.patch_embd")
	add("embeddings.position_embedding", "v.position_embd")
	aliases[ggufVision+".embeddings.class_embedding"] = weights.Alias{Name: "v.class_embd"}
	add("pre_layrnorm", "v.pre_ln")
	add("post_layernorm", "v.post_ln")
	for i := range v.Layers {
		up, down := "ffn_up", "ffn_down"
		// An "up" that narrows is the other one's name.
		if info, err := g.Tensor(fmt.Sprintf("v.blk.%d.ffn_down.weight", i)); err == nil && v.Hidden != v.Dim && info.Rows() == v.Hidden {
			up, down = down, up
		}
		for name, stored := range map[string]string{
			"layer_norm1": "ln1", "layer_norm2": "ln2", "mlp.fc1": up, "mlp.fc2": down,
			"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.out_proj": "attn_out",
		} {
			add(fmt.Sprintf("encoder.layers.%d.%s", i, name), fmt.Sprintf("v.blk.%d.%s", i, stored))
		}
	}
	return aliases
}

// ggufPreprocessor is the preprocessor_config.json that the family's published models have, with the
// file's own numbers.
func (c *Config) ggufPreprocessor(file *weights.Config, mean, std []float64) ([]byte, error) {
	side := c.Vision.ImageSize
	config := map[string]any{
		"do_resize": true, "do_rescale": true, "do_normalize": true, "rescale_factor": 1.0 / 255, "image_mean": mean, "image_std": std,
	}
	switch {
	case c.Family == "idefics3":
		longest := file.IntOr("clip.vision.preproc_image_size", 4*side, 1, 1<<16)
		for key, value := range map[string]any{
			"image_processor_type": "Idefics3ImageProcessor", "resample": 1, "do_image_splitting": true, "do_pad": true, "do_convert_rgb": true,
			"size": map[string]int{"longest_edge": longest}, "max_image_size": map[string]int{"longest_edge": side},
		} {
			config[key] = value
		}
	case c.Vision.Class:
		for key, value := range map[string]any{
			"image_processor_type": "CLIPImageProcessor", "resample": 3, "do_center_crop": true, "do_convert_rgb": true,
			"size": map[string]int{"shortest_edge": side}, "crop_size": map[string]int{"height": side, "width": side},
		} {
			config[key] = value
		}
	default:
		config["image_processor_type"], config["resample"] = "SiglipImageProcessor", 3
		config["size"] = map[string]int{"height": side, "width": side}
	}
	if err := file.Err(); err != nil {
		return nil, err
	}
	return json.Marshal(config)
}

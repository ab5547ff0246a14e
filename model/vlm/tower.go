package vlm

import (
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/llama3v/llama3v/model/weights"
)

// WithTower adds the vision tower to a checkpoint that was published without it, of a model whose
// config names its tower: it is read from the folder of the tower's name inside the model's
// ("siglip-so400m-patch14-384"), as its own authors published it. Any other checkpoint is given back
// as it is. On an error cp is closed.
//
// Errors: those of weights.Open; a tower that is nowhere is the loader's to report, as missing tensors.
func WithTower(fsys fs.FS, c *Config, cp weights.Checkpoint) (weights.Checkpoint, error) {
	if c.tower == "" || slices.ContainsFunc(cp.Names(), c.ofTower) {
		return cp, nil
	}
	if _, err := fs.Stat(fsys, c.tower); err != nil {
		return cp, nil
	}
	folder, err := fs.Sub(fsys, c.tower)
	if err == nil {
		var tower weights.Checkpoint
		if tower, err = weights.Open(folder); err == nil {
			prefix := strings.TrimSuffix(c.names.vision[0], "vision_model")
			return weights.Join(weights.Part{Checkpoint: cp}, weights.Part{Prefix: prefix, Checkpoint: tower}), nil
		}
	}
	cp.Close() // was read from only
	return nil, err
}

// ofTower says whether a tensor is one of the vision tower's.
func (c *Config) ofTower(name string) bool {
	return slices.ContainsFunc(c.names.vision, func(prefix string) bool { return strings.HasPrefix(name, prefix+".") })
}

// towerFolder is the folder that a tower's name stands for, "" for one that is no folder's name.
func towerFolder(name string) string {
	base := path.Base(name)
	if base == "." || base == ".." || base == "/" || !fs.ValidPath(base) {
		return ""
	}
	return base
}

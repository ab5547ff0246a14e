package llama3v

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/llama3v/llama3v/model/chat"
	"github.com/llama3v/llama3v/model/tokenizer"
	"github.com/llama3v/llama3v/model/vlm"
	"github.com/llama3v/llama3v/model/weights"
)

// files are what a model is opened from: a folder of safetensors and JSON, or a GGUF file.
type files struct {
	fsys       fs.FS
	config     *vlm.Config
	checkpoint weights.Checkpoint // close it
	gguf       *weights.GGUF      // nil for a folder of safetensors
}

// place splits a path into a file system and the file in it, "" for a folder. Names of the hub are
// fetched first.
func place(ctx context.Context, path string, opts []Option) (fsys fs.FS, name string, err error) {
	if path, err = local(ctx, path, opts); err != nil {
		return nil, "", err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, "", err
	}
	if info.IsDir() {
		return os.DirFS(path), "", nil
	}
	return os.DirFS(filepath.Dir(path)), filepath.Base(path), nil
}

// openFiles reads configs and the structure of the weights, and no weight. What a file is, its
// content says: name, or with "" a folder that has config.json, or one GGUF model.
func openFiles(c *config, fsys fs.FS, name string) (*files, error) {
	if name == "" {
		var err error
		if name, err = findGGUF(fsys); err != nil {
			return nil, err
		}
	} else if is, err := weights.IsGGUF(fsys, name); err != nil {
		return nil, err
	} else if !is {
		return nil, fmt.Errorf("%s: %w: neither a GGUF file nor a folder with config.json", name, ErrUnsupported)
	}
	if name != "" {
		return openGGUF(fsys, name)
	}
	f := &files{fsys: fsys}
	var err error
	if f.config, err = vlm.ReadConfig(fsys); err != nil { // validated before any weight is looked at
		return nil, err
	}
	c.place(f.config)
	if f.checkpoint, err = weights.Open(fsys); err != nil {
		return nil, err
	}
	f.checkpoint, err = vlm.WithTower(fsys, f.config, f.checkpoint)
	return f, err
}

func openGGUF(fsys fs.FS, name string) (*files, error) {
	g, err := weights.OpenGGUF(fsys, name)
	if err != nil {
		return nil, err
	}
	f := &files{fsys: fsys, gguf: g}
	if f.config, f.checkpoint, err = vlm.ReadGGUF(g); err != nil {
		return nil, errors.Join(err, g.Close())
	}
	return f, nil
}

// findGGUF is the one text model among the GGUF files of a folder without config.json, or "".
func findGGUF(fsys fs.FS) (string, error) {
	if _, err := fs.Stat(fsys, "config.json"); !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return "", err
	}
	var models []string
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		if is, err := weights.IsGGUF(fsys, e.Name()); err != nil {
			return "", err
		} else if !is {
			continue
		}
		g, err := weights.OpenGGUFFile(fsys, e.Name())
		if err != nil {
			return "", err
		}
		text := !vlm.IsEyeGGUF(g) && g.FirstPart()
		if err := g.Close(); err != nil {
			return "", err
		}
		if text {
			models = append(models, e.Name())
		}
	}
	if len(models) > 1 {
		return "", fmt.Errorf("%w: several models in one folder; open one of %s", ErrUnsupported, strings.Join(models, ", "))
	}
	if len(models) == 0 {
		return "", nil // the error about config.json says what is missing
	}
	return models[0], nil
}

// tokenizer reads the model's tokenizer.
func (f *files) tokenizer() (tokenizer.Tokenizer, error) {
	if f.gguf != nil {
		t, err := vlm.ReadGGUFTokenizer(f.gguf, f.config)
		if err != nil {
			return nil, err // not t: an interface that holds a nil pointer is not nil
		}
		return t, nil
	}
	t, err := tokenizer.Load(f.fsys)
	if err != nil {
		return nil, err
	}
	return t, nil
}

// template reads the model's chat template. Errors: chat.ErrNoTemplate without one.
func (f *files) template(t tokenizer.Tokenizer) (*chat.Template, error) {
	if f.gguf != nil {
		return vlm.ReadGGUFTemplate(f.gguf, f.config, t)
	}
	return chat.FromFS(f.fsys)
}

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
	prepare    []byte             // what an mmproj file says in place of preprocessor_config.json
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
		return openGGUF(c, fsys, name)
	}
	if c.projector != "" {
		return nil, fmt.Errorf("%w: WithProjector is for GGUF text models; this one has its own eye or none", ErrUnsupported)
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

// openGGUF opens a text model, and the eye that the option names or that lies beside it.
func openGGUF(c *config, fsys fs.FS, name string) (_ *files, err error) {
	g, err := weights.OpenGGUF(fsys, name)
	if err != nil {
		return nil, err
	}
	f := &files{fsys: fsys, gguf: g, checkpoint: g}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.checkpoint.Close())
		}
	}()
	if f.config, f.checkpoint, err = vlm.ReadGGUF(g); err != nil {
		f.checkpoint = g
		return nil, err
	}
	eyeFS, eyeName := fsys, ""
	if c.projector != "" {
		eyeFS, eyeName = os.DirFS(filepath.Dir(c.projector)), filepath.Base(c.projector)
	} else if _, eyes, err := listGGUF(fsys); err != nil {
		return nil, err
	} else if len(eyes) > 1 {
		return nil, fmt.Errorf("%w: several mmproj files beside %s; name one with WithProjector: %s", ErrUnsupported, name, strings.Join(eyes, ", "))
	} else if len(eyes) == 1 {
		eyeName = eyes[0]
	}
	if eyeName == "" {
		return f, nil
	}
	eye, err := weights.OpenGGUF(eyeFS, eyeName)
	if err != nil {
		return nil, err
	}
	text := f.checkpoint
	f.checkpoint = weights.Join(weights.Part{Checkpoint: text}, weights.Part{Checkpoint: eye})
	shown, prepare, err := vlm.ReadEyeGGUF(eye, f.config, c.eye)
	if err != nil {
		return nil, err
	}
	f.checkpoint = weights.Join(weights.Part{Checkpoint: text}, weights.Part{Checkpoint: shown})
	f.prepare = prepare
	return f, nil
}

// findGGUF is the one text model among the GGUF files of a folder without config.json, or "".
func findGGUF(fsys fs.FS) (string, error) {
	if _, err := fs.Stat(fsys, "config.json"); !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	models, _, err := listGGUF(fsys)
	switch {
	case err != nil:
		return "", err
	case len(models) > 1:
		return "", fmt.Errorf("%w: several models in one folder; open one of %s", ErrUnsupported, strings.Join(models, ", "))
	case len(models) == 0:
		return "", nil // the error about config.json says what is missing
	}
	return models[0], nil
}

// listGGUF lists the GGUF files in the root of fsys by what they hold: text models (the first parts
// of split ones), and eyes.
func listGGUF(fsys fs.FS) (models, eyes []string, err error) {
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		if info, err := fs.Stat(fsys, e.Name()); err != nil || !info.Mode().IsRegular() {
			continue // a folder, a pipe, a dangling link: no model
		}
		if is, err := weights.IsGGUF(fsys, e.Name()); err != nil {
			return nil, nil, err
		} else if !is {
			continue
		}
		g, err := weights.OpenGGUFFile(fsys, e.Name())
		if err != nil {
			return nil, nil, err
		}
		switch {
		case vlm.IsEyeGGUF(g):
			eyes = append(eyes, e.Name())
		case g.FirstPart():
			models = append(models, e.Name())
		}
		if err := g.Close(); err != nil {
			return nil, nil, err
		}
	}
	return models, eyes, nil
}

// preprocessor is what preprocessor_config.json says, and where it stands.
func (f *files) preprocessor() (text []byte, where string, err error) {
	if f.prepare != nil {
		return f.prepare, "mmproj file", nil
	}
	const name = "preprocessor_config.json"
	text, err = fs.ReadFile(f.fsys, name)
	return text, name, err
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

// template reads the model's chat template, or takes its family's. Errors: chat.ErrNoTemplate without
// either.
func (f *files) template(t tokenizer.Tokenizer) (*chat.Template, error) {
	if f.gguf != nil {
		return vlm.ReadGGUFTemplate(f.gguf, f.config, t)
	}
	return vlm.ReadTemplate(f.fsys, f.config)
}

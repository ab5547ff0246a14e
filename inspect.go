package llama3v

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/llama3v/llama3v/model/load"
	"github.com/llama3v/llama3v/model/ops"
	"github.com/llama3v/llama3v/model/vlm"
	"github.com/llama3v/llama3v/model/weights"
)

// Description says what a model, or a single weights file, holds.
type Description struct {
	Path    string
	Files   []string
	Tensors []weights.Info // sorted by name
	Bytes   int64          // of all tensors
	Types   map[string]int // tensors per stored type
	Values  int64          // elements of all tensors

	// The rest needs a model folder.
	Config     *vlm.Config // nil for a file
	Plan       *Plan       // nil when no backend is there to plan for; Problem says why
	Context    int         // positions that Plan counts
	Vocabulary int         // 1 + the tokenizer's largest id
	Template   bool        // has a chat template
	Unused     []string    // tensors that the model does not read
	Problems   []string    // what would keep Open from working
}

// Inspect describes the model in a folder, or the tensors of one safetensors file, without reading
// weights. What keeps the model from opening is listed, not returned; the error is for a path that
// holds nothing readable.
func Inspect(ctx context.Context, path string, opts ...Option) (*Description, error) {
	c, err := newConfig(opts)
	if err != nil {
		return nil, err
	}
	fsys, name, err := place(ctx, path, opts)
	if err != nil {
		return nil, fmt.Errorf("inspect: %w", err)
	}
	d := &Description{Path: path, Types: map[string]int{}}
	if err := d.read(c, fsys, name); err != nil {
		return nil, fmt.Errorf("inspect %s: %w", path, err)
	}
	return d, nil
}

func (d *Description) read(c *config, fsys fs.FS, name string) error {
	if name != "" { // a file alone
		is, err := weights.IsGGUF(fsys, name)
		if err != nil {
			return err
		}
		if !is {
			file, err := weights.OpenSafetensorsFile(fsys, name)
			if err != nil {
				return err
			}
			defer file.Close()
			return d.tensors(file)
		}
	}
	cp, err := d.checkpoint(fsys, name)
	if err != nil {
		return err
	}
	defer cp.Close()
	if err := d.tensors(cp); err != nil {
		return err
	}
	d.model(c, fsys, name)
	return nil
}

// checkpoint opens the weights as they are stored.
func (d *Description) checkpoint(fsys fs.FS, name string) (weights.Checkpoint, error) {
	if name == "" {
		var err error
		if name, err = findGGUF(fsys); err != nil {
			return nil, err
		}
	}
	if name != "" {
		g, err := weights.OpenGGUF(fsys, name)
		if err != nil {
			return nil, err
		}
		return g, nil
	}
	return weights.Open(fsys)
}

func (d *Description) tensors(cp weights.Checkpoint) error {
	d.Files = cp.Files()
	for _, name := range cp.Names() {
		info, err := cp.Tensor(name)
		if err != nil {
			return err
		}
		d.Tensors = append(d.Tensors, info)
		d.Types[info.DType.String()]++
		d.Bytes += info.Bytes
		d.Values += int64(info.Elements())
	}
	return nil
}

// model describes the folder's other files, and what a backend would need for it.
func (d *Description) model(c *config, fsys fs.FS, name string) {
	problem := func(err error) {
		if err != nil {
			d.Problems = append(d.Problems, err.Error())
		}
	}
	f, err := openFiles(c, fsys, name)
	if err != nil {
		problem(err)
		return
	}
	defer f.checkpoint.Close()
	d.Config = f.config
	m := &Model{config: c}
	problem(m.readText(f))
	if m.tokenizer != nil {
		d.Vocabulary = m.tokenizer.VocabSize()
	}
	d.Template = m.template != nil
	problem(d.plan(m, c, f.checkpoint))
}

// plan asks a backend for the packed sizes.
func (d *Description) plan(m *Model, c *config, cp weights.Checkpoint) error {
	library, _, err := openLibrary(c)
	if err != nil {
		return err
	}
	options := c.contextOptions()
	options.Threads, options.MemoryLimit = 1, 0 // it asks for sizes alone
	bc, err := library.NewContext(options)
	if err != nil {
		return err
	}
	device := ops.NewDevice(bc, library.Capabilities())
	defer device.Close()
	loader := load.New(device, cp)
	if err := c.quantize(loader); err != nil {
		return err
	}
	model := vlm.Declare(loader, d.Config)
	if d.Unused, err = loader.Check(); err != nil {
		return err
	}
	m.device = device
	compute, refused := m.compute(loader.Products())
	sizes, pictures := m.sizes(d.Config)
	plan, err := newPlan(d.Config, model, loader, sizes, pictures, c.kernelsOf(device, compute))
	if err != nil {
		return err
	}
	d.Plan, d.Context = &plan, sizes.Context
	return errors.Join(refused, plan.fits(c.memoryLimit, library.Capabilities().MemoryFree))
}

package weights

import (
	"errors"
	"slices"
	"strings"
)

// Part is a checkpoint whose tensors stand under a prefix in a larger one.
type Part struct {
	Prefix     string // with its dot, or empty
	Checkpoint Checkpoint
}

// Join makes one checkpoint of several, for models whose parts were published apart. A name that two
// of them have is the first one's. Closing it closes all.
func Join(parts ...Part) Checkpoint { return joined(parts) }

type joined []Part

// find gives the checkpoint that has a name, and the name there.
func (j joined) find(name string) (Checkpoint, string) {
	for _, p := range j {
		if inner, ok := strings.CutPrefix(name, p.Prefix); ok && p.Checkpoint.Has(inner) {
			return p.Checkpoint, inner
		}
	}
	return nil, ""
}

func (j joined) Names() []string {
	var names []string
	for _, p := range j {
		for _, name := range p.Checkpoint.Names() {
			names = append(names, p.Prefix+name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (j joined) Has(name string) bool {
	cp, _ := j.find(name)
	return cp != nil
}

func (j joined) Tensor(name string) (Info, error) {
	cp, inner := j.find(name)
	if cp == nil {
		return Info{}, missing(name, j.Files())
	}
	info, err := cp.Tensor(inner)
	info.Name = name
	return info, err
}

func (j joined) Rows(name string) (*Rows, error) {
	cp, inner := j.find(name)
	if cp == nil {
		return nil, missing(name, j.Files())
	}
	return cp.Rows(inner)
}

func (j joined) Files() []string {
	var files []string
	for _, p := range j {
		files = append(files, p.Checkpoint.Files()...)
	}
	return files
}

func (j joined) Close() error {
	var all []error
	for _, p := range j {
		all = append(all, p.Checkpoint.Close())
	}
	return errors.Join(all...)
}

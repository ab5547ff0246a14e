package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"github.com/llama3v/llama3v/model/weights"
)

// convertSafetensors writes the weights of a folder or file in another type. A new folder gets the old
// one's JSON files and chat template; its weights are one file. It appears under its name when it is
// complete.
func convertSafetensors(ctx context.Context, out io.Writer, from, to string, t weights.DType) (err error) {
	cp, folder, err := openWeights(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cp.Close()) }()
	c := conversion{ctx: ctx, out: out, cp: cp}
	for _, name := range cp.Names() {
		info, err := cp.Tensor(name)
		if err != nil {
			return err
		}
		if err := c.add(info, targetType(info, t)); err != nil {
			return err
		}
	}
	metadata := cp.Metadata(cp.Files()[0])
	if strings.HasSuffix(to, ".safetensors") {
		err = weights.WriteStreamsFile(to, c.tensors, metadata)
	} else {
		err = newFolder(to, func(dir string) error {
			if folder {
				if err := copyTexts(dir, from); err != nil {
					return err
				}
			}
			return weights.WriteStreamsFile(filepath.Join(dir, "model.safetensors"), c.tensors, metadata)
		})
	}
	if err != nil {
		return err
	}
	return c.summary()
}

func openWeights(path string) (cp *weights.Safetensors, folder bool, err error) {
	if strings.HasSuffix(path, ".safetensors") {
		if info, err := os.Stat(path); err == nil && !info.IsDir() {
			cp, err := weights.OpenSafetensorsFile(os.DirFS(filepath.Dir(path)), filepath.Base(path))
			return cp, false, err
		}
	}
	cp, err = weights.OpenSafetensors(os.DirFS(path))
	return cp, true, err
}

// newFolder fills a folder under another name and renames it. One that is there is left alone.
func newFolder(path string, fill func(dir string) error) error {
	path = filepath.Clean(path)
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, fmt.Errorf("%s: %w", path, fs.ErrExist))
	}
	temp := filepath.Join(filepath.Dir(path), fmt.Sprintf(".%s.%016x.tmp", filepath.Base(path), rand.Uint64()))
	if err := os.Mkdir(temp, 0o777); err != nil {
		return err
	}
	err := fill(temp)
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(temp))
	}
	return nil
}

// copyTexts copies the files that describe a model. An index of the old weights does not hold for the
// new.
func copyTexts(to, from string) error {
	files, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, f := range files {
		name := f.Name()
		wanted := strings.HasSuffix(name, ".json") || strings.HasSuffix(name, ".jinja")
		info, err := os.Stat(filepath.Join(from, name)) // a file may be a link into a cache
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() || !wanted || strings.HasSuffix(name, ".safetensors.index.json") {
			continue
		}
		if err := copyFile(filepath.Join(to, name), filepath.Join(from, name)); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(to, from string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.Sync()
}

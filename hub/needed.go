package hub

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/llama3v/llama3v/model/weights"
)

// small are the files of a model beside its weights.
var small = []string{
	"config.json", "generation_config.json", "preprocessor_config.json", "processor_config.json",
	"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
	"spiece.model", "tokenizer.model", "chat_template.json", "chat_template.jinja",
}

const (
	weightsFile = "model.safetensors"
	indexFile   = "model.safetensors.index.json"
)

// needed picks the files that opening the model reads: what lies beside the weights, and the
// weights as one file, as the shards that the index lists, or as the one GGUF file there is (with
// its projector). file, when it is not empty, is one GGUF file among several. read fetches a file.
func (l *listing) needed(file string, read func(File) ([]byte, error)) ([]File, error) {
	find := func(name string) (File, bool) {
		i := slices.IndexFunc(l.Files, func(f File) bool { return f.Name == name })
		if i < 0 {
			return File{}, false
		}
		return l.Files[i], true
	}
	if file != "" {
		return l.single(file, find)
	}
	var files []File
	for _, name := range small {
		if f, ok := find(name); ok {
			files = append(files, f)
		}
	}
	if f, ok := find(weightsFile); ok {
		return append(files, f), nil
	}
	if index, ok := find(indexFile); ok {
		data, err := read(index)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", indexFile, err)
		}
		shards, err := shardNames(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", indexFile, err)
		}
		files = append(files, index)
		for _, name := range shards {
			f, ok := find(name)
			if !ok {
				return nil, fmt.Errorf("%w: %s lists %s, which is not there", ErrFiles, indexFile, name)
			}
			files = append(files, f)
		}
		return files, nil
	}
	return l.gguf(files)
}

func shardNames(index []byte) ([]string, error) {
	var body struct {
		Map map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(index, &body); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFiles, err)
	}
	var names []string
	for _, name := range body.Map {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// single is the file that the reference names, the other parts of a split one, and the projectors
// beside it.
func (l *listing) single(file string, find func(string) (File, bool)) ([]File, error) {
	if _, ok := find(file); !ok {
		return nil, fmt.Errorf("%w: %s; there are %s", ErrFiles, file, strings.Join(l.names(isGGUF), ", "))
	}
	stem := splitStem(file)
	var files []File
	for _, f := range l.Files {
		if f.Name == file || stem != "" && splitStem(f.Name) == stem ||
			isProjector(f.Name) && path.Dir(f.Name) == path.Dir(file) {
			files = append(files, f)
		}
	}
	return files, nil
}

// gguf adds the one GGUF model of the repository, all parts of it, and its projector.
func (l *listing) gguf(files []File) ([]File, error) {
	models := map[string]bool{}
	for _, f := range l.Files {
		if !isGGUF(f.Name) || strings.Contains(f.Name, "/") {
			continue
		}
		files = append(files, f)
		if isProjector(f.Name) {
			continue
		}
		if stem := splitStem(f.Name); stem != "" {
			models[stem] = true
		} else {
			models[f.Name] = true
		}
	}
	switch len(models) {
	case 1:
		return files, nil
	case 0:
		return nil, fmt.Errorf("%w: neither %s nor %s nor one GGUF file", ErrFiles, weightsFile, indexFile)
	}
	return nil, fmt.Errorf("%w: several GGUF files; name one behind a colon: %s", ErrFiles, strings.Join(l.names(isGGUF), ", "))
}

func (l *listing) names(match func(string) bool) []string {
	var names []string
	for _, f := range l.Files {
		if match(f.Name) {
			names = append(names, f.Name)
		}
	}
	return names
}

func isGGUF(name string) bool { return strings.HasSuffix(name, ".gguf") }

// isProjector goes by the name that converters give; what a file really is, its metadata says when
// it is opened.
func isProjector(name string) bool {
	return isGGUF(name) && strings.Contains(path.Base(name), "mmproj")
}

// splitStem is what the parts of a split file share, "" for another file.
func splitStem(name string) string {
	stem, _, _ := weights.SplitName(name)
	return stem
}

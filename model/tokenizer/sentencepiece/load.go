package sentencepiece

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/llama3v/llama3v/model/tokenizer"
)

// Names of the files that [Load] looks for, in the order in which the reference would take them: it has
// SigLIP's tokenizer in terms of spiece.model alone, and Gemma's in those of tokenizer.json.
var Names = []string{"spiece.model", tokenizer.FileName, "tokenizer.model"}

// Load reads the tokenizer of a model folder from the first of [Names] that is there. Errors:
// fs.ErrNotExist where none is, and those of [Parse] and [ParseJSON].
func Load(fsys fs.FS) (*Tokenizer, error) {
	for _, name := range Names {
		data, err := read(fsys, name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return nil, err
		case name == tokenizer.FileName:
			return ParseJSON(data)
		}
		return Parse(name, data)
	}
	return nil, fmt.Errorf("tokenizer: none of %v: %w", Names, fs.ErrNotExist)
}

func read(fsys fs.FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, tokenizer.MaxFile+1))
	if err != nil {
		return nil, fmt.Errorf("tokenizer: reading %s: %w", name, err)
	}
	if len(data) > tokenizer.MaxFile {
		return nil, &tokenizer.FormatError{File: name, Where: "file", What: fmt.Sprintf("larger than %d bytes", tokenizer.MaxFile)}
	}
	return data, nil
}

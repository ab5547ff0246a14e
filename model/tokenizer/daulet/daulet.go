//go:build cgo && daulet

package daulet

import (
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"

	rust "github.com/daulet/tokenizers"

	"github.com/llama3v/llama3v/model/tokenizer"
)

// Tokenizer is a [tokenizer.Tokenizer] over the Rust library. Only encoding crosses into Rust: the
// binding's decoding loses texts with a NUL and skips unknown ids, so ids are decoded in Go. It takes
// the files that package tokenizer takes, and refuses the others with the same errors; a file that was
// not checked could make the library abort the program.
type Tokenizer struct {
	*tokenizer.BPE

	mu     sync.RWMutex // held for reading while Rust works, for writing to close
	handle *rust.Tokenizer
}

var _ tokenizer.Tokenizer = (*Tokenizer)(nil)

// Load reads tokenizer.json from a model folder. Close frees the library's memory.
func Load(fsys fs.FS) (*Tokenizer, error) {
	f, err := fsys.Open(tokenizer.FileName)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, tokenizer.MaxFile+1)) // Parse refuses a larger one
	if err != nil {
		return nil, fmt.Errorf("tokenizer: reading %s: %w", tokenizer.FileName, err)
	}
	return Parse(data)
}

// Parse reads the contents of a tokenizer.json.
func Parse(data []byte) (*Tokenizer, error) {
	bpe, err := tokenizer.Parse(data)
	if err != nil {
		return nil, err
	}
	if data, err = prepare(data); err != nil {
		return nil, err
	}
	handle, err := rust.FromBytes(data, rust.WithEncodeSpecialTokens()) // special parsing off
	if err != nil {
		return nil, &tokenizer.FormatError{Where: "file", What: err.Error()}
	}
	return &Tokenizer{BPE: bpe, handle: handle}, nil
}

// The binding hands texts over as C strings, which end at a NUL. A NUL therefore travels as two
// characters, and the file's normalizer is extended to turn them back: nul becomes NUL, then self
// becomes escape, which stands for itself in the text.
const (
	escape = "\U0010FFFE" // a noncharacter
	nul    = escape + "0"
	self   = escape + "1"
)

var escaper = strings.NewReplacer("\x00", nul, escape, self)

// prepare adds that to the file, whose own normalizer is none, and takes out truncation and padding,
// which are no business of encoding.
func prepare(data []byte) ([]byte, error) {
	var file map[string]json.RawMessage
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, &tokenizer.FormatError{Where: "file", What: err.Error()}
	}
	replace := func(pattern, content string) map[string]any {
		return map[string]any{"type": "Replace", "pattern": map[string]any{"String": pattern}, "content": content}
	}
	normalizer, err := json.Marshal(map[string]any{"type": "Sequence",
		"normalizers": []any{replace(nul, "\x00"), replace(self, escape)}})
	if err != nil {
		return nil, err
	}
	file["normalizer"] = normalizer
	file["truncation"], file["padding"] = json.RawMessage("null"), json.RawMessage("null")
	return json.Marshal(file)
}

// Encode gives the ids of text, as package tokenizer does.
func (t *Tokenizer) Encode(text string) ([]int32, error) {
	if text == "" {
		return []int32{}, nil
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.handle == nil {
		return nil, ErrClosed
	}
	encoded := t.handle.EncodeWithOptions(escaper.Replace(tokenizer.ToValidUTF8(text)), false)
	ids := make([]int32, len(encoded.IDs))
	for i, id := range encoded.IDs {
		ids[i] = int32(id)
	}
	if len(ids) == 0 {
		// No ids are right only for a text of bytes that have no token; the binding reports its
		// errors the same way.
		if want, err := t.BPE.Encode(text); err != nil || len(want) > 0 {
			return nil, ErrEncode
		}
	}
	return ids, nil
}

// Close frees the library's memory, after encodings that are under way. It may be called again.
func (t *Tokenizer) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.handle == nil {
		return nil
	}
	handle := t.handle
	t.handle = nil
	return handle.Close()
}

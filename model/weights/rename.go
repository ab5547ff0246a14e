package weights

import (
	"io"
	"maps"
	"slices"
)

// Alias is how a tensor of a checkpoint is to be seen under another name.
type Alias struct {
	Name string // there
	// HeadRows above 0 undoes the order of rows that GGUF files have in query and key matrices: within
	// each head of so many rows, row 2j is the head's row j, and row 2j+1 its row HeadRows/2+j (llama.cpp's
	// convert_hf_to_gguf.py, LlamaModel.permute). Below 0 it makes that order, with heads of -HeadRows rows.
	HeadRows int
}

// Rename shows cp's tensors under the names of aliases; those that no alias takes keep theirs.
// Closing it closes cp.
func Rename(cp Checkpoint, aliases map[string]Alias) Checkpoint {
	r := &renamed{Checkpoint: cp, aliases: map[string]Alias{}}
	taken := map[string]bool{}
	for name, a := range aliases {
		if cp.Has(a.Name) {
			r.aliases[name] = a
			taken[a.Name] = true
		}
	}
	for _, name := range cp.Names() {
		if _, ok := r.aliases[name]; !taken[name] && !ok {
			r.aliases[name] = Alias{Name: name}
		}
	}
	return r
}

type renamed struct {
	Checkpoint
	aliases map[string]Alias
}

func (r *renamed) Names() []string { return slices.Sorted(maps.Keys(r.aliases)) }

func (r *renamed) Has(name string) bool { _, ok := r.aliases[name]; return ok }

func (r *renamed) Tensor(name string) (Info, error) {
	a, ok := r.aliases[name]
	if !ok {
		return Info{}, missing(name, r.Files())
	}
	info, err := r.Checkpoint.Tensor(a.Name)
	info.Name = name
	return info, err
}

func (r *renamed) Rows(name string) (*Rows, error) {
	a, ok := r.aliases[name]
	if !ok {
		return nil, missing(name, r.Files())
	}
	rows, err := r.Checkpoint.Rows(a.Name)
	if err != nil {
		return nil, err
	}
	rows.info.Name = name
	if a.HeadRows != 0 {
		rows.data = &headOrder{data: rows.data, rowBytes: rows.rowBytes, rows: int64(max(a.HeadRows, -a.HeadRows)), undo: a.HeadRows > 0}
	}
	return rows, nil
}

// headOrder reads rows of heads in another order than they lie in. It reads a head at a time and keeps
// the newest, as rows are asked for one after the other.
type headOrder struct {
	data     io.ReaderAt
	rowBytes int64
	rows     int64 // of a head
	undo     bool  // GGUF's order, rather than make it

	head   int64 // that buffer holds, once it is there
	buffer []byte
}

func (h *headOrder) ReadAt(p []byte, offset int64) (int, error) {
	done := 0
	for done < len(p) {
		row, at := offset/h.rowBytes, offset%h.rowBytes
		line, err := h.row(row)
		if err != nil {
			return done, err
		}
		n := copy(p[done:], line[at:])
		done += n
		offset += int64(n)
	}
	return done, nil
}

func (h *headOrder) row(row int64) ([]byte, error) {
	head, r := row/h.rows, row%h.rows
	if h.buffer == nil || h.head != head {
		buffer := make([]byte, h.rows*h.rowBytes)
		if _, err := h.data.ReadAt(buffer, head*h.rows*h.rowBytes); err != nil {
			return nil, err
		}
		h.buffer, h.head = buffer, head
	}
	half := h.rows / 2
	stored := r/2 + r%2*half
	if h.undo {
		stored = r%half*2 + r/half
	}
	return h.buffer[stored*h.rowBytes : (stored+1)*h.rowBytes], nil
}

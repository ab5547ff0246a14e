package weights

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Need is a tensor that a model asks for.
type Need struct {
	Names    []string // the names it may have, best first: the first that is there is taken
	Shape    []int    // exactly this; empty: a scalar
	DTypes   []DType  // the types it may have; nil: [Floats] and [Quantized]
	Optional bool     // may be absent; if present, it must fit
}

// Report is what [Check] found.
type Report struct {
	// Found has, for each need, the tensor to take. Its Name is empty where an optional one is absent.
	Found []Info
	// Unexpected are the tensors, sorted, that no need took and the ignore list does not name:
	// usually a part of another model.
	Unexpected []string

	files []string
}

// RefuseUnexpected is a *CheckError with all unexpected tensors, nil without any.
func (r *Report) RefuseUnexpected() error {
	if len(r.Unexpected) == 0 {
		return nil
	}
	return &CheckError{Files: r.files, Unexpected: r.Unexpected}
}

// CheckError lists everything about a checkpoint that does not fit the model. It is each of
// ErrMissingTensor, ErrShape, ErrUnsupportedDType and ErrUnexpectedTensor whose list is not empty.
type CheckError struct {
	Files      []string
	Missing    []string // names; with alternatives "a or b"
	Shapes     []ShapeFault
	DTypes     []DTypeError
	Unexpected []string
}

// ShapeFault is a tensor with other dimensions than the model's config gives it.
type ShapeFault struct {
	Tensor, File string
	Have, Want   []int
}

func (e *CheckError) Error() string {
	var parts []string
	list := func(what string, items []string) {
		if len(items) > 0 {
			parts = append(parts, what+" "+strings.Join(items, ", "))
		}
	}
	var shapes, types []string
	for _, f := range e.Shapes {
		shapes = append(shapes, fmt.Sprintf("%s in %s is %v, the config makes it %v", f.Tensor, f.File, f.Have, f.Want))
	}
	for _, f := range e.DTypes {
		types = append(types, fmt.Sprintf("%s in %s is %s", f.Tensor, f.File, f.DType))
	}
	list(plural(len(e.Missing), "missing tensor", "missing tensors"), e.Missing)
	list("wrong shape:", shapes)
	list("unsupported type:", types)
	var unexpected []string // the one list whose names come from the file and not from the model's code
	for _, name := range e.Unexpected {
		unexpected = append(unexpected, strings.Trim(strconv.Quote(name), `"`))
	}
	list(plural(len(e.Unexpected), "unexpected tensor", "unexpected tensors"), unexpected)
	return joinFiles(e.Files) + ": " + strings.Join(parts, "; ")
}

// Is makes the sentinels match.
func (e *CheckError) Is(target error) bool {
	switch target {
	case ErrMissingTensor:
		return len(e.Missing) > 0
	case ErrShape:
		return len(e.Shapes) > 0
	case ErrUnsupportedDType:
		return len(e.DTypes) > 0
	case ErrUnexpectedTensor:
		return len(e.Unexpected) > 0
	}
	return false
}

func (e *CheckError) empty() bool {
	return len(e.Missing)+len(e.Shapes)+len(e.DTypes)+len(e.Unexpected) == 0
}

// Check compares a checkpoint with all that a model needs and reports every fault at once, as one
// *CheckError. Nothing is read and nothing is invented: a need that is not met is an error.
//
// ignore names tensors that may be there and are not wanted, such as stored position ids. A * in it
// stands for any characters: "*.rotary_emb.inv_freq". Unexpected tensors are no error by
// themselves; the report, which is never nil, lists them.
func Check(cp Checkpoint, needs []Need, ignore []string) (*Report, error) {
	report := &Report{Found: make([]Info, len(needs)), files: cp.Files()}
	fault := &CheckError{Files: report.files}
	taken, asked := map[string]bool{}, map[string]bool{}
	for i, need := range needs {
		// Two parts of a model may take rows of one tensor; its faults are reported once.
		key := fmt.Sprint(need)
		again := asked[key]
		asked[key] = true
		at := slices.IndexFunc(need.Names, cp.Has)
		if at < 0 {
			if !need.Optional && !again {
				fault.Missing = append(fault.Missing, strings.Join(need.Names, " or "))
			}
			continue
		}
		info, err := cp.Tensor(need.Names[at])
		if err != nil {
			return report, err
		}
		taken[info.Name] = true
		report.Found[i] = info
		if again {
			continue
		}
		if !slices.Equal(info.Shape, need.Shape) {
			fault.Shapes = append(fault.Shapes, ShapeFault{info.Name, info.File, info.Shape, need.Shape})
		}
		fits := usable(info.DType)
		if need.DTypes != nil {
			fits = slices.Contains(need.DTypes, info.DType)
		}
		if !fits {
			fault.DTypes = append(fault.DTypes, DTypeError{info.Name, info.File, info.DType})
		}
	}
	for _, name := range cp.Names() {
		ignored := func(pattern string) bool { return matches(pattern, name) }
		if !taken[name] && !slices.ContainsFunc(ignore, ignored) {
			report.Unexpected = append(report.Unexpected, name)
		}
	}
	if !fault.empty() {
		return report, fault
	}
	return report, nil
}

// matches compares a name with a pattern in which * stands for any characters.
func matches(pattern, name string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == name
	}
	name, ok := strings.CutPrefix(name, parts[0])
	if !ok {
		return false
	}
	last := len(parts) - 1
	for _, part := range parts[1:last] { // the earliest place leaves most for the parts that follow
		if _, name, ok = strings.Cut(name, part); !ok {
			return false
		}
	}
	return strings.HasSuffix(name, parts[last])
}

// Binder collects what a model needs, part by part, in the words of the part: a layer declares
// "self_attn.q_proj.weight" and need not know that it is layer 7 of a tower inside another model.
//
//	b := weights.NewBinder(cp)
//	tower := b.Sub("vision_tower.vision_model", "vision_model") // either name
//	q := tower.Sub("encoder.layers.0").Expect("self_attn.q_proj.weight", dim, dim)
//	report, err := b.Check()
//	rows, err := q.Read()
type Binder struct {
	*declared
	prefixes []string // each empty or ending in a dot
}

// declared is shared by all parts of one binder.
type declared struct {
	cp     Checkpoint
	needs  []Need
	slots  []*Slot
	ignore []string
}

// Slot is where a declared tensor will be known after [Binder.Check].
type Slot struct {
	Info // Name is empty before Check, and after it where an optional tensor is absent
	cp   Checkpoint
}

// Present says whether the tensor is there.
func (s *Slot) Present() bool { return s.Name != "" }

// Read begins reading the tensor. Errors: ErrNotBound, or as [Checkpoint] Rows.
func (s *Slot) Read() (*Rows, error) {
	if !s.Present() {
		return nil, ErrNotBound
	}
	return s.cp.Rows(s.Name)
}

// Float32 reads the whole tensor. Errors: ErrNotBound, or as [ReadFloat32].
func (s *Slot) Float32() ([]float32, error) {
	if !s.Present() {
		return nil, ErrNotBound
	}
	return ReadFloat32(s.cp, s.Name)
}

// NewBinder begins at the root of the names, or under one of several prefixes (without the dot).
func NewBinder(cp Checkpoint, prefixes ...string) *Binder {
	root := &Binder{declared: &declared{cp: cp}, prefixes: []string{""}}
	if len(prefixes) == 0 {
		return root
	}
	return root.Sub(prefixes...)
}

// Sub is the part that has one of these names (joined by a dot) under b; an empty name is b itself.
func (b *Binder) Sub(names ...string) *Binder {
	full := b.full(names)
	for i, name := range full {
		if name != "" && !strings.HasSuffix(name, ".") {
			full[i] = name + "."
		}
	}
	return &Binder{declared: b.declared, prefixes: full}
}

// full gives each name under each prefix, all names of the first prefix first.
func (b *Binder) full(names []string) []string {
	full := make([]string, 0, len(b.prefixes)*len(names))
	for _, prefix := range b.prefixes {
		for _, name := range names {
			full = append(full, prefix+name)
		}
	}
	return full
}

// Expect declares a tensor of a floating-point type with this shape.
func (b *Binder) Expect(name string, shape ...int) *Slot {
	return b.Declare(Need{Names: []string{name}, Shape: shape})
}

// Optional declares a tensor that may be absent.
func (b *Binder) Optional(name string, shape ...int) *Slot {
	return b.Declare(Need{Names: []string{name}, Shape: shape, Optional: true})
}

// Declare declares a need whose names are under b.
func (b *Binder) Declare(need Need) *Slot {
	need.Names = b.full(need.Names)
	slot := &Slot{cp: b.cp}
	b.needs, b.slots = append(b.needs, need), append(b.slots, slot)
	return slot
}

// Has says whether the checkpoint has the tensor, under any of b's prefixes: for parts of a model
// that a checkpoint may lack as a whole, like a pooling head.
func (b *Binder) Has(name string) bool { return slices.ContainsFunc(b.full([]string{name}), b.cp.Has) }

// Ignore names tensors under b that may be there and are not wanted; * stands for any characters.
func (b *Binder) Ignore(names ...string) { b.ignore = append(b.ignore, b.full(names)...) }

// Check is [Check] for everything that was declared, in all parts, and fills the slots.
func (b *Binder) Check() (*Report, error) {
	report, err := Check(b.cp, b.needs, b.ignore)
	if err != nil {
		return report, err
	}
	for i, info := range report.Found {
		b.slots[i].Info = info
	}
	return report, nil
}

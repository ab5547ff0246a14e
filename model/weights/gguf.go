package weights

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
)

// GGUF is a [Checkpoint] in one or more files of the GGUF format, versions 2 and 3 (ggml's
// docs/gguf.md):
//
//	"GGUF" | version | tensors | keys | key, type, value ... | name, dimensions, type, offset ... | data
//
// all little-endian. A tensor's dimensions stand fastest first in the file; Info.Shape has them
// outermost first, as everywhere here. What the format's reference reader (ggml/src/gguf.cpp) refuses
// is refused, but for a last tensor without padding behind it, which is whole without.
type GGUF struct {
	container
	metadata *Metadata
}

// The limits of what is read, beside the size of the file itself.
const (
	maxGGUFString = 64 << 20 // bytes
	maxGGUFArray  = 1 << 24  // elements
	maxGGUFName   = 63       // bytes of a tensor's name; ggml keeps 64 with the NUL
	maxGGUFRank   = 4
	maxKeyLength  = 1 << 16
)

// ggufTypes are the element types that are read, by ggml's numbers.
var ggufTypes = map[uint32]DType{
	0: F32, 1: F16, 2: Q4_0, 3: Q4_1, 6: Q5_0, 7: Q5_1, 8: Q8_0, 10: Q2_K, 11: Q3_K, 12: Q4_K, 13: Q5_K, 14: Q6_K,
	20: IQ4_NL, 23: IQ4_XS, 24: I8, 25: I16, 26: I32, 27: I64, 28: F64, 30: BF16,
}

// OpenGGUF opens a file, and with it all parts of the model where it is split: NAME-00001-of-00003.gguf
// and so on. The file's metadata is that of the first part.
//
// Errors: ErrFormat, ErrTruncated, ErrMissingFile (a part), ErrUnsupportedDType, or what fsys gave.
func OpenGGUF(fsys fs.FS, name string) (*GGUF, error) {
	g, err := OpenGGUFFile(fsys, name)
	if err != nil {
		return nil, err
	}
	count := g.metadata.uint("split.count", 1)
	if count <= 1 {
		return g, nil
	}
	if err := g.Close(); err != nil {
		return nil, err
	}
	files, err := splitFiles(fsys, name, count)
	if err != nil {
		return nil, err
	}
	return openParts(fsys, files, true)
}

// OpenGGUFFile opens one file, part of a split model or not.
func OpenGGUFFile(fsys fs.FS, name string) (*GGUF, error) {
	return openParts(fsys, []string{name}, false)
}

// IsGGUF says whether a file begins as GGUF files do. Errors: what fsys gave.
func IsGGUF(fsys fs.FS, name string) (bool, error) {
	src, err := openSource(fsys, name)
	if err != nil {
		return false, err
	}
	defer src.Close()
	var magic [4]byte
	if src.size < int64(len(magic)) {
		return false, nil
	}
	_, err = src.ReadAt(magic[:], 0)
	return string(magic[:]) == ggufMagic, err
}

// openParts opens files; split says that they are the parts of one model, in order.
func openParts(fsys fs.FS, files []string, split bool) (_ *GGUF, err error) {
	g := &GGUF{}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.Close())
		}
	}()
	for i, name := range files {
		src, err := openSource(fsys, name)
		if err != nil {
			return nil, err
		}
		sh := &shard{source: src}
		g.shards = append(g.shards, sh)
		header, err := readGGUFHeader(src)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			g.metadata = header.metadata
		}
		if no := header.metadata.uint("split.no", 0); split && no != uint64(i) {
			return nil, &FormatError{File: name, Reason: fmt.Sprintf("split.no is %d, its name says part %d", no, i+1)}
		}
		for _, t := range header.tensors {
			info := Info{Name: t.name, DType: t.dtype, Shape: t.shape, Bytes: t.bytes, File: name}
			if err := g.take(info, header.data+t.offset, sh); err != nil {
				return nil, err
			}
		}
	}
	if total := g.metadata.uint("split.tensors.count", uint64(len(g.tensors))); split && total != uint64(len(g.tensors)) {
		return nil, &FormatError{File: files[0], Reason: fmt.Sprintf("split.tensors.count is %d, the parts hold %d tensors", total, len(g.tensors))}
	}
	g.sort()
	return g, nil
}

// Metadata is the keys and values of the file, of a split model those of its first part.
func (g *GGUF) Metadata() *Metadata { return g.metadata }

// FirstPart says whether the file is a whole model, or the first part of a split one.
func (g *GGUF) FirstPart() bool { return g.metadata.uint("split.no", 0) == 0 }

// splitFiles are the names of all parts, which must be there.
func splitFiles(fsys fs.FS, name string, count uint64) ([]string, error) {
	stem, last, ok := SplitName(name)
	if !ok || uint64(last) != count {
		return nil, &FormatError{File: name, Reason: fmt.Sprintf("split.count is %d, and the name does not end in -00001-of-%05d.gguf", count, count)}
	}
	var files, missing []string
	for i := range last {
		file := fmt.Sprintf("%s-%05d-of-%05d.gguf", stem, i+1, last)
		if _, err := fs.Stat(fsys, file); errors.Is(err, fs.ErrNotExist) {
			missing = append(missing, file)
		} else if err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	if len(missing) > 0 {
		return nil, &MissingFilesError{Index: name, Files: missing}
	}
	return files, nil
}

// SplitName takes the name of a part of a split model apart: NAME-00002-of-00003.gguf is stem NAME of
// 3 parts.
func SplitName(name string) (stem string, parts int, ok bool) {
	base, isGGUF := strings.CutSuffix(name, ".gguf")
	const tail = len("-00001-of-00003")
	if !isGGUF || len(path.Base(base)) <= tail {
		return "", 0, false
	}
	mark := base[len(base)-tail:]
	no, err1 := strconv.Atoi(mark[1:6])
	parts, err2 := strconv.Atoi(mark[10:])
	if mark[0] != '-' || mark[6:10] != "-of-" || err1 != nil || err2 != nil || no < 1 || no > parts {
		return "", 0, false
	}
	return base[:len(base)-tail], parts, true
}

// ggufTensor is an entry of a file's list of tensors.
type ggufTensor struct {
	name   string
	dtype  DType
	shape  []int
	offset int64 // from the begin of the data
	bytes  int64
}

type ggufHeader struct {
	metadata *Metadata
	tensors  []ggufTensor
	data     int64 // where it begins
}

const ggufMagic = "GGUF"

func readGGUFHeader(src *source) (*ggufHeader, error) {
	r := newGGUFReader(src)
	magic := r.bytes(4)
	if r.err == nil && string(magic) != ggufMagic {
		return nil, &FormatError{File: src.name, Reason: fmt.Sprintf("begins with %q, not with %s", magic, ggufMagic)}
	}
	version := r.u32()
	if r.err == nil {
		switch {
		case version&0xFFFF == 0 && version != 0:
			r.fail("big-endian; only little-endian files are read")
		case version != 2 && version != 3:
			r.fail("version %d; 2 and 3 are read", version)
		}
	}
	tensors, keys := r.u64(), r.u64()
	// The least that an entry takes: name, rank, one dimension, type and offset; key, type and value.
	r.fits("tensors", tensors, 8+1+4+4+8)
	r.fits("keys", keys, 8+1+4+1)
	h := &ggufHeader{metadata: newMetadata(src.name)}
	for i := uint64(0); i < keys && r.err == nil; i++ {
		r.key(h.metadata)
	}
	alignment := int64(32)
	if r.err == nil {
		alignment = r.alignment(h.metadata)
	}
	names := map[string]bool{}
	for i := uint64(0); i < tensors && r.err == nil; i++ {
		t := r.tensor(alignment)
		if r.err == nil && names[t.name] {
			r.failTensor(t.name, "listed twice")
		}
		names[t.name] = true
		h.tensors = append(h.tensors, t)
	}
	if r.err != nil {
		return nil, r.err
	}
	h.data = (r.pos + alignment - 1) / alignment * alignment
	if err := checkGGUFLayout(src, h, alignment); err != nil {
		return nil, err
	}
	return h, nil
}

// checkGGUFLayout: tensors lie one behind the other in the order of the list, each padded to the
// alignment, and the file holds them all.
func checkGGUFLayout(src *source, h *ggufHeader, alignment int64) error {
	end := int64(0)
	for _, t := range h.tensors {
		start := (end + alignment - 1) / alignment * alignment
		if t.offset != start {
			return &FormatError{File: src.name, Tensor: t.name, Reason: fmt.Sprintf("offset %d, and what is before it ends at %d", t.offset, start)}
		}
		if t.bytes > math.MaxInt64-h.data-start-alignment {
			return &FormatError{File: src.name, Tensor: t.name, Reason: "its end is beyond 63 bits"}
		}
		end = start + t.bytes
		if h.data+end > src.size {
			return &FormatError{File: src.name, Tensor: t.name, Truncated: true,
				Reason: fmt.Sprintf("cut short: it ends at byte %d, the file at %d", h.data+end, src.size)}
		}
	}
	return nil
}

// alignment is general.alignment, or 32.
func (r *ggufReader) alignment(m *Metadata) int64 {
	const key = "general.alignment"
	value, ok := m.values[key]
	if !ok {
		return 32
	}
	n, isU32 := value.(uint32)
	if !isU32 || n == 0 || n&(n-1) != 0 {
		r.fail("%s is %v (%T), not a power of two of type uint32", key, value, value)
		return 1
	}
	return int64(n)
}

func (r *ggufReader) tensor(alignment int64) ggufTensor {
	t := ggufTensor{name: r.string(maxGGUFName, "a tensor's name")}
	rank := r.u32()
	if r.err == nil && rank > maxGGUFRank {
		r.failTensor(t.name, "%d dimensions; at most %d are read", rank, maxGGUFRank)
	}
	for i := uint32(0); i < rank && r.err == nil; i++ {
		n := r.u64()
		if n > math.MaxInt64 {
			r.failTensor(t.name, "a dimension of %d", n)
			return t
		}
		t.shape = append(t.shape, int(n))
	}
	slices.Reverse(t.shape)
	number, offset := r.u32(), r.u64()
	if r.err != nil {
		return t
	}
	var ok bool
	if t.dtype, ok = ggufTypes[number]; !ok {
		r.err = &GGUFTypeError{File: r.src.name, Tensor: t.name, Number: number}
		return t
	}
	if t.bytes, ok = t.dtype.Bytes(t.shape...); !ok || elementsOverflow(t.shape) {
		if elements, _ := t.dtype.Block(); elements > 1 && len(t.shape) > 0 && t.shape[len(t.shape)-1]%elements != 0 {
			r.failTensor(t.name, "rows of %d elements are no whole blocks of %s, which has %d", t.shape[len(t.shape)-1], t.dtype, elements)
		} else {
			r.failTensor(t.name, "the size of %s %v does not fit 63 bits", t.dtype, t.shape)
		}
		return t
	}
	if offset > math.MaxInt64 || int64(offset)%alignment != 0 {
		r.failTensor(t.name, "offset %d is no multiple of the alignment %d", offset, alignment)
		return t
	}
	t.offset = int64(offset)
	return t
}

// elementsOverflow says whether the number of elements does not fit 63 bits, whatever they take.
func elementsOverflow(shape []int) bool {
	n := 1
	for _, d := range shape {
		if d != 0 && n > math.MaxInt64/d {
			return true
		}
		n *= max(d, 1)
	}
	return false
}

// GGUFTypeError is a tensor of a type that is not read. It is ErrUnsupportedDType.
type GGUFTypeError struct {
	File, Tensor string
	Number       uint32 // ggml's
}

func (e *GGUFTypeError) Error() string {
	var names []string
	for _, d := range ggufTypes {
		names = append(names, d.String())
	}
	slices.Sort(names)
	return fmt.Sprintf("%s: tensor %q: ggml type %d is not supported (%s are)", e.File, e.Tensor, e.Number, strings.Join(names, ", "))
}

func (e *GGUFTypeError) Unwrap() error { return ErrUnsupportedDType }

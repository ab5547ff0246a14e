package binding

import (
	"bytes"
	"fmt"
	"unsafe"
)

// A block is the memory through which params and results cross: outside the Go heap, so that no
// stack growth or collection can move or free it while C holds its address. One page:
//
//	[0, 1024)     params of the call
//	[1024, 2048)  results
//	[2048, 4096)  text, or the offsets of a struct layout
type block struct {
	mem []byte
}

const (
	blockResults = 1024
	blockText    = 2048
	blockBytes   = 4096
)

func newBlock() (block, error) {
	mem, err := mapBlock(blockBytes)
	if err != nil {
		return block{}, fmt.Errorf("memory for call arguments: %w", err)
	}
	return block{mem}, nil
}

func (b block) free() error { return unmapBlock(b.mem) }

func (b block) params() unsafe.Pointer  { return unsafe.Pointer(&b.mem[0]) }
func (b block) results() unsafe.Pointer { return unsafe.Pointer(&b.mem[blockResults]) }

func (b block) address(offset int) uintptr { return uintptr(unsafe.Pointer(&b.mem[offset])) }

// text is the NUL-terminated text that the library wrote.
func (b block) text() string {
	text, _, _ := bytes.Cut(b.mem[blockText:], []byte{0})
	return string(text)
}

// put copies a params struct into the block and writes its size into its first field.
func put[T any](b block, p *T) {
	to := (*T)(b.params())
	*to = *p
	*structSize(to) = uint32(unsafe.Sizeof(*p))
}

// structSize is the first field of every struct that crosses but the view.
func structSize[T any](p *T) *uint32 { return (*uint32)(unsafe.Pointer(p)) }

// result prepares the result area for a T and returns it.
func result[T any](b block) *T {
	r := (*T)(b.results())
	var zero T
	*r = zero
	return r
}

// ask prepares the result area for a struct that says its own size.
func ask[T any](b block) *T {
	r := result[T](b)
	*structSize(r) = uint32(unsafe.Sizeof(*r))
	return r
}

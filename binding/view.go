package binding

// View is a matrix inside a buffer: row i starts at Offset + i * RowStride * element size. The op
// that takes it says its rows and columns. The zero View is "none" where an op allows it.
type View struct {
	Buffer    uint64 // Buffer.ID
	Offset    int64  // bytes, a multiple of the element size
	RowStride int64  // elements; 0: packed, the op's columns
	DType     DType
	reserved0 uint32
}

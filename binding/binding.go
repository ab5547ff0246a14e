// Package binding opens a backend library and calls it: the Go side of csrc/include/llama3v.h.
//
// [Open] loads one library and checks that both sides mean the same by every function and every
// struct; [Find] looks for a backend by name, [BuildBackend] compiles the CPU backend from the
// sources in this module. A [Library] makes contexts, and a [Context] owns a device, a stream of
// work and the [Buffer], [Weight], [Graph] and [Event] objects made on it. Each op of the header
// is a method of Context that takes a params struct laid out as the header lays it out.
//
// This is the only package that knows purego and unsafe. It needs no cgo.
//
// # Goroutines
//
// A context runs one call at a time: a mutex in it makes other goroutines wait. [Context.Cancel]
// alone does not wait, and may be called at any moment. Contexts are independent of each other.
//
// # Errors
//
// A call that the library refuses returns an [*Error] with its status and text; errors.Is finds
// the sentinel of the status ([ErrOutOfMemory], ...). A value that was out of range on the device
// returns a [*FaultError] around it. Everything returns [ErrClosed] after Close.
//
// # How a call crosses
//
// Arguments are written into a slice that the context keeps, since a fresh one would be an
// allocation per call. Such a slice hides pointers from the compiler, so nothing that could move
// goes through it: params and results lie in a block of memory outside the Go heap, and a host
// byte slice is stored in the context for the length of the call, which keeps it alive and off
// the goroutine's stack.
package binding

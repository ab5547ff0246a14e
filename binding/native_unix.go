//go:build (linux || darwin) && (amd64 || arm64)

package binding

import (
	"syscall"

	"github.com/ebitengine/purego"
)

// platformError is nil where libraries can be loaded.
func platformError() error { return nil }

// dlopen loads the library with every symbol bound at once, so that a missing one is an error
// here and not a crash later, and with its names kept to itself: with RTLD_GLOBAL a second
// backend's own calls would run the first backend's code.
func dlopen(path string) (uintptr, error) {
	return purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
}

// dlsym is the address of a function, 0 when the library has none of that name.
func dlsym(handle uintptr, name string) uintptr {
	address, err := purego.Dlsym(handle, name)
	if err != nil {
		return 0
	}
	return address
}

// call runs a C function. No element of args may point into Go memory that can move or be
// collected: the compiler does not see pointers in a slice of integers.
func call(fn uintptr, args []uintptr) uintptr {
	result, _, _ := purego.SyscallN(fn, args...)
	return result
}

// callMeasurePeak is call for l3v_measure_peak, whose double among integers needs the slower way.
func callMeasurePeak(fn, ctx uintptr, kind, dtype int32, bytes int64, seconds float64, perSecond, perCycle uintptr) int32 {
	var f func(ctx uintptr, kind, dtype int32, bytes int64, seconds float64, perSecond, perCycle uintptr) int32
	purego.RegisterFunc(&f, fn)
	return f(ctx, kind, dtype, bytes, seconds, perSecond, perCycle)
}

// mapBlock is memory outside the Go heap, zeroed and aligned to a page.
func mapBlock(bytes int) ([]byte, error) {
	return syscall.Mmap(-1, 0, bytes, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
}

func unmapBlock(mem []byte) error { return syscall.Munmap(mem) }

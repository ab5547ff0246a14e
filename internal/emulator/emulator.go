//go:build linux

// Package emulator asks a library whose kernels run on the emulator of csrc/emu what it has run. It is
// for tests: only such a library has these functions.
package emulator

import (
	"sync"

	"github.com/ebitengine/purego"
)

var handles sync.Map // of libraries, by path

// Launches is how often the library at path has run a kernel, named as its launch names it:
// "matmul_kernel<X>".
func Launches(path, kernel string) (int64, error) {
	handle, ok := handles.Load(path)
	if !ok {
		h, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
		if err != nil {
			return 0, err
		}
		handle, _ = handles.LoadOrStore(path, h)
	}
	address, err := purego.Dlsym(handle.(uintptr), "l3v_emu_launches")
	if err != nil {
		return 0, err
	}
	var launches func(kernel string) int64
	purego.RegisterFunc(&launches, address)
	return launches(kernel), nil
}

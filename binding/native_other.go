//go:build !((linux || darwin) && (amd64 || arm64))

package binding

import (
	"fmt"
	"runtime"
)

// platformError says that nothing can be loaded here.
func platformError() error {
	return fmt.Errorf("%w: no backend library runs on %s/%s yet, only on linux and darwin with amd64 or arm64",
		ErrUnsupported, runtime.GOOS, runtime.GOARCH)
}

func dlopen(string) (uintptr, error)  { return 0, platformError() }
func dlsym(uintptr, string) uintptr   { return 0 }
func call(uintptr, []uintptr) uintptr { return uintptr(StatusUnsupported) }
func callMeasurePeak(_, _ uintptr, _, _ int32, _ int64, _ float64, _, _ uintptr) int32 {
	return int32(StatusUnsupported)
}
func mapBlock(int) ([]byte, error) { return nil, platformError() }
func unmapBlock([]byte) error      { return nil }

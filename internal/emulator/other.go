//go:build !linux

package emulator

import (
	"errors"
	"fmt"
)

// Launches has no emulated library to ask here.
func Launches(path, _ string) (int64, error) {
	return 0, fmt.Errorf("%s: kernels are emulated on Linux alone: %w", path, errors.ErrUnsupported)
}

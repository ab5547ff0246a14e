package need

import (
	"debug/elf"
	"os"
	"path/filepath"
	"testing"
)

// CUDALibrary is the path of the CUDA library in the folder LLAMA3V_LIB_DIR, as nvcc built it. An
// emulated one has no code for cards, and does not count. What it needs is called nvcc.
func CUDALibrary(t testing.TB) string {
	t.Helper()
	path := filepath.Join(os.Getenv("LLAMA3V_LIB_DIR"), "libllama3v-cuda.so")
	f, err := elf.Open(path)
	if err != nil {
		Missing(t, "nvcc", "`make cuda` builds the CUDA library; LLAMA3V_LIB_DIR names its folder: "+err.Error())
	}
	defer f.Close()
	if f.Section(".nv_fatbin") == nil {
		Missing(t, "nvcc", path+" is emulated")
	}
	return path
}

// Package csrc holds the C++ sources of the backends, so that a program that only fetched this
// module can build its libraries. The sources lie in subfolders: a folder with .cpp files of its
// own would be a cgo package to the go command.
package csrc

import "embed"

// Files holds include/, common/, the backends cpu/ and cuda/, what a compiler is told (flags.txt,
// exports.map), and the packages that bring a CUDA compiler (nvcc.txt).
//
//go:embed include common cpu cuda/*.cu cuda/*.cuh cuda/*.cpp cuda/*.h flags.txt exports.map nvcc.txt
var Files embed.FS

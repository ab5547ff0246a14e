// Package csrc holds the C++ sources of the backends, so that a program that only fetched this
// module can build its CPU library. The sources lie in subfolders: a folder with .cpp files of its
// own would be a cgo package to the go command.
package csrc

import "embed"

// Files holds include/, common/, cpu/ and what a compiler is told: flags.txt, exports.map.
//
//go:embed include common cpu flags.txt exports.map
var Files embed.FS

package binding

import (
	"runtime/debug"
	"strings"
)

const modulePath = "github.com/llama3v/llama3v"

// BuildCommand is the command that builds a backend into the user's cache, with the version of
// this module that the running program was built from. A development tree has no version: there
// the command runs in the tree.
func BuildCommand(backend string) string {
	info, _ := debug.ReadBuildInfo()
	return "go run " + modulePath + "/cmd/llama3v" + versionSuffix(info) + " backend build " + backend
}

// versionSuffix is "@v1.2.3" when `go run` can fetch the module at the version in info.
func versionSuffix(info *debug.BuildInfo) string {
	if info == nil {
		return ""
	}
	module := info.Main
	if module.Path == modulePath {
		// Built from a checkout, the version is made up from the newest commit.
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return ""
			}
		}
	} else {
		module = debug.Module{}
		for _, dep := range info.Deps {
			if dep.Path == modulePath && dep.Replace == nil {
				module = *dep
			}
		}
	}
	if !strings.HasPrefix(module.Version, "v") || strings.Contains(module.Version, "+dirty") {
		return ""
	}
	return "@" + module.Version
}

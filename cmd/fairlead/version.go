package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

type versionCmd struct{}

// Run prints what this binary was made of.
func (versionCmd) Run(std stdio) error {
	version, commit := build()
	_, err := fmt.Fprintf(std.out, "fairlead %s\ncommit   %s\ngo       %s %s/%s\n", version, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

// build is the version and the commit that the binary was built from, as far as the build recorded them.
func build() (version, commit string) {
	version, commit = "development", "unknown"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return version, commit
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		version = v
	}
	modified := ""
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			commit = setting.Value
		case "vcs.modified":
			if setting.Value == "true" {
				modified = " with changes"
			}
		}
	}
	return version, commit + modified
}

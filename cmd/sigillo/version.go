package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is the product's version; the build adds the revision that Go recorded, if any.
const version = "0.1.0"

// software names product and version in genesis and packages.
const software = "sigillo " + version

type versionCommand struct {
	JSON bool `help:"Print JSON."`
}

func (v *versionCommand) Run(c console) error {
	revision := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				revision = s.Value
			}
		}
	}
	if v.JSON {
		return writeJSON(c.out, map[string]string{"version": version, "revision": revision, "go": runtime.Version()})
	}
	_, err := fmt.Fprintf(c.out, "%s (revision %s, %s)\n", software, revision, runtime.Version())
	return err
}

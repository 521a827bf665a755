package config

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// Anchors says where the ledger's newest signed checkpoint is kept outside the ledger, so that one that was
// rolled back shows. With custody vault Vault is one of them.
type Anchors struct {
	Required bool          `yaml:"required"` // start only when every anchor can be asked; zero: true
	Interval time.Duration `yaml:"interval"` // least time between two marks; zero: 10s
	Vault    AnchorVault   `yaml:"vault"`
	Files    []string      `yaml:"files" as:"path"` // checkpoint files on other disks; begin as empty files
}

// AnchorVault is the anchor in Vault, of the address and credentials of keys.vault.
type AnchorVault struct {
	Mount string `yaml:"mount"` // KV version 2 mount; zero: "sigillo-anchor"
}

// presetAnchors sets what is true when nothing is written: it goes before the file is read.
func (c *Config) presetAnchors() { c.Anchors.Required = true }

func (c *Config) setAnchorDefaults() {
	fill(&c.Anchors.Interval, 10*time.Second)
	if c.Keys.Custody == "vault" {
		fill(&c.Anchors.Vault.Mount, "sigillo-anchor")
	}
}

func (v *validator) anchors() {
	c := v.config
	v.between("anchors.interval", c.Anchors.Interval, 100*time.Millisecond, time.Hour)
	v.match("anchors.vault.mount", c.Anchors.Vault.Mount, pathShape, "must be the mount's path without / at its ends (write sigillo-anchor)")
	switch m := c.Anchors.Vault.Mount; {
	case m == "":
	case c.Keys.Custody != "vault":
		v.add("anchors.vault.mount", "goes with keys.custody: vault (take it away, or write files)")
	case m == c.Keys.Vault.Mount || m == c.Keys.Vault.ClassMount:
		v.add("anchors.vault.mount", "must be a KV version 2 mount of its own (write sigillo-anchor)")
	}
	seen := make(map[string]string)
	for i, file := range c.Anchors.Files {
		at := index("anchors.files", i)
		v.unique(at, file, seen, "each anchor is a file of its own")
		if rel, err := filepath.Rel(c.Data, file); err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
			v.add(at, "lies in the data folder, and would be rolled back with it: it must lie on another disk or another host's")
		}
	}
}

// anchors wants each checkpoint file to be there: one that is missing is a disk that is not mounted.
func (k *checker) anchors() {
	for i, file := range k.config.Anchors.Files {
		_, _, err := readRegular(file, 64<<10)
		if err != nil {
			err = fmt.Errorf("%w (is its disk mounted? begin with an empty file: touch %s)", err, file)
		}
		k.see(index("anchors.files", i), err)
	}
}

package config

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestAnchorDefaults(t *testing.T) {
	c := load(t, minimal)
	if !c.Anchors.Required || c.Anchors.Interval != 10*time.Second || c.Anchors.Vault.Mount != "" || len(c.Anchors.Files) != 0 {
		t.Errorf("without the section: %+v", c.Anchors)
	}
	for text, want := range map[string]bool{"{required: false}": false, "{required: true}": true, "{required: }": true, "{interval: 1m}": true} {
		if c := load(t, minimal+"anchors: "+text+"\n"); c.Anchors.Required != want {
			t.Errorf("anchors: %s: required is %v", text, c.Anchors.Required)
		}
	}
	vault := strings.Replace(minimal, "keys: {custody: file}", `keys: {custody: vault, vault: {address: "https://v.example:8200", auth: {role_id: r, secret_id: "${env:S}"}}}`, 1)
	if c := load(t, vault); c.Anchors.Vault.Mount != "sigillo-anchor" {
		t.Errorf("with Vault the anchor's mount is %q", c.Anchors.Vault.Mount)
	}
}

func TestBadAnchors(t *testing.T) {
	vault := strings.Replace(minimal, "keys: {custody: file}", `keys: {custody: vault, vault: {address: "https://v.example:8200", auth: {role_id: r, secret_id: "${env:S}"}}}`, 1)
	for _, c := range []struct{ name, base, section, want string }{
		{"interval", minimal, "{interval: 2h}", "anchors.interval: must be from"},
		{"in the data folder", minimal, "{files: [data/mark]}", "anchors.files[0]: lies in the data folder"},
		{"twice", minimal, "{files: [a, b, ./a]}", "anchors.files[2]: is the same as anchors.files[0]"},
		{"mount without Vault", minimal, "{vault: {mount: sigillo-anchor}}", "anchors.vault.mount: goes with keys.custody: vault"},
		{"mount of keys", vault, "{vault: {mount: sigillo-class}}", "anchors.vault.mount: must be a KV version 2 mount of its own"},
		{"mount's shape", vault, "{vault: {mount: /x}}", "anchors.vault.mount: must be the mount's path"},
		{"unknown", minimal, "{vaults: {}}", "anchors.vaults: unknown key"},
	} {
		_, err := Load(write(t, "sigillo.yaml", c.base+"anchors: "+c.section+"\n"))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestAnchorFileMustBeThere(t *testing.T) {
	c := load(t, minimal+"anchors: {files: ["+filepath.Join(t.TempDir(), "mark")+"]}\n")
	var found *InvalidError
	if err := c.Check(t.Context()); !errors.As(err, &found) || !strings.Contains(found.Error(), "anchors.files[0]: ") || !strings.Contains(found.Error(), "is its disk mounted?") {
		t.Errorf("Check: %v", err)
	}
	c = load(t, minimal+"anchors: {files: ["+write(t, "mark", "")+"]}\n")
	if err := c.Check(t.Context()); err != nil && strings.Contains(err.Error(), "anchors.") {
		t.Errorf("an empty file: %v", err)
	}
}

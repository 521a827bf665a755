package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

func TestSecretIsNeverPrinted(t *testing.T) {
	const marked = "MARKED-SECRET-0815"
	t.Setenv("SIGILLO_TEST_KEY", marked)
	file := write(t, "token", marked+"\n")
	c := load(t, strings.Replace(minimal, "https://127.0.0.1:1\"}", "https://127.0.0.1:1\", headers: {X-Key: \"${file:"+file+"}\"}}", 1))
	secrets := []Secret{c.Routes[0].Upstream.Headers["X-Key"], c.Routes[1].Upstream.Headers["Ocp-Apim-Subscription-Key"]}
	for _, s := range secrets {
		if got, err := s.Reveal(); err != nil || string(got) != marked {
			t.Fatalf("%s: %v", s, err)
		}
	}
	var out bytes.Buffer
	for _, v := range []any{secrets[0], &secrets[0], secrets, c.Routes[1].Upstream, c, *c} {
		fmt.Fprintf(&out, "%v %+v %#v %s %q %x %d\n", v, v, v, v, v, v, v)
		for _, marshal := range []func(any) ([]byte, error){json.Marshal, yaml.Marshal} {
			text, err := marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			out.Write(text)
		}
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v)
	}
	if strings.Contains(out.String(), marked) || strings.Contains(out.String(), fmt.Sprintf("%x", marked)) {
		t.Error("the secret was printed")
	}
	if !strings.Contains(out.String(), "${env:SIGILLO_TEST_KEY}") {
		t.Error("the reference was not printed")
	}
}

func TestReveal(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return "${file:" + name + "}" // relative to the file's folder
	}
	t.Setenv("SIGILLO_TEST_SET", " value ")
	t.Setenv("SIGILLO_TEST_EMPTY", "")
	for _, c := range []struct{ reference, want, refused string }{
		{"${env:SIGILLO_TEST_SET}", " value ", ""},
		{"${env:SIGILLO_TEST_EMPTY}", "", "secret ${env:SIGILLO_TEST_EMPTY} is empty or not set"},
		{file("plain", "s3cret\n", 0o600), "s3cret", ""},
		{file("windows", "s3cret\r\n", 0o640), "s3cret", ""},
		{file("two lines", "a\n\n", 0o400), "a\n", ""},
		{file("empty", "\n", 0o600), "", "is empty"},
		{file("open", "s3cret", 0o644), "", "may be read or written by everybody (mode 0644): run chmod 0640"},
		{file("writable", "s3cret", 0o602), "", "may be read or written by everybody"},
		{file("huge", strings.Repeat("x", maxSecretBytes+1), 0o600), "", "larger than 65536 bytes"},
		{"${file:nowhere}", "", "no such file"},
		{"${file:.}", "", "not a regular file"},
	} {
		s, err := parseSecret(c.reference, dir)
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.Reveal()
		if c.refused == "" && (err != nil || string(got) != c.want) {
			t.Errorf("%s: %q, %v", c.reference, got, err)
		}
		if c.refused != "" && (err == nil || !strings.Contains(err.Error(), c.refused) || strings.Contains(err.Error(), "s3cret")) {
			t.Errorf("%s: error %v, expected %q", c.reference, err, c.refused)
		}
	}
	if _, err := (Secret{}).Reveal(); err == nil || !(Secret{}).IsZero() {
		t.Errorf("no secret: %v", err)
	}

	s, err := parseSecret("${file:plain}", dir)
	if err != nil {
		t.Fatal(err)
	}
	file("plain", "renewed", 0o600)
	if got, err := s.Reveal(); err != nil || string(got) != "renewed" {
		t.Errorf("a renewed file gave %q, %v", got, err)
	}
}

func TestSizeText(t *testing.T) {
	for text, bytes := range map[string]Size{"0": 0, "1B": 1, "64KiB": 64 << 10, "16MiB": 16 << 20, "3GiB": 3 << 30, "2TiB": 2 << 40, "1025B": 1025} {
		got, err := parseSize(text)
		if err != nil || got != bytes || got.String() != text {
			t.Errorf("%s: %d, %s, %v", text, got, got, err)
		}
	}
}

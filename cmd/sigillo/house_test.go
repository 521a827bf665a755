package main

import (
	"bufio"
	"bytes"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../.."

// layer tells who may import whom: a package imports its own layer only within its own room, and else
// strictly lower ones. cmd → {gateway, archive, console} → {ledger, policies} → {signing, certs} → exchange.
var layers = []struct {
	prefix string
	layer  int
}{
	{"cmd/", 5},
	{"internal/testbed", 4}, // real peers for tests and the demo
	{"internal/config", 4}, {"internal/telemetry", 4}, {"internal/console", 4},
	{"internal/bench", 4},
	{"gateway", 4}, {"archive", 4},
	{"ledger", 3}, {"policies", 3},
	{"signing", 2}, {"certs", 2},
	{"internal/pagopa", 1},
	{"internal/exchange", 0},
}

func layerOf(pkg string) (room string, layer int) {
	for _, l := range layers {
		if pkg == strings.TrimSuffix(l.prefix, "/") || strings.HasPrefix(pkg, strings.TrimSuffix(l.prefix, "/")+"/") {
			return l.prefix, l.layer
		}
	}
	return "", -1
}

// sourceFiles gives the Go files of the product's module, nested modules left out.
func sourceFiles(t *testing.T) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
				return filepath.SkipDir
			}
			if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil && path != root {
				return filepath.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(path, ".go") {
			rel, err := filepath.Rel(root, path)
			files = append(files, rel)
			return err
		}
		return nil
	})
	if err != nil || len(files) < 20 {
		t.Fatalf("%d source files found, %v", len(files), err)
	}
	return files
}

// imports are the import paths of one file.
func imports(t *testing.T, file string) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, file), nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, i := range f.Imports {
		out = append(out, strings.Trim(i.Path.Value, `"`))
	}
	return out
}

func TestImportsPointOneWay(t *testing.T) {
	for _, file := range sourceFiles(t) {
		room, layer := layerOf(filepath.Dir(file))
		if layer < 0 {
			t.Errorf("%s lies in no room of the house", file)
			continue
		}
		test := strings.HasSuffix(file, "_test.go")
		for _, imp := range imports(t, file) {
			own, ok := strings.CutPrefix(imp, "sigillo/")
			if !ok {
				if imp == "testing" && !test {
					t.Errorf("%s is no test and imports testing", file)
				}
				continue
			}
			to, below := layerOf(own)
			if test && to == "internal/testbed" {
				continue
			}
			if to != room && below >= layer {
				t.Errorf("%s imports %s: imports point one way", file, imp)
			}
			if room != "cmd/" && (to == "internal/config" || to == "internal/console" || to == "internal/telemetry" || to == "internal/bench") && to != room {
				t.Errorf("%s imports %s: only cmd does", file, imp)
			}
		}
	}
}

func TestGivenLibrariesHaveOneHome(t *testing.T) {
	homes := map[string]string{"github.com/lestrrat-go/jwx/v2": "signing", "github.com/digitorus/pkcs7": "signing", "github.com/dgraph-io/badger/v4": "ledger",
		"github.com/hashicorp/vault/api": "signing", "github.com/cedar-policy/cedar-go": "policies"}
	seen := map[string]bool{}
	for _, file := range sourceFiles(t) {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		for _, imp := range imports(t, file) {
			for lib, home := range homes {
				if imp != lib && !strings.HasPrefix(imp, lib+"/") {
					continue
				}
				seen[lib] = true
				if dir := filepath.Dir(file); dir != home && !strings.HasPrefix(dir, home+"/") {
					t.Errorf("%s imports %s, whose home is %s", file, imp, home)
				}
			}
		}
	}
	for lib := range homes {
		if !seen[lib] {
			t.Errorf("nobody imports %s", lib)
		}
	}
}

func TestNamesSayWhatLivesThere(t *testing.T) {
	empty := regexp.MustCompile(`^(utils?|commons?|helpers?|managers?|misc|types|models)$`)
	for _, file := range sourceFiles(t) {
		for _, part := range strings.Split(strings.TrimSuffix(file, ".go"), "/") {
			if empty.MatchString(part) {
				t.Errorf("%s: %q says nothing", file, part)
			}
		}
	}
}

func TestFilesAreShort(t *testing.T) {
	for _, file := range sourceFiles(t) {
		b, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(b, []byte("\n")); n > 400 {
			t.Errorf("%s has %d lines: is there a second thing in it that wants its own name?", file, n)
		}
	}
}

func TestEveryRoomOpensWithADocComment(t *testing.T) {
	rooms := map[string]bool{}
	for _, file := range sourceFiles(t) {
		if dir := filepath.Dir(file); !strings.HasPrefix(dir, "cmd/") && !strings.HasSuffix(file, "_test.go") {
			rooms[dir] = rooms[dir] || filepath.Base(file) == "doc.go"
		}
	}
	for dir, has := range rooms {
		if b, err := os.ReadFile(filepath.Join(root, dir, "main.go")); err == nil && bytes.HasPrefix(b, []byte("// Command ")) {
			continue
		}
		if !has {
			t.Errorf("%s has no doc.go", dir)
		}
	}
}

// TestJudgesAreNotLinked: what judges our log and our packages in tests must not be part of what it judges.
func TestJudgesAreNotLinked(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", "./cmd/sigillo")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	judges := []string{"golang.org/x/mod", "github.com/transparency-dev/", "github.com/google/trillian", "filippo.io/", "testing"}
	found := bufio.NewScanner(bytes.NewReader(out))
	lines := 0
	for found.Scan() {
		lines++
		for _, j := range judges {
			if dep := found.Text(); dep == j || strings.HasPrefix(dep, strings.TrimSuffix(j, "/")+"/") {
				t.Errorf("the binary links %s", dep)
			}
		}
	}
	if lines < 100 {
		t.Errorf("go list named %d packages", lines)
	}
}

package testbed

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestBuiltOnceUntilItsSourcesChange builds a module of one file: the second call gives the kept program,
// an edit gives another.
func TestBuiltOnceUntilItsSourcesChange(t *testing.T) {
	root := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Chdir(root)
	says := func(text string) {
		t.Helper()
		for name, b := range map[string]string{"lab/go.mod": "module lab\n\ngo 1.26\n",
			"lab/says/main.go": "package main\n\nfunc main() { print(\"" + text + "\") }\n"} {
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, []byte(b), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	built := func() (string, string) {
		t.Helper()
		bin, err := Built(t.Context(), "lab", "./says")
		if err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(bin).CombinedOutput()
		if err != nil {
			t.Fatal(err)
		}
		return bin, string(out)
	}
	says("one")
	first, out := built()
	if out != "one" || filepath.Base(first) != "says" {
		t.Fatalf("%s said %q", first, out)
	}
	was, err := os.Stat(first)
	if err != nil {
		t.Fatal(err)
	}
	again, _ := built()
	if is, err := os.Stat(again); err != nil || again != first || !os.SameFile(was, is) {
		t.Errorf("built twice: %s, then %s (%v)", first, again, err)
	}
	says("two")
	if other, out := built(); other == first || out != "two" {
		t.Errorf("after an edit %s still says %q", other, out)
	}
	if _, err := Built(t.Context(), "no/such/module", "."); err == nil {
		t.Error("a module that is not there was built")
	}
}

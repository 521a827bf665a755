package testbed

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Built gives the path of a program of a nested module: built on first use and kept in the user's cache
// under the digest of the module's sources, so an edit of any of them builds anew. module is the module's
// directory from the project's root, with slashes ("internal/testbed/vaultlab"); pkg is "." or another
// package of it ("./tlogproof"), or the import path of a command that its go.mod pins as a tool. Processes
// that ask at once build it once.
func Built(ctx context.Context, module, pkg string) (string, error) {
	src, err := moduleSource(module)
	if err != nil {
		return "", err
	}
	digest, err := digestOfModule(src)
	if err != nil {
		return "", fmt.Errorf("reading the sources of %s: %w", module, err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "sigillo", path.Base(module), digest)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	name := path.Base(path.Join(module, pkg))
	lock, err := os.OpenFile(filepath.Join(dir, name+".lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return "", fmt.Errorf("waiting for another build of %s: %w", name, err)
	}
	bin := filepath.Join(dir, name)
	if _, err := os.Stat(bin); err == nil {
		return bin, nil
	}
	tmp := bin + ".tmp"
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", tmp, pkg)
	cmd.Dir = src
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s of %s: %w: %s", pkg, module, err, out)
	}
	return bin, os.Rename(tmp, bin)
}

// moduleSource finds a nested module from the working directory upwards.
func moduleSource(module string) (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		src := filepath.Join(dir, filepath.FromSlash(module))
		if _, err := os.Stat(filepath.Join(src, "go.mod")); err == nil {
			return src, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("no module " + module + " above the working directory")
		}
		dir = up
	}
}

// digestOfModule is taken over the names and bytes of all that a build of the module reads, in order.
func digestOfModule(src string) (string, error) {
	h := sha256.New()
	err := filepath.WalkDir(src, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		if base := d.Name(); base != "go.mod" && base != "go.sum" && !strings.HasSuffix(base, ".go") {
			return nil
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(src, name)
		fmt.Fprintf(h, "%s %d\n", rel, len(b))
		h.Write(b)
		return err
	})
	return fmt.Sprintf("%x", h.Sum(nil))[:32], err
}

package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Subjects of the table. Each runs in a process of its own, so that CPU and memory are its alone.
const (
	SubjectPlain   = "plain"
	SubjectLimit   = "limit"
	SubjectSigillo = "sigillo"
	SubjectTessera = "tessera"
)

// Worker is a command that runs one load of one subject in an empty directory and prints a Sample as JSON.
type Worker struct {
	Subject string
	Command []string // executable and leading arguments
}

// PeerBinary is the name of Tessera's worker, which scripts/bench-peers builds.
const PeerBinary = "tessera-posix"

// Run starts the worker in dir, which must be empty and there.
func (w Worker) Run(ctx context.Context, dir string, l Load, stderr io.Writer) (Sample, error) {
	var s Sample
	args := append(w.Command[1:len(w.Command):len(w.Command)], "--writers", strconv.Itoa(l.Writers), "--size", strconv.Itoa(l.Size),
		"--warm", l.Warm.String(), "--duration", l.Duration.String(), "--dir", dir)
	cmd := exec.CommandContext(ctx, w.Command[0], args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return s, fmt.Errorf("worker of %s: %w: %s", w.Subject, err, strings.TrimSpace(said.String()))
	}
	if _, err := io.Copy(stderr, &said); err != nil {
		return s, err
	}
	if err := json.Unmarshal(out.Bytes(), &s); err != nil {
		return s, fmt.Errorf("worker of %s: its answer: %w", w.Subject, err)
	}
	return s, nil
}

// ErrNoPeer says that a peer was not built.
var ErrNoPeer = errors.New("absent: build it with scripts/bench-peers")

// FindPeer gives Tessera's worker: in dir when it is given, else the newest that scripts/bench-peers left in
// the user's cache. ErrNoPeer: there is none.
func FindPeer(dir string) (Worker, error) {
	w := Worker{Subject: SubjectTessera}
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return w, err
		}
		dir = filepath.Join(cache, "sigillo", "benchpeers")
	}
	path := filepath.Join(dir, PeerBinary)
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return w, ErrNoPeer
	}
	if err != nil {
		return w, err
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0 {
		return w, fmt.Errorf("%s is no executable file", path)
	}
	w.Command = []string{path}
	return w, nil
}

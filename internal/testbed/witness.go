package testbed

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// BuildWitness gives the path of the third-party witness (internal/testbed/witnesslab).
func BuildWitness(ctx context.Context) (string, error) {
	return Built(ctx, "internal/testbed/witnesslab", ".")
}

// Witness is a running C2SP tlog-witness: the omniwitness of transparency-dev, in a process of its own.
type Witness struct {
	URL string // submission prefix, http on the loopback
	Key string // C2SP vkey of its cosignature/v1 key

	start []string
	cmd   *exec.Cmd
	stdin io.Closer
	done  chan error
}

// StartWitness starts a witness that serves the logs of the given verifier keys. Its key and what it has
// cosigned stay in dir, so that Stop and Restart lose nothing, and another start in dir goes on from there.
func StartWitness(ctx context.Context, dir, name string, logs ...string) (*Witness, error) {
	bin, err := BuildWitness(ctx)
	if err != nil {
		return nil, err
	}
	w := &Witness{start: []string{bin, "-db", filepath.Join(dir, "witness.db"), "-key", filepath.Join(dir, "witness.key"), "-name", name}}
	for _, l := range logs {
		w.start = append(w.start, "-log", l)
	}
	return w, w.launch()
}

// launch starts the process and waits for its first line, which says where it serves.
func (w *Witness) launch(more ...string) error {
	w.cmd = exec.Command(w.start[0], append(w.start[1:len(w.start):len(w.start)], more...)...)
	w.cmd.Stderr = io.Discard
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if w.stdin, err = w.cmd.StdinPipe(); err != nil {
		return err
	}
	if err := w.cmd.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	var facts struct {
		Address string `json:"address"`
		VKey    string `json:"vkey"`
	}
	if err == nil {
		err = json.Unmarshal(line, &facts)
	}
	w.done = make(chan error, 1)
	go func() { w.done <- w.cmd.Wait() }()
	if err != nil {
		return errors.Join(fmt.Errorf("the witness did not start: %w", err), w.Stop())
	}
	w.URL, w.Key = facts.Address, facts.VKey
	return nil
}

// Restart starts a stopped witness on its old address.
func (w *Witness) Restart() error {
	return w.launch("-listen", strings.TrimPrefix(w.URL, "http://"))
}

// Stop kills the witness, as a crash would, and waits; a second Stop is no error.
func (w *Witness) Stop() error {
	if err := w.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-w.done // it was killed: its exit code says nothing
	w.done <- nil
	return nil
}

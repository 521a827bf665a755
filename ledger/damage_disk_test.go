package ledger

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sigillo/internal/testbed"
)

const mib = 1 << 20

// smallDisk mounts a tmpfs and gives a directory for a ledger on it.
func smallDisk(t *testing.T, size int64) *testbed.Disk {
	t.Helper()
	d, err := testbed.MountSmall(t.TempDir(), size)
	if err != nil {
		t.Skipf("a full disk needs one of its own: %v", err)
	}
	t.Cleanup(func() { must(t, d.Close()) })
	return d
}

// ballast takes room on a disk until leave bytes are free.
func ballast(t *testing.T, dir string, leave uint64) string {
	t.Helper()
	free, err := freeSpace(dir)
	must(t, err)
	path := filepath.Join(dir, "ballast")
	if free > leave {
		must(t, reserve(path, int64(free-leave)))
	}
	return path
}

// TestFullDiskKillsAndLosesNothing: without the stop mark Badger dies of SIGBUS on a full disk. It must
// come back once there is room, and nothing that was acknowledged may be missing.
func TestFullDiskKillsAndLosesNothing(t *testing.T) {
	disk := smallDisk(t, 128*mib)
	dir, k := filepath.Join(disk.Dir, "ledger"), newSeedKeys(21)
	filler := ballast(t, disk.Dir, 24*mib)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), writerEnv+"="+dir, writerEnv+"_FULL=1")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	var acks []ack
	for in := bufio.NewScanner(out); in.Scan(); {
		var a ack
		if n, _ := fmt.Sscanf(in.Text(), "ack %s %d %s", &a.exchange, &a.n, &a.entry); n == 3 {
			acks = append(acks, a)
		}
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(stderr.String(), "SIGBUS") {
		t.Fatalf("the writer did not die of the full disk: %v, %.200s", err, stderr.String())
	}
	if len(acks) < 100 {
		t.Fatalf("only %d acknowledged before the disk was full", len(acks))
	}
	_, err = Open(t.Context(), testOptions(dir, k))
	if !errors.Is(err, ErrNoSpace) || !strings.Contains(err.Error(), "make room") {
		t.Fatalf("on the full disk: %v", err)
	}
	must(t, os.Remove(filler))
	l := openTest(t, dir, k)
	closeTest(t, l)
	wantIntact(t, verifyDir(t, dir, k))
	if lost := missing(t, dir, acks); lost > 0 {
		t.Errorf("%d of %d acknowledged entries are gone", lost, len(acks))
	}
}

// TestReserveLetsAFullDiskStart: another program fills the disk; the reserve is enough to get up, to
// recover and to be read, and is laid down again when there is room.
func TestReserveLetsAFullDiskStart(t *testing.T) {
	disk := smallDisk(t, 64*mib)
	dir, k := filepath.Join(disk.Dir, "ledger"), newSeedKeys(22)
	o := testOptions(dir, k)
	o.DiskStop, o.DiskWarn = 8*mib, 16*mib
	l, err := Open(t.Context(), o)
	must(t, err)
	fill(t, l, 3)
	closeTest(t, l)
	info, err := os.Stat(filepath.Join(dir, reserveFileName))
	if err != nil || info.Size() != 12*mib {
		t.Fatalf("the reserve: %v, %v", info, err)
	}
	filler := ballast(t, disk.Dir, 1*mib)
	if l, err = Open(t.Context(), o); err != nil {
		t.Fatalf("on a full disk with a reserve: %v", err)
	}
	if state, free, err := l.DiskState(); state == DiskOK || err != nil {
		t.Errorf("with %d MiB free the disk is in state %d, %v", free/mib, state, err)
	}
	closeTest(t, l)
	if _, err := os.Stat(filepath.Join(dir, reserveFileName)); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("the reserve was not freed: %v", err)
	}
	must(t, os.Remove(filler))
	filler = ballast(t, disk.Dir, 1*mib)
	if _, err = Open(t.Context(), o); !errors.Is(err, ErrNoSpace) || !strings.Contains(err.Error(), "disk.stop") {
		t.Fatalf("on a full disk without a reserve: %v", err)
	}
	must(t, os.Remove(filler))
	l, err = Open(t.Context(), o)
	must(t, err)
	if state, _, err := l.DiskState(); state != DiskOK || err != nil {
		t.Errorf("with room again: state %d, %v", state, err)
	}
	filler = ballast(t, disk.Dir, 4*mib)
	if state, _, _ := l.DiskState(); state != DiskStop {
		t.Errorf("with 4 MiB free: state %d", state)
	}
	if _, err := l.Record(t.Context(), requestRecord(newID(), nil)); !errors.Is(err, ErrNoSpace) {
		t.Errorf("an entry below the stop mark: %v", err)
	}
	must(t, os.Remove(filler))
	closeTest(t, l)
	if _, err := os.Stat(filepath.Join(dir, reserveFileName)); err != nil {
		t.Errorf("the reserve was not laid down again: %v", err)
	}
	wantIntact(t, verifyDir(t, dir, k))
}

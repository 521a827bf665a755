package ledger

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"sigillo/internal/exchange"
	"sigillo/internal/testbed"
)

const writerEnv = "SIGILLO_TEST_WRITER"

// TestMain lets the test binary be the process that is killed: it records exchanges as fast as it can
// and says on standard output which were acknowledged.
func TestMain(m *testing.M) {
	if dir := os.Getenv(writerEnv); dir != "" {
		if err := writeForEver(dir, os.Getenv(writerEnv+"_NOSYNC") != ""); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

func writeForEver(dir string, noSync bool) error {
	o := testOptions(dir, newSeedKeys(21))
	o.noSync = noSync
	if os.Getenv(writerEnv+"_FULL") != "" {
		o.DiskStop = 1 // nothing stops it before the disk is full
	}
	l, err := Open(context.Background(), o)
	if err != nil {
		return err
	}
	fmt.Println("open")
	var mu sync.Mutex
	failed := make(chan error)
	for range 64 {
		go func() {
			for {
				req := requestRecord(newID(), make([]byte, 500+rand.IntN(3000)))
				at, err := l.Record(context.Background(), req)
				var end exchange.Recorded
				if err == nil {
					end, err = l.Record(context.Background(), responseRecord(req, at, make([]byte, rand.IntN(3000))))
				}
				if err != nil {
					failed <- err
					return
				}
				mu.Lock()
				fmt.Printf("ack %s %d %s\n", req.Exchange, end.N, Hash(end.Entry))
				mu.Unlock()
			}
		}()
	}
	return <-failed
}

type ack struct {
	exchange exchange.ID
	n        uint64
	entry    string
}

// runWriter starts a writer on dir and, after it has acknowledged some, calls stop and kills it. It
// returns everything that the writer said it had acknowledged.
func runWriter(t *testing.T, dir string, noSync bool, after int, stop func()) []ack {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), writerEnv+"="+dir)
	if noSync {
		cmd.Env = append(cmd.Env, writerEnv+"_NOSYNC=1")
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var acks []ack
	in := bufio.NewScanner(out)
	killed := false
	for in.Scan() {
		var a ack
		if n, _ := fmt.Sscanf(in.Text(), "ack %s %d %s", &a.exchange, &a.n, &a.entry); n == 3 {
			acks = append(acks, a)
		}
		if !killed && len(acks) >= after {
			killed = true
			stop()
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait() // it was killed
	if !killed {
		t.Fatalf("the writer ended by itself: %s", stderr.String())
	}
	return acks
}

// missing counts the acknowledged entries that are not in the ledger as acknowledged.
func missing(t *testing.T, dir string, acks []ack) int {
	t.Helper()
	l, _, err := OpenLog(t.Context(), dir, quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	lost := 0
	for _, a := range acks {
		s, err := l.Entry(t.Context(), a.n)
		if err != nil || s.Exchange != a.exchange || EntryHash(s.Bytes).String() != a.entry {
			lost++
		}
	}
	return lost
}

func TestKillLosesNothingAcknowledged(t *testing.T) {
	dir, k := t.TempDir(), newSeedKeys(21)
	var acks []ack
	recovered := int64(0)
	for range 6 {
		acks = append(acks, runWriter(t, dir, false, 1+rand.IntN(400), func() {})...)
		before, _, err := OpenLog(t.Context(), dir, quiet()) // unclean: read in a copy
		if err != nil {
			t.Fatal(err)
		}
		if err := before.Close(); err != nil {
			t.Fatal(err)
		}
		if StoppedCleanly(dir) {
			t.Fatal("a killed writer left the sign of a clean stop")
		}
		l := openTest(t, dir, k)
		closeTest(t, l)
		v := verifyDir(t, dir, k)
		wantIntact(t, v)
		if v.Counts["open_exchanges"] != 0 {
			t.Errorf("%d exchanges are open after recovery", v.Counts["open_exchanges"])
		}
		if v.Counts["receipts_pending"] != 0 {
			t.Errorf("%d receipts still pending", v.Counts["receipts_pending"])
		}
		recovered = v.Counts["kind:recovery"]
	}
	if lost := missing(t, dir, acks); lost > 0 {
		t.Errorf("%d of %d acknowledged entries are gone", lost, len(acks))
	}
	if recovered == 0 {
		t.Error("six kills with 64 exchanges in flight left no exchange open: the test did not hit")
	}
	kept, err := filepath.Glob(filepath.Join(dir, preservedDirName, "*", headFileName))
	if err != nil || len(kept) != 6 {
		t.Errorf("%d of 6 unclean stops kept their files, %v", len(kept), err)
	}
}

// powerMount mounts a fresh ext4 from a loop file; cut makes it lose its power, remount brings it back.
func powerMount(t *testing.T) (dir string, cut, remount func()) {
	t.Helper()
	d, err := testbed.MountDisk(t.TempDir(), 1<<30)
	if err != nil {
		t.Skipf("a power cut needs a disk of its own: %v", err)
	}
	t.Cleanup(func() { must(t, d.Close()) })
	return d.Dir, func() { must(t, d.Cut()) }, func() { must(t, d.Remount()) }
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestPowerCutLosesNothingAcknowledged(t *testing.T) {
	mnt, cut, remount := powerMount(t)
	dir, k := filepath.Join(mnt, "ledger"), newSeedKeys(21)
	var acks []ack
	for range 4 {
		acks = append(acks, runWriter(t, dir, false, 50+rand.IntN(300), cut)...)
		remount()
		l := openTest(t, dir, k)
		closeTest(t, l)
		wantIntact(t, verifyDir(t, dir, k))
		if lost := missing(t, dir, acks); lost > 0 {
			t.Fatalf("%d of %d acknowledged entries are gone", lost, len(acks))
		}
	}
}

// TestPowerCutWithoutSyncLoses shows that the test above can fail: the same cut with SyncWrites off
// loses what was acknowledged, and the ledger refuses to go on.
func TestPowerCutWithoutSyncLoses(t *testing.T) {
	mnt, cut, remount := powerMount(t)
	dir := filepath.Join(mnt, "ledger")
	acks := runWriter(t, dir, true, 400, cut)
	remount()
	l, err := Open(t.Context(), testOptions(dir, newSeedKeys(21)))
	if err != nil {
		var behind *BehindError
		if !errors.As(err, &behind) {
			t.Logf("refused: %v", err)
		}
		return // noticed, and refused to serve
	}
	closeTest(t, l)
	if missing(t, dir, acks) == 0 {
		t.Error("nothing was lost without syncing: the power cut cuts nothing")
	}
}

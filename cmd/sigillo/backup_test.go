package main

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sigillo/ledger"
)

// backupProcess starts 'sigillo backup' as a process of its own and waits until it has written to its part
// some times.
func backupProcess(t *testing.T, config, to string, writes int) *exec.Cmd {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unix.InotifyAddWatch(fd, to, unix.IN_CREATE|unix.IN_MODIFY|unix.IN_MOVED_FROM); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "backup", "-c", config, "--to", to)
	cmd.Env = append(os.Environ(), "SIGILLO_TEST_MAIN=1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	for seen := 0; seen <= writes; {
		n, err := unix.Read(fd, buf)
		if err != nil {
			t.Fatal(err)
		}
		seen++
		if strings.Contains(string(buf[:n]), "manifest") {
			break // it was faster than we
		}
	}
	if err := unix.Close(fd); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// TestKilledBackupLeavesTheEarlierOne kills backups of a serving gateway at random moments, and then the
// gateway itself during one. The backup of before stands each time, and the last one restores to a gateway
// that serves on and has every exchange that was answered before it began.
func TestKilledBackupLeavesTheEarlierOne(t *testing.T) {
	s := demoSiteForTest(t, filepath.Join(t.TempDir(), "site"))
	to := filepath.Join(t.TempDir(), "backup")
	p := startRun(t, s)
	c := startCallers(s, s.route("psp-out"), "text/xml", []byte(verifyNotice), 32)
	<-c.more(300)
	code, out, stderr := sigillo(t, "backup", "-c", s.config, "--to", to)
	if code != 0 || !strings.HasPrefix(out, "part 1 of "+to+": ") {
		t.Fatalf("backup: code %d, %s%s", code, out, stderr)
	}
	whole := func() {
		t.Helper()
		if code, out, stderr := sigillo(t, "backup", "verify", to); code != 0 {
			t.Fatalf("backup verify: code %d, %s%s", code, out, stderr)
		}
	}
	unfinished := 0
	for range 8 {
		<-c.more(50)
		cmd := backupProcess(t, s.config, to, rand.IntN(4))
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // it was killed
		if left, err := filepath.Glob(filepath.Join(to, "*.unfinished")); err != nil {
			t.Fatal(err)
		} else if len(left) > 0 {
			unfinished++
		}
		whole()
	}
	if unfinished == 0 {
		t.Error("no kill left an unfinished part: the test did not hit")
	}
	cmd := backupProcess(t, s.config, to, 0)
	p.kill(t)
	answered := c.stop()
	_ = cmd.Wait() // it may just have ended
	whole()
	p = startRun(t, s)
	var r backupReport
	code, out, stderr = sigillo(t, "backup", "-c", s.config, "--to", to, "--json")
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != 0 || !r.Added || r.Part.Since == 0 || r.NewEntries == 0 {
		t.Fatalf("incremental backup: code %d, %s%s", code, out, stderr)
	}
	p.stop(t)
	restored := filepath.Join(t.TempDir(), "restored")
	code, out, stderr = sigillo(t, "restore", "-c", s.config, "--from", to, "--to", restored)
	if code != 0 || ledger.StoppedCleanly(restored) {
		t.Fatalf("restore: code %d, %s%s", code, out, stderr)
	}
	moveLedger(t, s, restored)
	startRun(t, s).stop(t)
	inLedger(t, s, answered)
	if code, out, stderr := sigillo(t, "backup", "-c", s.config, "--to", to); code != 0 {
		t.Errorf("the restored ledger does not go on with its backup: code %d, %s%s", code, out, stderr)
	}
}

// TestBackupAndRestoreRefuseInTheUsersWords: exit codes, and nothing touched.
func TestBackupAndRestoreRefuseInTheUsersWords(t *testing.T) {
	s := demoSiteForTest(t, filepath.Join(t.TempDir(), "site"))
	to := filepath.Join(t.TempDir(), "backup")
	if code, _, stderr := sigillo(t, "backup", "-c", s.config, "--to", to); code != exitUndetermined || !strings.Contains(stderr, "no ledger") {
		t.Errorf("backup of no ledger: code %d, %s", code, stderr)
	}
	startRun(t, s).stop(t)
	if code, out, stderr := sigillo(t, "backup", "-c", s.config, "--to", to); code != 0 || !strings.Contains(out, "new") {
		t.Fatalf("backup of a stopped ledger: code %d, %s%s", code, out, stderr)
	}
	if code, out, _ := sigillo(t, "backup", "-c", s.config, "--to", to); code != 0 || !strings.Contains(out, "nothing has changed") {
		t.Errorf("backup without a change: code %d, %s", code, out)
	}
	data := dataDir(t, s)
	for _, inside := range []string{data, filepath.Join(data, "backup")} {
		if code, _, stderr := sigillo(t, "backup", "-c", s.config, "--to", inside); code != exitUsage || !strings.Contains(stderr, "own directory") {
			t.Errorf("backup into the ledger: code %d, %s", code, stderr)
		}
		if _, err := os.Stat(filepath.Join(inside, "manifest.json")); !os.IsNotExist(err) {
			t.Errorf("a refused backup left something: %v", err)
		}
	}
	if code, _, stderr := sigillo(t, "restore", "--from", to, "--to", s.dir); code != exitUsage || !strings.Contains(stderr, "not empty") {
		t.Errorf("restore over something: code %d, %s", code, stderr)
	}
	if code, _, stderr := sigillo(t, "restore", "--from", t.TempDir(), "--to", filepath.Join(t.TempDir(), "x")); code != exitUsage || !strings.Contains(stderr, "not the directory of a backup") {
		t.Errorf("restore of nothing: code %d, %s", code, stderr)
	}
	part := filepath.Join(to, "0001.part")
	b, err := os.ReadFile(part)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	write(t, part, string(b))
	if code, out, _ := sigillo(t, "backup", "verify", to); code != exitNegative || !strings.Contains(out, "0001.part: ") {
		t.Errorf("verify of an altered part: code %d, %s", code, out)
	}
	gone := filepath.Join(t.TempDir(), "x")
	if code, _, stderr := sigillo(t, "restore", "--from", to, "--to", gone); code != exitNegative || !strings.Contains(stderr, "0001.part: ") {
		t.Errorf("restore of an altered part: code %d, %s", code, stderr)
	}
	if _, err := os.Stat(gone); !os.IsNotExist(err) {
		t.Errorf("a refused restore left something: %v", err)
	}
}

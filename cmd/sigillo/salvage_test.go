package main

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestDamagedLedgerIsRefusedSalvagedAndServesAgain walks the way of an operator whose disk has eaten the
// store's MANIFEST: run refuses, verify says broken, salvage rebuilds, and the rebuilt ledger serves.
func TestDamagedLedgerIsRefusedSalvagedAndServesAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "site")
	s := demoSiteForTest(t, dir)
	p := startRun(t, s)
	c := startCallers(s, s.route("psp-out"), "text/xml", []byte(verifyNotice), 4)
	<-c.more(20)
	answered := c.stop()
	p.stop(t)
	data := filepath.Join(filepath.Dir(s.config), "ledger")
	if err := os.Remove(filepath.Join(data, "store", "MANIFEST")); err != nil {
		t.Fatal(err)
	}
	run := exec.Command(os.Args[0], "run", "-c", s.config)
	run.Env = append(os.Environ(), "SIGILLO_TEST_MAIN=1")
	if out, err := run.CombinedOutput(); run.ProcessState.ExitCode() != exitNegative || !strings.Contains(string(out), "MANIFEST: is missing") || !strings.Contains(string(out), "ledger salvage") {
		t.Fatalf("run on a damaged ledger: %v: %s", err, out)
	}
	if code, out, _ := sigillo(t, "verify", "-c", s.config); code != exitNegative || !strings.Contains(out, "MANIFEST: is missing") {
		t.Fatalf("verify of a damaged ledger: exit %d: %s", code, out)
	}
	out := filepath.Join(t.TempDir(), "out")
	code, said, stderr := sigillo(t, "ledger", "salvage", "-c", s.config, "--out", out)
	if code != exitGood || !strings.Contains(said, "rebuilt in") {
		t.Fatalf("salvage: exit %d: %s %s", code, said, stderr)
	}
	if code, _, _ := sigillo(t, "ledger", "salvage", "-c", s.config, "--out", out); code != exitUsage {
		t.Errorf("salvage into a directory in use: exit %d", code)
	}
	if err := os.Rename(data, data+"-damaged"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(out, "ledger"), data); err != nil {
		t.Fatal(err)
	}
	startRun(t, s).stop(t)
	v := inLedger(t, s, answered)
	if v.Counts["kind:notice"] != 1 {
		t.Errorf("the salvage is not in the ledger: %v", v.Counts)
	}
}

// TestSalvageWithGapsIsANegativeAnswer: exit 1, what is lost is named, and no ledger is made.
func TestSalvageWithGapsIsANegativeAnswer(t *testing.T) {
	s := demoSiteForTest(t, filepath.Join(t.TempDir(), "site"))
	p := startRun(t, s)
	c := startCallers(s, s.route("psp-out"), "text/xml", []byte(verifyNotice), 4)
	<-c.more(5)
	c.stop()
	p.stop(t)
	files, err := filepath.Glob(filepath.Join(filepath.Dir(s.config), "ledger", "store", "*.vlog"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	if err := os.Truncate(files[0], 5000); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out")
	code, said, _ := sigillo(t, "ledger", "salvage", "-c", s.config, "--out", out)
	if code != exitNegative || !strings.Contains(said, "missing        entries") || !strings.Contains(said, "restore a backup") {
		t.Errorf("exit %d: %s", code, said)
	}
	if _, err := os.Stat(filepath.Join(out, "ledger")); err == nil {
		t.Error("a shortened ledger was made")
	}
}

// TestReadinessWarnsOfTheDisk: below disk.warn the gateway is ready, and says what to look after.
func TestReadinessWarnsOfTheDisk(t *testing.T) {
	s := demoSiteForTest(t, filepath.Join(t.TempDir(), "site"))
	b, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.config, append(b, "\ndisk: {warn: 900TiB, stop: 16MiB}\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	p := startRun(t, s)
	defer p.stop(t)
	a, err := http.Get("http://" + s.admin + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err != nil || a.StatusCode != http.StatusOK || !strings.Contains(string(text), "[!] disk: ") {
		t.Errorf("status %d: %s, %v", a.StatusCode, text, err)
	}
}

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"sigillo/internal/exchange"
	"sigillo/ledger"
)

const reason = "storage array lost, newest backup restored"

// rolledBack is a site whose ledger was replaced by an older copy of itself, for good. The first person and the
// second put their files into desk, where everybody may.
func rolledBack(t *testing.T, prepare func(*demoSite)) (s *demoSite, desk string) {
	t.Helper()
	s = demoSiteForTest(t, filepath.Join(t.TempDir(), "site"))
	prepare(s)
	dir := filepath.Join(s.dir, "ledger")
	runs(t, s, 2)
	old := filepath.Join(t.TempDir(), "old")
	if err := os.CopyFS(old, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	runs(t, s, 3)
	if err := os.RemoveAll(swap(t, dir, old)); err != nil {
		t.Fatal(err)
	}
	desk, err := os.MkdirTemp("", "sigillo-desk-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(desk); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(desk, 0o777); err != nil {
		t.Fatal(err)
	}
	return s, desk
}

// ask is the first person's part.
func ask(t *testing.T, s *demoSite, desk string) (request, code string) {
	t.Helper()
	request = filepath.Join(desk, "ledger"+requestSuffix)
	exit, out, stderr := sigillo(t, "ledger", "accept-rollback", "-c", s.config, "--reason", reason, "--request", request)
	m := regexp.MustCompile(`Its code is ([0-9a-f-]{24})\n`).FindStringSubmatch(out)
	if exit != 0 || m == nil || !strings.Contains(out, "lost ") {
		t.Fatalf("accept-rollback: code %d, %s%s", exit, out, stderr)
	}
	return request, m[1]
}

func accepting(request, desk string) []string {
	return []string{"--accept-rollback", reason, "--request", request, "--confirmation", filepath.Join(desk, "ledger"+confirmationSuffix)}
}

// wentOn looks at a ledger after an accepted rollback: the new log serves, the old directory can be read.
func wentOn(t *testing.T, s *demoSite, flags []string) {
	t.Helper()
	p := startRunWith(t, s, flags)
	exchanges(t, s, 2)
	p.stop(t)
	if !strings.Contains(p.out.String(), `"origin":"`+demoOrigin+`/e2"`) {
		t.Errorf("the new log's origin is not said: %s", p.out)
	}
	runs(t, s, 1) // without the flags from now on
	if code, said := refusedRun(t, s, flags...); code != exitNegative || !strings.Contains(said, "nothing to accept") {
		t.Errorf("accepted twice: code %d, %s", code, said)
	}
	code, verdict := verified(t, s, "")
	if code != 0 || !strings.HasPrefix(verdict.Assurance, "anchored(") || verdict.Counts["kind:notice"] != 1 {
		t.Errorf("the new log: code %d, %s, %v, %v", code, verdict.Assurance, verdict.Counts, verdict.Findings)
	}
	past := filepath.Join(s.dir, "ledger.e1")
	if code, verdict := verified(t, s, past); code != exitNegative || !hasFinding(verdict, "rolled-back", exchange.Broken) {
		t.Errorf("the old directory: code %d, %v", code, verdict.Findings)
	}
	if code, out, stderr := sigillo(t, "search", "-c", s.config, "--dir", past, "--operation", "verifyPaymentNotice"); code != 0 || strings.Count(out, "\n") < 4 {
		t.Errorf("searching the old directory: code %d, %s%s", code, out, stderr)
	}
	backup, restored := filepath.Join(s.dir, "backup"), filepath.Join(s.dir, "restored")
	if code, out, stderr := sigillo(t, "backup", "-c", s.config, "--to", backup); code != 0 {
		t.Errorf("backup of the new log: code %d, %s%s", code, out, stderr)
	}
	if code, out, stderr := sigillo(t, "restore", "-c", s.config, "--from", backup, "--to", restored); code != 0 {
		t.Errorf("restore of the new log: code %d, %s%s", code, out, stderr)
	}
	if b, err := os.ReadFile(filepath.Join(restored, "EPOCH")); err != nil || string(b) != "2\n" {
		t.Errorf("the restored log's epoch: %q, %v", b, err)
	}
	dir := filepath.Join(s.dir, "ledger")
	swap(t, dir, past)
	if code, said := refusedRun(t, s); code != exitNegative || !strings.Contains(said, "of before a rollback that was accepted") {
		t.Errorf("the old directory put back: code %d, %s", code, said)
	}
}

func TestRollbackAcceptedByTwoUsers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a second user of this machine needs root")
	}
	var mark string
	s, desk := rolledBack(t, func(s *demoSite) {
		mark = filepath.Join(s.dir, "mark")
		write(t, mark, "")
		edit(t, s, "keys:\n", "anchors: {files: [mark]}\n\nkeys:\n")
	})
	if code, said := refusedRun(t, s); code != exitNegative || !strings.Contains(said, "was rolled back") {
		t.Fatalf("code %d, %s", code, said)
	}
	request, code := ask(t, s, desk)
	flags := accepting(request, desk)
	if code, said := refusedRun(t, s, flags...); code != exitNegative || !strings.Contains(said, "confirmation") {
		t.Errorf("without a confirmation: code %d, %s", code, said)
	}
	confirm := []string{"ledger", "confirm-rollback", request, "--code", code}
	if code, _, said := sigillo(t, confirm...); code != exitNegative || !strings.Contains(said, ledger.ErrSamePerson.Error()) {
		t.Errorf("confirmed by the same user: code %d, %s", code, said)
	}
	nobody := func(args ...string) (string, error) {
		bin := filepath.Join(desk, "sigillo")
		if err := os.Link(os.Args[0], bin); err != nil && !errors.Is(err, os.ErrExist) {
			b, err := os.ReadFile(os.Args[0])
			if err = errors.Join(err, os.WriteFile(bin, b, 0o755)); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.Command(bin, args...)
		cmd.Env, cmd.Dir = []string{"SIGILLO_TEST_MAIN=1"}, desk
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := nobody("ledger", "confirm-rollback", request, "--code", "0000-0000-0000-0000-0000"); err == nil {
		t.Errorf("confirmed with another code: %s", out)
	}
	if out, err := nobody(confirm...); err != nil || !strings.Contains(out, "Confirmed by uid 65534") {
		t.Fatalf("confirmed by another user: %v, %s", err, out)
	}
	if code, said := refusedRun(t, s, append([]string{"--accept-rollback", "something else"}, flags[2:]...)...); code != exitNegative || !strings.Contains(said, "reason") {
		t.Errorf("with another reason: code %d, %s", code, said)
	}
	before, err := os.ReadFile(mark)
	if err != nil {
		t.Fatal(err)
	}
	wentOn(t, s, flags)
	if after, err := os.ReadFile(mark); err != nil || string(after) != string(before) {
		t.Errorf("the old anchor was touched: %v", err)
	}
}

func TestRollbackAcceptedByTwoVaultTokens(t *testing.T) {
	var first, second string
	s, desk := rolledBack(t, func(s *demoSite) {
		v := inVault(t, s)
		first, second = login(t, v, "auditor"), login(t, v, "auditor")
	})
	t.Setenv("VAULT_TOKEN", first)
	request, code := ask(t, s, desk)
	flags := accepting(request, desk)
	confirm := []string{"ledger", "confirm-rollback", request, "--code", code, "-c", s.config}
	if code, _, said := sigillo(t, confirm...); code != exitNegative || !strings.Contains(said, ledger.ErrSamePerson.Error()) {
		t.Errorf("confirmed with the same token: code %d, %s", code, said)
	}
	t.Setenv("VAULT_TOKEN", "")
	if code, _, said := sigillo(t, confirm...); code != exitNegative || !strings.Contains(said, ledger.ErrSamePerson.Error()) {
		t.Errorf("confirmed with the gateway's own credentials: code %d, %s", code, said)
	}
	// A confirmation that somebody wrote by hand is not in Vault.
	forged := filepath.Join(desk, "forged")
	var r ledger.RollbackRequest
	if _, err := ledger.ReadRollback(request, &r); err != nil {
		t.Fatal(err)
	}
	digest, err := r.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if err := ledger.WriteRollback(forged, ledger.RollbackConfirmation{V: 1, Request: digest, Time: r.Time,
		By: ledger.Person{UID: os.Getuid(), Host: r.By.Host, Accessor: ledger.Hash{7}}}); err != nil {
		t.Fatal(err)
	}
	if code, said := refusedRun(t, s, append(flags[:4:4], "--confirmation", forged)...); code != exitNegative || !strings.Contains(said, "asking Vault who confirmed") {
		t.Errorf("a forged confirmation: code %d, %s", code, said)
	}
	t.Setenv("VAULT_TOKEN", second)
	if code, out, said := sigillo(t, confirm...); code != 0 {
		t.Fatalf("confirmed with another token: code %d, %s%s", code, out, said)
	}
	t.Setenv("VAULT_TOKEN", "")
	wentOn(t, s, flags)
}

// TestRunOfAHealthyLedgerAcceptsNothing: the flag is of no use where nothing is lost.
func TestRunOfAHealthyLedgerAcceptsNothing(t *testing.T) {
	s := demoSiteForTest(t, filepath.Join(t.TempDir(), "site"))
	write(t, filepath.Join(s.dir, "mark"), "")
	edit(t, s, "keys:\n", "anchors: {files: [mark]}\n\nkeys:\n")
	runs(t, s, 1)
	code, _, said := sigillo(t, "ledger", "accept-rollback", "-c", s.config, "--reason", reason)
	if code != exitNegative || !strings.Contains(said, ledger.ErrNothingLost.Error()) {
		t.Errorf("code %d, %s", code, said)
	}
	if code, said := refusedRun(t, s, "--accept-rollback", reason); code != exitNegative || !strings.Contains(said, "the request") {
		t.Errorf("code %d, %s", code, said)
	}
	if _, err := os.Lstat(filepath.Join(s.dir, "ledger.e1")); !errors.Is(err, os.ErrNotExist) {
		t.Error(fmt.Errorf("the healthy ledger was moved: %w", err))
	}
}

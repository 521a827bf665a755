package main

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"sigillo/internal/exchange"
)

// TestVerifyRecordsSinceAndResumes runs sigillo verify on a running gateway and on the stopped ledger.
func TestVerifyRecordsSinceAndResumes(t *testing.T) {
	s := demoSiteForTest(t, filepath.Join(t.TempDir(), "site"))
	p := startRun(t, s)
	calls := func(n int) {
		c := startCallers(s, s.route("psp-out"), "text/xml", []byte(verifyNotice), 2)
		<-c.more(n)
		if len(c.stop()) < n {
			t.Fatalf("fewer than %d answers", n)
		}
	}
	verify := func(code int, args ...string) (v exchange.Verdict) {
		t.Helper()
		got, out, stderr := sigillo(t, append([]string{"verify", "-c", s.config, "--json"}, args...)...)
		if err := json.Unmarshal([]byte(out), &v); err != nil || got != code {
			t.Fatalf("verify %v: code %d, %v, %s%s", args, got, err, out, stderr)
		}
		return v
	}
	calls(20)
	checkpoint := filepath.Join(t.TempDir(), "checkpoint")
	if v := verify(0, "--record", "--save-checkpoint", checkpoint); v.Counts["receipts_checked"] < 20 || v.Counts["contents_checked"] < 40 {
		t.Errorf("counts of a running ledger: %v", v.Counts)
	}
	calls(20)
	p.stop(t)
	if v := verify(0, "--record", "--skip-content"); v.Counts["kind:verification"] != 1 {
		t.Errorf("the verification of the running ledger left %d entries", v.Counts["kind:verification"])
	}
	if v := verify(0, "--since", checkpoint); v.Counts["kind:verification"] != 2 || v.Counts["since"] < 40 {
		t.Errorf("since the checkpoint: %v", v.Counts)
	}
	code, out, stderr := sigillo(t, "verify", "-c", s.config)
	if code != 0 || !strings.Contains(out, "rests on the operator's own word") && !strings.Contains(out, "time-stamp authority dated") ||
		!strings.Contains(out, "only up to the newest anchor outside the operator's control") {
		t.Errorf("code %d, %s%s", code, out, stderr)
	}

	// Interrupted: exit 3, and a word on how to go on.
	progress := filepath.Join(t.TempDir(), "progress")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var said strings.Builder
	c := console{strings.NewReader(""), &said, &said}
	code = codeOf((&verifyCommand{Config: s.config, SkipContent: true, Resume: progress}).Run(ctx, c), c)
	if code != exitUndetermined || !strings.Contains(said.String(), "--resume "+progress) {
		t.Errorf("interrupted: code %d, %s", code, said.String())
	}
	if got := verify(0, "--skip-content", "--resume", progress); got.Verdict != exchange.Intact {
		t.Errorf("resumed: %s", got.Verdict)
	}
	for _, bad := range [][]string{{"verify"}, {"verify", "-c", s.config, "--dir", s.dir, "--record"}, {"verify", "-c", s.config, "--since", checkpoint, "--resume", progress}} {
		if code, _, _ := sigillo(t, bad...); code != exitUsage {
			t.Errorf("%v: code %d", bad, code)
		}
	}
}

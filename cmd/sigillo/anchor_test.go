package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"sigillo/internal/exchange"
	"sigillo/internal/testbed"
	"sigillo/ledger"
)

// edit changes one place of a site's configuration.
func edit(t *testing.T, s *demoSite, old, new string) {
	t.Helper()
	b, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(b), old, new, 1)
	if changed == string(b) {
		t.Fatalf("%q does not stand in the configuration", old)
	}
	write(t, s.config, changed)
}

// runs starts the gateway, sends n exchanges through it, and stops it.
func runs(t *testing.T, s *demoSite, n int) {
	t.Helper()
	p := startRun(t, s)
	exchanges(t, s, n)
	p.stop(t)
}

func exchanges(t *testing.T, s *demoSite, n int) {
	t.Helper()
	clients := map[string]*http.Client{"psp": s.client("psp")}
	for range n {
		m := sample{name: "verify", route: "psp-out", client: "psp", contentType: "text/xml", method: http.MethodPost, body: []byte(verifyNotice)}
		if a := send(t, s, clients, m); a.status != http.StatusOK {
			t.Fatalf("status %d", a.status)
		}
	}
}

// refusedRun runs the gateway in this process where it must not serve, and gives its code and words.
func refusedRun(t *testing.T, s *demoSite, more ...string) (int, string) {
	t.Helper()
	code, _, stderr := sigillo(t, append([]string{"run", "-c", s.config}, more...)...)
	return code, stderr
}

const demoOrigin = "demo.sigillo.example/ec-77777777777"

// anchorSize is the size that stands in Vault, and how many versions were written.
func anchorSize(t *testing.T, v *testbed.Vault, origin string) (size uint64, versions float64) {
	t.Helper()
	data, err := v.Do(t.Context(), http.MethodGet, "sigillo-anchor/data/"+anchorPath(origin), nil)
	if err != nil {
		t.Fatal(err)
	}
	mark, _ := data["data"].(map[string]any)
	meta, _ := data["metadata"].(map[string]any)
	text, _ := mark[markSize].(string)
	if size, err = strconv.ParseUint(text, 10, 64); err != nil {
		t.Fatal(err)
	}
	versions, _ = meta["version"].(float64)
	return size, versions
}

// verified is what verify says of dir ("": the configuration's) without opening content.
func verified(t *testing.T, s *demoSite, dir string) (int, exchange.Verdict) {
	t.Helper()
	args := []string{"verify", "-c", s.config, "--skip-content", "--json"}
	if dir != "" {
		args = append(args, "--dir", dir)
	}
	code, out, stderr := sigillo(t, args...)
	var v exchange.Verdict
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatalf("verify: code %d, %v, %s", code, err, stderr)
	}
	return code, v
}

func hasFinding(v exchange.Verdict, check, severity string) bool {
	for _, f := range v.Findings {
		if f.Check == check && f.Severity == severity {
			return true
		}
	}
	return false
}

// swap puts a copy in the place of the ledger and keeps what was there.
func swap(t *testing.T, dir, copy string) (was string) {
	t.Helper()
	was = dir + ".was"
	if err := errors.Join(os.RemoveAll(was), os.Rename(dir, was), os.CopyFS(dir, os.DirFS(copy))); err != nil {
		t.Fatal(err)
	}
	return was
}

// TestVaultAnchorsTheLedger: the anchor follows; an older directory is refused at start and named at verify; so is a
// copy that went on by itself; a mount that is missing is told apart from both.
func TestVaultAnchorsTheLedger(t *testing.T) {
	s := demoSiteForTest(t, filepath.Join(t.TempDir(), "site"))
	v := inVault(t, s)
	dir := filepath.Join(s.dir, "ledger")
	runs(t, s, 3)
	old := filepath.Join(t.TempDir(), "old")
	if err := os.CopyFS(old, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	runs(t, s, 3)
	size, _ := anchorSize(t, v, demoOrigin)
	code, verdict := verified(t, s, "")
	if code != 0 || verdict.Assurance != fmt.Sprintf("anchored(%d)", size) || verdict.Counts["entries"] != int64(size) {
		t.Errorf("code %d, assurance %s, anchor at %d of %d, %v", code, verdict.Assurance, size, verdict.Counts["entries"], verdict.Findings)
	}

	was := swap(t, dir, old)
	for range 2 {
		if code, said := refusedRun(t, s); code != exitNegative || !strings.Contains(said, "was rolled back") || !strings.Contains(said, fmt.Sprintf("vouches for %d entries", size)) {
			t.Fatalf("an older directory: code %d, %s", code, said)
		}
	}
	if code, verdict := verified(t, s, ""); code != exitNegative || !hasFinding(verdict, "rolled-back", exchange.Broken) {
		t.Errorf("verify of an older directory: code %d, %v", code, verdict.Findings)
	}

	// The copy goes on against another Vault mount's silence: the configuration's anchor is moved away for it.
	edit(t, s, "keys:\n", "anchors: {vault: {mount: sigillo-anchor-2}, required: false}\n\nkeys:\n")
	runs(t, s, 6)
	edit(t, s, "anchors: {vault: {mount: sigillo-anchor-2}, required: false}", "anchors: {required: true}")
	if code, said := refusedRun(t, s); code != exitNegative || !strings.Contains(said, "is another history") {
		t.Errorf("the second of two copies: code %d, %s", code, said)
	}
	if code, verdict := verified(t, s, ""); code != exitNegative || !hasFinding(verdict, "forked", exchange.Broken) {
		t.Errorf("verify of the second of two copies: code %d, %v", code, verdict.Findings)
	}

	swap(t, dir, was)
	if _, err := v.Do(t.Context(), http.MethodDelete, "sys/mounts/sigillo-anchor", nil); err != nil {
		t.Fatal(err)
	}
	if code, said := refusedRun(t, s); code != exitUndetermined || !strings.Contains(said, "anchors.required: false") {
		t.Errorf("without the mount: code %d, %s", code, said)
	}
	if code, verdict := verified(t, s, ""); code != exitUndetermined || !hasFinding(verdict, "anchor", exchange.Indeterminate) || verdict.Assurance != "self" {
		t.Errorf("verify without the mount: code %d, %s, %v", code, verdict.Assurance, verdict.Findings)
	}
	edit(t, s, "anchors: {required: true}", "anchors: {required: false}")
	p := startRun(t, s)
	exchanges(t, s, 1)
	p.stop(t)
	if !strings.Contains(p.out.String(), "an anchor cannot be used; starting without it") {
		t.Errorf("started without its anchor and does not say so: %s", p.out)
	}
}

// TestKillBetweenSigningAndAnchoring: the process dies with checkpoints that no anchor has; the next start goes on
// from the older mark and anchors them.
func TestKillBetweenSigningAndAnchoring(t *testing.T) {
	s := demoSiteForTest(t, filepath.Join(t.TempDir(), "site"))
	v := inVault(t, s)
	edit(t, s, "keys:\n", "anchors: {interval: 1h}\n\nkeys:\n")
	runs(t, s, 1)
	before, _ := anchorSize(t, v, demoOrigin)
	for range 3 {
		p := startRun(t, s)
		exchanges(t, s, 5)
		p.kill(t)
		if at, _ := anchorSize(t, v, demoOrigin); at > before+8 {
			t.Fatalf("the anchor is at %d: the kill did not come before it", at)
		}
		runs(t, s, 0)
		at, _ := anchorSize(t, v, demoOrigin)
		if at < before+10 {
			t.Errorf("the anchor is at %d after %d and 5 exchanges", at, before)
		}
		before = at
	}
	if code, verdict := verified(t, s, ""); code != 0 || verdict.Assurance != fmt.Sprintf("anchored(%d)", before) {
		t.Errorf("code %d, %s, %v", code, verdict.Assurance, verdict.Findings)
	}
}

// TestVerifyOfALiveAnchoredLedger: the anchors go on while verify reads; an honest log must not look rolled back.
func TestVerifyOfALiveAnchoredLedger(t *testing.T) {
	s := demoSiteForTest(t, filepath.Join(t.TempDir(), "site"))
	write(t, filepath.Join(s.dir, "mark"), "")
	edit(t, s, "keys:\n", "anchors: {files: [mark], interval: 100ms}\n\nkeys:\n")
	runs(t, s, 1)
	p := startRun(t, s)
	c := startCallers(s, s.route("psp-out"), "text/xml", []byte(verifyNotice), 4)
	for range 5 {
		<-c.more(20)
		_, v := verified(t, s, "")
		if hasFinding(v, "rolled-back", exchange.Broken) || hasFinding(v, "forked", exchange.Broken) || !strings.HasPrefix(v.Assurance, "anchored(") {
			t.Errorf("%s, %v", v.Assurance, v.Findings)
		}
	}
	c.stop()
	p.stop(t)
}

// TestVaultAnchorOnlyGrows: many writers of one record with what they read; stale versions are refused, the size
// never falls, and the greatest stays.
func TestVaultAnchorOnlyGrows(t *testing.T) {
	s := demoSiteForTest(t, filepath.Join(t.TempDir(), "site"))
	inVault(t, s)
	p, err := loadParts(t.Context(), s.config, asGateway)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	anchors, err := p.anchors(1)
	if err != nil || len(anchors) != 1 {
		t.Fatal(anchors, err)
	}
	a := anchors[0]
	mark := func(size uint64, root byte, version uint64) ledger.AnchorMark {
		m, err := ledger.MarkOf(fmt.Appendf(nil, "%s\n%d\n%s\n\n— %s AAAAAAAA\n", demoOrigin, size, base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{root}, 32)), demoOrigin))
		if err != nil {
			t.Fatal(err)
		}
		m.Version = version
		return m
	}
	if _, err := a.Read(t.Context()); !errors.Is(err, ledger.ErrNoMark) {
		t.Fatalf("an empty anchor: %v", err)
	}
	const writers, each = 5, 6
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range each {
				for size := uint64(1 + i*writers + w); ; {
					old, err := a.Read(t.Context())
					if err != nil && !errors.Is(err, ledger.ErrNoMark) {
						t.Error(err)
						return
					}
					err = a.Advance(t.Context(), mark(size, 1, old.Version))
					if errors.Is(err, ledger.ErrAnchorMoved) {
						continue
					}
					if now, rerr := a.Read(t.Context()); err != nil && !errors.Is(err, ledger.ErrAnchorAhead) || rerr != nil || now.Size < size || now.Size < old.Size {
						t.Errorf("at %d after %d and %d: %v, %v", now.Size, old.Size, size, err, rerr)
					}
					break
				}
			}
		})
	}
	all.Wait()
	m, err := a.Read(t.Context())
	if err != nil || m.Size != writers*each {
		t.Fatalf("ends at %d, %v", m.Size, err)
	}
	for want, next := range map[error]ledger.AnchorMark{ledger.ErrAnchorMoved: mark(m.Size+1, 1, m.Version-1), ledger.ErrAnchorAhead: mark(m.Size-1, 1, m.Version),
		ledger.ErrAnchorForked: mark(m.Size, 2, m.Version)} {
		if err := a.Advance(t.Context(), next); !errors.Is(err, want) {
			t.Errorf("size %d, version %d: %v, want %v", next.Size, next.Version, err, want)
		}
	}
}

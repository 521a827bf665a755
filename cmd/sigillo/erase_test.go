package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigillo/internal/exchange"
)

// exchangeThrough sends one verifyNotice and gives the exchange's id.
func exchangeThrough(t *testing.T, s *demoSite) string {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.route("psp-out"), strings.NewReader(verifyNotice))
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Content-Type", "text/xml")
	resp, err := s.client("psp").Do(q)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("status %d, %v", resp.StatusCode, err)
	}
	return resp.Header.Get("Sigillo-Exchange")
}

// dataDir is where a site's ledger lies.
func dataDir(t *testing.T, s *demoSite) string {
	t.Helper()
	p, err := loadParts(t.Context(), s.config, asGateway)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	return p.cfg.Data
}

// TestEraseWithRealVault: an archivist erases on a running gateway and on a stopped ledger; a gateway's or an auditor's
// token does not; a restored backup gives nothing back, with no token.
func TestEraseWithRealVault(t *testing.T) {
	s := demoSiteForTest(t, filepath.Join(t.TempDir(), "site"))
	v := inVault(t, s)
	p := startRun(t, s)
	var ids []string
	for range 4 {
		ids = append(ids, exchangeThrough(t, s))
	}
	erase := func(id, ground string) (int, string, string) {
		return sigillo(t, "erase", "-c", s.config, "--exchange", id, "--ground", ground, "--reference", "Garante, provv. 1/2026")
	}
	tokens := map[string]string{"auditor": login(t, v, "auditor"), "archivist": login(t, v, "archivist")}
	for _, role := range []string{"gateway", "auditor"} {
		t.Setenv("VAULT_TOKEN", tokens[role])
		if code, _, stderr := erase(ids[0], "authority"); code != exitUndetermined || !strings.Contains(stderr, "rights of an archivist") {
			t.Errorf("the %s erases: code %d, %s", role, code, stderr)
		}
	}
	if code, out, stderr := sigillo(t, "show", "-c", s.config, ids[0], "--body", "request"); code != 0 || out != verifyNotice {
		t.Errorf("after a refused erasure: code %d, %s", code, stderr)
	}
	t.Setenv("VAULT_TOKEN", tokens["archivist"])
	if code, _, stderr := erase(ids[0], "subject"); code != exitNegative || !strings.Contains(stderr, "is kept for 10 years") {
		t.Errorf("erased during the duty to keep: code %d, %s", code, stderr)
	}
	// Running.
	code, out, stderr := erase(ids[0], "authority")
	if code != 0 || !strings.Contains(out, "backups of Vault itself") || !strings.Contains(out, "no package holds it") {
		t.Fatalf("erase on a running gateway: code %d, %s%s", code, out, stderr)
	}
	ids = append(ids, exchangeThrough(t, s))
	p.stop(t)
	backup := filepath.Join(t.TempDir(), "backup")
	if err := os.CopyFS(backup, os.DirFS(dataDir(t, s))); err != nil {
		t.Fatal(err)
	}
	// Stopped.
	if code, out, stderr := erase(ids[1], "authority"); code != 0 {
		t.Fatalf("erase on a stopped ledger: code %d, %s%s", code, out, stderr)
	}
	for _, role := range []string{"archivist", "auditor"} {
		t.Setenv("VAULT_TOKEN", tokens[role])
		for i, id := range ids {
			code, out, stderr := sigillo(t, "show", "-c", s.config, id, "--body", "request")
			if i < 2 && (code != exitNegative || !strings.Contains(stderr, "erased by entry")) {
				t.Errorf("%s: erased exchange %d: code %d, %q, %s", role, i, code, out, stderr)
			}
			if i >= 2 && (code != 0 || out != verifyNotice) {
				t.Errorf("%s: exchange %d: code %d, %s", role, i, code, stderr)
			}
		}
	}
	var verdict exchange.Verdict
	code, out, stderr = sigillo(t, "verify", "-c", s.config, "--json")
	if err := json.Unmarshal([]byte(out), &verdict); err != nil || code != 0 || verdict.Counts["contents_erased"] != 4 || verdict.Counts["receipts_erased"] != 2 {
		t.Errorf("verify: code %d, %v, %v %s", code, verdict.Counts, err, stderr)
	}
	// The backup of before the second erasure comes back.
	data := dataDir(t, s)
	if err := os.RemoveAll(data); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(data, os.DirFS(backup)); err != nil {
		t.Fatal(err)
	}
	// The anchor refuses it; who takes the anchor away as well still cannot read what was erased.
	if code, out, stderr := sigillo(t, "show", "-c", s.config, ids[1], "--body", "request"); code != exitNegative || out != "" || !strings.Contains(stderr, "was rolled back") {
		t.Errorf("from the backup, with its anchor: code %d, %d bytes, %s", code, len(out), stderr)
	}
	if _, err := v.Do(t.Context(), http.MethodDelete, "sigillo-anchor/metadata/"+anchorPath(demoOrigin), nil); err != nil {
		t.Fatal(err)
	}
	for _, token := range []string{tokens["auditor"], tokens["archivist"], v.RootToken} {
		t.Setenv("VAULT_TOKEN", token)
		code, out, stderr := sigillo(t, "show", "-c", s.config, ids[1], "--body", "request")
		if code != exitNegative || out != "" || !strings.Contains(stderr, "destroyed without an erasure entry") {
			t.Errorf("from the backup: code %d, %d bytes, %s", code, len(out), stderr)
		}
	}
}

// TestEraseAndTheArchive: packages that hold what is erased are named; the verbs say which entry erased it; the next
// package verifies; the index is made anew.
func TestEraseAndTheArchive(t *testing.T) {
	s := demoSiteForTest(t, filepath.Join(t.TempDir(), "site"))
	p := startRun(t, s)
	first, second := exchangeThrough(t, s), exchangeThrough(t, s)
	p.stop(t)
	for _, verb := range [][]string{{"show", "-c", s.config, "nonsense"}, {"erase", "-c", s.config, "--exchange", "nonsense", "--ground", "authority", "--reference", "x"}} {
		if code, out, stderr := sigillo(t, verb...); code != exitUsage || !strings.Contains(stderr, "it is a UUID") {
			t.Errorf("%s of no exchange's id: code %d, %s%s", verb[0], code, out, stderr)
		}
	}
	if code, _, stderr := sigillo(t, "export", "-c", s.config, "--now"); code != 0 {
		t.Fatalf("export: code %d, %s", code, stderr)
	}
	code, out, stderr := sigillo(t, "erase", "-c", s.config, "--exchange", first, "--ground", "authority", "--reference", "sentenza 7/2026", "--json")
	var reports []eraseReport
	if err := json.Unmarshal([]byte(out), &reports); err != nil || code != 0 || len(reports) != 1 {
		t.Fatalf("erase: code %d, %v, %s%s", code, err, out, stderr)
	}
	r := reports[0]
	if len(r.Packages) != 1 || r.Packages[0].Path == "" || r.Generation != 2 {
		t.Errorf("report %+v", r)
	}
	says := fmt.Sprintf("erased by entry %d", r.Entry)
	for _, args := range [][]string{{"show", "-c", s.config, first, "--body", "response"}, {"receipt", "get", "-c", s.config, first}} {
		if code, _, stderr := sigillo(t, args...); code != exitNegative || !strings.Contains(stderr, says) {
			t.Errorf("%s: code %d, %s", args[0], code, stderr)
		}
	}
	for _, args := range [][]string{{"show", "-c", s.config, first}, {"search", "-c", s.config, "--exchange", first}} {
		if code, out, stderr := sigillo(t, args...); code != 0 || !strings.Contains(out, says) {
			t.Errorf("%s: code %d, %s%s", args[0], code, out, stderr)
		}
	}
	for range 2 {
		code, out, _ := sigillo(t, "search", "-c", s.config, "--key", "302000100000012345")
		if code != 0 || !strings.Contains(out, second) || strings.Contains(out, first) {
			t.Errorf("search by notice number: code %d, %s", code, out)
		}
		if code, out, stderr := sigillo(t, "index", "rebuild", "-c", s.config); code != 0 {
			t.Fatalf("index rebuild: code %d, %s%s", code, out, stderr)
		}
	}
	if code, _, stderr := sigillo(t, "erase", "-c", s.config, "--exchange", first, "--ground", "authority", "--reference", "x"); code != exitNegative || !strings.Contains(stderr, "erased") {
		t.Errorf("erased twice: code %d, %s", code, stderr)
	}
	// Another copy of the range and the next package: the first lacks the content, and says by which entry.
	if code, out, stderr := sigillo(t, "export", "-c", s.config, "--now"); code != 0 {
		t.Errorf("export after an erasure: code %d, %s%s", code, out, stderr)
	}
	if code, out, stderr := sigillo(t, "verify", "-c", s.config); code != 0 {
		t.Errorf("verify: code %d, %s%s", code, out, stderr)
	}
	month := r.Month
	for want, args := range map[string][]string{
		"to confirm, give":    {"--confirm", "yes", "--reference", "x"},
		"is kept for 10":      {"--confirm", "audit-10y/" + month, "--reference", "x"},
		"is not over":         {"--confirm", "audit-10y/" + month, "--reference", "x", "--ground", "authority"},
		"missing flags: --re": {"--confirm", "audit-10y/" + month},
	} {
		args = append([]string{"archive", "dispose", "-c", s.config, "--class", "audit-10y", "--month", month}, args...)
		if code, _, stderr := sigillo(t, args...); code == 0 || !strings.Contains(stderr, want) {
			t.Errorf("dispose: code %d, %s, want one that says %q", code, stderr, want)
		}
	}
}

// TestClassByOperation: an operation with a class of its own is sealed under that class's keys, in that class's chain.
func TestClassByOperation(t *testing.T) {
	s := demoSiteForTest(t, filepath.Join(t.TempDir(), "site"))
	b, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(b), "    path: /psp-out\n", "    path: /psp-out\n    classes_by_operation: {verifyPaymentNotice: short-1y}\n", 1) +
		"\nclasses:\n  - {name: audit-10y, years: 10}\n  - {name: short-1y, years: 1}\n"
	write(t, s.config, text)
	p := startRun(t, s)
	id := exchangeThrough(t, s)
	p.stop(t)
	code, out, stderr := sigillo(t, "search", "-c", s.config, "--exchange", id, "--json")
	if code != 0 || strings.Count(out, `"p":"psp:TESTPSP1/short-1y"`) != 2 {
		t.Fatalf("code %d, %s%s", code, out, stderr)
	}
	keys := map[string]int{}
	err = filepath.WalkDir(filepath.Join(s.dir, "keys", "class"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.Contains(filepath.Base(path), "-short-1y-") {
			keys["short"]++
		}
		return err
	})
	if err != nil || keys["short"] != 2 {
		t.Errorf("class keys of short-1y: %v, %v", keys, err)
	}
	if code, _, stderr := sigillo(t, "erase", "-c", s.config, "--exchange", id, "--ground", "retention", "--reference", "x"); code != exitNegative || !strings.Contains(stderr, "is kept for 1 years") {
		t.Errorf("erase: code %d, %s", code, stderr)
	}
}

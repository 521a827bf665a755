package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigillo/internal/exchange"
	"sigillo/internal/testbed"
)

// inVault changes a site's configuration: keys in a real Vault, by AppRole with the gateway's own policy.
func inVault(t *testing.T, s *demoSite) *testbed.Vault {
	t.Helper()
	v, err := testbed.StartVault(t.Context(), s.pki)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Stop(); err != nil {
			t.Error(err)
		}
	})
	role, secret, err := v.Prepare(t.Context(), "gateway", policy(t, "gateway"), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, "secret-id"), []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	keys := fmt.Sprintf("keys:\n  custody: vault\n  vault:\n    address: %s\n    ca: %s\n    auth: {method: approle, role_id: %s, secret_id: \"${file:secret-id}\"}\n", v.Address, v.CAFile, role)
	changed := strings.Replace(string(b), "keys:\n  custody: file\n  dir: keys\n", keys, 1)
	if changed == string(b) {
		t.Fatal("the configuration's keys were not found")
	}
	if err := os.WriteFile(s.config, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	return v
}

func policy(t *testing.T, role string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, "docs", "vault", role+".hcl"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// login gives a token of a role with the policy of docs/vault.
func login(t *testing.T, v *testbed.Vault, role string) string {
	t.Helper()
	id, secret, err := v.Role(t.Context(), role, policy(t, role), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	auth, err := v.Do(t.Context(), http.MethodPost, "auth/approle/login", map[string]string{"role_id": id, "secret_id": secret})
	if err != nil {
		t.Fatal(err)
	}
	token, _ := auth["client_token"].(string)
	return token
}

// TestGatewayWithRealVault: an exchange through a gateway that logs in by AppRole; its receipt is verified by
// another JOSE implementation; the gateway cannot read what it sealed, the auditor can; no key left Vault.
func TestGatewayWithRealVault(t *testing.T) {
	s := demoSiteForTest(t, filepath.Join(t.TempDir(), "site"))
	v := inVault(t, s)
	p := startRun(t, s)
	q, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.route("psp-out"), strings.NewReader(verifyNotice))
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Content-Type", "text/xml")
	client := s.client("psp")
	resp, err := client.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	receipt, id := resp.Header.Get("Sigillo-Receipt"), resp.Header.Get("Sigillo-Exchange")
	if err := resp.Body.Close(); err != nil || resp.StatusCode != http.StatusOK || strings.Count(receipt, ".") != 2 {
		t.Fatalf("status %d, receipt %q, %v", resp.StatusCode, receipt, err)
	}
	dir := t.TempDir()
	fetch(t, client, "https://"+s.gateway+"/.well-known/jwks.json", filepath.Join(dir, "jwks.json"))
	write(t, filepath.Join(dir, "receipt.jws"), receipt)
	write(t, filepath.Join(dir, "request.xml"), verifyNotice)
	if out, err := exec.Command("jose", "jws", "ver", "-i", filepath.Join(dir, "receipt.jws"), "-k", filepath.Join(dir, "jwks.json"), "-O", "-").CombinedOutput(); err != nil {
		t.Errorf("jose: %v: %s", err, out)
	}
	code, out, stderr := sigillo(t, "receipt", "verify", filepath.Join(dir, "receipt.jws"), "--jwks", filepath.Join(dir, "jwks.json"), "--request", filepath.Join(dir, "request.xml"))
	if code != 0 || !strings.Contains(out, id) {
		t.Errorf("receipt verify: code %d, %s%s", code, out, stderr)
	}
	write(t, filepath.Join(dir, "request.xml"), verifyNotice+" ")
	if code, _, _ := sigillo(t, "receipt", "verify", filepath.Join(dir, "receipt.jws"), "--jwks", filepath.Join(dir, "jwks.json"), "--request", filepath.Join(dir, "request.xml")); code != exitNegative {
		t.Errorf("receipt verify of another body: code %d", code)
	}
	// With the gateway's own rights content stays closed; with the auditor's it opens.
	if code, _, stderr := sigillo(t, "show", "-c", s.config, id, "--body", "request"); code != exitUndetermined {
		t.Errorf("the gateway's credentials read content: code %d, %s", code, stderr)
	}
	t.Setenv("VAULT_TOKEN", login(t, v, "auditor"))
	if code, out, stderr := sigillo(t, "show", "-c", s.config, id, "--body", "request"); code != 0 || out != verifyNotice {
		t.Errorf("the auditor reads %d bytes, code %d, %s", len(out), code, stderr)
	}
	if code, out, stderr := sigillo(t, "search", "-c", s.config, "--key", "302000100000012345"); code != 0 || !strings.Contains(out, id) {
		t.Errorf("search by notice number: code %d, %s%s", code, out, stderr)
	}
	if code, out, stderr := sigillo(t, "verify", "-c", s.config); code != 0 {
		t.Errorf("verify by the auditor: code %d, %s%s", code, out, stderr)
	}
	t.Setenv("VAULT_TOKEN", "")
	var verdict exchange.Verdict
	code, out, stderr = sigillo(t, "verify", "-c", s.config, "--json")
	if err := json.Unmarshal([]byte(out), &verdict); err != nil || code != exitUndetermined || verdict.Verdict != exchange.Indeterminate {
		t.Errorf("verify without the right to open content: code %d, %s, %s", code, verdict.Verdict, stderr)
	}
	for _, key := range []string{"sigillo-checkpoint", "sigillo-receipt", "sigillo-seal"} {
		facts, err := v.Do(t.Context(), http.MethodGet, "transit/keys/"+key, nil)
		if err != nil || facts["exportable"] != false {
			t.Errorf("key %s: exportable is %v, %v", key, facts["exportable"], err)
		}
	}
	p.stop(t)
	if strings.Contains(p.out.String(), "demonstration, not evidence") {
		t.Error("a gateway on Vault says that its keys lie in files")
	}
}

// TestVaultAwayLeavesReceiptsPending: with Vault sealed exchanges go on, their receipts are pending; when it is
// back they are signed, without a restart.
func TestVaultAwayLeavesReceiptsPending(t *testing.T) {
	s := demoSiteForTest(t, filepath.Join(t.TempDir(), "site"))
	v := inVault(t, s)
	p := startRun(t, s)
	clients := map[string]*http.Client{"psp": s.client("psp")}
	m := sample{name: "verify", route: "psp-out", client: "psp", contentType: "text/xml", method: http.MethodPost, body: []byte(verifyNotice)}
	if a := send(t, s, clients, m); a.status != http.StatusOK {
		t.Fatalf("status %d", a.status)
	}
	if err := v.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	away := send(t, s, clients, m)
	if away.status != http.StatusOK || away.receipt != "pending" {
		t.Errorf("status %d, receipt %s with Vault sealed", away.status, away.receipt)
	}
	if err := v.Unseal(t.Context()); err != nil {
		t.Fatal(err)
	}
	back := send(t, s, clients, m)
	if back.status != http.StatusOK {
		t.Errorf("status %d with Vault back", back.status)
	}
	p.stop(t) // signs what is pending
	t.Setenv("VAULT_TOKEN", login(t, v, "auditor"))
	var verdict exchange.Verdict
	code, out, stderr := sigillo(t, "verify", "-c", s.config, "--json")
	if err := json.Unmarshal([]byte(out), &verdict); err != nil || code != 0 || verdict.Counts["receipts_pending"] != 0 || verdict.Counts["receipts_not_checked"]+verdict.Counts["receipts_checked"] != 3 {
		t.Errorf("code %d, counts %v, %s", code, verdict.Counts, stderr)
	}
}

func fetch(t *testing.T, client *http.Client, url, file string) {
	t.Helper()
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: status %d, %v", url, resp.StatusCode, err)
	}
	write(t, file, string(b))
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

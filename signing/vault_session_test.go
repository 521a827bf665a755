package signing

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sigillo/internal/testbed"
)

func TestDialVaultRefusesByName(t *testing.T) {
	v := realVault(t)
	const secret = "hvs.SECRETSECRET"
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(secret), 0o644); err != nil {
		t.Fatal(err)
	}
	token := VaultAuth{Token: SecretText(secret)}
	for _, c := range []struct {
		o    VaultOptions
		want string
		is   error
	}{
		{VaultOptions{Address: "http://192.0.2.1:8200", Auth: token}, "https://", nil},
		{VaultOptions{Address: "https://user:" + secret + "@127.0.0.1:1", Auth: token}, "https://HOST:PORT", nil},
		{VaultOptions{Address: v.Address, CAFile: file, Auth: token}, "no certificate in PEM", nil},
		{VaultOptions{Address: v.Address, CAFile: v.CAFile}, "give a token", nil},
		{VaultOptions{Address: v.Address, CAFile: v.CAFile, Auth: VaultAuth{Token: SecretFile(file)}}, "chmod 600", nil},
		{VaultOptions{Address: v.Address, CAFile: v.CAFile, Auth: VaultAuth{Token: SecretText("")}}, "empty", nil},
		{VaultOptions{Address: v.Address, CAFile: v.CAFile, Auth: VaultAuth{RoleID: secret, SecretID: SecretText(secret), Token: SecretText(secret)}}, "give a token", nil},
		{VaultOptions{Address: v.Address, CAFile: v.CAFile, Auth: token}, "do not allow", ErrForbidden},
		{VaultOptions{Address: v.Address, CAFile: v.CAFile, Auth: VaultAuth{RoleID: secret, SecretID: SecretText(secret)}}, "do not allow", ErrForbidden},
		{VaultOptions{Address: v.Address, Auth: token}, "certificate", ErrUnavailable}, // the system's roots do not know it
		{VaultOptions{Address: "https://127.0.0.1:1", CAFile: v.CAFile, Auth: token}, "cannot be reached", ErrUnavailable},
		{VaultOptions{Address: "http://127.0.0.1:1", Auth: token}, "cannot be reached", ErrUnavailable},
	} {
		client, err := DialVault(t.Context(), c.o)
		if err == nil {
			_ = client.Close()
			t.Errorf("no error that says %q", c.want)
			continue
		}
		if !strings.Contains(err.Error(), c.want) || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("error %v, want one that says %q", err, c.want)
		}
		if strings.Contains(err.Error(), "SECRETSECRET") {
			t.Errorf("the error holds a secret: %v", err)
		}
	}
}

// TestNothingFromTheEnvironment: the library would send the token to VAULT_AGENT_ADDR, skip verification, and
// add headers. Ours goes where the options say, with the namespace that they say.
func TestNothingFromTheEnvironment(t *testing.T) {
	for name, value := range map[string]string{"VAULT_ADDR": "https://127.0.0.1:1", "VAULT_AGENT_ADDR": "https://127.0.0.1:1", "VAULT_SKIP_VERIFY": "true",
		"VAULT_TOKEN": "hvs.other", "VAULT_NAMESPACE": "other", "VAULT_HEADERS": `{"X-Other":"1"}`, "HTTPS_PROXY": "http://127.0.0.1:1"} {
		t.Setenv(name, value)
	}
	v := realVault(t)
	var mu sync.Mutex
	var seen []http.Header
	o := between(t, func(_ http.ResponseWriter, q *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, q.Header.Clone())
		q.Header.Del("X-Vault-Namespace") // of the Enterprise edition; this Vault would refuse it
		return false
	})
	o.Namespace = "comune/tributi"
	_ = dial(t, o)
	mu.Lock()
	defer mu.Unlock()
	if len(seen) == 0 {
		t.Fatal("nothing reached Vault")
	}
	for _, h := range seen {
		if h.Get("X-Vault-Namespace") != "comune/tributi" || h.Get("X-Vault-Request") != "true" || h.Get("X-Vault-Token") != v.RootToken || h.Get("X-Other") != "" {
			t.Errorf("headers of a request: namespace %q, request %q, other %q", h.Get("X-Vault-Namespace"), h.Get("X-Vault-Request"), h.Get("X-Other"))
		}
	}
	if _, err := DialVault(t.Context(), VaultOptions{Address: v.Address, CAFile: o.CAFile, Auth: o.Auth}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a certificate of another authority was accepted: %v", err)
	}
}

// TestRevokedTokenIsReplaced: without waiting for the end of its lease. A secret id that was renewed in its file is taken up.
func TestRevokedTokenIsReplaced(t *testing.T) {
	server := realVault(t)
	id, secret, err := server.Prepare(t.Context(), "gateway", policyFile(t, "gateway"), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "secret-id")
	write := func(s string) {
		if err := os.WriteFile(file, []byte(s+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(secret)
	v := dial(t, VaultOptions{Address: server.Address, CAFile: server.CAFile, Auth: VaultAuth{RoleID: id, SecretID: SecretFile(file)}})
	k, err := v.Key(t.Context(), UseReceipt)
	if err != nil {
		t.Fatal(err)
	}
	first := v.client.Token()
	if _, err := server.Do(t.Context(), http.MethodPost, "auth/approle/role/gateway/secret-id/destroy", map[string]string{"secret_id": secret}); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Do(t.Context(), http.MethodPost, "auth/token/revoke", map[string]string{"token": first}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a refusal of the destroyed secret id", func() bool {
		_, err := k.Sign(t.Context(), []byte("x"))
		return errors.Is(err, ErrForbidden) && strings.Contains(err.Error(), "the token is over")
	})
	_, secret, err = server.Role(t.Context(), "gateway", policyFile(t, "gateway"), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	write(secret)
	if _, err := k.Sign(t.Context(), []byte("x")); err != nil {
		t.Errorf("signing with a new secret id: %v", err)
	}
	if v.client.Token() == first {
		t.Error("still the revoked token")
	}
	if _, err := v.Unwrap(t.Context(), "fedcba9876543210-x-g1", []byte("vault:v1:AAAA")); !errors.Is(err, ErrForbidden) || v.client.Token() == first {
		t.Errorf("a refusal by policy: %v", err)
	}
}

// TestTokenFileIsReadAgain: whoever renews the token writes the next one into the file.
func TestTokenFileIsReadAgain(t *testing.T) {
	server := realVault(t)
	withKeys(t)
	issue := func() string {
		auth, err := server.Do(t.Context(), http.MethodPost, "auth/token/create", map[string]any{"policies": []string{"gateway"}, "ttl": "1h"})
		if err != nil {
			t.Fatal(err)
		}
		token, _ := auth["client_token"].(string)
		return token
	}
	file := filepath.Join(t.TempDir(), "token")
	first := issue()
	if err := os.WriteFile(file, []byte(first+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	v := dial(t, VaultOptions{Address: server.Address, CAFile: server.CAFile, Auth: VaultAuth{Token: SecretFile(file)}})
	k, err := v.Key(t.Context(), UseCheckpoint)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := server.Do(t.Context(), http.MethodPost, "auth/token/revoke", map[string]string{"token": first}); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Sign(t.Context(), []byte("x")); !errors.Is(err, ErrForbidden) {
		t.Errorf("signing with a revoked token: %v", err)
	}
	if err := os.WriteFile(file, []byte(issue()), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "signing with the new token", func() bool { _, err := k.Sign(t.Context(), []byte("x")); return err == nil })
}

// TestVaultKilledAndRestored: the same client goes on after Vault was killed, and after it came back with an
// older state that does not know our token.
func TestVaultKilledAndRestored(t *testing.T) {
	dir := t.TempDir()
	pki, err := testbed.OpenPKI(filepath.Join(dir, "pki"), nil)
	if err != nil {
		t.Fatal(err)
	}
	store := filepath.Join(dir, "store")
	server, err := testbed.StartVaultIn(t.Context(), pki, store)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Stop() })
	id, secret, err := server.Prepare(t.Context(), "gateway", policyFile(t, "gateway"), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	const class = "r-0123456789abcdef-audit-10y-2026-11-g1"
	if _, err := server.Do(t.Context(), http.MethodPost, "sigillo-class/keys/"+class, map[string]string{"type": "aes256-gcm96"}); err != nil {
		t.Fatal(err)
	}
	backup := filepath.Join(dir, "backup")
	if err := os.CopyFS(backup, os.DirFS(store)); err != nil {
		t.Fatal(err)
	}
	v := dial(t, VaultOptions{Address: server.Address, CAFile: server.CAFile, Auth: VaultAuth{RoleID: id, SecretID: SecretText(secret)}})
	k, err := v.Key(t.Context(), UseReceipt)
	if err != nil {
		t.Fatal(err)
	}
	d, err := v.DataKey(t.Context(), class)
	if err != nil {
		t.Fatal(err)
	}
	mac, err := v.MAC(t.Context(), class, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	for what, before := range map[string]func() error{
		"killed":   func() error { return nil },
		"restored": func() error { return errors.Join(os.RemoveAll(store), os.CopyFS(store, os.DirFS(backup))) },
	} {
		if err := server.Stop(); err != nil {
			t.Fatal(err)
		}
		if _, err := k.Sign(t.Context(), []byte("x")); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: signing without Vault: %v", what, err)
		}
		if err := errors.Join(before(), server.Restart(t.Context())); err != nil {
			t.Fatal(err)
		}
		eventually(t, "signing by a Vault "+what, func() bool { _, err := k.Sign(t.Context(), []byte("x")); return err == nil })
		if got, err := v.Unwrap(t.Context(), class, d.Wrapped); err != nil || got != d.Plain {
			t.Errorf("%s: unwrapping: %v", what, err)
		}
		if got, err := v.MAC(t.Context(), class, []byte("x")); err != nil || got != mac {
			t.Errorf("%s: another MAC: %v", what, err)
		}
	}
}

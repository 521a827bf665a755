package signing

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestGatewayRights: what the gateway's policy of docs/vault lets it do, and what it must not be able to.
func TestGatewayRights(t *testing.T) {
	g := asRole(t, "gateway", time.Hour)
	const content, receipts = "fedcba9876543210-audit-10y-2026-11-g1", "r-fedcba9876543210-audit-10y-2026-11-g1"
	for _, use := range []Use{UseCheckpoint, UseReceipt} {
		k, err := g.Key(t.Context(), use)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.Sign(t.Context(), []byte("x")); err != nil {
			t.Error(err)
		}
	}
	c, err := g.DataKey(t.Context(), content)
	if err != nil {
		t.Fatal(err)
	}
	r, err := g.DataKey(t.Context(), receipts)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.MAC(t.Context(), content, []byte("x")); err != nil {
		t.Error(err)
	}
	if got, err := g.Unwrap(t.Context(), receipts, r.Wrapped); err != nil || got != r.Plain {
		t.Errorf("the gateway cannot open its pending receipts: %v", err)
	}
	if _, err := g.Unwrap(t.Context(), content, c.Wrapped); !errors.Is(err, ErrForbidden) {
		t.Errorf("the gateway opens sealed content: %v", err)
	}
	if err := g.DeleteClassKey(t.Context(), content); !errors.Is(err, ErrForbidden) {
		t.Errorf("the gateway deletes class keys: %v", err)
	}
	if _, err := g.CryptoSigner(t.Context(), UseSeal); !errors.Is(err, ErrForbidden) {
		t.Errorf("the gateway reads the seal key: %v", err)
	}
	for path, body := range map[string]map[string]any{
		"sigillo-class/keys/" + content + "/config":      {"exportable": true},
		"sigillo-class/keys/another-g1":                  {"type": "aes256-gcm96", "exportable": true},
		"transit/keys/sigillo-receipt/config":            {"exportable": true},
		"transit/keys/sigillo-receipt/rotate":            {},
		"sigillo-class/export/encryption-key/" + content: nil,
		"transit/sign/sigillo-seal/sha2-256":             {"input": "eA=="},
		"transit/export/signing-key/sigillo-receipt":     nil,
		"transit/export/signing-key/sigillo-checkpoint":  nil,
		"transit/backup/sigillo-receipt":                 nil,
	} {
		method := http.MethodPost
		if body == nil {
			method = http.MethodGet
		}
		if _, err := realVault(t).DoAs(t.Context(), g.client.Token(), method, path, body); err == nil || !strings.Contains(err.Error(), "403") {
			t.Errorf("%s: %v", path, err)
		}
	}
	auditor := asRole(t, "auditor", time.Hour)
	if got, err := auditor.Unwrap(t.Context(), content, c.Wrapped); err != nil || got != c.Plain {
		t.Errorf("the auditor cannot open content: %v", err)
	}
	if _, err := auditor.DataKey(t.Context(), content); !errors.Is(err, ErrForbidden) {
		t.Errorf("the auditor makes data keys: %v", err)
	}
	archivist := asRole(t, "archivist", time.Hour)
	if _, err := archivist.CryptoSigner(t.Context(), UseSeal); err != nil {
		t.Error(err)
	}
	if _, err := realVault(t).DoAs(t.Context(), archivist.client.Token(), http.MethodPost, "sigillo-class/keys/"+content+"/config",
		map[string]any{"exportable": true}); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("the archivist makes a class key exportable: %v", err)
	}
	if err := archivist.DeleteClassKey(t.Context(), content); err != nil {
		t.Error(err)
	}
	if _, err := auditor.Unwrap(t.Context(), content, c.Wrapped); !errors.Is(err, ErrNoClassKey) {
		t.Errorf("content opens after its class key was destroyed: %v", err)
	}
}

// TestMissingMountIsNoDisposal: a mount that is not there must not read as "content disposed of".
func TestMissingMountIsNoDisposal(t *testing.T) {
	server := realVault(t)
	v := dial(t, VaultOptions{Address: server.Address, CAFile: server.CAFile, ClassMount: "nowhere", Auth: VaultAuth{Token: SecretText(server.RootToken)}})
	const class = "0123456789abcdef-x-g1"
	_, unwrap := v.Unwrap(t.Context(), class, []byte("vault:v1:AAAA"))
	_, mac := v.MAC(t.Context(), class, []byte("x"))
	_, exists := v.ClassKeyExists(t.Context(), class)
	for _, err := range []error{unwrap, mac, exists, v.DeleteClassKey(t.Context(), class)} {
		if err == nil || errors.Is(err, ErrNoClassKey) {
			t.Errorf("a missing mount: %v", err)
		}
	}
}

func TestSealedVaultIsUnavailable(t *testing.T) {
	g := asRole(t, "gateway", time.Hour)
	k, err := g.Key(t.Context(), UseReceipt)
	if err != nil {
		t.Fatal(err)
	}
	v := realVault(t)
	if err := v.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = k.Sign(t.Context(), []byte("x"))
	if uerr := v.Unseal(context.WithoutCancel(t.Context())); uerr != nil {
		t.Fatal(uerr)
	}
	if !errors.Is(err, ErrUnavailable) {
		t.Errorf("signing with a sealed Vault: %v", err)
	}
	eventually(t, "signing after the unseal", func() bool { _, err := k.Sign(t.Context(), []byte("x")); return err == nil })
}

// TestTokenOverIsALoginAgain: a token of 2 s with a maximum of 4 s dies while we watch; the gateway signs on.
func TestTokenOverIsALoginAgain(t *testing.T) {
	g := asRole(t, "gateway", 2*time.Second)
	first := g.client.Token()
	eventually(t, "a new token", func() bool { return g.client.Token() != first })
	k, err := g.Key(t.Context(), UseReceipt)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Sign(t.Context(), []byte("x")); err != nil {
		t.Error(err)
	}
}

// eventually polls a condition of the server, which offers nothing to wait on, up to a limit.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("still waiting for %s", what)
		}
	}
}

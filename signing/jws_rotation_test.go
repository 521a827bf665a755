package signing

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestRotatedReceiptKey: old receipts verify with the new key set, a key that is held signs on with its own
// version, and a receipt of a new version is named as such by an old key set.
func TestRotatedReceiptKey(t *testing.T) {
	server := realVault(t)
	name := "rotated-" + strings.ToLower(rand.Text()) // the server outlives the test
	if _, err := server.Do(t.Context(), http.MethodPost, "transit/keys/"+name, map[string]string{"type": "ecdsa-p256"}); err != nil {
		t.Fatal(err)
	}
	v := dial(t, VaultOptions{Address: server.Address, CAFile: server.CAFile, KeyNames: KeyNames{Receipt: name}, Auth: VaultAuth{Token: SecretText(server.RootToken)}})
	before, oldSet, oldKey := signedReceipts(t, v, `{"n":1}`)
	if _, err := server.Do(t.Context(), http.MethodPost, "transit/keys/"+name+"/rotate", map[string]any{}); err != nil {
		t.Fatal(err)
	}
	after, newSet, newKey := signedReceipts(t, v, `{"n":2}`)
	if oldKey.Version() != 1 || newKey.Version() != 2 || oldKey.KeyID() == newKey.KeyID() {
		t.Fatalf("versions %d and %d, ids %s and %s", oldKey.Version(), newKey.Version(), oldKey.KeyID(), newKey.KeyID())
	}
	for _, c := range append(before, after...) {
		if _, _, err := VerifyReceipt(c, newSet); err != nil {
			t.Errorf("under the set of both versions: %v", err)
		}
		joseVerifies(t, c, newSet)
	}
	if _, _, err := VerifyReceipt(after[0], oldSet); !errors.Is(err, ErrReceiptKey) {
		t.Errorf("a receipt of version 2 under the set of version 1: %v", err)
	}
	if s, err := oldKey.Sign(t.Context(), []byte("x")); err != nil || !verifies(oldKey.Public(), []byte("x"), s) {
		t.Errorf("the key that was held: %v", err)
	}
	var set struct {
		Keys []struct {
			KID, Alg, Use, D string
			From             time.Time `json:"sigillo_from"`
		}
	}
	if err := json.Unmarshal(newSet, &set); err != nil || len(set.Keys) != 2 {
		t.Fatalf("%d keys, %v", len(set.Keys), err)
	}
	for i, k := range set.Keys {
		if want := []string{oldKey.KeyID(), newKey.KeyID()}[i]; k.KID != want || k.Alg != "ES256" || k.Use != "sig" || k.D != "" || k.From.IsZero() {
			t.Errorf("key %d of the set: %+v", i, k)
		}
	}
}

// TestEdDSAReceipts: by configuration; jwx judges, since Debian's jose has no EdDSA.
func TestEdDSAReceipts(t *testing.T) {
	server := realVault(t)
	withKeys(t)
	v := dial(t, VaultOptions{Address: server.Address, CAFile: server.CAFile, KeyNames: KeyNames{Receipt: "sigillo-checkpoint"}, Auth: VaultAuth{Token: SecretText(server.RootToken)}})
	compacts, set, _ := signedReceipts(t, v, `{"n":1}`)
	if payload, _, err := VerifyReceipt(compacts[0], set); err != nil || string(payload) != `{"n":1}` {
		t.Errorf("%s, %v", payload, err)
	}
}

// TestKeySets: what a key set may look like when it comes from elsewhere.
func TestKeySets(t *testing.T) {
	compacts, set, key := signedReceipts(t, custodies(t)["file"], `{"n":1}`)
	var parsed struct {
		Keys []map[string]any `json:"keys"`
	}
	if err := json.Unmarshal(set, &parsed); err != nil {
		t.Fatal(err)
	}
	with := func(field string, value any) []byte {
		k := map[string]any{}
		for n, v := range parsed.Keys[0] {
			k[n] = v
		}
		k[field] = value
		if value == nil {
			delete(k, field)
		}
		b, err := json.Marshal(map[string]any{"keys": []any{k}})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, field := range []string{"alg", "use", "sigillo_from"} {
		if _, kid, err := VerifyReceipt(compacts[0], with(field, nil)); err != nil || kid != key.KeyID() {
			t.Errorf("a key set without %s: %v", field, err)
		}
	}
	for what, bad := range map[string][]byte{
		"symmetric key": with("kty", "oct"), "another curve": with("crv", "P-384"), "no point": with("x", nil),
		"point off the curve": with("x", with64()), "not JSON": []byte("keys"), "huge": make([]byte, maxJWKS+1), "no keys": []byte(`{"keys":[]}`),
	} {
		if _, _, err := VerifyReceipt(compacts[0], bad); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
}

// with64 is a coordinate that belongs to no key of ours.
func with64() string { return "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE" }

// FuzzVaultAnswers: what is read out of Vault's answers.
func FuzzVaultAnswers(f *testing.F) {
	f.Add("vault:v1:AAAA", true)
	f.Add("vault:v1:AAAA==", false)
	f.Add("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", false)
	f.Fuzz(func(t *testing.T, s string, jws bool) {
		if b, err := parseSignature(s, 1, jws); err == nil && len(b) > len(s) {
			t.Fatalf("%d bytes out of %d", len(b), len(s))
		}
		if k, err := parsePublic(s); err == nil && k == nil {
			t.Fatal("neither key nor error")
		}
	})
}

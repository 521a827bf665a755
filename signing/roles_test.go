package signing

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"sigillo/internal/testbed"
)

// roleToken logs in by AppRole with the policy of docs/vault.
func roleToken(t *testing.T, v *testbed.Vault, role string) string {
	t.Helper()
	id, secret, err := v.Prepare(t.Context(), role, policyFile(t, role), time.Hour)
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

// TestRolesInVault: each call that matters, by each role, against the real Vault: what a role may do it can, and
// everything else is refused with 403. The policies are those of docs/vault.
func TestRolesInVault(t *testing.T) {
	v := realVault(t)
	tokens := map[string]string{}
	for _, role := range []string{"gateway", "auditor", "archivist"} {
		tokens[role] = roleToken(t, v, role)
	}
	const content, receipts = "00112233aabbccdd-audit-10y-2026-11-g1", "r-00112233aabbccdd-audit-10y-2026-11-g1"
	wrapped := map[string]string{}
	for _, name := range []string{content, receipts, "00112233aabbccdd-spare-2026-11-g1"} {
		if _, err := v.Do(t.Context(), http.MethodPost, "sigillo-class/keys/"+name, map[string]string{"type": "aes256-gcm96"}); err != nil {
			t.Fatal(err)
		}
		d, err := v.Do(t.Context(), http.MethodPost, "sigillo-class/datakey/wrapped/"+name, map[string]int{"bits": 256})
		if err != nil {
			t.Fatal(err)
		}
		wrapped[name], _ = d["ciphertext"].(string)
	}
	decrypt := func(name string) any { return map[string]string{"ciphertext": wrapped[name]} }
	input := map[string]string{"input": "eA=="}
	const post, put, get, del = http.MethodPost, http.MethodPut, http.MethodGet, http.MethodDelete
	all, archive, reading := []string{"gateway", "auditor", "archivist"}, []string{"archivist"}, []string{"auditor", "archivist"}
	gateway, nobody := []string{"gateway"}, []string{}
	for _, c := range []struct {
		what, method, path string
		body               any
		may                []string
	}{
		{"decrypt content", post, "sigillo-class/decrypt/" + content, decrypt(content), reading},
		{"decrypt receipts", post, "sigillo-class/decrypt/" + receipts, decrypt(receipts), all},
		{"ask a data key", post, "sigillo-class/datakey/plaintext/" + content, map[string]int{"bits": 256}, []string{"gateway", "archivist"}},
		{"the index key", post, "sigillo-class/hmac/" + content + "/sha2-256", input, all},
		{"make a class key", post, "sigillo-class/keys/00112233aabbccdd-audit-10y-2026-12-g1", map[string]string{"type": "aes256-gcm96"}, gateway},
		{"make an exportable key", post, "sigillo-class/keys/00112233aabbccdd-audit-10y-2027-01-g1", map[string]any{"type": "aes256-gcm96", "exportable": true}, nobody},
		{"make a key of another type", post, "sigillo-class/keys/00112233aabbccdd-audit-10y-2027-02-g1", map[string]string{"type": "rsa-2048"}, nobody},
		{"make a key that may be backed up", post, "sigillo-class/keys/00112233aabbccdd-audit-10y-2027-03-g1", map[string]any{"type": "aes256-gcm96", "allow_plaintext_backup": true}, nobody},
		{"make a derived key", post, "sigillo-class/keys/00112233aabbccdd-audit-10y-2027-04-g1", map[string]any{"type": "aes256-gcm96", "derived": true, "convergent_encryption": true}, nobody},
		{"set exportable", post, "sigillo-class/keys/" + content + "/config", map[string]bool{"exportable": true}, nobody},
		{"set exportable beside deletion", post, "sigillo-class/keys/" + content + "/config", map[string]bool{"deletion_allowed": true, "exportable": true}, nobody},
		{"set plaintext backup", post, "sigillo-class/keys/" + content + "/config", map[string]bool{"allow_plaintext_backup": true}, nobody},
		{"set the least version", post, "sigillo-class/keys/" + content + "/config", map[string]int{"min_decryption_version": 1}, nobody},
		{"forbid deletion", post, "sigillo-class/keys/" + content + "/config", map[string]bool{"deletion_allowed": false}, nobody},
		{"export", get, "sigillo-class/export/encryption-key/" + content, nil, nobody},
		{"back a key up", get, "sigillo-class/backup/" + content, nil, nobody},
		{"restore a key", post, "sigillo-class/restore/" + content, map[string]string{"backup": "x"}, nobody},
		{"rotate", post, "sigillo-class/keys/" + content + "/rotate", nil, nobody},
		{"trim", post, "sigillo-class/keys/" + content + "/trim", map[string]int{"min_available_version": 1}, nobody},
		{"rewrap", post, "sigillo-class/rewrap/" + content, decrypt(content), nobody},
		{"encrypt", post, "sigillo-class/encrypt/" + content, map[string]string{"plaintext": "eA=="}, nobody},
		{"list class keys", "LIST", "sigillo-class/keys", nil, nobody},
		{"sign a checkpoint", post, "transit/sign/sigillo-checkpoint", input, gateway},
		{"sign a receipt", post, "transit/sign/sigillo-receipt/sha2-256", input, gateway},
		{"seal a package", post, "transit/sign/sigillo-seal/sha2-256", input, archive},
		{"read the checkpoint key", get, "transit/keys/sigillo-checkpoint", nil, all},
		{"delete the checkpoint key", del, "transit/keys/sigillo-checkpoint", nil, nobody},
		{"allow deletion of the checkpoint key", post, "transit/keys/sigillo-checkpoint/config", map[string]bool{"deletion_allowed": true}, nobody},
		{"export the receipt key", get, "transit/export/signing-key/sigillo-receipt", nil, nobody},
		{"rotate the receipt key", post, "transit/keys/sigillo-receipt/rotate", nil, nobody},
		{"read mounts", get, "sys/mounts", nil, nobody},
		{"mount", post, "sys/mounts/evil", map[string]string{"type": "transit"}, nobody},
		{"write a policy", put, "sys/policies/acl/evil", map[string]string{"policy": `path "*" { capabilities = ["sudo"] }`}, nobody},
		{"make a role", post, "auth/approle/role/evil", map[string]string{"token_policies": "root"}, nobody},
		{"read another mount", get, "cubbyhole/../sys/raw/core", nil, nobody},
		// Last, on keys that nothing else needs.
		{"allow deletion", post, "sigillo-class/keys/00112233aabbccdd-spare-2026-11-g1/config", map[string]bool{"deletion_allowed": true}, archive},
		{"delete a class key", del, "sigillo-class/keys/00112233aabbccdd-spare-2026-11-g1", nil, archive},
	} {
		for _, role := range all {
			_, err := v.DoAs(t.Context(), tokens[role], c.method, c.path, c.body)
			switch may := slices.Contains(c.may, role); {
			case may && err != nil:
				t.Errorf("%s: %s is refused: %v", c.what, role, err)
			case !may && err == nil:
				t.Errorf("%s: %s may", c.what, role)
			case !may && !strings.Contains(err.Error(), "status 403"):
				t.Errorf("%s: %s gets no 403: %v", c.what, role, err)
			}
		}
	}
}

// TestArchivistAsksDataKeysWithoutMakingKeys: a new generation is the gateway's to make; an archivist wraps under it.
func TestArchivistAsksDataKeysWithoutMakingKeys(t *testing.T) {
	gateway, archivist := asRole(t, "gateway", time.Hour), asRole(t, "archivist", time.Hour)
	const name = "0123456789abcdef-roles-2026-11-g2"
	if _, err := archivist.DataKey(t.Context(), name); err == nil {
		t.Error("an archivist made a class key")
	}
	if _, err := gateway.DataKey(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	d, err := archivist.DataKey(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := gateway.Unwrap(t.Context(), name, d.Wrapped); err == nil {
		t.Error("the gateway opens a data key of content")
	}
	if got, err := archivist.Unwrap(t.Context(), name, d.Wrapped); err != nil || got != d.Plain {
		t.Errorf("the archivist's own data key: %v", err)
	}
}

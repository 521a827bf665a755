package signing

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sigillo/internal/testbed"
)

// One Vault serves all tests of the package.
var vaultOnce = sync.OnceValues(func() (*testbed.Vault, error) {
	dir, err := os.MkdirTemp("", "sigillo-vault-")
	if err != nil {
		return nil, err
	}
	pki, err := testbed.OpenPKI(dir, nil)
	if err != nil {
		return nil, err
	}
	v, err := testbed.StartVault(context.Background(), pki)
	if err != nil {
		return nil, err
	}
	stopVault = func() { _ = v.Stop(); _ = os.RemoveAll(dir) }
	return v, nil
})

var stopVault = func() {}

func TestMain(m *testing.M) {
	code := m.Run()
	stopVault()
	os.Exit(code)
}

func realVault(t *testing.T) *testbed.Vault {
	t.Helper()
	v, err := vaultOnce()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func policyFile(t *testing.T, role string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "docs", "vault", role+".hcl"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// asRole dials Vault by AppRole with the policy of docs/vault.
func asRole(t *testing.T, role string, ttl time.Duration) *Vault {
	t.Helper()
	v := realVault(t)
	id, secret, err := v.Prepare(t.Context(), role, policyFile(t, role), ttl)
	if err != nil {
		t.Fatal(err)
	}
	c, err := DialVault(t.Context(), VaultOptions{Address: v.Address, CAFile: v.CAFile, Auth: VaultAuth{RoleID: id, SecretID: SecretText(secret)}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// custodies are the two parts of the seam, both held to the same suite. The Vault one has all rights.
func custodies(t *testing.T) map[string]Custody {
	t.Helper()
	d, err := CreateKeyDir(filepath.Join(t.TempDir(), "keys"), SealP256)
	if err != nil {
		t.Fatal(err)
	}
	server := realVault(t)
	if _, _, err := server.Prepare(t.Context(), "gateway", policyFile(t, "gateway"), time.Hour); err != nil {
		t.Fatal(err)
	}
	v, err := DialVault(t.Context(), VaultOptions{Address: server.Address, CAFile: server.CAFile, Auth: VaultAuth{Token: SecretText(server.RootToken)}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = v.Close() })
	return map[string]Custody{"file": d, "vault": v}
}

func verifies(public crypto.PublicKey, message, signature []byte) bool {
	switch k := public.(type) {
	case ed25519.PublicKey:
		return ed25519.Verify(k, message, signature)
	case *ecdsa.PublicKey:
		d := sha256.Sum256(message)
		return len(signature) == 64 && ecdsa.Verify(k, d[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:]))
	}
	return false
}

func TestCustodySigns(t *testing.T) {
	for name, c := range custodies(t) {
		if c.Kind() != name {
			t.Errorf("kind %s, want %s", c.Kind(), name)
		}
		for _, use := range []Use{UseCheckpoint, UseReceipt} {
			k, err := c.Key(t.Context(), use)
			if err != nil {
				t.Fatalf("%s, %s: %v", name, use, err)
			}
			var messages [][]byte
			for i := range 600 { // more than one call
				messages = append(messages, fmt.Appendf(nil, "message %d", i))
			}
			signed, err := k.SignBatch(t.Context(), messages)
			if err != nil || len(signed) != len(messages) {
				t.Fatalf("%s, %s: %d signatures, %v", name, use, len(signed), err)
			}
			for i, s := range signed {
				if s.Err != nil || !verifies(k.Public(), messages[i], s.Signature) {
					t.Fatalf("%s, %s: signature %d: %v", name, use, i, s.Err)
				}
			}
			one, err := k.Sign(t.Context(), []byte("one"))
			if err != nil || !verifies(k.Public(), []byte("one"), one) || verifies(k.Public(), []byte("two"), one) {
				t.Errorf("%s, %s: single signature: %v", name, use, err)
			}
			if vs, err := k.Versions(t.Context()); err != nil || len(vs) == 0 {
				t.Errorf("%s, %s: versions %v, %v", name, use, vs, err)
			}
		}
		seal, err := c.CryptoSigner(t.Context(), UseSeal)
		if err != nil {
			t.Fatal(err)
		}
		digest := sha256.Sum256([]byte("index"))
		sig, err := seal.Sign(nil, digest[:], crypto.SHA256)
		if err != nil {
			t.Fatalf("%s: seal: %v", name, err)
		}
		switch k := seal.Public().(type) {
		case *rsa.PublicKey:
			err = rsa.VerifyPKCS1v15(k, crypto.SHA256, digest[:], sig)
		case *ecdsa.PublicKey:
			if !ecdsa.VerifyASN1(k, digest[:], sig) {
				err = errors.New("does not verify")
			}
		}
		if err != nil {
			t.Errorf("%s: seal: %v", name, err)
		}
		if _, err := c.Key(t.Context(), "other"); err == nil {
			t.Errorf("%s: a key for no use", name)
		}
	}
}

// reopened is another custody of the same keys, as after a restart.
func reopened(t *testing.T, c Custody) Custody {
	t.Helper()
	var again Custody
	var err error
	switch c := c.(type) {
	case *KeyDir:
		again, err = OpenKeyDir(c.dir)
	case *Vault:
		again, err = DialVault(t.Context(), c.o)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = again.Close() })
	return again
}

func TestCustodyWraps(t *testing.T) {
	for name, c := range custodies(t) {
		const class = "0123456789abcdef-audit-10y-2026-11-g1"
		a, err := c.DataKey(t.Context(), class)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		b, err := c.DataKey(t.Context(), class)
		if err != nil || a.Plain == b.Plain {
			t.Fatalf("%s: two data keys are one, %v", name, err)
		}
		if got, err := c.Unwrap(t.Context(), class, a.Wrapped); err != nil || got != a.Plain {
			t.Errorf("%s: unwrapped %v", name, err)
		}
		altered := append([]byte(nil), a.Wrapped...)
		altered[len(altered)-2] ^= 1
		if _, err := c.Unwrap(t.Context(), class, altered); err == nil {
			t.Errorf("%s: an altered data key opens", name)
		}
		m1, err := c.MAC(t.Context(), class, []byte("x"))
		m2, err2 := c.MAC(t.Context(), class, []byte("x"))
		m3, err3 := c.MAC(t.Context(), class, []byte("y"))
		if err := errors.Join(err, err2, err3); err != nil || m1 != m2 || m1 == m3 {
			t.Errorf("%s: MAC is not a function of its input: %v", name, err)
		}
		again := reopened(t, c)
		if got, err := again.MAC(t.Context(), class, []byte("x")); err != nil || got != m1 {
			t.Errorf("%s: another MAC after opening again: %v", name, err)
		}
		if got, err := again.Unwrap(t.Context(), class, b.Wrapped); err != nil || got != b.Plain {
			t.Errorf("%s: unwrapped after opening again: %v", name, err)
		}
		if _, err := again.DataKey(t.Context(), class); err != nil {
			t.Errorf("%s: a data key of a class key that exists: %v", name, err)
		}
		if there, err := c.ClassKeyExists(t.Context(), class); err != nil || !there {
			t.Errorf("%s: a class key that is there: %v, %v", name, there, err)
		}
		if err := c.DeleteClassKey(t.Context(), class); err != nil {
			t.Fatalf("%s: deleting: %v", name, err)
		}
		if err := c.DeleteClassKey(t.Context(), class); !errors.Is(err, ErrNoClassKey) {
			t.Errorf("%s: deleting again: %v", name, err)
		}
		if _, err := c.MAC(t.Context(), class, []byte("x")); !errors.Is(err, ErrNoClassKey) {
			t.Errorf("%s: a MAC under a destroyed key: %v", name, err)
		}
		if there, err := c.ClassKeyExists(t.Context(), class); err != nil || there {
			t.Errorf("%s: a class key that was destroyed: %v, %v", name, there, err)
		}
		if _, err := c.Unwrap(t.Context(), class, a.Wrapped); !errors.Is(err, ErrNoClassKey) {
			t.Errorf("%s: unwrapping under a destroyed key: %v", name, err)
		}
		if _, err := c.DataKey(t.Context(), "../evil"); err == nil {
			t.Errorf("%s: a class key name with a path is taken", name)
		}
	}
}

func TestKeyDirRefusesFilesThatOthersRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	if _, err := CreateKeyDir(dir, SealRSA3072); err != nil {
		t.Fatal(err)
	}
	if _, err := CreateKeyDir(dir, SealP256); err == nil || !strings.Contains(err.Error(), "never overwritten") {
		t.Errorf("keys were made over keys: %v", err)
	}
	if err := os.Chmod(filepath.Join(dir, "receipt.pem"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenKeyDir(dir); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a readable key was taken: %v", err)
	}
	if err := os.Chmod(filepath.Join(dir, "receipt.pem"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenKeyDir(dir); err == nil || !strings.Contains(err.Error(), "chmod 700") {
		t.Errorf("a directory that others may enter was taken: %v", err)
	}
}

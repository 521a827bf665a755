package signing

import (
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func signedReceipts(t *testing.T, c Custody, payloads ...string) ([]string, []byte, Key) {
	t.Helper()
	k, err := c.Key(t.Context(), UseReceipt)
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewReceipts(t.Context(), k)
	if err != nil {
		t.Fatal(err)
	}
	var in [][]byte
	for _, p := range payloads {
		in = append(in, []byte(p))
	}
	signed, err := r.SignReceipts(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, s := range signed {
		if s.Err != nil {
			t.Fatal(s.Err)
		}
		out = append(out, s.Compact)
	}
	jwks, err := PublicJWKS(t.Context(), k)
	if err != nil {
		t.Fatal(err)
	}
	return out, jwks, k
}

func TestReceiptsVerifyHereAndElsewhere(t *testing.T) {
	for name, c := range custodies(t) {
		const payload = `{"iss":"sigillo.test","exchange":"x"}`
		compacts, jwks, key := signedReceipts(t, c, payload, `{"n":2}`)
		got, kid, err := VerifyReceipt(compacts[0], jwks)
		if err != nil || string(got) != payload || kid != key.KeyID() {
			t.Errorf("%s: payload %s, kid %s, %v", name, got, kid, err)
		}
		opensslVerifies(t, compacts[0], key)
		joseVerifies(t, compacts[1], jwks)
	}
}

// opensslVerifies checks the raw parts: SHA-256 over header.payload, r||s turned into DER.
func opensslVerifies(t *testing.T, compact string, key Key) {
	t.Helper()
	dir := t.TempDir()
	cut := strings.LastIndexByte(compact, '.')
	raw, err := base64.RawURLEncoding.DecodeString(compact[cut+1:])
	if err != nil {
		t.Fatal(err)
	}
	der, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(raw[:32]), new(big.Int).SetBytes(raw[32:])})
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{"input": []byte(compact[:cut]), "sig": der, "pub.pem": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki})}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("openssl", "dgst", "-sha256", "-verify", "pub.pem", "-signature", "sig", "input")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("openssl: %v: %s", err, out)
	}
}

func joseVerifies(t *testing.T, compact string, jwks []byte) {
	t.Helper()
	if _, err := exec.LookPath("jose"); err != nil {
		t.Log("jose is not installed (Debian package jose): openssl judged alone")
		return
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "keys.jwks"), jwks, 0o600); err != nil {
		t.Fatal(err)
	}
	for what, token := range map[string]string{"good": compact, "altered": compact[:len(compact)-3] + "AAA"} {
		if err := os.WriteFile(filepath.Join(dir, "receipt.jws"), []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("jose", "jws", "ver", "-i", "receipt.jws", "-k", "keys.jwks", "-O", "-")
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if (err == nil) != (what == "good") {
			t.Errorf("jose on a %s receipt: %v: %s", what, err, out)
		}
	}
}

func TestEveryChangeOfAReceiptIsRefused(t *testing.T) {
	c := custodies(t)["file"]
	compacts, jwks, key := signedReceipts(t, c, `{"iss":"sigillo.test"}`)
	good := compacts[0]
	parts := strings.Split(good, ".")
	for i := range good {
		if good[i] == '.' {
			continue
		}
		// The last character of a part may hold bits that base64 does not use; strict decoding refuses those too.
		b := []byte(good)
		if b[i] = 'A'; good[i] == 'A' {
			b[i] = 'B'
		}
		if _, _, err := VerifyReceipt(string(b), jwks); err == nil {
			t.Errorf("accepted with character %d changed from %c to %c", i, good[i], b[i])
		}
	}
	header := func(change func(map[string]any)) string {
		h := map[string]any{"alg": "ES256", "kid": key.KeyID(), "typ": receiptType}
		change(h)
		b, err := json.Marshal(h)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(b) + "." + parts[1] + "." + parts[2]
	}
	for what, bad := range map[string]string{
		"none":        header(func(h map[string]any) { h["alg"] = "none" }),
		"HS256":       header(func(h map[string]any) { h["alg"] = "HS256" }),
		"crit":        header(func(h map[string]any) { h["crit"] = []string{"x"} }),
		"jku":         header(func(h map[string]any) { h["jku"] = "https://evil.example" }),
		"other typ":   header(func(h map[string]any) { h["typ"] = "JWT" }),
		"no kid":      header(func(h map[string]any) { delete(h, "kid") }),
		"unknown kid": header(func(h map[string]any) { h["kid"] = "x" }),
		"two parts":   parts[0] + "." + parts[1],
		"no payload":  parts[0] + ".." + parts[2],
		"huge":        good + strings.Repeat("A", maxReceipt),
	} {
		if _, _, err := VerifyReceipt(bad, jwks); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	_, other, _ := signedReceipts(t, custodies(t)["file"], "{}")
	if _, _, err := VerifyReceipt(good, other); err == nil {
		t.Error("accepted under another's keys")
	}
}

func FuzzVerifyReceipt(f *testing.F) {
	d, err := CreateKeyDir(filepath.Join(f.TempDir(), "keys"), SealP256)
	if err != nil {
		f.Fatal(err)
	}
	k, err := d.Key(f.Context(), UseReceipt)
	if err != nil {
		f.Fatal(err)
	}
	r, err := NewReceipts(f.Context(), k)
	if err != nil {
		f.Fatal(err)
	}
	jwks, err := PublicJWKS(f.Context(), k)
	if err != nil {
		f.Fatal(err)
	}
	signed, err := r.SignReceipts(f.Context(), [][]byte{[]byte(`{"n":1}`)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(signed[0].Compact)
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, s string) {
		if payload, _, err := VerifyReceipt(s, jwks); err == nil && string(payload) != `{"n":1}` {
			t.Fatalf("accepted %q", s)
		}
	})
}

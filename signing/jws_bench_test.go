package signing

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math/big"
	"testing"
	"time"
)

// BenchmarkReceiptVerifier reports how fast receipts are verified as a ratio to their bare ES256 signatures.
func BenchmarkReceiptVerifier(b *testing.B) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	kid, err := Thumbprint(&key.PublicKey)
	if err != nil {
		b.Fatal(err)
	}
	signed := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"alg":"ES256","kid":%q,"typ":%q}`, kid, receiptType)) + "." +
		base64.RawURLEncoding.EncodeToString(make([]byte, 700))
	digest := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		b.Fatal(err)
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	compact := signed + "." + base64.RawURLEncoding.EncodeToString(signature)
	v := &ReceiptVerifier{keys: map[string]receiptKey{kid: {alg: "ES256", public: &key.PublicKey}}}
	began := time.Now()
	for range b.N {
		if _, _, err := v.Verify(compact); err != nil {
			b.Fatal(err)
		}
	}
	whole := time.Since(began)
	began = time.Now()
	for range b.N {
		digest := sha256.Sum256([]byte(signed))
		if !ecdsa.Verify(&key.PublicKey, digest[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])) {
			b.Fatal("the signature does not hold")
		}
	}
	b.ReportMetric(time.Since(began).Seconds()/whole.Seconds(), "x-bare")
}

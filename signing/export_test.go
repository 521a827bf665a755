package signing

import (
	"crypto"
	"crypto/x509"
)

// ForgeTSA is NewTestTSA without its checks: an authority with an unfit certificate.
func ForgeTSA(key crypto.Signer, certificate *x509.Certificate, chain []*x509.Certificate) *TestTSA {
	return &TestTSA{key: key, certificate: certificate, chain: chain}
}

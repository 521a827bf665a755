package signing

import (
	"crypto"
	"crypto/x509"
	"time"
)

// ForgeTSA is NewTestTSA without its checks: an authority with an unfit certificate.
func ForgeTSA(key crypto.Signer, certificate *x509.Certificate, chain []*x509.Certificate) *TestTSA {
	return &TestTSA{key: key, certificate: certificate, chain: chain}
}

// CheckRevoked is checkRevoked over lists in DER; nil means that a list in force does not name the certificate.
func CheckRevoked(certificate, issuer *x509.Certificate, lists [][]byte, at time.Time) error {
	crls, err := parseCRLs(lists)
	if err != nil {
		return err
	}
	_, err = checkRevoked(certificate, issuer, crls, at)
	return err
}

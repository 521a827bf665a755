package signing_test

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"testing"
	"time"

	"sigillo/signing"
)

// Lists that speak of part of the certificates (issuingDistributionPoint, RFC 5280, section 5.2.5), as
// qualified providers publish them, and those that we must not rest on.
func TestPartitionedLists(t *testing.T) {
	now := time.Now()
	key := ecKey(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), SubjectKeyId: []byte{1}}
	create := func(template, parent *x509.Certificate) *x509.Certificate {
		der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	ca := create(template, template)
	leaf := create(&x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "leaf"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		CRLDistributionPoints: []string{"http://ca.test/7.crl"}}, ca)
	uri := func(s string) []byte { // [0] distributionPoint { [0] fullName { [6] URI } }
		name := append([]byte{0x86, byte(len(s))}, s...)
		full := append([]byte{0xa0, byte(len(name))}, name...)
		return append([]byte{0xa0, byte(len(full))}, full...)
	}
	list := func(partition []byte, critical asn1.ObjectIdentifier, revoked ...int64) []byte {
		crl := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now.Add(-time.Minute), NextUpdate: now.Add(time.Minute)}
		if partition != nil {
			crl.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: true, Value: append([]byte{0x30, byte(len(partition))}, partition...)}}
		}
		if critical != nil {
			crl.ExtraExtensions = append(crl.ExtraExtensions, pkix.Extension{Id: critical, Critical: true, Value: []byte{2, 1, 1}})
		}
		for _, n := range revoked {
			crl.RevokedCertificateEntries = append(crl.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(n), RevocationTime: now.Add(-time.Minute)})
		}
		der, err := x509.CreateRevocationList(rand.Reader, crl, ca, key)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	forged := list(nil, nil)
	forged[len(forged)-1] ^= 1
	for name, c := range map[string]struct {
		lists [][]byte
		want  error
	}{
		"whole":                    {[][]byte{list(nil, nil)}, nil},
		"revoked":                  {[][]byte{list(nil, nil, 3, 7)}, signing.ErrCertRevoked},
		"revoked in one of two":    {[][]byte{list(nil, nil), list(nil, nil, 7)}, signing.ErrCertRevoked},
		"our partition":            {[][]byte{list(uri("http://ca.test/7.crl"), nil)}, nil},
		"our partition, revoked":   {[][]byte{list(uri("http://ca.test/7.crl"), nil, 7)}, signing.ErrCertRevoked},
		"another partition":        {[][]byte{list(uri("http://ca.test/8.crl"), nil)}, signing.ErrCRLMissing},
		"users only":               {[][]byte{list([]byte{0x81, 1, 0xff}, nil)}, nil},
		"authorities only":         {[][]byte{list([]byte{0x82, 1, 0xff}, nil)}, signing.ErrCRLMissing},
		"some reasons only":        {[][]byte{list([]byte{0x83, 2, 1, 0x40}, nil)}, signing.ErrCRLMissing},
		"indirect":                 {[][]byte{list([]byte{0x84, 1, 0xff}, nil)}, signing.ErrCRLMissing},
		"delta":                    {[][]byte{list(nil, asn1.ObjectIdentifier{2, 5, 29, 27})}, signing.ErrCRLMissing},
		"signature of another":     {[][]byte{forged}, signing.ErrCRLMissing},
		"forged beside a real one": {[][]byte{forged, list(nil, nil)}, nil},
		"none":                     {nil, signing.ErrCRLMissing},
	} {
		if err := signing.CheckRevoked(leaf, ca, c.lists, now); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	expectError(t, signing.CheckRevoked(leaf, ca, [][]byte{list(nil, nil)}, now.Add(time.Minute)), signing.ErrCRLStale)
	expectError(t, signing.CheckRevoked(leaf, ca, [][]byte{list(nil, nil)}, now.Add(-2*time.Minute)), signing.ErrCRLNotYet)
}

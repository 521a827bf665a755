package signing_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"sigillo/internal/testbed"
	"sigillo/signing"
)

// authority makes a self-signed root and below it a certificate for an authority with the given usage.
func authority(t *testing.T, now time.Time, change func(*x509.Certificate)) (key crypto.Signer, certificate, root *x509.Certificate) {
	t.Helper()
	rootKey, key := ecKey(t), ecKey(t)
	make := func(template, parent *x509.Certificate, public crypto.PublicKey) *x509.Certificate {
		der, err := x509.CreateCertificate(rand.Reader, template, parent, public, rootKey)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	rootTemplate := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(100 * 365 * 24 * time.Hour)}
	root = make(rootTemplate, rootTemplate, rootKey.Public())
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: testbed.TSAName}, KeyUsage: x509.KeyUsageDigitalSignature,
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), ExtraExtensions: []pkix.Extension{stampingOnly(true)}}
	change(template)
	return key, make(template, root, key.Public()), root
}

func stampingOnly(critical bool) pkix.Extension {
	value, _ := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: critical, Value: value}
}

func TestUnfitAuthorities(t *testing.T) {
	digest := sha256.Sum256([]byte("data"))
	now := time.Now()
	for name, c := range map[string]struct {
		change func(*x509.Certificate)
		made   time.Time
		want   error
	}{
		"fit":                       {func(*x509.Certificate) {}, now, nil},
		"usage not marked critical": {func(c *x509.Certificate) { c.ExtraExtensions = []pkix.Extension{stampingOnly(false)} }, now, signing.ErrStampCertificate},
		"wrong usage": {func(c *x509.Certificate) {
			c.ExtraExtensions, c.ExtKeyUsage = nil, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}, now, signing.ErrStampCertificate},
		"two usages": {func(c *x509.Certificate) {
			value, _ := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}, {1, 3, 6, 1, 5, 5, 7, 3, 1}})
			c.ExtraExtensions[0].Value = value
		}, now, signing.ErrStampCertificate},
		"no usage": {func(c *x509.Certificate) { c.ExtraExtensions = nil }, now, signing.ErrStampCertificate},
		"expired":  {func(*x509.Certificate) {}, now.Add(-48 * time.Hour), signing.ErrStampChain},
	} {
		key, certificate, root := authority(t, c.made, c.change)
		server := httptest.NewServer(signing.ForgeTSA(key, certificate, oneRoot(root)))
		client := &signing.TSA{URL: server.URL, Roots: oneRoot(root)}
		if _, err := client.Stamp(t.Context(), digest); !errors.Is(err, c.want) {
			t.Errorf("%s: error %v, want %v", name, err, c.want)
		}
		server.Close()
		_, err := signing.NewTestTSA(key, certificate, oneRoot(root))
		if (err == nil) != (c.want == nil || c.want == signing.ErrStampChain) {
			t.Errorf("%s: NewTestTSA: %v", name, err)
		}
	}
	key, unmarked, root := authority(t, now, func(c *x509.Certificate) { c.Subject.CommonName = "Time Stamping Authority" })
	if _, err := signing.NewTestTSA(key, unmarked, oneRoot(root)); err == nil {
		t.Error("a certificate without the mark is accepted")
	}
	_, marked, _ := authority(t, now, func(*x509.Certificate) {})
	_, err := signing.NewTestTSA(key, marked, oneRoot(root))
	expectError(t, err, signing.ErrKeyMismatch)
}

// A19: the authority's certificate expires: the stamp is good at its own time, not at a later one.
func TestStampAfterExpiry(t *testing.T) {
	digest := sha256.Sum256([]byte("data"))
	key, certificate, root := authority(t, time.Now(), func(*x509.Certificate) {})
	tsa, err := signing.NewTestTSA(key, certificate, oneRoot(root))
	if err != nil {
		t.Fatal(err)
	}
	stamp, err := tsa.Stamp(t.Context(), digest)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := signing.VerifyStamp(stamp.Response, digest, oneRoot(root), time.Time{}); err != nil {
		t.Error(err)
	}
	_, err = signing.VerifyStamp(stamp.Response, digest, oneRoot(root), time.Now().Add(2*time.Hour))
	expectError(t, err, signing.ErrStampChain)
	_, err = signing.VerifyToken(stamp.Token, sha256.Sum256(nil), signing.StampTrust{Roots: oneRoot(root)})
	expectError(t, err, signing.ErrStampImprint)
}

func TestTestAuthorityOverHTTP(t *testing.T) {
	b := newBed(t, ecKey(t))
	for _, c := range []struct {
		method, kind string
		body         []byte
		want         int
	}{
		{http.MethodGet, "", nil, http.StatusMethodNotAllowed},
		{http.MethodPost, "text/plain", []byte("x"), http.StatusUnsupportedMediaType},
		{http.MethodPost, "application/timestamp-query", bytes.Repeat([]byte{0x30}, 64<<10), http.StatusRequestEntityTooLarge},
		{http.MethodPost, "application/timestamp-query", []byte("garbage"), http.StatusOK}, // a rejection in the answer
	} {
		r := httptest.NewRequest(c.method, "/tsa", bytes.NewReader(c.body))
		r.Header.Set("Content-Type", c.kind)
		w := httptest.NewRecorder()
		b.tsa.ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("%s %s: status %d, want %d: %s", c.method, c.kind, w.Code, c.want, strings.TrimSpace(w.Body.String()))
		}
	}
}

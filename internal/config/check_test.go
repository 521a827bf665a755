package config

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// files is a folder with everything that the complete file names.
type files struct {
	t   *testing.T
	dir string
}

func (f files) put(name string, content []byte, mode os.FileMode) {
	f.t.Helper()
	path := filepath.Join(f.dir, name)
	if err := os.RemoveAll(path); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		f.t.Fatal(err)
	}
}

// pair writes NAME.pem and NAME.key, a self-signed authority valid for the given days around now, and its CRL.
func (f files) pair(name string, from, until int) {
	f.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.t.Fatal(err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, SubjectKeyId: []byte{1},
		NotBefore: now.AddDate(0, 0, from), NotAfter: now.AddDate(0, 0, until),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCRLSign | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		f.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		f.t.Fatal(err)
	}
	crl, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now, NextUpdate: now.AddDate(0, 0, 1)}, template, key)
	if err != nil {
		f.t.Fatal(err)
	}
	f.put(name+".pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
	f.put(name+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600)
	f.put(name+".crl", crl, 0o644)
}

const full = `
archive:
  dir: packages
  schemas: xsd
  producers: [{principal: "ec:77777777777", name: N, fiscal_code: 77777777777}, {principal: "psp:TESTPSP1", name: P, fiscal_code: 88888888888}]
  seal: {certificate: s.pem, chain: ca.pem, crls: [ca.crl]}
  trust: old.pem
policies: {dir: cedar}
`

func complete(t *testing.T) (files, string) {
	f := files{t: t, dir: t.TempDir()}
	f.pair("s", -1, 1)
	f.pair("ca", -1, 1)
	f.pair("old", -20, -10)
	for _, name := range []string{"xsd", "cedar"} {
		if err := os.Mkdir(filepath.Join(f.dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	f.put("token", []byte("t\n"), 0o600)
	f.put("key", []byte("k3y\n"), 0o600)
	content := strings.NewReplacer(
		"{custody: file}", `{custody: vault, vault: {address: "https://v:1", ca: ca.pem, auth: {method: token, token: "${file:token}"}}}`,
		"${env:SIGILLO_TEST_KEY}", "${file:key}",
		"{test: true}", `{authorities: [{url: "https://t", roots: ca.pem, user: u, password: "${file:token}"}]}`,
		`upstream: {url: "https://127.0.0.1:1"}`, `upstream: {url: "https://127.0.0.1:1", ca: ca.pem, certificate: s.pem, key: s.key}`,
	).Replace(minimal) + full
	f.put("sigillo.yaml", []byte(content), 0o600)
	return f, filepath.Join(f.dir, "sigillo.yaml")
}

func check(t *testing.T, path string) error {
	t.Helper()
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return c.Check(t.Context())
}

func TestCheckAcceptsWhatFits(t *testing.T) {
	_, path := complete(t)
	if err := check(t, path); err != nil {
		t.Error(err)
	}
}

func TestCheckFindings(t *testing.T) {
	for _, c := range []struct {
		name   string
		spoil  func(f files)
		field  string
		fixing string
	}{
		{"certificate missing", func(f files) { os.Remove(filepath.Join(f.dir, "s.pem")) }, "listeners[0].certificate", "no such file"},
		{"key open to all", func(f files) { os.Chmod(filepath.Join(f.dir, "s.key"), 0o644) }, "listeners[0].key", "run chmod 0640 or stricter"},
		{"key of another", func(f files) {
			f.pair("x", -1, 1)
			os.Rename(filepath.Join(f.dir, "x.key"), filepath.Join(f.dir, "s.key"))
		}, "listeners[0].key", "does not fit the certificate"},
		{"same at the upstream", func(f files) { f.put("s.key", []byte("no key"), 0o600) }, "routes[0].upstream.key", "does not fit the certificate"},
		{"expired", func(f files) { f.pair("s", -20, -10) }, "listeners[0].certificate", "expired on"},
		{"not yet", func(f files) { f.pair("s", 10, 20) }, "listeners[0].certificate", "is the clock right?"},
		{"no certificate in it", func(f files) { f.put("ca.pem", []byte("hello"), 0o600) }, "listeners[0].client_ca", "holds no PEM certificate"},
		{"broken certificate", func(f files) {
			f.put("ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}), 0o600)
		}, "keys.vault.ca", "certificate 1: "},
		{"key in a bundle", func(f files) { os.Rename(filepath.Join(f.dir, "s.key"), filepath.Join(f.dir, "ca.pem")) }, "listeners[0].client_ca", "keep certificates only"},
		{"folder for a file", func(f files) {
			os.Remove(filepath.Join(f.dir, "ca.pem"))
			os.Mkdir(filepath.Join(f.dir, "ca.pem"), 0o700)
		}, "listeners[0].client_ca", "not a regular file"},
		{"file for a folder", func(f files) { os.Remove(filepath.Join(f.dir, "cedar")); f.put("cedar", nil, 0o600) }, "policies.dir", "is not a folder"},
		{"no folder of schemas", func(f files) { os.Remove(filepath.Join(f.dir, "xsd")) }, "archive.schemas", "no such file"},
		{"file for the data", func(f files) { f.put("data", nil, 0o600) }, "data", "is not a folder"},
		{"no token", func(f files) { f.put("token", nil, 0o600) }, "keys.vault.auth.token", "is empty"},
		{"no password", func(f files) { f.put("token", nil, 0o600) }, "timestamp.authorities[0].password", "is empty"},
		{"header of two lines", func(f files) { f.put("key", []byte("k3y\nk3y"), 0o600) }, "routes[1].upstream.headers.Ocp-Apim-Subscription-Key", "one line of printable ASCII"},
		{"no CRL", func(f files) { f.put("ca.crl", []byte("x"), 0o600) }, "archive.seal.crls[0]", "no certificate revocation list"},
		{"file open to all", func(f files) { os.Chmod(filepath.Join(f.dir, "sigillo.yaml"), 0o666) }, "", "run chmod o-w"},
		{"several seals", func(f files) {
			one, err := os.ReadFile(filepath.Join(f.dir, "s.pem"))
			if err != nil {
				f.t.Fatal(err)
			}
			f.put("s.pem", append(one, one...), 0o600)
		}, "archive.seal.certificate", "holds several certificates"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, path := complete(t)
			c.spoil(f)
			err := check(t, path)
			var invalid *InvalidError
			if !errors.As(err, &invalid) {
				t.Fatalf("Check: %v", err)
			}
			for _, x := range invalid.Findings {
				if x.Field == c.field && strings.Contains(x.Problem, c.fixing) && (x.Line > 0 || x.Field == "") {
					return
				}
			}
			t.Errorf("%v\nlacks %s: %s", err, c.field, c.fixing)
			if strings.Contains(err.Error(), "k3y") {
				t.Error("the error repeats a secret")
			}
		})
	}
}

func TestCheckEndsWithItsContext(t *testing.T) {
	_, path := complete(t)
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Check(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Check: %v", err)
	}
}

package config

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

const (
	maxPEMBytes = 4 << 20  // of certificates and keys
	maxCRLBytes = 64 << 20 // of one revocation list
)

// Check reads what the file names: certificates, keys, trust, folders, secrets. It says of each whether it is
// there, of the right form, fitting (certificate and key) and in its time of validity. It connects to
// nothing and changes nothing. What it finds comes as one *InvalidError; ctx ends it early with ctx's error.
func (c *Config) Check(ctx context.Context) error {
	k := &checker{config: c, now: time.Now()}
	for _, step := range []func(){k.own, k.folders, k.keys, k.anchors, k.listeners, k.routes, k.timestamp, k.archive} {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("check configuration: %w", err)
		}
		step()
	}
	return invalid(c.file, k.findings)
}

// checker collects what is wrong with what the file names.
type checker struct {
	config   *Config
	now      time.Time
	findings []Finding
}

// see notes err, if there is one, as a finding about the field.
func (k *checker) see(field string, err error) {
	if err != nil {
		k.findings = append(k.findings, Finding{Line: k.config.line(field), Field: field, Problem: err.Error()})
	}
}

// own looks at the configuration file itself: who may write it decides where payments go.
func (k *checker) own() {
	info, err := os.Stat(k.config.file)
	if err == nil && info.Mode().Perm()&0o002 != 0 {
		err = fmt.Errorf("everybody may write this file (mode %04o): run chmod o-w", info.Mode().Perm())
	}
	k.see("", err)
}

func (k *checker) folders() {
	c := k.config
	k.see("data", parent(c.Data))
	if c.Policies.Dir != "" {
		k.see("policies.dir", folder(c.Policies.Dir))
	}
	if c.Archive.Dir != "" {
		k.see("archive.dir", parent(c.Archive.Dir))
	}
	if c.Archive.Schemas != "" {
		k.see("archive.schemas", folder(c.Archive.Schemas))
	}
}

// folder wants a folder at path.
func folder(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a folder", path)
	}
	return nil
}

// parent wants a folder at path, or one in which it can be made.
func parent(path string) error {
	if err := folder(path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := folder(filepath.Dir(path)); err != nil {
		return fmt.Errorf("%s cannot be made: %w", path, err)
	}
	return nil
}

func (k *checker) keys() {
	v := k.config.Keys.Vault
	if k.config.Keys.Custody != "vault" {
		return
	}
	k.bundle("keys.vault.ca", v.CA)
	if v.Auth.Method == "token" {
		k.secret("keys.vault.auth.token", v.Auth.Token)
	} else {
		k.secret("keys.vault.auth.secret_id", v.Auth.SecretID)
	}
}

// secret looks whether the reference leads to one, and forgets it.
func (k *checker) secret(field string, s Secret) {
	content, err := s.Reveal()
	clear(content)
	k.see(field, err)
}

func (k *checker) listeners() {
	for i, l := range k.config.Listeners {
		at := index("listeners", i)
		k.pair(at, l.Certificate, l.Key)
		k.bundle(at+".client_ca", l.ClientCA)
	}
}

func (k *checker) routes() {
	for i, r := range k.config.Routes {
		at := index("routes", i) + ".upstream"
		k.bundle(at+".ca", r.Upstream.CA)
		if r.Upstream.Certificate != "" {
			k.pair(at, r.Upstream.Certificate, r.Upstream.Key)
		}
		for _, name := range sorted(r.Upstream.Headers) {
			k.header(at+".headers."+printable(name), r.Upstream.Headers[name])
		}
	}
}

// header wants a secret that can stand in an HTTP header.
func (k *checker) header(field string, s Secret) {
	content, err := s.Reveal()
	defer clear(content)
	if err == nil && bytes.ContainsFunc(content, func(r rune) bool { return r < ' ' || r > '~' }) {
		err = fmt.Errorf("secret %s has bytes that cannot stand in a header: it must be one line of printable ASCII", s)
	}
	k.see(field, err)
}

func (k *checker) timestamp() {
	for i, a := range k.config.Timestamp.Authorities {
		at := index("timestamp.authorities", i)
		k.bundle(at+".roots", a.Roots)
		if !a.Password.IsZero() {
			k.secret(at+".password", a.Password)
		}
	}
}

func (k *checker) archive() {
	a := k.config.Archive
	k.certificates("archive.trust", a.Trust) // old packages verify by roots that have expired since
	k.bundle("archive.seal.chain", a.Seal.Chain)
	if k.bundle("archive.seal.certificate", a.Seal.Certificate) > 1 {
		k.see("archive.seal.certificate", errors.New("holds several certificates: keep the seal's own here, put the others into chain"))
	}
	for i, path := range a.Seal.CRLs {
		k.see(index("archive.seal.crls", i), k.crl(path))
	}
}

// crl wants a revocation list. A list past its nextUpdate still proves the past, so its age is no finding.
func (k *checker) crl(path string) error {
	content, _, err := readRegular(path, maxCRLBytes)
	if err != nil {
		return err
	}
	if block, _ := pem.Decode(content); block != nil {
		content = block.Bytes
	}
	if _, err := x509.ParseRevocationList(content); err != nil {
		return fmt.Errorf("%s is no certificate revocation list in PEM or DER: %w", path, err)
	}
	return nil
}

// bundle wants PEM certificates in their time of validity and nothing else in the file, and returns how many.
func (k *checker) bundle(field, path string) int {
	certificates := k.certificates(field, path)
	for _, certificate := range certificates {
		if err := k.valid(certificate); err != nil {
			k.see(field, fmt.Errorf("%s: %w", path, err))
		}
	}
	return len(certificates)
}

// certificates wants PEM certificates of any age and nothing else in the file.
func (k *checker) certificates(field, path string) []*x509.Certificate {
	if path == "" {
		return nil
	}
	content, _, err := readRegular(path, maxPEMBytes)
	if err != nil {
		k.see(field, err)
		return nil
	}
	certificates, err := parseCertificates(content)
	if err != nil {
		k.see(field, fmt.Errorf("%s: %w", path, err))
	}
	return certificates
}

func parseCertificates(content []byte) ([]*x509.Certificate, error) {
	var certificates []*x509.Certificate
	for {
		block, rest := pem.Decode(content)
		if block == nil {
			break
		}
		content = rest
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("holds a PEM block %q: keep certificates only", printable(block.Type))
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(certificates)+1, err)
		}
		certificates = append(certificates, certificate)
	}
	if len(certificates) == 0 {
		return nil, errors.New("holds no PEM certificate")
	}
	return certificates, nil
}

func (k *checker) valid(c *x509.Certificate) error {
	switch {
	case k.now.After(c.NotAfter):
		return fmt.Errorf("certificate %q expired on %s: renew it (or take it away)", c.Subject, c.NotAfter.UTC().Format(time.DateOnly))
	case k.now.Before(c.NotBefore):
		return fmt.Errorf("certificate %q begins on %s only: is the clock right?", c.Subject, c.NotBefore.UTC().Format(time.DateOnly))
	}
	return nil
}

// pair wants a certificate and its key, the key not open to everybody.
func (k *checker) pair(at, certificate, key string) {
	count := k.bundle(at+".certificate", certificate)
	private, err := readPrivate(key)
	defer clear(private)
	if err != nil {
		k.see(at+".key", err)
		return
	}
	if count == 0 {
		return // the certificate has its finding
	}
	public, _, err := readRegular(certificate, maxPEMBytes)
	if err != nil {
		k.see(at+".certificate", err)
		return
	}
	if _, err := tls.X509KeyPair(public, private); err != nil {
		k.see(at+".key", fmt.Errorf("%s does not fit the certificate: %w", key, err))
	}
}

package main

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"sigillo/certs"
	"sigillo/signing"
)

// Files of the test time-stamp authority in timestamp.test_dir, as the development PKI writes them.
const (
	testTSACertificate = "tsa.pem"
	testTSAKey         = "tsa.key"
	testTSARoot        = "tsa-root.pem"
)

// stampers are the configured time-stamp authorities, in order; nil where there are none.
func (p *parts) stampers() (signing.Stamper, error) {
	t := p.cfg.Timestamp
	if t.Test {
		return testTSA(t.TestDir)
	}
	var all signing.Stampers
	for i, a := range t.Authorities {
		roots, err := certs.LoadCertificates(a.Roots)
		if err != nil {
			return nil, fmt.Errorf("timestamp.authorities[%d].roots: %w", i, err)
		}
		policy, err := signing.ParsePolicy(a.Policy)
		if err != nil {
			return nil, fmt.Errorf("timestamp.authorities[%d].policy: %w", i, err)
		}
		c := &signing.TSA{URL: a.URL, User: a.User, Policy: policy, Roots: roots, Timeout: a.Timeout}
		if a.User != "" {
			password, err := a.Password.Reveal()
			if err != nil {
				return nil, fmt.Errorf("timestamp.authorities[%d].password: %w", i, err)
			}
			c.Password = string(password)
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return nil, nil
	}
	return all, nil
}

func testTSA(dir string) (*signing.TestTSA, error) {
	own, err := certs.LoadCertificates(filepath.Join(dir, testTSACertificate))
	if err != nil {
		return nil, fmt.Errorf("the test time-stamp authority: %w", err)
	}
	chain, err := certs.LoadCertificates(filepath.Join(dir, testTSARoot))
	if err != nil {
		return nil, fmt.Errorf("the test time-stamp authority: %w", err)
	}
	key, err := readKey(filepath.Join(dir, testTSAKey))
	if err != nil {
		return nil, fmt.Errorf("the test time-stamp authority: %w", err)
	}
	return signing.NewTestTSA(key, own[0], chain)
}

// stampRoots are the trust anchors of stored tokens: those of the authorities and archive.trust.
func (p *parts) stampRoots() ([]*x509.Certificate, error) {
	var roots []*x509.Certificate
	for _, a := range p.cfg.Timestamp.Authorities {
		r, err := certs.LoadCertificates(a.Roots)
		if err != nil {
			return nil, err
		}
		roots = append(roots, r...)
	}
	if p.cfg.Timestamp.Test {
		r, err := certs.LoadCertificates(filepath.Join(p.cfg.Timestamp.TestDir, testTSARoot))
		if err != nil {
			return nil, err
		}
		roots = append(roots, r...)
	}
	if p.cfg.Archive.Trust != "" {
		r, err := certs.LoadCertificates(p.cfg.Archive.Trust)
		if err != nil {
			return nil, err
		}
		roots = append(roots, r...)
	}
	return roots, nil
}

// seal is the configured electronic seal.
func (p *parts) seal(ctx context.Context) (*signing.Seal, error) {
	a := p.cfg.Archive.Seal
	own, err := certs.LoadCertificates(a.Certificate)
	if err != nil {
		return nil, fmt.Errorf("archive.seal.certificate: %w", err)
	}
	chain := own[1:]
	if a.Chain != "" {
		more, err := certs.LoadCertificates(a.Chain)
		if err != nil {
			return nil, fmt.Errorf("archive.seal.chain: %w", err)
		}
		chain = append(chain, more...)
	}
	signer, err := p.custody.CryptoSigner(ctx, signing.UseSeal)
	if err != nil {
		return nil, fmt.Errorf("seal key: %w", err)
	}
	s := &signing.Seal{Signer: signer, Certificate: own[0], Chain: chain}
	for _, f := range a.CRLs {
		der, err := readCRL(f)
		if err != nil {
			return nil, fmt.Errorf("archive.seal.crls: %w", err)
		}
		s.CRLs = append(s.CRLs, der)
	}
	if s.Stamper, err = p.stampers(); err != nil {
		return nil, err
	}
	if s.Stamper == nil {
		return nil, errors.New("a seal needs a time-stamp authority: configure timestamp.authorities")
	}
	if s.TSACertificates, err = p.stampRoots(); err != nil {
		return nil, err
	}
	return s, nil
}

// stampData asks a token over data and gives the whole answer, as a .tsr file holds it.
type stampData struct{ s signing.Stamper }

func (d stampData) Stamp(ctx context.Context, data []byte) ([]byte, error) {
	t, err := d.s.Stamp(ctx, sha256.Sum256(data))
	if err != nil {
		return nil, err
	}
	return t.Response, nil
}

func readKey(path string) (crypto.Signer, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("%s: no PEM key in it", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s: a key that does not sign", path)
	}
	return signer, nil
}

// readCRL reads a revocation list, PEM or DER, and gives DER.
func readCRL(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if block, _ := pem.Decode(b); block != nil {
		b = block.Bytes
	}
	if _, err := x509.ParseRevocationList(b); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return b, nil
}

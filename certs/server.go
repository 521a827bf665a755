package certs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
)

// maxPEMFile bounds every PEM file that is read, in bytes.
const maxPEMFile = 8 << 20

// LoadServerCertificate reads a certificate chain (leaf first, then its intermediates: pagoPA's forwarder needs
// the full chain) and its private key from PEM files. It refuses a key that does not belong to the leaf and a
// chain whose certificates do not follow on each other, since a stranger would only see a failed handshake.
// The same function loads a client certificate for the way to an upstream.
func LoadServerCertificate(chainFile, keyFile string) (*tls.Certificate, error) {
	chain, err := readPEM(chainFile)
	if err != nil {
		return nil, err
	}
	key, err := readPEM(keyFile)
	if err != nil {
		return nil, err
	}
	certificate, err := tls.X509KeyPair(chain, key)
	if err != nil {
		// The error of X509KeyPair names block types only, never key material.
		return nil, fmt.Errorf("certificate %s with key %s: %w", chainFile, keyFile, err)
	}
	previous := certificate.Leaf
	for i, der := range certificate.Certificate[1:] {
		next, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("certificate %d of %s: %w", i+2, chainFile, err)
		}
		if err := previous.CheckSignatureFrom(next); err != nil {
			return nil, fmt.Errorf("certificate %d of %s did not sign the one before it: put the leaf first, then each issuer in turn", i+2, chainFile)
		}
		previous = next
	}
	return &certificate, nil
}

// LoadCertificates reads every certificate of one or more PEM files. A file without any is an error.
func LoadCertificates(files ...string) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for _, file := range files {
		rest, err := readPEM(file)
		if err != nil {
			return nil, err
		}
		found := 0
		for {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				break
			}
			if block.Type != "CERTIFICATE" {
				continue // bundles carry keys and parameters too; they are not ours to judge
			}
			certificate, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("certificate %d of %s: %w", found+1, file, err)
			}
			found++
			all = append(all, certificate)
		}
		if found == 0 {
			return nil, fmt.Errorf("%s holds no PEM block of type CERTIFICATE", file)
		}
	}
	return all, nil
}

func readPEM(file string) ([]byte, error) {
	if file == "" {
		return nil, errors.New("the name of a PEM file is missing")
	}
	info, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("reading a PEM file: %w", err)
	}
	if info.Size() > maxPEMFile {
		return nil, fmt.Errorf("%s is larger than %d bytes: not a PEM file of certificates", file, maxPEMFile)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading a PEM file: %w", err)
	}
	return data, nil
}

package testbed

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"strings"
	"time"
)

const demoOrganisation = "Sigillo development PKI - not for use"

// TSAName is the common name of the time-stamp certificate: signing.NewTestTSA asks for these words.
const TSAName = "Sigillo TEST TSA - not for use"

var oidOrganizationIdentifier = asn1.ObjectIdentifier{2, 5, 4, 97}

// PKI is a development PKI in a directory, for the demo and for tests: three trees that know nothing of each
// other (TLS, seal, time-stamps) and an authority that nobody trusts. All CA keys lie in the directory, so a
// kept demo can issue again; none is fit for anything else. Not safe for concurrent use.
//
//	DIR/tls-root, tls-intermediate, seal-root, seal-sub, tsa-root, unknown-root  .pem .key .crl.der
//	DIR/server.pem .key, client-NAME.pem .key, seal.pem, tsa.pem .key, roots.pem, intermediates.pem
type PKI struct {
	TLSRoot, TLSIntermediate *Authority
	SealRoot, SealSub        *Authority
	TSARoot                  *Authority
	Unknown                  *Authority // signs clients of nobody's trust
	TSACertificate           *x509.Certificate
	TSAKey                   crypto.Signer

	dir string
	now func() time.Time
}

// Pair is a TLS certificate with its files (PEM, own certificate first, then the intermediate; root left out).
type Pair struct {
	CertFile, KeyFile string
	Certificate       *x509.Certificate
	TLS               tls.Certificate
}

// CRL is a revocation list and the file it was written to.
type CRL struct {
	File string
	DER  []byte
}

// OpenPKI loads the PKI of a directory, or makes what is missing of it; the directory is created. A nil now is
// time.Now. roots.pem, intermediates.pem and the revocation lists stand in it afterwards.
func OpenPKI(dir string, now func() time.Time) (*PKI, error) {
	if now == nil {
		now = time.Now
	}
	p := &PKI{dir: dir, now: now}
	at := now()
	for _, ca := range []struct {
		at         **Authority
		name, said string
		issuer     **Authority
		life       time.Duration
	}{
		{&p.TLSRoot, "tls-root", "Sigillo demo TLS root", nil, rootLife},
		{&p.TLSIntermediate, "tls-intermediate", "Sigillo demo TLS intermediate", &p.TLSRoot, subLife},
		{&p.SealRoot, "seal-root", "Sigillo demo seal root", nil, rootLife},
		{&p.SealSub, "seal-sub", "Sigillo demo seal sub CA", &p.SealRoot, subLife},
		{&p.TSARoot, "tsa-root", "Sigillo demo time-stamp root", nil, rootLife},
		{&p.Unknown, "unknown-root", "Sigillo demo unknown root", nil, rootLife},
	} {
		var issuer *Authority
		if ca.issuer != nil {
			issuer = *ca.issuer
		}
		a, err := openAuthority(dir, ca.name, ca.said, issuer, ca.life, at)
		if err != nil {
			return nil, fmt.Errorf("development PKI: %w", err)
		}
		*ca.at = a
	}
	if err := p.openTSA(); err != nil {
		return nil, fmt.Errorf("development PKI: time-stamp certificate: %w", err)
	}
	if _, err := p.RefreshCRLs(); err != nil {
		return nil, fmt.Errorf("development PKI: %w", err)
	}
	if err := writePEM(p.RootsFile(), 0o644, p.Roots()...); err != nil {
		return nil, fmt.Errorf("development PKI: %w", err)
	}
	if err := writePEM(p.IntermediatesFile(), 0o644, p.Intermediates()...); err != nil {
		return nil, fmt.Errorf("development PKI: %w", err)
	}
	return p, nil
}

func (p *PKI) openTSA() error {
	template := &x509.Certificate{
		Subject:  pkix.Name{CommonName: TSAName, Organization: []string{demoOrganisation}, Country: []string{"IT"}},
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
		// RFC 3161, section 2.3: extended key usage critical, and no other purpose. x509 writes it not critical.
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true,
			Value: []byte{0x30, 0x0a, 0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x08}}},
	}
	pair, err := p.pair("tsa", p.TSARoot, template, tsaLife)
	if err != nil {
		return err
	}
	p.TSACertificate, p.TSAKey = pair.Certificate, pair.TLS.PrivateKey.(crypto.Signer)
	return nil
}

// pair loads dir/name.pem and .key where they were issued by this authority and still hold, or makes them.
func (p *PKI) pair(name string, issuer *Authority, template *x509.Certificate, life time.Duration) (*Pair, error) {
	out := &Pair{CertFile: filepath.Join(p.dir, name+".pem"), KeyFile: filepath.Join(p.dir, name+".key")}
	chain, key, err := readPair(out.CertFile, out.KeyFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err != nil || !p.still(chain[0], issuer, template) {
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return nil, fmt.Errorf("making a key for %s: %w", name, err)
		}
		c, err := issuer.issue(template, key.Public(), life, p.now())
		if err != nil {
			return nil, err
		}
		chain = []*x509.Certificate{c}
		if !bytes.Equal(issuer.Certificate.RawIssuer, issuer.Certificate.RawSubject) {
			chain = append(chain, issuer.Certificate)
		}
		if err := writeKey(out.KeyFile, key); err != nil {
			return nil, err
		}
		if err := writePEM(out.CertFile, 0o644, chain...); err != nil {
			return nil, err
		}
	}
	out.Certificate = chain[0]
	out.TLS = tls.Certificate{PrivateKey: key, Leaf: chain[0]}
	for _, c := range chain {
		out.TLS.Certificate = append(out.TLS.Certificate, c.Raw)
	}
	return out, nil
}

// still says whether a stored certificate is what would be issued now.
func (p *PKI) still(c *x509.Certificate, issuer *Authority, template *x509.Certificate) bool {
	names := strings.Join(c.DNSNames, ",") == strings.Join(template.DNSNames, ",") && len(c.IPAddresses) == len(template.IPAddresses)
	return names && c.Subject.String() == template.Subject.String() && c.CheckSignatureFrom(issuer.Certificate) == nil && p.now().Before(c.NotAfter)
}

// Server gives the server certificate for localhost, 127.0.0.1 and ::1, with its intermediate.
func (p *PKI) Server() (*Pair, error) {
	return p.pair("server", p.TLSIntermediate, &x509.Certificate{
		Subject:  pkix.Name{CommonName: "localhost", Organization: []string{demoOrganisation}},
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	}, leafLife)
}

// Client gives a client certificate of the trusted TLS tree; name is its common name and names its files
// (client-NAME.pem, .key), so it has letters, digits, ".", "-" and "_" only.
func (p *PKI) Client(name, organisation string) (*Pair, error) {
	return p.client("client-"+name, name, organisation, p.TLSIntermediate)
}

// UnknownClient gives a client certificate of an authority that nobody trusts (unknown-NAME.pem, .key).
func (p *PKI) UnknownClient(name, organisation string) (*Pair, error) {
	return p.client("unknown-"+name, name, organisation, p.Unknown)
}

func (p *PKI) client(file, name, organisation string, issuer *Authority) (*Pair, error) {
	outside := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(".-_", r))
	}
	if name == "" || strings.ContainsFunc(name, outside) {
		return nil, fmt.Errorf("client name %q: want letters, digits, '.', '-' and '_'", name)
	}
	return p.pair(file, issuer, &x509.Certificate{
		Subject:  pkix.Name{CommonName: name, Organization: []string{organisation}, Country: []string{"IT"}},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true,
	}, leafLife)
}

// SealCertificate issues a certificate of the seal tree for a key that is made elsewhere, and writes it with
// its chain to seal.pem. organizationIdentifier is as ETSI EN 319 412-1 writes it, e.g. "VATIT-77777777777".
func (p *PKI) SealCertificate(public crypto.PublicKey, organisation, organizationIdentifier string) (*x509.Certificate, error) {
	subject := pkix.Name{CommonName: organisation, Organization: []string{organisation}, Country: []string{"IT"},
		ExtraNames: []pkix.AttributeTypeAndValue{{Type: oidOrganizationIdentifier, Value: organizationIdentifier}}}
	c, err := p.SealSub.issue(&x509.Certificate{Subject: subject, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageContentCommitment}, public, sealLife, p.now())
	if err != nil {
		return nil, fmt.Errorf("seal certificate: %w", err)
	}
	return c, writePEM(filepath.Join(p.dir, "seal.pem"), 0o644, append([]*x509.Certificate{c}, p.SealChain()...)...)
}

// SealChain is what stands above a seal certificate, root last.
func (p *PKI) SealChain() []*x509.Certificate {
	return []*x509.Certificate{p.SealSub.Certificate, p.SealRoot.Certificate}
}

// TSAChain is what stands above the time-stamp certificate: the root.
func (p *PKI) TSAChain() []*x509.Certificate { return []*x509.Certificate{p.TSARoot.Certificate} }

// Roots gives the three trusted roots: TLS, seal, time-stamps.
func (p *PKI) Roots() []*x509.Certificate {
	return []*x509.Certificate{p.TLSRoot.Certificate, p.SealRoot.Certificate, p.TSARoot.Certificate}
}

// Intermediates gives the two intermediates and the time-stamp certificate.
func (p *PKI) Intermediates() []*x509.Certificate {
	return []*x509.Certificate{p.TLSIntermediate.Certificate, p.SealSub.Certificate, p.TSACertificate}
}

// RootsFile is the PEM file of Roots.
func (p *PKI) RootsFile() string { return filepath.Join(p.dir, "roots.pem") }

// IntermediatesFile is the PEM file of Intermediates.
func (p *PKI) IntermediatesFile() string { return filepath.Join(p.dir, "intermediates.pem") }

// Revoke puts a certificate on its issuer's list: in force with the next RefreshCRLs or IssueCRLs.
func (p *PKI) Revoke(c *x509.Certificate) error {
	for _, a := range p.authorities() {
		if c.CheckSignatureFrom(a.Certificate) == nil {
			return a.revoke(c, p.now())
		}
	}
	return fmt.Errorf("certificate %q is of no authority of this PKI", c.Subject.CommonName)
}

func (p *PKI) authorities() []*Authority {
	return []*Authority{p.SealRoot, p.SealSub, p.TSARoot, p.TLSRoot, p.TLSIntermediate}
}

// RefreshCRLs issues every list anew, in force from five minutes ago for 30 days, and returns those that a seal
// embeds: seal root, seal sub CA, time-stamp root. Those of the TLS tree are written only.
func (p *PKI) RefreshCRLs() ([]CRL, error) {
	return p.IssueCRLs(p.now().Add(-crlBackdate), p.now().Add(crlLife))
}

// IssueCRLs is RefreshCRLs with chosen times, for tests of stale and future lists.
func (p *PKI) IssueCRLs(thisUpdate, nextUpdate time.Time) ([]CRL, error) {
	var out []CRL
	for _, a := range p.authorities() {
		der, err := a.crl(thisUpdate, nextUpdate, p.now().UnixMilli())
		if err != nil {
			return nil, err
		}
		out = append(out, CRL{a.path(".crl.der"), der})
	}
	return out[:3], nil
}

// TrustTLS is a pool of the TLS root alone: for ClientCAs and for RootCAs.
func (p *PKI) TrustTLS() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(p.TLSRoot.Certificate)
	return pool
}

// ServerTLS is a server's configuration that requires a client certificate of the trusted tree.
func (p *PKI) ServerTLS() (*tls.Config, error) {
	pair, err := p.Server()
	if err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair.TLS}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: p.TrustTLS()}, nil
}

// ClientTLS is a client's configuration with that certificate; nil presents none.
func (p *PKI) ClientTLS(pair *Pair) *tls.Config {
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: p.TrustTLS()}
	if pair != nil {
		config.Certificates = []tls.Certificate{pair.TLS}
	}
	return config
}

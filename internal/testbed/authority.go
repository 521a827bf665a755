package testbed

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// Validity of the development PKI. Certificates begin an hour and lists five minutes ago, so that a clock a
// little behind, and openssl's -attime of a stamp made in the same second, find them in force.
const (
	rootLife    = 20 * 365 * 24 * time.Hour
	subLife     = 15 * 365 * 24 * time.Hour
	tsaLife     = 10 * 365 * 24 * time.Hour
	sealLife    = 3 * 365 * 24 * time.Hour
	leafLife    = 365 * 24 * time.Hour
	certificate = "CERTIFICATE"
	backdated   = time.Hour
	crlBackdate = 5 * time.Minute
	crlLife     = 30 * 24 * time.Hour
)

// Authority is a certification authority of the development PKI. Its key lies beside its certificate, mode 0600.
type Authority struct {
	Certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	dir, name   string
}

func newSerial() (*big.Int, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("making a serial number: %w", err)
	}
	return serial.SetBit(serial, 126, 1), nil
}

// openAuthority loads dir/name.pem and dir/name.key, or makes them: self-signed when issuer is nil.
func openAuthority(dir, name, commonName string, issuer *Authority, life time.Duration, now time.Time) (*Authority, error) {
	a := &Authority{dir: dir, name: name}
	loaded, err := a.load()
	if err != nil || loaded {
		return a, err
	}
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, fmt.Errorf("authority %s: making a key: %w", name, err)
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: commonName, Organization: []string{demoOrganisation}, Country: []string{"IT"}},
		BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	if issuer == nil {
		issuer = a // no certificate yet: issue signs with the key itself
	} else {
		template.MaxPathLenZero = true
	}
	if a.Certificate, err = issuer.issue(template, a.key.Public(), life, now); err != nil {
		return nil, fmt.Errorf("authority %s: %w", name, err)
	}
	if err := writeKey(a.path(".key"), a.key); err != nil {
		return nil, err
	}
	return a, writePEM(a.path(".pem"), 0o644, a.Certificate)
}

func (a *Authority) path(extension string) string { return filepath.Join(a.dir, a.name+extension) }

func (a *Authority) load() (bool, error) {
	chain, key, err := readPair(a.path(".pem"), a.path(".key"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("authority %s: %w", a.name, err)
	}
	a.Certificate, a.key = chain[0], key
	return true, nil
}

// issue signs a certificate for public: serial number, times and key identifiers are set here.
func (a *Authority) issue(template *x509.Certificate, public crypto.PublicKey, life time.Duration, now time.Time) (*x509.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	template.NotBefore, template.NotAfter = now.Add(-backdated).Truncate(time.Second), now.Add(life).Truncate(time.Second)
	spki, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("encoding the public key for %q: %w", template.Subject.CommonName, err)
	}
	id := sha256.Sum256(spki) // RFC 7093, section 2; x509 would set one for authorities only
	template.SubjectKeyId = id[:20]
	parent := a.Certificate
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, a.key)
	if err != nil {
		return nil, fmt.Errorf("issuing a certificate for %q: %w", template.Subject.CommonName, err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate for %q: %w", template.Subject.CommonName, err)
	}
	return c, nil
}

// readPair reads a PEM file of certificates, own first, and the key of the first.
func readPair(certificates, key string) ([]*x509.Certificate, *ecdsa.PrivateKey, error) {
	raw, err := os.ReadFile(key)
	if err != nil {
		return nil, nil, err
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, nil, fmt.Errorf("%s holds no PEM block", key)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, nil, fmt.Errorf("reading %s: %w", key, err)
	}
	private, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, nil, fmt.Errorf("%s holds a %T, want ECDSA", key, parsed)
	}
	chain, err := readPEM(certificates)
	if err != nil {
		return nil, nil, err
	}
	if !private.PublicKey.Equal(chain[0].PublicKey) {
		return nil, nil, fmt.Errorf("%s is not the key of %s", key, certificates)
	}
	return chain, private, nil
}

func readPEM(path string) ([]*x509.Certificate, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var out []*x509.Certificate
	for block, rest := pem.Decode(raw); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", path, err)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s holds no certificate", path)
	}
	return out, nil
}

func writePEM(path string, mode fs.FileMode, certificates ...*x509.Certificate) error {
	var out []byte
	for _, c := range certificates {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: certificate, Bytes: c.Raw})...)
	}
	return writeFile(path, out, mode)
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("encoding the key of %s: %w", path, err)
	}
	return writeFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

// writeFile replaces a file whole, so that a reader of a kept demo never sees half of one.
func writeFile(path string, content []byte, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	temporary := path + ".new"
	if err := os.WriteFile(temporary, content, mode); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}

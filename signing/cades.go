package signing

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"
	"time"

	"github.com/digitorus/pkcs7"
)

// maxSealed bounds what is sealed and what is read of a seal: an index of 30,000 files has 10 MB.
const maxSealed = 64 << 20

// ErrKeyMismatch says that a private key and a certificate do not belong together, as after a rotation of
// the key without a new certificate.
var ErrKeyMismatch = errors.New("key and certificate do not belong together")

// ErrKeyUnfit says that the key is of a kind that a seal cannot be made with.
var ErrKeyUnfit = errors.New("key is not fit for a seal")

// Seal makes electronic seals of one certificate: CAdES baseline LT (ETSI EN 319 122-1), attached. With a
// key in Vault and a certificate of one's own CA it is an advanced seal at best, never a qualified one. Fields
// are set before first use; concurrent use is as safe as Signer and Stamper are.
type Seal struct {
	Signer          crypto.Signer       // RSA of 3072 bits or more (PKCS#1 v1.5) or ECDSA P-256
	Certificate     *x509.Certificate   // of that key
	Chain           []*x509.Certificate // issuer of Certificate first, with or without the root
	CRLs            [][]byte            // DER; one of each issuer in Chain and above the authority's certificate
	TSACertificates []*x509.Certificate // chain above the authority's certificate, where tokens do not carry it
	Stamper         Stamper             // signature time-stamp
	Now             func() time.Time    // nil: time.Now; decides whether a CRL is stale. signing-time is the machine's clock
}

// RFC 5035, section 4. The hash algorithm is left out: SHA-256 is its default, which DER does not write.
type (
	issuerSerial struct {
		Issuer []asn1.RawValue
		Serial *big.Int
	}
	essCertIDv2 struct {
		Hash         []byte
		IssuerSerial issuerSerial
	}
	signingCertificateV2 struct{ Certificates []essCertIDv2 }
)

func newSigningCertificate(c *x509.Certificate) signingCertificateV2 {
	sum := sha256.Sum256(c.Raw)
	directoryName := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 4, IsCompound: true, Bytes: c.RawIssuer}
	return signingCertificateV2{[]essCertIDv2{{sum[:], issuerSerial{[]asn1.RawValue{directoryName}, c.SerialNumber}}}}
}

// SealAttached seals exactly content (at most 64 MiB) and returns the .p7m. The order is that of
// CAdES: signature, time-stamp over the signature, then certificates and revocation lists of both chains, so
// that every list that was in force at the stamp is inside. It returns nothing that it has not verified
// itself: a signature by another key version, or a list that is missing or stale, is an error and no seal.
func (s *Seal) SealAttached(ctx context.Context, content []byte) ([]byte, error) {
	crls, err := s.check()
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	if len(content) > maxSealed-1<<20 {
		return nil, fmt.Errorf("seal: content of %d bytes is over %d", len(content), maxSealed-1<<20)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	signed, err := pkcs7.NewSignedData(content)
	if err != nil {
		return nil, fmt.Errorf("seal: preparing: %w", err)
	}
	signed.SetDigestAlgorithm(oidSHA256)
	attribute := pkcs7.Attribute{Type: oidSigningCertV2, Value: newSigningCertificate(s.Certificate)}
	// pkcs7 itself adds content-type, message-digest and one signing-time.
	if err := signed.AddSigner(s.Certificate, sealSigner{s.Signer}, pkcs7.SignerInfoConfig{ExtraSignedAttributes: []pkcs7.Attribute{attribute}}); err != nil {
		return nil, fmt.Errorf("seal: signing: %w", err)
	}
	info := &signed.GetSignedData().SignerInfos[0]
	setAlgorithmParameters(&info.DigestEncryptionAlgorithm)

	// A remote key can sign with the wrong version or padding: find out before a time-stamp is paid for.
	if err := s.verifyOwn(signed, content); err != nil {
		return nil, err
	}
	stamp, err := s.Stamper.Stamp(ctx, sha256.Sum256(info.EncryptedDigest))
	if err != nil {
		return nil, fmt.Errorf("seal: time-stamp over the signature: %w", err)
	}
	if err := info.SetUnauthenticatedAttributes([]pkcs7.Attribute{{Type: oidSignatureStamp, Value: asn1.RawValue{FullBytes: stamp.Token}}}); err != nil {
		return nil, fmt.Errorf("seal: attaching the time-stamp: %w", err)
	}
	above := distinct(append(append([]*x509.Certificate{}, stamp.Certificates...), s.TSACertificates...))
	for _, c := range distinct(append(append([]*x509.Certificate{s.Certificate}, s.Chain...), above...))[1:] {
		signed.AddCertificate(c)
	}
	if len(stamp.Certificates) == 0 {
		return nil, errors.New("seal: the time-stamp carries no certificate of its authority")
	}
	if err := s.checkCovered(stamp.Certificates[0], above, crls); err != nil {
		return nil, fmt.Errorf("seal: chain of the time-stamp authority: %w", err)
	}
	for _, c := range crls {
		list, err := appendRevocation(signed.GetSignedData().CRLs, c.der)
		if err != nil {
			return nil, fmt.Errorf("seal: %w", err)
		}
		signed.GetSignedData().CRLs = list
	}
	p7m, err := signed.Finish()
	if err != nil {
		return nil, fmt.Errorf("seal: encoding: %w", err)
	}
	return p7m, nil
}

// sealSigner makes the padding explicit: what a caller's crypto.Signer is asked for is never PSS.
type sealSigner struct{ crypto.Signer }

func (s sealSigner) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if opts.HashFunc() != crypto.SHA256 || len(digest) != sha256.Size {
		return nil, fmt.Errorf("asked to sign %d bytes under %s, want a SHA-256 digest", len(digest), opts.HashFunc())
	}
	return s.Signer.Sign(random, digest, crypto.SHA256)
}

// check looks at the configuration before anything is signed.
func (s *Seal) check() ([]parsedCRL, error) {
	switch {
	case s.Signer == nil:
		return nil, errors.New("no signer is configured")
	case s.Certificate == nil:
		return nil, errors.New("no certificate is configured")
	case s.Stamper == nil:
		return nil, errors.New("no time-stamp authority is configured")
	}
	if err := checkSealKey(s.Signer.Public()); err != nil {
		return nil, err
	}
	if err := checkKeyPair(s.Signer, s.Certificate); err != nil {
		return nil, err
	}
	if now := s.now(); now.Before(s.Certificate.NotBefore) || now.After(s.Certificate.NotAfter) {
		return nil, fmt.Errorf("certificate holds from %s to %s only", s.Certificate.NotBefore.UTC().Format(time.RFC3339), s.Certificate.NotAfter.UTC().Format(time.RFC3339))
	}
	crls, err := parseCRLs(s.CRLs)
	if err != nil {
		return nil, err
	}
	if err := s.checkCovered(s.Certificate, s.Chain, crls); err != nil {
		return nil, fmt.Errorf("chain of the seal: %w", err)
	}
	return crls, nil
}

func (s *Seal) now() time.Time {
	if s.Now != nil {
		return s.Now()
	}
	return time.Now()
}

// checkSealKey says which keys the stock tools can verify: openssl 3.0 has no Ed25519 in CMS, and CMS with
// RSA-PSS is read by few.
func checkSealKey(public crypto.PublicKey) error {
	switch key := public.(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() < 3072 {
			return fmt.Errorf("%w: RSA of %d bits, want 3072 or more", ErrKeyUnfit, key.N.BitLen())
		}
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() {
			return fmt.Errorf("%w: curve %s, want P-256", ErrKeyUnfit, key.Params().Name)
		}
	case ed25519.PublicKey:
		return fmt.Errorf("%w: Ed25519 in CMS cannot be verified by openssl; use RSA of 3072 bits or ECDSA P-256", ErrKeyUnfit)
	default:
		return fmt.Errorf("%w: %T; use RSA of 3072 bits or ECDSA P-256", ErrKeyUnfit, public)
	}
	return nil
}

func checkKeyPair(key crypto.Signer, certificate *x509.Certificate) error {
	// x509 gives a certificate whose key is marked id-RSASSA-PSS no public key: it may not sign PKCS#1 v1.5.
	if certificate.PublicKey == nil {
		return fmt.Errorf("%w: the certificate's key algorithm (RSA-PSS only, or unknown) cannot sign PKCS#1 v1.5", ErrKeyUnfit)
	}
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(certificate.PublicKey) {
		return fmt.Errorf("%w: certificate %q (serial %x) is for another public key", ErrKeyMismatch, certificate.Subject.CommonName, certificate.SerialNumber)
	}
	return nil
}

// checkCovered walks from leaf upwards through above as far as it reaches, and asks for a CRL in force of
// every certificate on the way that is not a root. Whether the top is trusted is the verifier's question.
func (s *Seal) checkCovered(leaf *x509.Certificate, above []*x509.Certificate, crls []parsedCRL) error {
	at := s.now()
	for c, steps := leaf, 0; !selfSigned(c); steps++ {
		issuer := issuerAmong(c, above)
		if issuer == nil || steps > len(above) {
			// The root may be left out of Chain; then its list is read without its signature.
			return coveredByName(c, crls, at)
		}
		if _, err := checkRevoked(c, issuer, crls, at); err != nil {
			return fmt.Errorf("certificate %q: %w", c.Subject.CommonName, err)
		}
		c = issuer
	}
	return nil
}

func issuerAmong(c *x509.Certificate, above []*x509.Certificate) *x509.Certificate {
	for _, candidate := range above {
		if bytes.Equal(candidate.RawSubject, c.RawIssuer) && c.CheckSignatureFrom(candidate) == nil {
			return candidate
		}
	}
	return nil
}

func coveredByName(c *x509.Certificate, crls []parsedCRL, at time.Time) error {
	for _, crl := range crls {
		if !bytes.Equal(crl.list.RawIssuer, c.RawIssuer) || at.Before(crl.list.ThisUpdate) || !at.Before(crl.list.NextUpdate) {
			continue
		}
		for _, entry := range crl.list.RevokedCertificateEntries {
			if entry.SerialNumber.Cmp(c.SerialNumber) == 0 {
				return fmt.Errorf("certificate %q: %w", c.Subject.CommonName, ErrCertRevoked)
			}
		}
		return nil
	}
	return fmt.Errorf("certificate %q: %w", c.Subject.CommonName, ErrCRLMissing)
}

func distinct(certificates []*x509.Certificate) []*x509.Certificate {
	seen := make(map[[32]byte]bool)
	var out []*x509.Certificate
	for _, c := range certificates {
		if id := sha256.Sum256(c.Raw); !seen[id] {
			seen[id] = true
			out = append(out, c)
		}
	}
	return out
}

// verifyOwn reads back what was signed, with the reader that verifiers use.
func (s *Seal) verifyOwn(signed *pkcs7.SignedData, content []byte) error {
	der, err := signed.Finish()
	if err != nil {
		return fmt.Errorf("seal: encoding: %w", err)
	}
	cms, err := parseCMS(der)
	if err != nil {
		return fmt.Errorf("seal: reading back: %w", err)
	}
	if err := cms.signers[0].verifySignature(oidData, content, s.Certificate); err != nil {
		return fmt.Errorf("seal: the signature that the key made does not verify under its certificate (%w): key version or padding is wrong", err)
	}
	return nil
}

// appendRevocation adds a CRL to pkcs7's list. The element's type is inferred, because x509 has deprecated
// the name that pkcs7 still uses; the bytes must come out as they went in, or the CA's signature would break.
func appendRevocation[T any](list []T, der []byte) ([]T, error) {
	var element T
	if rest, err := asn1.Unmarshal(der, &element); err != nil || len(rest) > 0 {
		return nil, fmt.Errorf("revocation list: not one DER value: %w", err)
	}
	again, err := asn1.Marshal(element)
	if err != nil || !bytes.Equal(again, der) {
		return nil, errors.New("revocation list does not survive re-encoding")
	}
	return append(list, element), nil
}

package signing

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha1" // RFC 2634: certificate identifiers of older tokens; a name for a certificate, no signature rests on it
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// digestByOID gives the hash of an algorithm identifier; SHA-2 only.
func digestByOID(oid asn1.ObjectIdentifier) (crypto.Hash, error) {
	switch oid.String() {
	case "2.16.840.1.101.3.4.2.1":
		return crypto.SHA256, nil
	case "2.16.840.1.101.3.4.2.2":
		return crypto.SHA384, nil
	case "2.16.840.1.101.3.4.2.3":
		return crypto.SHA512, nil
	}
	return 0, fmt.Errorf("digest algorithm %s is not accepted (SHA-256, SHA-384 and SHA-512 are)", oid)
}

// digestOf is the digest of data under one of the hashes that digestByOID gives.
func digestOf(hash crypto.Hash, data []byte) []byte {
	switch hash {
	case crypto.SHA384:
		sum := sha512.Sum384(data)
		return sum[:]
	case crypto.SHA512:
		sum := sha512.Sum512(data)
		return sum[:]
	default:
		sum := sha256.Sum256(data)
		return sum[:]
	}
}

// signatureAlgorithm maps the two algorithm identifiers of a SignerInfo to the one name that x509 knows.
// RSA is PKCS#1 v1.5 only: nothing here writes PSS, and its parameters are a trap of their own.
func signatureAlgorithm(oid asn1.ObjectIdentifier, hash crypto.Hash) (x509.SignatureAlgorithm, error) {
	rsaBy := map[crypto.Hash]x509.SignatureAlgorithm{crypto.SHA256: x509.SHA256WithRSA, crypto.SHA384: x509.SHA384WithRSA, crypto.SHA512: x509.SHA512WithRSA}
	var named x509.SignatureAlgorithm
	switch oid.String() {
	case "1.2.840.113549.1.1.1": // rsaEncryption: the hash is the digest algorithm's (RFC 3370, section 3.2)
		return rsaBy[hash], nil
	case "1.2.840.113549.1.1.11":
		named = x509.SHA256WithRSA
	case "1.2.840.113549.1.1.12":
		named = x509.SHA384WithRSA
	case "1.2.840.113549.1.1.13":
		named = x509.SHA512WithRSA
	case "1.2.840.10045.4.3.2":
		named = x509.ECDSAWithSHA256
	case "1.2.840.10045.4.3.3":
		named = x509.ECDSAWithSHA384
	case "1.2.840.10045.4.3.4":
		named = x509.ECDSAWithSHA512
	default:
		return 0, fmt.Errorf("signature algorithm %s is not accepted (RSA PKCS#1 v1.5 and ECDSA with SHA-2 are)", oid)
	}
	return named, nil
}

// verifySignature checks content type, message digest and signature of one signer against its certificate
// (RFC 5652, sections 5.4 and 5.6). It does not ask whether the certificate is to be trusted.
func (s *cmsSigner) verifySignature(contentType asn1.ObjectIdentifier, content []byte, certificate *x509.Certificate) error {
	if !s.hasSignedAtt {
		return errors.New("no signed attributes")
	}
	hash, err := digestByOID(s.digest)
	if err != nil {
		return err
	}
	value, err := only(s.signed, oidContentType, "content-type")
	if err != nil {
		return err
	}
	var named asn1.ObjectIdentifier
	in := cryptobyte.String(value)
	if !in.ReadASN1ObjectIdentifier(&named) || !in.Empty() || !named.Equal(contentType) {
		return errors.New("attribute content-type differs from the content's type")
	}
	if value, err = only(s.signed, oidMessageDigest, "message-digest"); err != nil {
		return err
	}
	var digest cryptobyte.String
	in = cryptobyte.String(value)
	if !in.ReadASN1(&digest, cbasn1.OCTET_STRING) || !in.Empty() {
		return fmt.Errorf("attribute message-digest: %w", errCMSNotDER)
	}
	if !bytes.Equal(digest, digestOf(hash, content)) {
		return errMessageDigest
	}
	algorithm, err := signatureAlgorithm(s.algorithm, hash)
	if err != nil {
		return err
	}
	if key, ok := certificate.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() < 2048 {
		return fmt.Errorf("RSA key of %d bits is too short", key.N.BitLen())
	} else if _, ec := certificate.PublicKey.(*ecdsa.PublicKey); !ok && !ec {
		return fmt.Errorf("key of type %T is not accepted", certificate.PublicKey)
	}
	return certificate.CheckSignature(algorithm, s.signedBytes, s.signature)
}

var (
	errMessageDigest  = errors.New("message digest differs: the content is not what was signed")
	errSigningCertRef = errors.New("signing-certificate attribute names another certificate than the signer's")
)

// verifySigningCertificate checks that the signed attribute signing-certificate-v2 (RFC 5035), or where
// legacy is true also signing-certificate (RFC 2634), names exactly this certificate first. Without it the
// certificate in a CMS could be exchanged for another of the same key.
func (s *cmsSigner) verifySigningCertificate(certificate *x509.Certificate, legacy bool) error {
	value, err := only(s.signed, oidSigningCertV2, "signing-certificate-v2")
	v2 := err == nil
	if !v2 && legacy {
		if old, oldErr := only(s.signed, oidSigningCert, "signing-certificate"); oldErr == nil {
			value, err = old, nil
		}
	}
	if err != nil {
		return err
	}
	in := cryptobyte.String(value)
	var attribute, list, first cryptobyte.String
	if !in.ReadASN1(&attribute, cbasn1.SEQUENCE) || !in.Empty() || !attribute.ReadASN1(&list, cbasn1.SEQUENCE) || !list.ReadASN1(&first, cbasn1.SEQUENCE) {
		return fmt.Errorf("signing-certificate: %w", errCMSNotDER)
	}
	var want []byte
	if v2 {
		hash := crypto.SHA256 // RFC 5035, section 4: DEFAULT
		if first.PeekASN1Tag(cbasn1.SEQUENCE) {
			var algorithm cryptobyte.String
			var oid asn1.ObjectIdentifier
			if !first.ReadASN1(&algorithm, cbasn1.SEQUENCE) || !algorithm.ReadASN1ObjectIdentifier(&oid) {
				return fmt.Errorf("signing-certificate-v2: %w", errCMSNotDER)
			}
			if hash, err = digestByOID(oid); err != nil {
				return fmt.Errorf("signing-certificate-v2: %w", err)
			}
		}
		want = digestOf(hash, certificate.Raw)
	} else {
		sum := sha1.Sum(certificate.Raw)
		want = sum[:]
	}
	var got cryptobyte.String
	if !first.ReadASN1(&got, cbasn1.OCTET_STRING) {
		return fmt.Errorf("signing-certificate: %w", errCMSNotDER)
	}
	if !bytes.Equal(got, want) {
		return errSigningCertRef
	}
	if first.Empty() {
		return nil
	}
	return checkIssuerSerial(&first, certificate)
}

// checkIssuerSerial reads IssuerSerial ::= SEQUENCE { GeneralNames, INTEGER } with one directoryName.
func checkIssuerSerial(in *cryptobyte.String, certificate *x509.Certificate) error {
	var issuerSerial, names, name cryptobyte.String
	serial := new(big.Int)
	directoryName := cbasn1.Tag(4).ContextSpecific().Constructed()
	if !in.ReadASN1(&issuerSerial, cbasn1.SEQUENCE) || !in.Empty() || !issuerSerial.ReadASN1(&names, cbasn1.SEQUENCE) ||
		!names.ReadASN1(&name, directoryName) || !names.Empty() || !issuerSerial.ReadASN1Integer(serial) {
		return fmt.Errorf("signing-certificate, issuer and serial number: %w", errCMSNotDER)
	}
	if !bytes.Equal(name, certificate.RawIssuer) || serial.Cmp(certificate.SerialNumber) != 0 {
		return errSigningCertRef
	}
	return nil
}

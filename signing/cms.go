package signing

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// This file reads CMS SignedData (RFC 5652) of seals and of time-stamp tokens. It is our own and not
// pkcs7.Parse for three reasons: the pinned pkcs7 needs quadratic time on malformed indefinite lengths,
// it cannot read files that carry OCSP answers or name the signer by key identifier, and a seal checked by
// other code than that which made it is checked better. cryptobyte reads DER only (no indefinite length,
// no constructed strings, minimal lengths), in linear time, without recursion driven by the input.

// Bounds of what is read. More is refused, not cut.
const (
	maxCMSCertificates = 64
	maxCMSCRLs         = 64
	maxCMSSigners      = 8
	maxCMSAttributes   = 64
)

var (
	oidData            = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidSignedData      = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidTSTInfo         = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 1, 4}
	oidContentType     = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	oidMessageDigest   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
	oidSigningTime     = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 5}
	oidSigningCert     = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 12}
	oidSignatureStamp  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 14}
	oidSigningCertV2   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 47}
	oidSHA256          = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	oidExtKeyUsage     = asn1.ObjectIdentifier{2, 5, 29, 37}
	errCMSNotDER       = errors.New("not DER: length or structure malformed, or BER indefinite length")
	errNoAttribute     = errors.New("attribute is missing")
	tagContext0        = cbasn1.Tag(0).ContextSpecific().Constructed()
	tagContext1        = cbasn1.Tag(1).ContextSpecific().Constructed()
	tagContext0Implied = cbasn1.Tag(0).ContextSpecific()
)

// cmsAttribute is one attribute: its type and each of its values as encoded.
type cmsAttribute struct {
	oid    asn1.ObjectIdentifier
	values [][]byte
}

// cmsSigner is one SignerInfo (RFC 5652, section 5.3).
type cmsSigner struct {
	issuer       []byte // DER of the issuer's name; nil when the signer is named by key identifier
	serial       *big.Int
	keyID        []byte
	digest       asn1.ObjectIdentifier
	signed       []cmsAttribute
	signedBytes  []byte // what the signature is over: the attributes under the tag SET OF
	algorithm    asn1.ObjectIdentifier
	signature    []byte
	unsigned     []cmsAttribute
	hasSignedAtt bool
}

// cmsSignedData is a SignedData with everything that a signature covers kept as encoded.
type cmsSignedData struct {
	contentType  asn1.ObjectIdentifier
	content      []byte
	detached     bool
	certificates []*x509.Certificate
	crls         [][]byte // DER of each CertificateList
	otherStatus  int      // revocation information in another form (OCSP), not read
	signers      []cmsSigner
}

// parseCMS reads a ContentInfo that holds a SignedData, the whole of der and nothing after it.
func parseCMS(der []byte) (*cmsSignedData, error) {
	in := cryptobyte.String(der)
	var outer, wrapped, sd cryptobyte.String
	var kind asn1.ObjectIdentifier
	if !in.ReadASN1(&outer, cbasn1.SEQUENCE) || !in.Empty() {
		return nil, errCMSNotDER
	}
	if !outer.ReadASN1ObjectIdentifier(&kind) || !outer.ReadASN1(&wrapped, tagContext0) || !outer.Empty() {
		return nil, errCMSNotDER
	}
	if !kind.Equal(oidSignedData) {
		return nil, fmt.Errorf("content type is %s, not signed-data", kind)
	}
	if !wrapped.ReadASN1(&sd, cbasn1.SEQUENCE) || !wrapped.Empty() {
		return nil, errCMSNotDER
	}
	return parseSignedData(sd)
}

func parseSignedData(sd cryptobyte.String) (*cmsSignedData, error) {
	var version int
	var digests, encap, certificates, crls, signers cryptobyte.String
	var hasCertificates, hasCRLs bool
	if !sd.ReadASN1Integer(&version) || !sd.ReadASN1(&digests, cbasn1.SET) || !sd.ReadASN1(&encap, cbasn1.SEQUENCE) ||
		!sd.ReadOptionalASN1(&certificates, &hasCertificates, tagContext0) ||
		!sd.ReadOptionalASN1(&crls, &hasCRLs, tagContext1) ||
		!sd.ReadASN1(&signers, cbasn1.SET) || !sd.Empty() {
		return nil, fmt.Errorf("signed-data: %w", errCMSNotDER)
	}
	out := new(cmsSignedData)
	var wrapped, content cryptobyte.String
	var attached bool
	if !encap.ReadASN1ObjectIdentifier(&out.contentType) || !encap.ReadOptionalASN1(&wrapped, &attached, tagContext0) || !encap.Empty() {
		return nil, fmt.Errorf("encapsulated content: %w", errCMSNotDER)
	}
	out.detached = !attached
	if attached {
		if !wrapped.ReadASN1(&content, cbasn1.OCTET_STRING) || !wrapped.Empty() {
			return nil, fmt.Errorf("encapsulated content: %w", errCMSNotDER)
		}
		out.content = []byte(content)
	}
	if err := out.readCertificates(certificates); err != nil {
		return nil, err
	}
	if err := out.readRevocation(crls); err != nil {
		return nil, err
	}
	for !signers.Empty() {
		if len(out.signers) == maxCMSSigners {
			return nil, fmt.Errorf("more than %d signers", maxCMSSigners)
		}
		s, err := parseSigner(&signers)
		if err != nil {
			return nil, err
		}
		out.signers = append(out.signers, *s)
	}
	if len(out.signers) == 0 {
		return nil, errors.New("no signer")
	}
	return out, nil
}

func (c *cmsSignedData) readCertificates(in cryptobyte.String) error {
	for n := 0; !in.Empty(); n++ {
		var raw cryptobyte.String
		var tag cbasn1.Tag
		if n == maxCMSCertificates {
			return fmt.Errorf("more than %d certificates", maxCMSCertificates)
		}
		if !in.ReadAnyASN1Element(&raw, &tag) {
			return fmt.Errorf("certificates: %w", errCMSNotDER)
		}
		if tag != cbasn1.SEQUENCE {
			continue // attribute certificates and other forms (RFC 5652, section 10.2.2) say nothing of the signer
		}
		certificate, err := x509.ParseCertificate(raw)
		if err != nil {
			return fmt.Errorf("certificate %d: %w", n, err)
		}
		c.certificates = append(c.certificates, certificate)
	}
	return nil
}

func (c *cmsSignedData) readRevocation(in cryptobyte.String) error {
	for n := 0; !in.Empty(); n++ {
		var raw cryptobyte.String
		var tag cbasn1.Tag
		if n == maxCMSCRLs {
			return fmt.Errorf("more than %d revocation lists", maxCMSCRLs)
		}
		if !in.ReadAnyASN1Element(&raw, &tag) {
			return fmt.Errorf("revocation lists: %w", errCMSNotDER)
		}
		if tag == cbasn1.SEQUENCE {
			c.crls = append(c.crls, []byte(raw))
		} else {
			c.otherStatus++
		}
	}
	return nil
}

func parseSigner(in *cryptobyte.String) (*cmsSigner, error) {
	bad := func(what string) (*cmsSigner, error) { return nil, fmt.Errorf("signer, %s: %w", what, errCMSNotDER) }
	var si, name, algorithm, sigAlgorithm, signature, unsigned cryptobyte.String
	var version int
	if !in.ReadASN1(&si, cbasn1.SEQUENCE) || !si.ReadASN1Integer(&version) {
		return bad("version")
	}
	s := &cmsSigner{serial: new(big.Int)}
	if si.PeekASN1Tag(tagContext0Implied) {
		var id cryptobyte.String
		if !si.ReadASN1(&id, tagContext0Implied) {
			return bad("identifier")
		}
		s.keyID = []byte(id)
	} else {
		var issuer cryptobyte.String
		if !si.ReadASN1(&name, cbasn1.SEQUENCE) || !name.ReadASN1Element(&issuer, cbasn1.SEQUENCE) ||
			!name.ReadASN1Integer(s.serial) || !name.Empty() {
			return bad("issuer and serial number")
		}
		s.issuer = []byte(issuer)
	}
	if !si.ReadASN1(&algorithm, cbasn1.SEQUENCE) || !algorithm.ReadASN1ObjectIdentifier(&s.digest) {
		return bad("digest algorithm")
	}
	if si.PeekASN1Tag(tagContext0) {
		var element cryptobyte.String
		if !si.ReadASN1Element(&element, tagContext0) {
			return bad("signed attributes")
		}
		// RFC 5652, section 5.4: the digest is over the attributes under the tag SET OF, not [0].
		s.signedBytes = append([]byte{byte(cbasn1.SET)}, element[1:]...)
		s.hasSignedAtt = true
		var err error
		var body cryptobyte.String
		if !element.ReadASN1(&body, tagContext0) {
			return bad("signed attributes")
		}
		if s.signed, err = parseAttributes(body); err != nil {
			return nil, fmt.Errorf("signed attributes: %w", err)
		}
	}
	if !si.ReadASN1(&sigAlgorithm, cbasn1.SEQUENCE) || !sigAlgorithm.ReadASN1ObjectIdentifier(&s.algorithm) ||
		!si.ReadASN1(&signature, cbasn1.OCTET_STRING) {
		return bad("signature")
	}
	s.signature = []byte(signature)
	if !si.ReadOptionalASN1(&unsigned, nil, tagContext1) || !si.Empty() {
		return bad("unsigned attributes")
	}
	var err error
	if s.unsigned, err = parseAttributes(unsigned); err != nil {
		return nil, fmt.Errorf("unsigned attributes: %w", err)
	}
	return s, nil
}

func parseAttributes(in cryptobyte.String) ([]cmsAttribute, error) {
	var out []cmsAttribute
	for !in.Empty() {
		var attribute, values cryptobyte.String
		var a cmsAttribute
		if len(out) == maxCMSAttributes {
			return nil, fmt.Errorf("more than %d attributes", maxCMSAttributes)
		}
		if !in.ReadASN1(&attribute, cbasn1.SEQUENCE) || !attribute.ReadASN1ObjectIdentifier(&a.oid) ||
			!attribute.ReadASN1(&values, cbasn1.SET) || !attribute.Empty() {
			return nil, errCMSNotDER
		}
		for !values.Empty() {
			var value cryptobyte.String
			var tag cbasn1.Tag
			if len(a.values) == maxCMSAttributes {
				return nil, fmt.Errorf("more than %d values in an attribute", maxCMSAttributes)
			}
			if !values.ReadAnyASN1Element(&value, &tag) {
				return nil, errCMSNotDER
			}
			a.values = append(a.values, []byte(value))
		}
		out = append(out, a)
	}
	return out, nil
}

// only gives the single value of the single attribute of that type; an attribute that is absent, repeated or
// has several values gives an error that says which.
func only(attributes []cmsAttribute, oid asn1.ObjectIdentifier, name string) ([]byte, error) {
	var found [][]byte
	n := 0
	for _, a := range attributes {
		if a.oid.Equal(oid) {
			n++
			found = append(found, a.values...)
		}
	}
	switch {
	case n == 0:
		return nil, fmt.Errorf("%s: %w", name, errNoAttribute)
	case n > 1 || len(found) != 1:
		return nil, fmt.Errorf("attribute %s stands %d times with %d values, want one", name, n, len(found))
	}
	return found[0], nil
}

// certificateOf finds the signer's certificate among those given; nil when it is not there.
func (s *cmsSigner) certificateOf(certificates []*x509.Certificate) *x509.Certificate {
	for _, c := range certificates {
		if s.issuer != nil && bytes.Equal(c.RawIssuer, s.issuer) && c.SerialNumber.Cmp(s.serial) == 0 {
			return c
		}
		if s.issuer == nil && len(s.keyID) > 0 && bytes.Equal(c.SubjectKeyId, s.keyID) {
			return c
		}
	}
	return nil
}

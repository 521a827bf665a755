package signing

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// StampTrust is what a token is judged against.
type StampTrust struct {
	Roots         []*x509.Certificate // trust anchors; none: ErrStampChain
	Intermediates []*x509.Certificate // added to those in the token
	At            time.Time           // when the chain must hold; zero: at the token's own genTime
}

// tstInfo is a TSTInfo (RFC 3161, section 2.4.2), as far as it is used.
type tstInfo struct {
	policy  asn1.ObjectIdentifier
	hash    asn1.ObjectIdentifier
	imprint []byte
	time    time.Time
	nonce   *big.Int
}

// VerifyStamp checks a stored TimeStampResp (a .tsr file) over a SHA-256 digest: status, imprint, signature,
// certificate and, at time at, the chain to one of the roots. A zero at means the stamp's own time: good until
// the authority's certificate expires, afterwards only together with a renewal. Nonce and request are not
// known here. Errors are those of TSA.Stamp.
func VerifyStamp(response []byte, digest [32]byte, roots []*x509.Certificate, at time.Time) (*Stamp, error) {
	stamp, _, err := verifyResponse(response, digest, StampTrust{Roots: roots, At: at})
	return stamp, err
}

// VerifyToken checks a bare TimeStampToken over a SHA-256 digest as VerifyStamp does; Stamp.Response is nil.
func VerifyToken(token []byte, digest [32]byte, trust StampTrust) (*Stamp, error) {
	stamp, _, err := verifyToken(token, func(crypto.Hash) []byte { return digest[:] }, trust)
	return stamp, err
}

func verifyResponse(response []byte, digest [32]byte, trust StampTrust) (*Stamp, *tstInfo, error) {
	token, err := parseStampResponse(response)
	if err != nil {
		return nil, nil, err
	}
	stamp, info, err := verifyToken(token, func(crypto.Hash) []byte { return digest[:] }, trust)
	if err != nil {
		return nil, nil, err
	}
	stamp.Response = response
	return stamp, info, nil
}

// parseStampResponse gives the token of a granted answer: status 0 (granted) or 1 (granted with modifications).
func parseStampResponse(der []byte) ([]byte, error) {
	if len(der) > maxStampResponse {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrStampMalformed, maxStampResponse)
	}
	in := cryptobyte.String(der)
	var answer, status, texts, token cryptobyte.String
	var code int
	var hasText bool
	if !in.ReadASN1(&answer, cbasn1.SEQUENCE) || !in.Empty() || !answer.ReadASN1(&status, cbasn1.SEQUENCE) || !status.ReadASN1Integer(&code) ||
		!status.ReadOptionalASN1(&texts, &hasText, cbasn1.SEQUENCE) {
		return nil, fmt.Errorf("%w: %w", ErrStampMalformed, errCMSNotDER)
	}
	if code != 0 && code != 1 {
		refused := &StampRefusedError{Status: code}
		var text cryptobyte.String
		if hasText && texts.ReadASN1(&text, cbasn1.UTF8String) {
			refused.Text = string(text[:min(len(text), 200)])
		}
		return nil, refused
	}
	if !answer.ReadASN1Element(&token, cbasn1.SEQUENCE) || !answer.Empty() {
		return nil, fmt.Errorf("%w: granted, but without a token", ErrStampMalformed)
	}
	return []byte(token), nil
}

func parseTSTInfo(der []byte) (*tstInfo, error) {
	in := cryptobyte.String(der)
	var info, imprint, algorithm, digest, when cryptobyte.String
	out := new(tstInfo)
	var version int
	if !in.ReadASN1(&info, cbasn1.SEQUENCE) || !in.Empty() || !info.ReadASN1Integer(&version) || !info.ReadASN1ObjectIdentifier(&out.policy) ||
		!info.ReadASN1(&imprint, cbasn1.SEQUENCE) || !imprint.ReadASN1(&algorithm, cbasn1.SEQUENCE) || !algorithm.ReadASN1ObjectIdentifier(&out.hash) ||
		!imprint.ReadASN1(&digest, cbasn1.OCTET_STRING) || !imprint.Empty() ||
		!info.ReadASN1Integer(new(big.Int)) || !info.ReadASN1(&when, cbasn1.GeneralizedTime) {
		return nil, errCMSNotDER
	}
	if version != 1 {
		return nil, fmt.Errorf("version %d of TSTInfo is not known", version)
	}
	out.imprint = []byte(digest)
	var err error
	if out.time, err = parseGenTime(string(when)); err != nil {
		return nil, err
	}
	// accuracy and ordering say how fine the clock is: we claim no finer one
	if !info.SkipOptionalASN1(cbasn1.SEQUENCE) || !info.SkipOptionalASN1(cbasn1.BOOLEAN) {
		return nil, errCMSNotDER
	}
	if info.PeekASN1Tag(cbasn1.INTEGER) {
		out.nonce = new(big.Int)
		if !info.ReadASN1Integer(out.nonce) {
			return nil, errCMSNotDER
		}
	}
	if !info.SkipOptionalASN1(tagContext0) || !info.SkipOptionalASN1(tagContext1) || !info.Empty() {
		return nil, errCMSNotDER
	}
	return out, nil
}

// parseGenTime reads GeneralizedTime with an optional fraction, which RFC 3161 allows and encoding/asn1 refuses.
func parseGenTime(s string) (time.Time, error) {
	t, err := time.Parse("20060102150405Z", s)
	if err != nil || len(s) < 15 || len(s) > 25 {
		return time.Time{}, fmt.Errorf("genTime of %d bytes is not YYYYMMDDhhmmss[.f]Z", len(s))
	}
	return t.UTC(), nil
}

// verifyToken checks a TimeStampToken. imprint gives what must be stamped, for the hash that the token names.
func verifyToken(token []byte, imprint func(crypto.Hash) []byte, trust StampTrust) (*Stamp, *tstInfo, error) {
	bad := func(kind, err error) (*Stamp, *tstInfo, error) { return nil, nil, fmt.Errorf("%w: %w", kind, err) }
	if len(token) > maxStampResponse {
		return bad(ErrStampMalformed, fmt.Errorf("more than %d bytes", maxStampResponse))
	}
	cms, err := parseCMS(token)
	if err != nil {
		return bad(ErrStampMalformed, err)
	}
	if !cms.contentType.Equal(oidTSTInfo) || cms.detached || len(cms.signers) != 1 {
		return bad(ErrStampMalformed, fmt.Errorf("want one signer over a TSTInfo, got %d over %s", len(cms.signers), cms.contentType))
	}
	info, err := parseTSTInfo(cms.content)
	if err != nil {
		return bad(ErrStampMalformed, err)
	}
	hash, err := digestByOID(info.hash)
	if err != nil {
		return bad(ErrStampImprint, err)
	}
	if !bytes.Equal(info.imprint, imprint(hash)) {
		return nil, nil, ErrStampImprint
	}
	signer := &cms.signers[0]
	// The token must carry the certificate: one that is found elsewhere would make the file depend on us.
	certificate := signer.certificateOf(cms.certificates)
	if certificate == nil {
		return bad(ErrStampCertificate, errors.New("the token does not carry it"))
	}
	if err := signer.verifySignature(cms.contentType, cms.content, certificate); err != nil {
		return bad(ErrStampSignature, err)
	}
	if err := signer.verifySigningCertificate(certificate, true); err != nil {
		return bad(ErrStampSignature, err)
	}
	if err := checkStampingUsage(certificate); err != nil {
		return bad(ErrStampCertificate, err)
	}
	at := trust.At
	if at.IsZero() {
		at = info.time
	}
	chain, err := verifyChain(certificate, append(slices.Clone(cms.certificates), trust.Intermediates...), trust.Roots, at, x509.ExtKeyUsageTimeStamping)
	if err != nil {
		return bad(ErrStampChain, err)
	}
	others := slices.DeleteFunc(slices.Clone(cms.certificates), func(c *x509.Certificate) bool { return c == certificate })
	return &Stamp{Token: token, Time: info.time, Authority: sha256.Sum256(certificate.Raw),
		Certificates: append([]*x509.Certificate{certificate}, others...), chain: chain}, info, nil
}

// checkStampingUsage asks what RFC 3161, section 2.3 asks: extended key usage critical, and timeStamping alone.
func checkStampingUsage(certificate *x509.Certificate) error {
	for _, extension := range certificate.Extensions {
		if extension.Id.Equal(oidExtKeyUsage) {
			if !extension.Critical {
				return errors.New("extended key usage is not critical")
			}
			if len(certificate.UnknownExtKeyUsage) > 0 || !slices.Equal(certificate.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping}) {
				return errors.New("extended key usage is not timeStamping alone")
			}
			return nil
		}
	}
	return errors.New("no extended key usage timeStamping")
}

// verifyChain gives the chain from certificate to one of the roots that holds at time at, root last.
// An empty list of roots never falls back to the system's.
func verifyChain(certificate *x509.Certificate, intermediates, roots []*x509.Certificate, at time.Time, usage x509.ExtKeyUsage) ([]*x509.Certificate, error) {
	options := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{usage}}
	for _, c := range roots {
		options.Roots.AddCert(c)
	}
	for _, c := range intermediates {
		options.Intermediates.AddCert(c)
	}
	chains, err := certificate.Verify(options)
	if err != nil {
		return nil, err
	}
	return chains[0], nil
}

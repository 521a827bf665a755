package signing

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// SealCheck names one check of VerifySeal.
type SealCheck string

// The checks of a seal, as findings name them.
const (
	SealFormat      SealCheck = "seal-format"               // not a CMS SignedData in DER with attached content and one signer
	SealCertificate SealCheck = "seal-certificate"          // the signer's certificate is not inside, or is not the one that was signed
	SealSignature   SealCheck = "seal-signature"            // the signature does not verify
	SealContent     SealCheck = "seal-content"              // the content is not what was signed
	SealAttributes  SealCheck = "seal-attributes"           // an attribute that CAdES baseline asks for is missing or malformed
	SealTrust       SealCheck = "seal-trust"                // the chain does not reach a trusted root at that time
	SealRevoked     SealCheck = "seal-revoked"              // a certificate of the chain is revoked
	SealCRLMissing  SealCheck = "seal-crl-missing"          // no revocation list of an issuer is inside
	SealCRLStale    SealCheck = "seal-crl-stale"            // the one inside does not hold at that time
	StampMissing    SealCheck = "seal-timestamp-missing"    // no signature time-stamp
	StampBroken     SealCheck = "seal-timestamp"            // it does not verify, or is over another signature
	StampUntrusted  SealCheck = "seal-timestamp-trust"      // its authority's chain does not reach a trusted root
	StampRevoked    SealCheck = "seal-timestamp-revoked"    // a certificate of its authority's chain is revoked
	StampRevocation SealCheck = "seal-timestamp-revocation" // revocation of its authority's chain is missing or stale
	StampOrder      SealCheck = "seal-timestamp-order"      // the stamp lies outside the validity of the signing certificate
)

// SealFinding is one negative result of VerifySeal. It unwraps to its cause (ErrCRLStale, ErrStampImprint, …).
type SealFinding struct {
	Check SealCheck
	Err   error
}

func (f *SealFinding) Error() string { return string(f.Check) + ": " + f.Err.Error() }

// Unwrap gives the cause.
func (f *SealFinding) Unwrap() error { return f.Err }

// SealOptions is what a seal is judged against.
type SealOptions struct {
	Roots         []*x509.Certificate // of the seal's chain and of the time-stamp authority's; none: SealTrust
	Intermediates []*x509.Certificate // added to those in the seal
	At            time.Time           // when chain and revocation must hold: the archive time-stamp's time; zero: now
}

// SealReport is what a seal says. With findings it is only what could be read.
type SealReport struct {
	Content      []byte // exactly the bytes that were sealed; aliases the input
	Signer       *x509.Certificate
	SigningTime  time.Time // the signer's own word
	HasTimeStamp bool      // a signature time-stamp that verifies
	StampTime    time.Time // the authority's word; zero without
	Stamp        *Stamp    // nil without
	Chain        []*x509.Certificate
	Certificates []*x509.Certificate // all that the seal carries
	CRLs         [][]byte            // all that the seal carries, DER
	// The window in which the revocation lists used hold: an archive time-stamp must fall into it, or stock tools
	// refuse the seal ("CRL is not yet valid"). Zero when a list is missing.
	RevocationFrom, RevocationUntil time.Time
}

// VerifySeal checks an attached seal of at most 64 MiB: one of ours or another's in DER with CRLs inside.
// It lists all that is wrong, not only the first; no finding means that the content is sealed by Signer, whose
// chain reached one of the roots at time At, unrevoked by lists that the seal itself carries, and that it was so
// no later than StampTime. The report is never nil. BER (indefinite length) and detached content are findings.
func VerifySeal(p7m []byte, opt SealOptions) (*SealReport, []*SealFinding) {
	v := &sealVerifier{report: new(SealReport), opt: opt}
	if v.opt.At.IsZero() {
		v.opt.At = time.Now()
	}
	if len(p7m) > maxSealed {
		v.add(SealFormat, fmt.Errorf("%d bytes are over %d", len(p7m), maxSealed))
		return v.report, v.findings
	}
	cms, err := parseCMS(p7m)
	if err != nil {
		v.add(SealFormat, err)
		return v.report, v.findings
	}
	v.report.Certificates, v.report.CRLs = cms.certificates, cms.crls
	switch {
	case cms.detached:
		v.add(SealFormat, errors.New("the content is not inside (detached)"))
	case !cms.contentType.Equal(oidData):
		v.add(SealFormat, fmt.Errorf("content type is %s, not data", cms.contentType))
	case len(cms.signers) != 1:
		v.add(SealFormat, fmt.Errorf("%d signers, want one", len(cms.signers)))
	default:
		v.report.Content = cms.content
		v.verify(cms)
	}
	return v.report, v.findings
}

type sealVerifier struct {
	report   *SealReport
	findings []*SealFinding
	opt      SealOptions
	crls     []parsedCRL
}

func (v *sealVerifier) add(check SealCheck, err error) {
	v.findings = append(v.findings, &SealFinding{check, err})
}

func (v *sealVerifier) verify(cms *cmsSignedData) {
	signer := &cms.signers[0]
	certificate := signer.certificateOf(cms.certificates)
	if certificate == nil {
		v.add(SealCertificate, errors.New("the signer's certificate is not inside"))
		return
	}
	v.report.Signer = certificate
	if err := signer.verifySignature(cms.contentType, cms.content, certificate); errors.Is(err, errMessageDigest) {
		v.add(SealContent, err)
	} else if err != nil {
		v.add(SealSignature, err)
	}
	if err := signer.verifySigningCertificate(certificate, false); errors.Is(err, errSigningCertRef) {
		v.add(SealCertificate, err)
	} else if err != nil {
		v.add(SealAttributes, err)
	}
	if when, err := signingTime(signer); err != nil {
		v.add(SealAttributes, err)
	} else {
		v.report.SigningTime = when
	}
	var err error
	if v.crls, err = parseCRLs(cms.crls); err != nil {
		v.add(SealFormat, err)
	}
	// A seal names no purpose in its certificate's extended key usage: any is accepted, the chain decides.
	chain, err := verifyChain(certificate, append(append([]*x509.Certificate{}, cms.certificates...), v.opt.Intermediates...), v.opt.Roots, v.opt.At, x509.ExtKeyUsageAny)
	if err != nil {
		v.add(SealTrust, err)
	} else {
		v.report.Chain = chain
		v.revocation(chain, cms.otherStatus, SealRevoked, SealCRLMissing, SealCRLStale)
	}
	v.stamp(signer, certificate, cms)
}

// revocation asks for a CRL from the seal for every certificate of the chain but the root.
func (v *sealVerifier) revocation(chain []*x509.Certificate, others int, revoked, missing, stale SealCheck) {
	for i, c := range chain[:len(chain)-1] {
		list, err := checkRevoked(c, chain[i+1], v.crls, v.opt.At)
		if err == nil {
			v.narrow(list)
			continue
		}
		described := fmt.Errorf("certificate %q at %s: %w", c.Subject.CommonName, v.opt.At.UTC().Format(time.RFC3339), err)
		switch {
		case errors.Is(err, ErrCertRevoked):
			v.add(revoked, described)
		case errors.Is(err, ErrCRLMissing) && others > 0:
			v.add(missing, fmt.Errorf("%w (%d answers in another form, OCSP, were not read)", described, others))
		case errors.Is(err, ErrCRLMissing):
			v.add(missing, described)
		default:
			v.add(stale, described)
		}
	}
}

func (v *sealVerifier) narrow(list *x509.RevocationList) {
	r := v.report
	if list.ThisUpdate.After(r.RevocationFrom) {
		r.RevocationFrom = list.ThisUpdate
	}
	if r.RevocationUntil.IsZero() || list.NextUpdate.Before(r.RevocationUntil) {
		r.RevocationUntil = list.NextUpdate
	}
}

// stamp verifies the signature time-stamp (RFC 5126, section 6.1.1): imprint over the signature value.
func (v *sealVerifier) stamp(signer *cmsSigner, certificate *x509.Certificate, cms *cmsSignedData) {
	token, err := only(signer.unsigned, oidSignatureStamp, "signature-time-stamp")
	if errors.Is(err, errNoAttribute) {
		v.add(StampMissing, err)
		return
	}
	if err != nil {
		v.add(StampBroken, err)
		return
	}
	imprint := func(hash crypto.Hash) []byte { return digestOf(hash, signer.signature) }
	trust := StampTrust{Roots: v.opt.Roots, Intermediates: append(append([]*x509.Certificate{}, cms.certificates...), v.opt.Intermediates...), At: v.opt.At}
	stamp, _, err := verifyToken(token, imprint, trust)
	if errors.Is(err, ErrStampChain) {
		v.add(StampUntrusted, err)
		return
	}
	if err != nil {
		v.add(StampBroken, err)
		return
	}
	v.report.HasTimeStamp, v.report.StampTime, v.report.Stamp = true, stamp.Time, stamp
	if stamp.Time.Before(certificate.NotBefore) || stamp.Time.After(certificate.NotAfter) {
		v.add(StampOrder, fmt.Errorf("stamped at %s, the signing certificate holds from %s to %s", stamp.Time.Format(time.RFC3339),
			certificate.NotBefore.UTC().Format(time.RFC3339), certificate.NotAfter.UTC().Format(time.RFC3339)))
	}
	v.revocation(stamp.chain, cms.otherStatus, StampRevoked, StampRevocation, StampRevocation)
}

// signingTime reads the one signing-time that CAdES baseline asks for (RFC 5652, section 11.3).
func signingTime(signer *cmsSigner) (time.Time, error) {
	value, err := only(signer.signed, oidSigningTime, "signing-time")
	if err != nil {
		return time.Time{}, err
	}
	in := cryptobyte.String(value)
	var when time.Time
	if in.PeekASN1Tag(cbasn1.UTCTime) {
		if in.ReadASN1UTCTime(&when) && in.Empty() {
			return when.UTC(), nil
		}
	} else if in.ReadASN1GeneralizedTime(&when) && in.Empty() {
		return when.UTC(), nil
	}
	return time.Time{}, errors.New("attribute signing-time is not a time")
}

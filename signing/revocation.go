package signing

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// What revocation can say against a certificate; each its own error, because "revoked" is a verdict,
// "missing" a gap in the package and "stale" a question of when one asks.
var (
	ErrCRLMissing   = errors.New("no usable revocation list of the issuer")
	ErrCRLStale     = errors.New("revocation list was past its next update")
	ErrCRLNotYet    = errors.New("revocation list is not yet valid")
	ErrCertRevoked  = errors.New("certificate is revoked")
	oidCRLPartition = asn1.ObjectIdentifier{2, 5, 29, 28} // issuingDistributionPoint
)

// parsedCRL is a revocation list and its bytes as they were given.
type parsedCRL struct {
	der  []byte
	list *x509.RevocationList
}

// parseCRLs reads CRLs in DER, the whole of each.
func parseCRLs(ders [][]byte) ([]parsedCRL, error) {
	out := make([]parsedCRL, 0, len(ders))
	for i, der := range ders {
		list, err := x509.ParseRevocationList(der)
		if err != nil {
			return nil, fmt.Errorf("revocation list %d: %w", i, err)
		}
		out = append(out, parsedCRL{der, list})
	}
	return out, nil
}

// checkRevoked looks for a CRL of the certificate's issuer that holds at time at, and that does not name the
// certificate: thisUpdate <= at < nextUpdate, as openssl's -crl_check does. It returns that list. Where several
// lists hold, any of them that names the certificate counts.
func checkRevoked(certificate, issuer *x509.Certificate, crls []parsedCRL, at time.Time) (*x509.RevocationList, error) {
	var good *x509.RevocationList
	why := ErrCRLMissing
	for _, c := range crls {
		list := c.list
		if !bytes.Equal(list.RawIssuer, certificate.RawIssuer) || !coversCertificate(list, certificate) || list.CheckSignatureFrom(issuer) != nil {
			continue
		}
		if at.Before(list.ThisUpdate) {
			why = ErrCRLNotYet
			continue
		}
		if list.NextUpdate.IsZero() || !at.Before(list.NextUpdate) {
			why = ErrCRLStale
			continue
		}
		for _, entry := range list.RevokedCertificateEntries {
			if entry.SerialNumber.Cmp(certificate.SerialNumber) == 0 {
				return nil, fmt.Errorf("%w since %s (reason %d)", ErrCertRevoked, entry.RevocationTime.UTC().Format(time.RFC3339), entry.ReasonCode)
			}
		}
		if good == nil || list.ThisUpdate.After(good.ThisUpdate) {
			good = list
		}
	}
	if good == nil {
		return nil, why
	}
	return good, nil
}

// coversCertificate is false for a list that by a critical extension speaks only of some certificates, ours
// not among them, or says something that we cannot read (delta and indirect lists among it).
func coversCertificate(list *x509.RevocationList, certificate *x509.Certificate) bool {
	for _, extension := range list.Extensions {
		if !extension.Critical {
			continue
		}
		if !extension.Id.Equal(oidCRLPartition) || !partitionCovers(extension.Value, certificate) {
			return false
		}
	}
	for _, entry := range list.RevokedCertificateEntries {
		for _, extension := range entry.Extensions {
			if extension.Critical {
				return false // certificateIssuer: an indirect list
			}
		}
	}
	return true
}

// partitionCovers reads IssuingDistributionPoint (RFC 5280, section 5.2.5) with a name by URI, and the two
// flags for user and CA certificates; everything else in it is no.
func partitionCovers(der []byte, certificate *x509.Certificate) bool {
	in := cryptobyte.String(der)
	var point, name, full, flag cryptobyte.String
	var hasName bool
	if !in.ReadASN1(&point, cbasn1.SEQUENCE) || !in.Empty() || !point.ReadOptionalASN1(&name, &hasName, tagContext0) {
		return false
	}
	if hasName {
		found := false
		if !name.ReadASN1(&full, tagContext0) {
			return false
		}
		for !full.Empty() {
			var general cryptobyte.String
			var tag cbasn1.Tag
			if !full.ReadAnyASN1(&general, &tag) {
				return false
			}
			found = found || (tag == cbasn1.Tag(6).ContextSpecific() && slices.Contains(certificate.CRLDistributionPoints, string(general)))
		}
		if !found {
			return false
		}
	}
	for !point.Empty() {
		var tag cbasn1.Tag
		if !point.ReadAnyASN1(&flag, &tag) || len(flag) != 1 {
			return false
		}
		switch {
		case flag[0] == 0:
		case tag == cbasn1.Tag(1).ContextSpecific() && !certificate.IsCA: // onlyContainsUserCerts
		case tag == cbasn1.Tag(2).ContextSpecific() && certificate.IsCA: // onlyContainsCACerts
		default:
			return false
		}
	}
	return true
}

// selfSigned tells whether a certificate is its own issuer: a root, which no list of its own could revoke.
func selfSigned(c *x509.Certificate) bool {
	return bytes.Equal(c.RawIssuer, c.RawSubject) && c.CheckSignatureFrom(c) == nil
}

package certs

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"sigillo/internal/exchange"
)

// Reasons for which a caller cannot be identified. They are counted in the ledger's `refusals` entries, and a
// Rejection carries one of them.
const (
	ReasonNoCertificate  exchange.Reason = "no-certificate"  // the caller showed none
	ReasonUnknownCA      exchange.Reason = "unknown-ca"      // the chain ends at no trusted authority, or does not verify
	ReasonExpired        exchange.Reason = "expired"         // a certificate of the chain is not valid at this time
	ReasonNotForClients  exchange.Reason = "not-for-clients" // an extended key usage stands, and it is not clientAuth
	ReasonNotRegistered  exchange.Reason = "unregistered"    // a good chain that identifies no participant
	ReasonAmbiguousCerts exchange.Reason = "ambiguous"       // a good chain that identifies more than one
)

// Rejection says why a certificate or its chain was turned away. Its text may name
// certificate fields: it is for the log at debug level, never for the caller.
type Rejection struct {
	Reason exchange.Reason
	cause  error
}

func (e *Rejection) Error() string {
	if e.cause == nil {
		return "the caller is not identified: " + string(e.Reason)
	}
	return "the caller is not identified: " + string(e.Reason) + ": " + e.cause.Error()
}

func (e *Rejection) Unwrap() error { return e.cause }

// ReasonOf returns the reason of a Rejection in err, or "" when there is none.
func ReasonOf(err error) exchange.Reason {
	if r, ok := errors.AsType[*Rejection](err); ok {
		return r.Reason
	}
	return ""
}

// Trust is the set of authorities whose client certificates are accepted.
type Trust struct {
	roots         *x509.CertPool
	intermediates []*x509.Certificate
}

// NewTrust makes a Trust. Self-issued certificates are anchors; the others only help to build chains, unless
// none is self-issued: then all are anchors (an operator who trusts one issuing authority and not its root).
func NewTrust(certificates []*x509.Certificate) (*Trust, error) {
	if len(certificates) == 0 {
		return nil, errors.New("client trust is empty: name at least one authority")
	}
	t := &Trust{roots: x509.NewCertPool()}
	for _, c := range certificates {
		if !c.BasicConstraintsValid || !c.IsCA {
			return nil, fmt.Errorf("client trust: %q is not a certificate authority; pin leaves at their participant", DistinguishedName(c.RawSubject))
		}
		if selfIssued(c) {
			t.roots.AddCert(c)
		} else {
			t.intermediates = append(t.intermediates, c)
		}
	}
	if len(t.intermediates) == len(certificates) {
		for _, c := range certificates {
			t.roots.AddCert(c)
		}
	}
	return t, nil
}

// LoadTrust makes a Trust of PEM files.
func LoadTrust(files ...string) (*Trust, error) {
	certificates, err := LoadCertificates(files...)
	if err != nil {
		return nil, fmt.Errorf("client trust: %w", err)
	}
	return NewTrust(certificates)
}

func selfIssued(c *x509.Certificate) bool { return string(c.RawSubject) == string(c.RawIssuer) }

// Anchors returns the pool of trusted authorities, whose names a server sends in its CertificateRequest.
func (t *Trust) Anchors() *x509.CertPool { return t.roots }

// Chain is a caller's certificate with a verified way to an anchor. It is immutable.
type Chain struct {
	Leaf        *x509.Certificate
	Fingerprint string    // lower-case hex SHA-256 of the leaf's DER
	NotBefore   time.Time // the latest beginning in the chain
	NotAfter    time.Time // the earliest end in the chain
}

// ValidAt reports whether every certificate of the chain is within its validity at t (both ends included,
// RFC 5280, section 4.1.2.5). It costs two comparisons: connections outlive certificates, so ask on every request.
func (c *Chain) ValidAt(t time.Time) bool { return !t.Before(c.NotBefore) && !t.After(c.NotAfter) }

// Verify builds a chain from what the caller presented (leaf first) to an anchor, for client authentication, at
// the given time. The error is a *Rejection. A leaf without extended key usage is accepted (RFC 5280, section
// 4.2.1.12: it restricts only when present); signatures with SHA-1 or MD5 are not.
func (t *Trust) Verify(presented []*x509.Certificate, at time.Time) (*Chain, error) {
	if len(presented) == 0 {
		return nil, &Rejection{Reason: ReasonNoCertificate}
	}
	leaf := presented[0]
	intermediates := x509.NewCertPool()
	for _, c := range presented[1:] {
		intermediates.AddCert(c)
	}
	for _, c := range t.intermediates {
		intermediates.AddCert(c)
	}
	options := x509.VerifyOptions{
		Roots: t.roots, Intermediates: intermediates, CurrentTime: at,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	chains, err := leaf.Verify(options)
	if err != nil {
		return nil, &Rejection{Reason: t.reason(leaf, options, err), cause: err}
	}
	digest := sha256.Sum256(leaf.Raw)
	best := &Chain{}
	for _, certificates := range chains {
		c := &Chain{Leaf: leaf, Fingerprint: hex.EncodeToString(digest[:]), NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter}
		for _, x := range certificates[1:] {
			if x.NotBefore.After(c.NotBefore) {
				c.NotBefore = x.NotBefore
			}
			if x.NotAfter.Before(c.NotAfter) {
				c.NotAfter = x.NotAfter
			}
		}
		if best.Leaf == nil || c.NotAfter.After(best.NotAfter) {
			best = c
		}
	}
	return best, nil
}

func (t *Trust) reason(leaf *x509.Certificate, options x509.VerifyOptions, err error) exchange.Reason {
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		switch invalid.Reason {
		case x509.IncompatibleUsage:
			return ReasonNotForClients
		case x509.Expired:
			return ReasonExpired
		}
		return ReasonUnknownCA
	}
	// An expired authority is only a hint inside "unknown authority": ask whether the chain ever held.
	options.CurrentTime = leaf.NotBefore
	if _, then := leaf.Verify(options); then == nil {
		return ReasonExpired
	}
	return ReasonUnknownCA
}

package signing

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Bounds of the time-stamp protocol.
const (
	maxStampRequest   = 8 << 10  // bytes of a TimeStampReq that the test authority reads
	maxStampResponse  = 64 << 10 // bytes of a TimeStampResp; real ones have 1 to 10 KiB
	defaultStampSkew  = 5 * time.Minute
	defaultStampLimit = 30 * time.Second
)

// Why an authority's answer is not taken. Callers that must decide compare with errors.Is.
var (
	ErrStampTransport   = errors.New("time-stamp authority not reached")
	ErrStampMalformed   = errors.New("time-stamp answer is malformed")
	ErrStampRefused     = errors.New("time-stamp authority refused")
	ErrStampImprint     = errors.New("time-stamp is over another digest")
	ErrStampNonce       = errors.New("time-stamp answers another request (nonce)")
	ErrStampPolicy      = errors.New("time-stamp is under another policy")
	ErrStampTime        = errors.New("time-stamp's time is too far from the clock")
	ErrStampSignature   = errors.New("time-stamp's signature does not verify")
	ErrStampCertificate = errors.New("time-stamp authority's certificate is not fit")
	ErrStampChain       = errors.New("time-stamp authority's certificate does not reach a trusted root")
)

// StampRefusedError is an answer whose status is not granted (RFC 3161, section 2.4.2). It is an ErrStampRefused.
type StampRefusedError struct {
	Status int    // PKIStatus: 2 rejection, 3 waiting, 4 and 5 revocation
	Text   string // the authority's own words, at most 200 bytes, not trusted
}

func (e *StampRefusedError) Error() string {
	return fmt.Sprintf("%s: status %d %q", ErrStampRefused, e.Status, e.Text)
}

// Is makes every refusal an ErrStampRefused.
func (e *StampRefusedError) Is(target error) bool { return target == ErrStampRefused }

// Stamp is a verified RFC 3161 time-stamp and the bytes that prove it.
type Stamp struct {
	Request      []byte              // TimeStampReq, DER; nil when a stored answer was verified without it
	Response     []byte              // TimeStampResp, DER, as received: what a .tsr file holds; nil for a bare token
	Token        []byte              // the TimeStampToken in it, a CMS ContentInfo
	Time         time.Time           // genTime, UTC
	Authority    [32]byte            // SHA-256 of the signing authority's certificate (DER)
	Certificates []*x509.Certificate // those in the token, the authority's own first

	chain []*x509.Certificate // as verified, root last
}

// Stamper gives a time-stamp over a SHA-256 digest. Implementations are safe for concurrent use and return
// only what they have verified.
type Stamper interface {
	Stamp(ctx context.Context, digest [32]byte) (*Stamp, error)
}

// TSA is a client of one RFC 3161 authority over HTTP (section 3.4). Fields are set before first use and not
// changed after; the zero value of each optional field is the strict default.
type TSA struct {
	URL           string                // where requests are posted
	User          string                // HTTP Basic user; "" sends no credentials
	Password      string                // never part of an error
	Policy        asn1.ObjectIdentifier // asked for and required; nil leaves it to the authority
	Roots         []*x509.Certificate   // trust anchors of this authority; none given: every answer is refused
	Intermediates []*x509.Certificate   // to complete the chain where tokens do not carry it
	Client        *http.Client          // nil: one that follows no redirect
	Timeout       time.Duration         // of one request; 0: 30 s. So a silent authority leaves time for the next
	Skew          time.Duration         // how far genTime may lie from Now, either way; 0: 5 minutes
	Now           func() time.Time      // nil: time.Now
}

type messageImprint struct {
	HashAlgorithm pkix.AlgorithmIdentifier
	HashedMessage []byte
}

type timeStampReq struct {
	Version        int
	MessageImprint messageImprint
	ReqPolicy      asn1.ObjectIdentifier `asn1:"optional"`
	Nonce          *big.Int              `asn1:"optional"`
	CertReq        bool                  `asn1:"optional"`
}

// sha256Identifier has NULL parameters: both forms are allowed (RFC 5754, section 2), old authorities know this one.
func sha256Identifier() pkix.AlgorithmIdentifier {
	return pkix.AlgorithmIdentifier{Algorithm: oidSHA256, Parameters: asn1.NullRawValue}
}

// newStampRequest makes a TimeStampReq with a random 64-bit nonce that asks for the authority's certificate.
func newStampRequest(digest [32]byte, policy asn1.ObjectIdentifier) (der []byte, nonce *big.Int, err error) {
	nonce, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 64))
	if err != nil {
		return nil, nil, fmt.Errorf("making a nonce: %w", err)
	}
	nonce.SetBit(nonce, 63, 1) // never short, so never mistaken for absent
	der, err = asn1.Marshal(timeStampReq{Version: 1, MessageImprint: messageImprint{sha256Identifier(), digest[:]},
		ReqPolicy: policy, Nonce: nonce, CertReq: true})
	if err != nil {
		return nil, nil, fmt.Errorf("encoding the time-stamp request: %w", err)
	}
	return der, nonce, nil
}

// Stamp asks the authority for a token over digest and verifies everything about the answer before it
// returns it: status, imprint, nonce, policy, time, signature, certificate and chain.
func (t *TSA) Stamp(ctx context.Context, digest [32]byte) (*Stamp, error) {
	request, nonce, err := newStampRequest(digest, t.Policy)
	if err != nil {
		return nil, err
	}
	response, err := t.post(ctx, request)
	if err != nil {
		return nil, err
	}
	now := t.Now
	if now == nil {
		now = time.Now
	}
	skew := t.Skew
	if skew == 0 {
		skew = defaultStampSkew
	}
	at := now()
	stamp, info, err := verifyResponse(response, digest, StampTrust{Roots: t.Roots, Intermediates: t.Intermediates, At: at})
	if err != nil {
		return nil, err
	}
	switch {
	case info.nonce == nil || info.nonce.Cmp(nonce) != 0:
		return nil, ErrStampNonce
	case len(t.Policy) > 0 && !info.policy.Equal(t.Policy):
		return nil, fmt.Errorf("%w: %s, asked for %s", ErrStampPolicy, info.policy, t.Policy)
	case stamp.Time.Sub(at).Abs() > skew:
		return nil, fmt.Errorf("%w: %s against %s", ErrStampTime, stamp.Time.Format(time.RFC3339), at.UTC().Format(time.RFC3339))
	}
	stamp.Request = request
	return stamp, nil
}

func (t *TSA) post(ctx context.Context, request []byte) ([]byte, error) {
	limit := t.Timeout
	if limit == 0 {
		limit = defaultStampLimit
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	call, err := http.NewRequestWithContext(ctx, http.MethodPost, t.URL, bytes.NewReader(request))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStampTransport, err)
	}
	call.Header.Set("Content-Type", "application/timestamp-query")
	call.Header.Set("Accept", "application/timestamp-reply")
	if t.User != "" {
		call.SetBasicAuth(t.User, t.Password)
	}
	client := t.Client
	if client == nil {
		// A redirect would turn the POST into a GET, or carry the credentials elsewhere.
		client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	answer, err := client.Do(call)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStampTransport, err)
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%w: HTTP status %d", ErrStampTransport, answer.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxStampResponse+1))
	if err != nil {
		return nil, fmt.Errorf("%w: reading the answer: %w", ErrStampTransport, err)
	}
	if len(body) > maxStampResponse {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrStampMalformed, maxStampResponse)
	}
	return body, nil
}

// Stampers asks authorities in order and takes the first good stamp: it goes on to the next on a broken
// connection, on a refusal and on an answer that does not verify alike. The error names every failure, by
// position from 1; the context's end stops the search.
type Stampers []Stamper

// Stamp implements Stamper.
func (s Stampers) Stamp(ctx context.Context, digest [32]byte) (*Stamp, error) {
	if len(s) == 0 {
		return nil, errors.New("no time-stamp authority is configured")
	}
	var failures []error
	for i, authority := range s {
		stamp, err := authority.Stamp(ctx, digest)
		if err == nil {
			return stamp, nil
		}
		failures = append(failures, fmt.Errorf("authority %d: %w", i+1, err))
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(failures...)
}

// ParsePolicy reads a policy identifier in dotted form, such as "1.3.6.1.4.1.29741.1.1.1"; "" is nil, any policy.
func ParsePolicy(dotted string) (asn1.ObjectIdentifier, error) {
	if dotted == "" {
		return nil, nil
	}
	var oid asn1.ObjectIdentifier
	for _, part := range strings.Split(dotted, ".") {
		n, err := strconv.ParseUint(part, 10, 31)
		if err != nil {
			return nil, fmt.Errorf("policy %q: want numbers separated by dots, as 1.3.6.1.4.1.99999.1", dotted)
		}
		oid = append(oid, int(n))
	}
	if _, err := asn1.Marshal(oid); err != nil {
		return nil, fmt.Errorf("policy %q is not an object identifier: it begins 0., 1. or 2. and has two numbers or more", dotted)
	}
	return oid, nil
}

package signing

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strings"
	"time"

	"github.com/digitorus/pkcs7"
	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// The words that must stand in the common name of a TestTSA's certificate: whoever reads a token of it,
// with any tool, reads what it is worth.
const (
	TestTSAMark   = "TEST TSA"
	TestTSANotice = "not for use"
)

// testTSAPolicy is below the example arc of RFC 5612's private enterprise numbers: it binds nobody.
var testTSAPolicy = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 32473, 3161}

// TestTSA is a time-stamp authority inside the process, for the demo and for tests: its clock is the
// machine's own and its key nobody's duty, so its tokens prove nothing to third parties. It is a Stamper,
// and an http.Handler that answers application/timestamp-query. Safe for concurrent use.
type TestTSA struct {
	Now func() time.Time // nil: time.Now; set before first use

	certificate *x509.Certificate
	chain       []*x509.Certificate
	key         crypto.Signer
}

// NewTestTSA makes a test authority of a key, its certificate and the chain above it (sent in the tokens,
// root included; the last of chain is the root that Stamp trusts). A certificate whose name does not say
// "TEST TSA … not for use" is refused: no real authority's key belongs here.
func NewTestTSA(key crypto.Signer, certificate *x509.Certificate, chain []*x509.Certificate) (*TestTSA, error) {
	if name := certificate.Subject.CommonName; !strings.Contains(name, TestTSAMark) || !strings.Contains(name, TestTSANotice) {
		return nil, fmt.Errorf("test authority: certificate %q is not marked: its common name must hold %q and %q", name, TestTSAMark, TestTSANotice)
	}
	if len(chain) == 0 {
		return nil, errors.New("test authority: no chain: give the certificates above it, root last")
	}
	if err := checkKeyPair(key, certificate); err != nil {
		return nil, fmt.Errorf("test authority: %w", err)
	}
	if err := checkStampingUsage(certificate); err != nil {
		return nil, fmt.Errorf("test authority: certificate: %w", err)
	}
	return &TestTSA{key: key, certificate: certificate, chain: chain}, nil
}

// Certificates gives the authority's certificate and the chain above it, root last.
func (t *TestTSA) Certificates() []*x509.Certificate {
	return append([]*x509.Certificate{t.certificate}, t.chain...)
}

func (t *TestTSA) now() time.Time {
	if t.Now != nil {
		return t.Now()
	}
	return time.Now()
}

// Stamp implements Stamper without a network, through the same bytes and the same checks as over HTTP.
func (t *TestTSA) Stamp(ctx context.Context, digest [32]byte) (*Stamp, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	request, _, err := newStampRequest(digest, nil)
	if err != nil {
		return nil, err
	}
	response, err := t.Respond(request)
	if err != nil {
		return nil, err
	}
	stamp, err := VerifyStamp(response, digest, t.chain[len(t.chain)-1:], time.Time{})
	if err != nil {
		return nil, fmt.Errorf("test authority: own answer: %w", err)
	}
	stamp.Request = request
	return stamp, nil
}

// ServeHTTP answers a POST of a TimeStampReq of at most 8 KiB (RFC 3161, section 3.4).
func (t *TestTSA) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "post a time-stamp request", http.StatusMethodNotAllowed)
		return
	}
	if kind := r.Header.Get("Content-Type"); kind != "application/timestamp-query" {
		http.Error(w, "want application/timestamp-query", http.StatusUnsupportedMediaType)
		return
	}
	request, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxStampRequest))
	if err != nil {
		http.Error(w, "request not read whole, or too large", http.StatusRequestEntityTooLarge)
		return
	}
	response, err := t.Respond(request)
	if err != nil {
		http.Error(w, "no time-stamp could be made", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/timestamp-reply")
	_, _ = w.Write(response) // a caller that has gone away needs no answer
}

// PKIFailureInfo bits (RFC 3161, section 2.4.2).
const (
	failBadAlgorithm  = 0
	failBadDataFormat = 5
	failPolicy        = 15
	failExtension     = 16
)

// Respond answers one TimeStampReq in DER with a TimeStampResp in DER; a request that it does not take is a
// rejection in the answer, not an error.
func (t *TestTSA) Respond(request []byte) ([]byte, error) {
	asked, failure, why := parseStampRequest(request)
	if asked == nil {
		return rejection(2, failure, why)
	}
	token, err := t.token(asked)
	if err != nil {
		return nil, fmt.Errorf("test authority: %w", err)
	}
	return grant(0, token)
}

func parseStampRequest(der []byte) (asked *timeStampReq, failure int, why string) {
	in := cryptobyte.String(der)
	var body, imprint, algorithm, digest cryptobyte.String
	var oid asn1.ObjectIdentifier
	asked = &timeStampReq{ReqPolicy: testTSAPolicy}
	if !in.ReadASN1(&body, cbasn1.SEQUENCE) || !in.Empty() || !body.ReadASN1Integer(&asked.Version) || asked.Version != 1 ||
		!body.ReadASN1(&imprint, cbasn1.SEQUENCE) || !imprint.ReadASN1(&algorithm, cbasn1.SEQUENCE) || !algorithm.ReadASN1ObjectIdentifier(&oid) ||
		!imprint.ReadASN1(&digest, cbasn1.OCTET_STRING) || !imprint.Empty() {
		return nil, failBadDataFormat, "not a TimeStampReq of version 1"
	}
	if !oid.Equal(oidSHA256) || len(digest) != 32 {
		return nil, failBadAlgorithm, "only SHA-256"
	}
	asked.MessageImprint = messageImprint{sha256Identifier(), []byte(digest)}
	if body.PeekASN1Tag(cbasn1.OBJECT_IDENTIFIER) {
		if !body.ReadASN1ObjectIdentifier(&oid) || !oid.Equal(testTSAPolicy) {
			return nil, failPolicy, "only the test policy"
		}
	}
	if body.PeekASN1Tag(cbasn1.INTEGER) {
		asked.Nonce = new(big.Int)
		if !body.ReadASN1Integer(asked.Nonce) {
			return nil, failBadDataFormat, "nonce"
		}
	}
	if body.PeekASN1Tag(cbasn1.BOOLEAN) && !body.ReadASN1Boolean(&asked.CertReq) {
		return nil, failBadDataFormat, "certReq"
	}
	if !body.Empty() {
		return nil, failExtension, "no extensions"
	}
	return asked, 0, ""
}

// accuracy of the test authority's clock.
type accuracy struct {
	Seconds int `asn1:"optional"`
}

type tstInfoDER struct {
	Version        int
	Policy         asn1.ObjectIdentifier
	MessageImprint messageImprint
	Serial         *big.Int
	GenTime        time.Time `asn1:"generalized"`
	Accuracy       accuracy  `asn1:"optional"`
	Nonce          *big.Int  `asn1:"optional"`
}

func (t *TestTSA) token(asked *timeStampReq) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 64))
	if err != nil {
		return nil, fmt.Errorf("making a serial number: %w", err)
	}
	info, err := asn1.Marshal(tstInfoDER{Version: 1, Policy: asked.ReqPolicy, MessageImprint: asked.MessageImprint, Serial: serial,
		GenTime: t.now().UTC().Truncate(time.Second), Accuracy: accuracy{Seconds: 1}, Nonce: asked.Nonce})
	if err != nil {
		return nil, fmt.Errorf("encoding TSTInfo: %w", err)
	}
	signed, err := pkcs7.NewSignedData(info)
	if err != nil {
		return nil, fmt.Errorf("preparing the token: %w", err)
	}
	signed.SetDigestAlgorithm(oidSHA256)
	signed.SetContentType(oidTSTInfo)
	attribute := pkcs7.Attribute{Type: oidSigningCertV2, Value: newSigningCertificate(t.certificate)}
	config := pkcs7.SignerInfoConfig{ExtraSignedAttributes: []pkcs7.Attribute{attribute}, SkipCertificates: !asked.CertReq}
	if err := signed.AddSigner(t.certificate, t.key, config); err != nil {
		return nil, fmt.Errorf("signing the token: %w", err)
	}
	if asked.CertReq {
		for _, c := range t.chain {
			signed.AddCertificate(c)
		}
	}
	signed.GetSignedData().Version = 3 // RFC 5652, section 5.1: the content is not id-data
	setAlgorithmParameters(&signed.GetSignedData().SignerInfos[0].DigestEncryptionAlgorithm)
	return signed.Finish()
}

type statusInfo struct {
	Status  int
	Text    []asn1.RawValue `asn1:"optional,omitempty"`
	Failure asn1.BitString  `asn1:"optional"`
}

func rejection(status, failure int, why string) ([]byte, error) {
	bits := asn1.BitString{Bytes: make([]byte, failure/8+1), BitLength: failure + 1}
	bits.Bytes[failure/8] = 0x80 >> (failure % 8)
	return asn1.Marshal(struct{ Status statusInfo }{statusInfo{Status: status,
		Text: []asn1.RawValue{{Tag: asn1.TagUTF8String, Bytes: []byte(why)}}, Failure: bits}})
}

func grant(status int, token []byte) ([]byte, error) {
	return asn1.Marshal(struct {
		Status statusInfo
		Token  asn1.RawValue
	}{statusInfo{Status: status}, asn1.RawValue{FullBytes: token}})
}

// setAlgorithmParameters writes the NULL that RFC 4055, section 5 asks of RSA and that pkcs7 leaves out.
func setAlgorithmParameters(algorithm *pkix.AlgorithmIdentifier) {
	if strings.HasPrefix(algorithm.Algorithm.String(), "1.2.840.113549.1.1.") {
		algorithm.Parameters = asn1.NullRawValue
	}
}

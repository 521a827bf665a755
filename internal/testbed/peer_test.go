package testbed

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf16"
)

// testCA signs the certificates of one test.
type testCA struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newTestCA(t *testing.T, name string) testCA {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return testCA{certificate, key}
}

func (ca testCA) issue(t *testing.T, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.certificate, &key.PublicKey, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (ca testCA) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.certificate)
	return pool
}

func (ca testCA) server(t *testing.T, name string) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{ca.issue(t, name)}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool()}
}

// client is a caller with a certificate of ca that trusts trusted.
func (ca testCA) client(t *testing.T, name string, trusted testCA, http2 bool) *http.Client {
	transport := &http.Transport{ForceAttemptHTTP2: http2, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12,
		Certificates: []tls.Certificate{ca.issue(t, name)}, RootCAs: trusted.pool()}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func startPeer(t *testing.T, o PeerOptions) *Peer {
	t.Helper()
	p, err := NewPeer(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// Whatever the encoding, the peer answers the operation and says the digest of the bytes that it received.
func TestOddEncodings(t *testing.T) {
	ca := newTestCA(t, "CA")
	logFile := filepath.Join(t.TempDir(), "node.jsonl")
	p := startPeer(t, PeerOptions{Role: RoleNode, TLS: ca.server(t, "node"), Log: logFile})
	client := ca.client(t, "psp", ca, false)
	plain, err := soapRequest("verifyPaymentNotice", nil)
	if err != nil {
		t.Fatal(err)
	}
	plain = bytes.Replace(plain, []byte("segnaposto-01"), []byte("perché-01"), 1)
	declared := func(encoding string) string {
		return strings.Replace(string(plain), `encoding="UTF-8"`, `encoding="`+encoding+`"`, 1)
	}
	var latin1, packed bytes.Buffer
	for _, r := range declared("ISO-8859-1") {
		latin1.WriteByte(byte(r))
	}
	z := gzip.NewWriter(&packed)
	_, _ = z.Write(plain)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	wide := func(order binary.AppendByteOrder) (out []byte) {
		for _, u := range utf16.Encode([]rune("\uFEFF" + declared("UTF-16"))) {
			out = order.AppendUint16(out, u)
		}
		return out
	}
	multipart := "--b\r\nContent-Type: application/octet-stream\r\nContent-ID: <other@x>\r\n\r\n<not>the root\r\n" +
		"--b\r\nContent-Type: application/xop+xml; charset=UTF-8\r\nContent-ID: <root@x>\r\n\r\n" + string(plain) + "\r\n--b--\r\n"
	for name, c := range map[string]struct {
		contentType, coding string
		body                []byte
		chunked             bool
	}{
		"utf-8":                  {contentType: xmlContentType, body: plain},
		"chunked":                {contentType: xmlContentType, body: plain, chunked: true},
		"byte order mark":        {contentType: "text/xml", body: append([]byte("\xEF\xBB\xBF"), plain...)},
		"latin-1 by header":      {contentType: "text/xml; charset=ISO-8859-1", body: latin1.Bytes()},
		"latin-1 by declaration": {contentType: "text/xml", body: latin1.Bytes()},
		"utf-16 little endian":   {contentType: "text/xml; charset=utf-16", body: wide(binary.LittleEndian)},
		"utf-16 big endian":      {contentType: "text/xml", body: wide(binary.BigEndian)},
		"gzip":                   {contentType: xmlContentType, coding: "gzip", body: packed.Bytes()},
		"multipart":              {contentType: `multipart/related; type="application/xop+xml"; start="<root@x>"; start-info="text/xml"; boundary=b`, body: []byte(multipart)},
	} {
		var content io.Reader = bytes.NewReader(c.body)
		if c.chunked {
			content = io.MultiReader(content) // net/http does not know its length
		}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.URL()+pathNodeForPSP, content)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", c.contentType)
		if c.coding != "" {
			request.Header.Set("Content-Encoding", c.coding)
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		sum := sha256.Sum256(c.body)
		if got := response.Header.Get("Demo-Received-SHA256"); got != hex.EncodeToString(sum[:]) {
			t.Errorf("%s: Demo-Received-SHA256 is %s, want %x", name, got, sum)
		}
		if _, outcome := soapOutcome(body); outcome != "OK" || response.Header.Get("Content-Type") != xmlContentType {
			t.Errorf("%s: status %d, outcome %q, content type %q", name, response.StatusCode, outcome, response.Header.Get("Content-Type"))
		}
		last := lastLine(t, logFile)
		answerSum := sha256.Sum256(body)
		if last.SHA256 != hex.EncodeToString(sum[:]) || last.AnswerSHA256 != hex.EncodeToString(answerSum[:]) || last.Size != len(c.body) ||
			last.Status != 200 || last.Operation != "verifyPaymentNotice" || last.Path != pathNodeForPSP || last.Peer != RoleNode {
			t.Errorf("%s: log line %+v", name, last)
		}
	}
	text, err := os.ReadFile(logFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, personal := range []string{"302000100000012345", "02000100000012345", "John Doe"} {
		if bytes.Contains(text, []byte(personal)) {
			t.Errorf("the log holds %q", personal)
		}
	}
}

func lastLine(t *testing.T, file string) received {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	var r received
	if err := json.Unmarshal(lines[len(lines)-1], &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestBehaviours(t *testing.T) {
	ca := newTestCA(t, "CA")
	const big = 3 << 20
	p := startPeer(t, PeerOptions{Role: RoleEC, TLS: ca.server(t, "ec"), BigAnswer: big})
	body, err := soapRequest("paGetPayment", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, http2 := range []bool{false, true} {
		client := ca.client(t, "node", ca, http2)
		m := message{method: http.MethodPost, url: p.URL(), contentType: xmlContentType, action: "paGetPayment", body: body}

		m.behaviour = BehaviourKO
		answer, err := send(t.Context(), client, m)
		if _, outcome := soapOutcome(answer.body); err != nil || outcome != "KO PAA_PAGAMENTO_SCONOSCIUTO" {
			t.Errorf("http2 %t, ko: outcome %q, error %v", http2, outcome, err)
		}
		m.behaviour = BehaviourBig
		answer, err = send(t.Context(), client, m)
		if _, outcome := soapOutcome(answer.body); err != nil || outcome != "OK" || len(answer.body) != big {
			t.Errorf("http2 %t, big: %d bytes, outcome %q, error %v", http2, len(answer.body), outcome, err)
		}
		m.behaviour = BehaviourBreak
		if answer, err = send(t.Context(), client, m); err == nil {
			t.Errorf("http2 %t, break: a whole answer with status %d", http2, answer.status)
		}
		m.behaviour = BehaviourHang
		ctx, leave := context.WithCancel(t.Context())
		before := p.Hung()
		failed := make(chan error, 1)
		go func() {
			_, err := send(ctx, client, m)
			failed <- err
		}()
		if err := p.WaitHung(t.Context(), before+1); err != nil {
			t.Fatal(err)
		}
		leave()
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Errorf("http2 %t, hang: error %v, want canceled", http2, err)
		}
	}
}

// Close ends what hangs.
func TestCloseWhileHanging(t *testing.T) {
	ca := newTestCA(t, "CA")
	p, err := NewPeer(PeerOptions{Role: RoleEC, TLS: ca.server(t, "ec")})
	if err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	client := ca.client(t, "node", ca, false)
	go func() {
		_, err := send(context.Background(), client, message{method: http.MethodPost, url: p.URL(), behaviour: BehaviourHang})
		failed <- err
	}()
	if err := p.WaitHung(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if err := <-failed; err == nil {
		t.Error("a hanging request got an answer")
	}
}

func TestPeerAsksForCertificate(t *testing.T) {
	ca, other := newTestCA(t, "CA"), newTestCA(t, "other")
	p := startPeer(t, PeerOptions{Role: RoleEC, TLS: ca.server(t, "ec")})
	if _, err := send(t.Context(), other.client(t, "node", ca, false), message{method: http.MethodGet, url: p.URL()}); err == nil {
		t.Error("a certificate of an unknown CA was accepted")
	}
	if _, err := NewPeer(PeerOptions{Role: RoleEC}); err == nil {
		t.Error("a peer without TLS started")
	}
}

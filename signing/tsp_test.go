package signing_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigillo/signing"
)

// opensslTSA is an authority that is not our code: `openssl ts -reply` behind HTTP. change may alter the
// request before it is answered and the answer after.
type opensslTSA struct {
	t        *testing.T
	b        *bed
	settings string // lines for the [tsa] section
	query    func(*opensslTSA, []byte) []byte
	answer   func([]byte) []byte
}

func (o *opensslTSA) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	request, err := io.ReadAll(io.LimitReader(r.Body, 8<<10))
	if err != nil || r.Header.Get("Content-Type") != "application/timestamp-query" {
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	if o.query != nil {
		request = o.query(o, request)
	}
	dir := o.t.TempDir()
	config := filepath.Join(dir, "ts.cnf")
	text := fmt.Sprintf(`[ts]
default_tsa = tsa
[tsa]
serial = %s/serial
crypto_device = builtin
signer_digest = sha256
default_policy = 1.2.3.4.1
other_policies = 1.2.3.4.5
digests = sha256
accuracy = secs:1
clock_precision_digits = 3
ordering = yes
tsa_name = yes
ess_cert_id_alg = sha256
%s`, dir, o.settings)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		o.t.Error(err)
	}
	in, out := filepath.Join(dir, "q.tsq"), filepath.Join(dir, "r.tsr")
	if err := os.WriteFile(in, request, 0o600); err != nil {
		o.t.Error(err)
	}
	said, err := openssl(o.t, "ts", "-reply", "-config", config, "-section", "tsa", "-queryfile", in, "-signer", filepath.Join(o.b.dir, "tsa.pem"),
		"-inkey", filepath.Join(o.b.dir, "tsa.key"), "-chain", filepath.Join(o.b.dir, "tsa-root.pem"), "-out", out)
	response, readErr := os.ReadFile(out)
	if err != nil || readErr != nil {
		o.t.Errorf("openssl ts -reply: %v %s", err, said)
	}
	if o.answer != nil {
		response = o.answer(response)
	}
	w.Header().Set("Content-Type", "application/timestamp-reply")
	_, _ = w.Write(response)
}

// ask makes another request with openssl, for the same digest unless given one.
func ask(digest string, more ...string) func(*opensslTSA, []byte) []byte {
	return func(o *opensslTSA, _ []byte) []byte {
		out := filepath.Join(o.t.TempDir(), "other.tsq")
		said, err := openssl(o.t, append([]string{"ts", "-query", "-digest", digest, "-sha256", "-out", out}, more...)...)
		if err != nil {
			o.t.Error(said)
		}
		request, err := os.ReadFile(out)
		if err != nil {
			o.t.Error(err)
		}
		return request
	}
}

func (b *bed) client(t *testing.T, handler http.Handler) *signing.TSA {
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return &signing.TSA{URL: server.URL, Roots: oneRoot(b.pki.TSARoot.Certificate), Client: server.Client()}
}

// judge asks openssl about a stored answer.
func (b *bed) judge(t *testing.T, stamp *signing.Stamp, data []byte) {
	t.Helper()
	tsr, tsq := b.file(t, "s.tsr", stamp.Response), b.file(t, "s.tsq", stamp.Request)
	if said, err := openssl(t, "ts", "-verify", "-in", tsr, "-queryfile", tsq, "-CAfile", b.pki.RootsFile()); err != nil {
		t.Errorf("openssl against the request: %s", said)
	}
	if said, err := openssl(t, "ts", "-verify", "-in", tsr, "-data", b.file(t, "s.data", data), "-CAfile", b.pki.RootsFile(), "-untrusted", b.pki.IntermediatesFile()); err != nil {
		t.Errorf("openssl against the data: %s", said)
	}
	if said, err := openssl(t, "ts", "-verify", "-in", tsr, "-data", b.file(t, "s.data", append([]byte("x"), data...)), "-CAfile", b.pki.RootsFile()); err == nil {
		t.Errorf("openssl accepts other data: %s", said)
	}
}

func TestTestAuthorityJudgedByOpenSSL(t *testing.T) {
	b := newBed(t, ecKey(t))
	data := []byte("sigillo.example.it/ec\n42\nroot\n")
	for name, stamper := range map[string]signing.Stamper{"in process": b.tsa, "over HTTP": b.client(t, b.tsa)} {
		stamp, err := stamper.Stamp(t.Context(), sha256.Sum256(data))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		b.judge(t, stamp, data)
		if stamp.Authority != sha256.Sum256(b.pki.TSACertificate.Raw) || len(stamp.Certificates) != 2 || time.Since(stamp.Time).Abs() > time.Minute {
			t.Errorf("%s: %+v", name, stamp)
		}
		text, err := openssl(t, "ts", "-reply", "-in", b.file(t, "t.tsr", stamp.Response), "-text")
		if err != nil || !strings.Contains(text, "Status: Granted") || !strings.Contains(text, "Time stamp: ") {
			t.Errorf("%s: %v %s", name, err, text)
		}
		// A4: what the authority is worth is readable in the token
		if printed, err := openssl(t, "pkcs7", "-inform", "DER", "-in", b.file(t, "t.tst", stamp.Token), "-print_certs", "-noout"); err != nil || !strings.Contains(printed, "TEST TSA - not for use") {
			t.Errorf("%s: %v %s", name, err, printed)
		}
	}
}

// openssl's requests answered by our authority: with nonce and without, with certificates and without.
func TestTestAuthorityAnswersOpenSSL(t *testing.T) {
	b := newBed(t, ecKey(t))
	digest := sha256.Sum256([]byte("data"))
	for _, more := range [][]string{{"-cert"}, {"-cert", "-no_nonce"}, {}, {"-no_nonce"}} {
		request := ask(hex.EncodeToString(digest[:]), more...)(&opensslTSA{t: t, b: b}, nil)
		response, err := b.tsa.Respond(request)
		if err != nil {
			t.Fatal(err)
		}
		said, err := openssl(t, "ts", "-verify", "-in", b.file(t, "a.tsr", response), "-queryfile", b.file(t, "a.tsq", request),
			"-CAfile", b.pki.RootsFile(), "-untrusted", b.pki.IntermediatesFile())
		if err != nil {
			t.Errorf("%v: %s", more, said)
		}
	}
	for name, request := range map[string][]byte{"garbage": []byte("garbage"), "SHA-512": ask(strings.Repeat("ab", 64), "-sha512")(&opensslTSA{t: t, b: b}, nil),
		"policy": ask(hex.EncodeToString(digest[:]), "-tspolicy", "1.2.3")(&opensslTSA{t: t, b: b}, nil)} {
		response, err := b.tsa.Respond(request)
		if err != nil {
			t.Fatal(err)
		}
		text, err := openssl(t, "ts", "-reply", "-in", b.file(t, "a.tsr", response), "-text")
		if err != nil || !strings.Contains(text, "Status: Rejected") {
			t.Errorf("%s: %v %s", name, err, text)
		}
		_, err = signing.VerifyStamp(response, digest, b.pki.Roots(), time.Time{})
		var refused *signing.StampRefusedError
		if expectError(t, err, signing.ErrStampRefused); !errors.As(err, &refused) || refused.Status != 2 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A7: our client against openssl's authority, both identifiers of the certificate, with and without policy.
func TestClientAgainstOpenSSL(t *testing.T) {
	b := newBed(t, ecKey(t))
	data := []byte("checkpoint")
	for _, settings := range []string{"", "ess_cert_id_alg = sha1", "ess_cert_id_chain = yes", "signer_digest = sha512"} {
		stamp, err := b.client(t, &opensslTSA{t: t, b: b, settings: settings}).Stamp(t.Context(), sha256.Sum256(data))
		if err != nil {
			t.Errorf("%q: %v", settings, err)
			continue
		}
		b.judge(t, stamp, data)
		if again, err := signing.VerifyStamp(stamp.Response, sha256.Sum256(data), b.pki.Roots(), time.Time{}); err != nil || !again.Time.Equal(stamp.Time) {
			t.Errorf("%q stored: %v", settings, err)
		}
	}
	policy, err := signing.ParsePolicy("1.2.3.4.5")
	if err != nil {
		t.Fatal(err)
	}
	client := b.client(t, &opensslTSA{t: t, b: b})
	client.Policy = policy
	if _, err := client.Stamp(t.Context(), sha256.Sum256(data)); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"x", "1", "3.1", "1..2", "1.99.1", "-1.2"} {
		if _, err := signing.ParsePolicy(bad); err == nil {
			t.Errorf("policy %q is accepted", bad)
		}
	}
	// a seal with that authority's time-stamp, judged as a whole
	b.seal.Stamper = b.client(t, &opensslTSA{t: t, b: b})
	p7m := b.make(t, data)
	if _, said, err := b.cmsVerify(t, p7m, time.Now(), "-cades", "-crl_check_all"); err != nil {
		t.Error(said)
	}
	_, findings := signing.VerifySeal(p7m, b.options(time.Now()))
	expectChecks(t, findings)
}

// A8: what an authority can do wrong, and what the client makes of it.
func TestMisbehaviour(t *testing.T) {
	b := newBed(t, ecKey(t))
	digest := sha256.Sum256([]byte("data"))
	own := hex.EncodeToString(digest[:])
	replace := func(old, with string) func([]byte) []byte {
		return func(der []byte) []byte { return bytes.Replace(der, []byte(old), []byte(with), 1) }
	}
	status := func(code int) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
	}
	text := func(s string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, s) })
	}
	late := *b.tsa
	late.Now = func() time.Time { return time.Now().Add(-6 * time.Minute) }
	for name, c := range map[string]struct {
		handler http.Handler
		want    error
	}{
		"granted with modifications": {&opensslTSA{answer: replace("\x30\x03\x02\x01\x00", "\x30\x03\x02\x01\x01")}, nil},
		"status 2":                   {&opensslTSA{query: ask(own, "-cert", "-tspolicy", "1.2.9")}, signing.ErrStampRefused},
		"status 3, no token":         {text("\x30\x05\x30\x03\x02\x01\x03"), signing.ErrStampRefused},
		"granted, no token":          {text("\x30\x05\x30\x03\x02\x01\x00"), signing.ErrStampMalformed},
		"another digest":             {&opensslTSA{query: ask(strings.Repeat("00", 32), "-cert")}, signing.ErrStampImprint},
		"another nonce":              {&opensslTSA{query: ask(own, "-cert")}, signing.ErrStampNonce},
		"no nonce":                   {&opensslTSA{query: ask(own, "-cert", "-no_nonce")}, signing.ErrStampNonce},
		"no certificates":            {&opensslTSA{query: ask(own)}, signing.ErrStampCertificate},
		"byte of the token changed":  {&opensslTSA{answer: func(der []byte) []byte { der[len(der)-1] ^= 1; return der }}, signing.ErrStampSignature},
		"something after the answer": {&opensslTSA{answer: func(der []byte) []byte { return append(der, 0) }}, signing.ErrStampMalformed},
		"clock 6 minutes late":       {&late, signing.ErrStampTime},
		"garbage":                    {text("<html>please log in</html>"), signing.ErrStampMalformed},
		"empty":                      {text(""), signing.ErrStampMalformed},
		"endless":                    {text(strings.Repeat("\x30", 1<<20)), signing.ErrStampMalformed},
		"HTTP 500":                   {status(500), signing.ErrStampTransport},
		"HTTP 401":                   {status(401), signing.ErrStampTransport},
		"redirect":                   {http.RedirectHandler("/elsewhere", http.StatusFound), signing.ErrStampTransport},
	} {
		if o, ok := c.handler.(*opensslTSA); ok {
			o.t, o.b = t, b
		}
		stamp, err := b.client(t, c.handler).Stamp(t.Context(), digest)
		if !errors.Is(err, c.want) || (c.want == nil) != (stamp != nil) {
			t.Errorf("%s: error %v, want %v", name, err, c.want)
		}
	}
	client := b.client(t, b.tsa)
	client.Policy, _ = signing.ParsePolicy("1.2.3.4.5")
	_, err := client.Stamp(t.Context(), digest)
	expectError(t, err, signing.ErrStampRefused)
	client = b.client(t, b.tsa)
	client.Roots = oneRoot(b.pki.TLSRoot.Certificate)
	_, err = client.Stamp(t.Context(), digest)
	expectError(t, err, signing.ErrStampChain)
	client.Roots = nil
	_, err = client.Stamp(t.Context(), digest)
	expectError(t, err, signing.ErrStampChain)
}

// An authority that answers under a policy that was not asked for.
func TestOtherPolicy(t *testing.T) {
	b := newBed(t, ecKey(t))
	policy, _ := signing.ParsePolicy("1.2.3.4.5")
	strip := func(_ *opensslTSA, request []byte) []byte { // the OID 1.2.3.4.5 to the allowed default 1.2.3.4.1
		return bytes.Replace(request, []byte{0x06, 0x04, 0x2a, 3, 4, 5}, []byte{0x06, 0x04, 0x2a, 3, 4, 1}, 1)
	}
	client := b.client(t, &opensslTSA{t: t, b: b, query: strip})
	client.Policy = policy
	_, err := client.Stamp(t.Context(), sha256.Sum256(nil))
	expectError(t, err, signing.ErrStampPolicy)
}

func TestSilentAuthorityAndFailover(t *testing.T) {
	b := newBed(t, ecKey(t))
	silent := b.client(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // so that the server watches the connection
		<-r.Context().Done()
	}))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := silent.Stamp(ctx, sha256.Sum256(nil))
	expectError(t, err, context.DeadlineExceeded)
	expectError(t, err, signing.ErrStampTransport)

	closed := httptest.NewServer(nil)
	closed.Close()
	silent.Timeout = 50 * time.Millisecond
	lying := b.client(t, b.tsa)
	lying.Roots = oneRoot(b.pki.SealRoot.Certificate)
	list := signing.Stampers{&signing.TSA{URL: closed.URL, User: "ente", Password: "segretissima"}, silent, lying}
	_, err = list.Stamp(t.Context(), sha256.Sum256(nil))
	if err == nil || strings.Contains(err.Error(), "segretissima") || !errors.Is(err, signing.ErrStampChain) || !errors.Is(err, signing.ErrStampTransport) {
		t.Errorf("all fail: %v", err)
	}
	if stamp, err := append(list, b.client(t, b.tsa)).Stamp(t.Context(), sha256.Sum256(nil)); err != nil || stamp == nil {
		t.Errorf("the fourth is good: %v", err)
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	counted := new(refusingStamper)
	_, err = signing.Stampers{counted, counted}.Stamp(stopped, sha256.Sum256(nil))
	if err == nil || counted.calls != 1 {
		t.Errorf("went on after the context ended: %d calls, %v", counted.calls, err)
	}
	if _, err := (signing.Stampers{}).Stamp(t.Context(), sha256.Sum256(nil)); err == nil {
		t.Error("an empty list gave a stamp")
	}
}

func TestBasicCredentials(t *testing.T) {
	b := newBed(t, ecKey(t))
	client := b.client(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "ente" || password != "segreto" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		b.tsa.ServeHTTP(w, r)
	}))
	_, err := client.Stamp(t.Context(), sha256.Sum256(nil))
	expectError(t, err, signing.ErrStampTransport)
	client.User, client.Password = "ente", "segreto"
	if _, err := client.Stamp(t.Context(), sha256.Sum256(nil)); err != nil {
		t.Error(err)
	}
}

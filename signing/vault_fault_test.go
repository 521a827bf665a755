package signing

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// between puts a TLS proxy before the real Vault, to inject faults: alter may change a request, and answers
// itself when it says so. The options are those of a client that speaks through it.
func between(t *testing.T, alter func(w http.ResponseWriter, q *http.Request) (answered bool)) VaultOptions {
	t.Helper()
	v := realVault(t)
	roots, err := os.ReadFile(v.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(roots)
	target, err := url.Parse(v.Address)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if !alter(w, q) {
			proxy.ServeHTTP(w, q)
		}
	}))
	t.Cleanup(server.Close)
	ca := filepath.Join(t.TempDir(), "proxy.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return VaultOptions{Address: server.URL, CAFile: ca, Auth: VaultAuth{Token: SecretText(v.RootToken)}}
}

func dial(t *testing.T, o VaultOptions) *Vault {
	t.Helper()
	v, err := DialVault(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = v.Close() })
	return v
}

// withKeys makes the signing keys, in case this test is the first that needs them.
func withKeys(t *testing.T) {
	t.Helper()
	if _, _, err := realVault(t).Prepare(t.Context(), "gateway", policyFile(t, "gateway"), time.Hour); err != nil {
		t.Fatal(err)
	}
}

func isSigning(q *http.Request) bool { return strings.HasPrefix(q.URL.Path, "/v1/transit/sign/") }

// TestOneBadItemOfABatch: Vault says 200 and puts the error at the item; the others are signed.
func TestOneBadItemOfABatch(t *testing.T) {
	withKeys(t)
	v := dial(t, between(t, func(_ http.ResponseWriter, q *http.Request) bool {
		if !isSigning(q) {
			return false
		}
		var body struct {
			Batch   []map[string]string `json:"batch_input"`
			Version int                 `json:"key_version"`
			Form    string              `json:"marshaling_algorithm,omitempty"`
		}
		if err := json.NewDecoder(q.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		body.Batch[1]["input"] = "not base64!"
		b, err := json.Marshal(body)
		if err != nil {
			t.Error(err)
		}
		q.Body, q.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
		return false
	}))
	messages := [][]byte{[]byte("a"), []byte("b"), []byte("c")}
	for _, use := range []Use{UseCheckpoint, UseReceipt} {
		k, err := v.Key(t.Context(), use)
		if err != nil {
			t.Fatal(err)
		}
		signed, err := k.SignBatch(t.Context(), messages)
		if err != nil || len(signed) != 3 {
			t.Fatalf("%s: %d results, %v", use, len(signed), err)
		}
		for i, s := range signed {
			if i == 1 {
				if s.Err == nil || s.Signature != nil {
					t.Errorf("%s: the bad item was signed", use)
				}
			} else if s.Err != nil || !verifies(k.Public(), messages[i], s.Signature) {
				t.Errorf("%s: item %d: %v", use, i, s.Err)
			}
		}
	}
}

// TestLaterCallOfABatchFails: what was signed stays.
func TestLaterCallOfABatchFails(t *testing.T) {
	withKeys(t)
	var calls atomic.Int32
	v := dial(t, between(t, func(w http.ResponseWriter, q *http.Request) bool {
		if !isSigning(q) || calls.Add(1) != 2 {
			return false
		}
		http.Error(w, `{"errors":["Vault is sealed"]}`, http.StatusServiceUnavailable)
		return true
	}))
	k, err := v.Key(t.Context(), UseCheckpoint)
	if err != nil {
		t.Fatal(err)
	}
	messages := make([][]byte, maxBatch+3)
	for i := range messages {
		messages[i] = []byte{byte(i), byte(i >> 8)}
	}
	signed, err := k.SignBatch(t.Context(), messages)
	if err != nil || len(signed) != len(messages) {
		t.Fatalf("%d results, %v", len(signed), err)
	}
	for i, s := range signed {
		if i < maxBatch && (s.Err != nil || !verifies(k.Public(), messages[i], s.Signature)) || i >= maxBatch && !errors.Is(s.Err, ErrUnavailable) {
			t.Fatalf("item %d: %v", i, s.Err)
		}
	}
}

// TestVaultMisbehaves: answers that no Vault should give are errors of the right kind, in bounded time.
func TestVaultMisbehaves(t *testing.T) {
	withKeys(t)
	answer := func(status int, body string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	good := strings.Repeat("A", 86)
	for name, c := range map[string]struct {
		answer      func(http.ResponseWriter, *http.Request)
		unavailable bool
	}{
		"never":           {neverAnswers, true},
		"without end":     {func(w http.ResponseWriter, _ *http.Request) { endless(w) }, true},
		"breaks off":      {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, true},
		"garbage":         {answer(200, "<html>"), true},
		"429":             {answer(429, `{"errors":["slow down"]}`), true},
		"500":             {answer(500, `{"errors":["internal error"]}`), true},
		"standby":         {answer(473, `{"errors":["standby"]}`), false},
		"no data":         {answer(200, "{}"), false},
		"empty":           {answer(204, ""), false},
		"too few":         {answer(200, `{"data":{"batch_results":[]}}`), false},
		"not an object":   {answer(200, `{"data":{"batch_results":["x"]}}`), false},
		"other version":   {answer(200, `{"data":{"batch_results":[{"signature":"vault:v9:`+good+`"}]}}`), false},
		"short signature": {answer(200, `{"data":{"batch_results":[{"signature":"vault:v1:AAAA"}]}}`), false},
		"not a signature": {answer(200, `{"data":{"batch_results":[{"signature":"vault:v1:*"}]}}`), false},
		"redirect to http": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://127.0.0.1:1/")
			w.WriteHeader(307)
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			o := between(t, func(w http.ResponseWriter, q *http.Request) bool {
				if isSigning(q) {
					c.answer(w, q)
				}
				return isSigning(q)
			})
			o.Timeout = 2 * time.Second
			k, err := dial(t, o).Key(t.Context(), UseReceipt)
			if err != nil {
				t.Fatal(err)
			}
			signature, err := k.Sign(t.Context(), []byte("x"))
			if err == nil || signature != nil {
				t.Fatalf("signed: %x", signature)
			}
			if errors.Is(err, ErrUnavailable) != c.unavailable || errors.Is(err, ErrForbidden) {
				t.Errorf("error of the wrong kind: %v", err)
			}
		})
	}
}

// neverAnswers holds a request until its caller goes away, which a server notices once it has read the body.
func neverAnswers(_ http.ResponseWriter, q *http.Request) {
	_, _ = io.Copy(io.Discard, q.Body)
	<-q.Context().Done()
}

func endless(w http.ResponseWriter) {
	_, err := io.WriteString(w, `{"data":{"x":"`)
	for chunk := strings.Repeat("x", 64<<10); err == nil; _, err = io.WriteString(w, chunk) {
	}
}

// TestRenewalThatHangs: a Vault that never answers a renewal does not keep us from logging in again.
func TestRenewalThatHangs(t *testing.T) {
	id, secret, err := realVault(t).Prepare(t.Context(), "gateway", policyFile(t, "gateway"), 4*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	o := between(t, func(_ http.ResponseWriter, q *http.Request) bool {
		if q.URL.Path != "/v1/auth/token/renew-self" {
			return false
		}
		neverAnswers(nil, q)
		return true
	})
	o.Auth, o.Timeout = VaultAuth{RoleID: id, SecretID: SecretText(secret)}, 500*time.Millisecond
	v := dial(t, o)
	first := v.client.Token()
	eventually(t, "a new token", func() bool { return v.client.Token() != first })
}

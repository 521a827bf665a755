package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"sigillo/certs"
	"sigillo/internal/exchange"
	"sigillo/internal/pagopa"
	"sigillo/internal/testbed"
)

// memory is a Recorder that fails when told to: faults that a real ledger cannot be made to show at will.
// What a real one does is tested in cmd/sigillo.
type memory struct {
	mu      sync.Mutex
	kept    []exchange.Record
	counts  map[string]uint64
	refuse  map[exchange.Kind]error
	away    map[exchange.Barrier]bool // barriers that nothing comes to
	late    bool                      // what is refused becomes durable all the same
	pending bool
}

func (m *memory) Record(_ context.Context, r exchange.Record) (exchange.Recorded, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	err := m.refuse[r.Kind]
	if err != nil && !m.late {
		return exchange.Recorded{}, err
	}
	m.kept = append(m.kept, r)
	if err != nil {
		if r.Late != nil {
			r.Late(exchange.Recorded{N: uint64(len(m.kept))})
		}
		return exchange.Recorded{}, err
	}
	return exchange.Recorded{N: uint64(len(m.kept))}, nil
}

func (m *memory) Receipt(ctx context.Context, _ exchange.ID) (string, error) {
	if m.pending {
		<-ctx.Done()
		return "", ctx.Err()
	}
	return "a.b.c", nil
}

func (m *memory) Await(ctx context.Context, _ uint64, b exchange.Barrier) error {
	if m.away[b] {
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func (m *memory) Refusals(_ context.Context, _ time.Time, counts map[string]uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.counts = counts
	return nil
}

func (m *memory) records() []exchange.Record {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]exchange.Record(nil), m.kept...)
}

type allow struct{}

func (allow) Decide(exchange.Question) exchange.Decision {
	return exchange.Decision{Allow: true, Policies: []string{"test"}}
}

// rig is a gateway with one inbound route before an upstream of the test.
type rig struct {
	*Server
	memory *memory
	client *http.Client
	url    string
}

func newRig(t *testing.T, upstream http.HandlerFunc, change func(*Options, *memory)) *rig {
	t.Helper()
	pki, err := testbed.OpenPKI(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	behind := httptest.NewUnstartedServer(upstream)
	if behind.TLS, err = pki.ServerTLS(); err != nil {
		t.Fatal(err)
	}
	behind.StartTLS()
	t.Cleanup(behind.Close)
	node, err := pki.Client("node", "Node")
	if err != nil {
		t.Fatal(err)
	}
	own, err := pki.Client("gateway", "Gateway")
	if err != nil {
		t.Fatal(err)
	}
	server, err := pki.Server()
	if err != nil {
		t.Fatal(err)
	}
	trust, err := certs.NewTrust(pki.Roots())
	if err != nil {
		t.Fatal(err)
	}
	registry, err := certs.NewRegistry([]certs.Participant{{ID: "node:pagopa", Roles: []string{"node"}, Pins: []certs.Pin{{SHA256: fingerprint(node.Certificate.Raw)}}}})
	if err != nil {
		t.Fatal(err)
	}
	catalogue, err := pagopa.Load()
	if err != nil {
		t.Fatal(err)
	}
	to, err := url.Parse(behind.URL + "/base")
	if err != nil {
		t.Fatal(err)
	}
	m := &memory{refuse: map[exchange.Kind]error{}}
	o := Options{Recorder: m, Decider: allow{}, Registry: registry, Catalogue: catalogue, JWKS: []byte(`{"keys":[]}`), SigningTimeout: 50 * time.Millisecond,
		Logger:    slog.New(slog.NewTextHandler(io.Discard, nil)),
		Listeners: []Listener{{Name: "l", Address: "127.0.0.1:0", Certificate: &server.TLS, Trust: trust, Principal: "ec:77777777777", Class: "audit-10y"}},
		Routes: []Route{{Name: "ec-in", Listener: "l", Path: "/ec-in", Direction: NodeToEC, Principal: "ec:77777777777", Class: "audit-10y", Upstream: to,
			TLS:     &tls.Config{RootCAs: pki.TrustTLS(), Certificates: []tls.Certificate{own.TLS}},
			Headers: map[string]Secret{"Ocp-Apim-Subscription-Key": plain("OURSECRET")}, BodyLimit: 1 << 16, ResponseLimit: 1 << 16}}}
	if change != nil {
		change(&o, m)
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Drain(ctx); err != nil {
			t.Error(err)
		}
	})
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: pki.ClientTLS(node), DisableCompression: true}}
	return &rig{s, m, client, "https://" + s.Addr("l").String() + "/ec-in"}
}

type plain string

func (p plain) Reveal() ([]byte, error) { return []byte(p), nil }

const question = `<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body><p:paVerifyPaymentNoticeReq xmlns:p="http://pagopa-api.pagopa.gov.it/pa/paForNode.xsd">` +
	`<idPA>77777777777</idPA><idBrokerPA>77777777777</idBrokerPA><idStation>77777777777_01</idStation><qrCode><fiscalCode>77777777777</fiscalCode>` +
	`<noticeNumber>302000100000012345</noticeNumber></qrCode></p:paVerifyPaymentNoticeReq></e:Body></e:Envelope>`

// ask posts a SOAP question with further header fields and gives status, header and body.
func (r *rig) ask(t *testing.T, path string, fields map[string]string) (*http.Response, string) {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url+path, strings.NewReader(question))
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Content-Type", "text/xml")
	for k, v := range fields {
		q.Header.Set(k, v)
	}
	resp, err := r.client.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

func TestPassesAsItCameAndKeepsSecretsOut(t *testing.T) {
	var got *http.Request
	var body string
	r := newRig(t, func(w http.ResponseWriter, q *http.Request) {
		b, _ := io.ReadAll(q.Body)
		got, body = q, string(b)
		w.Header().Set("X-Upstream", "yes")
		w.Header().Set("Sigillo-Receipt", "forged")
		w.Header().Set("Connection", "X-Hop")
		w.Header().Set("X-Hop", "1")
		_, _ = io.WriteString(w, "answer")
	}, nil)
	resp, answer := r.ask(t, "/a%20b//c?x=1&subscription-key=CALLERSECRET", map[string]string{"Authorization": "Basic CALLERSECRET", "X-Odd": "caf\xe9",
		"Ocp-Apim-Subscription-Key": "CALLERSECRET", "Sigillo-Exchange": "forged", "Cookie": "CALLERSECRET"})
	if resp.StatusCode != 200 || answer != "answer" || resp.Header.Get("X-Upstream") != "yes" || resp.Header.Get("X-Hop") != "" || resp.Header.Get("Sigillo-Receipt") != "a.b.c" {
		t.Errorf("status %d, body %q, header %v", resp.StatusCode, answer, resp.Header)
	}
	if got.RequestURI != "/base/a%20b//c?x=1&subscription-key=CALLERSECRET" || body != question {
		t.Errorf("the upstream was asked %s with %d bytes", got.RequestURI, len(body))
	}
	if got.Header.Get("Ocp-Apim-Subscription-Key") != "OURSECRET" || got.Header.Get("Sigillo-Exchange") != "" || got.Header.Get("X-Odd") != "caf\xe9" || got.Header.Get("Accept-Encoding") != "" {
		t.Errorf("the upstream saw %v", got.Header)
	}
	kept := r.memory.records()
	if len(kept) != 2 || kept[0].Kind != exchange.KindRequest || kept[1].Kind != exchange.KindResponse || kept[0].Operation != "paVerifyPaymentNotice" {
		t.Fatalf("%d records", len(kept))
	}
	for _, rec := range kept {
		for _, m := range rec.Messages {
			if head := string(m.Head); strings.Contains(head, "SECRET") {
				t.Errorf("a credential is on record: %s", head)
			}
		}
	}
	if !strings.Contains(string(kept[0].Messages[0].Head), `["X-Odd","\u0000latin1:café"]`) {
		t.Errorf("a value outside UTF-8 is not kept: %s", kept[0].Messages[0].Head)
	}
}

func TestNothingCrossesWithoutItsEntry(t *testing.T) {
	asked := 0
	upstream := func(w http.ResponseWriter, _ *http.Request) { asked++; _, _ = io.WriteString(w, "UPSTREAMANSWER") }
	for kind, reached := range map[exchange.Kind]int{exchange.KindRequest: 0, exchange.KindResponse: 1} {
		asked = 0
		r := newRig(t, upstream, func(_ *Options, m *memory) { m.refuse[kind] = errors.New("INNER CAUSE") })
		resp, body := r.ask(t, "", nil)
		if resp.StatusCode != 503 || asked != reached || strings.Contains(body, "UPSTREAMANSWER") || strings.Contains(body, "INNER") || resp.Header.Get("Sigillo-Receipt") != "" {
			t.Errorf("%s cannot be recorded: status %d, upstream asked %d times, answer %q", kind, resp.StatusCode, asked, body)
		}
	}
}

func TestReceiptThatIsNotSignedYetIsPending(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "x") }, func(_ *Options, m *memory) { m.pending = true })
	if resp, _ := r.ask(t, "", nil); resp.StatusCode != 200 || resp.Header.Get("Sigillo-Receipt") != "pending" || resp.Header.Get("Sigillo-Exchange") == "" {
		t.Errorf("status %d, header %v", resp.StatusCode, resp.Header)
	}
}

func TestUpstreamFaultsCloseTheExchange(t *testing.T) {
	for reason, c := range map[exchange.Reason]struct {
		status   int
		upstream http.HandlerFunc
	}{
		exchange.ReasonUpstreamTooLarge: {502, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 1<<17)) }},
		exchange.ReasonUpstreamBroken: {502, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "half")
			panic(http.ErrAbortHandler)
		}},
		exchange.ReasonUpstreamUnreachable: {502, nil},
		exchange.ReasonUpstreamTimeout: {504, func(_ http.ResponseWriter, q *http.Request) {
			_, _ = io.Copy(io.Discard, q.Body) // only then the server sees the caller leave
			<-q.Context().Done()
		}},
	} {
		r := newRig(t, c.upstream, func(o *Options, _ *memory) {
			o.Routes[0].UpstreamTimeout = 300 * time.Millisecond
			if reason == exchange.ReasonUpstreamUnreachable {
				o.Routes[0].TLS = &tls.Config{} // trusts nobody: the handshake fails
			}
		})
		resp, body := r.ask(t, "", nil)
		kept := r.memory.records()
		last := kept[len(kept)-1]
		if resp.StatusCode != c.status || last.Kind != exchange.KindFailure || last.Reason != reason || !strings.Contains(body, string(reason)) {
			t.Errorf("%s: status %d, last record %s for %s, answer %q", reason, resp.StatusCode, last.Kind, last.Reason, body)
		}
		if reason == exchange.ReasonUpstreamTooLarge && (len(last.Messages) != 2 || !last.Messages[0].Cut || len(last.Messages[0].Body) != 1<<16) {
			t.Errorf("%s: what came from upstream is not kept cut", reason)
		}
	}
}

func TestRouteAndPrefix(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, _ *http.Request) {}, nil)
	q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, strings.TrimSuffix(r.url, "/ec-in")+"/ec-inside", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := r.client.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
	kept := r.memory.records()
	if resp.StatusCode != 404 || len(kept) != 1 || kept[0].Reason != exchange.ReasonNoRoute || resp.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("status %d, %d records, header %v", resp.StatusCode, len(kept), resp.Header)
	}
}

package testbed

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// stage is the three peers, callers with certificates, and in their middle nothing or a stub of a gateway.
type stage struct {
	ca, foreign   testCA
	ec, psp, node *Peer
	life          Life
}

// newStage starts the peers. wrap, if not nil, goes around the transport of every caller, the node's included.
func newStage(t *testing.T, gateway bool, wrap func(http.RoundTripper) http.RoundTripper) *stage {
	t.Helper()
	s := &stage{ca: newTestCA(t, "CA"), foreign: newTestCA(t, "foreign")}
	s.ec = startPeer(t, PeerOptions{Role: RoleEC, TLS: s.ca.server(t, "ec")})
	s.psp = startPeer(t, PeerOptions{Role: RolePSP, TLS: s.ca.server(t, "psp")})
	s.node = startPeer(t, PeerOptions{Role: RoleNode, TLS: s.ca.server(t, "node"), Log: filepath.Join(t.TempDir(), "node.jsonl")})
	client := func(name string) *http.Client {
		c := s.ca.client(t, name, s.ca, true)
		if wrap != nil {
			c.Transport = wrap(c.Transport)
		}
		return c
	}
	s.life = Life{PSPOut: s.node.URL(), ECOut: s.node.URL(), ECIn: s.ec.URL(), PSPIn: s.psp.URL(),
		Clients: Clients{PSP: client("psp"), EC: client("ec"), Node: client("node")}}
	if gateway {
		base := s.stubGateway(t)
		s.life.PSPOut, s.life.ECOut, s.life.ECIn, s.life.PSPIn = base+"/psp-out", base+"/ec-out", base+"/ec-in", base+"/psp-in"
	}
	s.node.CallEC(s.life.ECIn, s.life.Clients.Node)
	return s
}

const stubLimit = 10_000

// stubGateway behaves as callers are told that the gateway does: headers, refusals, time-out. It keeps nothing.
func (s *stage) stubGateway(t *testing.T) string {
	t.Helper()
	transport := s.ca.client(t, "gateway", s.ca, true).Transport
	upstreams := map[string]string{"psp-out": s.node.URL(), "ec-out": s.node.URL(), "ec-in": s.ec.URL(), "psp-in": s.psp.URL()}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS.PeerCertificates[0].Subject.CommonName == "unregistered" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		w.Header().Set("Sigillo-Exchange", "0197-test")
		w.Header().Set("Sigillo-Receipt", "receipt")
		route, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, stubLimit))
		_, _, syntax := parseSOAP(body)
		switch {
		case err != nil:
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		case strings.Contains(r.Header.Get("Content-Type"), "xml") && syntax != nil:
			w.WriteHeader(http.StatusBadRequest)
			return
		case route == "ec-out" && (bytes.Contains(body, []byte("sendPaymentOutcome")) || bytes.Contains(body, []byte(foreignEC))):
			w.WriteHeader(http.StatusForbidden)
			return
		}
		target, err := url.Parse(upstreams[route])
		if err != nil {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		ctx := r.Context()
		if r.Header.Get("Demo-Behaviour") == BehaviourHang {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, 200*time.Millisecond)
			defer cancel()
		}
		r = r.WithContext(ctx)
		r.Body = io.NopCloser(bytes.NewReader(body))
		proxy := httputil.ReverseProxy{Transport: transport,
			Rewrite: func(p *httputil.ProxyRequest) {
				p.Out.URL.Scheme, p.Out.URL.Host, p.Out.URL.Path, p.Out.Host = "https", target.Host, "/"+path, target.Host
			},
			ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusGatewayTimeout) }}
		proxy.ServeHTTP(w, r)
	})
	server := httptest.NewUnstartedServer(handler)
	server.TLS = s.ca.server(t, "gateway")
	server.Config.ErrorLog = s.node.server.ErrorLog
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.URL
}

// recorder keeps what callers send.
type recorder struct {
	next   http.RoundTripper
	mu     *sync.Mutex
	bodies map[string][][]byte // by SOAPAction
}

func (r recorder) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.Body != nil {
		body, err := io.ReadAll(request.Body)
		if err != nil {
			return nil, err
		}
		request.Body = io.NopCloser(bytes.NewReader(body))
		action := strings.Trim(request.Header.Get("SOAPAction"), `"`)
		r.mu.Lock()
		r.bodies[action] = append(r.bodies[action], body)
		r.mu.Unlock()
	}
	return r.next.RoundTrip(request)
}

// Whole payments, the peers directly against each other; all messages that callers and node send are schema-valid.
func TestLifeWithoutGateway(t *testing.T) {
	sent := recorder{mu: &sync.Mutex{}, bodies: map[string][][]byte{}}
	s := newStage(t, false, func(next http.RoundTripper) http.RoundTripper {
		sent := sent
		sent.next = next
		return sent
	})
	told := 0
	tally, err := s.life.Run(t.Context(), 200, func(done int) { told = done })
	if err != nil {
		t.Fatal(err)
	}
	if tally.Exchanges != 200 || tally.Nested != 60 || tally.Failed != 0 || told != 200 || tally.SameBytes != 200 || tally.Receipts != 0 {
		t.Errorf("tally %+v, progress %d", tally, told)
	}
	counts := map[string]int{}
	for _, o := range tally.Operations {
		counts[o.Route+" "+o.Operation] = o.Count
		if o.P50 <= 0 || o.P50 > o.P95 || o.P95 > o.Max {
			t.Errorf("%s: percentiles %v %v %v", o.Operation, o.P50, o.P95, o.Max)
		}
	}
	for what, want := range map[string]int{"psp-out verifyPaymentNotice": 20, "ec-in paVerifyPaymentNotice": 25, "psp-out activatePaymentNotice": 10,
		"ec-in paGetPaymentV2": 10, "psp-in pspNotifyPaymentV2": 10, "ec-in paSendRT": 10, "ec-in paSendRTV2": 10, "ec-out createPosition": 20,
		"psp-out nodoInviaFlussoRendicontazione": 5, "psp-out IPspsController_publishFlow": 5, "ec-out nodoChiediFlussoRendicontazione": 5, "ec-out newDebtPosition": 5} {
		if counts[what] != want {
			t.Errorf("%s: %d times, want %d", what, counts[what], want)
		}
	}
	j := newJudge(t)
	for action, bodies := range sent.bodies {
		for _, body := range bodies {
			if action != "" {
				j.add(t, action, body)
			}
		}
	}
	j.verdict(t)
}

func TestFlowDocumentIsValid(t *testing.T) {
	paid := []payment{{iuv: "02000100000012345", token: newToken(), amount: "10.05"}, {iuv: "02000100000012346", token: newToken(), amount: "499.99"}}
	document, err := flowDocument(map[string]string{"identificativoFlusso": "2026-11-24TESTPSP1-1"}, paid)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(document, []byte("<p1:importoTotalePagamenti>510.04</")) || bytes.Count(document, []byte("<p1:datiSingoliPagamenti>")) != 2 {
		t.Errorf("flow:\n%s", document)
	}
	if _, err := exec.LookPath("xmllint"); err != nil {
		t.Skip("xmllint missing (Debian package libxml2-utils)")
	}
	schema := filepath.Join(sharedData(t), "schemas", "pagopa-api", "FlussoRiversamento_1_0_4.xsd")
	lint := exec.Command("xmllint", "--noout", "--nonet", "--schema", schema, "-")
	lint.Stdin = bytes.NewReader(document)
	if out, err := lint.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func TestLifeWantsEvidence(t *testing.T) {
	s := newStage(t, false, nil)
	s.life.RequireEvidence = true
	tally, err := s.life.Run(t.Context(), 1, nil)
	if err == nil || !strings.Contains(err.Error(), "no Sigillo-Exchange") || tally.Failed == 0 {
		t.Errorf("without gateway: tally %+v, error %v", tally, err)
	}
	s = newStage(t, true, nil)
	s.life.RequireEvidence = true
	tally, err = s.life.Run(t.Context(), 100, nil)
	if err != nil || tally.Exchanges != tally.Receipts || tally.Operations[0].Exchange != "0197-test" {
		t.Errorf("with gateway: tally %+v, error %v", tally, err)
	}
}

// An EC that cannot be reached shows in the node's answer and in the tally.
func TestLifeWithoutEC(t *testing.T) {
	s := newStage(t, false, nil)
	s.node.CallEC("https://127.0.0.1:1", s.life.Clients.Node)
	tally, err := s.life.Run(t.Context(), 1, nil)
	if err == nil || !strings.Contains(err.Error(), "PPT_STAZIONE_INT_PA_IRRAGGIUNGIBILE") || tally.Failed == 0 {
		t.Errorf("tally %+v, error %v", tally, err)
	}
	for _, identifier := range []string{"302", ECFiscalCode} {
		if err != nil && strings.Contains(err.Error(), identifier) {
			t.Errorf("the error names an identifier: %v", err)
		}
	}
}

func TestLifeStopsWithContext(t *testing.T) {
	s := newStage(t, false, nil)
	ctx, stop := context.WithCancel(t.Context())
	_, err := s.life.Run(ctx, 10_000, func(done int) {
		if done >= 20 {
			stop()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want canceled", err)
	}
	if _, err := (Life{}).Run(t.Context(), 1, nil); err == nil {
		t.Error("a life without clients ran")
	}
}

func TestBadCases(t *testing.T) {
	s := newStage(t, true, nil)
	bad := Bad{PSPOut: s.life.PSPOut, ECOut: s.life.ECOut, Clients: s.life.Clients, BodyLimit: stubLimit, Node: s.node,
		Unregistered: s.ca.client(t, "unregistered", s.ca, true), Unknown: s.foreign.client(t, "psp", s.ca, true)}
	rows, err := BadCases(t.Context(), bad)
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 8 {
		t.Errorf("%d rows, want 8", len(rows))
	}
	for _, row := range rows {
		if !row.Good {
			t.Errorf("%s: %s, want %s", row.Name, row.Got, row.Expected)
		}
	}
	// Where nobody refuses, every case says so.
	bad.PSPOut, bad.ECOut = s.node.URL(), s.node.URL()
	bad.Unknown = s.life.Clients.PSP
	bad.Clients.PSP = &http.Client{Transport: bad.Clients.PSP.Transport, Timeout: time.Second}
	rows, err = BadCases(t.Context(), bad)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows[:len(rows)-1] {
		if row.Good {
			t.Errorf("%s: good although nobody refuses: %s", row.Name, row.Got)
		}
	}
	bad.Unknown = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.foreign.pool(), MinVersion: tls.VersionTLS12}}}
	if row := badHandshake(t.Context(), bad.Unknown, message{method: http.MethodPost, url: s.life.PSPOut}); row.Good {
		t.Errorf("a caller that does not trust the server counts as refused: %s", row.Got)
	}
}

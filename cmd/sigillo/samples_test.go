package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigillo/internal/pagopa"
)

// routeOf are the demo's routes by the direction that the catalogue gives an operation, and who calls there.
var routeOf = map[string][2]string{"node->EC": {"ec-in", "node"}, "node->PSP": {"psp-in", "node"}, "EC->node": {"ec-out", "ec"}, "PSP->node": {"psp-out", "psp"}}

// sample is one message to be sent.
type sample struct {
	name, route, client, contentType, encoding string
	method, path                               string
	body                                       []byte
	chunked                                    bool
}

// answered is what came back for a sample.
type answered struct {
	sample
	status   int
	exchange string
	received string // SHA-256 of what the upstream says it received
	body     []byte
	receipt  string
}

func send(t *testing.T, s *demoSite, clients map[string]*http.Client, m sample) answered {
	t.Helper()
	var body io.Reader = bytes.NewReader(m.body)
	if m.chunked {
		body = io.MultiReader(body) // its length is not known any more
	}
	q, err := http.NewRequestWithContext(t.Context(), m.method, s.route(m.route)+m.path, body)
	if err != nil {
		t.Fatal(err)
	}
	if m.contentType != "" {
		q.Header.Set("Content-Type", m.contentType)
	}
	if m.encoding != "" {
		q.Header.Set("Content-Encoding", m.encoding)
	}
	resp, err := clients[m.client].Do(q)
	if err != nil {
		t.Fatalf("%s: %v", m.name, err)
	}
	got, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		t.Fatalf("%s: %v", m.name, err)
	}
	if resp.Header.Get("Sigillo-Receipt") == "" || resp.Header.Get("Sigillo-Exchange") == "" {
		t.Errorf("%s: status %d without exchange or receipt", m.name, resp.StatusCode)
	}
	return answered{m, resp.StatusCode, resp.Header.Get("Sigillo-Exchange"), resp.Header.Get("Demo-Received-SHA256"), got, resp.Header.Get("Sigillo-Receipt")}
}

// readBack compares what the ledger holds with what was sent and received, byte for byte, as a user reads it.
func readBack(t *testing.T, s *demoSite, a answered) {
	t.Helper()
	for side, want := range map[string][]byte{"request": a.sample.body, "response": a.body} {
		code, out, stderr := sigillo(t, "show", "-c", s.config, a.exchange, "--body", side)
		if code != 0 || out != string(want) {
			t.Errorf("%s (status %d): show --body %s: code %d, %d bytes instead of %d, %s", a.name, a.status, side, code, len(out), len(want), stderr)
		}
	}
}

// samplesOf lists the request messages under dir. Only their bytes decide the route.
func samplesOf(t *testing.T, dir string, catalogue *pagopa.Catalogue) []sample {
	t.Helper()
	types := edgeTypes(dir)
	var out []sample
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		name := filepath.Base(path)
		if err != nil || d.IsDir() || !strings.HasSuffix(name, ".xml") && !strings.HasSuffix(name, ".bin") ||
			strings.Contains(name, ".res.") || strings.Contains(name, ".fault.") || strings.HasPrefix(name, "inner.") {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		kind := "text/xml; charset=utf-8"
		if k, ok := types[name]; ok {
			kind = k
		}
		c, err := catalogue.Request(pagopa.Request{Method: http.MethodPost, ContentType: kind, Body: b})
		route := [2]string{"ec-in", "node"} // what cannot be read goes somewhere and is refused there
		if err == nil {
			if r, ok := routeOf[c.Direction]; ok {
				route = r
			}
		}
		out = append(out, sample{name: name, route: route[0], client: route[1], contentType: kind, method: http.MethodPost, body: b})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// edgeTypes are the content types that the edge cases' own index gives.
func edgeTypes(dir string) map[string]string {
	types := map[string]string{}
	f, err := os.Open(filepath.Join(dir, "edge", "INDEX.tsv"))
	if err != nil {
		return types
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.Comma, r.LazyQuotes, r.FieldsPerRecord = '\t', true, -1
	rows, err := r.ReadAll()
	if err != nil {
		return types
	}
	for _, row := range rows[1:] {
		types[row[0]] = row[1]
	}
	return types
}

func zipped(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestEverySampleCrossesUnchanged posts every request message that there is through the running gateway and
// compares, for each, the upstream's own digest and the bytes in the ledger with what was sent and received.
func TestEverySampleCrossesUnchanged(t *testing.T) {
	catalogue, err := pagopa.Load()
	if err != nil {
		t.Fatal(err)
	}
	s := demoSiteForTest(t, filepath.Join(t.TempDir(), "site"))
	p := startRun(t, s)
	s.node.CallEC(s.route("ec-in"), s.client("node"))
	clients := map[string]*http.Client{"node": s.client("node"), "ec": s.client("ec"), "psp": s.client("psp")}
	messages := samplesOf(t, filepath.Join(root, "internal", "pagopa", "testdata", "synthetic"), catalogue)
	own := len(messages)
	shared := os.Getenv("SIGILLO_SHARED")
	if shared == "" {
		shared = filepath.Join(root, "..", "shared")
	}
	if _, err := os.Stat(shared); err == nil {
		messages = append(messages, samplesOf(t, filepath.Join(shared, "data", "pagopa", "samples", "given"), catalogue)...)
	} else {
		t.Log("../shared is absent: only our own samples were sent")
	}
	first := messages[0]
	for _, m := range messages {
		if m.name == "activatePaymentNotice.req.xml" {
			first = m
		}
	}
	gz, chunks, empty := first, first, first
	gz.name, gz.body, gz.encoding = "gzip", zipped(t, first.body), "gzip"
	chunks.name, chunks.chunked = "chunked", true
	empty.name, empty.body = "empty", nil
	messages = append(messages, gz, chunks, empty,
		sample{name: "GPD", route: "ec-out", client: "ec", contentType: "application/json", method: http.MethodPost,
			path: "/gpd/debt-positions-service/v1/organizations/77777777777/debtpositions", body: []byte(`{"iupd":"X1","type":"F","fiscalCode":"JHNDOE00A01F205N","fullName":"John Doe","paymentOption":[{"nav":"302000100000012345","iuv":"02000100000012345","amount":10000}]}`)},
		sample{name: "FdR create", route: "psp-out", client: "psp", contentType: "application/json", method: http.MethodPost,
			path: "/fdr-psp/service/v1/psps/TESTPSP1/fdrs/2026-11-24TESTPSP1-0001", body: []byte("{ \"fdr\":\"2026-11-24TESTPSP1-0001\",\r\n\t\"fdrDate\": \"2026-11-24T10:00:00Z\" }")},
		sample{name: "FdR list", route: "ec-out", client: "ec", method: http.MethodGet, path: "/fdr-org/service/v1/organizations/77777777777/fdrs?page=1&size=10"})
	good := 0
	for _, m := range messages {
		a := send(t, s, clients, m)
		if a.status < 300 {
			good++
			if want := fmt.Sprintf("%x", sha256sum(m.body)); a.received != want {
				t.Errorf("%s: the upstream received %s, sent was %s", m.name, a.received, want)
			}
		}
		readBack(t, s, a)
	}
	if good < 60 {
		t.Errorf("%d of %d messages were answered well, 60 at least were wanted", good, len(messages))
	}
	t.Logf("%d messages (%d our own samples), %d answered well", len(messages), own, good)
	p.stop(t)
	inLedger(t, s, nil)
}

// TestUnknownSystemStaysOutside: what an outsider sends reaches nobody, and its body is not read.
func TestUnregisteredCallerIsNotRead(t *testing.T) {
	s := demoSiteForTest(t, filepath.Join(t.TempDir(), "site"))
	p := startRun(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	body, w := io.Pipe() // a body that never ends: an answer proves that nobody waits for it
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, s.route("ec-in"), body)
	if err != nil {
		t.Fatal(err)
	}
	client := s.client("unregistered")
	client.Transport.(*http.Transport).ForceAttemptHTTP2 = false
	resp, err := client.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusForbidden || resp.Header.Get("Sigillo-Exchange") != "" || resp.Header.Get("Sigillo-Receipt") != "" {
		t.Errorf("status %d, header %v", resp.StatusCode, resp.Header)
	}
	if err := errors.Join(resp.Body.Close(), w.Close()); err != nil {
		t.Error(err)
	}
	unknown := s.client("unknown")
	stubborn := s.pairs["unknown"].TLS // shown although the server did not name its authority
	unknown.Transport.(*http.Transport).TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &stubborn, nil }
	if _, err := unknown.Get(s.route("ec-in")); err == nil {
		t.Error("a certificate of an unknown CA got through the handshake")
	}
	p.stop(t)
	code, out, _ := sigillo(t, "search", "-c", s.config, "--json")
	for _, reason := range []string{"unknown-ca", "unregistered"} {
		if !strings.Contains(out, `{"reason":"`+reason+`","count":`) {
			t.Errorf("code %d, callers that are %s are not counted: %s", code, reason, out[strings.LastIndexByte(strings.TrimSpace(out), '\n')+1:])
		}
	}
}

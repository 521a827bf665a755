package testbed

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func newAnswerer(t *testing.T, role Role) *Answerer {
	t.Helper()
	a, err := NewAnswerer(role)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func soapPost(body []byte) Request {
	return Request{Method: http.MethodPost, Path: "/", Header: http.Header{"Content-Type": {xmlContentType}}, Body: body}
}

// Every answer to every operation, the second root names included, is valid against the official schema of its
// namespace, OK and KO, whatever identifiers are carried over.
func TestAnswersAreSchemaValid(t *testing.T) {
	j := newJudge(t)
	a := newAnswerer(t, RoleAny)
	rows, err := table("soap.tsv", 6)
	if err != nil {
		t.Fatal(err)
	}
	samples := filepath.Join(sharedData(t), "samples", "synthetic")
	for _, row := range rows {
		operation, answerRoot := row[1], row[4]
		sample, err := os.ReadFile(filepath.Join(samples, row[5]+".req.xml"))
		if err != nil {
			t.Fatal(err)
		}
		root, _, err := parseSOAP(sample)
		if err != nil {
			t.Fatal(err)
		}
		request := bytes.ReplaceAll(sample, []byte("p1:"+root.Local), []byte("p1:"+row[3])) // the alias rows
		for about, body := range map[string][]byte{
			"sample":  request,
			"another": bytes.ReplaceAll(bytes.ReplaceAll(request, []byte("302000100000012345"), []byte("001999999999999999")), []byte("100.00"), []byte("999999999.99")),
			"odd":     bytes.ReplaceAll(bytes.ReplaceAll(request, []byte("302000100000012345"), []byte("&lt;x&gt;&amp;")), []byte("100.00"), []byte("0.00")),
		} {
			for _, ko := range []bool{false, true} {
				r := soapPost(body)
				r.KO = ko
				answer := a.Answer(t.Context(), r)
				if answer.Status != http.StatusOK || answer.Operation != operation {
					t.Fatalf("%s (%s): status %d, operation %q\n%s", operation, about, answer.Status, answer.Operation, answer.Body)
				}
				got, texts, err := parseSOAP(answer.Body)
				if err != nil || got != (xml.Name{Space: row[2], Local: answerRoot}) {
					t.Fatalf("%s (%s): root %v, error %v", operation, about, got, err)
				}
				if fault := texts.first("faultCode"); (fault != "") != ko {
					t.Errorf("%s (%s): KO %t, fault code %q", operation, about, ko, fault)
				}
				j.add(t, fmt.Sprintf("%s-%s-%t", row[3], about, ko), answer.Body)
			}
		}
	}
	if len(rows) < 65 {
		t.Errorf("%d operations, want 65 at least", len(rows))
	}
	j.verdict(t)
}

// Every sample message gets an answer that a client can read; those of the catalogue are answered 200.
func TestAnswersToSamples(t *testing.T) {
	a := newAnswerer(t, RoleAny)
	samples := filepath.Join(sharedData(t), "samples")
	good := 0
	for _, pattern := range []string{"synthetic/*.req.xml", "synthetic/edge/*.req.xml", "given/*.xml"} {
		files, err := filepath.Glob(filepath.Join(samples, pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(files), err)
		}
		for _, file := range files {
			body, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			r := soapPost(body)
			r.Header.Set("Content-Type", "text/xml") // the declaration and the marks decide
			answer := a.Answer(t.Context(), r)
			if _, _, err := parseSOAP(answer.Body); err != nil {
				t.Errorf("%s: answer not readable: %v", filepath.Base(file), err)
			}
			if answer.Status == http.StatusOK {
				good++
			} else if strings.HasPrefix(pattern, "synthetic/*") {
				t.Errorf("%s: status %d", filepath.Base(file), answer.Status)
			}
		}
	}
	if good < 65 {
		t.Errorf("%d samples answered 200, want 65 at least", good)
	}
	t.Logf("%d samples answered 200", good)
}

func TestAnswerCarriesValuesOver(t *testing.T) {
	notice := noticeFor(123456789012)
	request := func(name string, values map[string]string) []byte {
		body, err := soapRequest(name, values)
		if err != nil {
			t.Fatal(err)
		}
		return body
	}
	ec, node := newAnswerer(t, RoleEC), newAnswerer(t, RoleNode)
	answer := ec.Answer(t.Context(), soapPost(request("paGetPaymentV2", map[string]string{"noticeNumber": notice, "fiscalCode": "77777777778", "amount": "12.34"})))
	_, got, err := parseSOAP(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"creditorReferenceId": notice[1:], "paymentAmount": "12.34", "transferAmount": "12.34",
		"fiscalCodePA": "77777777778", "remittanceInformation": "/RFB/" + notice[1:] + "/12.34/TXT/DEBITORE/ANONIMO", "outcome": "OK"} {
		if got.first(name) != want {
			t.Errorf("paGetPaymentV2: %s is %q, want %q", name, got.first(name), want)
		}
	}
	answer = node.Answer(t.Context(), soapPost(request("nodeForPa.nodoChiediFlussoRendicontazione", map[string]string{"identificativoFlusso": "2026-11-24TESTPSP1-77"})))
	_, got, _ = parseSOAP(answer.Body)
	document, err := base64.StdEncoding.DecodeString(got.first("xmlRendicontazione"))
	if err != nil || !bytes.Contains(document, []byte("<p1:identificativoFlusso>2026-11-24TESTPSP1-77</p1:identificativoFlusso>")) {
		t.Errorf("downloaded flow has not the identifier asked for (%v):\n%s", err, document)
	}
	activate := func(key string) string {
		_, l, err := parseSOAP(node.Answer(t.Context(), soapPost(request("activatePaymentNotice", map[string]string{"idempotencyKey": key, "noticeNumber": notice}))).Body)
		if err != nil || len(l.first("paymentToken")) != 32 {
			t.Fatalf("token %q, error %v", l.first("paymentToken"), err)
		}
		return l.first("paymentToken")
	}
	first := activate("88888888888_0000000001")
	if activate("88888888888_0000000001") != first {
		t.Error("the same idempotency key got another token")
	}
	if activate("88888888888_0000000002") == first {
		t.Error("another idempotency key got the same token")
	}
	_, got, _ = parseSOAP(ec.Answer(t.Context(), soapPost(request("paVerifyPaymentNotice", map[string]string{"noticeNumber": standInProbe}))).Body)
	if got.first("faultCode") != "PAA_PAGAMENTO_SCONOSCIUTO" {
		t.Errorf("stand-in probe answered %q", got.first("faultCode"))
	}
}

func TestUnservedIsRefused(t *testing.T) {
	verify, err := soapRequest("verifyPaymentNotice", nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		role Role
		body string
		want int
	}{
		"operation of another role": {RoleEC, string(verify), 500},
		"wrong namespace":           {RoleNode, strings.ReplaceAll(string(verify), "nodeForPsp.xsd", "nodeForPsp2.xsd"), 500},
		"malformed":                 {RoleNode, string(verify[:len(verify)-30]), 400},
		"no body":                   {RoleNode, "<soapenv:Envelope xmlns:soapenv=\"" + soapNamespace + "\"/>", 400},
		"not UTF-8":                 {RoleNode, strings.ReplaceAll(string(verify), "TESTPSP1", "\xEC"), 400},
		"deep":                      {RoleNode, strings.Repeat("<a>", 100) + strings.Repeat("</a>", 100), 400},
	} {
		answer := newAnswerer(t, c.role).Answer(t.Context(), soapPost([]byte(c.body)))
		if answer.Status != c.want || !bytes.Contains(answer.Body, []byte("<soapenv:Fault>")) {
			t.Errorf("%s: status %d, want %d\n%s", name, answer.Status, c.want, answer.Body)
		}
	}
}

func TestSessionsAreBounded(t *testing.T) {
	s := sessions{limit: 3}
	for i := range 10 {
		s.remember(fmt.Sprint("key", i), map[string]string{"paymentToken": fmt.Sprint(i)})
	}
	if len(s.byToken) != 3 || len(s.byKey) != 3 || len(s.order) != 3 {
		t.Errorf("%d tokens, %d keys, %d in order; want 3 each", len(s.byToken), len(s.byKey), len(s.order))
	}
	if _, ok := s.unreceipted("9"); !ok {
		t.Error("the newest is forgotten")
	}
	if _, ok := s.byIdempotency("key6"); ok {
		t.Error("an old key is remembered")
	}
}

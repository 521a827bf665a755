package pagopa

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// edge holds what testdata/synthetic/edge/INDEX.tsv says in prose.
var edge = map[string]struct {
	operation string
	code      SyntaxCode
	keys      map[string][]string
}{
	"iso-8859-1.req.xml":                    {operation: "paSendRTV2", keys: map[string][]string{"notice": {"302000100000012345"}, "paymentToken": {"c0ffee00000040008000000000000001"}}},
	"iso-8859-1-undeclared.req.xml":         {code: Charset},
	"utf8-bom.req.xml":                      {operation: "activatePaymentNotice", keys: map[string][]string{"notice": {"302000100000012345"}}},
	"utf-16le.req.xml":                      {operation: "activatePaymentNotice", keys: map[string][]string{"notice": {"302000100000012345"}, "idPSP": {"TESTPSP1"}}},
	"other-prefixes.req.xml":                {operation: "activatePaymentNotice", keys: map[string][]string{"notice": {"302000100000012345"}}},
	"default-namespace-root.req.xml":        {operation: "activatePaymentNotice", keys: map[string][]string{"notice": {"302000100000012345"}, "idChannel": {"88888888888_01"}, "idPSP": {"TESTPSP1"}}},
	"comments-and-cdata.req.xml":            {operation: "activatePaymentNotice", keys: map[string][]string{"notice": {"302000100000012345"}, "creditor": {"77777777777"}}},
	"two-bodies.req.xml":                    {code: TwoBodies},
	"two-operations.req.xml":                {code: TwoOperations},
	"doctype.req.xml":                       {code: Processing},
	"unbound-prefix.req.xml":                {code: UnboundPrefix},
	"wrong-namespace.req.xml":               {operation: Unknown},
	"stand-in-probe.req.xml":                {operation: "paVerifyPaymentNotice", keys: map[string][]string{"notice": {"000000000000000000"}}},
	"two-tokens.req.xml":                    {operation: "sendPaymentOutcomeV2", keys: map[string][]string{"paymentToken": nil}},
	"multi-beneficiary.req.xml":             {operation: "paSendRTV2", keys: map[string][]string{"creditor": nil}},
	"unknown-extra-elements.req.xml":        {operation: "paSendRTV2", keys: map[string][]string{"notice": {"302000100000012345"}}},
	"rpt-iso-8859-1-wrapped-base64.req.xml": {operation: "nodoInviaRPT", keys: map[string][]string{"iuv": {"02000100000012345"}, "payload64": {}, "password": {}}},
	"mtom.req.bin":                          {operation: "nodoInviaFlussoRendicontazione", keys: map[string][]string{"idFlusso": {"2026-11-20TESTPSP1-0000000001", "2026-11-21T02:00:00"}}},
	"soapaction-mismatch.req.xml":           {operation: "activatePaymentNotice"},
	"soap-fault.res.xml":                    {},
	"wrapped-counterparty-fault.res.xml":    {},
}

func testEdge(t *testing.T, dir string) {
	c := catalogue(t)
	lines := table(t, filepath.Join(dir, "INDEX.tsv"))
	if len(lines) != len(edge) {
		t.Errorf("%d cases in the index, %d known here", len(lines), len(edge))
	}
	for _, line := range lines {
		t.Run(line["file"], func(t *testing.T) {
			want, known := edge[line["file"]]
			if !known {
				t.Fatal("a case of the index without expectation here")
			}
			body := bytesOf(t, filepath.Join(dir, line["file"]))
			if strings.Contains(line["file"], ".res.") {
				return // TestEdgeAnswers
			}
			if !strings.Contains(line["expected"], want.operation) && want.operation != Unknown && want.operation != "activatePaymentNotice" {
				t.Errorf("the index says %q", line["expected"])
			}
			got, err := c.Request(Request{Method: "POST", ContentType: line["content_type"], Body: body})
			if want.code != "" {
				if codeOf(err) != want.code || got.Operation != Unknown || len(got.Keys) > 0 {
					t.Errorf("got %s and %v, want %s", got.Operation, err, want.code)
				}
				return
			}
			if err != nil || got.Operation != want.operation {
				t.Fatalf("got %s and %v", got.Operation, err)
			}
			for name, values := range want.keys {
				if values != nil && !slices.Equal(got.Keys.All(name), values) {
					t.Errorf("%s is %q, want %q", name, got.Keys.All(name), values)
				}
			}
		})
	}
}

func TestEdgeSamples(t *testing.T) { testEdge(t, filepath.Join("testdata", "synthetic", "edge")) }

func TestSharedEdgeSamples(t *testing.T) { testEdge(t, filepath.Join(shared(t), "synthetic", "edge")) }

func edgeBody(t testing.TB, name string) []byte {
	return bytesOf(t, filepath.Join("testdata", "synthetic", "edge", name))
}

func TestEdgeLists(t *testing.T) {
	c := catalogue(t)
	got, err := c.Request(post(edgeBody(t, "two-tokens.req.xml")))
	if err != nil || len(got.Keys.All("paymentToken")) != 2 || got.Keys.All("paymentToken")[0] == got.Keys.All("paymentToken")[1] {
		t.Errorf("tokens %q, %v", got.Keys.All("paymentToken"), err)
	}
	got, err = c.Request(post(edgeBody(t, "multi-beneficiary.req.xml")))
	creditors := got.Keys.All("creditor")
	if err != nil || !slices.Contains(creditors, "77777777777") || !slices.Contains(creditors, "77777777778") {
		t.Errorf("creditors %q, %v", creditors, err)
	}
}

func TestEdgeAnswers(t *testing.T) {
	c := catalogue(t)
	a, err := c.Answer(Response{Operation: "activatePaymentNotice", Status: 400, ContentType: "text/xml; charset=utf-8", Body: edgeBody(t, "soap-fault.res.xml")})
	if err != nil || a.Outcome.Code != KO || a.Outcome.Fault != "PPT_SOAPACTION_ERRATA" || len(a.Findings) > 0 {
		t.Errorf("SOAP fault: %+v, %v", a, err)
	}
	a, err = c.Answer(Response{Operation: "activatePaymentNotice", Status: 200, ContentType: "text/xml; charset=utf-8", Body: edgeBody(t, "wrapped-counterparty-fault.res.xml")})
	if err != nil || a.Outcome.Code != KO || a.Outcome.Fault != "PPT_ERRORE_EMESSO_DA_PAA" ||
		!slices.Equal(a.Keys.All("faultCode"), []string{"PPT_ERRORE_EMESSO_DA_PAA", "PAA_PAGAMENTO_SCADUTO"}) {
		t.Errorf("wrapped fault: %+v, %v", a, err)
	}
	for _, k := range a.Keys {
		if k.Name == "faultString" || k.Name == "faultDescription" || k.Name == "outcome" {
			t.Errorf("the answer's %s is among the keys", k.Name)
		}
	}
}

func TestActionMismatch(t *testing.T) {
	c := catalogue(t)
	body := edgeBody(t, "soapaction-mismatch.req.xml")
	for _, r := range []Request{
		{SOAPAction: `"sendPaymentOutcome"`},
		{SOAPAction: `sendPaymentOutcome`},
		{SOAPAction: `"activatepaymentnotice"`},
		{SOAPAction: `"activatePaymentNotice", "sendPaymentOutcome"`},
		{RawQuery: "soapAction=sendPaymentOutcome"},
		{RawQuery: "SOAPACTION=sendPaymentOutcome"},
		{RawQuery: "soapAction=activatePaymentNotice&soapAction=sendPaymentOutcome", SOAPAction: "activatePaymentNotice"},
		{ContentType: `application/soap+xml; charset=utf-8; action="sendPaymentOutcome"`},
	} {
		r.Method, r.Body = "POST", body
		if r.ContentType == "" {
			r.ContentType = "text/xml"
		}
		got, err := c.Request(r)
		if !errors.Is(err, ErrActionMismatch) || got.Operation != "activatePaymentNotice" || got.Keys.First("idPSP") != "TESTPSP1" {
			t.Errorf("%q %q: %v, %+v", r.SOAPAction, r.RawQuery, err, got)
		}
		if strings.Contains(err.Error(), "sendPaymentOutcome") {
			t.Error("the error quotes the message")
		}
	}
	for _, action := range []string{"", `""`, `"activatePaymentNotice"`, "activatePaymentNotice", `  "activatePaymentNotice" `} {
		r := post(body)
		r.SOAPAction, r.RawQuery = action, "soapAction=activatePaymentNotice&x=%20y"
		if _, err := c.Request(r); err != nil {
			t.Errorf("%q: %v", action, err)
		}
	}
	r := post(body)
	r.RawQuery = "soapAction=sendPaymentOutcome;x"
	if _, err := c.Request(r); codeOf(err) != BadQuery {
		t.Errorf("a query that hides an action: %v", err)
	}
	r = post(bytesOf(t, filepath.Join("testdata", "synthetic", "nodoInviaRichiestaRevoca.req.xml")))
	r.SOAPAction = `"nodoRichiestaRevoca"`
	if got, err := c.Request(r); err != nil || got.Operation != "nodoInviaRichiestaRevoca" {
		t.Errorf("nodoInviaRichiestaRevoca: %+v, %v", got, err)
	}
	r = post(edgeBody(t, "wrong-namespace.req.xml"))
	r.SOAPAction = "activatePaymentNotice"
	if got, err := c.Request(r); err != nil || got.Operation != Unknown || !slices.Contains(got.Findings, FindingUnknownAction) {
		t.Errorf("unknown body under a known action: %+v, %v", got, err)
	}
}

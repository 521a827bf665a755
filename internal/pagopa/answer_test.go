package pagopa

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// sendRes is an answer to sendPaymentOutcome with the given content.
func sendRes(content string) string {
	return envelope(`<v:sendPaymentOutcomeRes xmlns:v="` + nodeForPsp + `">` + content + `</v:sendPaymentOutcomeRes>`)
}

func legacyRes(root, content string) string {
	return envelope(`<w:` + root + ` xmlns:w="http://ws.pagamenti.telematici.gov/">` + content + `</w:` + root + `>`)
}

func TestOutcomes(t *testing.T) {
	c := catalogue(t)
	const soapFault = `<s:Fault><faultcode>s:Server</faultcode><faultstring>x</faultstring><detail><e:f xmlns:e="u"><faultCode>PPT_SYSTEM_ERROR</faultCode></e:f></detail></s:Fault>`
	const xml, json = "text/xml; charset=utf-8", "application/json"
	const send, quadrature = "sendPaymentOutcome", "nodoChiediQuadraturaPA"
	for name, test := range map[string]struct {
		operation   string
		status      int
		contentType string
		body        string
		want        string // outcome and fault
		findings    string
	}{
		"OK":                             {send, 200, xml, sendRes("<outcome> OK </outcome>"), "OK ", ""},
		"KO under 200":                   {send, 200, xml, sendRes("<outcome>KO</outcome><fault><faultCode>PPT_TOKEN_SCADUTO</faultCode></fault>"), "KO PPT_TOKEN_SCADUTO", ""},
		"KO, code not of the catalogue":  {send, 200, xml, sendRes("<outcome>KO</outcome><fault><faultCode>X</faultCode></fault>"), "KO other", ""},
		"KO, only the wrapped code":      {send, 200, xml, sendRes("<outcome>KO</outcome><fault><originalFaultCode>PAA_SEMANTICA</originalFaultCode></fault>"), "KO other", ""},
		"KO without fault":               {send, 200, xml, sendRes("<outcome>KO</outcome>"), "KO other", ""},
		"KO split by a comment":          {send, 200, xml, sendRes("<outcome>K<!-- O -->O</outcome>"), "KO other", ""},
		"OK under 500":                   {send, 500, xml, sendRes("<outcome>OK</outcome>"), "OK ", FindingStatus},
		"no outcome":                     {send, 200, xml, sendRes(""), "none ", FindingNoOutcome},
		"other word":                     {send, 200, xml, sendRes("<outcome>ok</outcome>"), "none ", FindingNoOutcome},
		"no outcome, fault":              {send, 200, xml, sendRes("<fault><faultCode>PPT_SEMANTICA</faultCode></fault>"), "KO PPT_SEMANTICA", ""},
		"outcome elsewhere":              {send, 200, xml, sendRes("<receipt><outcome>OK</outcome></receipt>"), "none ", FindingNoOutcome},
		"query, fault":                   {quadrature, 200, xml, legacyRes("nodoChiediQuadraturaPARisposta", "<fault><faultCode>PPT_SEMANTICA</faultCode></fault>"), "KO PPT_SEMANTICA", ""},
		"query, empty fault":             {quadrature, 200, xml, legacyRes("nodoChiediQuadraturaPARisposta", "<fault/>"), "KO other", ""},
		"query, nil fault":               {quadrature, 200, xml, legacyRes("nodoChiediQuadraturaPARisposta", `<fault xsi:nil="true" xmlns:xsi="`+xsiNamespace+`"/>`), "OK ", ""},
		"query, none":                    {quadrature, 200, xml, legacyRes("nodoChiediQuadraturaPARisposta", "<xmlQuadratura>QUJD</xmlQuadratura>"), "OK ", ""},
		"cart":                           {"nodoInviaCarrelloRPT", 200, xml, legacyRes("nodoInviaCarrelloRPTRisposta", "<listaErroriRPT><fault><faultCode>PPT_SEMANTICA</faultCode></fault><fault><faultCode>PPT_SINTASSI_XSD</faultCode></fault></listaErroriRPT><esitoComplessivoOperazione>KO</esitoComplessivoOperazione>"), "KO PPT_SEMANTICA", ""},
		"nested bean":                    {"paaVerificaRPT", 200, xml, legacyRes("paaVerificaRPTRisposta", "<paaVerificaRPTRisposta><esito>OK</esito></paaVerificaRPTRisposta>"), "OK ", ""},
		"alias root, published":          {"nodoChiediFlussoRendicontazione", 200, xml, legacyRes("nodoChiediFlussoRendicontazioneRisposta", ""), "OK ", ""},
		"alias root, other copy":         {"nodoChiediFlussoRendicontazione", 200, xml, legacyRes("nodoChiediFlussoRendicontazioneResponse", ""), "OK ", ""},
		"SOAP fault":                     {send, 500, xml, envelope(soapFault), "KO PPT_SYSTEM_ERROR", ""},
		"SOAP fault, unknown operation":  {Unknown, 500, xml, envelope(soapFault), "KO PPT_SYSTEM_ERROR", ""},
		"SOAP fault, nothing known":      {send, 500, xml, envelope("<s:Fault><faultstring>boom</faultstring></s:Fault>"), "KO other", ""},
		"SOAP 1.2 fault":                 {send, 500, xml, strings.ReplaceAll(envelope(`<s:Fault><s:Code><s:Value>s:Sender</s:Value></s:Code><s:Reason><s:Text xml:lang="it">PPT_AUTENTICAZIONE: no</s:Text></s:Reason></s:Fault>`), soap11, soap12), "KO PPT_AUTENTICAZIONE", ""},
		"answer of another operation":    {"verifyPaymentNotice", 200, xml, sendRes("<outcome>OK</outcome>"), "none ", FindingOtherAnswer},
		"request as answer":              {"verifyPaymentNotice", 200, xml, verify(verifyContent), "none ", FindingOtherAnswer},
		"answer in another namespace":    {send, 200, xml, strings.Replace(sendRes("<outcome>OK</outcome>"), "nodeForPsp.xsd", "x", 1), "none ", FindingOtherAnswer},
		"no charset":                     {send, 200, "text/xml", sendRes("<outcome>OK</outcome>"), "OK ", FindingNoCharset},
		"HTML":                           {send, 502, "text/html", "<html><br>Bad gateway</html>", "KO other", FindingNotSOAP},
		"well-formed HTML":               {send, 502, "text/html", "<html/>", "KO other", FindingNotSOAP},
		"other XML":                      {send, 200, xml, "<a/>", "KO other", FindingNotSOAP},
		"APIM":                           {send, 401, json, `{"statusCode":401,"message":"Access denied"}`, "KO other", FindingNotSOAP},
		"nothing":                        {send, 200, xml, "", "KO other", FindingNotSOAP},
		"unknown operation, SOAP":        {Unknown, 200, xml, envelope("<x/>"), "none ", ""},
		"unknown operation, known root":  {Unknown, 200, xml, sendRes("<outcome>OK</outcome>"), "none ", ""},
		"unknown operation, HTML":        {Unknown, 200, "text/html", "<html>", "OK ", FindingNotSOAP},
		"unknown operation, 404":         {Unknown, 404, "text/plain", "no", "KO other", ""},
		"unknown operation, 204":         {Unknown, 204, "", "", "OK ", ""},
		"not in the catalogue":           {"noSuchOperation", 200, json, "{}", "OK ", ""},
		"REST 200":                       {"PostCartsV2", 200, json, `{"checkoutRedirectUrl":"u"}`, "OK ", ""},
		"REST 204":                       {"deletePosition", 204, "", "", "OK ", ""},
		"REST 302":                       {"PostCartsV2", 302, "", "", "KO other", ""},
		"REST problem":                   {"PostCartsV2", 422, "application/problem+json", `{"title":"x","detail":"Error PPT_PAGAMENTO_DUPLICATO: no"}`, "KO PPT_PAGAMENTO_DUPLICATO", ""},
		"REST problem, no code":          {"PostCartsV2", 500, json, `{"title":"PPT_"}`, "KO other", ""},
		"REST OK that quotes a code":     {"PostCartsV2", 200, json, `{"title":"PPT_SEMANTICA"}`, "OK ", ""},
		"REST error, text":               {"PostCartsV2", 503, "text/plain", "PPT_SEMANTICA", "KO other", ""},
		"malformed Content-Type, SOAP":   {send, 200, "text/xml; charset=a; charset=b", sendRes("<outcome>OK</outcome>"), "OK ", FindingContentType + " " + FindingNoCharset},
		"declared utf-8, says otherwise": {send, 200, xml, `<?xml version="1.0" encoding="iso-8859-1"?>` + sendRes("<outcome>OK</outcome>"), "OK ", FindingCharsetConflict},
	} {
		a, err := c.Answer(Response{Operation: test.operation, Status: test.status, ContentType: test.contentType, Body: []byte(test.body)})
		if got := a.Outcome.Code + " " + a.Outcome.Fault; err != nil || got != test.want || strings.Join(a.Findings, " ") != test.findings {
			t.Errorf("%s: %q %v %v, want %q", name, got, a.Findings, err, test.want)
		}
		outcome, _, err := c.Response(test.operation, test.status, test.contentType, []byte(test.body))
		if outcome != a.Outcome || errors.Is(err, ErrOtherAnswer) != (test.findings == FindingOtherAnswer) {
			t.Errorf("%s: Response says %+v, %v", name, outcome, err)
		}
	}
}

// What cannot be read to its end proves no outcome.
func TestUnreadableAnswers(t *testing.T) {
	c := catalogue(t)
	ok := sendRes("<outcome>OK</outcome>")
	for name, test := range map[string]struct {
		body string
		code SyntaxCode
	}{
		"cut":              {ok[:len(ok)-5], NotWellFormed},
		"two outcomes":     {sendRes("<outcome>OK</outcome><outcome>KO</outcome>"), AmbiguousKey},
		"two faults":       {sendRes("<outcome>KO</outcome><fault/><fault/>"), AmbiguousKey},
		"outcome with tag": {sendRes("<outcome>OK<a/></outcome>"), AmbiguousKey},
		"two bodies":       {strings.Replace(ok, "</s:Body>", "</s:Body><s:Body/>", 1), TwoBodies},
		"unbound prefix":   {strings.Replace(ok, "xmlns:v", "xmlns:w", 1), UnboundPrefix},
		"DTD":              {"<!DOCTYPE a>" + ok, Processing},
		"charset":          {ok + "<!-- \xff -->", Charset},
	} {
		a, err := c.Answer(Response{Operation: "sendPaymentOutcome", Status: 200, ContentType: "text/xml", Body: []byte(test.body)})
		if codeOf(err) != test.code || a.Outcome.Code != None || a.Keys != nil {
			t.Errorf("%s: %+v, %v, want %s", name, a, err, test.code)
		}
	}
	a, err := c.Answer(Response{Operation: "PostCartsV2", Status: 200, ContentType: "application/json", Body: []byte("{")})
	if codeOf(err) != NotWellFormed || a.Outcome.Code != OK {
		t.Errorf("REST: %+v, %v", a, err)
	}
	a, err = c.Answer(Response{Operation: "sendPaymentOutcome", Status: 200, ContentType: "text/xml", ContentEncoding: "br", Body: []byte(ok)})
	if err != nil || a.Outcome.Code != None || !slices.Equal(a.Findings, []string{FindingContentEncoding}) {
		t.Errorf("unknown encoding: %+v, %v", a, err)
	}
	a, err = c.Answer(Response{Operation: "sendPaymentOutcome", Status: 200, ContentType: "text/xml; charset=utf-8", ContentEncoding: "gzip", Body: zipped(t, []byte(ok))})
	if err != nil || a.Outcome.Code != OK {
		t.Errorf("gzip: %+v, %v", a, err)
	}
}

func TestAnswerKeys(t *testing.T) {
	c := catalogue(t)
	_, keys, err := c.Response("activatePaymentNotice", 200, "text/xml", bytesOf(t, filepath.Join("testdata", "synthetic", "activatePaymentNotice.res.xml")))
	if err != nil || keys.First("paymentToken") != "c0ffee00000040008000000000000001" || keys.First("iuv") != "02000100000012345" || keys.First("outcome") != "" {
		t.Errorf("keys %v, %v", keys, err)
	}
	_, keys, err = c.Response("getOrganizationReceiptIur", 200, "application/json", []byte(`{"noticeNumber":"3","fiscalCode":"7"}`))
	if err != nil || keysOf(keys) != "notice=3 creditor=7" {
		t.Errorf("keys %v, %v", keys, err)
	}
}

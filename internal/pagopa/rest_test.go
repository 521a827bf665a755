package pagopa

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sigillo/internal/exchange"
)

func rest(method, path, query, body string) Request {
	r := Request{Method: method, Path: path, RawQuery: query, Body: []byte(body)}
	if body != "" {
		r.ContentType = "application/json"
	}
	return r
}

func TestRESTTemplates(t *testing.T) {
	c := catalogue(t)
	fill := strings.NewReplacer("{", "%7Bv-", "}", "%7D") // values that look like parameters themselves
	for i := range c.operations {
		op := &c.operations[i]
		if op.Protocol != REST {
			continue
		}
		got, err := c.Request(rest(op.Method, fill.Replace(op.Path), "", ""))
		if err != nil || got.Operation != op.Name || got.Direction != op.Direction || got.Interface != op.Interface || got.Protocol != REST {
			t.Errorf("%s %s: %s, %v", op.Method, op.Path, got.Operation, err)
		}
		for _, k := range op.RequestKeys {
			if want := "{v-" + k.Path + "}"; k.In == "path" && !slices.Contains(got.Keys.All(k.Name), want) {
				t.Errorf("%s: %s is %q", op.Name, k.Name, got.Keys.All(k.Name))
			}
		}
		if got, err := c.Request(rest("TRACE", op.Path, "", "")); err != nil || got.Operation != Unknown {
			t.Errorf("TRACE %s: %s, %v", op.Path, got.Operation, err)
		}
	}
}

func TestRESTKeys(t *testing.T) {
	c := catalogue(t)
	for name, test := range map[string]struct {
		request   Request
		operation string
		keys      string
		findings  string
	}{
		"path and query": {rest("GET", "/fdr-org/service/v1/organizations/77777777777/fdrs", "pspId=TEST%50SP1&page=1", ""),
			"IOrganizationsController_getAllPublishedFlows", "creditor=77777777777 idPSP=TESTPSP1", ""},
		"doubled slashes": {rest("GET", "/gpd/debt-positions-service/v1/organizations//777/debtpositions/I%201", "", ""),
			"getOrganizationDebtPositionByIUPD", "creditor=777 iupd=I 1", ""},
		"literal before parameter": {rest("PATCH", "/gpd/debt-positions-service/v1/organizations/777/debtpositions/transfers", "", "{}"),
			"updateTransferIbanMassive", "creditor=777", ""},
		"plus in a path is a plus": {rest("GET", "/gpd/payments-receipts-service/v1/payments/777/receipts/a+b", "", ""), "getReceiptByIUV", "creditor=777 iuv=a+b", ""},
		"body": {rest("POST", "/fdr-psp/service/v1/psps/P/fdrs/F", "", `{"fdr":"F","sender":{"pspId":"P","x":{"pspId":"no"}},"receiver":{"organizationId":"77777777777"},"sumPayments":10.50,"y":null}`),
			"IPspsController_createEmptyFlow", "idFlusso=F idPSP=P idFlusso=F idPSP=P creditor=77777777777 amount=10.50", ""},
		"arrays": {rest("PUT", "/fdr-psp/service/v1/psps/P/fdrs/F/payments/add", "", `{"payments":[{"iuv":"1","iur":"a"},{"iur":"b","iuv":"2"},[{"iuv":"3"}],"z"],"z":[[[{"iuv":"4"}]]]}`),
			"IPspsController_addPaymentToExistingFlow", "idFlusso=F idPSP=P iuv=1 transactionId=a transactionId=b iuv=2", ""},
		"one instead of an array": {rest("POST", "/carts", "", `{"paymentNotices":{"noticeNumber":"3"}}`), "PostCartsV2", "notice=3", ""},
		"escaped name":            {rest("POST", "/carts", "", `{"\u0069dCart":"\u0043"}`), "PostCartsV2", "cartId=C", ""},
		"null, empty, bool":       {rest("POST", "/carts", "", `{"idCart":null,"paymentNotices":[{"noticeNumber":"","fiscalCode":true}]}`), "PostCartsV2", "creditor=true", ""},
		"array for a value":       {rest("POST", "/carts", "", `{"idCart":["C"]}`), "PostCartsV2", "", "key-not-scalar:cartId"},
		"object for a value":      {rest("POST", "/carts", "", `{"idCart":{"idCart":"C"}}`), "PostCartsV2", "", "key-not-scalar:cartId"},
		"array on top":            {rest("POST", "/carts", "", `[{"idCart":"C"}]`), "PostCartsV2", "", ""},
		"long":                    {rest("POST", "/carts", "", `{"idCart":"`+strings.Repeat("9", 257)+`"}`), "PostCartsV2", "", "key-too-long:cartId"},
		"long path":               {rest("DELETE", "/fdr-psp/service/v1/psps/"+strings.Repeat("9", 257)+"/fdrs/F", "", ""), "IPspsController_deleteExistingFlow", "idFlusso=F", "key-too-long:idPSP"},
		"JSON not declared":       {Request{Method: "POST", Path: "/carts", Body: []byte(`{"idCart":"C"}`)}, "PostCartsV2", "cartId=C", ""},
		"not JSON":                {Request{Method: "POST", Path: "/carts", ContentType: "text/plain", Body: []byte(`{"idCart":"C",`)}, "PostCartsV2", "", FindingNotJSON},
		"file":                    {Request{Method: "PUT", Path: "/upload/gpd/debt-positions-service/v1/brokers/B/organizations/O/debtpositions/file", ContentType: "multipart/form-data; boundary=x", Body: []byte("--x")}, "update-debt-positions-by-file-upload", "", ""},
		"trailing slash":          {rest("POST", "/carts/", "", ""), Unknown, "", ""},
		"method":                  {rest("post", "/carts", "", ""), Unknown, "", ""},
		"wsdl":                    {rest("GET", "/nodo-auth/node-for-psp/v1", "wsdl", ""), Unknown, "", ""},
		"wsdl with type":          {Request{Method: "GET", Path: "/x", RawQuery: "wsdl", ContentType: "text/xml"}, Unknown, "", ""},
		"unknown with body":       {rest("POST", "/elsewhere", "", `{"idCart":"C"}`), Unknown, "", ""},
	} {
		got, err := c.Request(test.request)
		if err != nil || got.Operation != test.operation || keysOf(got.Keys) != test.keys || strings.Join(got.Findings, " ") != test.findings || got.Protocol != REST {
			t.Errorf("%s: %v, %+v", name, err, got)
		}
	}
}

func keysOf(keys exchange.Keys) string {
	var all []string
	for _, k := range keys {
		all = append(all, k.Name+"="+k.Value)
	}
	return strings.Join(all, " ")
}

func TestRESTRefusals(t *testing.T) {
	c := catalogue(t)
	many := func(n int) string {
		return `{"payments":[` + strings.TrimSuffix(strings.Repeat(`{"iuv":"1"},`, n), ",") + `]}`
	}
	const add = "/fdr-psp/service/v1/psps/P/fdrs/F/payments/add"
	for name, test := range map[string]struct {
		request Request
		code    SyntaxCode
	}{
		"dot segment":             {rest("GET", "/carts/../x", "", ""), BadPath},
		"encoded dot segment":     {rest("GET", "/carts/%2e%2E/x", "", ""), BadPath},
		"encoded slash":           {rest("GET", "/gpd/payments-receipts-service/v1/payments/777/receipts/a%2Fb", "", ""), BadPath},
		"backslash":               {rest("GET", `/a\b`, "", ""), BadPath},
		"encoded NUL":             {rest("GET", "/a%00", "", ""), BadPath},
		"half an escape":          {rest("GET", "/a%4", "", ""), BadPath},
		"not UTF-8":               {rest("GET", "/%ff", "", ""), BadPath},
		"query key twice":         {rest("GET", "/fdr-org/service/v1/organizations/7/fdrs", "pspId=A&pspId=B", ""), AmbiguousKey},
		"query key not UTF-8":     {rest("GET", "/fdr-org/service/v1/organizations/7/fdrs", "pspId=%bb", ""), BadQuery},
		"query with semicolon":    {rest("GET", "/fdr-org/service/v1/organizations/7/fdrs", "a=1;pspId=B", ""), BadQuery},
		"member twice":            {rest("POST", "/carts", "", `{"idCart":"A","idCart":"B"}`), AmbiguousKey},
		"member twice, escaped":   {rest("POST", "/carts", "", `{"idCart":"A","\u0069dCart":"B"}`), AmbiguousKey},
		"list twice":              {rest("POST", "/carts", "", `{"paymentNotices":[],"paymentNotices":[]}`), AmbiguousKey},
		"holder twice":            {rest("POST", "/fdr-psp/service/v1/psps/P/fdrs/F", "", `{"sender":{},"sender":{"pspId":"X"}}`), AmbiguousKey},
		"member twice, no type":   {Request{Method: "POST", Path: "/carts", Body: []byte(`{"idCart":"A","idCart":"B"}`)}, AmbiguousKey},
		"not JSON":                {rest("POST", "/carts", "", `<a/>`), NotWellFormed},
		"not JSON, unknown":       {rest("POST", "/x", "", `<a/>`), NotWellFormed},
		"empty as white space":    {rest("POST", "/x", "", ` `), NotWellFormed},
		"cut":                     {rest("POST", "/carts", "", `{"a":1`), NotWellFormed},
		"trailing comma":          {rest("POST", "/carts", "", `{"a":1,}`), NotWellFormed},
		"two values":              {rest("POST", "/carts", "", `{} {}`), NotWellFormed},
		"text behind":             {rest("POST", "/carts", "", `{}x`), NotWellFormed},
		"not UTF-8 in the body":   {rest("POST", "/carts", "", "{\"a\":\"\xff\"}"), Charset},
		"deep":                    {rest("POST", "/carts", "", strings.Repeat(`{"a":`, 65)), TooDeep},
		"too many keys":           {rest("PUT", add, "", many(maxKeys)), TooBig},
		"SOAP to a REST path":     {Request{Method: "DELETE", Path: "/fdr-psp/service/v1/psps/P/fdrs/F", ContentType: "text/xml", Body: []byte(verify(verifyContent))}, TwoProtocols},
		"gzip of it":              {Request{Method: "DELETE", Path: "/fdr-psp/service/v1/psps/P/fdrs/F", ContentType: "text/xml", ContentEncoding: "gzip", Body: zipped(t, []byte(verify("")))}, TwoProtocols},
		"SOAP to a dotted path":   {Request{Method: "POST", Path: "/x/../carts", ContentType: "text/xml", Body: []byte(verify(verifyContent))}, BadPath},
		"problem+json, malformed": {Request{Method: "POST", Path: "/carts", ContentType: "application/vnd.x+json; charset=utf-8", Body: []byte("{")}, NotWellFormed},
	} {
		got, err := c.Request(test.request)
		if codeOf(err) != test.code || got.Keys != nil || got.Operation != Unknown {
			t.Errorf("%s: %v, want %s", name, err, test.code)
		}
	}
	r := post([]byte(verify(verifyContent)))
	r.Method = "PUT"
	if got, err := c.Request(r); err != nil || got.Operation != Unknown || got.Keys != nil || !slices.Contains(got.Findings, FindingMethod) {
		t.Errorf("SOAP under PUT: %+v, %v", got, err)
	}
	if got, err := c.Request(rest("PUT", add, "", many(1000))); err != nil || len(got.Keys.All("iuv")) != 1000 {
		t.Errorf("a flow of 1,000 payments: %v", err)
	}
}

// The text of errors and findings may be logged: it must not repeat the message.
func TestErrorsCarryNoContent(t *testing.T) {
	c := catalogue(t)
	const secret = "RSSMRA80A01H501U"
	for _, r := range []Request{
		post([]byte(verify("<" + secret + ">&" + secret + ";</" + secret + ">"))),
		post([]byte(verify("<" + secret + "></x>"))),
		post([]byte(verify("<" + secret + ":a/>"))),
		post([]byte(`<?xml version="1.0" encoding="` + secret + `"?>` + verify(""))),
		post([]byte(`<?` + secret + `?>` + verify(""))),
		post([]byte(`<!DOCTYPE ` + secret + `>` + verify(""))),
		post([]byte(verify("<idPSP>" + secret + "</idPSP><idPSP>" + secret + "</idPSP>"))),
		post([]byte(verify("<idPSP>" + strings.Repeat(secret, 20) + "</idPSP>"))),
		{Method: "POST", ContentType: "text/xml; charset=" + secret, Body: []byte(verify(""))},
		{Method: "POST", ContentType: secret + "/", Body: []byte(verify(""))},
		{Method: "POST", ContentType: "multipart/related; boundary=" + secret, Body: []byte(secret)},
		{Method: "POST", ContentType: "text/xml", SOAPAction: secret, Body: []byte(verify(""))},
		rest("GET", "/%"+secret, "", ""),
		rest("GET", "/fdr-org/service/v1/organizations/7/fdrs", "pspId=%"+secret, ""),
		rest("POST", "/carts", "", `{"idCart":"`+secret+`","idCart":"`+secret+`"}`),
		rest("POST", "/carts", "", `{"idCart":["`+secret+`"]}`),
		rest("POST", "/carts", "", secret),
	} {
		got, err := c.Request(r)
		if err == nil && len(got.Findings) == 0 {
			t.Errorf("%s %s: neither error nor finding", r.ContentType, r.Path)
		}
		if s := fmt.Sprintf("%v %+v %v", err, err, got.Findings); strings.Contains(strings.ToUpper(s), secret) {
			t.Errorf("content in %q", s)
		}
	}
}

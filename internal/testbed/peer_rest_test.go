package testbed

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// Every REST operation answers with its status and with JSON that repeats the identifiers of the path.
func TestRESTOperations(t *testing.T) {
	a := newAnswerer(t, RoleAny)
	if len(a.rest) != 53 {
		t.Fatalf("%d operations, want 53", len(a.rest))
	}
	param := regexp.MustCompile(`\{[^}]+\}`)
	for _, row := range a.rest {
		path := param.ReplaceAllString(row.path, "P-1")
		path = strings.Replace(path, "/v1/organizations", "/v1//organizations", 1) // as the GPD specification writes it
		r := Request{Method: row.method, Path: path, Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(`{"iupd":"I-1","n":1.10}`)}
		answer := a.Answer(t.Context(), r)
		if answer.Status != row.status || answer.Operation != row.operation || answer.Pattern != row.path {
			t.Errorf("%s: status %d of %q, want %d", row.operation, answer.Status, answer.Operation, row.status)
		}
		if row.answer != nil && !json.Valid(answer.Body) {
			t.Errorf("%s: not JSON: %s", row.operation, answer.Body)
		}
		if row.answer == "$body" && strings.TrimSpace(string(answer.Body)) != string(r.Body) {
			t.Errorf("%s: not the body sent: %s", row.operation, answer.Body)
		}
		for _, name := range param.FindAllString(row.path, -1) {
			text, err := json.Marshal(row.answer)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(text), `"$`+strings.Trim(name, "{}")+"|") && !strings.Contains(string(answer.Body), "P-1") {
				t.Errorf("%s: %s not carried over: %s", row.operation, name, answer.Body)
			}
		}
		r.KO = true
		if answer = a.Answer(t.Context(), r); answer.Status != 400 || answer.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s KO: status %d", row.operation, answer.Status)
		}
	}
}

func TestRESTRefusals(t *testing.T) {
	a := newAnswerer(t, RoleNode)
	for name, c := range map[string]struct {
		request Request
		want    int
	}{
		"unknown path":     {Request{Method: "GET", Path: "/nowhere"}, 404},
		"other method":     {Request{Method: "PUT", Path: "/carts"}, 405},
		"not JSON":         {Request{Method: "POST", Path: "/carts", Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte("{")}, 400},
		"two documents":    {Request{Method: "POST", Path: "/carts", Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte("{}{}")}, 400},
		"of another role":  {Request{Method: "POST", Path: "/service/v1/payment-options/organizations/77777777777/notices/302000100000012345"}, 404},
		"empty identifier": {Request{Method: "GET", Path: "/fdr-psp/service/v1/psps//published"}, 404},
	} {
		answer := a.Answer(t.Context(), c.request)
		if answer.Status != c.want || !json.Valid(answer.Body) {
			t.Errorf("%s: status %d, want %d: %s", name, answer.Status, c.want, answer.Body)
		}
	}
	answer := a.Answer(t.Context(), Request{Method: "GET", Path: "/fdr-org/service/v1/organizations/77777777777/fdrs", Query: url.Values{"pspId": {"OTHERPSP"}}})
	if !strings.Contains(string(answer.Body), `"pspId":"OTHERPSP"`) {
		t.Errorf("the query is not carried over: %s", answer.Body)
	}
	answer = newAnswerer(t, RolePSP).Answer(t.Context(), Request{Method: "POST", Path: "/redirections", Header: http.Header{}, Body: []byte(`{"idTransaction":"T-9","amount":1e999}`)})
	if !strings.Contains(string(answer.Body), `"idTransaction":"T-9"`) || !strings.Contains(string(answer.Body), `"amount":10000`) {
		t.Errorf("redirection: %s", answer.Body)
	}
}

// Whatever a caller sends, an answer comes, and one that can be read.
func FuzzAnswer(f *testing.F) {
	verify, err := soapRequest("verifyPaymentNotice", nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("/", xmlContentType, "", verify)
	f.Add("/", `multipart/related; start="<r>"; boundary=b`, "", []byte("--b\r\nContent-ID: <r>\r\n\r\n"+string(verify)+"\r\n--b--"))
	f.Add("/", "text/xml; charset=utf-16", "gzip", []byte("\x1f\x8b"))
	f.Add("/carts", "application/json", "", []byte(`{"idCart":{"a":[1,2,{"idCart":"x"}]}}`))
	a, err := NewAnswerer(RoleAny)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, path, contentType, coding string, body []byte) {
		answer := a.Answer(t.Context(), Request{Method: http.MethodPost, Path: path, Body: body,
			Header: http.Header{"Content-Type": {contentType}, "Content-Encoding": {coding}}})
		switch kind := answer.Header.Get("Content-Type"); {
		case answer.Status < 200 || answer.Status > 599:
			t.Fatalf("status %d", answer.Status)
		case strings.Contains(kind, "json"):
			if !json.Valid(answer.Body) {
				t.Fatalf("not JSON: %q", answer.Body)
			}
		case strings.Contains(kind, "xml"):
			if _, _, err := parseSOAP(answer.Body); err != nil {
				t.Fatalf("%v: %q", err, answer.Body)
			}
		case len(answer.Body) > 0:
			t.Fatalf("content type %q", kind)
		}
	})
}

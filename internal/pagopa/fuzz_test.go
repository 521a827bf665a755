package pagopa

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"sigillo/internal/exchange"
)

func seeds(f *testing.F, kinds ...string) [][]byte {
	f.Helper()
	var all [][]byte
	err := filepath.WalkDir(filepath.Join("testdata", "synthetic"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		for _, kind := range kinds {
			if strings.Contains(path, kind) {
				all = append(all, bytesOf(f, path))
			}
		}
		return nil
	})
	if err != nil {
		f.Fatal(err)
	}
	return all
}

// sound checks what holds for every message whatsoever.
func sound(t *testing.T, c *Catalogue, keys exchange.Keys, findings []string, err error) {
	t.Helper()
	names := map[string]bool{}
	for _, op := range c.operations {
		for _, k := range append(append([]KeyPath{}, op.RequestKeys...), op.ResponseKeys...) {
			names[k.Name] = true
		}
	}
	for _, k := range keys {
		if !names[k.Name] || silentKeys[k.Name] || k.Value == "" || len(k.Value) > maxKeyBytes || !utf8.ValidString(k.Value) {
			t.Errorf("key %q with %d bytes", k.Name, len(k.Value))
		}
	}
	if len(keys) > maxKeys || len(findings) > 64 {
		t.Errorf("%d keys, %d findings", len(keys), len(findings))
	}
	if err != nil && codeOf(err) == "" && !errors.Is(err, ErrActionMismatch) && !errors.Is(err, ErrOtherAnswer) {
		t.Errorf("an error without a type: %v", err)
	}
}

func FuzzRequest(f *testing.F) {
	c := catalogue(f)
	for _, body := range seeds(f, ".req.") {
		f.Add("text/xml; charset=utf-8", "", "", body)
		f.Add(`multipart/related; type="application/xop+xml"; start="<root@example.it>"; boundary=MIME_b`, "soapAction=paSendRT", `"x"`, body)
	}
	f.Fuzz(func(t *testing.T, contentType, query, action string, body []byte) {
		r := Request{Method: "POST", Path: "/x", RawQuery: query, ContentType: contentType, SOAPAction: action, Body: body}
		got, err := c.Request(r)
		sound(t, c, got.Keys, got.Findings, err)
		if (got.Operation == Unknown) != (got.Direction == "") || got.Operation == Unknown && got.Keys != nil {
			t.Errorf("%+v", got)
		}
		if again, err2 := c.Request(r); !reflect.DeepEqual(again, got) || codeOf(err2) != codeOf(err) {
			t.Error("two readings differ")
		}
	})
}

func FuzzResponse(f *testing.F) {
	c := catalogue(f)
	for _, body := range seeds(f, ".res.", ".fault.") {
		f.Add("sendPaymentOutcome", 200, "text/xml", body)
	}
	f.Add("PostCartsV2", 422, "application/problem+json", []byte(`{"detail":"PPT_SEMANTICA"}`))
	f.Fuzz(func(t *testing.T, operation string, status int, contentType string, body []byte) {
		a, err := c.Answer(Response{Operation: operation, Status: status, ContentType: contentType, Body: body})
		sound(t, c, a.Keys, a.Findings, err)
		if _, known := c.Fault(a.Outcome.Fault); a.Outcome.Code == KO && !known && a.Outcome.Fault != OtherFault || a.Outcome.Code != KO && a.Outcome.Fault != "" {
			t.Errorf("outcome %+v", a.Outcome)
		}
		if a.Outcome.Code != OK && a.Outcome.Code != KO && a.Outcome.Code != None {
			t.Errorf("outcome %+v", a.Outcome)
		}
	})
}

func FuzzREST(f *testing.F) {
	c := catalogue(f)
	for i := range c.operations {
		if op := &c.operations[i]; op.Protocol == REST {
			f.Add(op.Method, op.Path, "pspId=1", []byte(`{"idCart":"C","paymentNotices":[{"noticeNumber":"3"}]}`))
		}
	}
	f.Add("POST", "/carts", "", []byte(`{"payments":[{"iuv":"1","iur":"a"}]}`))
	f.Fuzz(func(t *testing.T, method, path, query string, body []byte) {
		got, err := c.Request(Request{Method: method, Path: path, RawQuery: query, ContentType: "application/json", Body: body})
		sound(t, c, got.Keys, got.Findings, err)
		if got.Protocol != REST || got.Operation == Unknown && got.Keys != nil || !utf8.ValidString(got.Name) {
			t.Errorf("%+v", got)
		}
	})
}

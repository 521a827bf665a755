package pagopa

import (
	"encoding/base64"
	"strings"
	"testing"
)

func TestMultipart(t *testing.T) {
	c := catalogue(t)
	root := verify(verifyContent)
	part := func(headers, body string) string { return "--b\r\n" + headers + "\r\n\r\n" + body + "\r\n" }
	const id, other, end = "Content-ID: <r@x>\r\nContent-Type: text/xml; charset=utf-8", "Content-ID: <o@x>", "--b--\r\n"
	const related = `multipart/related; boundary=b; type="text/xml"; start="<r@x>"`
	for name, test := range map[string]struct {
		contentType, body string
		code              SyntaxCode
	}{
		"first":               {related, part(id, root) + part(other, "x") + end, ""},
		"second":              {related, part(other, verify("<idPSP>no</idPSP>")) + part(id, root) + end, ""},
		"start without <>":    {strings.NewReplacer("<", "", ">", "").Replace(related), part(id, root) + end, ""},
		"no start":            {"multipart/related; boundary=b", part("X: y", root) + part(other, "x") + end, ""},
		"base64":              {related, part(id+"\r\nContent-Transfer-Encoding: base64", base64.StdEncoding.EncodeToString([]byte(root))) + end, ""},
		"quoted-printable":    {related, part(id+"\r\nContent-Transfer-Encoding: quoted-printable", strings.ReplaceAll(root, "=", "=3D")) + end, ""},
		"preamble":            {related, "see the parts\r\n" + part(id, root) + end, ""},
		"two roots":           {related, part(id, root) + part(id, verify("")) + end, BadMultipart},
		"no root":             {related, part(other, root) + end, BadMultipart},
		"no end":              {related, part(id, root), BadMultipart},
		"no parts":            {related, end, BadMultipart},
		"no boundary":         {`multipart/related; type="text/xml"`, part(id, root) + end, BadMultipart},
		"long boundary":       {"multipart/related; boundary=" + strings.Repeat("b", 71), part(id, root) + end, BadMultipart},
		"odd encoding":        {related, part(id+"\r\nContent-Transfer-Encoding: x-uue", root) + end, BadMultipart},
		"header twice":        {related, part(id+"\r\nContent-Type: text/xml", root) + end, BadMultipart},
		"root not XML":        {related, part(id, "{}") + end, NotWellFormed},
		"root with charset":   {related, part(strings.Replace(id, "utf-8", "ebcdic", 1), root) + end, Charset},
		"root with two types": {related, part("Content-ID: <r@x>\r\nContent-Type: text/xml; a=1; a=2", root) + end, BadContentType},
		"included identity":   {related, part(id, verify(`<idPSP><x:Include xmlns:x="http://www.w3.org/2004/08/xop/include" href="cid:o@x"/></idPSP>`)) + part(other, "X") + end, AmbiguousKey},
		"cut in the root":     {related, part(id, root)[:200], BadMultipart},
	} {
		got, err := c.Request(Request{Method: "POST", ContentType: test.contentType, Body: []byte(test.body)})
		if codeOf(err) != test.code {
			t.Errorf("%s: %v, want %s", name, err, test.code)
		}
		if test.code == "" && (err != nil || got.Operation != "verifyPaymentNotice" || got.Keys.First("idPSP") != "TESTPSP1") {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	got, err := c.Request(Request{Method: "POST", ContentType: `multipart/related; boundary=b; type="application/json"`, Body: []byte(part(id, root) + end)})
	if err != nil || got.Protocol != REST || got.Operation != Unknown {
		t.Errorf("a root that is not XML: %+v, %v", got, err)
	}
}

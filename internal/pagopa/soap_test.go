package pagopa

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"
)

const nodeForPsp = "http://pagopa-api.pagopa.gov.it/node/nodeForPsp.xsd"

// envelope wraps what stands in soap:Body.
func envelope(inside string) string {
	return `<s:Envelope xmlns:s="` + soap11 + `"><s:Header/><s:Body>` + inside + `</s:Body></s:Envelope>`
}

// verify is a whole verifyPaymentNotice with the given content.
func verify(content string) string {
	return envelope(`<v:verifyPaymentNoticeReq xmlns:v="` + nodeForPsp + `">` + content + `</v:verifyPaymentNoticeReq>`)
}

const verifyContent = `<idPSP>TESTPSP1</idPSP><idBrokerPSP>88888888888</idBrokerPSP><idChannel>88888888888_01</idChannel><password>segreto-99</password>` +
	`<qrCode><fiscalCode>77777777777</fiscalCode><noticeNumber>302000100000012345</noticeNumber></qrCode>`

func TestMalformed(t *testing.T) {
	c := catalogue(t)
	deep := strings.Repeat("<a>", 100) + strings.Repeat("</a>", 100)
	for name, test := range map[string]struct {
		body string
		code SyntaxCode
	}{
		"cut":                       {verify(verifyContent)[:300], NotWellFormed},
		"not XML":                   {`{"a":1}`, NotWellFormed},
		"white space":               {"  \n", NotWellFormed},
		"two roots":                 {verify("") + verify(""), NotWellFormed},
		"text behind":               {verify("") + "x", NotWellFormed},
		"text before":               {"x" + verify(""), NotWellFormed},
		"second mark":               {"\uFEFF\uFEFF" + verify(""), NotWellFormed},
		"tags cross":                {verify("<a><b></a></b>"), NotWellFormed},
		"other prefix at the end":   {envelope(`<v:a xmlns:v="x" xmlns:w="x"></w:a>`), NotWellFormed},
		"repeated attribute":        {verify(`<a b="1" b="2"/>`), NotWellFormed},
		"repeated by namespace":     {verify(`<a xmlns:p="u" xmlns:q="u" p:b="1" q:b="2"/>`), NotWellFormed},
		"repeated declaration":      {verify(`<a xmlns:p="u" xmlns:p="v"/>`), NotWellFormed},
		"control character":         {verify("<a>\x01</a>"), NotWellFormed},
		"NUL by reference":          {verify("<a>&#0;</a>"), NotWellFormed},
		"late declaration":          {" <?xml version=\"1.0\"?>" + verify(""), Processing},
		"XML 1.1":                   {`<?xml version="1.1"?>` + verify(""), NotWellFormed},
		"odd declaration":           {`<?xml version="1.0" x='encoding="iso-8859-1"'?>` + verify(""), NotWellFormed},
		"DTD":                       {`<!DOCTYPE a>` + verify(""), Processing},
		"DTD inside":                {verify(`<!ENTITY a "b">`), Processing},
		"entity":                    {verify("<a>&x;</a>"), NotWellFormed},
		"processing instruction":    {verify("<?php x?>"), Processing},
		"style sheet":               {`<?xml-stylesheet href="x"?>` + verify(""), Processing},
		"unknown charset":           {`<?xml version="1.0" encoding="utf-7"?>` + verify(""), Charset},
		"UTF-16 without mark":       {`<?xml version="1.0" encoding="utf-16"?>` + verify(""), Charset},
		"not UTF-8":                 {verify("<a>\xEC</a>"), Charset},
		"not UTF-8 in comment":      {verify("<!-- \xEC -->"), Charset},
		"overlong UTF-8":            {verify("<a>\xC0\xBC</a>"), Charset},
		"unbound attribute":         {verify(`<a p:b="1"/>`), UnboundPrefix},
		"prefix out of scope":       {verify(`<a xmlns:p="u"/><p:b/>`), UnboundPrefix},
		"prefix undeclared":         {verify(`<a xmlns:p=""/>`), UnboundPrefix},
		"xml bound elsewhere":       {verify(`<a xmlns:xml="u"/>`), UnboundPrefix},
		"xmlns bound":               {verify(`<a xmlns:xmlns="u"/>`), UnboundPrefix},
		"element named xmlns:a":     {verify(`<xmlns:a/>`), UnboundPrefix},
		"empty prefix":              {verify(`<:a/>`), UnboundPrefix},
		"two colons":                {verify(`<a:b:c/>`), NotWellFormed},
		"no Body":                   {`<s:Envelope xmlns:s="` + soap11 + `"/>`, EnvelopeStructure},
		"Header after Body":         {`<s:Envelope xmlns:s="` + soap11 + `"><s:Body/><s:Header/></s:Envelope>`, EnvelopeStructure},
		"two Headers":               {`<s:Envelope xmlns:s="` + soap11 + `"><s:Header/><s:Header/><s:Body/></s:Envelope>`, EnvelopeStructure},
		"Body of SOAP 1.2":          {`<s:Envelope xmlns:s="` + soap11 + `"><s:Body xmlns:s="` + soap12 + `"/></s:Envelope>`, EnvelopeStructure},
		"trailer":                   {`<s:Envelope xmlns:s="` + soap11 + `"><s:Body/><a/></s:Envelope>`, EnvelopeStructure},
		"text in Body":              {envelope("x<a/>"), EnvelopeStructure},
		"two operations":            {envelope("<a/><b/>"), TwoOperations},
		"deep":                      {verify(deep), TooDeep},
		"deep, unknown":             {envelope(deep), TooDeep},
		"deep, no envelope":         {deep, TooDeep},
		"identity twice":            {verify("<idPSP>A</idPSP><idPSP>B</idPSP>"), AmbiguousKey},
		"identity twice, qualified": {verify("<idPSP>A</idPSP><v:idPSP>B</v:idPSP>"), AmbiguousKey},
		"identity twice, empty":     {verify("<idPSP>A</idPSP><idPSP/>"), AmbiguousKey},
		"holder twice":              {verify("<qrCode><fiscalCode>1</fiscalCode></qrCode><qrCode><noticeNumber>2</noticeNumber></qrCode>"), AmbiguousKey},
		"element in identity":       {verify("<idPSP>A<b>C</b></idPSP>"), AmbiguousKey},
		"attributes":                {verify("<a" + attributes(65) + "/>"), TooBig},
		"attribute too long":        {verify(`<a b="` + strings.Repeat("x", maxTag) + `"/>`), TooBig},
		"comment too long":          {verify(`<!--` + strings.Repeat("x", maxText) + `-->`), TooBig},
		"text too long":             {verify(`<a>` + strings.Repeat("x.", maxText/2+1) + `</a>`), TooBig},
	} {
		got, err := c.Request(Request{Method: "POST", ContentType: "text/xml", Body: []byte(test.body)})
		if codeOf(err) != test.code {
			t.Errorf("%s: got %s and %v, want %s", name, got.Operation, err, test.code)
		}
		if got.Operation != Unknown || got.Keys != nil {
			t.Errorf("%s: an operation or keys beside the error", name)
		}
	}
}

func attributes(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, " a%d=''", i)
	}
	return b.String()
}

func TestWellFormedOddities(t *testing.T) {
	c := catalogue(t)
	keys := func(body string) Classified {
		t.Helper()
		got, err := c.Request(Request{Method: "POST", ContentType: "text/xml", Body: []byte(body)})
		if err != nil || got.Operation != "verifyPaymentNotice" || len(got.Findings) > 0 {
			t.Fatalf("%v, %+v", err, got)
		}
		return got
	}
	for name, body := range map[string]string{
		"plain":             verify(verifyContent),
		"newlines":          "<?xml version='1.0' encoding = \"utf-8\" standalone='yes' ?>\r\n" + verify(strings.ReplaceAll(verifyContent, "><", ">\r\n\t<")) + "\n<!-- end -->\n",
		"spaces in a value": verify(strings.Replace(verifyContent, "TESTPSP1", "\n TESTPSP1\t ", 1)),
		"references":        verify(strings.Replace(verifyContent, "TESTPSP1", "&#84;EST&#x50;SP1", 1)),
		"CDATA":             verify(strings.Replace(verifyContent, "TESTPSP1", "TE<![CDATA[STP]]><!-- <idPSP>X</idPSP> -->SP1", 1)),
		"SOAP 1.2":          strings.ReplaceAll(verify(verifyContent), soap11, soap12),
		"xml:lang":          verify(verifyContent + `<a xml:lang="it"/>`),
		"extra elements":    verify(verifyContent + `<new><idPSP>OTHER</idPSP></new>`),
		"same name deeper":  verify(`<x><qrCode/></x>` + verifyContent),
		"no header":         strings.Replace(verify(verifyContent), "<s:Header/>", "", 1),
		"security header":   strings.Replace(verify(verifyContent), "<s:Header/>", "<s:Header><w:Security xmlns:w='u'><idPSP>X</idPSP></w:Security></s:Header>", 1),
		"default namespace": strings.ReplaceAll(strings.ReplaceAll(verify(verifyContent), "v:", ""), "xmlns:v", "xmlns"),
	} {
		got := keys(body)
		want := []string{"TESTPSP1", "88888888888", "88888888888_01", "77777777777", "302000100000012345"}
		for i, k := range []string{"idPSP", "idBrokerPSP", "idChannel", "creditor", "notice"} {
			if v := got.Keys.All(k); !slices.Equal(v, want[i:i+1]) {
				t.Errorf("%s: %s is %q", name, k, v)
			}
		}
		if len(got.Keys) != 5 || got.Keys.First("password") != "" {
			t.Errorf("%s: keys %v", name, got.Keys)
		}
	}
	got, err := c.Request(post([]byte(verify("<idPSP>" + strings.Repeat("9", 257) + "</idPSP><idChannel>" + strings.Repeat("9", 256) + strings.Repeat(" ", 9000) + "</idChannel>"))))
	if err != nil || got.Keys.First("idPSP") != "" || len(got.Keys.First("idChannel")) != 256 || !slices.Equal(got.Findings, []string{"key-too-long:idPSP"}) {
		t.Errorf("long values: %v, %v", got.Findings, err)
	}
}

func TestEncodings(t *testing.T) {
	c := catalogue(t)
	body := verify(strings.Replace(verifyContent, "TESTPSP1", "Perché", 1))
	declared := func(label string) string { return `<?xml version="1.0" encoding="` + label + `"?>` + body }
	encode := func(b []byte, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	latin1 := func(s string) string { return encode(charmap.ISO8859_1.NewEncoder().Bytes([]byte(s))) }
	utf16 := func(s string, e unicode.Endianness) string {
		return encode(unicode.UTF16(e, unicode.UseBOM).NewEncoder().Bytes([]byte(s)))
	}
	for name, test := range map[string]struct {
		contentType, body string
		finding           string
	}{
		"utf-8":                     {"text/xml; charset=UTF-8", body, ""},
		"utf-8, mark":               {"text/xml", "\uFEFF" + declared("UTF-8"), ""},
		"latin-1 by parameter":      {"text/xml; charset=ISO-8859-1", latin1(body), ""},
		"latin-1 by declaration":    {"text/xml", latin1(declared("ISO-8859-1")), ""},
		"windows":                   {"text/xml; charset=\"Windows-1252\"", latin1(body), ""},
		"latin-9":                   {"text/xml; charset=iso-8859-15", latin1(body), ""},
		"parameter before":          {"text/xml; charset=ISO-8859-1", latin1(declared("UTF-8")), FindingCharsetConflict},
		"mark before":               {"text/xml; charset=ISO-8859-1", "\uFEFF" + body, FindingCharsetConflict},
		"utf-16 little":             {"text/xml; charset=utf-16", utf16(declared("UTF-16"), unicode.LittleEndian), ""},
		"utf-16 big, undeclared":    {"text/xml", utf16(body, unicode.BigEndian), ""},
		"malformed parameter":       {"text/xml; charset: utf-8", body, FindingContentType},
		"soap 1.2 type":             {"application/soap+xml;charset=utf-8", body, ""},
		"no type":                   {"", body, ""},
		"text/plain, begins with <": {"text/plain", " \n" + body, ""},
	} {
		got, err := c.Request(Request{Method: "POST", Path: "/x", ContentType: test.contentType, Body: []byte(test.body)})
		if err != nil || got.Protocol != SOAP || got.Keys.First("idPSP") != "Perché" || strings.Join(got.Findings, " ") != test.finding {
			t.Errorf("%s: %v, %q, %v", name, err, got.Keys.First("idPSP"), got.Findings)
		}
	}
	for name, test := range map[string]struct{ contentType, body string }{
		"half a surrogate pair": {"text/xml", strings.Replace(utf16(body, unicode.BigEndian), "\x00P\x00e", "\xD8\x00\x00e", 1)},
		"odd bytes":             {"text/xml", utf16(body, unicode.BigEndian) + "\x00"},
		"utf-16, no mark":       {"text/xml; charset=utf-16", body},
		"other label in utf-16": {"text/xml", utf16(declared("ISO-8859-1"), unicode.BigEndian)},
		"ascii":                 {"text/xml; charset=us-ascii", body},
		"unknown":               {"text/xml; charset=ebcdic-it", body},
		"utf-32":                {"text/xml", "\xFF\xFE\x00\x00<\x00\x00\x00"},
	} {
		if _, err := c.Request(post([]byte(test.body))); name == "unknown" || name == "ascii" || name == "utf-16, no mark" {
			if _, err = c.Request(Request{Method: "POST", ContentType: test.contentType, Body: []byte(test.body)}); codeOf(err) != Charset {
				t.Errorf("%s: %v", name, err)
			}
		} else if code := codeOf(err); code != Charset && !(name == "utf-32" && code == NotWellFormed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := c.Request(Request{Method: "POST", ContentType: "text/xml; charset=utf-8; charset=utf-16", Body: []byte(body)}); codeOf(err) != BadContentType {
		t.Errorf("two charset parameters: %v", err)
	}
}

func zipped(t testing.TB, body []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(body); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestContentEncoding(t *testing.T) {
	c := catalogue(t)
	body := []byte(verify(verifyContent))
	var z bytes.Buffer
	w := zlib.NewWriter(&z)
	if _, err := w.Write(body); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	raw := z.Bytes()[2 : z.Len()-4]
	open, _, _ := strings.Cut(verify("<a>|</a>"), "|")
	bomb := zipped(t, append([]byte(open), bytes.Repeat([]byte("A"), maxDecoded+1)...))
	gz := zipped(t, body)
	for name, test := range map[string]struct {
		encoding string
		body     []byte
		want     string
	}{
		"gzip":        {"gzip", gz, "verifyPaymentNotice"},
		"x-gzip":      {" X-GZIP ", gz, "verifyPaymentNotice"},
		"deflate":     {"deflate", z.Bytes(), "verifyPaymentNotice"},
		"raw deflate": {"deflate", raw, "verifyPaymentNotice"},
		"identity":    {"identity", body, "verifyPaymentNotice"},
		"not gzip":    {"gzip", body, Unknown},
		"cut":         {"gzip", gz[:len(gz)-3], Unknown},
		"cut early":   {"gzip", gz[:15], Unknown},
		"bomb":        {"gzip", bomb, Unknown},
		"brotli":      {"br", body, Unknown},
		"twice":       {"gzip, gzip", zipped(t, gz), Unknown},
	} {
		r := post(test.body)
		r.ContentEncoding = test.encoding
		got, err := c.Request(r)
		if err != nil || got.Operation != test.want {
			t.Errorf("%s: %s, %v", name, got.Operation, err)
		}
		if unread := slices.Contains(got.Findings, FindingContentEncoding); unread != (test.want == Unknown) {
			t.Errorf("%s: findings %v", name, got.Findings)
		}
	}
}

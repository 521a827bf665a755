package pagopa

import (
	"bytes"
	"runtime"
	"strings"
	"testing"
)

// allocated runs f and returns the bytes that it allocated in sum, live or not.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// Memory must not grow with a hostile body. The limit is far above what a tag or text of the largest size
// needs, and far below the bodies.
func TestHostileBodiesTakeLittleMemory(t *testing.T) {
	const limit = 16 << 20
	c := catalogue(t)
	big := func(before, unit string, n int, after string) []byte {
		var b bytes.Buffer
		b.Grow(len(before) + n*len(unit) + len(after))
		b.WriteString(before)
		for range n {
			b.WriteString(unit)
		}
		b.WriteString(after)
		return b.Bytes()
	}
	open, end, _ := strings.Cut(verify("|"), "|")
	const mega = 1 << 20
	line := strings.Repeat("QUJD", 19) + "\n"
	for name, test := range map[string]struct {
		contentType string
		body        func() []byte
		code        SyntaxCode // "": must be classified
		want        string
	}{
		"attribute of 100 MB":         {"text/xml", func() []byte { return big(open+`<a b="`, strings.Repeat("x", mega), 100, `"/>`+end) }, TooBig, ""},
		"name of 50 MB":               {"text/xml", func() []byte { return big(open+`<`, strings.Repeat("x", mega), 50, `/>`+end) }, TooBig, ""},
		"comment of 50 MB":            {"text/xml", func() []byte { return big(open+`<!--`, strings.Repeat("x", mega), 50, `-->`+end) }, TooBig, ""},
		"text of 50 MB":               {"text/xml", func() []byte { return big(open, strings.Repeat("x.", mega/2), 50, end) }, TooBig, ""},
		"a million nested elements":   {"text/xml", func() []byte { return big(open, "<a>", 1_000_000, end) }, TooDeep, ""},
		"a million attributes":        {"text/xml", func() []byte { return big(open+"<a", " a=''", 1_000_000, "/>"+end) }, TooBig, ""},
		"a billion laughs":            {"text/xml", billionLaughs, Processing, ""},
		"a DTD of 50 MB":              {"text/xml", func() []byte { return big("<!DOCTYPE a [", "<!ENTITY a 'b'>", 50*mega/15, "]>"+open+end) }, TooBig, ""},
		"32 MB of base64":             {"text/xml", func() []byte { return big(open+"<a>", line, 32*mega/len(line), "</a>"+verifyContent+end) }, "", "verifyPaymentNotice"},
		"24 MB of base64 in CDATA":    {"text/xml", func() []byte { return big(open+"<a><![CDATA[", line, 24*mega/len(line), "]]></a>"+verifyContent+end) }, "", "verifyPaymentNotice"},
		"24 MB of spaces in a key":    {"text/xml", func() []byte { return big(open+"<idPSP>", strings.Repeat(" ", mega), 24, "</idPSP>"+end) }, "", "verifyPaymentNotice"},
		"JSON, a million nested":      {"application/json", func() []byte { return big("", "[", 1_000_000, "") }, TooDeep, ""},
		"JSON, a string of 50 MB":     {"application/json", func() []byte { return big(`{"a":"`, strings.Repeat("x", mega), 50, `"}`) }, TooBig, ""},
		"JSON, a number of 50 MB":     {"application/json", func() []byte { return big(`{"a":`, strings.Repeat("1", mega), 50, `}`) }, TooBig, ""},
		"JSON, escapes without end":   {"application/json", func() []byte { return big(`{"a":"`, strings.Repeat(`\"`, mega/2), 50, `"}`) }, TooBig, ""},
		"multipart without root part": {`multipart/related; boundary=b; start="<x>"`, func() []byte { return big("", "--b\r\n\r\n\r\n", 10_000, "--b--\r\n") }, TooBig, ""},
	} {
		body := test.body()
		var got Classified
		var err error
		used := allocated(func() {
			got, err = c.Request(Request{Method: "POST", Path: "/x", ContentType: test.contentType, Body: body})
		})
		if codeOf(err) != test.code || test.code == "" && (err != nil || got.Operation != test.want) {
			t.Errorf("%s: %s, %v, want %s", name, got.Operation, err, test.code)
		}
		if test.code == "" && strings.Contains(name, "base64") && got.Keys.First("notice") != "302000100000012345" {
			t.Errorf("%s: a key behind the text was lost: %v", name, got.Keys)
		}
		if used > limit {
			t.Errorf("%s: %d bytes of body took %d bytes of memory", name, len(body), used)
		}
	}
}

func billionLaughs() []byte {
	var b strings.Builder
	b.WriteString("<!DOCTYPE lolz [<!ENTITY lol0 \"lol\">")
	for i := range 9 {
		n := string(rune('0' + i))
		b.WriteString("<!ENTITY lol" + string(rune('1'+i)) + " \"" + strings.Repeat("&lol"+n+";", 10) + "\">")
	}
	b.WriteString("]>" + verify("<a>&lol9;</a>"))
	return []byte(b.String())
}

// What is dropped from a long base64 text must not change anything behind or beside it.
func TestLongTextsHideNothing(t *testing.T) {
	c := catalogue(t)
	long := strings.Repeat("QUJD", maxText/4+1)
	for name, test := range map[string]struct {
		content string
		code    SyntaxCode
	}{
		"then another identity": {"<a>" + long + "</a><idPSP>X</idPSP>" + verifyContent, AmbiguousKey},
		"then an entity":        {"<a>" + long + "&x;</a>", NotWellFormed},
		"then a control":        {"<a>" + long + "\x02</a>", NotWellFormed},
		"then ]]>":              {"<a>" + long + "]]></a>", NotWellFormed},
		"then not UTF-8":        {"<a>" + long + "\xFF</a>", Charset},
		"cut":                   {"<a>" + long, NotWellFormed},
		"CDATA with markup":     {"<a><![CDATA[" + long + "<idPSP>Y</idPSP>" + long + "]]></a>" + verifyContent, TooBig},
		"CDATA that ends twice": {"<a><![CDATA[" + long + "]]>]]></a>", NotWellFormed},
		"an identity":           {"<idPSP>" + long + "</idPSP>", ""},
	} {
		got, err := c.Request(post([]byte(verify(test.content))))
		if codeOf(err) != test.code {
			t.Errorf("%s: %v, want %s", name, err, test.code)
		}
		if test.code == "" && (err != nil || got.Keys != nil || strings.Join(got.Findings, "") != FindingKeyTooLong+":idPSP") {
			t.Errorf("%s: %v %v %v", name, err, got.Keys, got.Findings)
		}
	}
}

package pagopa

import (
	"fmt"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"
)

// Neither prefixes nor layout, comments, encodings or paths are part of what a message says: every sample in
// ten dresses must give the same operation, keys and outcome.
func TestDressesOfEverySample(t *testing.T) {
	c := catalogue(t)
	dir := filepath.Join("testdata", "synthetic")
	for _, line := range table(t, filepath.Join(dir, "INDEX.tsv")) {
		plain := string(bytesOf(t, filepath.Join(dir, line["file"])))
		want, wantErr := read(c, line, "text/xml; charset=utf-8", plain)
		if wantErr != nil {
			t.Fatal(line["file"], wantErr)
		}
		for name, body := range dresses(t, plain) {
			got, err := read(c, line, "text/xml", body)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s, %s: %v, %v, want %v", line["file"], name, got, err, want)
			}
		}
	}
}

// read returns what a sample says, as one comparable value.
func read(c *Catalogue, line map[string]string, contentType, body string) (any, error) {
	if line["kind"] == "req" {
		got, err := c.Request(Request{Method: "POST", ContentType: contentType, Body: []byte(body)})
		return []any{got.Operation, got.Direction, got.Name, got.Keys, got.Findings}, err
	}
	a, err := c.Answer(Response{Operation: line["operation"], Status: 200, ContentType: contentType, Body: []byte(body)})
	return []any{a.Outcome, a.Name, a.Keys}, err
}

var (
	anyPrefix   = regexp.MustCompile(`(</?|xmlns:)([A-Za-z][A-Za-z0-9]*)(:|=)`)
	declaration = regexp.MustCompile(`^<\?xml[^>]*>`)
	between     = regexp.MustCompile(`>\s+<`)
)

func dresses(t *testing.T, plain string) map[string]string {
	t.Helper()
	bare := declaration.ReplaceAllString(plain, "")
	prefixes := map[string]string{}
	shuffled := anyPrefix.ReplaceAllStringFunc(bare, func(s string) string {
		m := anyPrefix.FindStringSubmatch(s)
		if m[1] == "xmlns:" != (m[3] == "=") {
			return s
		}
		if prefixes[m[2]] == "" {
			prefixes[m[2]] = fmt.Sprintf("ns%d.paGetPayment", 9-len(prefixes))
		}
		return m[1] + prefixes[m[2]] + m[3]
	})
	encoded := func(b []byte, err error) string {
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	return map[string]string{
		"no declaration":    bare,
		"other prefixes":    shuffled,
		"one line":          between.ReplaceAllString(plain, "><"),
		"wide":              between.ReplaceAllString(plain, ">\r\n\t\r\n<"),
		"comments":          between.ReplaceAllString(bare, "><!-- <paSendRTReq>&x; --><"),
		"byte order mark":   "\uFEFF" + plain,
		"iso-8859-1":        `<?xml version="1.0" encoding="ISO-8859-1"?>` + encoded(charmap.ISO8859_1.NewEncoder().Bytes([]byte(bare))),
		"utf-16 big":        encoded(unicode.UTF16(unicode.BigEndian, unicode.UseBOM).NewEncoder().Bytes([]byte(bare))),
		"utf-16 little":     encoded(unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewEncoder().Bytes([]byte(shuffled))),
		"SOAP 1.2":          strings.ReplaceAll(bare, soap11, soap12),
		"text in CDATA":     regexp.MustCompile(`>([A-Za-z0-9._/+=-]+)<`).ReplaceAllString(bare, "><![CDATA[$1]]><"),
		"closed with space": strings.ReplaceAll(bare, "/>", "\n/>"),
	}
}

package archive

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// variants are a document with, for each of its elements, the element left out, doubled, renamed, exchanged
// with the next, its text made other things, and each attribute left out or changed. Only elements that touch
// the bytes from..to are varied.
func variants(t *testing.T, doc string, from, to int) (all []string) {
	t.Helper()
	type element struct {
		start, inside, insideEnd, end int
		leaf                          bool
	}
	dec := xml.NewDecoder(strings.NewReader(doc))
	var open, closed []element
	for {
		at := int(dec.InputOffset())
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch token.(type) {
		case xml.StartElement:
			if len(open) > 0 {
				open[len(open)-1].leaf = false
			}
			open = append(open, element{start: at, inside: int(dec.InputOffset()), leaf: true})
		case xml.EndElement:
			e := open[len(open)-1]
			open, e.insideEnd, e.end = open[:len(open)-1], at, int(dec.InputOffset())
			closed = append(closed, e)
		}
	}
	all = append(all, doc)
	attribute := regexp.MustCompile(` (s:)?[A-Za-z]+="[^"]*"`)
	for _, e := range closed {
		if e.end <= from || e.start >= to {
			continue
		}
		whole, tag, text := doc[e.start:e.end], doc[e.start:e.inside], doc[e.inside:e.insideEnd]
		put := func(s string) { all = append(all, doc[:e.start]+s+doc[e.end:]) }
		put("")
		put(whole + whole)
		put("<other/>" + whole)
		put(regexp.MustCompile(`^<((?:s:)?)`).ReplaceAllString(strings.TrimSuffix(whole, ">"), "<${1}X") + ">")
		if i := slices.IndexFunc(closed, func(n element) bool { return n.start == e.end }); i >= 0 {
			n := closed[i]
			all = append(all, doc[:e.start]+doc[n.start:n.end]+whole+doc[n.end:])
		}
		if e.leaf {
			for _, other := range []string{"", " ", "x", "-1", "0", "4999", "5000", "00000001", "1234567", "12345678901", "U", "true", "A_b.c-1234567890", "A_b.c-12345678901", "a/b",
				"2026-02-30", "2026-12-01", "25:00:00", "2026-11-23T10:00:00", "AAA", "ABCDEF8LA01H501X", "ABCDEF8LF01H501X", "NTRIT-x", "XXXIT-1", "VATit-1", "Fascicolo", "Annotazione", "Nessuno", "\u00e8", text + text, text + " "} {
				put(tag + other + doc[e.insideEnd:e.end])
			}
		} else {
			put(tag + "text" + doc[e.inside:e.end])
		}
		for _, a := range attribute.FindAllStringIndex(tag, -1) {
			name, _, _ := strings.Cut(tag[a[0]:a[1]], "=")
			for _, other := range []string{"", name + `="zz"`, name + `=""`, name + `="base64"`, name + `="1"`, strings.Replace(name, "s:", "", 1) + `="local"`, tag[a[0]:a[1]] + ` other="x"`} {
				put(tag[:a[0]] + other + tag[a[1]:] + doc[e.inside:e.end])
			}
		}
	}
	return all
}

// judged says which of the documents xmllint finds valid under a schema.
func judged(t *testing.T, schema string, documents []string) []bool {
	t.Helper()
	dir := t.TempDir()
	valid := make([]bool, len(documents))
	for from := 0; from < len(documents); from += 1000 {
		batch := documents[from:min(from+1000, len(documents))]
		arguments := []string{"--nonet", "--noout", "--schema", schema}
		for i, d := range batch {
			name := fmt.Sprintf("%05d.xml", from+i)
			if err := os.WriteFile(filepath.Join(dir, name), []byte(d), 0o600); err != nil {
				t.Fatal(err)
			}
			arguments = append(arguments, name)
		}
		c := exec.Command("xmllint", arguments...)
		c.Dir = dir
		out, err := c.CombinedOutput()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		for i := range batch {
			valid[from+i] = bytes.Contains(out, fmt.Appendf(nil, "%05d.xml validates\n", from+i))
			if !valid[from+i] && !bytes.Contains(out, fmt.Appendf(nil, "%05d.xml", from+i)) {
				t.Fatalf("xmllint says nothing of %d: %.500s", from+i, out)
			}
		}
	}
	return valid
}

// Our texts accept and refuse the same documents as the official ones, of which there are two copies for the
// index: they differ in what they leave open, and ours accepts what both accept.
func TestOurSchemasJudgeAsTheOfficialOnes(t *testing.T) {
	tool(t, "xmllint")
	shared := sharedDir(t)
	for _, c := range []struct{ own, documents, official, looser string }{
		{"DocumentoInformatico.xsd", "documento-*.xml", "agid-xsd/DocumentoInformatico.xsd", ""},
		{"DocumentoAmministrativoInformatico.xsd", "amministrativo-*.xml", "agid-xsd/DocumentoAmministrativoInformatico.xsd", ""},
		{"PIndex.xsd", "pindex-*.xml", "sincro/Unisincro_PIndex.xsd", "sincro/PIndex.7-ZPUs.xsd"},
	} {
		t.Run(c.own, func(t *testing.T) {
			var documents []string
			first := ""
			for _, name := range must(filepath.Glob(filepath.Join("testdata", c.documents))) {
				doc := string(must(os.ReadFile(name)))
				from, to := 0, len(doc)
				if first != "" { // the files differ in one place; the rest was varied already
					for from < min(len(doc), len(first)) && doc[from] == first[from] {
						from++
					}
					for n := len(first); to > from && n > from && doc[to-1] == first[n-1]; n-- {
						to--
					}
				} else {
					first = doc
				}
				documents = append(documents, variants(t, doc, from, to)...)
			}
			own := judged(t, must(filepath.Abs(filepath.Join("schemas", c.own))), documents)
			official := judged(t, filepath.Join(shared, c.official), documents)
			good := 0
			for i := range documents {
				if own[i] {
					good++
				}
				if own[i] != official[i] {
					t.Errorf("document %d: ours says %v, the official one %v:\n%s", i, own[i], official[i], documents[i])
				}
			}
			if c.looser != "" {
				for i, ok := range judged(t, filepath.Join(shared, c.looser), documents) {
					if own[i] && !ok {
						t.Errorf("document %d: ours accepts it, %s does not:\n%s", i, c.looser, documents[i])
					}
				}
			}
			if good < 30 || len(documents)-good < 30 {
				t.Errorf("%d valid and %d invalid documents are too few", good, len(documents)-good)
			}
			t.Logf("%d documents, %d of them valid", len(documents), good)
		})
	}
}

// The package carries the operator's texts in place of ours.
func TestOfficialSchemasReplaceOurs(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"PIndex.xsd": "official", "pagopa.wsdl": "wsdl", "notes.md": "no"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	files, err := loadSchemas(dir)
	if err != nil {
		t.Fatal(err)
	}
	if string(files["PIndex.xsd"]) != "official" || string(files["pagopa.wsdl"]) != "wsdl" || files["notes.md"] != nil || len(files["DocumentoInformatico.xsd"]) < 1000 {
		t.Errorf("%d files", len(files))
	}
	if err := os.WriteFile(filepath.Join(dir, "a b.xsd"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := loadSchemas(dir); err == nil {
		t.Error("a name with a space was taken")
	}
	if _, err := loadSchemas(filepath.Join(dir, "absent")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent directory: %v", err)
	}
}

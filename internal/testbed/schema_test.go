package testbed

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// sharedData is the folder of reference data, beside the project root or where SIGILLO_SHARED says.
func sharedData(t *testing.T) string {
	t.Helper()
	shared := os.Getenv("SIGILLO_SHARED")
	if shared == "" {
		dir, err := os.Getwd()
		if err != nil {
			t.Fatal(err)
		}
		for {
			if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
				break
			}
			if dir == filepath.Dir(dir) {
				t.Fatal("no go.mod above the test")
			}
			dir = filepath.Dir(dir)
		}
		shared = filepath.Join(filepath.Dir(dir), "shared")
	}
	data := filepath.Join(shared, "data", "pagopa")
	if _, err := os.Stat(data); err != nil {
		t.Skip("reference data missing: no shared/data/pagopa beside the project (or set SIGILLO_SHARED)")
	}
	return data
}

// judge validates SOAP bodies with xmllint against the official schemas.
type judge struct {
	dir     string
	schemas map[string]string   // name of a schema → file
	rootOf  map[xml.Name]string // root → name of its schema
	bodies  map[string][]string // name of a schema → files to validate
	count   int
}

func newJudge(t *testing.T) *judge {
	t.Helper()
	if _, err := exec.LookPath("xmllint"); err != nil {
		t.Skip("xmllint missing (Debian package libxml2-utils)")
	}
	data := sharedData(t)
	j := &judge{dir: t.TempDir(), schemas: map[string]string{}, rootOf: map[xml.Name]string{}, bodies: map[string][]string{}}
	text, err := os.ReadFile(filepath.Join(data, "operations.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(text), "\n") {
		c := strings.Split(line, "\t")
		if c[0] != "SOAP" {
			continue
		}
		schema := j.schema(t, filepath.Join(data, c[18]), c[8])
		for _, root := range []xml.Name{{Space: c[8], Local: c[9]}, {Space: c[10], Local: c[11]}} {
			if _, known := j.rootOf[root]; !known {
				j.rootOf[root] = schema
			}
		}
	}
	return j
}

var (
	wsdlSchema = regexp.MustCompile(`(?s)<xsd:schema([^>]*)>(.*?)</xsd:schema>`)
	prefixed   = regexp.MustCompile(`xmlns:([A-Za-z0-9_]+)="[^"]*"`)
	aliasTypes = map[string]string{ // roots of the 2026-07 schemas; the copy at hand has the types under other names
		"nodoInviaFlussoRendicontazione":           "nodoInviaFlussoRendicontazioneRequest",
		"nodoInviaFlussoRendicontazioneRisposta":   "nodoInviaFlussoRendicontazioneResponse",
		"nodoChiediTemplateInformativaPSP":         "nodoChiediTemplateInformativaPSPRequest",
		"nodoChiediTemplateInformativaPSPRisposta": "nodoChiediTemplateInformativaPSPResponse",
		"nodoChiediInformativaPA":                  "nodoChiediInformativaPARequest",
		"nodoChiediInformativaPARisposta":          "nodoChiediInformativaPAResponse",
	}
)

// schema makes an XSD file out of what a WSDL imports (new model) or contains (legacy) and returns its name.
func (j *judge) schema(t *testing.T, wsdl, namespace string) string {
	t.Helper()
	name := filepath.Base(filepath.Dir(filepath.Dir(wsdl))) + "." + strings.TrimSuffix(filepath.Base(wsdl), ".wsdl")
	if j.schemas[name] != "" {
		return name
	}
	text, err := os.ReadFile(wsdl)
	if err != nil {
		t.Fatal(err)
	}
	base := strings.TrimSuffix(filepath.Base(wsdl), ".wsdl") + ".xsd"
	for _, near := range []string{filepath.Join(filepath.Dir(wsdl), base), filepath.Join(filepath.Dir(wsdl), "..", "xsd", base)} {
		if _, err := os.Stat(near); err == nil {
			j.schemas[name] = j.withAliases(t, name, near, namespace)
			return name
		}
	}
	head := string(text[:bytes.Index(text, []byte("<wsdl:types"))])
	for _, m := range wsdlSchema.FindAllStringSubmatch(string(text), -1) {
		if !strings.Contains(m[1], `targetNamespace="`+namespace+`"`) {
			continue
		}
		attributes := m[1]
		for _, declared := range prefixed.FindAllStringSubmatch(head, -1) {
			if !strings.Contains(attributes, "xmlns:"+declared[1]+"=") {
				attributes += " " + declared[0]
			}
		}
		body := regexp.MustCompile(`schemaLocation="`).ReplaceAllString(m[2], `schemaLocation="file://`+filepath.Dir(wsdl)+"/")
		file := filepath.Join(j.dir, name+".xsd")
		if err := os.WriteFile(file, []byte("<xsd:schema"+attributes+">"+body+"</xsd:schema>"), 0o600); err != nil {
			t.Fatal(err)
		}
		j.schemas[name] = file
		return name
	}
	t.Fatalf("%s has no schema of %s", wsdl, namespace)
	return ""
}

// withAliases adds the second root names to the later nodeForPsp schema: same types, names of the 2026-07 edition.
func (j *judge) withAliases(t *testing.T, name, file, namespace string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var added strings.Builder
	for alias, original := range aliasTypes {
		m := regexp.MustCompile(`<(\w+:)?element\s+name="` + original + `"\s+type="([^"]+)"`).FindSubmatch(text)
		if m != nil && !bytes.Contains(text, []byte(`element name="`+alias+`"`)) {
			added.WriteString(`<x:element xmlns:x="http://www.w3.org/2001/XMLSchema" name="` + alias + `" type="` + string(m[2]) + `"/>`)
		}
	}
	if added.Len() == 0 {
		return file
	}
	end := bytes.LastIndex(text, []byte("</"))
	out := string(text[:end]) + added.String() + string(text[end:])
	out = regexp.MustCompile(`schemaLocation="`).ReplaceAllString(out, `schemaLocation="file://`+filepath.Dir(file)+"/")
	made := filepath.Join(j.dir, name+".xsd")
	if err := os.WriteFile(made, []byte(out), 0o600); err != nil {
		t.Fatal(err)
	}
	return made
}

// add takes the child of Body out of a SOAP message in UTF-8, to be validated by verdict. about goes into the file's name.
func (j *judge) add(t *testing.T, about string, message []byte) {
	t.Helper()
	root, _, err := parseSOAP(message)
	if err != nil {
		t.Fatalf("%s: %v", about, err)
	}
	schema, ok := j.rootOf[root]
	if !ok {
		t.Fatalf("%s: no schema for %v", about, root)
	}
	start := bytes.Index(message, []byte("<soapenv:Body>\n"))
	end := bytes.LastIndex(message, []byte("</soapenv:Body>"))
	if start < 0 || end < start {
		t.Fatalf("%s: not one of our envelopes", about)
	}
	j.count++
	file := filepath.Join(j.dir, fmt.Sprintf("%s-%d.xml", about, j.count))
	if err := os.WriteFile(file, message[start+len("<soapenv:Body>\n"):end], 0o600); err != nil {
		t.Fatal(err)
	}
	j.bodies[schema] = append(j.bodies[schema], file)
}

// verdict runs xmllint, once for each schema, and fails the test for what is not valid.
func (j *judge) verdict(t *testing.T) {
	t.Helper()
	if j.count == 0 {
		t.Fatal("nothing to validate")
	}
	for schema, files := range j.bodies {
		args := append([]string{"--noout", "--nonet", "--schema", j.schemas[schema]}, files...)
		if out, err := exec.Command("xmllint", args...).CombinedOutput(); err != nil {
			lines := strings.Split(string(out), "\n")
			var bad []string
			for _, l := range lines {
				if !strings.HasSuffix(l, " validates") {
					bad = append(bad, l)
				}
			}
			t.Errorf("against %s:\n%s", schema, strings.Join(bad, "\n"))
		}
	}
}

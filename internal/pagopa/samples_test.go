package pagopa

import (
	"encoding/xml"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"sigillo/internal/exchange"
)

// shared finds the reference data: SIGILLO_SHARED, else ../shared beside the project.
func shared(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("SIGILLO_SHARED")
	if dir == "" {
		root, err := os.Getwd()
		if err != nil {
			t.Fatal(err)
		}
		for {
			if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
				break
			}
			if filepath.Dir(root) == root {
				t.Fatal("no go.mod above the test")
			}
			root = filepath.Dir(root)
		}
		dir = filepath.Join(root, "..", "shared")
	}
	dir = filepath.Join(dir, "data", "pagopa", "samples")
	if _, err := os.Stat(dir); err != nil {
		t.Skip("the shared reference data is missing: data/pagopa/samples below SIGILLO_SHARED or ../shared")
	}
	return dir
}

func table(t testing.TB, path string) []map[string]string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := readTSV(data)
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func bytesOf(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func post(body []byte) Request {
	return Request{Method: "POST", Path: "/", ContentType: "text/xml; charset=utf-8", Body: body}
}

func codeOf(err error) SyntaxCode {
	var s *SyntaxError
	if errors.As(err, &s) {
		return s.Code
	}
	return ""
}

// undecided tells samples whose outcome element holds a word that is neither OK nor KO.
func undecided(body []byte) bool {
	s := string(body)
	return strings.Contains(s, "<esitoComplessivoOperazione>prova") || strings.Contains(s, "<esito></esito>")
}

func testSynthetic(t *testing.T, dir string) {
	c := catalogue(t)
	for _, line := range table(t, filepath.Join(dir, "INDEX.tsv")) {
		t.Run(line["file"], func(t *testing.T) {
			body := bytesOf(t, filepath.Join(dir, line["file"]))
			op := c.byName[line["operation"]][0]
			if line["kind"] == "req" {
				r := post(body)
				r.SOAPAction = `"` + op.Action + `"`
				for _, o := range c.byName[line["operation"]] {
					if o.Interface == line["interface"] {
						r.Path = "/x" + o.Path
					}
				}
				got, err := c.Request(r)
				if err != nil {
					t.Fatal(err)
				}
				if got.Operation != line["operation"] || got.Direction != op.Direction || got.Protocol != SOAP || len(got.Findings) > 0 {
					t.Errorf("got %s %s %s %v", got.Protocol, got.Operation, got.Direction, got.Findings)
				}
				if r.Path != "/x" && got.Interface != line["interface"] {
					t.Errorf("interface %s, want %s", got.Interface, line["interface"])
				}
				wantKeys(t, op.RequestKeys, got.Keys)
				return
			}
			a, err := c.Answer(Response{Operation: line["operation"], Status: 200, ContentType: "text/xml; charset=utf-8", Body: body})
			if err != nil {
				t.Fatal(err)
			}
			want := OK
			if line["kind"] == "fault" {
				want = KO
			} else if undecided(body) {
				want = None
			}
			if a.Outcome.Code != want || (a.Outcome.Fault == "") != (want != KO) || a.Outcome.Fault == OtherFault {
				t.Errorf("outcome %+v, want %s", a.Outcome, want)
			}
			if len(a.Findings) > 0 && want != None {
				t.Errorf("findings %v", a.Findings)
			}
			outcome, keys, err := c.Response(line["operation"], 200, "text/xml; charset=utf-8", body)
			if err != nil || outcome != a.Outcome || !reflect.DeepEqual(keys, a.Keys) {
				t.Errorf("Response says %+v, %v, %v", outcome, keys, err)
			}
			if a.Name != op.Response.Local && len(c.byName[line["operation"]]) == 1 {
				t.Errorf("name %s", a.Name)
			}
		})
	}
}

// wantKeys checks that every key the operation has by the schema of 2022 was found: the samples carry all
// optional elements, except for the alternatives of a choice.
func wantKeys(t *testing.T, paths []KeyPath, keys exchange.Keys) {
	t.Helper()
	for _, k := range keys {
		if k.Value == "" || len(k.Value) > maxKeyBytes || silentKeys[k.Name] {
			t.Errorf("key %s has %d bytes", k.Name, len(k.Value))
		}
	}
	for _, p := range paths {
		if p.New || silentKeys[p.Name] || p.Name == "postalAccount" || p.Name == "transactionId" || p.Name == "cartId" {
			continue
		}
		if keys.First(p.Name) == "" {
			t.Errorf("no key %s", p.Name)
		}
	}
}

func TestSyntheticSamples(t *testing.T) { testSynthetic(t, filepath.Join("testdata", "synthetic")) }

func TestSharedSyntheticSamples(t *testing.T) {
	testSynthetic(t, filepath.Join(shared(t), "synthetic"))
}

func TestGivenSamples(t *testing.T) {
	dir := filepath.Join(shared(t), "given")
	c := catalogue(t)
	for _, line := range table(t, filepath.Join(dir, "INDEX.tsv")) {
		t.Run(line["file"], func(t *testing.T) {
			body := bytesOf(t, filepath.Join(dir, line["file"]))
			if line["kind"] == "res" {
				outcome, _, err := c.Response(line["operation"], 200, "text/xml", body)
				want := OK
				if strings.Contains(line["file"], "_KO") {
					want = KO
				}
				if err != nil || outcome.Code != want {
					t.Errorf("outcome %+v, %v, want %s", outcome, err, want)
				}
				return
			}
			got, err := c.Request(post(body))
			if line["well_formed"] == "False" {
				if codeOf(err) != UnboundPrefix {
					t.Errorf("error %v, want %s", err, UnboundPrefix)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			space, local, _ := strings.Cut(strings.TrimPrefix(line["root"], "{"), "}")
			want, direction := Unknown, ""
			// One published example has its root in another interface's namespace: not that operation.
			if lines := c.byRequest[xml.Name{Space: space, Local: local}]; len(lines) > 0 {
				want, direction = line["operation"], lines[0].Direction
			}
			if got.Operation != want || got.Direction != direction || got.Name != local {
				t.Errorf("got %s %s (%s), want %s %s", got.Operation, got.Direction, got.Name, want, direction)
			}
			if want != Unknown && got.Keys.First("creditor") == "" && got.Keys.First("idPSP") == "" {
				t.Error("no keys")
			}
		})
	}
}

package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// minimal is the shortest good file: everything else has a default.
const minimal = `node: gw-1
origin: sigillo.example.it/ec-77777777777
data: data
keys: {custody: file}
listeners:
  - {name: public, address: "127.0.0.1:0", certificate: s.pem, key: s.key, client_ca: ca.pem, principal: "ec:77777777777"}
participants:
  - {id: "node:pagopa", certificates: [{san: node.example, issuer: CN=CA}]}
  - {id: "ec:77777777777"}
  - {id: "psp:TESTPSP1"}
  - {id: "broker:88888888888", speaks_for: ["psp:TESTPSP1", "ec:77777777777"], certificates: [{sha256: "` + hex64 + `"}]}
routes:
  - name: ec-in
    listener: public
    path: /
    direction: "node->EC"
    principal: "ec:77777777777"
    upstream: {url: "https://127.0.0.1:1"}
  - name: psp-out
    listener: public
    path: /psp
    direction: "PSP->node"
    principal: "psp:TESTPSP1"
    upstream: {url: "https://127.0.0.1:1", headers: {Ocp-Apim-Subscription-Key: "${env:SIGILLO_TEST_KEY}"}}
timestamp: {test: true}
`

const hex64 = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

// write puts a file into a new folder and returns its path.
func write(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t testing.TB, content string) *Config {
	t.Helper()
	c, err := Load(write(t, "sigillo.yaml", content))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDefaults(t *testing.T) {
	path := write(t, "sigillo.yaml", minimal)
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(path)
	inbound, outbound := c.Routes[0], c.Routes[1]
	for _, x := range []struct{ field, got, want any }{
		{"data", c.Data, filepath.Join(dir, "data")},
		{"listeners.key", c.Listeners[0].Key, filepath.Join(dir, "s.key")},
		{"keys.dir", c.Keys.Dir, filepath.Join(dir, "data/keys")},
		{"timestamp.test_dir", c.Timestamp.TestDir, filepath.Join(dir, "data/test-tsa")},
		{"classes", c.Classes[0], Class{Name: "audit-10y", Years: 10}},
		{"listeners.class", c.Listeners[0].Class, "audit-10y"},
		{"admin.address", c.Admin.Address, "127.0.0.1:9640"},
		{"disk", c.Disk, Disk{Warn: 2 << 30, Stop: 512 << 20}},
		{"signing", c.Signing, Signing{Timeout: 2 * time.Second, Grace: 4 * time.Hour}},
		{"server", c.Server, Server{HeaderBytes: 64 << 10, Concurrent: 512, Idle: time.Minute, ShutdownGrace: 30 * time.Second}},
		{"routes.class", inbound.Class, "audit-10y"},
		{"routes.timeouts in", inbound.Timeouts, Timeouts{Body: 30 * time.Second, Upstream: 6 * time.Second}},
		{"routes.timeouts out", outbound.Timeouts, Timeouts{Body: 30 * time.Second, Upstream: 30 * time.Second}},
		{"routes.limits", inbound.Limits, Limits{Body: 16 << 20, Response: 16 << 20}},
		{"timestamp.interval", c.Timestamp.Interval, time.Minute},
		{"timestamp.grace", c.Timestamp.Grace, 4 * time.Hour},
	} {
		if x.got != x.want {
			t.Errorf("%s: %v, expected %v", x.field, x.got, x.want)
		}
	}
	if !reflect.DeepEqual(inbound.Serves, []string{"ec:77777777777"}) {
		t.Errorf("serves %q", inbound.Serves)
	}
	for i, want := range [][]string{{"node"}, {"ec"}, {"psp"}, {"ec", "psp"}} {
		if got := c.Participants[i].Roles; !reflect.DeepEqual(got, want) {
			t.Errorf("roles of %s: %q, expected %q", c.Participants[i].ID, got, want)
		}
	}
	if len(c.Digest()) != 64 || c.Digest() != load(t, minimal).Digest() || c.Digest() == load(t, minimal+"\n").Digest() {
		t.Errorf("digest %q does not follow the bytes of the file", c.Digest())
	}
}

// The example is complete: every key of every section stands in it, and it is accepted.
func TestExampleIsCompleteAndAccepted(t *testing.T) {
	c := load(t, string(Example()))
	var walk func(typ reflect.Type, path string)
	walk = func(typ reflect.Type, path string) {
		for typ.Kind() == reflect.Slice {
			typ, path = typ.Elem(), path+"[0]"
		}
		if typ.Kind() != reflect.Struct || typ == timeType || typ == secretType {
			return
		}
		for i := range typ.NumField() {
			name := typ.Field(i).Tag.Get("yaml")
			if name == "" {
				continue
			}
			field := join(path, name)
			// lists of the example show different keys in different items
			found := false
			for at := range c.lines {
				found = found || anyIndex(at) == anyIndex(field)
			}
			if !found {
				t.Errorf("example.yaml lacks %s", field)
			}
			walk(typ.Field(i).Type, field)
		}
	}
	walk(reflect.TypeFor[Config](), "")

	node := c.Participants[0].Certificates[0]
	if node.SAN != "forwarder.platform.pagopa.it" || c.Participants[2].Certificates[0].SHA256 != hex64 {
		t.Errorf("certificates %+v, %+v", node, c.Participants[2].Certificates)
	}
	broker := c.Participants[2]
	if got := broker.ValidFrom.UTC().Format(time.RFC3339); got != "2025-12-31T23:00:00Z" {
		t.Errorf("valid_from %s", got)
	}
	if got := broker.ValidUntil.UTC().Format(time.RFC3339); got != "2028-12-31T23:00:00Z" {
		t.Errorf("valid_until %s: the day in the file is the last valid one", got)
	}
	if c.Keys.Dir != "" || c.Policies.Dir != "" {
		t.Errorf("an empty path became %q, %q", c.Keys.Dir, c.Policies.Dir)
	}
}

func anyIndex(path string) string {
	var out strings.Builder
	for i := 0; i < len(path); i++ {
		out.WriteByte(path[i])
		if path[i] == '[' {
			i += strings.IndexByte(path[i:], ']') - 1
		}
	}
	return out.String()
}

func TestExampleAsksForItsFiles(t *testing.T) {
	path := write(t, "sigillo.yaml", string(Example()))
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	var missing *InvalidError
	if err := c.Check(t.Context()); !errors.As(err, &missing) {
		t.Fatalf("Check: %v", err)
	}
	fields := make(map[string]string)
	for _, f := range missing.Findings {
		if f.Line == 0 {
			t.Errorf("%s: no line", f.Field)
		}
		fields[f.Field] = f.Problem
	}
	for field, problem := range map[string]string{
		"keys.vault.ca": "no such file", "keys.vault.auth.secret_id": "no such file", "listeners[0].certificate": "no such file",
		"listeners[1].key": "no such file", "routes[0].upstream.ca": "no such file", "timestamp.authorities[0].roots": "no such file",
		"routes[1].upstream.headers.Ocp-Apim-Subscription-Key": "no such file", "timestamp.authorities[0].password": "empty or not set",
		"archive.seal.crls[0]": "no such file", "archive.trust": "no such file",
	} {
		if !strings.Contains(fields[field], problem) {
			t.Errorf("%s: %q, expected %q", field, fields[field], problem)
		}
	}
}

func TestLoadBounds(t *testing.T) {
	if _, err := Load(write(t, "sigillo.yaml", minimal+strings.Repeat("# filler\n", 1<<17))); err == nil || !strings.Contains(err.Error(), "larger than 1048576 bytes") {
		t.Errorf("huge file: %v", err)
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none.yaml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	_, err := Load(write(t, "sigillo.yaml", minimal+strings.Repeat("xx: 1\n", 5000)))
	if err == nil || strings.Count(err.Error(), "\n") > maxFindings+1 || !strings.Contains(err.Error(), "further findings are left out") {
		t.Errorf("many findings: %.300v", err)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(minimal))
	f.Add(Example())
	f.Add([]byte("a: &x [*x, *x]\n<<: {b: !!binary aGk=}\n? [k]\n: v\n"))
	f.Add([]byte("routes: [{upstream: {url: 'http://u:p@h:99999/?#', headers: {A: '${file:x}'}}}]\nkeys: {vault: {timeout: -1s}}\ndisk: {warn: 99999999999TiB}"))
	f.Add([]byte("participants: [{id: 'ec:1', valid_from: 2026-13-01, certificates: [{sha256: 'zz'}]}]\nnode: 'a\x01b'\nadmin: {address: ':::'}"))
	f.Fuzz(func(t *testing.T, content []byte) {
		if len(content) > maxFileBytes {
			return
		}
		c, err := parse(content, "sigillo.yaml")
		var finding *InvalidError
		switch {
		case err == nil && (c.Origin == "" || len(c.Routes) == 0 || c.Timestamp.Interval == 0):
			t.Errorf("an incomplete configuration was accepted")
		case err != nil && (!errors.As(err, &finding) || len(finding.Findings) == 0 || finding.Error() == ""):
			t.Errorf("not a finding: %v", err)
		}
	})
}

package main

import (
	"bytes"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigillo/ledger"
)

// TestProofsFromARunningAndAStoppedLedger: a proof made with the ledger, with its socket and by URL alone
// is verified by whoever has the key and the bytes; everything else is refused with the right exit code.
func TestProofsFromARunningAndAStoppedLedger(t *testing.T) {
	dir := t.TempDir()
	s := demoSiteForTest(t, filepath.Join(dir, "site"))
	p := startRun(t, s)
	id := post(t.Context(), s.client("psp"), s.route("psp-out"), "text/xml", []byte(verifyNotice))
	if id == "" {
		t.Fatal("no answer")
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	expect := func(want int, args ...string) string {
		t.Helper()
		code, out, stderr := sigillo(t, args...)
		if code != want {
			t.Fatalf("sigillo %s: code %d, want %d: %s%s", strings.Join(args, " "), code, want, out, stderr)
		}
		return out
	}
	vkey := strings.TrimSpace(expect(0, "proof", "key", "-c", s.config))
	url := "http://" + s.admin + "/log"
	expect(0, "receipt", "get", "-c", s.config, id) // its checkpoint is signed
	expect(0, "proof", "make", "-c", s.config, "--exchange", id, "--out", in("live"), "--entry-out", in("response"))
	expect(0, "proof", "make", "-c", s.config, "--entry", "1", "--out", in("one"), "--entry-out", in("one.entry"))
	expect(0, "proof", "make", "--url", url, "--key", vkey, "--entry", "1", "--out", in("by-url"), "--entry-out", in("by-url.entry"))
	old, err := http.Get(url + "/checkpoint")
	if err != nil {
		t.Fatal(err)
	}
	note, err := io.ReadAll(old.Body)
	if err != nil || old.Body.Close() != nil {
		t.Fatal(err)
	}
	write(t, in("checkpoint"), string(note))
	for range 3 {
		id = post(t.Context(), s.client("psp"), s.route("psp-out"), "text/xml", []byte(verifyNotice))
		expect(0, "receipt", "get", "-c", s.config, id)
	}
	expect(0, "proof", "consistency", "--old", in("checkpoint"), "--url", url, "--key", vkey)
	expect(0, "proof", "consistency", "--old", in("checkpoint"), "-c", s.config)
	expect(1, "proof", "make", "-c", s.config, "--entry", "1000000000")
	p.stop(t)
	expect(0, "proof", "consistency", "--old", in("checkpoint"), "-c", s.config, "--json")
	expect(3, "proof", "consistency", "--old", in("checkpoint"), "--url", url, "--key", vkey) // nobody answers
	write(t, in("stopped"), expect(0, "proof", "make", "-c", s.config, "--entry", "2", "--entry-out", in("stopped.entry")))

	if one, two := bytesOf(t, in("one.entry")), bytesOf(t, in("by-url.entry")); !bytes.Equal(one, two) || !bytes.HasPrefix(one, []byte(`{"v":1,"n":1,`)) {
		t.Errorf("entry 1 is %s by the socket, %s by URL", one, two)
	}
	if e := bytesOf(t, in("response")); !bytes.Contains(e, []byte(`"kind":"response"`)) {
		t.Errorf("the exchange is proven by %s", e)
	}
	for proof, entry := range map[string]string{"live": "response", "one": "one.entry", "by-url": "one.entry", "stopped": "stopped.entry"} {
		if out := expect(0, "proof", "verify", "--key", vkey, "--proof", in(proof), "--entry", in(entry), "--json"); !strings.Contains(out, `"verdict": "intact"`) {
			t.Errorf("%s: %s", proof, out)
		}
	}
	write(t, in("changed"), string(bytesOf(t, in("one.entry")))+"\n")
	write(t, in("malformed"), strings.Replace(string(bytesOf(t, in("one"))), "index ", "index 0", 1))
	_, pub, err := ledger.ParseVerifierKey(vkey)
	if err != nil {
		t.Fatal(err)
	}
	other := strings.Replace(vkey, vkey[:strings.IndexByte(vkey, '+')], "other.test/log", 1)
	for _, c := range []struct {
		code              int
		key, proof, entry string
	}{
		{1, vkey, "one", "changed"}, {1, vkey, "one", "response"}, {1, vkey, "malformed", "one.entry"}, {1, vkey, "checkpoint", "one.entry"},
		{2, other, "one", "one.entry"}, // its hash is not that of the name
		{2, "origin.of.nobody+1", "one", "one.entry"},
		{3, ledger.VerifierKey("other.test/log", pub), "one", "one.entry"}, // the key of another log tells nothing
	} {
		expect(c.code, "proof", "verify", "--key", c.key, "--proof", in(c.proof), "--entry", in(c.entry))
	}
	expect(2, "proof", "verify", "--key", vkey, "--proof", in("absent"), "--entry", in("one.entry"))
	expect(2, "proof", "make", "-c", s.config)
	expect(2, "proof", "make", "-c", s.config, "--url", url, "--entry", "1")
	expect(1, "proof", "make", "-c", s.config, "--exchange", "00000000-0000-7000-8000-000000000000")
}

// TestOpenURLKeepsToTheKeyAndToTLS: plain http only on the loopback, the given authorities only, the
// exit codes of what answers wrongly and of what does not answer.
func TestOpenURLKeepsToTheKeyAndToTLS(t *testing.T) {
	const vkey = "sumdb.test/log+0c2aabd5+AXhhVhQMhVIVxdJZCWXoCwyDOWFdAExOgBJdLJb/zKdk"
	_, err := openURL(t.Context(), "https://log.example/log", vkey, "")
	if codeOf(err, console{err: io.Discard}) != exitUsage {
		t.Errorf("a key whose hash does not match: %v", err)
	}
	s := demoSiteForTest(t, filepath.Join(t.TempDir(), "site"))
	code, key, stderr := sigillo(t, "proof", "key", "-c", s.config)
	if code != 0 {
		t.Fatal(stderr)
	}
	key = strings.TrimSpace(key)
	lies := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("no checkpoint")) }))
	defer lies.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	write(t, ca, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: lies.Certificate().Raw})))
	for _, c := range []struct {
		what, url, key, ca string
		code               int
	}{
		{"plain http elsewhere", "http://log.example/log", key, "", exitUsage},
		{"no key", lies.URL, "", ca, exitUsage},
		{"no such file of authorities", lies.URL, key, ca + ".absent", exitUsage},
		{"authorities that are none", lies.URL, key, s.config, exitUsage},
		{"a certificate of nobody", lies.URL, key, "", exitUndetermined},
		{"what answers is no log", lies.URL, key, ca, exitNegative},
		{"nobody answers", "http://127.0.0.1:1/log", key, "", exitUndetermined},
	} {
		if log, err := openURL(t.Context(), c.url, c.key, c.ca); codeOf(err, console{err: io.Discard}) != c.code {
			t.Errorf("%s: opened %v, code %d, %v", c.what, log != nil, codeOf(err, console{err: io.Discard}), err)
		}
	}
}

func bytesOf(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

package main

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"sigillo/ledger"
)

// TestVerifyByURL verifies a log over HTTPS with nothing but its address and its key, then one that is cut.
func TestVerifyByURL(t *testing.T) {
	s := demoSiteForTest(t, filepath.Join(t.TempDir(), "site"))
	p := startRun(t, s)
	c := startCallers(s, s.route("psp-out"), "text/xml", []byte(verifyNotice), 2)
	<-c.more(150)
	c.stop()
	p.stop(t)
	code, key, stderr := sigillo(t, "proof", "key", "-c", s.config)
	if code != 0 {
		t.Fatal(stderr)
	}
	cfg, err := loadParts(t.Context(), s.config, asUser)
	if err != nil {
		t.Fatal(err)
	}
	defer cfg.close()
	log, _, err := ledger.OpenLog(t.Context(), cfg.cfg.Data, storeLog())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	cut := false
	api := ledger.NewLogHandler(log, storeLog())
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if cut && strings.Contains(r.URL.Path, "/entries/") && !strings.Contains(r.URL.Path, ".p/") {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		api.ServeHTTP(w, r)
	}))
	defer server.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	write(t, ca, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	args := []string{"verify", "--url", server.URL + "/log", "--key", strings.TrimSpace(key), "--ca", ca}
	if code, out, stderr := sigillo(t, args...); code != 0 || !strings.Contains(out, "were not looked at") || !strings.Contains(out, "intact") {
		t.Errorf("code %d, %s%s", code, out, stderr)
	}
	cut = true
	if code, out, _ := sigillo(t, args...); code == 0 {
		t.Errorf("a log that hides entries: code %d, %s", code, out)
	}
	server.Close()
	if code, _, _ := sigillo(t, args...); code != exitUndetermined {
		t.Errorf("a log that does not answer: code %d", code)
	}
	for _, bad := range [][]string{{"--url", server.URL}, {"--url", server.URL, "--key", "k", "--dir", s.dir}, {"--ca", ca, "-c", s.config}} {
		if code, _, _ := sigillo(t, append([]string{"verify"}, bad...)...); code != exitUsage {
			t.Errorf("%v: code %d", bad, code)
		}
	}
}

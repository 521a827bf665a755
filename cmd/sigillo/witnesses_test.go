package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"sigillo/internal/testbed"
	"sigillo/ledger"
)

// TestRunWithAWitnessRefusesARestoredBackup runs the real process against a third party's witness: it
// cosigns, and when an older copy of the data is put in place of the newer one, the process stops itself.
func TestRunWithAWitnessRefusesARestoredBackup(t *testing.T) {
	s := demoSiteForTest(t, filepath.Join(t.TempDir(), "site"))
	p, err := loadParts(t.Context(), s.config, asGateway)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	vkey, err := p.vkey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w, err := testbed.StartWitness(t.Context(), t.TempDir(), "witness.test/one", vkey)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.Stop(); err != nil {
			t.Error(err)
		}
	}()
	front, cosigned := witnessFront(t, w)
	f, err := os.OpenFile(s.config, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(f, "\nwitnesses:\n  quorum: 1\n  list:\n    - {url: %q, key: %q}\n", front, w.Key); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	backup := filepath.Join(t.TempDir(), "backup")
	exchangeUntil := func(size uint64) uint64 {
		run := startRun(t, s)
		if post(t.Context(), s.client("psp"), s.route("psp-out"), "text/xml", []byte(verifyNotice)) == "" {
			t.Fatalf("the exchange failed: %s", run.out)
		}
		for <-cosigned <= size {
		}
		run.stop(t)
		return loggedSize(t, p.cfg.Data)
	}
	size := exchangeUntil(0)
	if err := os.CopyFS(backup, os.DirFS(p.cfg.Data)); err != nil {
		t.Fatal(err)
	}
	exchangeUntil(size) // the witness knows more than the backup holds
	if err := os.Rename(p.cfg.Data, p.cfg.Data+".newer"); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(p.cfg.Data, os.DirFS(backup)); err != nil {
		t.Fatal(err)
	}
	if said := runUntil(t, s.config, ledger.ErrForked.Error()); !strings.Contains(said, "witness.test/one") {
		t.Errorf("who refuses is not named: %s", said)
	}
}

// loggedSize is the size of a stopped ledger, which must hold a cosigned checkpoint.
func loggedSize(t *testing.T, dir string) uint64 {
	t.Helper()
	log, _, err := ledger.OpenLog(t.Context(), dir, storeLog())
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for size := uint64(1); size <= log.Head.Size; size++ {
		if _, n, err := ledger.Cosigned(t.Context(), log, size); err == nil {
			found += n
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if found == 0 {
		t.Error("no cosignature is kept")
	}
	return log.Head.Size
}

// witnessFront stands before a witness and gives the sizes that it has cosigned.
func witnessFront(t *testing.T, w *testbed.Witness) (address string, cosigned chan uint64) {
	to, err := url.Parse(w.URL)
	if err != nil {
		t.Fatal(err)
	}
	cosigned = make(chan uint64, 1000)
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }, ModifyResponse: func(r *http.Response) error {
		if size, err := strconv.ParseUint(r.Request.Header.Get("Test-Size"), 10, 64); err == nil && r.StatusCode == http.StatusOK {
			cosigned <- size
		}
		return nil
	}}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		_, note, ok := strings.Cut(string(body), "\n\n")
		lines := strings.SplitN(note, "\n", 3)
		if err != nil || !ok || len(lines) < 3 {
			t.Errorf("not an add-checkpoint request: %v", err)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		r.Header.Set("Test-Size", lines[1])
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL, cosigned
}

// runUntil runs the gateway until it says want, and kills it.
func runUntil(t *testing.T, config, want string) (line string) {
	cmd := exec.Command(os.Args[0], "run", "-c", config)
	cmd.Env = append(os.Environ(), "SIGILLO_TEST_MAIN=1")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	limit := time.AfterFunc(60*time.Second, func() { _ = cmd.Process.Kill() })
	defer limit.Stop()
	var all []string
	in := bufio.NewScanner(stderr)
	in.Buffer(nil, 1<<20)
	for line == "" && in.Scan() {
		all = append(all, in.Text())
		if strings.Contains(in.Text(), want) {
			line = in.Text()
		}
	}
	_ = cmd.Process.Kill() // or it has ended by itself
	_ = cmd.Wait()
	if line == "" {
		t.Fatalf("never said %q:\n%s", want, strings.Join(all, "\n"))
	}
	return line
}

package ledger

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// servedLog is a recorded log of at least the given size, its key, and its read API over real HTTP.
type servedLog struct {
	ledger *Ledger
	vkey   string
	url    string // of the listener, without /log
}

func serveLog(t *testing.T, seed byte, size uint64) servedLog {
	t.Helper()
	k := newSeedKeys(seed)
	l := openTest(t, t.TempDir(), k)
	growLog(t, l, size)
	server := httptest.NewServer(NewLogHandler(l.View(), quiet()))
	t.Cleanup(server.Close)
	return servedLog{l, VerifierKey(testOrigin, k.Public().(ed25519.PublicKey)), server.URL}
}

// growLog records exchanges from several callers until the log has size entries, all of them signed.
func growLog(t *testing.T, l *Ledger, size uint64) {
	t.Helper()
	var callers sync.WaitGroup
	for range 16 {
		callers.Go(func() {
			for l.Size() < size {
				if _, err := roundTrip(t.Context(), l, []byte("<request/>")); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	callers.Wait()
	if err := l.notary.await(t.Context(), l.Size()); err != nil {
		t.Fatal(err)
	}
}

func askLog(t *testing.T, method, url string) (*http.Response, []byte) {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultTransport.RoundTrip(q)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return resp, b
}

// sumdbTiles lets x/mod/sumdb read our tiles over HTTP; its names carry the tile height, C2SP's do not.
type sumdbTiles struct {
	t   *testing.T
	url string
}

func (s sumdbTiles) Height() int { return 8 }

func (s sumdbTiles) ReadTiles(tiles []tlog.Tile) (out [][]byte, err error) {
	for _, tile := range tiles {
		resp, b := askLog(s.t, http.MethodGet, s.url+"/log/"+strings.Replace(tile.Path(), "tile/8/", "tile/", 1))
		if resp.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("%s: status %d", tile.Path(), resp.StatusCode)
		}
		out = append(out, b)
	}
	return out, nil
}

func (s sumdbTiles) SaveTiles([]tlog.Tile, [][]byte) {}

// judgedCheckpoint opens the served checkpoint with x/mod/sumdb.
func judgedCheckpoint(t *testing.T, s servedLog) tlog.Tree {
	t.Helper()
	resp, b := askLog(t, http.MethodGet, s.url+"/log/checkpoint")
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Cache-Control") != "no-cache" || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain") {
		t.Fatalf("checkpoint: %s %v", resp.Status, resp.Header)
	}
	v, err := note.NewVerifier(s.vkey)
	if err != nil {
		t.Fatal(err)
	}
	n, err := note.Open(b, note.VerifierList(v))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(n.Text, "\n")
	if lines[0] != testOrigin {
		t.Fatalf("origin %q", lines[0])
	}
	var tree tlog.Tree
	if _, err := fmt.Sscan(lines[1], &tree.N); err != nil {
		t.Fatal(err)
	}
	if tree.Hash, err = tlog.ParseHash(lines[2]); err != nil {
		t.Fatal(err)
	}
	return tree
}

// TestThirdPartyReadsTheLogOverHTTP: checkpoint, every record through the tiles, consistency of two sizes,
// all judged by golang.org/x/mod/sumdb.
func TestThirdPartyReadsTheLogOverHTTP(t *testing.T) {
	s := serveLog(t, 41, 520)
	old := judgedCheckpoint(t, s)
	growLog(t, s.ledger, 700)
	tree := judgedCheckpoint(t, s)
	if old.N >= tree.N || tree.N < 700 {
		t.Fatalf("sizes %d and %d", old.N, tree.N)
	}
	hashes := tlog.TileHashReader(tree, sumdbTiles{t, s.url})
	for n := int64(0); n < tree.N; n++ {
		bundle := tileRef{entries: true, n: uint64(n) / 256, width: int(min(256, tree.N-n))}
		_, b := askLog(t, http.MethodGet, s.url+"/log/"+bundle.path())
		es, err := parseBundle(b, bundle.width)
		if err != nil {
			t.Fatal(err)
		}
		var leaves []int64
		for i := range es {
			leaves = append(leaves, tlog.StoredHashIndex(0, n+int64(i)))
		}
		got, err := hashes.ReadHashes(leaves)
		if err != nil {
			t.Fatal(err)
		}
		for i, e := range es {
			if got[i] != tlog.RecordHash(e) {
				t.Fatalf("entry %d: the judge has another leaf", n+int64(i))
			}
		}
		n += int64(len(es)) - 1
	}
	proof, err := tlog.ProveTree(tree.N, old.N, hashes)
	if err != nil {
		t.Fatal(err)
	}
	if err := tlog.CheckTree(proof, tree.N, tree.Hash, old.N, old.Hash); err != nil {
		t.Errorf("the judge finds sizes %d and %d inconsistent: %v", old.N, tree.N, err)
	}
	ours, err := ConsistencyProof(t.Context(), s.ledger.View(), uint64(old.N), uint64(tree.N))
	if err != nil || fmt.Sprint(ours) != fmt.Sprint(hashesOf(proof)) {
		t.Errorf("our proof %v (%v) is not the judge's %v", ours, err, proof)
	}
	old.Hash[0] ^= 1
	if tlog.CheckTree(proof, tree.N, tree.Hash, old.N, old.Hash) == nil {
		t.Error("the judge accepts another older root")
	}
}

func hashesOf(p tlog.TreeProof) (out []Hash) {
	for _, h := range p {
		out = append(out, Hash(h))
	}
	return out
}

// TestReadAPIServesExactlyTheSignedLog: partial widths, HEAD, what lies beyond, other paths and methods.
func TestReadAPIServesExactlyTheSignedLog(t *testing.T) {
	s := serveLog(t, 42, 300)
	size := s.ledger.Size()
	full, whole := askLog(t, http.MethodGet, s.url+"/log/tile/0/000")
	if full.StatusCode != http.StatusOK || len(whole) != 32*256 || full.Header.Get("Cache-Control") != cacheForEver || full.Header.Get("Content-Type") != "application/octet-stream" {
		t.Fatalf("full tile: %s, %d bytes, %v", full.Status, len(whole), full.Header)
	}
	for _, w := range []int{1, 2, 255} {
		if resp, b := askLog(t, http.MethodGet, fmt.Sprintf("%s/log/tile/0/000.p/%d", s.url, w)); resp.StatusCode != http.StatusOK || !bytes.Equal(b, whole[:32*w]) {
			t.Errorf("tile of width %d: %s, %d bytes", w, resp.Status, len(b))
		}
		if resp, b := askLog(t, http.MethodGet, fmt.Sprintf("%s/log/tile/entries/000.p/%d", s.url, w)); resp.StatusCode != http.StatusOK {
			t.Errorf("bundle of width %d: %s", w, resp.Status)
		} else if _, err := parseBundle(b, w); err != nil {
			t.Errorf("bundle of width %d: %v", w, err)
		}
	}
	if resp, b := askLog(t, http.MethodHead, s.url+"/log/tile/0/000"); resp.StatusCode != http.StatusOK || len(b) != 0 || resp.ContentLength != 32*256 {
		t.Errorf("HEAD: %s, %d bytes, length %d", resp.Status, len(b), resp.ContentLength)
	}
	if resp, _ := askLog(t, http.MethodGet, fmt.Sprintf("%s/log/tile/0/001.p/%d", s.url, size-256)); resp.StatusCode != http.StatusOK {
		t.Errorf("the last partial tile: %s", resp.Status)
	}
	for _, p := range []string{fmt.Sprintf("tile/0/001.p/%d", size-255), fmt.Sprintf("tile/entries/001.p/%d", size-255), "tile/0/001", "tile/1/000", "tile/1/000.p/2",
		"tile/2/000.p/1", "tile/entries/001", "tile/0/002.p/1", "", "checkpoint/", "Checkpoint", "../admin", "tile/0/%30%30%30", "tile%2F0/000"} {
		if resp, b := askLog(t, http.MethodGet, s.url+"/log/"+p); resp.StatusCode != http.StatusNotFound || resp.Header.Get("Cache-Control") == cacheForEver {
			t.Errorf("%s: %s, %d bytes", p, resp.Status, len(b))
		}
	}
	if resp, _ := askLog(t, http.MethodPost, s.url+"/log/checkpoint"); resp.StatusCode != http.StatusMethodNotAllowed || resp.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %s", resp.Status)
	}
}

// TestReadAPIOfADamagedStore: a hole or an altered entry of wrong length is an error, never a short bundle.
func TestReadAPIOfADamagedStore(t *testing.T) {
	view, roots := memoryTree(600)
	head := fmt.Appendf(nil, `{"size":600}`)
	signed, err := signCheckpoint(t.Context(), Checkpoint{testOrigin, 600, roots[600]}, newSeedKeys(43))
	if err != nil {
		t.Fatal(err)
	}
	view[string(headKey())], view[string(noteKey(600))] = head, signed
	delete(view, string(entryKey(300)))
	view[string(tileKey(0, 0))] = []byte("short")
	server := httptest.NewServer(NewLogHandler(view, quiet()))
	defer server.Close()
	for path, want := range map[string]int{"tile/entries/000": 200, "tile/entries/001": 500, "tile/entries/001.p/44": 200, "tile/entries/001.p/45": 500,
		"tile/0/000": 500, "tile/0/000.p/7": 500, "tile/0/001": 200, "tile/1/000.p/2": 500, "checkpoint": 200} {
		if resp, b := askLog(t, http.MethodGet, server.URL+"/log/"+path); resp.StatusCode != want {
			t.Errorf("%s: %s instead of %d", path, resp.Status, want)
		} else if want == 500 && string(b) != "cannot be read\n" {
			t.Errorf("%s: the reader is told %q", path, b)
		}
	}
	empty := httptest.NewServer(NewLogHandler(memoryView{string(headKey()): []byte(`{}`)}, quiet()))
	defer empty.Close()
	for _, path := range []string{"checkpoint", "tile/0/000.p/1"} {
		if resp, _ := askLog(t, http.MethodGet, empty.URL+"/log/"+path); resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s of a log without checkpoint: %s", path, resp.Status)
		}
	}
}

func FuzzReadAPI(f *testing.F) {
	view, roots := memoryTree(300)
	signed, err := signCheckpoint(f.Context(), Checkpoint{testOrigin, 300, roots[300]}, newSeedKeys(44))
	if err != nil {
		f.Fatal(err)
	}
	view[string(headKey())], view[string(noteKey(300))] = []byte(`{"size":300}`), signed
	api := NewLogHandler(view, quiet())
	f.Add("GET", "/log/checkpoint")
	f.Add("HEAD", "/log/tile/0/001.p/44")
	f.Add("GET", "/log/tile/entries/000")
	f.Add("GET", "/log/../log/%63heckpoint")
	f.Add("PUT", "/")
	f.Fuzz(func(t *testing.T, method, path string) {
		w := httptest.NewRecorder()
		api.ServeHTTP(w, &http.Request{Method: method, URL: &url.URL{Path: path}})
		switch {
		case w.Code == http.StatusOK && (w.Header().Get("Content-Length") == "0" || !strings.HasPrefix(path, logPath)):
			t.Fatalf("%s %q is served", method, path)
		case w.Code != http.StatusOK && w.Code != http.StatusNotFound && w.Code != http.StatusMethodNotAllowed:
			t.Fatalf("%s %q: status %d", method, path, w.Code)
		}
	})
}

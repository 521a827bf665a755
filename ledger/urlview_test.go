package ledger

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"sigillo/internal/exchange"
)

// tamperingServer serves the read API of a log and alters the answers of the paths given. An alteration
// writes the answer itself, out of the honest one.
func tamperingServer(t *testing.T, v View, alter map[string]func(w http.ResponseWriter, honest []byte)) string {
	t.Helper()
	api := NewLogHandler(v, quiet())
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fn, ok := alter[r.URL.Path]
		if !ok {
			api.ServeHTTP(w, r)
			return
		}
		honest := httptest.NewRecorder()
		api.ServeHTTP(honest, r)
		fn(w, honest.Body.Bytes())
	}))
	t.Cleanup(s.Close)
	return s.URL + "/log"
}

func verifyURL(t *testing.T, url, vkey string) (*exchange.Verdict, error) {
	t.Helper()
	l, err := OpenURL(t.Context(), url, vkey, nil)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	if !l.Partial() {
		t.Error("a log by URL says that it is whole")
	}
	_, key, err := ParseVerifierKey(vkey)
	if err != nil {
		t.Fatal(err)
	}
	v, err := Verify(t.Context(), l, VerifyOptions{SkipContent: true, CheckpointKey: key})
	if err != nil {
		t.Fatal(err)
	}
	return v, nil
}

// TestVerifyByURLOnly: an auditor without access to disks verifies 700 entries over HTTP, and sees what
// a lying server changed.
func TestVerifyByURLOnly(t *testing.T) {
	k := newSeedKeys(61)
	l := openTest(t, t.TempDir(), k)
	growLog(t, l, 700)
	vkey := VerifierKey(testOrigin, k.Public().(ed25519.PublicKey))
	size := l.Size()
	v, err := verifyURL(t, tamperingServer(t, l.View(), nil), vkey)
	if err != nil {
		t.Fatal(err)
	}
	wantIntact(t, v)
	if v.Counts["entries"] != int64(size) || v.Counts["checkpoints_checked"] != 1 {
		t.Errorf("%v of %d entries", v.Counts, size)
	}
	last := fmt.Sprintf("/log/tile/entries/002.p/%d", size-512)
	flip := func(at int) func(http.ResponseWriter, []byte) {
		return func(w http.ResponseWriter, b []byte) {
			b = bytes.Clone(b)
			b[at] ^= 1
			_, _ = w.Write(b)
		}
	}
	cut := func(w http.ResponseWriter, b []byte) { _, _ = w.Write(b[:len(b)-40]) }
	gone := func(w http.ResponseWriter, _ []byte) { w.WriteHeader(http.StatusNotFound) }
	for what, c := range map[string]struct {
		path  string
		alter func(http.ResponseWriter, []byte)
		check string // that some finding must name
	}{
		"an entry changed":     {"/log/tile/entries/001", flip(200), "tree"},
		"an entry of the edge": {last, flip(300), "checkpoint"},
		"a tile changed":       {"/log/tile/0/001", flip(64), "tree"},
		"a tile cut":           {"/log/tile/0/000", cut, "tile"},
		"a bundle cut":         {"/log/tile/entries/001", cut, "entry"},
		"the last bundle cut":  {last, cut, "entry"},
		"a bundle too long":    {"/log/tile/entries/001", func(w http.ResponseWriter, b []byte) { _, _ = w.Write(append(bytes.Clone(b), 0, 0)) }, "entry"},
		"a bundle gone":        {"/log/tile/entries/001", gone, "entry"},
		"entries in another's bundle": {"/log/tile/entries/001", func(w http.ResponseWriter, _ []byte) {
			b, _ := readBundle(t.Context(), l.View(), 0, 256)
			_, _ = w.Write(b)
		}, "tree"},
	} {
		t.Run(what, func(t *testing.T) {
			v, err := verifyURL(t, tamperingServer(t, l.View(), map[string]func(http.ResponseWriter, []byte){c.path: c.alter}), vkey)
			if err != nil {
				t.Fatal(err)
			}
			found := false
			for _, f := range v.Findings {
				found = found || f.Check == c.check && f.Severity == exchange.Broken
			}
			if v.Verdict != exchange.Broken || !found {
				t.Errorf("verdict %s, findings %v", v.Verdict, v.Findings[:min(len(v.Findings), 5)])
			}
		})
	}
}

// TestVerifyByURLWhileTheLogGrows: every checkpoint that a live log serves is whole below it.
func TestVerifyByURLWhileTheLogGrows(t *testing.T) {
	k := newSeedKeys(65)
	l := openTest(t, t.TempDir(), k)
	url, vkey := tamperingServer(t, l.View(), nil), VerifierKey(testOrigin, k.Public().(ed25519.PublicKey))
	growLog(t, l, 10)
	grown := make(chan struct{})
	go func() { defer close(grown); growLog(t, l, 1000) }()
	defer func() { <-grown }()
	for last, rounds := uint64(0), 0; last < 1000 || rounds < 3; rounds++ {
		v, err := verifyURL(t, url, vkey)
		if err != nil {
			t.Fatal(err)
		}
		wantIntact(t, v)
		size := uint64(v.Counts["entries"])
		if size < last {
			t.Fatalf("size %d after %d", size, last)
		}
		last = size
	}
}

// TestOpenURLRefusesWhatIsNotTheLog: every answer to the opening requests that no honest log gives.
func TestOpenURLRefusesWhatIsNotTheLog(t *testing.T) {
	k, stranger := newSeedKeys(62), newSeedKeys(63)
	l := openTest(t, t.TempDir(), k)
	growLog(t, l, 20)
	_, note, err := NewestNote(t.Context(), l.View())
	if err != nil {
		t.Fatal(err)
	}
	honest, err := OpenCheckpoint(note, testOrigin, k.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	vkey := VerifierKey(testOrigin, k.Public().(ed25519.PublicKey))
	says := func(c Checkpoint, by *seedKeys) func(http.ResponseWriter, []byte) {
		signed, err := signCheckpoint(t.Context(), c, by)
		if err != nil {
			t.Fatal(err)
		}
		return func(w http.ResponseWriter, _ []byte) { _, _ = w.Write(signed) }
	}
	first := fmt.Sprintf("/log/tile/entries/000.p/%d", honest.Size)
	for what, c := range map[string]struct {
		path  string
		alter func(http.ResponseWriter, []byte)
		want  error
	}{
		"another key":    {"/log/checkpoint", says(honest, stranger), ErrNoteSignature},
		"another origin": {"/log/checkpoint", says(Checkpoint{"other.test/log", honest.Size, honest.Root}, k), ErrOtherLog},
		"signature changed": {"/log/checkpoint", func(w http.ResponseWriter, b []byte) {
			_, _ = w.Write(bytes.Replace(b, []byte(testOrigin), []byte("sigillo.test/ec-77777777778"), 1))
		}, ErrOtherLog},
		"size changed": {"/log/checkpoint", func(w http.ResponseWriter, b []byte) {
			_, _ = w.Write(bytes.Replace(b, fmt.Appendf(nil, "\n%d\n", honest.Size), fmt.Appendf(nil, "\n%d\n", honest.Size+1), 1))
		}, ErrNoteSignature},
		"no note":            {"/log/checkpoint", func(w http.ResponseWriter, _ []byte) { _, _ = w.Write([]byte("hello")) }, ErrBadAnswer},
		"no entries":         {"/log/checkpoint", says(Checkpoint{testOrigin, 0, frontier{}.root()}, k), ErrBadAnswer},
		"endless checkpoint": {"/log/checkpoint", endless, ErrBadAnswer},
		"endless bundle":     {first, endless, ErrBadAnswer},
		"no genesis": {first, func(w http.ResponseWriter, b []byte) {
			_, _ = w.Write(bytes.Replace(b, []byte(`"kind":"genesis"`), []byte(`"kind":"refusal"`), 1))
		}, ErrBadAnswer},
		"genesis of another": {first, func(w http.ResponseWriter, b []byte) {
			_, _ = w.Write(bytes.Replace(b, []byte("ec-77777777777"), []byte("ec-77777777778"), 1))
		}, ErrBadAnswer},
		"a redirect": {"/log/checkpoint", func(w http.ResponseWriter, _ []byte) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(http.StatusFound)
		}, ErrUnreachable},
		"nothing":           {"/log/checkpoint", func(w http.ResponseWriter, _ []byte) { w.WriteHeader(http.StatusNotFound) }, ErrNotFound},
		"broken connection": {"/log/checkpoint", func(w http.ResponseWriter, _ []byte) { panic(http.ErrAbortHandler) }, ErrUnreachable},
	} {
		t.Run(what, func(t *testing.T) {
			url := tamperingServer(t, l.View(), map[string]func(http.ResponseWriter, []byte){c.path: c.alter, "/elsewhere": says(honest, k)})
			if log, err := OpenURL(t.Context(), url, vkey, nil); !errors.Is(err, c.want) {
				t.Errorf("opened %v, %v; wanted %v", log != nil, err, c.want)
			}
		})
	}
	for _, bad := range []string{"", "ftp://127.0.0.1/log", "http://", "http://u:p@127.0.0.1/log", "http://127.0.0.1/log?x=1", "http://127.0.0.1/log#x"} {
		if _, err := OpenURL(t.Context(), bad, vkey, nil); err == nil {
			t.Errorf("%q was opened", bad)
		}
	}
}

// TestURLViewHoldsTheServerToItsGenesis: who shows one first entry at the opening and another afterwards
// is found out, although each is well-formed.
func TestURLViewHoldsTheServerToItsGenesis(t *testing.T) {
	k := newSeedKeys(66)
	l := openTest(t, t.TempDir(), k)
	growLog(t, l, 300)
	var shown atomic.Bool
	url := tamperingServer(t, l.View(), map[string]func(http.ResponseWriter, []byte){"/log/tile/entries/000": func(w http.ResponseWriter, b []byte) {
		if shown.CompareAndSwap(false, true) {
			b = bytes.Replace(b, []byte("sigillo test"), []byte("Sigillo test"), 1)
		}
		_, _ = w.Write(b)
	}})
	v, err := verifyURL(t, url, VerifierKey(testOrigin, k.Public().(ed25519.PublicKey)))
	if err != nil {
		t.Fatal(err)
	}
	if v.Verdict != exchange.Broken || !shown.Load() {
		t.Errorf("verdict %s", v.Verdict)
	}
}

// endless never ends, and says so by no length.
func endless(w http.ResponseWriter, _ []byte) {
	b := bytes.Repeat([]byte("sigillo\n"), 4096)
	for {
		if _, err := w.Write(b); err != nil {
			return
		}
	}
}

// TestURLViewIsAView: keys and scans answer as the store itself does, where there is something to answer;
// a passing fault of the server is tried again.
func TestURLViewIsAView(t *testing.T) {
	k := newSeedKeys(64)
	l := openTest(t, t.TempDir(), k)
	growLog(t, l, 600)
	var refused atomic.Bool
	url := tamperingServer(t, l.View(), map[string]func(http.ResponseWriter, []byte){"/log/tile/entries/001": func(w http.ResponseWriter, b []byte) {
		if refused.CompareAndSwap(false, true) {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write(b)
	}})
	remote, err := OpenURL(t.Context(), url, VerifierKey(testOrigin, k.Public().(ed25519.PublicKey)), nil)
	if err != nil {
		t.Fatal(err)
	}
	size, note, err := NewestNote(t.Context(), remote)
	if err != nil || size != remote.Head.Size {
		t.Fatalf("newest checkpoint: %d, %v", size, err)
	}
	for _, key := range [][]byte{entryKey(0), entryKey(300), entryKey(size - 1), tileKey(0, 0), tileKey(0, 1), noteKey(size),
		entryKey(size), tileKey(0, 2), tileKey(1, 0), tileKey(200, 1<<62), noteKey(1), ownKey(LogChain), {tableHead, 1}, {}, {tableEntry}} {
		want, wantErr := l.View().Get(t.Context(), key)
		if len(key) == 0 || key[0] == tableOwn || string(key) == string(noteKey(1)) { // not over this road
			want, wantErr = nil, ErrNotFound
		}
		got, err := remote.Get(t.Context(), key)
		if !bytes.Equal(got, want) || errors.Is(err, ErrNotFound) != errors.Is(wantErr, ErrNotFound) {
			t.Errorf("key %x: %d bytes, %v; the store has %d, %v", key, len(got), err, len(want), wantErr)
		}
	}
	for _, from := range [][]byte{nil, entryKey(0), entryKey(255), entryKey(256), entryKey(size - 1), entryKey(size)} {
		read := func(v View) (out []string) {
			err := v.Scan(t.Context(), []byte{tableEntry}, from, func(key, value []byte) error {
				out = append(out, string(key)+string(value))
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			return out
		}
		if got, want := read(remote), read(l.View()); strings.Join(got, "") != strings.Join(want, "") {
			t.Errorf("scan from %x: %d entries, the store has %d", from, len(got), len(want))
		}
	}
	stop, seen := errors.New("enough"), 0
	if err := remote.Scan(t.Context(), []byte{tableEntry}, nil, func(_, _ []byte) error {
		if seen++; seen == 3 {
			return stop
		}
		return nil
	}); !errors.Is(err, stop) || seen != 3 {
		t.Errorf("a scan that is ended: %v after %d", err, seen)
	}
	if path, err := InclusionProof(t.Context(), remote, 599, size); err != nil {
		t.Error(err)
	} else if e, err := remote.Entry(t.Context(), 599); err != nil || VerifyInclusion(e.Bytes, 599, size, path, remote.Head.Root) != nil {
		t.Errorf("inclusion of entry 599 by URL: %v", err)
	}
	if c, err := OpenCheckpoint(note, testOrigin, k.Public().(ed25519.PublicKey)); err != nil || c.Root != remote.Head.Root {
		t.Errorf("the checkpoint that it was opened with: %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := remote.Scan(gone, []byte{tableEntry}, nil, func(_, _ []byte) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("a scan of somebody who left: %v", err)
	}
}

package ledger

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sigillo/internal/exchange"
)

// testKey is a witness's key in the test's hands.
type testKey struct {
	name string
	priv ed25519.PrivateKey
}

func testWitnessKey(seed byte, name string) testKey {
	s := sha256.Sum256([]byte{seed, 'w'})
	return testKey{name, ed25519.NewKeyFromSeed(s[:])}
}

func (k testKey) id() []byte {
	s := sha256.Sum256(append([]byte(k.name+"\n\x04"), k.priv.Public().(ed25519.PublicKey)...))
	return s[:4]
}

func (k testKey) vkey() string {
	return fmt.Sprintf("%s+%x+%s", k.name, k.id(), base64.StdEncoding.EncodeToString(append([]byte{4}, k.priv.Public().(ed25519.PublicKey)...)))
}

// cosign is the line that an honest witness would answer to a checkpoint.
func (k testKey) cosign(note []byte, at uint64) string {
	text, _, _ := bytes.Cut(note, []byte("\n\n"))
	sig := ed25519.Sign(k.priv, fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s\n", at, text))
	raw := append(binary.BigEndian.AppendUint64(k.id(), at), sig...)
	return "— " + k.name + " " + base64.StdEncoding.EncodeToString(raw) + "\n"
}

// fakeWitness answers as a test says; the third party's witness shows what honest ones do.
func fakeWitness(t *testing.T, k testKey, answer func(w http.ResponseWriter, r *http.Request, old string, note []byte)) Witness {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(io.LimitReader(r.Body, 64<<10))
		head, note, ok := bytes.Cut(b, []byte("\n\n"))
		old, _, _ := strings.Cut(string(head), "\n")
		if err != nil || !ok || r.Method != http.MethodPost || r.URL.Path != "/sub/add-checkpoint" || !strings.HasPrefix(old, "old ") {
			t.Errorf("%s %s: %v", r.Method, r.URL.Path, err)
		}
		answer(w, r, old[4:], note)
	}))
	t.Cleanup(s.Close)
	return Witness{URL: s.URL + "/sub/", Key: k.vkey()}
}

func honest(k testKey) func(http.ResponseWriter, *http.Request, string, []byte) {
	return func(w http.ResponseWriter, _ *http.Request, _ string, note []byte) {
		_, _ = io.WriteString(w, k.cosign(note, 1700000000))
	}
}

func conflict(w http.ResponseWriter, size string) {
	w.Header().Set("Content-Type", "text/x.tlog.size")
	w.WriteHeader(http.StatusConflict)
	_, _ = io.WriteString(w, size)
}

// TestHostileWitness: one of two witnesses misbehaves in every way that costs nothing; the log goes on,
// nothing of it is kept, and the quorum of one is the honest one's.
func TestHostileWitness(t *testing.T) {
	bad, good, stranger := testWitnessKey(1, "bad.example"), testWitnessKey(2, "good.example"), testWitnessKey(3, "bad.example")
	var asked atomic.Int64
	long := strings.Repeat("A", 1<<20)
	for name, answer := range map[string]func(w http.ResponseWriter, r *http.Request, old string, note []byte){
		"garbage": func(w http.ResponseWriter, _ *http.Request, _ string, _ []byte) { _, _ = w.Write([]byte{0, 1, 2, 255}) },
		"nothing": func(http.ResponseWriter, *http.Request, string, []byte) {},
		"huge": func(w http.ResponseWriter, _ *http.Request, _ string, _ []byte) {
			_, _ = io.WriteString(w, "— bad.example "+long)
		},
		"huge conflict": func(w http.ResponseWriter, _ *http.Request, _ string, _ []byte) { conflict(w, long) },
		"the same size again": func(w http.ResponseWriter, _ *http.Request, old string, _ []byte) {
			conflict(w, old+"\n")
		},
		"another size each time": func(w http.ResponseWriter, _ *http.Request, _ string, _ []byte) {
			conflict(w, fmt.Sprintf("%d\n", asked.Add(1)%2))
		},
		"a size with a leading zero":  func(w http.ResponseWriter, _ *http.Request, _ string, _ []byte) { conflict(w, "01\n") },
		"a conflict without size":     func(w http.ResponseWriter, _ *http.Request, _ string, _ []byte) { w.WriteHeader(http.StatusConflict) },
		"a proof refused, none given": func(w http.ResponseWriter, _ *http.Request, _ string, _ []byte) { w.WriteHeader(422) },
		"another key": func(w http.ResponseWriter, _ *http.Request, _ string, note []byte) {
			_, _ = io.WriteString(w, stranger.cosign(note, 1))
		},
		"another key under its id": func(w http.ResponseWriter, _ *http.Request, _ string, note []byte) {
			raw, _ := base64.StdEncoding.DecodeString(strings.Fields(stranger.cosign(note, 1))[2])
			copy(raw, bad.id())
			_, _ = io.WriteString(w, "— bad.example "+base64.StdEncoding.EncodeToString(raw)+"\n")
		},
		"another checkpoint": func(w http.ResponseWriter, _ *http.Request, _ string, note []byte) {
			_, _ = io.WriteString(w, bad.cosign(bytes.Replace(note, []byte("\n"), []byte("\n1"), 1), 1))
		},
		"a time it did not sign": func(w http.ResponseWriter, _ *http.Request, _ string, note []byte) {
			raw, _ := base64.StdEncoding.DecodeString(strings.Fields(bad.cosign(note, 1))[2])
			raw[11]++
			_, _ = io.WriteString(w, "— bad.example "+base64.StdEncoding.EncodeToString(raw)+"\n")
		},
		"elsewhere": func(w http.ResponseWriter, r *http.Request, _ string, _ []byte) {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusTemporaryRedirect)
		},
		"server error": func(w http.ResponseWriter, _ *http.Request, _ string, _ []byte) { w.WriteHeader(500) },
		"leave me be": func(w http.ResponseWriter, _ *http.Request, _ string, _ []byte) {
			w.Header().Set("Retry-After", "99999999999")
			w.WriteHeader(429)
		},
		"never an end": func(_ http.ResponseWriter, r *http.Request, _ string, _ []byte) { <-r.Context().Done() },
		"cut off": func(w http.ResponseWriter, _ *http.Request, _ string, _ []byte) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "— bad")
			panic(http.ErrAbortHandler)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, k := t.TempDir(), newSeedKeys(71)
			l := openWitnessed(t, dir, k, WitnessPolicy{Quorum: 1, Witnesses: []Witness{fakeWitness(t, bad, answer), fakeWitness(t, good, honest(good))}})
			fill(t, l, 3)
			awaitNewest(t, l, exchange.BarrierWitnessed)
			if err := l.View().Scan(t.Context(), []byte{tableCosign}, nil, func(_, value []byte) error {
				if bytes.Contains(value, []byte("bad.example")) {
					t.Errorf("kept: %s", value)
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if err := l.Err(); err != nil {
				t.Error(err)
			}
			closeTest(t, l)
			wantIntact(t, verifyDir(t, dir, k))
		})
	}
}

// TestOneLiarCannotStopTheLog: a claim of another history stops a log only when a quorum makes it, or
// when without those who make it there can be no quorum.
func TestOneLiarCannotStopTheLog(t *testing.T) {
	liar := func(w http.ResponseWriter, _ *http.Request, _ string, _ []byte) { conflict(w, "999999\n") }
	keys := []testKey{testWitnessKey(1, "a.example"), testWitnessKey(2, "b.example"), testWitnessKey(3, "c.example")}
	for _, x := range []struct {
		liars, quorum int
		forked        bool
	}{{1, 2, false}, {2, 2, true}, {1, 3, true}, {1, 1, true}, {2, 3, true}} {
		t.Run(fmt.Sprintf("%d liars, %d of 3", x.liars, x.quorum), func(t *testing.T) {
			p := WitnessPolicy{Quorum: x.quorum}
			for i, k := range keys {
				answer := honest(k)
				if i < x.liars {
					answer = liar
				}
				p.Witnesses = append(p.Witnesses, fakeWitness(t, k, answer))
			}
			l := openWitnessed(t, t.TempDir(), newSeedKeys(72), p)
			if x.forked {
				closeForked(t, l)
				return
			}
			fill(t, l, 3)
			awaitNewest(t, l, exchange.BarrierWitnessed)
			if err := l.Err(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestHangingWitnessDoesNotDelayTheOthers: more rounds than one pass while its answer stands out.
func TestHangingWitnessDoesNotDelayTheOthers(t *testing.T) {
	a, b := testWitnessKey(1, "a.example"), testWitnessKey(2, "b.example")
	entered := make(chan struct{}, 8)
	hang := func(_ http.ResponseWriter, r *http.Request, _ string, _ []byte) {
		entered <- struct{}{}
		<-r.Context().Done()
	}
	l := openWitnessed(t, t.TempDir(), newSeedKeys(73), WitnessPolicy{Quorum: 1, Witnesses: []Witness{fakeWitness(t, a, hang), fakeWitness(t, b, honest(b))}})
	<-entered
	for range 3 {
		fill(t, l, 1)
		awaitNewest(t, l, exchange.BarrierWitnessed)
	}
	if len(entered) > 0 {
		t.Error("a second request went out while the first stood open")
	}
}

func TestCheckCosignaturesFindsAlteredOnes(t *testing.T) {
	a, b := testWitnessKey(1, "a.example"), testWitnessKey(2, "b.example")
	p := WitnessPolicy{Quorum: 2, Witnesses: []Witness{fakeWitness(t, a, honest(a)), fakeWitness(t, b, honest(b))}}
	l := openWitnessed(t, t.TempDir(), newSeedKeys(74), p)
	fill(t, l, 3)
	awaitNewest(t, l, exchange.BarrierWitnessed)
	size := l.Witnessed()
	note, n, err := Cosigned(t.Context(), l.View(), size)
	if err != nil || n != 2 {
		t.Fatalf("%d, %v", n, err)
	}
	plain, err := l.View().Get(t.Context(), noteKey(size))
	if err != nil {
		t.Fatal(err)
	}
	set := func(lines string) {
		if err := write(l.db, []kv{{cosignKey(size), []byte(lines)}}, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, x := range []struct {
		name, lines string
		note        []byte
		count, bad  int
	}{
		{"as kept", a.cosign(plain, 1) + b.cosign(plain, 2), plain, 2, 0},
		{"twice the same witness", a.cosign(plain, 1) + a.cosign(plain, 2), plain, 1, 0},
		{"in the note", "", note, 2, 0},
		{"of another checkpoint", a.cosign([]byte("x\n\n"), 1) + b.cosign(plain, 2), plain, 1, 1},
		{"of a stranger", testWitnessKey(3, "c.example").cosign(plain, 1) + b.cosign(plain, 2), plain, 1, 0},
		{"no list of lines", "nonsense", plain, 0, 1},
		{"no checkpoint", "", []byte("nonsense"), 0, 1},
		{"none", "", plain, 0, 0},
	} {
		set(x.lines)
		if count, found := checkCosignatures(t.Context(), l.View(), size, x.note, p); count != x.count || len(found) != x.bad {
			t.Errorf("%s: %d hold, findings %v", x.name, count, found)
		}
	}
	if _, found := checkCosignatures(t.Context(), l.View(), size, plain, WitnessPolicy{Witnesses: p.Witnesses}); len(found) != 1 || found[0].Severity != "indeterminate" {
		t.Errorf("a policy that is none: %v", found)
	}
	if _, _, err := Cosigned(t.Context(), l.View(), 1<<30); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

func TestNoWitnessesNoWaiting(t *testing.T) {
	l := openTest(t, t.TempDir(), newSeedKeys(75))
	if err := l.Await(context.Background(), 0, exchange.BarrierWitnessed); !errors.Is(err, ErrNoWitnesses) || l.Witnessed() != 0 {
		t.Error(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := l.Await(short, 1<<40, exchange.BarrierDurable); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	done := make(chan error, 1)
	next := l.Size()
	go func() { done <- l.Await(context.Background(), next, exchange.BarrierDurable) }()
	fill(t, l, 1)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

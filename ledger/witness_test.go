package ledger

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sigillo/internal/testbed"

	"sigillo/internal/exchange"
)

// startWitness runs a third party's witness that serves the test log.
func startWitness(t *testing.T, k *seedKeys, name string) *testbed.Witness {
	t.Helper()
	w, err := testbed.StartWitness(t.Context(), t.TempDir(), name, VerifierKey(testOrigin, k.Public().(ed25519.PublicKey)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Stop(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func witnessedBy(quorum int, ws ...*testbed.Witness) WitnessPolicy {
	p := WitnessPolicy{Quorum: quorum}
	for _, w := range ws {
		p.Witnesses = append(p.Witnesses, Witness{URL: w.URL, Key: w.Key})
	}
	return p
}

// openWitnessed opens a ledger whose Close the test calls, or that ends with the test in any way.
func openWitnessed(t *testing.T, dir string, k *seedKeys, p WitnessPolicy) *Ledger {
	t.Helper()
	o := testOptions(dir, k)
	o.Witnesses = p
	l, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := l.Close(ctx); err != nil && !errors.Is(err, ErrForked) {
			t.Error(err)
		}
	})
	return l
}

// patient gives up after a time that only a hang needs.
func patient(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func awaitNewest(t *testing.T, l *Ledger, b exchange.Barrier) uint64 {
	t.Helper()
	n := l.Size() - 1
	if err := l.Await(patient(t), n, b); err != nil {
		t.Fatal(err)
	}
	return n
}

// judgeNote lets third-party code say whether the log and all these witnesses signed the note.
func judgeNote(t *testing.T, note []byte, k *seedKeys, ws ...*testbed.Witness) error {
	t.Helper()
	bin, err := testbed.Built(t.Context(), "internal/testbed/witnesslab", "./judge")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), bin, VerifierKey(testOrigin, k.Public().(ed25519.PublicKey)))
	for _, w := range ws {
		cmd.Args = append(cmd.Args, w.Key)
	}
	cmd.Stdin = bytes.NewReader(note)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

func noteCount(t *testing.T, l *Ledger) (n int) {
	t.Helper()
	if err := l.View().Scan(t.Context(), []byte{tableNote}, nil, func(_, _ []byte) error { n++; return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestThirdPartyWitnessCosignsUnderLoad(t *testing.T) {
	dir, k := t.TempDir(), newSeedKeys(51)
	w := startWitness(t, k, "witness.test/one")
	p := witnessedBy(1, w)
	l := openWitnessed(t, dir, k, p)
	var writers sync.WaitGroup
	for range 32 {
		writers.Add(1)
		go func() {
			defer writers.Done()
			for i := range 10 {
				if _, err := roundTrip(t.Context(), l, bytes.Repeat([]byte{byte(i)}, 300)); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	writers.Wait()
	n := awaitNewest(t, l, exchange.BarrierWitnessed)
	size := l.Witnessed()
	if size <= n {
		t.Fatalf("witnessed up to size %d, waited for entry %d", size, n)
	}
	note, count, err := Cosigned(t.Context(), l.View(), size)
	if err != nil || count != 1 {
		t.Fatalf("%d cosignatures, %v", count, err)
	}
	if err := judgeNote(t, note, k, w); err != nil {
		t.Error(err)
	}
	if err := judgeNote(t, bytes.Replace(note, []byte(fmt.Sprint(size)), []byte(fmt.Sprint(size+1)), 1), k, w); err == nil {
		t.Error("the judge accepts another size")
	}
	if c, err := OpenCheckpoint(note, testOrigin, k.Public().(ed25519.PublicKey)); err != nil || c.Size != size {
		t.Errorf("the joined note opens as size %d, %v", c.Size, err)
	}
	plain, err := l.View().Get(t.Context(), noteKey(size))
	if err != nil || !bytes.HasPrefix(note, plain) || len(plain) == len(note) {
		t.Errorf("the stored checkpoint changed, %v", err)
	}
	if count, found := checkCosignatures(t.Context(), l.View(), size, plain, p); count != 1 || len(found) > 0 {
		t.Errorf("%d cosignatures hold, findings %v", count, found)
	}
	if got := witnessedAssurance(size, 1, 1); got != fmt.Sprintf("witnessed(%d, 1 of 1)", size) {
		t.Error(got)
	}
	closeTest(t, l)
	wantIntact(t, verifyDir(t, dir, k))

	// The next process knows what was witnessed before it has asked anybody.
	if err := w.Stop(); err != nil {
		t.Fatal(err)
	}
	l = openWitnessed(t, dir, k, p)
	if l.Witnessed() != size {
		t.Errorf("after a restart witnessed up to size %d, before it %d", l.Witnessed(), size)
	}
}

func TestQuorumWithAWitnessDead(t *testing.T) {
	k := newSeedKeys(52)
	a, b, c := startWitness(t, k, "witness.test/a"), startWitness(t, k, "witness.test/b"), startWitness(t, k, "witness.test/c")
	if err := b.Stop(); err != nil {
		t.Fatal(err)
	}
	l := openWitnessed(t, t.TempDir(), k, witnessedBy(2, a, b, c))
	fill(t, l, 20)
	awaitNewest(t, l, exchange.BarrierWitnessed)
	note, count, err := Cosigned(t.Context(), l.View(), l.Witnessed())
	if err != nil || count != 2 {
		t.Fatalf("%d cosignatures, %v", count, err)
	}
	if err := judgeNote(t, note, k, a, c); err != nil {
		t.Error(err)
	}
}

func TestDeadWitnessHoldsNothingBackAndReturns(t *testing.T) {
	k := newSeedKeys(53)
	a, b := startWitness(t, k, "witness.test/a"), startWitness(t, k, "witness.test/b")
	if err := b.Stop(); err != nil {
		t.Fatal(err)
	}
	l := openWitnessed(t, t.TempDir(), k, witnessedBy(2, a, b))
	fill(t, l, 20) // with receipts
	n := awaitNewest(t, l, exchange.BarrierSigned)
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := l.Await(short, n, exchange.BarrierWitnessed); !errors.Is(err, context.DeadlineExceeded) || l.Witnessed() != 0 {
		t.Fatalf("witnessed by one of two: %v, size %d", err, l.Witnessed())
	}
	if err := b.Restart(); err != nil {
		t.Fatal(err)
	}
	awaitNewest(t, l, exchange.BarrierWitnessed)
}

// countingProxy stands before a witness and counts the answers by status.
func countingProxy(t *testing.T, w *testbed.Witness) (p *testbed.Witness, count func(status int) int64) {
	t.Helper()
	to, err := url.Parse(w.URL)
	if err != nil {
		t.Fatal(err)
	}
	var counts sync.Map
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }, ModifyResponse: func(r *http.Response) error {
		c, _ := counts.LoadOrStore(r.StatusCode, new(atomic.Int64))
		c.(*atomic.Int64).Add(1)
		return nil
	}}
	s := httptest.NewServer(proxy)
	t.Cleanup(s.Close)
	return &testbed.Witness{URL: s.URL, Key: w.Key}, func(status int) int64 {
		c, ok := counts.Load(status)
		if !ok {
			return 0
		}
		return c.(*atomic.Int64).Load()
	}
}

func TestRestartGoesOnFromTheWitnessSize(t *testing.T) {
	dir, k := t.TempDir(), newSeedKeys(54)
	a, b := startWitness(t, k, "witness.test/a"), startWitness(t, k, "witness.test/b")
	if err := b.Stop(); err != nil {
		t.Fatal(err)
	}
	l := openWitnessed(t, dir, k, witnessedBy(1, a))
	fill(t, l, 200)
	awaitNewest(t, l, exchange.BarrierWitnessed)
	closeTest(t, l)

	// Nothing tells the next process where a stands: no checkpoint has a quorum of two.
	if err := b.Restart(); err != nil {
		t.Fatal(err)
	}
	front, count := countingProxy(t, a)
	l = openWitnessed(t, dir, k, witnessedBy(2, front, b))
	if l.Witnessed() != 0 {
		t.Fatalf("witnessed up to size %d by a quorum that never was", l.Witnessed())
	}
	fill(t, l, 10)
	awaitNewest(t, l, exchange.BarrierWitnessed)
	if count(http.StatusConflict) != 1 || count(http.StatusOK) == 0 {
		t.Errorf("%d conflicts, %d cosignatures: want one conflict, then cosignatures", count(http.StatusConflict), count(http.StatusOK))
	}
	if _, n, err := Cosigned(t.Context(), l.View(), l.Witnessed()); err != nil || n != 2 {
		t.Errorf("%d cosignatures, %v", n, err)
	}
}

func TestUnknownLogIsNotAFork(t *testing.T) {
	w := startWitness(t, newSeedKeys(55), "witness.test/a") // knows the log under another key
	l := openWitnessed(t, t.TempDir(), newSeedKeys(56), witnessedBy(1, w))
	fill(t, l, 5)
	awaitNewest(t, l, exchange.BarrierSigned)
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := l.Await(short, 0, exchange.BarrierWitnessed); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if err := l.Err(); err != nil {
		t.Error(err)
	}
}

func TestPolicyIsCheckedByName(t *testing.T) {
	good := Witness{URL: "https://witness.example/x", Key: testWitnessKey(1, "witness.example/x").vkey()}
	other := Witness{URL: "https://other.example", Key: testWitnessKey(1, "other.example").vkey()}
	for want, p := range map[string]WitnessPolicy{
		"from 1 to 1":              {Witnesses: []Witness{good}},
		"quorum of 2 of 1":         {Witnesses: []Witness{good}, Quorum: 2},
		"same key as witness 1":    {Witnesses: []Witness{good, other}, Quorum: 1},
		"url: not https (http":     {Witnesses: []Witness{{URL: "http://witness.example", Key: good.Key}}, Quorum: 1},
		"url: not https://HOST":    {Witnesses: []Witness{{URL: "https://u:p@witness.example", Key: good.Key}}, Quorum: 1},
		"not name+hash+key":        {Witnesses: []Witness{{URL: good.URL, Key: "x"}}, Quorum: 1},
		"of type 0x01":             {Witnesses: []Witness{{URL: good.URL, Key: VerifierKey("w", newSeedKeys(1).Public().(ed25519.PublicKey))}}, Quorum: 1},
		"its hash does not match":  {Witnesses: []Witness{{URL: good.URL, Key: strings.Replace(good.Key, "witness.example", "witness.another", 1)}}, Quorum: 1},
		"no base64 of 33 bytes":    {Witnesses: []Witness{{URL: good.URL, Key: good.Key[:len(good.Key)-4]}}, Quorum: 1},
		"33 witnesses: the limit":  {Witnesses: make([]Witness, 33), Quorum: 1},
		"witness 2: witness key: ": {Witnesses: []Witness{good, {}}, Quorum: 1},
	} {
		if err := p.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if err := (WitnessPolicy{Witnesses: []Witness{good}, Quorum: 1}).Check(); err != nil {
		t.Error(err)
	}
	if _, err := Open(t.Context(), func() Options {
		o := testOptions(t.TempDir(), newSeedKeys(1))
		o.Witnesses.Witnesses = []Witness{good}
		return o
	}()); err == nil {
		t.Error("a ledger opens with a policy that is none")
	}
	if err := (&Ledger{notary: &notary{}}).Await(t.Context(), 0, "later"); err == nil {
		t.Error("a barrier that is none")
	}
}

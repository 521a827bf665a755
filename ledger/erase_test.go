package ledger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"sigillo/internal/exchange"
)

func withKeys(k ClassKeys) func(*VerifyOptions) { return func(o *VerifyOptions) { o.Keys = k } }

func eraserOf(t *testing.T, l *Ledger, k DestroyableKeys) *Eraser {
	t.Helper()
	log, err := l.Log(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return &Eraser{Log: log, Holder: l, Keys: k}
}

var testArchivist = Actor{Role: "archivist", ID: Hash{7}}

func erasureOf(id exchange.ID, messages ...int) ErasureRequest {
	return ErasureRequest{By: testArchivist, Exchange: id, Messages: messages, Ground: GroundAuthority, Reference: "Garante, provv. 1/2026"}
}

// opens reads every message of an exchange that an entry names.
func opens(t *testing.T, l *Ledger, k ClassKeys, id exchange.ID) (bodies []string, errs []error) {
	t.Helper()
	log, err := l.Log(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	entries, err := log.Exchange(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	o := NewOpener(log, k)
	for _, e := range entries {
		for _, m := range e.Messages {
			c, err := o.Content(t.Context(), id, m)
			bodies, errs = append(bodies, string(c.Body)), append(errs, err)
		}
	}
	return bodies, errs
}

// TestEraseOneExchange: what is erased cannot be opened nor found, with any key; the rest can, and the log is intact.
func TestEraseOneExchange(t *testing.T) {
	dir, k := t.TempDir(), newMortalKeys(41)
	l := openMortal(t, dir, k)
	ids := fill(t, l, 40)
	if _, err := eraserOf(t, l, k).Erase(t.Context(), erasureOf(newID())); !errors.Is(err, ErrNotFound) {
		t.Errorf("erasing what is not there: %v", err)
	}
	if _, err := eraserOf(t, l, k).Erase(t.Context(), erasureOf(ids[7], 9)); err == nil {
		t.Error("a message that the exchange has not was erased")
	}
	reports, err := eraserOf(t, l, k).Erase(t.Context(), erasureOf(ids[7]))
	if err != nil || len(reports) != 1 {
		t.Fatalf("%d reports, %v", len(reports), err)
	}
	r := reports[0]
	if r.Generation != 2 || len(r.Destroyed) != 2 || !slices.Equal(r.Messages, []int{0, 1}) || r.Rewrapped != 39*(2+1+1) {
		t.Errorf("report %+v", r)
	}
	bodies, errs := opens(t, l, k, ids[7])
	var erased *ErasedError
	if len(errs) != 3 || !errors.As(errs[0], &erased) || erased.Entry != r.Entry || !errors.Is(errs[1], ErrErased) || errs[2] != nil || bodies[2] != "Garante, provv. 1/2026" {
		t.Errorf("after the erasure: %q, %v", bodies, errs)
	}
	log, err := l.Log(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewOpener(log, k).Receipt(t.Context(), ids[7]); !errors.Is(err, ErrErased) {
		t.Errorf("the receipt of an erased exchange: %v", err)
	}
	if _, err := l.Receipt(t.Context(), ids[8]); err != nil {
		t.Errorf("another receipt: %v", err)
	}
	for i, want := range map[int]int{7: 0, 8: 1, 39: 1} {
		found, err := log.Search(t.Context(), Query{Key: fmt.Sprintf("30200010000%07d", i)}, k)
		if err != nil || len(found) != want {
			t.Errorf("search for the notice of exchange %d found %d, %v", i, len(found), err)
		}
	}
	if _, err := eraserOf(t, l, k).Erase(t.Context(), erasureOf(ids[7])); !errors.Is(err, ErrErased) {
		t.Errorf("erasing again: %v", err)
	}
	// A second erasure, of one message only, and life goes on.
	if reports, err = eraserOf(t, l, k).Erase(t.Context(), erasureOf(ids[9], 1)); err != nil || reports[0].Generation != 3 {
		t.Fatalf("%+v, %v", reports, err)
	}
	if bodies, errs := opens(t, l, k, ids[9]); errs[0] != nil || bodies[0] != `<request n="9"/>` || !errors.Is(errs[1], ErrErased) {
		t.Errorf("one of two erased: %q, %v", bodies, errs)
	}
	fill(t, l, 3)
	closeTest(t, l)
	v := verifyDir(t, dir, k.seedKeys, withKeys(k))
	wantIntact(t, v)
	for name, want := range map[string]int64{"contents_erased": 3, "receipts_erased": 2, "contents_checked": 2*43 - 3 + 2, "kind:erasure": 2} {
		if v.Counts[name] != want {
			t.Errorf("count %s is %d, want %d", name, v.Counts[name], want)
		}
	}
}

// TestBackupDoesNotBringErasedContentBack: nothing of it opens in a copy of before, nor in one of during.
func TestBackupDoesNotBringErasedContentBack(t *testing.T) {
	dir, k := t.TempDir(), newMortalKeys(42)
	l := openMortal(t, dir, k)
	ids := fill(t, l, 10)
	closeTest(t, l)
	before := copyDir(t, dir)
	l = openMortal(t, dir, k)
	if _, err := eraserOf(t, l, k).Erase(t.Context(), erasureOf(ids[3])); err != nil {
		t.Fatal(err)
	}
	closeTest(t, l)
	old := openMortal(t, before, k)
	_, errs := opens(t, old, k, ids[3])
	for i, err := range errs {
		if !errors.Is(err, ErrDestroyed) || !errors.Is(err, ErrUnexplained) {
			t.Errorf("message %d in the old copy: %v", i, err)
		}
	}
	if _, err := old.Record(t.Context(), requestRecord(newID(), []byte("x"))); !errors.Is(err, ErrDestroyed) {
		t.Errorf("sealing on in the old copy: %v", err)
	}
	closeTest(t, old)
	// The copy has lost its content without an entry that says so: broken, not silently erased.
	v := verifyDir(t, before, k.seedKeys, withKeys(k))
	if v.Verdict != exchange.Broken || !slices.ContainsFunc(v.Findings, func(f exchange.Finding) bool { return f.Check == "content" }) {
		t.Errorf("the old copy: %s", v.Verdict)
	}
	wantIntact(t, verifyDir(t, dir, k.seedKeys, withKeys(k)))
}

var errKilled = errors.New("killed here")

// TestEraseSurvivesAKillAtEveryStep: the process ends at the k-th step, for every k; the next call ends what was
// begun, nothing else is lost, and what was erased is gone.
func TestEraseSurvivesAKillAtEveryStep(t *testing.T) {
	for kill := 0; ; kill++ {
		dir, k := filepath.Join(t.TempDir(), "l"), newMortalKeys(43)
		l := openMortal(t, dir, k)
		ids := fill(t, l, 12)
		e := eraserOf(t, l, k)
		var mu sync.Mutex
		at, where := 0, ""
		e.step = func(name string) error {
			mu.Lock()
			defer mu.Unlock()
			if at++; at > kill {
				where = name
				return errKilled
			}
			return nil
		}
		_, err := e.Erase(t.Context(), erasureOf(ids[5]))
		if err == nil {
			if kill < 5 {
				t.Fatalf("an erasure of %d steps", kill)
			}
			return
		}
		if !errors.Is(err, errKilled) {
			t.Fatal(err)
		}
		killed := filepath.Join(t.TempDir(), "killed") // the files as a kill leaves them: no clean stop
		if err := copyLedger(killed, dir); err != nil {
			t.Fatal(err)
		}
		l = openMortal(t, killed, k)
		fill(t, l, 2)
		reports, err := eraserOf(t, l, k).Erase(t.Context(), erasureOf(ids[5]))
		if err != nil || len(reports) != 1 || reports[0].Exchange != ids[5] {
			t.Fatalf("killed at step %d (%s), ended: %+v, %v", kill, where, reports, err)
		}
		for i, id := range ids {
			_, errs := opens(t, l, k, id)
			if i == 5 {
				if !errors.Is(errs[0], ErrErased) || !errors.Is(errs[1], ErrErased) {
					t.Errorf("step %d (%s): erased content: %v", kill, where, errs)
				}
			} else if err := errors.Join(errs...); err != nil {
				t.Errorf("step %d (%s): exchange %d: %v", kill, where, i, err)
			}
		}
		closeTest(t, l)
		v := verifyDir(t, killed, k.seedKeys, withKeys(k))
		wantIntact(t, v)
		if v.Counts["contents_erased"] != 2 || v.Counts["contents_checked"] != 2*13+1 {
			t.Errorf("step %d (%s): counts %v", kill, where, v.Counts)
		}
		if err := os.RemoveAll(killed); err != nil {
			t.Fatal(err)
		}
	}
}

// TestEraseUnderLoad: exchanges go on while a class-month is erased from again and again, over the socket;
// none of them is lost.
func TestEraseUnderLoad(t *testing.T) {
	dir, k := t.TempDir(), newMortalKeys(44)
	l := openMortal(t, dir, k)
	ids := fill(t, l, 5)
	s, err := l.ListenSocket()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	failed := make(chan error, 16)
	var mu sync.Mutex
	written := 0
	for range 8 {
		writers.Go(func() {
			for ctx.Err() == nil {
				_, err := roundTrip(t.Context(), l, []byte("under load"), exchange.Key{Name: "iuv", Value: "1"})
				if err != nil {
					failed <- err
					return
				}
				mu.Lock()
				written++
				mu.Unlock()
			}
		})
	}
	for _, id := range ids {
		log, remote, err := Dial(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		e := &Eraser{Log: log, Holder: remote, Keys: k}
		if _, err := e.Erase(t.Context(), erasureOf(id)); err != nil {
			t.Fatal(err)
		}
		if _, err := e.Erase(t.Context(), erasureOf(id)); !errors.Is(err, ErrErased) {
			t.Errorf("erasing again over the socket: %v", err)
		}
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	}
	stop()
	writers.Wait()
	close(failed)
	for err := range failed {
		t.Error(err)
	}
	log, err := l.Log(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if found, err := log.Search(t.Context(), Query{Key: "1", Limit: 1 << 20}, k); err != nil || len(found) != written {
		t.Errorf("%d of %d exchanges are found by their key, %v", len(found), written, err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	closeTest(t, l)
	v := verifyDir(t, dir, k.seedKeys, withKeys(k))
	wantIntact(t, v)
	if v.Counts["contents_erased"] != 10 || v.Counts["contents_checked"] != int64(2*written+5) {
		t.Errorf("%d exchanges under load, counts %v", written, v.Counts)
	}
}

// TestKeysAreMadeADayAhead: on the last day of a month the next month's keys are made; then a new month needs no Vault.
func TestKeysAreMadeADayAhead(t *testing.T) {
	k := newMortalKeys(45)
	o := mortalOptions(t.TempDir(), k)
	o.Classes = []string{"taxes-5y"}
	var mu sync.Mutex
	now := time.Date(2026, 11, 29, 23, 59, 0, 0, time.UTC)
	o.Clock = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	l, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeTest(t, l) })
	record := func(class string, captured time.Time) error {
		r := requestRecord(newID(), []byte("x"), exchange.Key{Name: "iuv", Value: "1"})
		r.Class, r.Captured = class, captured
		_, err := l.Record(t.Context(), r)
		return err
	}
	if err := record("audit-10y", now); err != nil {
		t.Fatal(err)
	}
	made := k.made
	if err := l.keysAhead(t.Context(), now); err != nil || k.made != made {
		t.Errorf("two days ahead %d keys were made, %v", k.made-made, err)
	}
	if err := l.keysAhead(t.Context(), now.Add(2*time.Minute)); err != nil || k.made != made+4 {
		t.Errorf("a day ahead %d keys were made, %v", k.made-made, err)
	}
	k.setAway(errors.New("vault is sealed"))
	mu.Lock()
	now = time.Date(2026, 12, 1, 0, 0, 1, 0, time.UTC)
	mu.Unlock()
	for _, class := range []string{"audit-10y", "taxes-5y"} {
		if err := record(class, now); err != nil {
			t.Errorf("class %s with Vault away: %v", class, err)
		}
	}
	if err := record("audit-10y", now.AddDate(0, 1, 0)); err == nil {
		t.Error("a month without keys was sealed in while Vault was away")
	}
}

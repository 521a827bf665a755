package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sigillo/internal/exchange"
)

// twoMonths is a ledger with n exchanges of last month and n of this one, in two own chains.
func twoMonths(t *testing.T, dir string, k *mortalKeys, n int) (l *Ledger, old, recent []exchange.ID, month string) {
	t.Helper()
	o := mortalOptions(dir, k)
	now := time.Now()
	before := time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC).Add(-36 * time.Hour)
	var mu sync.Mutex
	at := before
	o.Clock = func() time.Time { mu.Lock(); defer mu.Unlock(); return at }
	l, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeTest(t, l) })
	record := func(captured time.Time) []exchange.ID {
		var ids []exchange.ID
		for i := range n {
			r := requestRecord(newID(), bytes.Repeat([]byte("secret "), 200), exchange.Key{Name: "iuv", Value: fmt.Sprint(len(old)+i, captured.Month())})
			r.Captured = captured
			if i%2 == 1 {
				r.Principal = "psp:TESTPSP1"
			}
			rec, err := l.Record(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := l.Record(t.Context(), responseRecord(r, rec, []byte("answer"))); err != nil {
				t.Fatal(err)
			}
			if _, err := l.Receipt(t.Context(), r.Exchange); err != nil {
				t.Fatal(err)
			}
			ids = append(ids, r.Exchange)
		}
		return ids
	}
	old = record(before)
	mu.Lock()
	at = now
	mu.Unlock()
	return l, old, record(now), classMonth(before)
}

func disposalOf(month string) DisposalRequest {
	return DisposalRequest{By: testArchivist, Class: "audit-10y", Month: month, Ground: GroundRetention, Reference: "elenco di scarto 3/2036"}
}

// TestDisposeOfAMonth: a month's content is gone, in the ledger and in its backup; its entries stay, the log is
// intact, and the rest opens. Killed at every step it ends with the next call.
func TestDisposeOfAMonth(t *testing.T) {
	for kill := 0; ; kill++ {
		dir, k := filepath.Join(t.TempDir(), "l"), newMortalKeys(51)
		l, old, recent, month := twoMonths(t, dir, k, 6)
		backup := filepath.Join(t.TempDir(), "backup")
		if err := copyLedger(backup, dir); err != nil {
			t.Fatal(err)
		}
		e := eraserOf(t, l, k)
		at := 0
		e.step = func(string) error {
			if at++; at > kill {
				return errKilled
			}
			return nil
		}
		_, err := e.Dispose(t.Context(), disposalOf(month))
		last := err == nil
		if !last {
			if !errors.Is(err, errKilled) {
				t.Fatal(err)
			}
			killed := filepath.Join(t.TempDir(), "killed")
			if err := copyLedger(killed, dir); err != nil {
				t.Fatal(err)
			}
			dir, l = killed, openMortal(t, killed, k)
		}
		r, err := eraserOf(t, l, k).Dispose(t.Context(), disposalOf(month))
		if err != nil || len(r.Entries) != 2 || r.Exchanges != 6 {
			t.Fatalf("step %d: %+v, %v", kill, r, err)
		}
		for _, id := range old {
			_, errs := opens(t, l, k, id)
			var gone *ErasedError
			for _, err := range errs {
				if !errors.As(err, &gone) || !gone.Disposed {
					t.Errorf("step %d: content of a disposed month: %v", kill, err)
				}
			}
		}
		for _, id := range recent {
			if _, errs := opens(t, l, k, id); errors.Join(errs...) != nil {
				t.Errorf("step %d: this month's content: %v", kill, errs)
			}
		}
		late := requestRecord(newID(), []byte("x"))
		late.Captured, _ = parseMonth(month)
		if _, err := l.Record(t.Context(), late); !errors.Is(err, ErrDisposed) {
			t.Errorf("sealing in a disposed month: %v", err)
		}
		left := map[byte]int{}
		for _, table := range []byte{tableChunk, tableMessageKey, tableReceipt, tableTerms, tableKeyed} {
			if err := l.View().Scan(t.Context(), []byte{table}, nil, func([]byte, []byte) error { left[table]++; return nil }); err != nil {
				t.Fatal(err)
			}
		}
		if want := map[byte]int{tableChunk: 12 + 2, tableMessageKey: 12 + 2, tableReceipt: 6, tableTerms: 12/2 + 0, tableKeyed: 6}; fmt.Sprint(left) != fmt.Sprint(want) {
			t.Errorf("step %d: records left %v, want %v", kill, left, want)
		}
		closeTest(t, l)
		v := verifyDir(t, dir, k.seedKeys, withKeys(k))
		wantIntact(t, v)
		if v.Counts["contents_erased"] != 12 || v.Counts["receipts_erased"] != 6 || v.Counts["contents_checked"] != 14 || v.Counts["kind:disposal"] != 2 {
			t.Errorf("step %d: counts %v", kill, v.Counts)
		}
		if last {
			if v := verifyDir(t, backup, k.seedKeys, withKeys(k)); v.Verdict != exchange.Broken || v.Counts["contents_checked"] != 12 {
				t.Errorf("a backup of before the disposal: %s, %v", v.Verdict, v.Counts)
			}
			if kill < 3 {
				t.Errorf("a disposal of %d steps", kill)
			}
			return
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDisposalIsRefused(t *testing.T) {
	k := newMortalKeys(52)
	l, _, _, month := twoMonths(t, t.TempDir(), k, 2)
	e := eraserOf(t, l, k)
	before := l.Size()
	for want, q := range map[string]DisposalRequest{
		"is not over":       disposalOf(classMonth(time.Now())),
		"YYYY-MM":           disposalOf("2026-13"),
		"not in the ledger": disposalOf("1999-01"),
	} {
		if _, err := e.Dispose(t.Context(), q); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want one that says %q", q, err, want)
		}
	}
	q := disposalOf(month)
	q.Reference = ""
	if _, err := e.Dispose(t.Context(), q); err == nil {
		t.Error("a disposal without a reference")
	}
	// The holder drops nothing on the verb's word.
	if err := l.beginDisposal(t.Context(), disposalOf(month)); err != nil {
		t.Fatal(err)
	}
	if err := l.endDisposal(t.Context(), classMonthID{"audit-10y", month}); err == nil || !strings.Contains(err.Error(), "is not destroyed") {
		t.Errorf("dropping while the keys live: %v", err)
	}
	if l.Size() != before+2 {
		t.Errorf("%d entries were written", l.Size()-before)
	}
	// Over the socket what has begun is ended.
	s, err := l.ListenSocket()
	if err != nil {
		t.Fatal(err)
	}
	log, remote, err := Dial(t.Context(), l.Dir())
	if err != nil {
		t.Fatal(err)
	}
	r, err := (&Eraser{Log: log, Holder: remote, Keys: k}).Dispose(t.Context(), disposalOf(month))
	if err != nil || r.Exchanges != 2 || len(r.Destroyed) != 2 || l.Size() != before+2 {
		t.Errorf("over the socket: %+v, %v", r, err)
	}
	if err := errors.Join(log.Close(), s.Close(t.Context())); err != nil {
		t.Error(err)
	}
}

// TestIndexRebuild: the index made anew says what the index said that was.
func TestIndexRebuild(t *testing.T) {
	dir, k := t.TempDir(), newMortalKeys(53)
	l, old, recent, month := twoMonths(t, dir, k, 5)
	if _, err := eraserOf(t, l, k).Erase(t.Context(), erasureOf(recent[0])); err != nil {
		t.Fatal(err)
	}
	_, _ = old, month
	dump := func() string {
		return strings.Join(indexOf(t, l.View()), "\n")
	}
	rebuild := func(when string) RebuildReport {
		before := dump()
		for range 2 {
			if err := write(l.db, []kv{{append(plainTerm(termOperation, "lie"), entryKey(1)[1:]...), nil}, {exchangeIndexKey([16]byte{1}, 1), nil}}, nil); err != nil {
				t.Fatal(err)
			}
			r, err := l.RebuildIndex(t.Context(), k, nil)
			if err != nil || r.Entries != l.Size() || r.Closed != 0 {
				t.Fatalf("%s: %+v, %v", when, r, err)
			}
		}
		if after := dump(); after != before {
			t.Errorf("%s: the rebuilt index differs:\n%s\nwas\n%s", when, after, before)
		}
		return RebuildReport{}
	}
	rebuild("after an erasure")
	if _, err := eraserOf(t, l, k).Dispose(t.Context(), disposalOf(month)); err != nil {
		t.Fatal(err)
	}
	rebuild("after a disposal")
	log, err := l.Log(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if by, err := log.ErasedBy(t.Context(), old[0], 0); err != nil || by == nil || !by.Disposed {
		t.Errorf("after a rebuild: erased by %v, %v", by, err)
	}
	// Without the right to open them the business keys stay out, and it is said.
	sealedOff := newMortalKeys(53)
	sealedOff.setAway(errors.New("permission denied"))
	r, err := l.RebuildIndex(t.Context(), sealedOff, nil)
	if err != nil || r.Closed != uint64(len(recent)-1) {
		t.Errorf("without rights: %+v, %v", r, err)
	}
}

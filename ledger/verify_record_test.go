package ledger

import (
	"context"
	"crypto/ed25519"
	"errors"
	"sync"
	"testing"

	"sigillo/internal/exchange"
)

// TestVerifyOfAGrowingLedger verifies through the socket while entries are appended: what came after the
// head that it began with is no finding; its result becomes an entry.
func TestVerifyOfAGrowingLedger(t *testing.T) {
	dir, k := t.TempDir(), newSeedKeys(71)
	l := openTest(t, dir, k)
	fill(t, l, 40)
	s, err := l.ListenSocket()
	if err != nil {
		t.Fatal(err)
	}
	log, remote, err := Dial(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	grown := make(chan struct{})
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		for n := 0; ctx.Err() == nil; n++ {
			if _, err := roundTrip(context.WithoutCancel(ctx), l, []byte("x")); err != nil {
				t.Error(err)
				return
			}
			if n == 3 {
				close(grown)
			}
		}
	}()
	<-grown
	o := VerifyOptions{Keys: k, CheckReceipt: k.check, width: 256}
	v, err := Verify(t.Context(), log, o)
	stop()
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
	wantIntact(t, v)
	if v.Counts["entries"] != int64(log.Head.Size) || l.Size() <= log.Head.Size {
		t.Errorf("%d entries verified, head %d, ledger %d", v.Counts["entries"], log.Head.Size, l.Size())
	}
	result, by := VerificationOf(log, o, v), Actor{Role: "local"}
	if err := remote.Verified(t.Context(), by, result); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*Verification){
		"scope": func(v *Verification) { v.Scope = "some" }, "verdict": func(v *Verification) { v.Verdict = "fine" },
		"size": func(v *Verification) { v.Size = 1 << 40 }, "assurance": func(v *Verification) { v.Assurance = "" },
	} {
		bad := result
		change(&bad)
		if err := remote.Verified(t.Context(), by, bad); err == nil {
			t.Errorf("a verification entry with a wrong %s was taken", name)
		}
	}
	if err := errors.Join(log.Close(), s.Close(t.Context())); err != nil {
		t.Error(err)
	}
	closeTest(t, l)
	if v := verifyDir(t, dir, k); v.Verdict != exchange.Intact || v.Counts["kind:verification"] != 1 {
		t.Errorf("%s, counts %v", v.Verdict, v.Counts)
	}
}

// TestDerivedTablesAreCompared removes or changes what the next start relies on.
func TestDerivedTablesAreCompared(t *testing.T) {
	k := newSeedKeys(72)
	l := openLogTest(t, makeLog(t, k, 900, 100, 72))
	clean, store := l.View, records(t, l.View)
	first := func(table byte) string {
		for key := range store {
			if key[0] == table {
				return key
			}
		}
		t.Fatalf("nothing in table %c", table)
		return ""
	}
	note := store[first(tableNote)]
	var last string
	for key := range store {
		if key[0] == tableOwnIndex && key > last {
			last = key
		}
	}
	for what, changed := range map[string]map[string][]byte{
		"end of an own chain":         {first(tableOwn): []byte(`{"k":7,"hash":"` + Hash{}.String() + `"}`)},
		"end of an own chain's index": {last: nil},
		"checkpoint above the head":   {string(noteKey(901)): note},
		"entry above the head":        {string(entryKey(900)): store[string(entryKey(5))]},
		"mark behind the log's end":   {string(unsignedKey()): {0, 0, 0, 0, 0, 1, 0, 0}},
		"malformed mark of receipts":  {string(unsignedKey()): []byte("x")},
		"nothing":                     nil,
	} {
		l.View = tamperedView{clean, changed}
		v, err := Verify(t.Context(), l, VerifyOptions{SkipContent: true, width: 256})
		if err != nil {
			t.Fatal(err)
		}
		if want := len(changed) > 0; (v.Verdict == exchange.Broken) != want {
			t.Errorf("%s: verdict %s, %v", what, v.Verdict, v.Findings)
		}
	}
}

// remoteTestView shows what a remote log shows: entries, tiles, its head and the newest checkpoint.
type remoteTestView struct{ View }

func (v remoteTestView) Get(ctx context.Context, key []byte) ([]byte, error) {
	switch key[0] {
	case tableEntry, tableTile, tableHead, tableNote:
		return v.View.Get(ctx, key)
	}
	return nil, ErrNotFound
}

func (v remoteTestView) Scan(ctx context.Context, prefix, from []byte, fn func(key, value []byte) error) error {
	switch prefix[0] {
	case tableEntry:
		return v.View.Scan(ctx, prefix, from, fn)
	case tableNote:
		size, note, err := NewestNote(ctx, v.View)
		if err != nil || string(noteKey(size)) < string(from) {
			return err
		}
		return fn(noteKey(size), note)
	}
	return nil
}

// TestPartialLogSaysWhatWasNotLookedAt verifies what a remote log shows.
func TestPartialLogSaysWhatWasNotLookedAt(t *testing.T) {
	k := newSeedKeys(73)
	l := openLogTest(t, makeLog(t, k, 1500, 50, 73))
	l.View, l.partial = remoteTestView{l.View}, true
	for _, o := range []VerifyOptions{{CheckpointKey: k.checkpoint.Public().(ed25519.PublicKey)}, {Keys: k, CheckReceipt: k.check, width: 256}} {
		v, err := Verify(t.Context(), l, o)
		if err != nil {
			t.Fatal(err)
		}
		wantIntact(t, v)
		if v.Counts["checkpoints_checked"] != 1 || v.Counts["contents_checked"] != 0 || v.Findings[len(v.Findings)-1].Check != "scope" {
			t.Errorf("counts %v, findings %v", v.Counts, v.Findings)
		}
	}
	size, note, err := Before(t.Context(), l.View.(remoteTestView).View, 1000)
	if err != nil || size < 256 {
		t.Fatal(size, err)
	}
	v, err := Verify(t.Context(), l, VerifyOptions{Since: note, width: 256})
	if err != nil {
		t.Fatal(err)
	}
	wantIntact(t, v)
	b, err := l.Get(t.Context(), entryKey(1400))
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-9] ^= 1
	l.View = tamperedView{l.View, map[string][]byte{string(entryKey(1400)): b}}
	if v, err = Verify(t.Context(), l, VerifyOptions{}); err != nil || v.Verdict != exchange.Broken || !names(v, 1400) {
		t.Errorf("an altered entry: %v, %v", v, err)
	}
}

package ledger

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sigillo/internal/exchange"
)

func TestRecordReadVerify(t *testing.T) {
	dir, k := t.TempDir(), newSeedKeys(1)
	l := openTest(t, dir, k)
	ids := fill(t, l, 300)
	if err := l.Refusals(t.Context(), time.Now().Add(-time.Minute), map[string]uint64{"unknown-ca": 2, "no-certificate": 1, "expired": 0}); err != nil {
		t.Fatal(err)
	}
	closeTest(t, l)
	v := verifyDir(t, dir, k)
	wantIntact(t, v)
	for name, want := range map[string]int64{"entries": 602, "kind:request": 300, "kind:response": 300, "contents_checked": 600,
		"receipts_checked": 300, "signed_size": 602, "open_exchanges": 0, "kind:refusals": 1} {
		if v.Counts[name] != want {
			t.Errorf("count %s is %d, want %d", name, v.Counts[name], want)
		}
	}

	log, _, err := OpenLog(t.Context(), dir, quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	}()
	entries, err := log.Exchange(t.Context(), ids[7])
	if err != nil || len(entries) != 2 {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	c, err := NewOpener(log, k).Content(t.Context(), ids[7], entries[0].Messages[0])
	if err != nil || string(c.Body) != `<request n="7"/>` {
		t.Fatalf("body %q, %v", c.Body, err)
	}
	found, err := log.Search(t.Context(), Query{Key: "302000100000000123"}, k)
	if err != nil || len(found) != 1 || found[0].Exchange != ids[123] {
		t.Fatalf("search by notice found %d entries, %v", len(found), err)
	}
	if found, err = log.Search(t.Context(), Query{Operation: "paGetPaymentV2", Participant: "ec:77777777777", Limit: 5}, nil); err != nil || len(found) != 5 {
		t.Fatalf("search by operation found %d entries, %v", len(found), err)
	}
	mid := found[2].Time
	if found, err = log.Search(t.Context(), Query{From: mid.Time, Limit: 1}, nil); err != nil || len(found) != 1 || found[0].Time != mid {
		t.Fatalf("search by time: %v, %v", found, err)
	}
	for _, n := range []uint64{0, 1, 255, 256, 300, 601} {
		proof, err := InclusionProof(t.Context(), log, n, log.Head.Size)
		if err != nil {
			t.Fatal(err)
		}
		e, err := log.Entry(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		if err := VerifyInclusion(e.Bytes, n, log.Head.Size, proof, log.Head.Root); err != nil {
			t.Errorf("entry %d: %v", n, err)
		}
		if err := VerifyInclusion(append(e.Bytes, ' '), n, log.Head.Size, proof, log.Head.Root); err == nil {
			t.Errorf("entry %d: a proof holds for other bytes", n)
		}
	}
}

func TestNothingOfAMessageInEntriesOrKeys(t *testing.T) {
	dir, k := t.TempDir(), newSeedKeys(1)
	l := openTest(t, dir, k)
	marks := []string{"MARKEDBODY", "MARKEDNOTICE", "MARKEDHEAD"}
	req := requestRecord(newID(), []byte("MARKEDBODY"), exchange.Key{Name: "notice", Value: "MARKEDNOTICE"})
	req.Messages[0].Head = []byte(`{"x":"MARKEDHEAD"}`)
	if _, err := l.Record(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	var all bytes.Buffer
	if err := l.View().Scan(t.Context(), []byte{}, nil, func(key, value []byte) error {
		all.Write(key)
		all.Write(value)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, m := range marks {
		if bytes.Contains(all.Bytes(), []byte(m)) {
			t.Errorf("%s stands in clear in the store", m)
		}
	}
	if !bytes.Contains(all.Bytes(), []byte("paGetPaymentV2")) {
		t.Error("the search for clear text looked at nothing")
	}
}

func TestManyWritersOneChain(t *testing.T) {
	dir, k := t.TempDir(), newSeedKeys(2)
	l := openTest(t, dir, k)
	var wg sync.WaitGroup
	errs := make(chan error, 64)
	for range 64 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 5 {
				if _, err := roundTrip(t.Context(), l, bytes.Repeat([]byte{byte(i)}, 300)); err != nil {
					errs <- err
				}
			}
		}()
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	closeTest(t, l)
	v := verifyDir(t, dir, k)
	wantIntact(t, v)
	if v.Counts["kind:response"] != 320 {
		t.Errorf("%d responses", v.Counts["kind:response"])
	}
}

func TestLargeContentGoesAhead(t *testing.T) {
	dir, k := t.TempDir(), newSeedKeys(3)
	l := openTest(t, dir, k)
	for _, size := range []int{0, 1, chunkSize - 1, chunkSize, chunkSize + 1, 2 * chunkSize, 9*chunkSize + 17} {
		body := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
		id, err := roundTrip(t.Context(), l, body)
		if err != nil {
			t.Fatal(err)
		}
		log, err := newLog(t.Context(), l.View(), func() error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		es, err := log.Exchange(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		c, err := NewOpener(log, k).Content(t.Context(), id, es[0].Messages[0])
		if err != nil || !bytes.Equal(c.Body, body) {
			t.Errorf("a body of %d bytes came back as %d, %v", size, len(c.Body), err)
		}
	}
	closeTest(t, l)
	wantIntact(t, verifyDir(t, dir, k))
}

func TestSigningAwayLeavesReceiptsPending(t *testing.T) {
	dir, k := t.TempDir(), newSeedKeys(4)
	l := openTest(t, dir, k)
	fill(t, l, 3)
	k.failing(errors.New("vault is sealed"))
	var ids []exchange.ID
	for range 5 {
		req := requestRecord(newID(), []byte("x"))
		at, err := l.Record(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Record(t.Context(), responseRecord(req, at, []byte("y"))); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, req.Exchange)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := l.Receipt(ctx, ids[0]); !errors.Is(err, ErrPending) {
		t.Fatalf("receipt without signature: %v", err)
	}
	// Stopped with receipts pending: the next process signs them with its own rights.
	shut, cancel2 := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel2()
	if err := l.Close(shut); err != nil {
		t.Fatal(err)
	}
	v := verifyDir(t, dir, k)
	wantIntact(t, v)
	if v.Counts["receipts_pending"] != 5 {
		t.Errorf("%d receipts pending", v.Counts["receipts_pending"])
	}
	k.failing(nil)
	l = openTest(t, dir, k)
	for _, id := range ids {
		compact, err := l.Receipt(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		payload, err := k.check(compact)
		if err != nil {
			t.Fatal(err)
		}
		var p receiptPayload
		if err := json.Unmarshal(payload, &p); err != nil || p.Exchange != id || p.Tree.Size <= p.Response.N {
			t.Errorf("payload %s, %v", payload, err)
		}
	}
	closeTest(t, l)
	if v = verifyDir(t, dir, k); v.Counts["receipts_checked"] != 8 || v.Counts["receipts_pending"] != 0 {
		t.Errorf("counts %v", v.Counts)
	}
}

func TestBadRecordsAreRefusedByName(t *testing.T) {
	l := openTest(t, t.TempDir(), newSeedKeys(5))
	before := l.Size()
	for want, change := range map[string]func(*exchange.Record){
		"no UUID":                 func(r *exchange.Record) { r.Exchange = "zzz" },
		"own chain":               func(r *exchange.Record) { r.Principal = "ec:\"x" },
		"decision is missing":     func(r *exchange.Record) { r.Decision = nil },
		"messages is missing":     func(r *exchange.Record) { r.Messages = nil },
		"outcome does not belong": func(r *exchange.Record) { r.Outcome = &exchange.Outcome{Code: "OK"} },
		"the limit is 65535":      func(r *exchange.Record) { r.Route = strings.Repeat("r", 70000) },
		"unknown to this version": func(r *exchange.Record) { r.Kind = "rumour" },
		"request does not belong": func(r *exchange.Record) { r.Request = &exchange.RequestRef{N: 1} },
		"reason does not belong":  func(r *exchange.Record) { r.Reason = exchange.ReasonPolicy },
	} {
		r := requestRecord(newID(), []byte("x"))
		change(&r)
		if _, err := l.Record(t.Context(), r); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one that says %q", err, want)
		}
	}
	if l.Size() != before {
		t.Error("a refused record left an entry")
	}
}

func TestClockStepIsANotice(t *testing.T) {
	dir, k := t.TempDir(), newSeedKeys(6)
	o := testOptions(dir, k)
	var mu sync.Mutex
	now := time.Now()
	o.Clock = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	l, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, l, 2)
	mu.Lock()
	now = now.Add(-time.Hour)
	mu.Unlock()
	fill(t, l, 2)
	closeTest(t, l)
	v := verifyDir(t, dir, k)
	wantIntact(t, v)
	if v.Counts["kind:notice"] != 1 {
		t.Errorf("%d notices for one step of the clock", v.Counts["kind:notice"])
	}
}

func TestSocketIsAView(t *testing.T) {
	// A directory whose name is longer than the path of a socket may be.
	dir, k := filepath.Join(t.TempDir(), strings.Repeat("long", 40)), newSeedKeys(7)
	l := openTest(t, dir, k)
	ids := fill(t, l, 20)
	s, err := l.ListenSocket()
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := OpenLog(t.Context(), dir, quiet()); !errors.Is(err, ErrRunning) {
		t.Fatalf("opening a running ledger in place: %v", err)
	}
	if _, err := Open(t.Context(), testOptions(dir, k)); !errors.Is(err, ErrRunning) {
		t.Fatalf("opening a running ledger for writing: %v", err)
	}
	log, remote, err := Dial(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	v, err := Verify(t.Context(), log, VerifyOptions{Keys: k, CheckReceipt: k.check})
	if err != nil {
		t.Fatal(err)
	}
	wantIntact(t, v)
	if v.Counts["contents_checked"] != 40 || v.Counts["receipts_checked"] != 20 {
		t.Errorf("counts over the socket: %v", v.Counts)
	}
	if es, err := log.Exchange(t.Context(), ids[3]); err != nil || len(es) != 2 {
		t.Errorf("%d entries, %v", len(es), err)
	}
	if err := remote.Accessed(t.Context(), Actor{Role: "local"}, Access{Operation: "show", Exchanges: 1, Messages: 1}); err != nil {
		t.Error(err)
	}
	if err := remote.Exported(t.Context(), LogChain, Actor{Role: "local"}, Export{Package: "p"}); err == nil {
		t.Error("an export entry in the log's own chain was taken")
	}
	if _, err := remote.EnsureStamped(t.Context(), 3); !errors.Is(err, ErrNoStamper) {
		t.Errorf("stamping without an authority: %v", err)
	}
	if err := errors.Join(log.Close(), s.Close(t.Context())); err != nil {
		t.Error(err)
	}
	closeTest(t, l)
	if v := verifyDir(t, dir, k); v.Counts["kind:access"] != 1 {
		t.Error("the reading left no access entry")
	}
}

func TestAnotherLogsStoreIsRefused(t *testing.T) {
	dir, k := t.TempDir(), newSeedKeys(8)
	closeTest(t, openTest(t, dir, k))
	o := testOptions(dir, k)
	o.Origin = "sigillo.test/other"
	if l, err := Open(t.Context(), o); err == nil {
		closeTest(t, l)
		t.Fatal("opened under another origin")
	} else if !strings.Contains(err.Error(), testOrigin) {
		t.Errorf("the error does not name the log: %v", err)
	}
	closeTest(t, openTest(t, dir, k))
	if v := verifyDir(t, dir, k); v.Verdict != exchange.Intact {
		t.Error(fmt.Sprint(v.Findings))
	}
}

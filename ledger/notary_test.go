package ledger

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"

	"sigillo/internal/exchange"
)

// heldReceipts is a receipt signer whose calls wait until they are let go, or that refuses one exchange.
type heldReceipts struct {
	*seedKeys
	entered chan struct{} // a call began
	release chan struct{} // closed: calls go on

	mu    sync.Mutex
	spoil exchange.ID // its receipt fails by itself
	most  int         // largest batch
}

func (h *heldReceipts) SignReceipts(ctx context.Context, payloads [][]byte) ([]SignedReceipt, error) {
	select {
	case h.entered <- struct{}{}:
	default:
	}
	select {
	case <-h.release:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	out, err := h.seedKeys.SignReceipts(ctx, payloads)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.most = max(h.most, len(payloads))
	for i, p := range payloads {
		if h.spoil != "" && bytes.Contains(p, []byte(h.spoil)) {
			out[i] = SignedReceipt{Err: errors.New("key version too old")}
		}
	}
	return out, err
}

func (h *heldReceipts) spoiling(id exchange.ID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.spoil = id
}

func newHeldReceipts(k *seedKeys) *heldReceipts {
	return &heldReceipts{seedKeys: k, entered: make(chan struct{}, 1), release: make(chan struct{})}
}

func openHeld(t *testing.T, dir string, h *heldReceipts) *Ledger {
	t.Helper()
	o := testOptions(dir, h.seedKeys)
	o.Receipts = h
	l, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeTest(t, l) })
	return l
}

// closed records one exchange without waiting for its receipt.
func closedExchange(t *testing.T, l *Ledger) exchange.ID {
	t.Helper()
	req := requestRecord(newID(), []byte("x"))
	at, err := l.Record(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Record(t.Context(), responseRecord(req, at, []byte("y"))); err != nil {
		t.Fatal(err)
	}
	return req.Exchange
}

// TestCheckpointsGoOnWhileReceiptsAreAtVault: a batch of receipts that takes long, or for ever, delays no
// checkpoint that somebody waits for, and each receipt names a tree whose checkpoint is stored.
func TestCheckpointsGoOnWhileReceiptsAreAtVault(t *testing.T) {
	dir, k := t.TempDir(), newSeedKeys(81)
	h := newHeldReceipts(k)
	l := openHeld(t, dir, h)
	ids := []exchange.ID{closedExchange(t, l)}
	<-h.entered
	for range 5 {
		ids = append(ids, closedExchange(t, l))
		awaitNewest(t, l, exchange.BarrierSigned)
	}
	if n, _ := l.Unsigned(); n != len(ids) {
		t.Errorf("%d receipts pending, %d were asked for", n, len(ids))
	}
	close(h.release)
	for _, id := range ids {
		compact, err := l.Receipt(patient(t), id)
		if err != nil {
			t.Fatal(err)
		}
		payload, err := k.check(compact)
		if err != nil {
			t.Fatal(err)
		}
		var p receiptPayload
		if err := json.Unmarshal(payload, &p); err != nil {
			t.Fatal(err)
		}
		note, err := l.View().Get(t.Context(), noteKey(p.Tree.Size))
		if err != nil || !bytes.Contains(note, []byte("\n"+p.Tree.Root+"\n")) || p.Tree.Size <= p.Response.N {
			t.Errorf("the receipt of entry %d names a tree of size %d without its checkpoint, %v", p.Response.N, p.Tree.Size, err)
		}
	}
	closeTest(t, l)
	wantIntact(t, verifyDir(t, dir, k))
}

// TestOneCheckpointAhead: while a batch is at Vault the log grows, and not every growth is signed.
func TestOneCheckpointAhead(t *testing.T) {
	h := newHeldReceipts(newSeedKeys(82))
	l := openHeld(t, t.TempDir(), h)
	closedExchange(t, l)
	<-h.entered
	awaitNewest(t, l, exchange.BarrierSigned) // one ahead at least, whatever was under way
	before := noteCount(t, l)
	for range 50 {
		closedExchange(t, l)
	}
	if after := noteCount(t, l); after > before+1 {
		t.Errorf("%d checkpoints signed that no receipt waited for", after-before)
	}
	close(h.release)
}

// TestOneBadReceiptHoldsNobodyUp: what fails by itself is set aside, retried, and survives a restart.
func TestOneBadReceiptHoldsNobodyUp(t *testing.T) {
	dir, k := t.TempDir(), newSeedKeys(83)
	h := newHeldReceipts(k)
	l := openHeld(t, dir, h)
	bad := closedExchange(t, l)
	h.spoiling(bad)
	close(h.release)
	fill(t, l, 20)
	if n, since := l.Unsigned(); n != 1 || since.IsZero() {
		t.Errorf("%d pending, failing since %v", n, since)
	}
	h.spoiling("")
	if _, err := l.Receipt(patient(t), bad); err != nil {
		t.Fatal(err)
	}
	closeTest(t, l)
	v := verifyDir(t, dir, k)
	wantIntact(t, v)
	if v.Counts["receipts_pending"] != 0 || v.Counts["receipts_checked"] != 21 {
		t.Errorf("counts %v", v.Counts)
	}
}

// TestBacklogIsSignedInBatches: what queued while signing was away is signed oldest first, 512 at a time.
func TestBacklogIsSignedInBatches(t *testing.T) {
	dir, k := t.TempDir(), newSeedKeys(84)
	k.failing(errors.New("vault is sealed"))
	h := newHeldReceipts(k)
	close(h.release)
	l := openHeld(t, dir, h)
	var writers sync.WaitGroup
	for range 32 {
		writers.Add(1)
		go func() {
			defer writers.Done()
			for range 20 {
				req := requestRecord(newID(), nil)
				at, err := l.Record(t.Context(), req)
				if err == nil {
					_, err = l.Record(t.Context(), responseRecord(req, at, nil))
				}
				if err != nil {
					t.Error(err)
				}
			}
		}()
	}
	writers.Wait()
	if n, _ := l.Unsigned(); n != 640 {
		t.Fatalf("%d receipts pending", n)
	}
	k.failing(nil)
	awaitNewest(t, l, exchange.BarrierSigned)
	closeTest(t, l) // signs what is left
	if h.most != notaryBatch {
		t.Errorf("the largest batch had %d receipts", h.most)
	}
	if v := verifyDir(t, dir, k); v.Counts["receipts_checked"] != 640 || v.Counts["receipts_pending"] != 0 {
		t.Errorf("counts %v", v.Counts)
	}
}

func TestPendingQueueKeepsOrder(t *testing.T) {
	var q pendingQueue
	next, taken := uint64(0), uint64(0)
	for round := range 200 {
		for range round % 7 {
			q.push(&pending{n: next})
			next++
		}
		batch := append([]*pending(nil), q.covered(next-min(next, 2), 5)...)
		if len(batch) > 5 {
			t.Fatalf("%d taken, at most 5 were asked for", len(batch))
		}
		for i, p := range batch {
			if p.n != taken+uint64(i) || p.n >= next-2 {
				t.Fatalf("round %d: entry %d in place of %d", round, p.n, taken+uint64(i))
			}
		}
		q.drop(len(batch))
		if round%3 == 0 { // they failed, and come back
			q.putBack(batch)
		} else {
			taken += uint64(len(batch))
		}
	}
	if rest := q.covered(next, int(next)); uint64(len(rest)) != next-taken || taken == 0 {
		t.Errorf("%d left of %d, %d were taken", len(rest), next, taken)
	}
}

func TestReceiptSaysAtOnceThatTheLedgerStopped(t *testing.T) {
	k := newSeedKeys(85)
	k.failing(errors.New("vault is sealed"))
	l := openTest(t, t.TempDir(), k)
	id := closedExchange(t, l)
	got := make(chan error, 1)
	go func() {
		_, err := l.Receipt(context.Background(), id)
		got <- err
	}()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Close(ended); err != nil {
		t.Fatal(err)
	}
	if err := <-got; !errors.Is(err, ErrPending) && !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

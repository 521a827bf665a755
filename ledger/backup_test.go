package ledger

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"sigillo/internal/exchange"
)

// backupTest adds a part from a live ledger or a stopped one.
func backupTest(t *testing.T, l *Log, dir string) PartInfo {
	t.Helper()
	p, added, err := Backup(t.Context(), l, dir, nil)
	if err != nil || !added {
		t.Fatalf("backup: added %v, %v", added, err)
	}
	if p.Damaged != 0 {
		t.Fatalf("backup: damage %v", p.Damage)
	}
	return p
}

func liveLog(t *testing.T, l *Ledger) *Log {
	t.Helper()
	log, err := l.Log(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return log
}

// restoreTest restores into a fresh directory and wants an intact ledger.
func restoreTest(t *testing.T, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "restored")
	r, err := Restore(t.Context(), RestoreOptions{From: from, To: to, Origin: testOrigin, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	wantIntact(t, r.Verdict)
	if !r.Usable {
		t.Fatal("an intact ledger is not usable")
	}
	if v, err := VerifyBackup(t.Context(), from, nil); err != nil || v.Verdict != exchange.Intact {
		t.Fatalf("verify of the backup: %v, %v", v, err)
	}
	return to
}

// load keeps writers busy on l until stop is called, and gives what was acknowledged so far.
type load struct {
	mu     sync.Mutex
	acked  []ack
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

func startLoad(t *testing.T, l *Ledger, writers int) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &load{cancel: cancel}
	for range writers {
		w.wg.Add(1)
		go func() {
			defer w.wg.Done()
			for ctx.Err() == nil {
				req := requestRecord(newID(), make([]byte, 1500))
				at, err := l.Record(ctx, req)
				var end exchange.Recorded
				if err == nil {
					end, err = l.Record(ctx, responseRecord(req, at, make([]byte, 700)))
				}
				if err != nil {
					if ctx.Err() == nil {
						t.Error(err)
					}
					return
				}
				w.mu.Lock()
				w.acked = append(w.acked, ack{req.Exchange, end.N, Hash(end.Entry).String()})
				w.mu.Unlock()
			}
		}()
	}
	return w
}

func (w *load) sofar() []ack {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]ack(nil), w.acked...)
}

// await waits until n exchanges are acknowledged: the writers themselves make the progress.
func (w *load) await(t *testing.T, l *Ledger, n int) {
	t.Helper()
	for len(w.sofar()) < n {
		if _, err := roundTrip(t.Context(), l, []byte("beside")); err != nil {
			t.Fatal(err)
		}
	}
}

func (w *load) stop() {
	w.cancel()
	w.wg.Wait()
}

// TestBackupUnderLoadHoldsEverythingAcknowledged backs a serving ledger up through its socket, three times
// into one directory, and restores: what was acknowledged before the newest backup began is there.
func TestBackupUnderLoadHoldsEverythingAcknowledged(t *testing.T) {
	dir, k := t.TempDir(), newSeedKeys(31)
	l := openTest(t, dir, k)
	s, err := l.ListenSocket()
	if err != nil {
		t.Fatal(err)
	}
	remote, _, err := Dial(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	w := startLoad(t, l, 64)
	to := filepath.Join(t.TempDir(), "backup")
	var before []ack
	for part := 1; part <= 3; part++ {
		w.await(t, l, len(before)+500)
		before = w.sofar()
		p := backupTest(t, remote, to)
		if p.Part != part || p.Size < uint64(2*len(before)) {
			t.Fatalf("part %d of %d entries, %d exchanges were acknowledged", p.Part, p.Size, len(before))
		}
	}
	w.stop()
	if err := errors.Join(remote.Close(), s.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
	restored := restoreTest(t, to)
	v := verifyDir(t, restored, k) // receipts, content and all, in a copy: it has not been started yet
	wantIntact(t, v)
	if lost := missing(t, restored, before); lost > 0 {
		t.Fatalf("%d of %d acknowledged exchanges are not in the restored ledger", lost, len(before))
	}
	open := v.Counts["open_exchanges"]
	if open == 0 {
		t.Error("64 writers left no exchange open in the snapshot: the test did not hit")
	}
	again := openTest(t, restored, k)
	fill(t, again, 3)
	closeTest(t, again)
	v = verifyDir(t, restored, k)
	wantIntact(t, v)
	if v.Counts["open_exchanges"] != 0 || v.Counts["kind:recovery"] != open || v.Counts["receipts_pending"] != 0 {
		t.Errorf("%d exchanges were open in the snapshot, counts after the start %v", open, v.Counts)
	}
}

// TestIncrementalPartsHoldOnlyWhatChanged makes a chain of three parts on a stopped ledger; the restored
// ledger goes on with the same backup.
func TestIncrementalPartsHoldOnlyWhatChanged(t *testing.T) {
	dir, k, to := t.TempDir(), newSeedKeys(32), filepath.Join(t.TempDir(), "backup")
	stopped := func(dir string, n int) *Log {
		l := openTest(t, dir, k)
		fill(t, l, n)
		closeTest(t, l)
		log, found, err := OpenLog(t.Context(), dir, quiet())
		if err != nil || len(found) > 0 {
			t.Fatal(err, found)
		}
		t.Cleanup(func() {
			if err := log.Close(); err != nil {
				t.Error(err)
			}
		})
		return log
	}
	first := stopped(dir, 300)
	one := backupTest(t, first, to)
	if _, added, err := Backup(t.Context(), first, to, nil); added || err != nil {
		t.Fatalf("a ledger that has not changed: added %v, %v", added, err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	first.close = func() error { return nil }
	two := backupTest(t, stopped(dir, 10), to)
	if two.Bytes*5 > one.Bytes {
		t.Errorf("10 exchanges after 300 make a part of %d bytes after one of %d", two.Bytes, one.Bytes)
	}
	restored := restoreTest(t, to)
	wantIntact(t, verifyDir(t, restored, k))
	three := backupTest(t, stopped(restored, 10), to)
	if three.Part != 3 || three.Since != two.Until || three.Size <= two.Size {
		t.Errorf("the part after a restore: %+v", three.PartHeader)
	}
	wantIntact(t, verifyDir(t, restoreTest(t, to), k))
}

// TestDeletedRecordsStayDeleted: what was deleted between two parts must not come back, whether the store
// still knows of the deletion or its compaction has forgotten it.
func TestDeletedRecordsStayDeleted(t *testing.T) {
	dir, k, to := t.TempDir(), newSeedKeys(33), filepath.Join(t.TempDir(), "backup")
	l := openTest(t, dir, k)
	fill(t, l, 5)
	req := requestRecord(newID(), []byte("<open/>"))
	at, err := l.Record(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	large := requestRecord(newID(), nil) // a body on its way: its mark must not come back, or its chunks go
	spool, err := l.Spool(large.Exchange, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := spool.Write(make([]byte, chunkSize+1)); err != nil {
		t.Fatal(err)
	}
	other := []byte("~other")
	if err := write(l.db, []kv{{other, []byte("there")}}, nil); err != nil {
		t.Fatal(err)
	}
	backupTest(t, liveLog(t, l), to)
	if err := write(l.db, nil, [][]byte{other}); err != nil {
		t.Fatal(err)
	}
	if p := backupTest(t, liveLog(t, l), to); p.Deleted == 0 {
		t.Error("a deletion that the store knows is not in the part")
	}
	if _, err := l.Record(t.Context(), responseRecord(req, at, []byte("late"))); err != nil {
		t.Fatal(err)
	}
	large.Messages[0].Spool = spool
	at, err = l.Record(t.Context(), large)
	if err != nil {
		t.Fatal(err)
	}
	large.Messages[0].Spool = nil
	if _, err := l.Record(t.Context(), responseRecord(large, at, []byte("thanks"))); err != nil {
		t.Fatal(err)
	}
	closeTest(t, l)
	if n := tombstones(t, dir); n == 0 {
		t.Fatal("nothing was deleted")
	}
	db, err := badger.Open(storeOptions(filepath.Join(dir, storeDirName), quiet()).WithCompactL0OnClose(true))
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if n := tombstones(t, dir); n > 0 {
		t.Fatalf("compaction has not forgotten %d deletions: the test does not hit", n)
	}
	if err := markClean(dir); err != nil { // with the files as compaction left them
		t.Fatal(err)
	}
	log, _, err := OpenLog(t.Context(), dir, quiet())
	if err != nil {
		t.Fatal(err)
	}
	backupTest(t, log, to)
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	restored := restoreTest(t, to)
	again := openTest(t, restored, k)
	if _, err := again.View().Get(t.Context(), other); !errors.Is(err, ErrNotFound) {
		t.Errorf("a deleted record is back: %v", err)
	}
	closeTest(t, again)
	v := verifyDir(t, restored, k)
	wantIntact(t, v)
	if v.Counts["kind:recovery"] != 0 {
		t.Errorf("a closed exchange was closed again: %v", v.Counts)
	}
}

// tombstones counts the deletions that a stopped store still knows.
func tombstones(t *testing.T, dir string) (n int) {
	t.Helper()
	db, err := badger.Open(storeOptions(filepath.Join(dir, storeDirName), quiet()).WithReadOnly(true))
	if err != nil {
		t.Fatal(err)
	}
	err = db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{AllVersions: true})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			if it.Item().IsDeletedOrExpired() {
				n++
			}
		}
		return nil
	})
	if err = errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestBackupRefusesAnotherHistory(t *testing.T) {
	k, to := newSeedKeys(34), filepath.Join(t.TempDir(), "backup")
	a := openTest(t, t.TempDir(), k)
	fill(t, a, 3)
	backupTest(t, liveLog(t, a), to)
	kept, err := os.ReadFile(filepath.Join(to, manifestName))
	if err != nil {
		t.Fatal(err)
	}
	b := openTest(t, t.TempDir(), k) // the same origin, another log
	fill(t, b, 9)
	s, err := b.ListenSocket()
	if err != nil {
		t.Fatal(err)
	}
	remote, _, err := Dial(t.Context(), b.Dir())
	if err != nil {
		t.Fatal(err)
	}
	for name, l := range map[string]*Log{"store": liveLog(t, b), "socket": remote} {
		if _, _, err := Backup(t.Context(), l, to, nil); !errors.Is(err, ErrOtherHistory) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := errors.Join(remote.Close(), s.Close(t.Context())); err != nil {
		t.Error(err)
	}
	now, err := os.ReadFile(filepath.Join(to, manifestName))
	files, derr := os.ReadDir(to)
	if err != nil || derr != nil || !bytes.Equal(now, kept) || len(files) != 2 {
		t.Errorf("a refused backup left %d files, %v, %v", len(files), err, derr)
	}
}

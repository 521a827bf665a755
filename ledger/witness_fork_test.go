package ledger

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"sigillo/internal/exchange"
)

// closeForked waits until the ledger has found out that it is a fork, and closes it.
func closeForked(t *testing.T, l *Ledger) {
	t.Helper()
	if err := l.Await(patient(t), 1<<40, exchange.BarrierSigned); !errors.Is(err, ErrForked) {
		t.Fatalf("a fork goes on: %v", err)
	}
	if err := l.Err(); !errors.Is(err, ErrForked) {
		t.Errorf("the ledger's state: %v", err)
	}
	if _, err := roundTrip(t.Context(), l, []byte("x")); !errors.Is(err, ErrForked) {
		t.Errorf("a fork takes entries: %v", err)
	}
	if err := l.Await(t.Context(), 1<<40, exchange.BarrierWitnessed); !errors.Is(err, ErrForked) && !errors.Is(err, ErrNoWitnesses) {
		t.Errorf("waiting for witnesses of a fork: %v", err)
	}
	if err := l.Await(t.Context(), 1<<40, exchange.BarrierDurable); !errors.Is(err, ErrForked) {
		t.Errorf("waiting for entries of a fork: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := l.Close(ctx); !errors.Is(err, ErrForked) {
		t.Errorf("closing a fork: %v", err)
	}
}

func TestSecondLogUnderOneNameIsRefused(t *testing.T) {
	k := newSeedKeys(61)
	w := startWitness(t, k, "witness.test/a")
	l := openWitnessed(t, t.TempDir(), k, witnessedBy(1, w))
	fill(t, l, 5)
	awaitNewest(t, l, exchange.BarrierWitnessed)
	closeForked(t, openWitnessed(t, t.TempDir(), k, witnessedBy(1, w)))
	fill(t, l, 5) // the log that the witness knows goes on
	awaitNewest(t, l, exchange.BarrierWitnessed)
}

// TestRestoredBackupSignsNothing: an older copy of a log that went on is found out before it signs.
func TestRestoredBackupSignsNothing(t *testing.T) {
	dir, k := t.TempDir(), newSeedKeys(62)
	w := startWitness(t, k, "witness.test/a")
	l := openWitnessed(t, dir, k, witnessedBy(1, w))
	fill(t, l, 10)
	awaitNewest(t, l, exchange.BarrierWitnessed)
	closeTest(t, l)
	backup := copyDir(t, dir)

	l = openWitnessed(t, dir, k, witnessedBy(1, w))
	fill(t, l, 10)
	awaitNewest(t, l, exchange.BarrierWitnessed)
	closeTest(t, l)

	l = openWitnessed(t, backup, k, witnessedBy(1, w))
	before := noteCount(t, l)
	if _, err := l.Record(t.Context(), requestRecord(newID(), []byte("x"))); err != nil && !errors.Is(err, ErrForked) {
		t.Fatal(err)
	}
	if err := l.Await(patient(t), 1<<40, exchange.BarrierSigned); !errors.Is(err, ErrForked) {
		t.Fatal(err)
	}
	if after := noteCount(t, l); after != before {
		t.Errorf("the restored backup signed %d checkpoints", after-before)
	}
	closeForked(t, l)
}

// TestForkThatGrewIsRefused: the witness was away when the restored backup began to sign.
func TestForkThatGrewIsRefused(t *testing.T) {
	for name, more := range map[string]int{"shorter than the log": 2, "longer than the log": 40} {
		t.Run(name, func(t *testing.T) {
			dir, k := t.TempDir(), newSeedKeys(63)
			w := startWitness(t, k, "witness.test/a")
			l := openWitnessed(t, dir, k, witnessedBy(1, w))
			fill(t, l, 10)
			awaitNewest(t, l, exchange.BarrierWitnessed)
			closeTest(t, l)
			backup := copyDir(t, dir)
			l = openWitnessed(t, dir, k, witnessedBy(1, w))
			fill(t, l, 10)
			awaitNewest(t, l, exchange.BarrierWitnessed)

			if err := w.Stop(); err != nil {
				t.Fatal(err)
			}
			fork := openWitnessed(t, backup, k, witnessedBy(1, w))
			fill(t, fork, more)
			awaitNewest(t, fork, exchange.BarrierSigned)
			if err := w.Restart(); err != nil {
				t.Fatal(err)
			}
			closeForked(t, fork)
			fill(t, l, 3)
			awaitNewest(t, l, exchange.BarrierWitnessed)
		})
	}
}

// TestTwoLedgersFromOneBackupCannotBothGoOn: whoever comes second to the witness stops.
func TestTwoLedgersFromOneBackupCannotBothGoOn(t *testing.T) {
	dir, k := t.TempDir(), newSeedKeys(64)
	w := startWitness(t, k, "witness.test/a")
	l := openWitnessed(t, dir, k, witnessedBy(1, w))
	fill(t, l, 300)
	awaitNewest(t, l, exchange.BarrierWitnessed)
	closeTest(t, l)
	twin := copyDir(t, dir)
	l = openWitnessed(t, dir, k, witnessedBy(1, w))
	awaitNewest(t, l, exchange.BarrierWitnessed)
	m := openWitnessed(t, twin, k, witnessedBy(1, w))
	awaitNewest(t, m, exchange.BarrierWitnessed) // still one history
	fill(t, l, 5)
	awaitNewest(t, l, exchange.BarrierWitnessed)
	// What the twin has already sent may stand unanswered: it goes on until it offers its own history.
	for i := 0; ; i++ {
		if _, err := m.Record(t.Context(), requestRecord(newID(), []byte("twin"))); err != nil {
			if !errors.Is(err, ErrForked) {
				t.Fatal(err)
			}
			break
		}
		if err := m.Await(patient(t), m.Size()-1, exchange.BarrierWitnessed); err == nil {
			t.Fatal("the witness cosigned both histories")
		}
	}
	closeForked(t, m)
	if err := l.Err(); err != nil {
		t.Error(err)
	}
}

func TestSecondProcessOnOneDirectoryIsRefused(t *testing.T) {
	dir, k := t.TempDir(), newSeedKeys(21) // the keys of the writer process
	l := openTest(t, dir, k)
	fill(t, l, 5)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), writerEnv+"="+dir)
	out, err := cmd.CombinedOutput()
	if err == nil || ctx.Err() != nil || strings.Contains(string(out), "ack") {
		t.Fatalf("a second writer goes on: %v: %s", err, out)
	}
	fill(t, l, 5)
	closeTest(t, l)
	wantIntact(t, verifyDir(t, dir, k))
}

// rewrite changes the store of a closed ledger behind its back.
func rewrite(t *testing.T, dir string, kvs ...kv) {
	t.Helper()
	o := testOptions(dir, newSeedKeys(1))
	l := &Ledger{opts: o, log: o.Logger, clock: time.Now}
	if _, err := l.openStore(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(write(l.db, kvs, nil), l.closeStore(), markClean(dir)); err != nil {
		t.Fatal(err)
	}
}

// forgedNote is a checkpoint that the log's own key signed, over another history.
func forgedNote(t *testing.T, k *seedKeys, size uint64) kv {
	t.Helper()
	note, err := signCheckpoint(t.Context(), Checkpoint{Origin: testOrigin, Size: size, Root: Hash{9}}, k)
	if err != nil {
		t.Fatal(err)
	}
	return kv{noteKey(size), note}
}

func TestStartRefusesItsOwnContradiction(t *testing.T) {
	for name, above := range map[string]uint64{"another root at the newest size": 0, "a checkpoint above the log": 3} {
		t.Run(name, func(t *testing.T) {
			dir, k := t.TempDir(), newSeedKeys(65)
			l := openTest(t, dir, k)
			fill(t, l, 20)
			size := awaitNewest(t, l, exchange.BarrierSigned) + 1
			closeTest(t, l)
			rewrite(t, dir, forgedNote(t, k, size+above))
			if _, err := Open(t.Context(), testOptions(dir, k)); !errors.Is(err, ErrForked) {
				t.Errorf("opened: %v", err)
			}
		})
	}
}

// TestNoSecondRootForOneSize: a checkpoint that somehow stands at or above the size to be signed ends signing.
func TestNoSecondRootForOneSize(t *testing.T) {
	for name, above := range map[string]uint64{"at the next size": 1, "above it": 5} {
		t.Run(name, func(t *testing.T) {
			k := newSeedKeys(66)
			l := openWitnessed(t, t.TempDir(), k, WitnessPolicy{})
			fill(t, l, 3)
			awaitNewest(t, l, exchange.BarrierSigned)
			x := forgedNote(t, k, l.Size()+above)
			if err := write(l.db, []kv{x}, nil); err != nil {
				t.Fatal(err)
			}
			if _, err := l.Record(t.Context(), requestRecord(newID(), []byte("x"))); err != nil && !errors.Is(err, ErrForked) {
				t.Fatal(err)
			}
			if err := l.Await(patient(t), 1<<40, exchange.BarrierSigned); !errors.Is(err, ErrForked) {
				t.Fatal(err)
			}
			if stored, err := l.View().Get(t.Context(), x.key); err != nil || string(stored) != string(x.value) {
				t.Error("the checkpoint that was there was replaced")
			}
			closeForked(t, l)
		})
	}
}

// TestSignatureLostBeforeItWasStored: signing again after a crash is signing the same.
func TestSignatureLostBeforeItWasStored(t *testing.T) {
	dir, k := t.TempDir(), newSeedKeys(67)
	l := openTest(t, dir, k)
	fill(t, l, 3)
	n := awaitNewest(t, l, exchange.BarrierSigned)
	root := l.synced.Load().root
	closeTest(t, l)
	o := testOptions(dir, k)
	l2 := &Ledger{opts: o, log: o.Logger, clock: time.Now}
	if _, err := l2.openStore(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(write(l2.db, nil, [][]byte{noteKey(n + 1)}), l2.db.Close(), markClean(dir)); err != nil {
		t.Fatal(err)
	}
	l = openTest(t, dir, k)
	if err := l.Await(patient(t), n, exchange.BarrierSigned); err != nil {
		t.Fatal(err)
	}
	size, note, err := NewestNote(t.Context(), l.View())
	if err != nil || size != n+1 {
		t.Fatalf("newest checkpoint of size %d, %v", size, err)
	}
	if c, _, err := splitNote(note); err != nil || c.Root != root {
		t.Errorf("root %s, %v", c.Root, err)
	}
}

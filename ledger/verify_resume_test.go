package ledger

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"sigillo/internal/exchange"
)

// openLogTest opens a log that the test closes.
func openLogTest(t *testing.T, dir string) *Log {
	t.Helper()
	l, _, err := OpenLog(t.Context(), dir, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// records are all records of a log.
func records(t *testing.T, v View) map[string][]byte {
	t.Helper()
	store := map[string][]byte{}
	each := func(prefix []byte, fn func(key, value []byte) error) {
		if err := v.Scan(t.Context(), prefix, nil, fn); err != nil {
			t.Fatal(err)
		}
	}
	each(nil, func(key, value []byte) error {
		if key[0] != tableEntry { // those are stored in runs
			store[string(key)] = value
		}
		return nil
	})
	each([]byte{tableEntry}, func(key, value []byte) error {
		store[string(key)] = bytes.Clone(value)
		return nil
	})
	return store
}

// TestInterruptedVerificationGoesOn interrupts a verification again and again: in the end it says what one
// that was never interrupted says.
func TestInterruptedVerificationGoesOn(t *testing.T) {
	k := newSeedKeys(62)
	l := openLogTest(t, makeLog(t, k, 1500, 30, 62))
	clean, store := l.View, records(t, l.View)
	for seed := range uint64(8) {
		changed := map[string][]byte{}
		if seed > 0 {
			r := rand.New(rand.NewPCG(seed, 9))
			for range 4 {
				tamper(r, store, changed, 1500)
			}
		}
		l.View = tamperedView{clean, changed}
		o := VerifyOptions{SkipContent: true, width: 256, workers: 2}
		want, err := Verify(t.Context(), l, o)
		if err != nil {
			t.Fatal(err)
		}
		o.Resume = filepath.Join(t.TempDir(), "progress")
		var got *exchange.Verdict
		for runs := 0; got == nil; runs++ {
			ctx, cancel := context.WithCancel(t.Context())
			begun := 0
			o.Progress = func(done, total uint64) {
				if begun++; begun == 1+runs%2 && done < total {
					cancel()
				}
			}
			got, err = Verify(ctx, l, o)
			cancel()
			var stop *InterruptedError
			if err != nil && (!errors.As(err, &stop) || !stop.Kept || !errors.Is(err, context.Canceled)) {
				t.Fatal(err)
			}
			if runs > 20 {
				t.Fatal("no progress is made")
			}
			if seed == 0 && runs == 0 {
				if _, err := Verify(t.Context(), l, VerifyOptions{width: 256, Resume: o.Resume}); !errors.Is(err, ErrOtherProgress) {
					t.Errorf("other options went on from the progress: %v", err)
				}
			}
		}
		if !reflect.DeepEqual(lines(got), lines(want)) || !reflect.DeepEqual(got.Counts, want.Counts) || got.Verdict != want.Verdict {
			t.Errorf("seed %d: interrupted\n%v %v\nnot interrupted\n%v %v", seed, lines(got), got.Counts, lines(want), want.Counts)
		}
		if _, err := os.Stat(o.Resume); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the progress of a finished verification is still there: %v", err)
		}
	}
}

func TestProgressOfAnotherLogIsRefused(t *testing.T) {
	k := newSeedKeys(63)
	progress := filepath.Join(t.TempDir(), "progress")
	interrupt := func(l *Log) error {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		_, err := Verify(ctx, l, VerifyOptions{SkipContent: true, width: 256, Resume: progress, Progress: func(uint64, uint64) { cancel() }})
		return err
	}
	one := openLogTest(t, makeLog(t, k, 1500, 100, 63))
	if err := interrupt(one); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	other := openLogTest(t, makeLog(t, k, 1600, 100, 64))
	if err := interrupt(other); !errors.Is(err, ErrOtherProgress) || !strings.Contains(err.Error(), "is not what it was") {
		t.Errorf("error %v", err)
	}
	if err := os.WriteFile(progress, []byte(`{"version":1,"at":-1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := interrupt(one); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// TestSinceACheckpoint trusts the tree up to a signed checkpoint and verifies the rest.
func TestSinceACheckpoint(t *testing.T) {
	k := newSeedKeys(65)
	l := openLogTest(t, makeLog(t, k, 1500, 20, 65))
	clean := l.View
	size, note, err := Before(t.Context(), l, 1000)
	if err != nil || size < 800 {
		t.Fatal(size, err)
	}
	since := func(note []byte, changed map[string][]byte) *exchange.Verdict {
		l.View = tamperedView{clean, changed}
		v, err := Verify(t.Context(), l, VerifyOptions{SkipContent: true, width: 256, Since: note})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	v := since(note, nil)
	wantIntact(t, v)
	if v.Counts["since"] != int64(size) || v.Counts["kind:request"] == 0 || v.Counts["kind:genesis"] != 0 {
		t.Errorf("counts %v", v.Counts)
	}
	altered := func(n uint64) map[string][]byte {
		b, err := clean.Get(t.Context(), entryKey(n))
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)/2] ^= 1
		return map[string][]byte{string(entryKey(n)): b}
	}
	if v := since(note, altered(1200)); v.Verdict != exchange.Broken || !names(v, 1200) {
		t.Errorf("an entry after the checkpoint was altered: %v", v.Findings)
	}
	if v := since(note, altered(5)); v.Verdict != exchange.Intact {
		t.Errorf("an entry long before the checkpoint was read: %v", v.Findings)
	}
	forged, err := signCheckpoint(t.Context(), Checkpoint{Origin: testOrigin, Size: size, Root: Hash{9}}, k)
	if err != nil {
		t.Fatal(err)
	}
	if v := since(forged, nil); v.Verdict != exchange.Broken || v.Findings[0].Check != "forked" {
		t.Errorf("a checkpoint of another tree was trusted: %v", v.Findings)
	}
}

// TestFindingsAndMemoryAreBounded verifies a log of 60,000 entries of which 50,000 are altered.
func TestFindingsAndMemoryAreBounded(t *testing.T) {
	k := newSeedKeys(66)
	l := openLogTest(t, makeLog(t, k, 60_000, 500, 66))
	peak := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		before, highest := m.HeapAlloc, uint64(0)
		v, err := Verify(t.Context(), l, VerifyOptions{SkipContent: true, Progress: func(uint64, uint64) {
			runtime.GC()
			runtime.ReadMemStats(&m)
			highest = max(highest, m.HeapAlloc-min(before, m.HeapAlloc))
		}})
		if err != nil {
			t.Fatal(err)
		}
		if v.Verdict == exchange.Broken {
			listed := 0
			for _, f := range v.Findings {
				if f.Check == "tree" {
					listed++
				}
			}
			if listed > maxFindings+2 || v.Counts["findings"] < 50_000 || v.Counts["findings_not_listed"] < 40_000 {
				t.Errorf("%d findings of one check are listed, counts %v", listed, v.Counts)
			}
		}
		return highest
	}
	// Two workers' stretches take some megabytes, whatever the log's size; 60,000 entries are 50 MB.
	if underRace {
		t.Skip("what the race detector holds is not the verifier's")
	}
	if got := peak(); got > 12<<20 {
		t.Errorf("verification held %d MiB", got>>20)
	}
	l.View = alteringView{l.View}
	if got := peak(); got > 40<<20 {
		t.Errorf("verification of a broken log held %d MiB", got>>20)
	}
}

// alteringView alters most entries.
type alteringView struct{ View }

func (v alteringView) Scan(ctx context.Context, prefix, from []byte, fn func(key, value []byte) error) error {
	return v.View.Scan(ctx, prefix, from, func(key, value []byte) error {
		if key[0] == tableEntry && numberOf(key) >= 10_000 {
			value[len(value)/2] ^= 1
		}
		return fn(key, value)
	})
}

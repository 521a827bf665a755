package ledger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sigillo/internal/exchange"
)

// anchorFile is an empty checkpoint file, as an operator makes it.
func anchorFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "checkpoint")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// openAnchored opens a ledger with anchors that are required.
func openAnchored(t *testing.T, dir string, k *seedKeys, anchors ...Anchor) (*Ledger, error) {
	t.Helper()
	o := testOptions(dir, k)
	o.Anchors, o.AnchorsRequired, o.AnchorEvery = anchors, true, time.Hour // only the first round and that of Close
	return Open(t.Context(), o)
}

// grow opens a ledger with an anchor, records n exchanges, and closes it.
func grow(t *testing.T, dir string, k *seedKeys, n int, anchors ...Anchor) uint64 {
	t.Helper()
	l, err := openAnchored(t, dir, k, anchors...)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, l, n)
	size := l.Size()
	closeTest(t, l)
	return size
}

// againstAnchors is what verify says about dir and its anchors.
func againstAnchors(t *testing.T, dir string, anchors ...Anchor) ([]exchange.Finding, string) {
	t.Helper()
	l, _, err := OpenLog(t.Context(), dir, quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	return CompareAnchors(t.Context(), l, anchors)
}

func wantCheck(t *testing.T, found []exchange.Finding, check, severity string) {
	t.Helper()
	if !slices.ContainsFunc(found, func(f exchange.Finding) bool { return f.Check == check && f.Severity == severity }) {
		t.Errorf("no %s finding %q among %v", severity, check, found)
	}
}

func TestAnchorFollowsTheLedger(t *testing.T) {
	dir, k, a := filepath.Join(t.TempDir(), "ledger"), newSeedKeys(1), FileAnchor(anchorFile(t), 1)
	for range 3 {
		size := grow(t, dir, k, 2, a)
		m, err := a.Read(t.Context())
		if err != nil || m.Size != size || m.Origin != testOrigin {
			t.Fatalf("anchor at size %d of %q, %v; the ledger has %d", m.Size, m.Origin, err, size)
		}
		found, assurance := againstAnchors(t, dir, a)
		if len(found) > 0 || assurance != fmt.Sprintf("anchored(%d)", size) {
			t.Errorf("assurance %s, findings %v", assurance, found)
		}
	}
}

func TestOlderCopyIsRefusedAsRolledBack(t *testing.T) {
	dir, k, a := filepath.Join(t.TempDir(), "ledger"), newSeedKeys(1), FileAnchor(anchorFile(t), 1)
	before := grow(t, dir, k, 3, a)
	old := copyDir(t, dir)
	after := grow(t, dir, k, 3, a)
	for range 2 { // refused, it stays as it was found: the second look is like the first
		_, err := openAnchored(t, old, k, a)
		var rolled *RolledBackError
		if !errors.As(err, &rolled) || rolled.AnchorSize != after || rolled.Size != before {
			t.Fatalf("an older copy: %v", err)
		}
		if !StoppedCleanly(old) {
			t.Error("the sign of the clean stop is gone")
		}
	}
	wantIntact(t, verifyDir(t, old, k)) // it verifies perfectly: only the anchor knows
	found, assurance := againstAnchors(t, old, a)
	wantCheck(t, found, "rolled-back", exchange.Broken)
	if assurance != "self" {
		t.Errorf("assurance %s of a ledger that was rolled back", assurance)
	}
	missing := filepath.Join(t.TempDir(), "none")
	_, err := openAnchored(t, missing, k, a)
	var rolled *RolledBackError
	if !errors.As(err, &rolled) || rolled.Size != 0 {
		t.Errorf("an empty ledger beside an anchor of size %d: %v", after, err)
	}
	if _, err := os.Lstat(missing); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("refusing it left a directory: %v", err)
	}
	if got := grow(t, dir, k, 1, a); got <= after {
		t.Errorf("the true ledger does not go on: %d entries", got)
	}
}

// TestSecondOfTwoCopiesIsRefused: two copies of one directory go on separately, one after the other.
func TestSecondOfTwoCopiesIsRefused(t *testing.T) {
	dir, k, a := filepath.Join(t.TempDir(), "ledger"), newSeedKeys(1), FileAnchor(anchorFile(t), 1)
	grow(t, dir, k, 2, a)
	other := copyDir(t, dir)
	first := grow(t, dir, k, 2, a)
	// Without its anchor the copy goes on, further than the first.
	grow(t, other, k, 4)
	_, err := openAnchored(t, other, k, a)
	var forked *ForkedError
	if !errors.As(err, &forked) || forked.Size != first || forked.Root == forked.AnchorRoot {
		t.Fatalf("the second copy: %v", err)
	}
	wantIntact(t, verifyDir(t, other, k))
	found, _ := againstAnchors(t, other, a)
	wantCheck(t, found, "forked", exchange.Broken)
}

// TestTwoCopiesAtOnce: both run; the one that sees the other's mark stops, and the anchor stays.
func TestTwoCopiesAtOnce(t *testing.T) {
	dir, k, a := filepath.Join(t.TempDir(), "ledger"), newSeedKeys(1), FileAnchor(anchorFile(t), 1)
	grow(t, dir, k, 2, a)
	other := copyDir(t, dir)
	second, err := openAnchored(t, other, k, a)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, second, 4)
	first := grow(t, dir, k, 2, a)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	err = second.Close(ctx)
	var forked *ForkedError
	if !errors.As(err, &forked) || second.Err() == nil {
		t.Errorf("the second of two running copies ends with %v", err)
	}
	if StoppedCleanly(other) {
		t.Error("it says that it stopped cleanly")
	}
	if m, err := a.Read(t.Context()); err != nil || m.Size != first {
		t.Errorf("the anchor is at %d, %v, the first is at %d", m.Size, err, first)
	}
}

// faultyAnchor is a real anchor that can be away.
type faultyAnchor struct {
	Anchor
	mu   sync.Mutex
	away error
	lie  bool // an Advance is done and says no
}

func (f *faultyAnchor) set(away error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.away = away
}

func (f *faultyAnchor) Read(ctx context.Context) (AnchorMark, error) {
	f.mu.Lock()
	away := f.away
	f.mu.Unlock()
	if away != nil {
		return AnchorMark{}, away
	}
	return f.Anchor.Read(ctx)
}

func (f *faultyAnchor) Advance(ctx context.Context, m AnchorMark) error {
	err := f.Anchor.Advance(ctx, m)
	if err == nil && f.lie {
		f.lie = false
		return errors.New("the answer was lost")
	}
	return err
}

func TestAnchorOutOfReach(t *testing.T) {
	dir, k := filepath.Join(t.TempDir(), "ledger"), newSeedKeys(1)
	f := &faultyAnchor{Anchor: FileAnchor(anchorFile(t), 1)}
	grow(t, dir, k, 1, f)
	f.set(errors.New("no route to host"))
	if _, err := openAnchored(t, dir, k, f); err == nil || refusedByAnchors(err) || !strings.Contains(err.Error(), "no route to host") || !StoppedCleanly(dir) {
		t.Fatalf("with its anchor away: %v", err)
	}
	found, _ := againstAnchors(t, dir, f)
	wantCheck(t, found, "anchor", exchange.Indeterminate)

	o := testOptions(dir, k)
	o.Anchors, o.AnchorEvery = []Anchor{f}, time.Millisecond
	l, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if s := l.Anchored(); len(s) != 1 || s[0].Failing.IsZero() || s[0].Err == nil {
		t.Errorf("state %+v with the anchor away", s)
	}
	fill(t, l, 3) // held back by nothing
	f.set(nil)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for l.Anchored()[0].Size < l.Size() { // tried again by itself
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal("never advanced")
		}
	}
	if s := l.Anchored()[0]; !s.Failing.IsZero() || s.At.IsZero() {
		t.Errorf("state %+v with the anchor back", s)
	}
	closeTest(t, l)
}

func TestAdvanceDoneButReportedFailed(t *testing.T) {
	dir, k := filepath.Join(t.TempDir(), "ledger"), newSeedKeys(1)
	f := &faultyAnchor{Anchor: FileAnchor(anchorFile(t), 1), lie: true}
	grow(t, dir, k, 2, f)
	size := grow(t, dir, k, 2, f)
	if m, err := f.Anchor.Read(t.Context()); err != nil || m.Size != size {
		t.Errorf("anchor at %d of %d, %v", m.Size, size, err)
	}
}

// TestForgedMark: what is not signed by the log's key is no mark, and is never written over.
func TestForgedMark(t *testing.T) {
	path := anchorFile(t)
	dir, k, a := filepath.Join(t.TempDir(), "ledger"), newSeedKeys(1), FileAnchor(path, 1)
	grow(t, dir, k, 1, a)
	forged, err := signCheckpoint(t.Context(), Checkpoint{Origin: testOrigin, Size: 1 << 40}, newSeedKeys(2))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, forged, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openAnchored(t, dir, k, a); !errors.Is(err, ErrAnchorMark) || !errors.Is(err, ErrNoteSignature) || refusedByAnchors(err) {
		t.Errorf("a forged mark: %v", err)
	}
	found, _ := againstAnchors(t, dir, a)
	wantCheck(t, found, "anchor", exchange.Indeterminate)
	o := testOptions(dir, k)
	o.Anchors = []Anchor{a}
	l, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, l, 1)
	closeTest(t, l)
	if b, err := os.ReadFile(path); err != nil || string(b) != string(forged) {
		t.Errorf("the forged mark was written over: %v", err)
	}
}

func TestMissingAnchorFileIsADiskThatIsNotMounted(t *testing.T) {
	path := anchorFile(t)
	dir, k, a := filepath.Join(t.TempDir(), "ledger"), newSeedKeys(1), FileAnchor(path, 1)
	grow(t, dir, k, 1, a)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := openAnchored(t, dir, k, a); err == nil || !strings.Contains(err.Error(), "is its disk mounted?") {
		t.Errorf("without its file: %v", err)
	}
	found, _ := againstAnchors(t, dir, a)
	wantCheck(t, found, "anchor", exchange.Indeterminate)
}

// TestConcurrentAdvance: many writers of one file with what they read; it only grows, and ends at the greatest.
func TestConcurrentAdvance(t *testing.T) {
	path, k := anchorFile(t), newSeedKeys(1)
	var all sync.WaitGroup
	const writers, each = 8, 25
	for w := range writers {
		all.Go(func() {
			a := FileAnchor(path, 1)
			for i := range each {
				size := uint64(1 + i*writers + w)
				note, err := signCheckpoint(t.Context(), Checkpoint{Origin: testOrigin, Size: size, Root: Hash{byte(size)}}, k)
				if err != nil {
					t.Error(err)
					return
				}
				for {
					old, err := a.Read(t.Context())
					if err != nil && !errors.Is(err, ErrNoMark) {
						t.Error(err)
						return
					}
					m, err := MarkOf(note)
					if err != nil {
						t.Error(err)
						return
					}
					m.Version = old.Version
					err = a.Advance(t.Context(), m)
					if errors.Is(err, ErrAnchorMoved) {
						continue
					}
					if err != nil && !errors.Is(err, ErrAnchorAhead) {
						t.Error(err)
					}
					now, err := a.Read(t.Context())
					if err != nil || now.Size < old.Size || now.Size < size {
						t.Errorf("at %d after %d and %d: %v", now.Size, old.Size, size, err)
					}
					break
				}
			}
		})
	}
	all.Wait()
	if m, err := FileAnchor(path, 1).Read(t.Context()); err != nil || m.Size != writers*each {
		t.Errorf("ends at %d, %v", m.Size, err)
	}
	fork, err := signCheckpoint(t.Context(), Checkpoint{Origin: testOrigin, Size: writers * each, Root: Hash{0xff}}, k)
	if err != nil {
		t.Fatal(err)
	}
	m, err := MarkOf(fork)
	if err != nil {
		t.Fatal(err)
	}
	m.Version = 7
	if err := FileAnchor(path, 1).Advance(t.Context(), m); !errors.Is(err, ErrAnchorForked) {
		t.Errorf("another root at the same size: %v", err)
	}
}

// leavingAnchor is asked while the ledger is being closed: the context ends with its answer.
type leavingAnchor struct {
	Anchor
	leave func()
}

func (a leavingAnchor) Read(ctx context.Context) (AnchorMark, error) {
	m, err := a.Anchor.Read(ctx)
	a.leave()
	return m, err
}

// TestStoppingWhileAnAnchorIsReadIsNoFork: a comparison that is broken off says nothing against the log.
func TestStoppingWhileAnAnchorIsReadIsNoFork(t *testing.T) {
	dir, k := t.TempDir(), newSeedKeys(95)
	file := filepath.Join(t.TempDir(), "mark")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	o := testOptions(dir, k)
	o.Anchors = []Anchor{FileAnchor(file, 1)}
	l, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, l, 3)
	l.lastAnchors(t.Context())
	fill(t, l, 20)
	ctx, leave := context.WithCancel(t.Context())
	a := &anchorer{l: l, a: leavingAnchor{o.Anchors[0], leave}}
	if _, err := a.step(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("the comparison was not broken off: %v", err)
	}
	if err := l.failedErr(); err != nil {
		t.Errorf("the ledger stopped: %v", err)
	}
	fill(t, l, 1)
	closeTest(t, l)
}

package ledger

import (
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

func TestPreservedCopiesStayUntilAFullVerification(t *testing.T) {
	dir, k := killed(t)
	l := openTest(t, dir, k)
	if n := l.Preserved(); n != 1 {
		t.Fatalf("%d copies after one unclean stop", n)
	}
	closeTest(t, l)
	l = openTest(t, dir, k) // a clean start drops nothing
	closeTest(t, l)
	if n, err := DropPreserved(dir, time.Now().Add(-time.Hour)); n != 0 || err != nil {
		t.Errorf("%d copies dropped that are younger than the verification, %v", n, err)
	}
	began := time.Now()
	wantIntact(t, verifyDir(t, dir, k))
	if n, err := DropPreserved(dir, began); n != 1 || err != nil {
		t.Errorf("%d copies dropped, %v", n, err)
	}
	if n := l.Preserved(); n != 0 {
		t.Errorf("%d copies left", n)
	}
	if n, err := DropPreserved(t.TempDir(), began); n != 0 || err != nil {
		t.Errorf("without copies: %d, %v", n, err)
	}
}

// TestPreservedCopiesAreBounded: the first and the newest copy always stay, and the disk does not fill up.
func TestPreservedCopiesAreBounded(t *testing.T) {
	dir, k := killed(t)
	began := time.Now()
	var seconds atomic.Int64
	o := testOptions(dir, k)
	o.Clock = func() time.Time { return began.Add(time.Duration(seconds.Add(1)) * time.Second) }
	var first string
	for i := range preservedMost + 3 {
		l, err := Open(t.Context(), o)
		must(t, err)
		fill(t, l, 1)
		closeTest(t, l)
		kept, err := preservedCopies(dir)
		if err != nil || len(kept) != min(i+1, preservedMost) {
			t.Fatalf("%d copies after %d unclean stops, %v", len(kept), i+1, err)
		}
		if i == 0 {
			first = kept[0]
		}
		if kept[0] != first {
			t.Fatal("the first copy was dropped")
		}
		// What a kill leaves: the sign of a clean stop is not there.
		must(t, errors.Join(os.Rename(filepath.Join(dir, cleanFileName), filepath.Join(dir, filesFileName))))
	}
}

// TestValueLogsMayGoWhileTheyAreCollected: a process that dies while Badger collects values is no damage.
func TestValueLogsMayGoWhileTheyAreCollected(t *testing.T) {
	k := newSeedKeys(61)
	dir := stopped(t, k)
	l := openTest(t, dir, k)
	died := errors.New("died")
	if err := l.collecting(func() error {
		if list, err := readStoreList(dir, false); err != nil || list.State != listCollecting {
			t.Errorf("list %v, %v", list, err)
		}
		return died
	}); !errors.Is(err, died) {
		t.Errorf("error %v", err)
	}
	if list, err := readStoreList(dir, false); err != nil || list.State != listRunning || len(list.Files) == 0 {
		t.Errorf("list %v, %v", list, err)
	}
	closeTest(t, l)
	wantIntact(t, verifyDir(t, dir, k))
}

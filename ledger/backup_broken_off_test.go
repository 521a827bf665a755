package ledger

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestStoppingInstanceBreaksItsBackupOff: a reader that does not read must not keep the ledger from closing.
func TestStoppingInstanceBreaksItsBackupOff(t *testing.T) {
	dir, k := t.TempDir(), newSeedKeys(35)
	l := openTest(t, dir, k)
	for i := range 40 {
		if _, err := roundTrip(t.Context(), l, bytes.Repeat([]byte{byte(i)}, 900<<10)); err != nil {
			t.Fatal(err)
		}
	}
	s, err := l.ListenSocket()
	if err != nil {
		t.Fatal(err)
	}
	remote, _, err := Dial(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	in, err := remote.View.(*Remote).openBackup(t.Context(), backupBase{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := newPartReader(in)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(t.Context()); err != nil { // nobody reads the 36 MiB that are left
		t.Fatal(err)
	}
	for err == nil {
		_, err = r.next()
	}
	if !errors.Is(err, ErrPart) {
		t.Errorf("the broken-off part ends with %v", err)
	}
	_ = in.Close() // its other end is gone
	if err := remote.Close(); err != nil {
		t.Error(err)
	}
}

// TestBrokenOffRunsLeaveTheBackupUsable puts a backup's directory into every state that a killed run leaves.
func TestBrokenOffRunsLeaveTheBackupUsable(t *testing.T) {
	k := newSeedKeys(36)
	l := openTest(t, t.TempDir(), k)
	fill(t, l, 5)
	to := filepath.Join(t.TempDir(), "backup")
	next := 1
	for _, left := range []func() string{
		func() string { return partName(next) + tempSuffix }, // killed while writing
		func() string { return partName(next) },              // killed before the manifest
		func() string { return "." + manifestName + "123" },  // killed while writing the manifest
	} {
		for range 2 { // in an empty directory, or after the part before; and once more
			name := left()
			if err := errors.Join(os.MkdirAll(to, 0o700), os.WriteFile(filepath.Join(to, name), []byte(partFormat+"\n{half"), 0o600)); err != nil {
				t.Fatal(err)
			}
			if next > 1 {
				restoreTest(t, to) // the earlier backup stands as it was
			}
			fill(t, l, 2)
			if p := backupTest(t, liveLog(t, l), to); p.Part != next {
				t.Fatalf("%s: part %d came next, not %d", name, p.Part, next)
			}
			next++
			restoreTest(t, to)
			if files, err := os.ReadDir(to); err != nil || len(files) != next {
				t.Errorf("%s: %d files beside %d parts, %v", name, len(files), next-1, err)
			}
		}
	}
}

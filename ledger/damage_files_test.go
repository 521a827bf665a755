package ledger

import (
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigillo/internal/exchange"
)

// stopped makes a ledger that was stopped cleanly and has several value logs and tables.
func stopped(t *testing.T, k *seedKeys) string {
	t.Helper()
	dir := t.TempDir()
	for range 3 {
		l := openTest(t, dir, k)
		fill(t, l, 4)
		closeTest(t, l)
	}
	wantIntact(t, verifyDir(t, dir, k))
	return dir
}

// killed makes a ledger whose process was killed with kill -9 under load.
func killed(t *testing.T) (dir string, k *seedKeys) {
	t.Helper()
	dir = t.TempDir()
	runWriter(t, dir, false, 400, func() {})
	return dir, newSeedKeys(21)
}

// storeFile is the first (or last) file of a ledger's store with an ending and bytes in it.
func storeFile(t *testing.T, dir, ext string, last bool) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, storeDirName, "*"+ext))
	if err != nil || len(files) == 0 {
		t.Fatalf("no %s file in %s, %v", ext, dir, err)
	}
	if last {
		slices.Reverse(files)
	}
	for _, f := range files {
		if b, err := readData(f); err == nil && len(strings.Trim(string(b), "\x00")) > 100 {
			return f
		}
	}
	t.Fatalf("every %s file is empty", ext)
	return ""
}

func dataSize(t *testing.T, path string) int64 {
	t.Helper()
	b, err := readData(path)
	must(t, err)
	return int64(len(strings.TrimRight(string(b), "\x00")))
}

// prints is the digest of every file of a store.
func prints(t *testing.T, dir string) map[string]Hash {
	t.Helper()
	out := map[string]Hash{}
	names, err := os.ReadDir(dir)
	must(t, err)
	for _, f := range names {
		b, err := readData(filepath.Join(dir, f.Name())) // without the hole at the end
		must(t, err)
		out[f.Name()] = sha256.Sum256(b)
	}
	return out
}

// wantNoticed shows what must follow any damage: a start refuses with a typed error that names the file
// (or what is lost), every byte is still there, and verify says broken and names it too.
func wantNoticed(t *testing.T, dir string, k *seedKeys, file string) {
	t.Helper()
	before := prints(t, filepath.Join(dir, storeDirName))
	v := verifyDir(t, dir, k)
	if v.Verdict != exchange.Broken {
		t.Errorf("verify says %s: %v", v.Verdict, v.Findings)
	}
	if !slices.ContainsFunc(v.Findings, func(f exchange.Finding) bool {
		return f.Severity == exchange.Broken && (f.Entry != nil || strings.Contains(f.Detail, file))
	}) {
		t.Errorf("no finding names %s or an entry: %v", file, v.Findings)
	}
	if after := prints(t, filepath.Join(dir, storeDirName)); !equalPrints(before, after) {
		t.Error("verify changed the store")
	}
	l, err := Open(t.Context(), testOptions(dir, k))
	if err == nil {
		closeTest(t, l)
		t.Fatal("a damaged ledger was opened for serving")
	}
	var damaged *DamagedError
	var behind *BehindError
	switch {
	case errors.As(err, &damaged):
		if !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), "salvage") {
			t.Errorf("the refusal does not name %s, or not what to do: %v", file, err)
		}
		if after := prints(t, filepath.Join(dir, storeDirName)); !equalPrints(before, after) {
			t.Error("the refused start changed the store")
		}
	case errors.As(err, &behind):
		if behind.Preserved == "" {
			t.Fatalf("nothing was preserved: %v", err)
		}
		for name, sum := range prints(t, behind.Preserved) {
			if name != headFileName && sum != before[name] {
				t.Errorf("%s was not preserved as it was", name)
			}
		}
	default:
		t.Errorf("the refusal is not typed: %v", err)
	}
}

func equalPrints(a, b map[string]Hash) bool {
	delete(a, "LOCK") // held, not evidence
	delete(b, "LOCK")
	if len(a) != len(b) {
		return false
	}
	for name, sum := range a {
		if b[name] != sum {
			return false
		}
	}
	return true
}

func TestFlippedByteInTheActiveMemtableLogIsNoticed(t *testing.T) {
	from, k := killed(t)
	for _, part := range []int64{3, 2} { // a third and half of it
		dir := copyDir(t, from)
		mem := storeFile(t, dir, ".mem", true)
		flip(t, mem, dataSize(t, mem)/part)
		wantNoticed(t, dir, k, filepath.Base(mem))
	}
	// In the last record no acknowledged entry stands behind the damage: Badger cuts it off and opens, and
	// HEAD shows what is gone.
	dir := copyDir(t, from)
	b, mem := acknowledgedEnd(t, dir)
	flip(t, mem, b)
	wantNoticed(t, dir, k, filepath.Base(mem))
}

func TestFlippedByteInTheActiveValueLogIsNoticed(t *testing.T) {
	from, k := killed(t)
	for _, part := range []int64{3, 2} {
		dir := copyDir(t, from)
		vlog := storeFile(t, dir, ".vlog", true)
		flip(t, vlog, dataSize(t, vlog)/part)
		wantNoticed(t, dir, k, filepath.Base(vlog))
	}
}

// TestFlippedByteInAnOldValueLog: the record that is hit is named by verify. A start reads the newest
// entries only, so that it opens long ledgers at once; what it serves is checked when it is read.
func TestFlippedByteInAnOldValueLogIsNoticed(t *testing.T) {
	k := newSeedKeys(31)
	dir := stopped(t, k)
	vlog := storeFile(t, dir, ".vlog", false)
	flip(t, vlog, dataSize(t, vlog)/2)
	if v := verifyDir(t, dir, k); v.Verdict != exchange.Broken || !slices.ContainsFunc(v.Findings, func(f exchange.Finding) bool { return f.Entry != nil }) {
		t.Errorf("verdict %s, findings %v", v.Verdict, v.Findings)
	}
}

func TestFlippedByteInATableIsNoticed(t *testing.T) {
	k := newSeedKeys(32)
	from := stopped(t, k)
	size := dataSize(t, storeFile(t, from, ".sst", false))
	for what, at := range map[string]int64{"block": 40, "block's key": 10, "index": size - 60, "checksum": size - 6, "footer": size - 1} {
		t.Run(what, func(t *testing.T) {
			dir := copyDir(t, from)
			sst := storeFile(t, dir, ".sst", false)
			flip(t, sst, at)
			wantNoticed(t, dir, k, filepath.Base(sst))
		})
	}
}

func TestCutFileIsNoticed(t *testing.T) {
	k := newSeedKeys(33)
	clean := stopped(t, k)
	for _, ext := range []string{".vlog", ".sst"} {
		for _, last := range []bool{false, true} {
			dir := copyDir(t, clean)
			path := storeFile(t, dir, ext, last)
			must(t, os.Truncate(path, dataSize(t, path)*2/3))
			wantNoticed(t, dir, k, filepath.Base(path))
		}
	}
	for _, name := range []string{"MANIFEST"} {
		dir := copyDir(t, clean)
		path := filepath.Join(dir, storeDirName, name)
		must(t, os.Truncate(path, dataSize(t, path)*2/3))
		wantNoticed(t, dir, k, name)
	}
	dirty, dk := killed(t)
	for _, ext := range []string{".mem", ".vlog"} {
		dir := copyDir(t, dirty)
		path := storeFile(t, dir, ext, true)
		must(t, os.Truncate(path, dataSize(t, path)*2/3))
		wantNoticed(t, dir, dk, filepath.Base(path))
	}
}

func TestRemovedFileIsNoticed(t *testing.T) {
	k := newSeedKeys(34)
	clean := stopped(t, k)
	dirty, dk := killed(t)
	for _, c := range []struct {
		from, name string
		last       bool
		k          *seedKeys
	}{
		{clean, ".vlog", false, k}, {clean, ".vlog", true, k}, {clean, ".sst", false, k}, {clean, ".sst", true, k}, {clean, "MANIFEST", true, k},
		{dirty, ".mem", true, dk}, {dirty, ".vlog", true, dk}, {dirty, "MANIFEST", true, dk},
	} {
		dir := copyDir(t, c.from)
		path := filepath.Join(dir, storeDirName, c.name)
		if strings.HasPrefix(c.name, ".") {
			path = storeFile(t, dir, c.name, c.last)
		}
		must(t, os.Remove(path))
		wantNoticed(t, dir, c.k, strings.TrimLeft(filepath.Base(path), "0123456789"))
	}
	for _, from := range []string{clean, dirty} {
		dir := copyDir(t, from)
		must(t, os.Remove(filepath.Join(dir, headFileName)))
		if v := verifyDir(t, dir, dk); v.Verdict != exchange.Broken {
			t.Errorf("without HEAD: %s, %v", v.Verdict, v.Findings)
		}
		var damaged *DamagedError
		var behind *BehindError
		if _, err := Open(t.Context(), testOptions(dir, dk)); !errors.As(err, &damaged) && !errors.As(err, &behind) {
			t.Errorf("without HEAD: %v", err)
		}
	}
	dir := copyDir(t, clean)
	must(t, os.WriteFile(filepath.Join(dir, headFileName), make([]byte, 2*slotSize), 0o600))
	var damaged *DamagedError
	if _, err := Open(t.Context(), testOptions(dir, k)); !errors.As(err, &damaged) {
		t.Errorf("with a HEAD of zeros: %v", err)
	}
}

// TestRefusedStartRepeatedKeepsOneCopy: a service manager that starts a refused ledger again and again
// must not fill the disk.
func TestRefusedStartRepeatedKeepsOneCopy(t *testing.T) {
	dir, k := killed(t)
	at, mem := acknowledgedEnd(t, dir)
	flip(t, mem, at)
	for range 4 {
		var behind *BehindError
		if _, err := Open(t.Context(), testOptions(dir, k)); !errors.As(err, &behind) {
			t.Fatalf("error %v", err)
		}
	}
	kept, err := preservedCopies(dir)
	if err != nil || len(kept) != 1 {
		t.Errorf("%d copies, %v", len(kept), err)
	}
}

// TestDamagedListOfFilesIsAnUncleanStop: CLEAN carries no evidence; without it a start is only more careful.
func TestDamagedListOfFilesIsAnUncleanStop(t *testing.T) {
	k := newSeedKeys(35)
	dir := stopped(t, k)
	flip(t, filepath.Join(dir, cleanFileName), 80)
	if StoppedCleanly(dir) {
		t.Error("a damaged CLEAN stands for a clean stop")
	}
	wantIntact(t, verifyDir(t, dir, k))
	l := openTest(t, dir, k)
	if l.Preserved() != 1 {
		t.Error("nothing was kept")
	}
	fill(t, l, 1)
	closeTest(t, l)
	wantIntact(t, verifyDir(t, dir, k))
	must(t, os.RemoveAll(filepath.Join(dir, storeDirName)))
	if v := verifyDir(t, dir, k); v.Verdict != exchange.Broken {
		t.Errorf("without a store: %s", v.Verdict)
	}
	refused(t, dir, k)
}

// TestDamageFoundWhileServingEndsTheLedger: a table beyond what a start reads.
func TestDamageFoundWhileServingEndsTheLedger(t *testing.T) {
	k := newSeedKeys(36)
	dir := stopped(t, k)
	l, err := Open(t.Context(), testOptions(dir, k))
	must(t, err)
	sst := storeFile(t, dir, ".sst", false)
	flip(t, sst, 40)
	err = l.readTables(t.Context())
	var damaged *DamagedError
	if !errors.As(err, &damaged) || !strings.Contains(err.Error(), filepath.Base(sst)) {
		t.Fatalf("error %v", err)
	}
	l.fail(err)
	if _, err := l.Record(t.Context(), requestRecord(newID(), nil)); !errors.As(err, &damaged) {
		t.Errorf("an entry on a damaged ledger: %v", err)
	}
	if err := l.Close(t.Context()); !errors.As(err, &damaged) {
		t.Errorf("closing: %v", err)
	}
	seen, err := inspectStore(dir, 0) // as a start does that reads no block by itself
	if err != nil || len(seen.found) != 1 {
		t.Errorf("the next start sees %v, %v", seen.found, err)
	}
}

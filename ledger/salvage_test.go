package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigillo/internal/exchange"
	"sigillo/ledger/storefile"
)

func salvage(t *testing.T, dir string, preserved ...string) (*SalvageReport, string) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out")
	before := prints(t, filepath.Join(dir, storeDirName))
	r, err := Salvage(t.Context(), SalvageOptions{Dir: dir, Preserved: preserved, Out: out, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	if !equalPrints(before, prints(t, filepath.Join(dir, storeDirName))) {
		t.Error("salvage changed the damaged store")
	}
	checkRecords(t, filepath.Join(out, salvageRecords), r.Records)
	return r, out
}

// checkRecords reads records.salvage as its documentation says.
func checkRecords(t *testing.T, path string, want uint64) {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	b, ok := bytes.CutPrefix(b, []byte("sigillo-salvage/v1\n"))
	count := uint64(0)
	for ; ok && len(b) > 0; count++ {
		n := 16 + int(binary.BigEndian.Uint32(b)) + int(binary.BigEndian.Uint32(b[4:]))
		sum := sha256.Sum256(b[:n])
		ok = bytes.Equal(sum[:], b[n:n+32])
		b = b[n+32:]
	}
	if !ok || count != want || want == 0 {
		t.Errorf("records.salvage: %d of %d records, whole %v", count, want, ok)
	}
}

// wantServing opens a rebuilt ledger, lets it serve, and has it verified: its first new entry says that
// it was salvaged.
func wantServing(t *testing.T, r *SalvageReport, k *seedKeys, acks []ack) {
	t.Helper()
	if r.Ledger == "" {
		t.Fatalf("no ledger was rebuilt: missing %v, chain %v, lost %v of %d", r.Ranges, r.Broken, r.Lost, r.Losses)
	}
	wantIntact(t, verifyDir(t, r.Ledger, k))
	l, err := Open(t.Context(), testOptions(r.Ledger, k))
	must(t, err)
	s, err := readEntry(t.Context(), l.View(), r.Acknowledged)
	if err != nil || s.Notice == nil || s.Notice.Code != "salvage" || s.Notice.Value != int64(r.Acknowledged) {
		t.Errorf("no notice of the salvage: %v, %v", s, err)
	}
	fill(t, l, 3)
	closeTest(t, l)
	l = openTest(t, r.Ledger, k)
	closeTest(t, l)
	v := verifyDir(t, r.Ledger, k)
	wantIntact(t, v)
	if v.Counts["kind:notice"] != 1 {
		t.Errorf("%d notices of one salvage", v.Counts["kind:notice"])
	}
	if lost := missing(t, r.Ledger, acks); lost > 0 {
		t.Errorf("%d of %d acknowledged entries are gone", lost, len(acks))
	}
}

func refused(t *testing.T, dir string, k *seedKeys) {
	t.Helper()
	var damaged *DamagedError
	var behind *BehindError
	if _, err := Open(t.Context(), testOptions(dir, k)); !errors.As(err, &damaged) && !errors.As(err, &behind) {
		t.Fatalf("not refused: %v", err)
	}
}

// TestSalvageOfTheMemtableLog: the pointer to an entry is hit; the entry itself stands in a value log, so
// nothing is lost, and the rebuilt ledger serves.
func TestSalvageOfTheMemtableLogRecoversEverything(t *testing.T) {
	dir := t.TempDir()
	acks := runWriter(t, dir, false, 400, func() {})
	k := newSeedKeys(21)
	mem := storeFile(t, dir, ".mem", true)
	flip(t, mem, recordAt(t, mem, entryRecord(20, 300)))
	refused(t, dir, k)
	r, _ := salvage(t, dir)
	wantServing(t, r, k, acks)
}

// TestSalvageNamesWhatIsLost: a value that stood in one place only is hit. Everything else is recovered,
// what is lost is named, and no shortened ledger is made.
func TestSalvageNamesWhatIsLost(t *testing.T) {
	from, k := killed(t)
	for _, c := range []struct {
		what, ext string
		wanted    func(storefile.Record) bool
		missing   uint64
		losses    int
	}{
		{"a run of entries in the value log", ".vlog", entryRecord(20, 300), 1, 0},
		{"the enclosures of a request in the value log", ".vlog", enclosesOnly(tableMessageKey, tableChunk), 0, 2},
	} {
		t.Run(c.what, func(t *testing.T) {
			dir := copyDir(t, from)
			m, _, err := readHeadFile(dir)
			must(t, err)
			path := storeFile(t, dir, c.ext, true)
			wanted := c.wanted
			if c.missing == 0 { // of an entry that was acknowledged: its transaction has acknowledged entries behind it
				wanted = firstOf(c.wanted, 200)
			}
			first, last := runAt(t, path, wanted)
			if c.missing == 1 {
				c.missing = last + 1 - first
			}
			flip(t, path, recordAt(t, path, wanted))
			refused(t, dir, k)
			r, out := salvage(t, dir)
			if r.Acknowledged != m.Size || r.Missing != c.missing || r.Losses != c.losses || r.Ledger != "" {
				t.Errorf("of %d acknowledged (%d) missing %d, losses %v, ledger %q", r.Acknowledged, m.Size, r.Missing, r.Lost, r.Ledger)
			}
			if c.missing > 0 && (len(r.Ranges) != 1 || r.Ranges[0] != SalvageRange{first, last} || r.Whole != first) {
				t.Errorf("missing %v, whole %d", r.Ranges, r.Whole)
			}
			if r.Signed == 0 || r.Todo == "" || !strings.Contains(r.Todo, "backup") {
				t.Errorf("signed up to %d; %s", r.Signed, r.Todo)
			}
			if _, err := os.Stat(filepath.Join(out, salvageLedger)); !errors.Is(err, os.ErrNotExist) {
				t.Error("a shortened ledger was made")
			}
			// With a whole copy of the files at hand nothing is missing.
			r, _ = salvage(t, dir, filepath.Join(from, storeDirName))
			wantServing(t, r, k, nil)
		})
	}
}

// enclosesOnly wants records of enclosures of these tables and no others.
func enclosesOnly(tables ...byte) func(storefile.Record) bool {
	return func(r storefile.Record) bool {
		if len(r.Key) != 25 || r.Key[0] != tableExchange {
			return false
		}
		var has []byte
		err := enclosures(r.Value, func(table byte, _, _ []byte) error { has = append(has, table); return nil })
		return err == nil && bytes.Equal(has, tables)
	}
}

// firstOf wants the records before the first n that are wanted have passed.
func firstOf(wanted func(storefile.Record) bool, n int) func(storefile.Record) bool {
	return func(r storefile.Record) bool {
		if wanted(r) && n > 0 {
			n--
			return true
		}
		return false
	}
}

func TestSalvageOfAStoreThatBadgerRefuses(t *testing.T) {
	k := newSeedKeys(41)
	from := stopped(t, k)
	for what, harm := range map[string]func(dir string){
		"no MANIFEST": func(dir string) { must(t, os.Remove(filepath.Join(dir, storeDirName, "MANIFEST"))) },
		"no index":    func(dir string) { f := storeFile(t, dir, ".sst", false); flip(t, f, dataSize(t, f)-60) },
		"a cut table": func(dir string) { f := storeFile(t, dir, ".sst", true); must(t, os.Truncate(f, dataSize(t, f)-30)) },
		"no HEAD":     func(dir string) { must(t, os.Remove(filepath.Join(dir, headFileName))) },
	} {
		t.Run(what, func(t *testing.T) {
			dir := copyDir(t, from)
			harm(dir)
			refused(t, dir, k)
			r, _ := salvage(t, dir)
			if r.HeadMissing != (what == "no HEAD") {
				t.Errorf("head missing: %v", r.HeadMissing)
			}
			wantServing(t, r, k, nil)
		})
	}
}

func TestSalvageRefusesWhatItMustNotTouch(t *testing.T) {
	k, dir := newSeedKeys(42), t.TempDir()
	l := openTest(t, dir, k)
	fill(t, l, 1)
	if _, err := Salvage(t.Context(), SalvageOptions{Dir: filepath.Join(dir, "none"), Out: t.TempDir()}); !errors.Is(err, ErrNoLedger) {
		t.Errorf("without a ledger: %v", err)
	}
	s, err := l.ListenSocket()
	must(t, err)
	if _, err := Salvage(t.Context(), SalvageOptions{Dir: dir, Out: t.TempDir()}); !errors.Is(err, ErrRunning) {
		t.Errorf("of a running ledger: %v", err)
	}
	must(t, s.Close(t.Context()))
	closeTest(t, l)
	if _, err := Salvage(t.Context(), SalvageOptions{Dir: dir, Out: dir}); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("into a directory in use: %v", err)
	}
}

// TestRebuiltIndexFindsTheSame: searching a rebuilt ledger gives what searching the old one gave.
func TestRebuiltTablesAreTheOnesThatWere(t *testing.T) {
	k := newSeedKeys(43)
	dir := stopped(t, k)
	old, _, err := OpenLog(t.Context(), dir, quiet())
	must(t, err)
	r, _ := salvage(t, dir)
	now, _, err := OpenLog(t.Context(), r.Ledger, quiet())
	must(t, err)
	for _, table := range []byte("ectkwrpzoxjy") {
		var was, is [][2]string
		collect := func(to *[][2]string) func(key, value []byte) error {
			return func(key, value []byte) error { *to = append(*to, [2]string{string(key), string(value)}); return nil }
		}
		must(t, old.Scan(t.Context(), []byte{table}, nil, collect(&was)))
		must(t, now.Scan(t.Context(), []byte{table}, nil, collect(&is)))
		if len(was) != len(is) {
			t.Errorf("table %c: %d keys, were %d", table, len(is), len(was))
			continue
		}
		for i := range was {
			if was[i] != is[i] {
				t.Errorf("table %c: %x = %x, was %x = %x", table, is[i][0], is[i][1], was[i][0], was[i][1])
				break
			}
		}
	}
	if was, is := indexOf(t, old), indexOf(t, now); strings.Join(was, "\n") != strings.Join(is, "\n") {
		t.Errorf("the index says\n%s\nand said\n%s", strings.Join(is, "\n"), strings.Join(was, "\n"))
	}
	if old.Head.Size != now.Head.Size || old.Head.Root != now.Head.Root || old.Head.Last != now.Head.Last || old.Head.Time != now.Head.Time {
		t.Errorf("head %v, was %v", now.Head, old.Head)
	}
	must(t, errors.Join(old.Close(), now.Close()))
	if v := verifyDir(t, dir, k); v.Verdict != exchange.Intact {
		t.Error("the source of a salvage is no longer intact")
	}
}

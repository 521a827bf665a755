package storefile

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/dgraph-io/badger/v4"
)

// store makes a Badger store of n keys with inline and separate values; closed is whether it was closed,
// so that its records stand in tables, or copied while open, so that they stand in write-ahead files.
func store(t testing.TB, n int, closed bool) (dir string, want map[string]string) {
	t.Helper()
	dir, want = t.TempDir(), map[string]string{}
	db, err := badger.Open(badger.DefaultOptions(dir).WithLogger(nil).WithValueThreshold(256).WithMemTableSize(8 << 20).WithValueLogFileSize(4 << 20).WithCompression(0))
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		key, value := fmt.Sprintf("key-%05d", i), string(bytes.Repeat([]byte{byte(1 + i%250)}, 20+i%600))
		if err := db.Update(func(txn *badger.Txn) error { return txn.Set([]byte(key), []byte(value)) }); err != nil {
			t.Fatal(err)
		}
		want[key] = value
	}
	if !closed {
		to := t.TempDir()
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err == nil {
				err = os.WriteFile(filepath.Join(to, filepath.Base(f)), b, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		dir = to
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, want
}

func load(t testing.TB, dir, ext string) []byte {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"+ext))
	if err != nil || len(files) == 0 {
		t.Fatalf("no %s file, %v", ext, err)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestLogsAreReadAsBadgerWroteThem(t *testing.T) {
	dir, want := store(t, 900, false)
	got := map[string]string{}
	pointers := map[Pointer]bool{}
	for _, ext := range []string{".vlog", ".mem"} {
		gaps, err := ScanLog(load(t, dir, ext), func(at int64, r Record) error {
			if r.In != nil {
				pointers[*r.In] = true
			} else {
				got[string(r.Key)] = string(r.Value)
			}
			return nil
		})
		if err != nil || len(gaps) > 0 {
			t.Fatalf("%s: gaps %v, %v", ext, gaps, err)
		}
	}
	if len(got) != len(want) || len(pointers) == 0 {
		t.Fatalf("%d of %d records, %d pointers", len(got), len(want), len(pointers))
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s differs", k)
		}
	}
}

// TestDamageCostsTheRecordsThatItHits flips bytes: every other record is still read.
func TestDamageCostsTheRecordsThatItHits(t *testing.T) {
	dir, _ := store(t, 900, false)
	for _, ext := range []string{".vlog", ".mem"} {
		whole := load(t, dir, ext)
		var at []int64
		if _, err := ScanLog(whole, func(off int64, r Record) error { at = append(at, off); return nil }); err != nil {
			t.Fatal(err)
		}
		for range 40 {
			b := bytes.Clone(whole)
			off := at[0] + rand.Int64N(at[len(at)-1]-at[0])
			b[off] ^= 1 << rand.IntN(8)
			n := 0
			gaps, err := ScanLog(b, func(int64, Record) error { n++; return nil })
			if err != nil || len(gaps) > 1 || n < len(at)-1 || len(gaps) == 0 || off < gaps[0].From || off >= gaps[0].To || !gaps[0].Inside {
				t.Errorf("%s, byte %d: %d of %d records, gaps %v, %v", ext, off, n, len(at), gaps, err)
			}
		}
	}
}

func TestTablesAreReadWithAndWithoutTheirIndex(t *testing.T) {
	dir, want := store(t, 900, true)
	m, err := ReadManifest(dir)
	if err != nil || len(m.Tables) != 1 || m.Rest != 0 {
		t.Fatalf("%v, %v", m, err)
	}
	b := load(t, dir, ".sst")
	blocks, err := ReadIndex(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	count := func(blocks []Block) (n int) {
		for _, at := range blocks {
			if err := ScanBlock(b[at.Offset:at.Offset+at.Len], func(r Record) error { n++; return nil }); err != nil {
				t.Error(err)
			}
		}
		return n
	}
	if n := count(blocks); n != len(want) {
		t.Errorf("%d of %d records", n, len(want))
	}
	var found []Block
	b[len(b)-1] ^= 0xff
	if _, err := ReadIndex(bytes.NewReader(b), int64(len(b))); err == nil {
		t.Error("a damaged footer was read")
	}
	if err := FindBlocks(b, func(at Block) error { found = append(found, at); return nil }); err != nil || len(found) != len(blocks) {
		t.Errorf("%d of %d blocks found, %v", len(found), len(blocks), err)
	}
	b[blocks[1].Offset+20] ^= 1
	found = nil
	if err := FindBlocks(b, func(at Block) error { found = append(found, at); return nil }); err != nil || len(found) != len(blocks)-1 {
		t.Errorf("%d of %d blocks found behind damage, %v", len(found), len(blocks)-1, err)
	}
}

func FuzzLog(f *testing.F) {
	dir, _ := store(f, 40, false)
	for _, ext := range []string{".vlog", ".mem"} {
		f.Add(bytes.TrimRight(load(f, dir, ext), "\x00"))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		last := int64(-1)
		gaps, err := ScanLog(b, func(at int64, r Record) error {
			if at <= last || int(at) >= len(b) {
				t.Errorf("record at %d after one at %d", at, last)
			}
			last = at
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		for _, g := range gaps {
			if g.From >= g.To || g.To > int64(len(b)) {
				t.Errorf("gap %v of %d bytes", g, len(b))
			}
		}
	})
}

func FuzzTable(f *testing.F) {
	dir, _ := store(f, 40, true)
	f.Add(load(f, dir, ".sst"))
	f.Fuzz(func(t *testing.T, b []byte) {
		blocks, err := ReadIndex(bytes.NewReader(b), int64(len(b)))
		if err == nil {
			for _, at := range blocks {
				if at.Offset < 0 || at.Len < 0 || at.Offset+at.Len > int64(len(b)) {
					t.Fatalf("block %v of %d bytes", at, len(b))
				}
				_ = ScanBlock(b[at.Offset:at.Offset+at.Len], func(Record) error { return nil })
			}
		}
		_ = ScanBlock(b, func(Record) error { return nil })
	})
}

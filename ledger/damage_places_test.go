package ledger

import (
	"encoding/binary"
	"testing"

	"sigillo/ledger/storefile"
)

// acknowledgedEnd is a byte of the last record of an acknowledged entry in the active write-ahead file.
func acknowledgedEnd(t *testing.T, dir string) (at int64, path string) {
	t.Helper()
	m, ok, err := readHeadFile(dir)
	if err != nil || !ok {
		t.Fatal("no HEAD", err)
	}
	path = storeFile(t, dir, ".mem", true)
	b, err := readData(path)
	must(t, err)
	_, err = storefile.ScanLog(b, func(off int64, r storefile.Record) error {
		if len(r.Key) == 9 && r.Key[0] == tableEntry && binary.BigEndian.Uint64(r.Key[1:]) < m.Size {
			at = off + 12 // the last one: a transaction's records stand in no order
		}
		return nil
	})
	if err != nil || at == 0 {
		t.Fatal("the newest acknowledged entry is not in the write-ahead file", err)
	}
	return at, path
}

// recordAt is a byte in the middle of the last record of a log that is wanted.
func recordAt(t *testing.T, path string, wanted func(storefile.Record) bool) int64 {
	t.Helper()
	b, err := readData(path)
	must(t, err)
	at := int64(0)
	_, err = storefile.ScanLog(b, func(off int64, r storefile.Record) error {
		if wanted(r) {
			at = off + 6 + int64(len(r.Key)+len(r.Value))/2
		}
		return nil
	})
	if err != nil || at == 0 {
		t.Fatal("no such record in", path, err)
	}
	return at
}

// runAt gives the entries of the run that recordAt finds.
func runAt(t *testing.T, path string, wanted func(storefile.Record) bool) (first, last uint64) {
	t.Helper()
	b, err := readData(path)
	must(t, err)
	_, err = storefile.ScanLog(b, func(_ int64, r storefile.Record) error {
		if n, ok := entryNumber(r.Key); ok && wanted(r) {
			if count, err := runLength(r.Value); err == nil {
				first, last = n+1-count, n
			}
		}
		return nil
	})
	must(t, err)
	return first, last
}

// entryRecord tells whether a record is that of a run of entries whose last lies between two numbers.
func entryRecord(first, end uint64) func(storefile.Record) bool {
	return func(r storefile.Record) bool {
		return len(r.Key) == 9 && r.Key[0] == tableEntry && binary.BigEndian.Uint64(r.Key[1:]) >= first && binary.BigEndian.Uint64(r.Key[1:]) < end
	}
}

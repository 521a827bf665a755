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

package ledger

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"
)

// Entries are stored in runs: what one batch appends, up to runEntries or runBytes, is one record under the
// number of its last entry, so that an entry is found by seeking its number. A run is a piece of a C2SP entry
// bundle: for each entry its length (uint16, big-endian) and its bytes. Views give entries one by one.
const (
	runEntries = 256
	runBytes   = 256 << 10
)

// entryRun gathers the runs of a batch.
type entryRun struct {
	full  []kv
	bytes []byte
	count int
	last  uint64
}

func (r *entryRun) add(n uint64, entry []byte) {
	if r.count == runEntries || r.count > 0 && len(r.bytes)+2+len(entry) > runBytes {
		r.cut()
	}
	r.bytes = append(binary.BigEndian.AppendUint16(r.bytes, uint16(len(entry))), entry...)
	r.count, r.last = r.count+1, n
}

func (r *entryRun) cut() {
	r.full = append(r.full, kv{entryKey(r.last), r.bytes})
	r.bytes, r.count = nil, 0
}

// records are what is stored of the runs.
func (r *entryRun) records() []kv {
	if r.count > 0 {
		r.cut()
	}
	return r.full
}

// errRun says that a run of entries is not one.
var errRun = errors.New("the run of entries is malformed")

// splitRun calls fn for the entries of a run that ends with entry last. Entries share memory with run.
func splitRun(last uint64, run []byte, fn func(n uint64, entry []byte) error) error {
	count, err := runLength(run)
	if err != nil || count == 0 || count-1 > last {
		return errRun
	}
	for n := last + 1 - count; len(run) > 0; n++ {
		size := int(binary.BigEndian.Uint16(run))
		if err := fn(n, run[2:2+size:2+size]); err != nil {
			return err
		}
		run = run[2+size:]
	}
	return nil
}

// runLength counts the entries of a run.
func runLength(run []byte) (count uint64, err error) {
	for ; len(run) > 0; count++ {
		if len(run) < 2 || len(run) < 2+int(binary.BigEndian.Uint16(run)) {
			return count, errRun
		}
		run = run[2+int(binary.BigEndian.Uint16(run)):]
	}
	return count, nil
}

// entryNumber tells whether a key is that of an entry, and of which.
func entryNumber(key []byte) (uint64, bool) {
	if len(key) != 9 || key[0] != tableEntry {
		return 0, false
	}
	return binary.BigEndian.Uint64(key[1:]), true
}

// entry finds one entry in its run.
func (v badgerView) entry(n uint64) (value []byte, err error) {
	err = v.db.View(func(txn *badger.Txn) error {
		value, err = entryAt(txn, n)
		return err
	})
	return value, err
}

func entryAt(txn *badger.Txn, n uint64) (value []byte, err error) {
	o := badger.DefaultIteratorOptions
	o.Prefix, o.PrefetchValues = []byte{tableEntry}, false
	it := txn.NewIterator(o)
	defer it.Close()
	if it.Seek(entryKey(n)); !it.Valid() {
		return nil, ErrNotFound
	}
	last, ok := entryNumber(it.Item().Key())
	if !ok {
		return nil, errRun
	}
	err = it.Item().Value(func(run []byte) error {
		return splitRun(last, run, func(k uint64, entry []byte) error {
			if k == n {
				value = append([]byte{}, entry...)
			}
			return nil
		})
	})
	if err == nil && value == nil {
		err = ErrNotFound
	}
	return value, err
}

// entries scans the entries one by one.
func (v badgerView) entries(ctx context.Context, prefix, from []byte, fn func(key, value []byte) error) error {
	first, whole := uint64(0), true
	if from != nil {
		if first, whole = entryNumber(from); !whole {
			return fmt.Errorf("entries are scanned from an entry on, not from %x", from)
		}
	}
	if len(prefix) != 1 {
		return fmt.Errorf("entries are scanned from a number on, not by prefix %x", prefix)
	}
	return v.records(ctx, prefix, from, func(item *badger.Item) error {
		last, ok := entryNumber(item.Key())
		if !ok {
			return errRun
		}
		run, err := item.ValueCopy(nil)
		if err == nil {
			err = splitRun(last, run, func(n uint64, entry []byte) error {
				if n < first {
					return nil
				}
				return fn(entryKey(n), entry)
			})
		}
		if err != nil && !errors.Is(err, errStop) {
			return fmt.Errorf("reading the run of entries up to %d: %w", last, err)
		}
		return err
	})
}

package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// Sizes of the store; ledger.md 1 says why each is what it is. The value threshold lies below the size
// of an entry, so that entries and sealed content stand in value logs, where a flipped byte costs the
// record that it hits and no other.
const (
	valueThreshold   = 256
	valueLogFileSize = 64 << 20
	memTableSize     = 16 << 20
	numMemtables     = 3
)

// storeOptions are the options of every opening of the store. A value whose checksum fails is logged and
// reads as empty (Badger gives no error): our own hashes refuse it like any other wrong value. Blocks are verified when they are read:
// verifying all tables at the opening costs more the longer the log is, and in this version of Badger
// a damaged block then ends the process in a goroutine of its own instead of giving an error.
func storeOptions(dir string, log *slog.Logger) badger.Options {
	return badger.DefaultOptions(dir).
		WithSyncWrites(true).
		WithValueThreshold(valueThreshold).
		WithValueLogFileSize(valueLogFileSize).
		WithMemTableSize(memTableSize).
		WithNumMemtables(numMemtables).
		WithDetectConflicts(false).
		WithVerifyValueChecksum(true).
		WithChecksumVerificationMode(options.OnBlockRead).
		WithBlockCacheSize(16 << 20).
		WithIndexCacheSize(32 << 20).
		WithCompression(options.None).
		WithMetricsEnabled(false).
		WithLogger(storeLogger{log})
}

// storeLogger routes Badger's own messages into slog; its chatter is debug.
type storeLogger struct{ log *slog.Logger }

func (l storeLogger) Errorf(f string, a ...any) { l.log.Error("store: " + fmt.Sprintf(f, a...)) }
func (l storeLogger) Warningf(f string, a ...any) {
	l.log.Warn("store: " + fmt.Sprintf(f, a...))
}
func (l storeLogger) Infof(f string, a ...any)  { l.log.Debug("store: " + fmt.Sprintf(f, a...)) }
func (l storeLogger) Debugf(f string, a ...any) { l.log.Debug("store: " + fmt.Sprintf(f, a...)) }

// badgerView is Badger as a View: entries one by one, although they are stored in runs, and what they
// enclose as records of its own.
type badgerView struct{ db *badger.DB }

func (v badgerView) Get(ctx context.Context, key []byte) (value []byte, err error) {
	defer recoverStore(&err)
	if n, ok := entryNumber(key); ok {
		return v.entry(n)
	}
	err = v.db.View(func(txn *badger.Txn) error {
		item, err := txn.Get(key)
		if errors.Is(err, badger.ErrKeyNotFound) && len(key) >= 17 && isEnclosed(key[0]) {
			value, err = v.enclosed(txn, key)
			return err
		}
		if err != nil {
			return err
		}
		value, err = item.ValueCopy(nil)
		return err
	})
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, ErrNotFound
	}
	return value, err
}

func (v badgerView) Scan(ctx context.Context, prefix, from []byte, fn func(key, value []byte) error) (err error) {
	defer recoverStore(&err)
	switch {
	case len(prefix) == 0:
	case prefix[0] == tableEntry:
		return v.entries(ctx, prefix, from, fn)
	case isEnclosed(prefix[0]):
		return v.sealed(ctx, prefix, from, fn)
	case prefix[0] == tableExchange:
		return v.keys(ctx, prefix, from, func(key []byte) error { return fn(key, nil) })
	}
	return v.records(ctx, prefix, from, func(item *badger.Item) error {
		key := item.KeyCopy(nil)
		value, err := item.ValueCopy(nil)
		if err != nil {
			return fmt.Errorf("reading key %x: %w", key, err)
		}
		return fn(key, value)
	})
}

// records calls fn for every record as it is stored.
func (v badgerView) records(ctx context.Context, prefix, from []byte, fn func(*badger.Item) error) error {
	return v.db.View(func(txn *badger.Txn) error {
		o := badger.DefaultIteratorOptions
		o.Prefix = prefix
		o.PrefetchSize = 64
		it := txn.NewIterator(o)
		defer it.Close()
		start := prefix
		if from != nil {
			start = from
		}
		for it.Seek(start); it.Valid(); it.Next() {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := fn(it.Item()); err != nil {
				return err
			}
		}
		return nil
	})
}

// keys calls fn for every key as it is stored, without reading a value.
func (v badgerView) keys(ctx context.Context, prefix, from []byte, fn func(key []byte) error) error {
	return v.db.View(func(txn *badger.Txn) error {
		o := badger.DefaultIteratorOptions
		o.Prefix, o.PrefetchValues = prefix, false
		it := txn.NewIterator(o)
		defer it.Close()
		start := prefix
		if from != nil {
			start = from
		}
		for it.Seek(start); it.Valid(); it.Next() {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := fn(it.Item().KeyCopy(nil)); err != nil {
				return err
			}
		}
		return nil
	})
}

// stands tells whether there is a record under key as it is.
func (v badgerView) stands(key []byte) (there bool, err error) {
	defer recoverStore(&err)
	err = v.db.View(func(txn *badger.Txn) error {
		_, err := txn.Get(key)
		return err
	})
	if errors.Is(err, badger.ErrKeyNotFound) {
		return false, nil
	}
	return err == nil, err
}

func (v badgerView) commit(writes []kv, deletes [][]byte) error { return write(v.db, writes, deletes) }

// recoverStore turns a panic of Badger over a damaged block into an error: what a file says is hostile.
func recoverStore(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("the store is damaged: %v", p)
	}
}

// write commits all of kvs in one transaction and syncs it.
func write(db *badger.DB, kvs []kv, deletes [][]byte) error {
	txn := db.NewTransaction(true)
	defer txn.Discard()
	for _, x := range kvs {
		if err := txn.Set(x.key, x.value); err != nil {
			return err
		}
	}
	for _, k := range deletes {
		if err := txn.Delete(k); err != nil {
			return err
		}
	}
	return txn.Commit()
}

// Head is the newest state of a log: what the next entry is joined to.
type Head struct {
	Size  uint64 `json:"size"`
	Last  Hash   `json:"last"` // SHA-256 of the newest entry
	Time  Time   `json:"time"` // of the newest entry
	Root  Hash   `json:"root"`
	Edge  []Hash `json:"edge"`  // roots of the tree's perfect subtrees, widest first
	Start uint64 `json:"start"` // size when the writing process started
	Open  uint64 `json:"open"`  // the oldest request whose exchange is open; size when none is
}

func readHead(ctx context.Context, v View) (Head, error) {
	var h Head
	b, err := v.Get(ctx, headKey())
	if err != nil {
		return h, fmt.Errorf("reading the head record: %w", err)
	}
	if err := json.Unmarshal(b, &h); err != nil {
		return h, fmt.Errorf("reading the head record: %w", err)
	}
	return h, nil
}

// readEntry reads and decodes entry n; it does not check its place in the chain.
func readEntry(ctx context.Context, v View, n uint64) (*Entry, error) {
	b, err := v.Get(ctx, entryKey(n))
	if err != nil {
		return nil, fmt.Errorf("reading entry %d: %w", n, err)
	}
	e, err := DecodeEntry(b)
	if err != nil {
		return nil, fmt.Errorf("entry %d: %w", n, err)
	}
	return e, nil
}

// ownState is the end of an own chain.
type ownState struct {
	K    uint64 `json:"k"` // of the next entry
	Hash Hash   `json:"hash"`
}

func readOwn(ctx context.Context, v View, p string) (ownState, error) {
	var s ownState
	b, err := v.Get(ctx, ownKey(p))
	if errors.Is(err, ErrNotFound) {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("reading own chain %s: %w", p, err)
	}
	return s, json.Unmarshal(b, &s)
}

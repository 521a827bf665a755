package ledger

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/dgraph-io/badger/v4"
)

// valueScanner is a View that can show values without copying them. Key and value are good until fn
// returns, and fn must not ask anything of the same store: it may hold the lock of a value log.
type valueScanner interface {
	scanValues(ctx context.Context, prefix, from []byte, fn func(key, value []byte) error) error
}

// scanValues is View.Scan by the cheapest way that v has.
func scanValues(ctx context.Context, v View, prefix, from []byte, fn func(key, value []byte) error) error {
	if s, ok := v.(valueScanner); ok {
		return s.scanValues(ctx, prefix, from, fn)
	}
	return v.Scan(ctx, prefix, from, fn)
}

// scanValues reads the values where they lie: Badger's prefetching starts a goroutine for each.
func (v badgerView) scanValues(ctx context.Context, prefix, from []byte, fn func(key, value []byte) error) (err error) {
	defer recoverStore(&err)
	first, _ := entryNumber(from)
	key := [9]byte{tableEntry}
	return v.db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
		defer it.Close()
		for it.Seek(from); it.Valid(); it.Next() {
			if err := ctx.Err(); err != nil {
				return err
			}
			item := it.Item()
			failed := true
			err := item.Value(func(value []byte) error {
				if last, ok := entryNumber(item.Key()); ok {
					return splitRun(last, value, func(n uint64, entry []byte) error {
						failed = false
						if n < first {
							return nil
						}
						binary.BigEndian.PutUint64(key[1:], n)
						return fn(key[:], entry)
					})
				}
				failed = false
				return fn(item.Key(), value)
			})
			if err != nil && failed {
				return fmt.Errorf("reading key %x: %w", item.Key(), err)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// numberOf is the number that a key of a numbered table ends in.
func numberOf(key []byte) uint64 { return binary.BigEndian.Uint64(key[1:]) }

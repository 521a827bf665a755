package ledger

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sort"

	"github.com/dgraph-io/badger/v4"
	"github.com/google/uuid"
)

// What an entry of an exchange brings with it — small messages sealed, their keys, the sealed business keys,
// the basis of its receipt — is one record beside it, under the exchange's id and the entry's number: its
// enclosures. Badger takes as long for a key as for two KiB of value, so that this halves the work of an
// append. Each enclosure is table (one byte), length of the key's rest (one byte), length of the value (uint32),
// the key's rest, which follows the exchange's id, and the value.
//
// Views give enclosures as records of their own tables. A record that stands in its table comes first: a
// key that was wrapped anew, a receipt that was signed. The record stays when its enclosures are dropped,
// for it is also by what the entries of an exchange are found.

// enclosureHead is how many bytes stand before the rest of an enclosure's key.
const enclosureHead = 1 + 1 + 4

// errEnclosures says that a record of enclosures is not one.
var errEnclosures = errors.New("the entry's enclosures are malformed")

// isEnclosed tells whether records of a table may be enclosures.
func isEnclosed(table byte) bool {
	return table == tableChunk || table == tableMessageKey || table == tableTerms || table == tableReceipt
}

// beginEnclosure appends what stands before a value of the given size; the value follows. key is that of the
// record, whose rest has at most 255 bytes.
func beginEnclosure(b, key []byte, size int) []byte {
	rest := key[1+len(uuid.UUID{}):]
	b = binary.BigEndian.AppendUint32(append(b, key[0], byte(len(rest))), uint32(size))
	return append(b, rest...)
}

func enclose(b []byte, r kv) []byte {
	return append(beginEnclosure(b, r.key, len(r.value)), r.value...)
}

// enclosures calls fn for each enclosure of a record. What fn gets shares memory with b.
func enclosures(b []byte, fn func(table byte, rest, value []byte) error) error {
	for len(b) > 0 {
		if len(b) < enclosureHead {
			return errEnclosures
		}
		rest, size := int(b[1]), uint64(binary.BigEndian.Uint32(b[2:]))
		if !isEnclosed(b[0]) || uint64(len(b)-enclosureHead) < uint64(rest)+size {
			return errEnclosures
		}
		end := enclosureHead + rest + int(size)
		if err := fn(b[0], b[enclosureHead:enclosureHead+rest:enclosureHead+rest], b[enclosureHead+rest:end:end]); err != nil {
			return err
		}
		b = b[end:]
	}
	return nil
}

// enclosedIn finds the enclosure that is the record under key; nil when there is none.
func enclosedIn(b, key []byte) (value []byte, err error) {
	err = enclosures(b, func(table byte, rest, v []byte) error {
		if table == key[0] && bytes.Equal(rest, key[17:]) {
			value = v
		}
		return nil
	})
	return value, err
}

// enclosed looks for the record under key among what the entries of its exchange enclose: ErrNotFound.
func (v badgerView) enclosed(txn *badger.Txn, key []byte) (value []byte, err error) {
	o := badger.DefaultIteratorOptions
	o.Prefix, o.PrefetchValues = exchangePrefix(key), false
	it := txn.NewIterator(o)
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		err := it.Item().Value(func(b []byte) error {
			found, err := enclosedIn(b, key)
			if found != nil {
				value = append([]byte{}, found...)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	if value == nil {
		return nil, ErrNotFound
	}
	return value, nil
}

// exchangePrefix is where the enclosures of the exchange of key stand, or of all that begin like it.
func exchangePrefix(key []byte) []byte {
	return append([]byte{tableExchange}, key[1:min(17, len(key))]...)
}

// sealed scans a table whose records may be enclosures.
func (v badgerView) sealed(ctx context.Context, prefix, from []byte, fn func(key, value []byte) error) error {
	start := prefix
	if from != nil {
		start = from
	}
	return v.db.View(func(txn *badger.Txn) error {
		o := badger.DefaultIteratorOptions
		o.Prefix, o.PrefetchValues = exchangePrefix(prefix), false
		e := enclosedRecords{it: txn.NewIterator(o), table: prefix[0], within: prefix, start: start}
		defer e.it.Close()
		e.it.Seek(exchangePrefix(start))
		o.Prefix = prefix
		it := txn.NewIterator(o)
		defer it.Close()
		it.Seek(start)
		for {
			if err := ctx.Err(); err != nil {
				return err
			}
			enclosed, err := e.peek()
			if err != nil {
				return err
			}
			own := it.Valid()
			if !own && enclosed == nil {
				return nil
			}
			order := -1 // which comes first
			if !own {
				order = 1
			} else if enclosed != nil {
				order = bytes.Compare(it.Item().Key(), enclosed.key)
			}
			if order >= 0 {
				e.queue = e.queue[1:]
			}
			if order > 0 {
				if err := fn(enclosed.key, enclosed.value); err != nil {
					return err
				}
				continue
			}
			key := it.Item().KeyCopy(nil)
			value, err := it.Item().ValueCopy(nil)
			if err != nil {
				return fmt.Errorf("reading key %x: %w", key, err)
			}
			it.Next()
			if err := fn(key, value); err != nil {
				return err
			}
		}
	})
}

// enclosedRecords gives the enclosures of one table in the order of their keys.
type enclosedRecords struct {
	it     *badger.Iterator
	table  byte
	within []byte // what the keys begin with
	start  []byte // the lowest key
	queue  []kv   // of one exchange
}

// peek gives the next record, nil after the last one.
func (e *enclosedRecords) peek() (*kv, error) {
	for len(e.queue) == 0 && e.it.Valid() {
		x := e.it.Item().KeyCopy(nil)
		if len(x) != 25 {
			return nil, fmt.Errorf("key %x of the exchange index is malformed", x)
		}
		byKey := map[string][]byte{} // the newest entry's is the one
		for ; e.it.Valid() && bytes.HasPrefix(e.it.Item().Key(), x[:17]); e.it.Next() {
			err := e.it.Item().Value(func(b []byte) error {
				return enclosures(b, func(table byte, rest, value []byte) error {
					if table == e.table {
						byKey[string(rest)] = bytes.Clone(value)
					}
					return nil
				})
			})
			if err != nil {
				return nil, fmt.Errorf("reading key %x: %w", e.it.Item().Key(), err)
			}
		}
		x[0] = e.table
		for rest, value := range byKey {
			key := append(bytes.Clone(x[:17]), rest...)
			if bytes.HasPrefix(key, e.within) && bytes.Compare(key, e.start) >= 0 {
				e.queue = append(e.queue, kv{key, value})
			}
		}
		sort.Slice(e.queue, func(i, j int) bool { return bytes.Compare(e.queue[i].key, e.queue[j].key) < 0 })
	}
	if len(e.queue) == 0 {
		return nil, nil
	}
	return &e.queue[0], nil
}

// enclosureDrop takes enclosures out of their records, for one transaction.
type enclosureDrop struct {
	db      *badger.DB
	changed map[string][]byte // records of tableExchange as they will be
	size    int               // of them, in bytes
}

// drop takes the enclosures of an exchange away that which chooses.
func (d *enclosureDrop) drop(ctx context.Context, x uuid.UUID, which func(table byte, rest []byte) bool) error {
	return badgerView{d.db}.records(ctx, exchangeTableKey(tableExchange, x), nil, func(item *badger.Item) error {
		key := item.KeyCopy(nil)
		now, ok := d.changed[string(key)]
		if !ok {
			var err error
			if now, err = item.ValueCopy(nil); err != nil {
				return fmt.Errorf("reading key %x: %w", key, err)
			}
		}
		left := make([]byte, 0, len(now))
		err := enclosures(now, func(table byte, rest, value []byte) error {
			if !which(table, rest) {
				left = append(append(binary.BigEndian.AppendUint32(append(left, table, byte(len(rest))), uint32(len(value))), rest...), value...)
			}
			return nil
		})
		if err != nil || len(left) == len(now) {
			return err
		}
		if d.changed == nil {
			d.changed = map[string][]byte{}
		}
		d.changed[string(key)] = left
		d.size += len(left)
		return nil
	})
}

// writes are the changed records, and begins anew.
func (d *enclosureDrop) writes() []kv {
	var all []kv
	for key, value := range d.changed {
		all = append(all, kv{[]byte(key), value})
	}
	d.changed, d.size = nil, 0
	return all
}

// ofMessage chooses what is enclosed of message i: its key and its content.
func ofMessage(i int) func(table byte, rest []byte) bool {
	return func(table byte, rest []byte) bool {
		return table == tableMessageKey && bytes.Equal(rest, messageKeyKey(uuid.Nil, i)[17:]) ||
			table == tableChunk && len(rest) == 8 && binary.BigEndian.Uint32(rest)/2 == uint32(i)
	}
}

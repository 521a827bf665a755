package ledger

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"
	"github.com/google/uuid"

	"sigillo/internal/exchange"
)

// RebuildReport says what 'sigillo index rebuild' wrote.
type RebuildReport struct {
	Entries uint64 `json:"entries"`
	Terms   uint64 `json:"terms"`  // records of the index
	Closed  uint64 `json:"closed"` // entries whose business keys cannot be opened: erased, disposed of, or without the right to
}

// RebuildIndex deletes the index and makes it anew from the entries and from the sealed business keys,
// which keys must be able to open. Nothing else may write meanwhile: it is for a ledger that this process
// holds and that serves nobody. After an interruption it has to be run again.
func (l *Ledger) RebuildIndex(ctx context.Context, keys ClassKeys, progress func(done, total uint64)) (RebuildReport, error) {
	var r RebuildReport
	log, err := l.Log(ctx)
	if err != nil {
		return r, err
	}
	for _, table := range []byte{tableOwnIndex, tableTerm, tableKeyed} {
		if err := deletePrefix(ctx, l.db, []byte{table}); err != nil {
			return r, fmt.Errorf("deleting the index: %w", err)
		}
	}
	b := &rebuilder{log: log, keys: keys, opener: newOpener(log.View, keys), index: map[string]*indexKey{}, report: &r,
		flush: func(kvs []kv) error { return write(l.db, kvs, nil) }, stands: badgerView{l.db}.stands}
	if err := b.strangers(ctx, l.db); err != nil {
		return r, err
	}
	// Entries that this process appends itself, a time stamp say, bring their own index.
	for n := uint64(0); n < log.Head.Size; {
		err := log.Scan(ctx, []byte{tableEntry}, entryKey(n), func(key, value []byte) error {
			if n == log.Head.Size || !bytes.Equal(key, entryKey(n)) {
				return errStop
			}
			if err := b.entry(ctx, n, value); err != nil {
				return fmt.Errorf("entry %d: %w", n, err)
			}
			n++
			if progress != nil && n%256 == 0 {
				progress(n, log.Head.Size)
			}
			return nil
		})
		if err != nil && !errors.Is(err, errStop) {
			return r, err
		}
		if n < log.Head.Size {
			return r, fmt.Errorf("entry %d: %w", n, ErrNotFound)
		}
	}
	r.Entries = log.Head.Size
	return r, b.end()
}

// rebuilder writes the index of one entry after the other.
type rebuilder struct {
	log    *Log
	keys   ClassKeys
	opener *opener
	index  map[string]*indexKey // by class key name
	flush  func([]kv) error
	stands func(key []byte) (bool, error) // whether there is a record under a key as it is
	out    []kv
	runs   indexWrites
	report *RebuildReport
}

func (b *rebuilder) entry(ctx context.Context, n uint64, value []byte) error {
	e, err := DecodeEntry(value)
	if err != nil {
		return err
	}
	b.runs.own(e.Own.P, e.Own.K, n)
	if e.Exchange != "" {
		x, err := uuid.Parse(string(e.Exchange))
		if err != nil {
			return err
		}
		if there, err := b.stands(exchangeIndexKey(x, n)); err != nil {
			return err
		} else if !there {
			b.out = append(b.out, kv{exchangeIndexKey(x, n), nil})
		}
		terms, err := b.terms(ctx, x, e)
		if err != nil {
			return err
		}
		b.runs.terms(terms, n)
	}
	if n%batchItems != batchItems-1 {
		return nil
	}
	return b.end()
}

// strangers deletes from the index of exchanges what names an entry of another one and encloses nothing.
func (b *rebuilder) strangers(ctx context.Context, db *badger.DB) error {
	var drop [][]byte
	err := badgerView{db}.records(ctx, []byte{tableExchange}, nil, func(item *badger.Item) error {
		key := item.KeyCopy(nil)
		if len(key) == 25 {
			if item.ValueSize() > 0 || exchangeEntry(key) >= b.log.Head.Size {
				return nil
			}
			if e, err := readEntry(ctx, b.log, exchangeEntry(key)); err == nil && string(e.Exchange) == uuid.UUID(key[1:17]).String() {
				return nil
			}
		}
		drop = append(drop, key)
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading the index of exchanges: %w", err)
	}
	for len(drop) > 0 {
		n := min(len(drop), 2*rewrapBatch)
		if err := write(db, nil, drop[:n]); err != nil {
			return fmt.Errorf("deleting from the index of exchanges: %w", err)
		}
		drop = drop[n:]
	}
	return nil
}

func (b *rebuilder) end() error {
	b.out = append(b.out, b.runs.records()...)
	b.report.Terms += uint64(len(b.out))
	err := b.flush(b.out)
	b.out, b.runs = nil, indexWrites{}
	if err != nil {
		return fmt.Errorf("writing the index: %w", err)
	}
	return nil
}

// terms are the index prefixes of an entry.
func (b *rebuilder) terms(ctx context.Context, x uuid.UUID, e *Entry) ([][]byte, error) {
	switch e.Kind {
	case exchange.KindRequest, exchange.KindResponse, exchange.KindRefusal, exchange.KindFailure, exchange.KindUndelivered:
	case KindDisposal:
		return [][]byte{plainTerm(termDisposal, classMonthID{e.Disposal.Class, e.Disposal.Month}.String())}, nil
	default:
		return nil, nil
	}
	principal, _, _ := cutOwn(e.Own.P)
	terms := plainTerms(e.Tail, principal)
	sealed, err := b.log.Get(ctx, termsKey(x, e.Kind))
	if errors.Is(err, ErrNotFound) {
		return terms, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading sealed index terms: %w", err)
	}
	keys, err := openTerms(ctx, b.opener, b.log.Origin(), x, e.Kind, sealed)
	if errors.Is(err, ErrDestroyed) || errors.Is(err, ErrNoKey) {
		b.report.Closed++
		return terms, nil
	}
	if err != nil {
		return nil, err
	}
	index, err := b.indexKey(ctx, classKeyID(sealed[1:17]))
	if err != nil {
		return nil, err
	}
	return append(terms, keyTerms(index, keys)...), nil
}

// indexKey is that of the class-month and generation whose data key sealed the terms.
func (b *rebuilder) indexKey(ctx context.Context, id classKeyID) (*indexKey, error) {
	v, err := b.log.Get(ctx, classKeyKey(id))
	if err != nil {
		return nil, fmt.Errorf("reading data key %x: %w", id, err)
	}
	var rec classKeyRecord
	if err := json.Unmarshal(v, &rec); err != nil {
		return nil, fmt.Errorf("reading data key %x: %w", id, err)
	}
	if k := b.index[rec.Name]; k != nil {
		return k, nil
	}
	key, err := b.keys.MAC(ctx, rec.Name, []byte(indexLabel))
	if err != nil {
		return nil, fmt.Errorf("asking the index key of class key %s: %w", rec.Name, err)
	}
	b.index[rec.Name] = newIndexKey(rec.Name, key)
	return b.index[rec.Name], nil
}

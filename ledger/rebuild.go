package ledger

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

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
	for _, table := range []byte{tableExchange, tableOwnIndex, tableTerm, tableKeyed} {
		if err := deletePrefix(ctx, l.db, []byte{table}); err != nil {
			return r, fmt.Errorf("deleting the index: %w", err)
		}
	}
	b := &rebuilder{log: log, keys: keys, opener: newOpener(log.View, keys), index: map[string][32]byte{}, report: &r,
		flush: func(kvs []kv) error { return write(l.db, kvs, nil) }}
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
	index  map[string][32]byte // index key by class key name
	flush  func([]kv) error
	out    []kv
	report *RebuildReport
}

func (b *rebuilder) entry(ctx context.Context, n uint64, value []byte) error {
	e, err := DecodeEntry(value)
	if err != nil {
		return err
	}
	b.out = append(b.out, kv{ownIndexKey(e.Own.P, e.Own.K), numberKey(0, n)[1:]})
	if e.Exchange != "" {
		x, err := uuid.Parse(string(e.Exchange))
		if err != nil {
			return err
		}
		b.out = append(b.out, kv{exchangeIndexKey(x, n), nil})
		terms, err := b.terms(ctx, x, e)
		if err != nil {
			return err
		}
		for _, t := range terms {
			b.out = append(b.out, kv{append(t, entryKey(n)[1:]...), x[:]})
		}
	}
	if len(b.out) < 4*rewrapBatch {
		return nil
	}
	return b.end()
}

func (b *rebuilder) end() error {
	if len(b.out) == 0 {
		return nil
	}
	b.report.Terms += uint64(len(b.out))
	err := b.flush(b.out)
	b.out = nil
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
	name, index, err := b.indexKey(ctx, classKeyID(sealed[1:17]))
	if err != nil {
		return nil, err
	}
	return append(terms, keyTerms(name, index, keys)...), nil
}

// indexKey is that of the class-month and generation whose data key sealed the terms.
func (b *rebuilder) indexKey(ctx context.Context, id classKeyID) (name string, key [32]byte, err error) {
	v, err := b.log.Get(ctx, classKeyKey(id))
	if err != nil {
		return "", key, fmt.Errorf("reading data key %x: %w", id, err)
	}
	var rec classKeyRecord
	if err := json.Unmarshal(v, &rec); err != nil {
		return "", key, fmt.Errorf("reading data key %x: %w", id, err)
	}
	if k, ok := b.index[rec.Name]; ok {
		return rec.Name, k, nil
	}
	if key, err = b.keys.MAC(ctx, rec.Name, []byte(indexLabel)); err != nil {
		return "", key, fmt.Errorf("asking the index key of class key %s: %w", rec.Name, err)
	}
	b.index[rec.Name] = key
	return rec.Name, key, nil
}

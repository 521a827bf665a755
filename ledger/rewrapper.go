package ledger

import (
	"context"
	"encoding/binary"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/google/uuid"

	"sigillo/internal/exchange"
)

// rewrapper wraps the records of one class-month anew.
type rewrapper struct {
	e      *Eraser
	s      erasureState
	old    monthKeys
	opener *opener

	content, receipts *classKey
	index             *indexKey
	done              atomic.Uint64
	total             uint64
}

// scan finds the records of old generations that have to stay; pending are receipts that have to be signed first.
func (w *rewrapper) scan(ctx context.Context, found func(kv) error) (left, pending uint64, err error) {
	for _, table := range []byte{tableMessageKey, tableReceipt, tableTerms} {
		err := w.e.Log.Scan(ctx, []byte{table}, nil, func(key, value []byte) error {
			p, ok := placeOf(key)
			if !ok {
				return fmt.Errorf("table %q: a key of %d bytes", table, len(key))
			}
			id, ok := p.wrappedBy(value)
			if !ok {
				return fmt.Errorf("table %q: a record of %d bytes", table, len(value))
			}
			if _, old := w.old.ids[id]; !old {
				return nil
			}
			if table == tableReceipt && value[0] == receiptPending {
				pending++
				return nil
			}
			if w.s.leftOut(table, p) {
				return nil
			}
			left++
			if found != nil {
				return found(kv{key, value})
			}
			return nil
		})
		if err != nil {
			return left, pending, fmt.Errorf("looking for records of old generations: %w", err)
		}
	}
	return left, pending, nil
}

// pass wraps everything anew that one scan finds, in batches, on all processors.
func (w *rewrapper) pass(ctx context.Context) (err error) {
	if err := w.newKeys(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	batches := make(chan []kv)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for b := range batches {
				if err := w.batch(ctx, b); err != nil {
					cancel(err)
				}
			}
		})
	}
	var b []kv
	size := 0
	send := func() error {
		select {
		case batches <- b:
			b, size = nil, 0
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	_, _, err = w.scan(ctx, func(r kv) error {
		b, size = append(b, r), size+len(r.value)
		if len(b) < rewrapBatch && size < rewrapBytes {
			return nil
		}
		return send()
	})
	if err == nil && len(b) > 0 {
		err = send()
	}
	close(batches)
	workers.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// newKeys asks data keys under the new generation, once: they are this process's, so that the holder
// cannot open what it stores.
func (w *rewrapper) newKeys(ctx context.Context) error {
	if w.content != nil {
		return nil
	}
	name := func(p classPurpose) string {
		return classKeyName(w.e.Log.Origin(), w.s.Class, w.s.Month, p, w.s.Generation)
	}
	content, r1, err := newDataKey(ctx, w.e.Keys, name(forContent))
	if err != nil {
		return err
	}
	receipts, r2, err := newDataKey(ctx, w.e.Keys, name(forReceipts))
	if err != nil {
		return err
	}
	key, err := w.e.Keys.MAC(ctx, name(forContent), []byte(indexLabel))
	if err != nil {
		return fmt.Errorf("asking the index key of class key %s: %w", name(forContent), err)
	}
	if err := w.e.Holder.storeRewrapped(ctx, w.s.id(), []kv{r1, r2}); err != nil {
		return fmt.Errorf("storing data keys of the new generation: %w", err)
	}
	w.content, w.receipts, w.index = content, receipts, newIndexKey(name(forContent), key)
	return nil
}

// batch wraps some records anew and has them stored.
func (w *rewrapper) batch(ctx context.Context, records []kv) error {
	if err := w.e.at("batch"); err != nil {
		return err
	}
	out := make([]kv, 0, len(records))
	for _, r := range records {
		p, _ := placeOf(r.key) // scan has read it
		var value []byte
		var err error
		switch r.key[0] {
		case tableMessageKey:
			value, err = wrapAnew(ctx, w.opener, p.x, p.i, r.value, w.content)
		case tableReceipt:
			if value, err = receiptPlace.wrapAnew(ctx, w.opener, p.x, r.value[1:], w.receipts); err == nil {
				value = append([]byte{r.value[0]}, value...)
			}
		case tableTerms:
			value, err = termsPlace(p.kind).wrapAnew(ctx, w.opener, p.x, r.value, w.content)
			if err == nil {
				out, err = w.terms(ctx, p, r.value, out)
			}
		}
		if err != nil {
			return err
		}
		if out = append(out, kv{r.key, value}); len(out) >= 4*rewrapBatch {
			if err := w.e.Holder.storeRewrapped(ctx, w.s.id(), out); err != nil {
				return fmt.Errorf("storing records of the new generation: %w", err)
			}
			out = nil
		}
	}
	if err := w.e.Holder.storeRewrapped(ctx, w.s.id(), out); err != nil {
		return fmt.Errorf("storing records of the new generation: %w", err)
	}
	done := w.done.Add(uint64(len(records)))
	if w.e.Progress != nil {
		w.e.Progress(done, w.total)
	}
	return nil
}

// terms adds the keyed index of one entry under the new generation's key.
func (w *rewrapper) terms(ctx context.Context, p sealedPlace, sealed []byte, out []kv) ([]kv, error) {
	keys, err := openTerms(ctx, w.opener, w.e.Log.Origin(), p.x, p.kind, sealed)
	if err != nil {
		return out, err
	}
	n, ok, err := entryOf(ctx, w.e.Log, p.x, p.kind)
	if err != nil || !ok {
		return out, err
	}
	for _, t := range keyTerms(w.index, keys) {
		if t[0] == tableKeyed {
			out = append(out, kv{append(t, entryKey(n)[1:]...), nil})
		}
	}
	return out, nil
}

// entryOf finds the entry of an exchange that is of a kind.
func entryOf(ctx context.Context, v View, x uuid.UUID, kind exchange.Kind) (n uint64, ok bool, err error) {
	var ns []uint64
	err = v.Scan(ctx, exchangeTableKey(tableExchange, x), nil, func(key, _ []byte) error {
		ns = append(ns, binary.BigEndian.Uint64(key[17:]))
		return nil
	})
	if err != nil {
		return 0, false, err
	}
	for _, n := range ns {
		b, err := v.Get(ctx, entryKey(n))
		if err != nil {
			return 0, false, fmt.Errorf("reading entry %d: %w", n, err)
		}
		if entryKind(b) == kind {
			return n, true, nil
		}
	}
	return 0, false, nil
}

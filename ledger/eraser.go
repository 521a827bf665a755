package ledger

import (
	"context"
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"sigillo/internal/exchange"
)

// DestroyableKeys are class keys in the hands of somebody who may destroy them: an archivist.
type DestroyableKeys interface {
	ClassKeys
	// DeleteClassKey destroys a class key; of one that is gone the error is Destroyed.
	DeleteClassKey(ctx context.Context, name string) error
}

// Holder is the process that holds the ledger and writes to it: this one (*Ledger), or a running instance
// behind its socket (*Remote). It writes entries and checks every record that it is given; it cannot
// decrypt, and it drops nothing before it has seen for itself that the keys are gone.
type Holder interface {
	beginErasure(ctx context.Context, q ErasureRequest) (erasureState, error)
	storeRewrapped(ctx context.Context, id classMonthID, records []kv) error
	endErasure(ctx context.Context, id classMonthID) error
	beginDisposal(ctx context.Context, q DisposalRequest) error
	endDisposal(ctx context.Context, id classMonthID) error
}

// Eraser makes content unreadable for good: with rights to decrypt and to destroy keys, beside a Holder.
// What was begun and not ended, by a kill say, is ended by the next call.
type Eraser struct {
	Log    *Log
	Holder Holder
	Keys   DestroyableKeys
	// Progress, when set, is told how many records were wrapped anew, of how many.
	Progress func(done, total uint64)

	step func(name string) error // a test stops here
}

// ErasureReport says what an erasure did.
type ErasureReport struct {
	Entry      uint64      `json:"entry"` // of the erasure
	Exchange   exchange.ID `json:"exchange"`
	Messages   []int       `json:"messages"`
	Class      string      `json:"class"`
	Month      string      `json:"month"`
	Generation int         `json:"generation"` // of the class keys from now on
	Rewrapped  uint64      `json:"rewrapped"`  // records that stay readable: keys of messages, receipts, index terms
	Destroyed  []string    `json:"destroyed"`  // transit keys
	At         time.Time   `json:"at"`
}

// Erase erases messages of one exchange, after what an earlier call has left unfinished. The reports are
// of all that was ended; the last is that of q.
func (e *Eraser) Erase(ctx context.Context, q ErasureRequest) ([]ErasureReport, error) {
	reports, err := e.Resume(ctx)
	if err != nil {
		return reports, err
	}
	for _, r := range reports {
		if r.Exchange == q.Exchange && (len(q.Messages) == 0 || slices.Equal(r.Messages, q.Messages)) {
			return append(slices.DeleteFunc(reports, func(x ErasureReport) bool { return x.Entry == r.Entry }), r), nil
		}
	}
	s, err := e.Holder.beginErasure(ctx, q)
	if err != nil {
		return reports, err
	}
	r, err := e.finish(ctx, s)
	if err != nil {
		return reports, err
	}
	return append(reports, r), nil
}

// Resume ends the erasures that have begun.
func (e *Eraser) Resume(ctx context.Context) ([]ErasureReport, error) {
	var begun []erasureState
	unfinished, err := e.Log.Unfinished(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range unfinished {
		class, month, _ := cutOwn(name)
		// a disposal under way is not ours
		if s, ok, err := erasureUnderWay(ctx, e.Log, classMonthID{class, month}); err != nil {
			return nil, err
		} else if ok {
			begun = append(begun, s)
		}
	}
	var reports []ErasureReport
	for _, s := range begun {
		r, err := e.finish(ctx, s)
		if err != nil {
			return reports, err
		}
		reports = append(reports, r)
	}
	return reports, nil
}

func (e *Eraser) at(name string) error {
	if e.step == nil {
		return nil
	}
	return e.step(name)
}

// finish does steps 2 and 3 of an erasure, from wherever it stands.
func (e *Eraser) finish(ctx context.Context, s erasureState) (ErasureReport, error) {
	r := ErasureReport{Exchange: s.Exchange, Messages: s.Messages, Class: s.Class, Month: s.Month, Generation: s.Generation}
	by, err := e.Log.ErasedBy(ctx, s.Exchange, s.Messages[0])
	if err != nil {
		return r, err
	}
	if by == nil {
		return r, fmt.Errorf("class-month %s: an erasure is under way that no entry states", s.id())
	}
	r.Entry = by.Entry
	if err := e.at("begun"); err != nil {
		return r, err
	}
	if r.Rewrapped, err = e.wrapAll(ctx, s); err != nil {
		return r, err
	}
	if err := e.at("wrapped"); err != nil {
		return r, err
	}
	keys, err := readMonthKeys(ctx, e.Log, s.id())
	if err != nil {
		return r, err
	}
	if r.Destroyed, err = e.destroy(ctx, keys.before(s.Generation)); err != nil {
		return r, err
	}
	r.At = time.Now().UTC()
	if err := e.at("destroyed"); err != nil {
		return r, err
	}
	return r, e.Holder.endErasure(ctx, s.id())
}

// destroy destroys transit keys, those of receipts first; one that is gone already is as well.
func (e *Eraser) destroy(ctx context.Context, keys monthKeys) ([]string, error) {
	var names []string
	for name := range keys.names {
		names = append(names, name)
	}
	slices.Sort(names)
	slices.Reverse(names)
	for _, name := range names {
		if err := e.Keys.DeleteClassKey(ctx, name); err != nil && !e.Keys.Destroyed(err) {
			return nil, fmt.Errorf("destroying class key %s: %w", name, err)
		}
		if err := e.at("destroying"); err != nil {
			return nil, err
		}
	}
	return names, nil
}

// Waiting for receipts of the old generation that are not signed yet.
const (
	receiptsPoll = 200 * time.Millisecond
	receiptsWait = time.Minute
)

// wrapAll wraps everything anew that has to stay, until a whole scan finds nothing more.
func (e *Eraser) wrapAll(ctx context.Context, s erasureState) (uint64, error) {
	keys, err := readMonthKeys(ctx, e.Log, s.id())
	if err != nil {
		return 0, err
	}
	w := &rewrapper{e: e, s: s, old: keys.before(s.Generation), opener: newOpener(e.Log.View, e.Keys)}
	deadline := time.Now().Add(receiptsWait)
	for {
		left, pending, err := w.scan(ctx, nil)
		if err != nil {
			return 0, err
		}
		switch {
		case left > 0:
			w.total = w.done.Load() + left
			if err := w.pass(ctx); err != nil {
				return 0, err
			}
		case pending == 0:
			return w.done.Load(), nil
		case time.Now().After(deadline):
			return 0, fmt.Errorf("%d receipts of the class-month are not signed yet: erase again when they are", pending)
		default:
			t := time.NewTimer(receiptsPoll)
			select {
			case <-t.C:
			case <-ctx.Done():
				t.Stop()
				return 0, ctx.Err()
			}
		}
	}
}

// rewrapper wraps the records of one class-month anew.
type rewrapper struct {
	e      *Eraser
	s      erasureState
	old    monthKeys
	opener *opener

	content, receipts *classKey
	index             [32]byte
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
	if w.index, err = w.e.Keys.MAC(ctx, name(forContent), []byte(indexLabel)); err != nil {
		return fmt.Errorf("asking the index key of class key %s: %w", name(forContent), err)
	}
	if err := w.e.Holder.storeRewrapped(ctx, w.s.id(), []kv{r1, r2}); err != nil {
		return fmt.Errorf("storing data keys of the new generation: %w", err)
	}
	w.content, w.receipts = content, receipts
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
	name := classKeyName(w.e.Log.Origin(), w.s.Class, w.s.Month, forContent, w.s.Generation)
	for _, t := range keyTerms(name, w.index, keys) {
		if t[0] == tableKeyed {
			out = append(out, kv{append(t, entryKey(n)[1:]...), p.x[:]})
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

package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	if err := e.mayErase(ctx, q.Exchange); err != nil {
		return reports, err
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

// mayErase makes sure that our rights reach: nothing should begin that somebody else has to end.
func (e *Eraser) mayErase(ctx context.Context, id exchange.ID) error {
	x, err := uuid.Parse(string(id))
	if err != nil {
		return fmt.Errorf("exchange id %q is no UUID", id)
	}
	month, err := classMonthOf(ctx, e.Log, x, 0)
	if errors.Is(err, ErrNotFound) {
		return nil // erased or not there: the holder says which
	}
	if err != nil {
		return err
	}
	return e.tryRights(ctx, month)
}

// tryRights opens one data key of a class-month and asks another: what only an archivist may.
func (e *Eraser) tryRights(ctx context.Context, id classMonthID) error {
	keys, err := readMonthKeys(ctx, e.Log, id)
	if err != nil {
		return err
	}
	o := newOpener(e.Log.View, e.Keys)
	for key, p := range keys.ids {
		if p.purpose != forContent {
			continue
		}
		if _, err := o.key(ctx, key); errors.Is(err, ErrDestroyed) {
			continue
		} else if err != nil {
			return fmt.Errorf("the rights of an archivist are needed: %w", err)
		}
		name := classKeyName(e.Log.Origin(), id.class, id.month, forContent, p.generation)
		if _, _, err := e.Keys.DataKey(ctx, name); err != nil {
			return fmt.Errorf("the rights of an archivist are needed: %w", err)
		}
		return nil
	}
	return nil
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

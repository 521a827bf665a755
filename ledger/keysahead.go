package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// A new month needs Vault. So that an outage over midnight stops nobody, next month's keys are made on the
// last day of this one (UTC).
const keysAheadEvery = 10 * time.Minute

// keysAheadLoop makes them, and tries again while that fails.
func (l *Ledger) keysAheadLoop(ctx context.Context) {
	failing := false
	for {
		err := l.keysAhead(ctx, l.clock())
		if err != nil && ctx.Err() == nil && !failing {
			l.log.Warn("next month's class keys cannot be made; they are asked for again until midnight", "error", err.Error())
		}
		failing = err != nil
		t := time.NewTimer(keysAheadEvery)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
	}
}

// keysAhead makes the keys of the day after now, when that is of another month, for the configured classes
// and for those that have keys this month.
func (l *Ledger) keysAhead(ctx context.Context, now time.Time) error {
	next := classMonth(now.UTC().AddDate(0, 0, 1))
	if next == classMonth(now) {
		return nil
	}
	classes := slices.Clone(l.opts.Classes)
	for _, id := range l.ring.monthsInUse() {
		if id.month == classMonth(now) {
			classes = append(classes, id.class)
		}
	}
	slices.Sort(classes)
	var errs error
	for _, class := range slices.Compact(classes) {
		errs = errors.Join(errs, l.keysOf(ctx, class, next))
	}
	return errs
}

// keysOf makes all keys that a class-month needs to be sealed in without Vault.
func (l *Ledger) keysOf(ctx context.Context, class, month string) error {
	defer l.ring.enter(class, month)()
	_, err := l.ring.key(ctx, class, month, forContent)
	if err == nil {
		_, err = l.ring.key(ctx, class, month, forReceipts)
	}
	if err == nil {
		_, err = l.ring.indexKey(ctx, class, month)
	}
	if err != nil {
		return fmt.Errorf("class %s, month %s: %w", class, month, err)
	}
	return nil
}

func (r *keyring) monthsInUse() []classMonthID {
	r.mu.Lock()
	defer r.mu.Unlock()
	ids := make([]classMonthID, 0, len(r.months))
	for id := range r.months {
		ids = append(ids, id)
	}
	return ids
}

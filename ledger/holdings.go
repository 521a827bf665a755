package ledger

import (
	"context"
	"fmt"
	"time"

	"sigillo/internal/exchange"
)

// Holding is a readable copy outside the ledger: a conservation package, and its hand-off where a
// conservatore has answered.
type Holding struct {
	Package string   `json:"package"`
	Own     string   `json:"own"`
	Export  uint64   `json:"export"`            // entry
	Handed  []uint64 `json:"handed,omitempty"`  // acceptance entries
	Outcome string   `json:"outcome,omitempty"` // of the newest of them
}

// HoldingsOf are the packages that hold messages of an exchange.
func (l *Log) HoldingsOf(ctx context.Context, id exchange.ID) ([]Holding, error) {
	entries, err := l.Exchange(ctx, id)
	if err != nil {
		return nil, err
	}
	own := entries[0].Own
	return l.holdings(ctx, own.P, own.K, func(x *Export) (bool, error) {
		for _, e := range entries {
			if e.Own.P == own.P && e.Erasure == nil && e.Own.K >= x.First && e.Own.K <= x.Last {
				return true, nil
			}
		}
		return false, nil
	})
}

// HoldingsOfMonth are the packages that hold entries of a class in a UTC month.
func (l *Log) HoldingsOfMonth(ctx context.Context, class, month string) ([]Holding, error) {
	from, err := parseMonth(month)
	if err != nil {
		return nil, err
	}
	to := from.AddDate(0, 1, 0)
	chains, err := l.Chains(ctx)
	if err != nil {
		return nil, err
	}
	var all []Holding
	for own := range chains {
		if _, c, ok := cutOwn(own); !ok || c != class {
			continue
		}
		h, err := l.holdings(ctx, own, 0, func(x *Export) (bool, error) {
			first, err := l.timeAt(ctx, own, x.First)
			if err != nil {
				return false, err
			}
			last, err := l.timeAt(ctx, own, x.Last)
			return first.Before(to) && !last.Before(from), err
		})
		if err != nil {
			return nil, err
		}
		all = append(all, h...)
	}
	return all, nil
}

func (l *Log) timeAt(ctx context.Context, own string, k uint64) (at time.Time, err error) {
	err = l.Segment(ctx, own, k, k, func(s Stored) error { at = s.Time.Time; return nil })
	return at, err
}

// holdings reads the export and acceptance entries of an own chain from k on.
func (l *Log) holdings(ctx context.Context, own string, k uint64, holds func(*Export) (bool, error)) ([]Holding, error) {
	var found []Holding
	byPackage := map[string]int{}
	err := scanOwn(ctx, l, own, k, func(_, n uint64) error {
		b, err := l.Get(ctx, entryKey(n))
		if err != nil {
			return fmt.Errorf("reading entry %d: %w", n, err)
		}
		if kind := entryKind(b); kind != KindExport && kind != KindAcceptance {
			return nil
		}
		e, err := l.Entry(ctx, n)
		if err != nil {
			return err
		}
		if e.Acceptance != nil {
			if i, ok := byPackage[e.Acceptance.Package]; ok {
				found[i].Handed, found[i].Outcome = append(found[i].Handed, n), e.Acceptance.Outcome
			}
			return nil
		}
		in, err := holds(e.Export)
		if err != nil || !in {
			return err
		}
		byPackage[e.Export.Package] = len(found)
		found = append(found, Holding{Package: e.Export.Package, Own: own, Export: n})
		return nil
	})
	return found, err
}

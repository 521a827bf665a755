package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"sigillo/internal/exchange"
)

// state is what the next batch is joined to.
type state struct {
	head Head
	tree frontier
	edge edge
	own  map[string]ownState // ends of the chains seen since the state was read
	open openExchanges
	late bool // the clock is behind the log's time, and a notice says so
}

func (s state) mark() mark { return mark{size: s.head.Size, root: s.tree.root(), last: s.head.Last} }

// loadState reads what the store holds; a store without a head record holds an empty log.
func loadState(ctx context.Context, v View) (state, error) {
	s := state{own: map[string]ownState{}, open: openExchanges{at: map[uuid.UUID]uint64{}}}
	h, err := readHead(ctx, v)
	if errors.Is(err, ErrNotFound) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	s.head, s.tree = h, frontier{size: h.Size, hashes: h.Edge}
	if s.tree.root() != h.Root {
		return s, errors.New("the head record contradicts itself: its tree does not have its root")
	}
	if s.edge, err = loadEdge(ctx, v, h.Size); err != nil {
		return s, err
	}
	s.open, err = loadOpen(ctx, v, h)
	return s, err
}

// openExchanges are the requests whose exchange no entry has closed, in order of their numbers. The head
// record keeps the number of the oldest: what lies below it need not be read to find those left open.
type openExchanges struct {
	at    map[uuid.UUID]uint64
	order []openExchange
}

type openExchange struct {
	x uuid.UUID
	n uint64
}

func (o *openExchanges) note(x uuid.UUID, n uint64) {
	o.at[x] = n
	o.order = append(o.order, openExchange{x, n})
}

func (o *openExchanges) close(x uuid.UUID) { delete(o.at, x) }

// oldest is the number of the oldest open request, or size where none is open.
func (o *openExchanges) oldest(size uint64) uint64 {
	for len(o.order) > 0 {
		first := o.order[0]
		if n, open := o.at[first.x]; open && n == first.n {
			return first.n
		}
		o.order = o.order[1:]
	}
	return size
}

// list gives the open exchanges in order.
func (o *openExchanges) list() []openExchange {
	var all []openExchange
	for _, e := range o.order {
		if n, open := o.at[e.x]; open && n == e.n {
			all = append(all, e)
		}
	}
	return all
}

// loadOpen reads the entries from the oldest open request on.
func loadOpen(ctx context.Context, v View, h Head) (openExchanges, error) {
	o := openExchanges{at: map[uuid.UUID]uint64{}}
	n := h.Open
	err := v.Scan(ctx, []byte{tableEntry}, entryKey(n), func(key, b []byte) error {
		if n == h.Size || numberOf(key) != n {
			return errStop
		}
		e, err := DecodeEntry(b)
		if err != nil {
			return fmt.Errorf("entry %d: %w", n, err)
		}
		n++
		x, err := uuid.Parse(string(e.Exchange))
		if err != nil {
			return nil // of no exchange
		}
		switch e.Kind {
		case exchange.KindRequest:
			o.note(x, e.N)
		case exchange.KindResponse, exchange.KindFailure, KindRecovery:
			o.close(x)
		}
		return nil
	})
	if (err == nil || errors.Is(err, errStop)) && n < h.Size {
		err = fmt.Errorf("reading entry %d: %w", n, ErrNotFound)
	}
	if errors.Is(err, errStop) {
		err = nil
	}
	return o, err
}

// batch is what one transaction commits.
type batch struct {
	round   uint64
	items   []*item
	entries []exchange.Recorded
	writes  []kv
	deletes [][]byte
	after   state
}

// batchBuilder joins items to a state, in order.
type batchBuilder struct {
	batch
	view   View
	now    Time
	before state
	chains map[string]ownState
	order  []string // chains in order of first appearance: what is written does not depend on a map
	run    entryRun
	index  indexWrites
}

// beginBatch opens a batch after a state, which changes only when the batch is finished.
func beginBatch(v View, before state, now Time, notice func(string, int64) (*item, error)) (*batchBuilder, error) {
	b := &batchBuilder{view: v, before: before, chains: map[string]ownState{}, now: now}
	b.items, b.entries, b.writes = make([]*item, 0, batchItems/4), make([]exchange.Recorded, 0, batchItems/4), make([]kv, 0, 2*batchItems)
	b.after = before
	b.after.tree, b.after.edge = before.tree.clone(), before.edge.clone()
	b.after.late = false
	if !now.Before(before.head.Time.Time) {
		return b, nil
	}
	b.now, b.after.late = before.head.Time, before.late
	if back := before.head.Time.Sub(now.Time); back > time.Second && !before.late {
		it, err := notice("clock-step", -back.Milliseconds())
		if err != nil {
			return b, err
		}
		b.after.late = true
		return b, b.join(it)
	}
	return b, nil
}

// join gives one item its place.
func (b *batchBuilder) join(it *item) error {
	if it.own == "" {
		b.writes, b.deletes = append(b.writes, it.writes...), append(b.deletes, it.deletes...)
		b.items, b.entries = append(b.items, it), append(b.entries, exchange.Recorded{})
		return nil
	}
	own, ok := b.chains[it.own]
	if !ok {
		if own, ok = b.before.own[it.own]; !ok {
			var err error
			if own, err = readOwn(context.Background(), b.view, it.own); err != nil {
				return err
			}
		}
		b.order = append(b.order, it.own)
	}
	h := &b.after.head
	n := h.Size
	entry := joinEntry(n, h.Last, b.now, Own{P: it.own, K: own.K, Prev: own.Hash}, it.tail)
	if len(entry) > MaxEntry {
		return fmt.Errorf("a %s entry of %d bytes: the limit is %d", it.kind, len(entry), MaxEntry)
	}
	hash, leaf := EntryHash(entry), leafHash(entry)
	b.after.edge.add(n, leaf, func(level uint, i uint64, tile []byte) {
		b.writes = append(b.writes, kv{tileKey(level, i), tile})
	})
	b.after.tree.add(leaf)
	b.writes = append(b.writes, it.writes...)
	b.run.add(n, entry)
	b.deletes = append(b.deletes, it.deletes...)
	b.index.own(it.own, own.K, n)
	if it.exchange != uuid.Nil {
		b.writes = append(b.writes, kv{exchangeIndexKey(it.exchange, n), it.enclosed})
		b.index.terms(it.terms, n)
	}
	b.chains[it.own] = ownState{K: own.K + 1, Hash: hash}
	b.items, b.entries = append(b.items, it), append(b.entries, exchange.Recorded{N: n, Entry: hash, Time: b.now.Time})
	h.Size, h.Last, h.Time = n+1, hash, b.now
	return nil
}

// finish moves chains and open exchanges on and writes the head.
func (b *batchBuilder) finish() error {
	for _, p := range b.order {
		value, err := json.Marshal(b.chains[p])
		if err != nil {
			return err
		}
		b.writes = append(b.writes, kv{ownKey(p), value})
		b.after.own[p] = b.chains[p]
	}
	for i, it := range b.items {
		if it.opens {
			b.after.open.note(it.exchange, b.entries[i].N)
		}
		if it.closes {
			b.after.open.close(it.exchange)
		}
	}
	b.writes = append(append(b.writes, b.run.records()...), b.index.records()...)
	h := &b.after.head
	if h.Size == b.before.head.Size {
		return nil
	}
	h.Root, h.Edge, h.Open = b.after.tree.root(), b.after.tree.hashes, b.after.open.oldest(h.Size)
	value, err := json.Marshal(h)
	if err != nil {
		return err
	}
	b.writes = append(b.writes, kv{headKey(), value})
	return nil
}

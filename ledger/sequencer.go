package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"sigillo/internal/exchange"
)

// The sequencer is the one writer. It takes one item, drains what queued while the last batch was being
// committed, joins every tail to its place (n, prev, time, own), and commits entries, tree, index and
// head in one transaction. There is no timer: a single writer waits for one commit and one HEAD sync,
// many writers share them.
//
// Invariants: n is gapless; state is that of the last commit; a batch becomes state only after its
// commit; nobody is answered before HEAD says so. What a batch writes depends on its items, the state
// before and one reading of the clock, on nothing else (scale-out.md 5).
const (
	queueLength   = 4096
	batchItems    = 1024
	batchBytes    = 4 << 20
	inlineContent = 1 << 20 // larger content goes ahead of its entry in transactions of its own
)

// item is one entry on its way into the log.
type item struct {
	own      string
	kind     exchange.Kind
	exchange uuid.UUID // zero: of no exchange
	tail     []byte
	writes   []kv     // sealed content and keys that the entry makes count
	terms    [][]byte // index prefixes; the entry's number is added
	opens    bool     // a request: open until its exchange is closed
	closes   bool
	receipt  *pending // the entry answers a caller: a receipt follows
	done     chan appended
}

// appended is the answer to the caller of an item.
type appended struct {
	exchange.Recorded
	err error
}

func (it *item) bytes() int {
	n := len(it.tail)
	for _, w := range it.writes {
		n += len(w.key) + len(w.value)
	}
	return n
}

// state is what the next batch is joined to.
type state struct {
	head Head
	tree frontier
	edge edge
	own  map[string]ownState // of the chains seen by this process
	late bool                // the clock is behind the log's time, and a notice says so
}

func (s state) mark() mark { return mark{size: s.head.Size, root: s.tree.root(), last: s.head.Last} }

// batch is what one transaction commits.
type batch struct {
	items   []*item
	entries []exchange.Recorded
	writes  []kv
	deletes [][]byte
	after   state
	chains  map[string]ownState
}

// loadState reads the head and the tree's right edge; a ledger without head is empty.
func loadState(ctx context.Context, v View) (state, error) {
	s := state{own: map[string]ownState{}}
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
	return s, nil
}

// append queues one item and waits until it is durable. When ctx ends first the entry may be written
// all the same: the caller must not take the error for "not there".
func (l *Ledger) append(ctx context.Context, it *item) (exchange.Recorded, error) {
	it.done = make(chan appended, 1)
	if err := l.enqueue(ctx, it); err != nil {
		return exchange.Recorded{}, err
	}
	select {
	case a := <-it.done:
		return a.Recorded, a.err
	case <-ctx.Done():
		return exchange.Recorded{}, fmt.Errorf("waiting for the ledger: %w", ctx.Err())
	}
}

func (l *Ledger) enqueue(ctx context.Context, it *item) error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.closed {
		return ErrClosed
	}
	if err := l.failed.Load(); err != nil {
		return *err
	}
	select {
	case l.queue <- it:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("queueing for the ledger: %w", ctx.Err())
	}
}

// sequence runs until the queue is closed and empty.
func (l *Ledger) sequence() {
	defer close(l.committed)
	for first := range l.queue {
		items := l.drain(first)
		if f := l.failed.Load(); f != nil {
			answer(items, *f)
			continue
		}
		b, err := l.build(items)
		if err == nil {
			err = l.commit(b)
		}
		if err != nil {
			answer(items, err)
			continue
		}
		l.state = b.after
		for p, s := range b.chains {
			l.state.own[p] = s
		}
		l.committed <- b
	}
}

// drain takes what is queued, up to a batch.
func (l *Ledger) drain(first *item) []*item {
	items, size := []*item{first}, first.bytes()
	for len(items) < batchItems && size < batchBytes {
		select {
		case it, ok := <-l.queue:
			if !ok {
				return items
			}
			items, size = append(items, it), size+it.bytes()
		default:
			return items
		}
	}
	return items
}

func answer(items []*item, err error) {
	for _, it := range items {
		it.done <- appended{err: err}
	}
}

// build joins the items to the state, in order.
func (l *Ledger) build(items []*item) (*batch, error) {
	b := &batch{chains: map[string]ownState{}, after: l.state}
	b.after.tree, b.after.edge = l.state.tree.clone(), l.state.edge.clone()
	now := At(l.clock())
	if now.Before(l.state.head.Time.Time) {
		if back := l.state.head.Time.Sub(now.Time); back > time.Second && !l.state.late {
			it, err := l.noticeItem("clock-step", -back.Milliseconds())
			if err != nil {
				return nil, err
			}
			items, b.after.late = append([]*item{it}, items...), true
		}
		now = l.state.head.Time
	} else {
		b.after.late = false
	}
	b.items = items
	for _, it := range items {
		if err := b.join(l, it, now); err != nil {
			return nil, err
		}
	}
	h := &b.after.head
	h.Root, h.Edge = b.after.tree.root(), b.after.tree.hashes
	value, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	b.writes = append(b.writes, kv{headKey(), value})
	for p, s := range b.chains {
		value, err := json.Marshal(s)
		if err != nil {
			return nil, err
		}
		b.writes = append(b.writes, kv{ownKey(p), value})
	}
	return b, nil
}

// join gives one item its place.
func (b *batch) join(l *Ledger, it *item, now Time) error {
	own, ok := b.chains[it.own]
	if !ok {
		if own, ok = l.state.own[it.own]; !ok {
			var err error
			if own, err = readOwn(context.Background(), badgerView{l.db}, it.own); err != nil {
				return err
			}
		}
	}
	h := &b.after.head
	n := h.Size
	entry := joinEntry(n, h.Last, now, Own{P: it.own, K: own.K, Prev: own.Hash}, it.tail)
	if len(entry) > MaxEntry {
		return fmt.Errorf("a %s entry of %d bytes: the limit is %d", it.kind, len(entry), MaxEntry)
	}
	hash, leaf := EntryHash(entry), leafHash(entry)
	b.after.edge.add(n, leaf, func(level uint, i uint64, tile []byte) {
		b.writes = append(b.writes, kv{tileKey(level, i), tile})
	})
	b.after.tree.add(leaf)
	b.writes = append(b.writes, it.writes...)
	b.writes = append(b.writes, kv{entryKey(n), entry}, kv{ownIndexKey(it.own, own.K), numberKey(0, n)[1:]})
	if it.exchange != uuid.Nil {
		b.writes = append(b.writes, kv{exchangeIndexKey(it.exchange, n), nil})
		for _, t := range it.terms {
			b.writes = append(b.writes, kv{append(append([]byte(nil), t...), entryKey(n)[1:]...), it.exchange[:]})
		}
	}
	if it.opens {
		b.writes = append(b.writes, kv{openKey(it.exchange), numberKey(0, n)[1:]})
	}
	if it.closes {
		b.deletes = append(b.deletes, openKey(it.exchange))
	}
	if it.receipt != nil {
		b.writes = append(b.writes, kv{receiptKey(it.exchange), it.receipt.sealed}, kv{pendingKey(n), it.exchange[:]})
	}
	b.chains[it.own] = ownState{K: own.K + 1, Hash: hash}
	b.entries = append(b.entries, exchange.Recorded{N: n, Entry: hash, Time: now.Time})
	h.Size, h.Last, h.Time = n+1, hash, now
	return nil
}

// commit makes a batch durable in one transaction. After an error the state before is read again from
// the store: whether the transaction is there or not, the next batch is joined to what is.
func (l *Ledger) commit(b *batch) error {
	free, err := freeSpace(l.opts.Dir)
	if err != nil {
		return err
	}
	if free < l.opts.DiskStop {
		return fmt.Errorf("%d MiB free: %w", free>>20, ErrNoSpace)
	}
	if err := write(l.db, b.writes, b.deletes); err != nil {
		err = fmt.Errorf("committing entries: %w", err)
		before := l.state.head.Size
		s, again := loadState(context.Background(), badgerView{l.db})
		if again != nil || s.head.Size != before {
			// The batch may be there although its callers are told that it is not: only recovery,
			// which closes what stands open, can put that right.
			l.fail(errors.Join(err, again))
		}
		return err
	}
	return nil
}

// acknowledge syncs HEAD behind each commit and answers; it runs until the sequencer has ended.
func (l *Ledger) acknowledge() {
	for b := range l.committed {
		m := b.after.mark()
		err := l.failedErr()
		if err == nil {
			if err = l.head.write(headMark{Size: m.size, Last: m.last, Root: m.root}); err != nil {
				l.fail(err)
			}
		}
		if err != nil {
			answer(b.items, err)
			continue
		}
		l.synced.Store(&m)
		for i, it := range b.items {
			if it.receipt != nil {
				it.receipt.place(b.entries[i])
				l.notary.add(it.receipt)
			}
			it.done <- appended{Recorded: b.entries[i]}
		}
		l.notary.wake()
	}
}

func (l *Ledger) failedErr() error {
	if f := l.failed.Load(); f != nil {
		return *f
	}
	return nil
}

// freeSpace is what an unprivileged process may still write in dir's file system, in bytes.
func freeSpace(dir string) (uint64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, fmt.Errorf("measuring free space in %s: %w", dir, err)
	}
	return s.Bavail * uint64(s.Bsize), nil
}
